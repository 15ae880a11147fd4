//! The frozen features of a source, extracted once and kept on disk.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use pixels::plan::Preprocess;
use pixels::source::{Source, SourceError};
use tch::{Device, Kind, Tensor};

use crate::error::{Error, Result};
use crate::models::{Backbone, Mode, no_tap};

/// Frozen features of a source.
#[derive(Debug)]
pub struct FeatureTable {
    /// `[N, D]`, f32, on the CPU.
    pub x: Tensor,
    /// N labels, `None` where the source has none.
    pub labels: Vec<Option<u32>>,
    /// The samples of the source that the rows belong to, ascending.
    pub samples: Vec<usize>,
    /// Name and problem of each sample that could not be read. N plus their number is the source's length.
    pub skipped: Vec<(String, String)>,
    /// Names of the classes by label; empty where there are none.
    pub classes: Vec<String>,
}

/// A backbone with everything that decides its features.
pub struct Encoder {
    /// The name that scores carry: `trained`, `random`, or a file's.
    pub name: String,
    pub backbone: Box<dyn Backbone>,
    pub preprocess: Preprocess,
    /// Channels of the images that the backbone takes.
    pub channels: usize,
    /// Where the backbone's weights are.
    pub device: Device,
    /// The reduced precision of the forward pass; `None` is f32.
    pub autocast: Option<Kind>,
    /// A hash of the architecture and all its weights. Caches are keyed by it.
    pub weights_hash: String,
}

/// How to extract.
#[derive(Clone, Copy)]
pub struct ExtractOptions<'a> {
    /// Images per forward pass. It does not change the features beyond rounding.
    pub batch: usize,
    /// Threads that decode.
    pub workers: usize,
    /// Called after each batch with the samples done and the samples there are.
    pub progress: &'a dyn Fn(usize, usize),
}

impl Default for ExtractOptions<'_> {
    /// Batches of 256, one worker per core, no progress.
    fn default() -> Self {
        let workers = std::thread::available_parallelism().map_or(1, usize::from);
        Self { batch: 256, workers, progress: &|_, _| {} }
    }
}

impl FeatureTable {
    /// Whether both hold the same features of the same samples.
    pub fn is_same(&self, other: &Self) -> bool {
        std::ptr::eq(self, other)
            || (self.samples == other.samples
                && self.labels == other.labels
                && self.x.size() == other.x.size()
                && self.x.equal(&other.x))
    }
}
