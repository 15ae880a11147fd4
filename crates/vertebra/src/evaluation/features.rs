//! The frozen features of a source at any depth of a backbone, extracted once and kept on disk.

mod cache;
mod layers;

use std::collections::BTreeMap;
use std::path::Path;
use std::sync::Arc;

use pixels::corrupt::Corrupted;
use pixels::image::Image;
use pixels::loader::{PrepareOptions, Prepared, Skipped, prepared};
use pixels::numbers;
use pixels::plan::Preprocess;
use pixels::source::Source;
use tch::{Device, Kind, Tensor};

use crate::data;
use crate::error::{Error, Result};
use crate::models::{Backbone, Mode};
use cache::{Key, Shelf};
pub use layers::{Layers, POOLED};

/// Frozen features of a source.
#[derive(Debug)]
pub struct FeatureTable {
    /// `[N, D]`, f32, on the CPU. From a cache it is mapped: the disk holds what the memory cannot.
    pub x: Tensor,
    /// N labels, `None` where the source has none.
    pub labels: Vec<Option<u32>>,
    /// The samples of the source that the rows belong to, ascending.
    pub samples: Vec<usize>,
    /// Name and problem of each sample that could not be read. N plus their number is the source's length.
    pub skipped: Vec<(String, String)>,
    /// Names of the classes by label; empty where there are none.
    pub classes: Vec<String>,
    /// What must not be split (a patient, a video; [`Source::group`]), one for each row; `None` for a row that stands alone. Empty where
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
    /// The features, or those that were missing, were computed and written.
    Written,
    /// The features were computed and could not be written: a full disk, a folder without permission.
    Unwritten(Error),
}

/// How to extract.
#[derive(Clone, Copy)]
pub struct ExtractOptions<'a> {
    /// Images per forward pass; it does not change the features beyond rounding. 0 leaves it to the encoder: 16 in f32 on
    /// the CPU, whose caches then hold the activations (ViT-S/16 and ResNet-50 at 224 pixels are an eighth faster than with
    /// 64), 64 in bf16, 256 on a GPU.
    pub batch: usize,
    /// Threads that decode.
    pub workers: usize,
    /// Called after each batch with the samples done and the samples there are. Where an earlier extraction was stopped,
    /// it begins with what that one had done.
    pub progress: &'a dyn Fn(usize, usize),
    /// What is done to the pictures before the encoder sees them. Caches tell it apart.
    pub corruption: Option<Corrupted>,
}

impl Default for ExtractOptions<'_> {
    /// The encoder's batch, one worker per core, no progress, clean pictures.
    fn default() -> Self {
        let workers = std::thread::available_parallelism().map_or(1, usize::from);
        Self { batch: 0, workers, progress: &|_, _| {}, corruption: None }
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

    /// `skipped` are by sample.
    fn of_source(source: &dyn Source, x: Tensor, samples: Vec<usize>, skipped: &[Skipped]) -> Self {
        Self {
            x,
            labels: samples.iter().map(|&sample| source.label(sample)).collect(),
            groups: groups_of(source, &samples),
            samples,
            skipped: skipped.iter().map(|it| (it.name.clone(), it.problem.clone())).collect(),
            classes: source.classes().to_vec(),
        }
    }
}

/// What one forward pass gave.
struct Rows {
    /// `[n, D]` of each layer, f32 on the CPU.
    features: Vec<Tensor>,
    samples: Vec<usize>,
    skipped: Vec<Skipped>,
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
        let mut tables = self.in_memory(source, samples, &[POOLED.to_string()], options)?;
        Ok(tables.remove(0))
    }

    /// As [`extract`](Self::extract), of several layers from one pass over the images: each layer's name and table.
    pub fn extract_layers(
        &self,
        source: &Arc<dyn Source>,
        layers: &Layers,
        options: &ExtractOptions,
    ) -> Result<Vec<(String, FeatureTable)>> {
        let names = layers.names(self)?;
        let samples: Vec<usize> = (0..source.len()).collect();
        let tables = self.in_memory(source, &samples, &names, options)?;
        Ok(names.into_iter().zip(tables).collect())
    }

    /// As [`extract`](Self::extract), but reads the features from the folder `cache` where it holds them, and
    /// writes them there where it does not. See [`extract_layers_cached`](Self::extract_layers_cached).
    pub fn extract_cached(
        &self,
        source: &Arc<dyn Source>,
        cache: &Path,
        options: &ExtractOptions,
    ) -> Result<(FeatureTable, Cached)> {
        let (mut tables, outcome) =
            self.extract_layers_cached(source, &Layers::Pooled, cache, options)?;
        Ok((tables.remove(0).1, outcome))
    }

    /// As [`extract_layers`](Self::extract_layers), with the folder `cache`. Features are found by the weights, the source's
    /// fingerprint, the preprocessing, the corruption, the precision and the layer, whatever other layers they were extracted with. They
    /// are written while they are computed, so that an extraction that was stopped goes on where it was; of a file that
    /// is damaged or does not fit the source, everything from the damage on is computed anew.
    pub fn extract_layers_cached(
        &self,
        source: &Arc<dyn Source>,
        layers: &Layers,
        cache: &Path,
        options: &ExtractOptions,
    ) -> Result<(Vec<(String, FeatureTable)>, Cached)> {
        let names = layers.names(self)?;
        let key = Key::new(self, source.as_ref(), options.corruption);
        let all = source.len();
        let mut shelves: Vec<Shelf> =
            names.iter().map(|name| Shelf::open(cache, &key, name, all)).collect();
        let done = shelves.iter().map(Shelf::done).min().unwrap_or(0);
        (options.progress)(done, all);
        if done < all {
            let missing = (done..all).collect();
            self.pass(source, done, missing, &names, options, |rows, at| {
                let places = shelves.iter_mut().zip(&rows.features);
                places.into_iter().try_for_each(|(shelf, x)| shelf.add(x, &rows, at))
            })?;
        }
        let mut outcome = if done < all { Cached::Written } else { Cached::Read };
        let mut tables = Vec::new();
        for (name, shelf) in names.into_iter().zip(shelves) {
            let (x, skipped, failure) = shelf.finish()?;
            let samples = without(all, &skipped);
            if samples.is_empty() {
                return Err(unreadable(&skipped));
            }
            tables.push((name, FeatureTable::of_source(source.as_ref(), x, samples, &skipped)));
            outcome = failure.map_or(outcome, Cached::Unwritten);
        }
        Ok((tables, outcome))
    }

    /// One table for each of the layers.
    fn in_memory(
        &self,
        source: &Arc<dyn Source>,
        samples: &[usize],
        layers: &[String],
        options: &ExtractOptions,
    ) -> Result<Vec<FeatureTable>> {
        let mut x: Vec<Tensor> = Vec::new();
        let (mut found, mut skipped) = (Vec::new(), Vec::new());
        self.pass(source, 0, samples.to_vec(), layers, options, |rows, _| {
            let (at, n) = (found.len() as i64, rows.samples.len() as i64);
            if x.is_empty() && n > 0 {
                let room = |rows: &Tensor| {
                    let shape = [samples.len() as i64, rows.size()[1]];
                    Tensor::empty(shape, (Kind::Float, Device::Cpu))
                };
                x = rows.features.iter().map(room).collect();
            }
            for (table, rows) in x.iter().zip(&rows.features) {
                table.narrow(0, at, n).copy_(rows);
            }
            found.extend(rows.samples);
            skipped.extend(rows.skipped);
            Ok(())
        })?;
        if found.is_empty() {
            return Err(unreadable(&skipped));
        }
        let n = found.len() as i64;
        let table = |x: Tensor| {
            FeatureTable::of_source(source.as_ref(), x.narrow(0, 0, n), found.clone(), &skipped)
        };
        Ok(x.into_iter().map(table).collect())
    }

    /// Calls `each` with the rows of batch after batch, and how many samples are done with it, `before` of them earlier.
    fn pass(
        &self,
        source: &Arc<dyn Source>,
        before: usize,
        samples: Vec<usize>,
        layers: &[String],
        options: &ExtractOptions,
        mut each: impl FnMut(Rows, usize) -> Result<()>,
    ) -> Result<()> {
        let all = before + samples.len();
        let batch = self.batch(options.batch);
        let ways = self.ways(batch, options.workers, options.corruption);
        let mut done = before;
        for batch in prepared(source.clone(), Some(samples), &self.preprocess, ways)? {
            let batch = batch?;
            let features = self.features_of(&batch, layers)?;
            done += batch.samples.len() + batch.skipped.len();
            let Prepared { samples, skipped, .. } = batch;
            each(Rows { features, samples, skipped }, done)?;
            (options.progress)(done, all);
        }
        Ok(())
    }

    /// Images per forward pass where `wanted` is 0.
    pub(crate) fn batch(&self, wanted: usize) -> usize {
        match (wanted, self.device, self.autocast) {
            (0, Device::Cpu, None) => 16,
            (0, Device::Cpu, Some(_)) => 64,
            (0, ..) => 256,
            _ => wanted,
        }
    }

    /// How the loader is to prepare images for this encoder.
    pub(crate) fn ways(
        &self,
        batch: usize,
        workers: usize,
        corruption: Option<Corrupted>,
    ) -> PrepareOptions {
        let form = data::form(self.channels, self.device, self.autocast, self.channels_last, false);
        PrepareOptions { channels: self.channels, batch, workers, form, corruption }
    }

    /// Images that were prepared in these [`ways`](Self::ways), where the encoder takes them.
    pub(crate) fn images_of(&self, batch: &Prepared) -> Tensor {
        let ways = self.ways(1, 1, None);
        data::prepared_on(batch, ways.form, &self.preprocess, self.device)
    }

    /// Square images of 8 bits where the encoder takes them, `[n, C, S, S]`.
    pub(crate) fn images(&self, images: &[Image]) -> Tensor {
        let images = data::images_on(images, &self.preprocess.normalize, self.device);
        let images = if self.channels_last { data::with_channels_last(&images) } else { images };
        match self.ways(1, 1, None).form.kind {
            numbers::Kind::Bf16 => images.to_kind(Kind::BFloat16),
            _ => images,
        }
    }

    /// `[n, D]` of each layer, in f32 on the CPU; without images there is no D.
    fn features_of(&self, batch: &Prepared, layers: &[String]) -> Result<Vec<Tensor>> {
        if batch.samples.is_empty() {
            let none = || Tensor::zeros([0, 0], (Kind::Float, Device::Cpu));
            return Ok(layers.iter().map(|_| none()).collect());
        }
        self.features(&self.images_of(batch), layers)
    }

    /// The same of images that lie on the encoder's device already, `[n, C, S, S]`.
    pub(crate) fn features(&self, images: &Tensor, layers: &[String]) -> Result<Vec<Tensor>> {
        let activations = tch::no_grad(|| self.forward(images, layers));
        let mut features = Vec::new();
        for (layer, x) in layers.iter().zip(activations) {
            let x = x.to_device(Device::Cpu).to_kind(Kind::Float);
            if x.isfinite().all().int64_value(&[]) != 1 {
                return Err(not_finite(&self.name, layer));
            }
            features.push(x);
        }
        Ok(features)
    }

    /// The layers of a batch, each as one vector per image: the one place that chooses activations and a precision.
    fn forward(&self, images: &Tensor, layers: &[String]) -> Vec<Tensor> {
        torch_bridge::autocast(self.device, self.autocast, || {
            let mut found: BTreeMap<String, Tensor> = BTreeMap::new();
            let wanted = |name: &str| name != POOLED && layers.iter().any(|layer| layer == name);
            let mut tap = |name: &str, activation: &Tensor| {
                if wanted(name) {
                    found.insert(name.into(), self.backbone.pool_tap(activation));
                }
            };
            let pooled = self.backbone.forward(images, Mode::Eval, &mut tap).pooled;
            found.insert(POOLED.into(), pooled);
            layers.iter().map(|layer| found[layer].shallow_clone()).collect()
        })
    }
}

/// The groups of some samples; empty where the source knows of none.
fn groups_of(source: &dyn Source, samples: &[usize]) -> Vec<Option<u64>> {
    let groups: Vec<_> = samples.iter().map(|&sample| source.group(sample)).collect();
    if groups.iter().any(Option::is_some) { groups } else { Vec::new() }
}

/// The samples `0..all` without those that were skipped, which are in order.
fn without(all: usize, skipped: &[Skipped]) -> Vec<usize> {
    let mut skipped = skipped.iter().map(|it| it.sample).peekable();
    (0..all).filter(|sample| skipped.next_if_eq(sample).is_none()).collect()
}

fn not_finite(encoder: &str, layer: &str) -> Error {
    let place = if layer == POOLED { String::new() } else { format!(" at `{layer}`") };
    Error::Usage {
        problem: format!("the encoder `{encoder}` gives features that are not finite{place}"),
        hint: Some(
            "its weights are damaged or its training diverged: use another checkpoint".into(),
        ),
    }
}

fn unreadable(skipped: &[Skipped]) -> Error {
    match skipped.first() {
        None => Error::Usage {
            problem: "the source holds no images".into(),
            hint: Some("give a folder with images in it".into()),
        },
        Some(Skipped { name, problem, .. }) => Error::Usage {
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
