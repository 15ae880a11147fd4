//! Features on disk, one shelf for each layer: `LAYER.f32`, the rows one after the other, and `LAYER.json`, the journal that
//! says which of them are whole.
//!
//! Rows are appended while they are computed. A part of them counts when it is on the disk and the journal, written anew
//! after it, knows its checksum; whatever else the file holds is written over. Files are never cut, for somebody may have
//! them mapped.

use std::fs::{self, File};
use std::io::{self, BufReader, Read};
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};

use crc32fast::Hasher;
use pixels::corrupt::Corrupted;
use pixels::loader::Skipped;
use pixels::source::Source;
use serde::{Deserialize, Serialize};
use tch::{Device, Kind, Tensor};

use super::{Encoder, Rows};
use crate::error::{Error, Result};

/// Changes whenever the same encoder could give other features, or the files another form.
const VERSION: u32 = 2;

/// Samples after which a part is complete: what a killed extraction may lose. A part ends with a batch.
const PART: usize = 1024;

/// Everything that decides the features of all layers, as text.
pub(super) struct Key(pub(super) String);

impl Key {
    pub(super) fn new(
        encoder: &Encoder,
        source: &dyn Source,
        corruption: Option<Corrupted>,
    ) -> Self {
        let mut key = serde_json::json!({
            "version": VERSION,
            "weights": encoder.weights_hash,
            "source": source.fingerprint(),
            "preprocess": encoder.preprocess,
            "channels": encoder.channels,
            "precision": encoder.autocast.map_or("fp32".into(), |kind| format!("{kind:?}")),
        });
        // Only where there is one, so that the caches of clean pictures keep their names.
        if let Some(corruption) = corruption {
            key["corruption"] = serde_json::json!(corruption);
        }
        Self(key.to_string())
    }

    /// The folder of this key in the folder of caches.
    pub(super) fn folder(&self, cache: &Path) -> PathBuf {
        cache.join(format!("features-{:016x}", hash(self.0.as_bytes())))
    }
}

/// What a journal file holds.
#[derive(Clone, Serialize, Deserialize)]
struct Journal {
    /// The whole key, as two may have one folder's name.
    key: String,
    layer: String,
    /// D
    width: usize,
    parts: Vec<Part>,
    /// Of the fields above.
    checksum: u32,
}

/// Samples in the source's order, from where the part before ends.
#[derive(Clone, Default, Serialize, Deserialize)]
struct Part {
    /// The first sample that is no longer in it.
    end: usize,
    rows: usize,
    /// Number, name and problem of each sample without a row.
    skipped: Vec<(usize, String, String)>,
    /// CRC-32 of the rows' bytes.
    checksum: u32,
}

impl Journal {
    fn sum(&self) -> u32 {
        let fields = serde_json::json!([self.key, self.layer, self.width, self.parts]);
        crc32fast::hash(fields.to_string().as_bytes())
    }

    fn done(&self) -> usize {
        self.parts.last().map_or(0, |part| part.end)
    }

    fn rows(&self) -> usize {
        self.parts.iter().map(|part| part.rows).sum()
    }

    /// Whether the parts follow each other within a source of `all` samples.
    fn is_sound(&self, all: usize) -> bool {
        let mut at = 0;
        self.parts.iter().all(|part| {
            let sound = part.end > at && at + part.rows + part.skipped.len() == part.end;
            at = part.end;
            sound && part.end <= all
        })
    }

    /// Forgets the first part whose bytes in the file are not what they were, and all after it.
    fn trust_only_whole_parts(&mut self, data: &Path) {
        let whole = File::open(data).map_or(0, |file| {
            let mut file = BufReader::new(file);
            let mut bytes = Vec::new();
            let mut is_whole = |part: &&Part| {
                bytes.resize(part.rows * self.width * size_of::<f32>(), 0);
                file.read_exact(&mut bytes).is_ok() && crc32fast::hash(&bytes) == part.checksum
            };
            self.parts.iter().take_while(|part| is_whole(part)).count()
        });
        self.parts.truncate(whole);
    }
}

/// The features of one layer: those that are on disk, and those that are added.
pub(super) struct Shelf {
    data: PathBuf,
    path: PathBuf,
    /// Of the parts that are complete.
    journal: Journal,
    /// How many samples the source has.
    all: usize,
    file: Option<File>,
    /// What is added and not yet in the journal.
    open: Part,
    hasher: Hasher,
    /// All rows so far, once the disk has failed.
    kept: Option<(Vec<Tensor>, Error)>,
}

impl Shelf {
    /// With what the folder `cache` holds of `layer` for this key and a source of `all` samples.
    pub(super) fn open(cache: &Path, key: &Key, layer: &str, all: usize) -> Self {
        let folder = key.folder(cache);
        let plain = |c: char| if c.is_ascii_alphanumeric() || "._-".contains(c) { c } else { '_' };
        let name: String = layer.chars().map(plain).collect();
        let (data, path) =
            (folder.join(format!("{name}.f32")), folder.join(format!("{name}.json")));
        let fresh = || Journal {
            key: key.0.clone(),
            layer: layer.into(),
            width: 0,
            parts: Vec::new(),
            checksum: 0,
        };
        let known = fs::read(&path).ok().and_then(|text| serde_json::from_slice(&text).ok());
        let mut journal = known
            .filter(|it: &Journal| it.key == key.0 && it.layer == layer && it.sum() == it.checksum)
            .filter(|it| it.is_sound(all))
            .unwrap_or_else(fresh);
        journal.trust_only_whole_parts(&data);
        let open = Part { end: journal.done(), ..Part::default() };
        Self { data, path, journal, all, file: None, open, hasher: Hasher::new(), kept: None }
    }

    /// How many samples need not be looked at again.
    pub(super) fn done(&self) -> usize {
        self.journal.done()
    }

    /// Adds a batch after which all samples before `end` are done; `x` are the layer's features. What is there already is
    /// left as it is. Fails only where the disk does and what was written cannot be read back.
    pub(super) fn add(&mut self, x: &Tensor, rows: &Rows, end: usize) -> Result<()> {
        let known = self.open.end;
        if end <= known {
            return Ok(());
        }
        let old = rows.samples.partition_point(|&sample| sample < known);
        let new = rows.samples.len() - old;
        let x = x.narrow(0, old as i64, new as i64).contiguous();
        if new > 0 {
            self.journal.width = x.size()[1] as usize;
        }
        let skipped = rows.skipped.iter().filter(|it| it.sample >= known);
        let skipped = skipped.map(|it| (it.sample, it.name.clone(), it.problem.clone()));
        self.open.skipped.extend(skipped);
        if self.kept.is_none() {
            match self.write(&x, end) {
                Ok(()) => return Ok(()),
                Err(error) => self.give_up(error)?,
            }
        }
        if let Some((kept, _)) = &mut self.kept {
            kept.push(x);
        }
        (self.open.end, self.open.rows) = (end, self.open.rows + new);
        Ok(())
    }

    /// Appends rows, and completes the part where it is large enough or the last.
    fn write(&mut self, x: &Tensor, end: usize) -> Result<()> {
        let unwritten = || Error::file("write the cache of features", &self.data);
        let bytes = bytes_of(x);
        let (before, width) = (self.journal.rows() + self.open.rows, self.journal.width);
        if self.file.is_none() {
            fs::create_dir_all(self.data.parent().unwrap_or(Path::new("."))).map_err(unwritten())?;
            let file = File::options().write(true).create(true).truncate(false).open(&self.data);
            self.file = Some(file.map_err(unwritten())?);
        }
        let Some(file) = &self.file else { return Ok(()) };
        let place = before * width * size_of::<f32>();
        file.write_all_at(&bytes, place as u64).map_err(unwritten())?;
        let mut hasher = self.hasher.clone();
        hasher.update(&bytes);
        let mut part =
            Part { end, rows: self.open.rows + x.size()[0] as usize, ..self.open.clone() };
        if end - self.done() >= PART || end == self.all {
            part.checksum = hasher.finalize();
            file.sync_data().map_err(unwritten())?;
            let mut journal = self.journal.clone();
            journal.parts.push(part);
            journal.checksum = journal.sum();
            report::record::write_json(&self.path, &journal)?;
            self.journal = journal;
            (self.open, self.hasher) = (Part { end, ..Part::default() }, Hasher::new());
        } else {
            (self.open, self.hasher) = (part, hasher);
        }
        Ok(())
    }

    /// Goes on in memory.
    fn give_up(&mut self, cause: Error) -> Result<()> {
        let rows = self.journal.rows() + self.open.rows;
        let kept = match rows {
            0 => Vec::new(),
            _ => match read(&self.data, rows, self.journal.width) {
                Ok(x) => vec![x],
                Err(_) => return Err(cause),
            },
        };
        self.kept = Some((kept, cause));
        Ok(())
    }

    /// All rows `[N, D]`, the samples without one, and why the disk could not be used. Every sample must have been added.
    pub(super) fn finish(self) -> Result<(Tensor, Vec<Skipped>, Option<Error>)> {
        let (width, rows) = (self.journal.width, self.journal.rows() + self.open.rows);
        let parts = self.journal.parts.iter().chain([&self.open]);
        let skipped = parts
            .flat_map(|part| &part.skipped)
            .map(|(sample, name, problem)| Skipped {
                sample: *sample,
                name: name.clone(),
                problem: problem.clone(),
            })
            .collect();
        match self.kept {
            _ if rows == 0 => {
                Ok((Tensor::zeros([0, width as i64], (Kind::Float, Device::Cpu)), skipped, None))
            }
            Some((kept, cause)) => Ok((Tensor::cat(&kept, 0), skipped, Some(cause))),
            None => {
                let x = map(&self.data, rows, width)
                    .map_or_else(|| read(&self.data, rows, width), Ok)
                    .map_err(Error::file("read the cache of features", &self.data))?;
                Ok((x, skipped, None))
            }
        }
    }
}

/// The first rows of a file as memory that is read from the disk when it is looked at, and never written back. `None`
/// where the system will not have it.
fn map(path: &Path, rows: usize, width: usize) -> Option<Tensor> {
    let numbers = (rows * width) as i64;
    let x = Tensor::f_from_file(path.to_str()?, false, numbers, (Kind::Float, Device::Cpu)).ok()?;
    Some(x.view([rows as i64, width as i64]))
}

/// The first rows of a file in memory.
fn read(path: &Path, rows: usize, width: usize) -> io::Result<Tensor> {
    let mut bytes = vec![0; rows * width * size_of::<f32>()];
    File::open(path)?.read_exact(&mut bytes)?;
    let shape = [rows as i64, width as i64];
    Tensor::f_from_data_size(&bytes, &shape, Kind::Float)
        .map_err(|error| io::Error::other(error.to_string()))
}

/// The numbers of a contiguous tensor as they lie in memory: little-endian wherever libtorch runs.
fn bytes_of(x: &Tensor) -> Vec<u8> {
    let mut bytes = vec![0; x.numel() * size_of::<f32>()];
    if !bytes.is_empty() {
        let length = bytes.len();
        x.view(-1).view_dtype(Kind::Uint8).copy_data(&mut bytes, length);
    }
    bytes
}

/// FNV-1a, which is enough for a name.
fn hash(bytes: &[u8]) -> u64 {
    bytes.iter().fold(0xcbf2_9ce4_8422_2325, |state, &byte| {
        (state ^ u64::from(byte)).wrapping_mul(0x0000_0100_0000_01b3)
    })
}
