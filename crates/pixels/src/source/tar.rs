//! Images in tar files (webdataset's shards), read at random.
//!
//! A tar file is a row of headers of 512 bytes, each before its data. Opening a shard reads the headers and passes
//! over the images, or reads the index beside it; after that a sample is one read at a known place. So shards need
//! no shuffle buffer and no order of their own: the loader shuffles the whole source by number, as it does any other,
//! each epoch differently, and the step number alone says where a run is. A buffer would shuffle less, and its content
//! would have to be saved for an exact resumption. Reads at random cost a hard disk a seek each (about 10 ms), which a
//! buffer would spare; let the page cache, a copy on an SSD, or more workers hide them.

mod group;
mod handles;
mod index;
mod scan;

use std::fs;
use std::path::{Path, PathBuf};

use group::{Listed, Record, Shard, Span};
pub(super) use handles::Handles;

use super::labels::{Labels, Written};
use super::names::Names;
use super::shards;
use super::uri::Uri;
use super::{Fingerprint, Source, SourceError, Stored, Truth};

pub(crate) use group::{CLASSES, PACKED};
pub(crate) use scan::BLOCK;

/// The samples of tar files, in the order of the files and of their entries.
///
/// Neighbouring entries with the same key (the path up to the first dot of the base name) are a sample: an image, and
/// perhaps a label (`.cls`, or `label`, `cls` or `class` in the `.json`: a whole number or the name of a class) and
/// captions (`.txt`, or `captions`, `caption` or `text` in the `.json`). Images are told by their extension (`jpg`,
/// `png`, ...); what else there is, is passed over. Long names of GNU tar and of pax are understood.
///
/// Of a damaged or cut file the samples before the damage are there, and the damage is in [`Source::problems`].
pub struct Tar {
    handles: Handles,
    /// The number of the first sample of each shard.
    firsts: Vec<usize>,
    names: Names,
    images: Vec<Span>,
    /// Captions and records; each list is empty where no sample has one.
    captions: Vec<Option<Span>>,
    records: Vec<Option<Span>>,
    groups: Vec<Option<u64>>,
    labels: Labels,
    problems: Vec<SourceError>,
    fingerprint: String,
}

impl Tar {
    /// Lists the shards. An error when they hold no sample, or one of them is not there.
    pub fn open(files: &[PathBuf]) -> Result<Self, SourceError> {
        let mut listing = Listing::default();
        for path in files {
            listing.add(path)?;
        }
        let Listing { names, images, problems, .. } = &listing;
        if images.is_empty() {
            let [first, rest @ ..] = files else {
                return Err(SourceError::new("tar:", "no file is named"));
            };
            let also = problems.first().map_or_else(String::new, |p| format!(" ({p})"));
            let others = if rest.is_empty() { "" } else { " and the others" };
            let problem = format!("no image is in this file{others}{also}");
            let hint = "a shard is a plain tar file of entries like 0001.jpg and 0001.cls";
            return Err(SourceError::new(first.to_string_lossy(), problem).hint(hint));
        }
        debug_assert_eq!(names.len(), images.len());
        Ok(listing.finish(files))
    }

    pub(super) fn of_uri(uri: &mut Uri) -> Result<Self, SourceError> {
        let split = uri.text("split");
        Self::open(&shards::expand(&uri.path, "tar", split.as_deref())?)
    }

    /// Which shard a sample is in.
    fn shard(&self, index: usize) -> usize {
        self.firsts.partition_point(|first| *first <= index) - 1
    }

    fn read(&self, index: usize, span: Span, buffer: &mut Vec<u8>) -> Result<(), SourceError> {
        let shard = self.shard(index);
        buffer.clear();
        buffer.resize(span.size as usize, 0);
        self.handles.read(shard, buffer, span.at).map_err(|error| {
            let path = self.handles.path(shard).to_string_lossy();
            SourceError::new(format!("{path}: {}", self.name(index)), error.to_string())
        })
    }
}

impl Source for Tar {
    fn len(&self) -> usize {
        self.images.len()
    }

    fn fetch(&self, index: usize, buffer: &mut Vec<u8>) -> Result<Stored, SourceError> {
        self.read(index, self.images[index], buffer)?;
        Ok(Stored::File)
    }

    fn truth(&self, index: usize) -> Result<Truth, SourceError> {
        let mut truth = Truth { group: self.group(index), ..Truth::default() };
        let mut buffer = Vec::new();
        if let Some(span) = self.records.get(index).copied().flatten() {
            self.read(index, span, &mut buffer)?;
            let record = Record::read(&buffer);
            (truth.captions, truth.objects) = (record.captions, record.objects);
        }
        if let (Some(span), true) =
            (self.captions.get(index).copied().flatten(), truth.captions.is_empty())
        {
            self.read(index, span, &mut buffer)?;
            truth.captions.push(String::from_utf8_lossy(&buffer).trim().to_owned());
        }
        Ok(truth)
    }

    fn label(&self, index: usize) -> Option<u32> {
        self.labels.get(index)
    }

    fn name(&self, index: usize) -> String {
        self.names.text(index)
    }

    fn group(&self, index: usize) -> Option<u64> {
        self.groups.get(index).copied().flatten()
    }

    fn classes(&self) -> &[String] {
        self.labels.classes()
    }

    fn fingerprint(&self) -> String {
        self.fingerprint.clone()
    }

    fn problems(&self) -> &[SourceError] {
        &self.problems
    }
}

/// Shards while they are listed.
#[derive(Default)]
struct Listing {
    firsts: Vec<usize>,
    names: Names,
    images: Vec<Span>,
    captions: Vec<Option<Span>>,
    records: Vec<Option<Span>>,
    groups: Vec<Option<u64>>,
    labels: Written,
    classes: Vec<String>,
    problems: Vec<SourceError>,
    fingerprint: Fingerprint,
}

impl Listing {
    fn add(&mut self, path: &Path) -> Result<(), SourceError> {
        let error = |problem: String| SourceError::new(path.to_string_lossy(), problem);
        let about = fs::metadata(path).map_err(|e| error(e.to_string()))?;
        self.fingerprint.bytes(path.as_os_str().as_encoded_bytes());
        self.fingerprint.file(&about);
        let shard = match index::read(path, &about) {
            Some(shard) => shard,
            None => scanned(path, about.len()).map_err(|e| error(e.to_string()))?,
        };
        self.firsts.push(self.images.len());
        self.problems.extend(shard.problems.into_iter().map(error));
        if shard.classes.len() > self.classes.len() {
            self.classes = shard.classes;
        }
        for Listed { name, image, label, caption, json, group } in shard.samples {
            self.names.push(name.as_bytes());
            self.images.push(image);
            self.captions.push(caption);
            self.records.push(json);
            self.groups.push(group);
            self.labels.push(label.as_deref());
        }
        Ok(())
    }

    fn finish(self, files: &[PathBuf]) -> Tar {
        let Self { firsts, names, images, labels, classes, problems, fingerprint, .. } = self;
        Tar {
            handles: Handles::new(files),
            firsts,
            names,
            images,
            captions: or_nothing(self.captions),
            records: or_nothing(self.records),
            groups: or_nothing(self.groups),
            labels: labels.finish(&classes),
            problems,
            fingerprint: format!("tar {}", fingerprint.text()),
        }
    }
}

/// A list in which nothing stands takes no memory.
fn or_nothing<T>(list: Vec<Option<T>>) -> Vec<Option<T>> {
    if list.iter().all(Option::is_none) { Vec::new() } else { list }
}

fn scanned(path: &Path, size: u64) -> std::io::Result<Shard> {
    let file = fs::File::open(path)?;
    Ok(group::list(&|buffer, at| handles::read_at(&file, buffer, at), size))
}

/// Writes the index of a shard beside it, by way of a temporary file.
pub(crate) fn write_index(tar: &Path) -> std::io::Result<()> {
    let about = fs::metadata(tar)?;
    let shard = scanned(tar, about.len())?;
    super::write_whole(&index::beside(tar), index::text(&shard, &about).as_bytes())
}

/// For fuzzing: lists the bytes of a tar file, and reads them as an index.
pub(super) fn fuzz(bytes: &[u8]) {
    let read = |buffer: &mut [u8], at: u64| {
        let from = bytes.get(at as usize..).and_then(|rest| rest.get(..buffer.len()));
        buffer.copy_from_slice(from.ok_or(std::io::ErrorKind::UnexpectedEof)?);
        Ok(())
    };
    let size = bytes.len() as u64;
    for sample in group::list(&read, size).samples {
        assert!(sample.image.at + sample.image.size <= size, "a sample beyond the end");
    }
    let _ = index::parse(bytes, size, 0);
}

#[cfg(test)]
mod tests;
