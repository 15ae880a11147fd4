//! A feature table as a file: safetensors, with the key it was made for and a checksum in the header.

use std::collections::HashMap;
use std::fs;
use std::io;
use std::path::{Path, PathBuf};

use pixels::source::Source;
use safetensors::tensor::{Dtype, TensorView};
use safetensors::{SafeTensors, serialize};
use serde::{Deserialize, Serialize};
use tch::Tensor;

use super::{Encoder, FeatureTable};
use crate::error::{Error, Result};

/// Changes whenever the same encoder could give other features, or the file another form.
const VERSION: u32 = 1;

/// Stands for "no label" in the file.
const UNLABELLED: i64 = -1;

/// Everything that decides the features, as text.
pub(super) struct Key(String);

/// What the header holds beside the tensors.
#[derive(Serialize, Deserialize)]
struct Header {
    key: String,
    classes: Vec<String>,
    skipped: Vec<(String, String)>,
    /// Of the three tensors' bytes and the fields above.
    checksum: u64,
}

impl Header {
    /// The checksum that belongs to these fields and tensors.
    fn sum(&self, tensors: [&[u8]; 3]) -> u64 {
        let fields = serde_json::json!([self.key, self.classes, self.skipped]).to_string();
        tensors.into_iter().fold(hash(0, fields.as_bytes()), hash)
    }
}

impl Key {
    pub(super) fn new(encoder: &Encoder, source: &dyn Source) -> Self {
        let key = serde_json::json!({
            "version": VERSION,
            "weights": encoder.weights_hash,
            "activation": "pooled",
            "source": source.fingerprint(),
            "preprocess": encoder.preprocess,
            "channels": encoder.channels,
            "precision": encoder.autocast.map_or("fp32".into(), |kind| format!("{kind:?}")),
        });
        Self(key.to_string())
    }

    /// The file of this key in the folder of caches.
    pub(super) fn path(&self, folder: &Path) -> PathBuf {
        folder.join(format!("features-{:016x}.safetensors", hash(0, self.0.as_bytes())))
    }
}

/// The table in a file, `None` unless it is whole, was made for this key, and fits a source of `samples` samples
/// and an encoder `width` wide.
pub(super) fn read(path: &Path, key: &Key, samples: usize, width: i64) -> Option<FeatureTable> {
    let bytes = fs::read(path).ok()?;
    let (_, metadata) = SafeTensors::read_metadata(&bytes).ok()?;
    let header = metadata.metadata().as_ref()?.get("table")?;
    let header: Header = serde_json::from_str(header).ok()?;
    let file = SafeTensors::deserialize(&bytes).ok()?;
    let [x, labels, rows] = ["x", "labels", "samples"].map(|name| file.tensor(name).ok());
    let (x, labels, rows) = (x?, labels?, rows?);
    let checksum = header.sum([x.data(), labels.data(), rows.data()]);
    if header.key != key.0 || header.checksum != checksum {
        return None;
    }
    let n = samples.checked_sub(header.skipped.len())?;
    let fits = x.dtype() == Dtype::F32
        && x.shape() == [n, width as usize]
        && [&labels, &rows].iter().all(|t| t.dtype() == Dtype::I64 && t.shape() == [n]);
    if !fits {
        return None;
    }
    let values: Vec<f32> =
        x.data().as_chunks().0.iter().map(|word| f32::from_le_bytes(*word)).collect();
    let labels = integers(labels.data()).map(|label| u32::try_from(label).ok()).collect();
    let rows: Vec<usize> = integers(rows.data()).map(|row| row as usize).collect();
    Some(FeatureTable {
        x: Tensor::from_slice(&values).view([n as i64, width]),
        labels,
        samples: rows,
        skipped: header.skipped,
        classes: header.classes,
        // The source knows them.
        groups: Vec::new(),
    })
}

/// Writes a table whole or not at all: a reader never sees half of it.
pub(super) fn write(path: &Path, key: &Key, table: &FeatureTable) -> Result<()> {
    let values = Vec::<f32>::try_from(table.x.contiguous().view(-1))?;
    let x: Vec<u8> = values.into_iter().flat_map(f32::to_le_bytes).collect();
    let labels: Vec<u8> = table
        .labels
        .iter()
        .flat_map(|label| label.map_or(UNLABELLED, i64::from).to_le_bytes())
        .collect();
    let rows: Vec<u8> = table.samples.iter().flat_map(|&row| (row as i64).to_le_bytes()).collect();
    let mut header = Header {
        key: key.0.clone(),
        classes: table.classes.clone(),
        skipped: table.skipped.clone(),
        checksum: 0,
    };
    header.checksum = header.sum([&x, &labels, &rows]);
    let shape: Vec<usize> = table.x.size().iter().map(|&length| length as usize).collect();
    let view = |kind, shape: Vec<usize>, bytes| {
        TensorView::new(kind, shape, bytes).map_err(|cause| io::Error::other(cause.to_string()))
    };
    let bytes = (|| {
        let tensors = [
            ("x", view(Dtype::F32, shape, &x)?),
            ("labels", view(Dtype::I64, vec![table.labels.len()], &labels)?),
            ("samples", view(Dtype::I64, vec![table.samples.len()], &rows)?),
        ];
        let text = serde_json::to_string(&header)?;
        serialize(tensors, Some(HashMap::from([("table".to_string(), text)])))
            .map_err(|cause| io::Error::other(cause.to_string()))
    })();
    let unwritten = || Error::file("write the cache of features", path);
    let bytes = bytes.map_err(unwritten())?;
    fs::create_dir_all(path.parent().unwrap_or(Path::new("."))).map_err(unwritten())?;
    Ok(report::record::write_atomically(path, &bytes)?)
}

fn integers(bytes: &[u8]) -> impl Iterator<Item = i64> {
    bytes.as_chunks().0.iter().map(|word| i64::from_le_bytes(*word))
}

/// FNV-1a over words of eight bytes, continued from `state`. Each step is a bijection, so that a single changed word
/// always changes the hash.
fn hash(state: u64, bytes: &[u8]) -> u64 {
    const PRIME: u64 = 0x0000_0100_0000_01b3;
    let step = |state: u64, word: u64| {
        let mixed = (state ^ word).wrapping_mul(PRIME);
        mixed ^ (mixed >> 32)
    };
    let (words, rest) = bytes.as_chunks();
    let state = words
        .iter()
        .fold(state ^ 0xcbf2_9ce4_8422_2325, |state, word| step(state, u64::from_le_bytes(*word)));
    let state = rest.iter().fold(state, |state, &byte| step(state, u64::from(byte)));
    step(state, bytes.len() as u64)
}
