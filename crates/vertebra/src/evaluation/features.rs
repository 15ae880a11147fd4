//! The frozen features of a source, extracted once and kept on disk.

mod cache;

use std::collections::BTreeMap;
use std::path::Path;
use std::sync::Arc;

use pixels::loader::{Prepared, prepared};
use pixels::plan::Preprocess;
use pixels::source::Source;
use tch::{Device, Kind, Tensor};

use crate::data;
use crate::error::{Error, Result};
use crate::models::{Backbone, Mode, no_tap};
use cache::Key;

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
    /// What must not be split (a patient, a video), one for each row; `None` for a row that stands alone. Empty where
    /// nothing is known of groups.
    pub groups: Vec<Option<u64>>,
}

/// A backbone with everything that decides its features.
pub struct Encoder {
    /// The name that scores carry: `trained`, `random`, or a file's.
    pub name: String,
    pub backbone: Box<dyn Backbone>,
    /// The backbone's weights and running statistics, by name.
    pub variables: BTreeMap<String, Tensor>,
    pub preprocess: Preprocess,
    /// Channels of the images that the backbone takes.
    pub channels: usize,
    /// Where the backbone's weights are.
    pub device: Device,
    /// How images lie in memory: convolutions are faster with the channels innermost.
    pub channels_last: bool,
    /// The reduced precision of the forward pass; `None` is f32.
    pub autocast: Option<Kind>,
    /// A hash of the architecture and all its weights. Caches are keyed by it.
    pub weights_hash: String,
}

/// What became of the cache of an extraction.
#[derive(Debug)]
pub enum Cached {
    /// The features were read from it; nothing was computed.
    Read,
    /// The features were computed and written.
    Written,
    /// The features were computed and could not be written: a full disk, a folder without permission.
    Unwritten(Error),
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
    /// A table of features from elsewhere: rows `[N, D]`, a label for each, and the names of the classes by label
    /// (none where they have no names). Fails where there are not as many labels as rows.
    pub fn new(x: Tensor, labels: Vec<Option<u32>>, classes: Vec<String>) -> Result<Self> {
        let shape = x.size();
        if shape.len() != 2 || shape[0] != labels.len() as i64 {
            let count = labels.len();
            return Err(Error::Usage {
                problem: format!("features of shape {shape:?} do not fit {count} labels"),
                hint: Some("give one row of features for each label: [N, D]".into()),
            });
        }
        let samples = (0..labels.len()).collect();
        let (skipped, groups) = (Vec::new(), Vec::new());
        let x = if x.kind() == Kind::Float { x } else { x.to_kind(Kind::Float) };
        Ok(Self { x, labels, samples, skipped, classes, groups })
    }

    /// Whether both hold the same features of the same samples.
    pub fn is_same(&self, other: &Self) -> bool {
        std::ptr::eq(self, other)
            || (self.samples == other.samples
                && self.labels == other.labels
                && self.x.size() == other.x.size()
                && self.x.equal(&other.x))
    }
}

impl Encoder {
    /// The features of all readable samples of a source, in its order. Unreadable ones are skipped and listed.
    /// Fails where no sample can be read, or where a feature is not a finite number.
    pub fn extract(
        &self,
        source: &Arc<dyn Source>,
        options: &ExtractOptions,
    ) -> Result<FeatureTable> {
        self.extract_samples(source, &(0..source.len()).collect::<Vec<_>>(), options)
    }

    /// The same of some samples only, in the order given.
    pub fn extract_samples(
        &self,
        source: &Arc<dyn Source>,
        samples: &[usize],
        options: &ExtractOptions,
    ) -> Result<FeatureTable> {
        let mut rows: Vec<Tensor> = Vec::new();
        let mut table = FeatureTable {
            x: Tensor::zeros([0, self.backbone.width()], (Kind::Float, Device::Cpu)),
            labels: Vec::new(),
            samples: Vec::new(),
            skipped: Vec::new(),
            classes: source.classes().to_vec(),
            groups: Vec::new(),
        };
        let batches = prepared(
            source.clone(),
            Some(samples.to_vec()),
            &self.preprocess,
            self.channels,
            options.batch,
            options.workers,
        )?;
        for batch in batches {
            let batch = batch?;
            if !batch.samples.is_empty() {
                rows.push(self.features_of(&batch)?);
            }
            table.labels.extend(batch.labels);
            table.samples.extend(batch.samples);
            table.skipped.extend(batch.skipped.into_iter().map(|it| (it.name, it.problem)));
            (options.progress)(table.samples.len() + table.skipped.len(), samples.len());
        }
        if rows.is_empty() {
            return Err(unreadable(&table.skipped));
        }
        table.x = Tensor::cat(&rows, 0);
        table.groups = groups_of(source.as_ref(), &table.samples);
        Ok(table)
    }

    /// As [`extract`](Self::extract), but reads the features from the folder `cache` where it holds them, and
    /// writes them there where it does not. They are found by the weights, the source's fingerprint, the
    /// preprocessing and the precision; a file that is damaged or does not fit the source is computed anew.
    pub fn extract_cached(
        &self,
        source: &Arc<dyn Source>,
        cache: &Path,
        options: &ExtractOptions,
    ) -> Result<(FeatureTable, Cached)> {
        let key = Key::new(self, source.as_ref());
        let path = key.path(cache);
        if let Some(mut table) = cache::read(&path, &key, source.len(), self.backbone.width()) {
            table.groups = groups_of(source.as_ref(), &table.samples);
            (options.progress)(source.len(), source.len());
            return Ok((table, Cached::Read));
        }
        let table = self.extract(source, options)?;
        let outcome = match cache::write(&path, &key, &table) {
            Ok(()) => Cached::Written,
            Err(error) => Cached::Unwritten(error),
        };
        Ok((table, outcome))
    }

    /// `[n, D]` in f32 on the CPU.
    fn features_of(&self, batch: &Prepared) -> Result<Tensor> {
        let n = batch.samples.len();
        let images =
            data::images_on(&batch.data, n, self.channels, self.device, self.channels_last);
        let pooled = tch::no_grad(|| self.forward(&images));
        let features = pooled.to_device(Device::Cpu).to_kind(Kind::Float);
        if features.isfinite().all().int64_value(&[]) == 1 {
            return Ok(features);
        }
        Err(Error::Usage {
            problem: format!("the encoder `{}` gives features that are not finite", self.name),
            hint: Some(
                "its weights are damaged or its training diverged: use another checkpoint".into(),
            ),
        })
    }

    /// The representation of a batch: the one place that chooses an activation and a precision.
    fn forward(&self, images: &Tensor) -> Tensor {
        torch_bridge::autocast(self.device, self.autocast, || {
            self.backbone.forward(images, Mode::Eval, &mut no_tap).pooled
        })
    }
}

/// The groups of some samples; empty where the source knows of none.
fn groups_of(source: &dyn Source, samples: &[usize]) -> Vec<Option<u64>> {
    let groups: Vec<_> = samples.iter().map(|&sample| source.group(sample)).collect();
    if groups.iter().any(Option::is_some) { groups } else { Vec::new() }
}

fn unreadable(skipped: &[(String, String)]) -> Error {
    match skipped.first() {
        None => Error::Usage {
            problem: "the source holds no images".into(),
            hint: Some("give a folder with images in it".into()),
        },
        Some((name, problem)) => Error::Usage {
            problem: format!(
                "none of the {} images could be read; the first, {name}: {problem}",
                skipped.len()
            ),
            hint: Some("check that these are images, and that they may be read".into()),
        },
    }
}

#[cfg(test)]
mod tests;
