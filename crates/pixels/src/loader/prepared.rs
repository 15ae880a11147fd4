//! Images prepared for a frozen encoder.

use std::sync::Arc;
use std::time::Duration;

use rayon::iter::{IndexedParallelIterator, IntoParallelIterator};

use crate::corrupt::{self, Corrupted};
use crate::numbers::{Form, NumbersMut, write};
use crate::plan::Preprocess;
use crate::record::CropBox;
use crate::source::{Source, SourceError};
use crate::view::needed;

use super::Skipped;
use super::buffer::{Memory, Numbers};
use super::ordered::{Crew, Ordered};
use super::read::{Reader, Worker, guarded};
use super::store::Store;

/// Some samples, prepared.
#[derive(Debug)]
pub struct Prepared {
    /// Which samples of the source these are.
    pub samples: Vec<usize>,
    /// `[n, C, crop, crop]`, or `[n, crop, crop, C]` where the channels are asked to be last.
    pub data: Numbers,
    pub labels: Vec<Option<u32>>,
    /// Samples that belonged here and could not be read.
    pub skipped: Vec<Skipped>,
}

/// How batches of prepared images are made.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct PrepareOptions {
    /// As in [`LoaderOptions`](super::LoaderOptions).
    pub channels: usize,
    /// Samples in a batch, at most. 0 means 1.
    pub batch: usize,
    /// Threads; they cannot change a number. 0 means 1.
    pub workers: usize,
    /// What the numbers are; `geometry_only` has no meaning here.
    pub form: Form,
    /// What is done to the pictures after the crop and before they are normalised. The noise of a sample follows from its
    /// number in the source; a picture that cannot be corrupted is skipped.
    pub corruption: Option<Corrupted>,
}

/// The seed of all corruptions: like the benchmark's files, everybody has the same.
const CORRUPTION_SEED: u64 = 0;

/// Prepared samples in the order they were asked for. Dropping it stops its threads.
pub struct PreparedBatches {
    ordered: Ordered<Prepared>,
}

/// The samples `indices` of a source (all of them with `None`), each once, in order, at most `batch` at a time.
/// Unreadable ones are left out and reported, so a batch may have fewer, or none. Of a JPEG only the part is decoded that
/// the centred square needs, to the same bits as from the whole. An error where no threads can be had.
pub fn prepared(
    source: Arc<dyn Source>,
    indices: Option<Vec<usize>>,
    preprocess: &Preprocess,
    options: PrepareOptions,
) -> Result<PreparedBatches, SourceError> {
    let indices = indices.unwrap_or_else(|| (0..source.len()).collect());
    let PrepareOptions { channels, workers, form, corruption, .. } = options;
    let batch = options.batch.max(1);
    let jobs = indices.len().div_ceil(batch) as u64;
    let kitchen = Kitchen {
        reader: Reader::new(source, channels),
        memory: Memory::new(),
        workers: Store::new(),
        preprocess: preprocess.clone(),
        form,
        corruption,
    };
    let ordered = Ordered::start(0..jobs, workers, move |job, crew| {
        let normalize = &kitchen.preprocess.normalize;
        let means = normalize.mean.len();
        if means != channels || normalize.std.len() != channels {
            let problem = format!("{channels} channels are wanted, but {means} means given");
            return Err(SourceError::new("normalize", problem));
        }
        let chunk = indices.chunks(batch).nth(job as usize).unwrap_or_default();
        kitchen.prepare(chunk, crew)
    })?;
    Ok(PreparedBatches { ordered })
}

impl PreparedBatches {
    /// How long the consumer has waited for data so far.
    pub fn waited(&self) -> Duration {
        self.ordered.waited()
    }
}

impl Iterator for PreparedBatches {
    type Item = Result<Prepared, SourceError>;

    fn next(&mut self) -> Option<Self::Item> {
        self.ordered.next()
    }
}

/// `None` while nobody has worked on it; else the label, or why the sample is left out.
type Outcome = Option<Result<Result<Option<u32>, Skipped>, SourceError>>;

/// What the preparation of batches shares.
struct Kitchen {
    reader: Reader,
    memory: Memory,
    workers: Store<Worker>,
    preprocess: Preprocess,
    form: Form,
    corruption: Option<Corrupted>,
}

impl Kitchen {
    fn prepare(&self, chunk: &[usize], crew: &Crew) -> Result<Prepared, SourceError> {
        let crop = self.preprocess.crop;
        let each = self.preprocess.normalize.mean.len() * crop * crop;
        let mut data = self.memory.numbers(self.form, chunk.len() * each);
        let mut outcomes: Vec<Outcome> =
            std::iter::repeat_with(|| None).take(chunk.len()).collect();
        {
            let outputs: Vec<NumbersMut> = data.chunks(each.max(1)).collect();
            let items = chunk.into_par_iter().zip(&mut outcomes).zip(outputs);
            crew.each(
                items,
                || self.workers.lease(),
                |worker, ((&index, outcome), output)| {
                    *outcome = Some(guarded(|| Ok(self.one(index, worker, output))));
                },
            );
        }
        let (mut samples, mut labels) = (Vec::new(), Vec::new());
        let mut skipped = Vec::new();
        for (place, (&index, outcome)) in chunk.iter().zip(outcomes).enumerate() {
            match outcome.unwrap_or_else(|| Err(SourceError::new("the loader", "stopped")))? {
                Ok(label) => {
                    data.move_down(place * each, samples.len() * each, each);
                    samples.push(index);
                    labels.push(label);
                }
                Err(skip) => skipped.push(skip),
            }
        }
        data.truncate(samples.len() * each);
        Ok(Prepared { samples, data, labels, skipped })
    }

    /// One image, and its label.
    fn one(
        &self,
        index: usize,
        worker: &mut Worker,
        output: NumbersMut,
    ) -> Result<Option<u32>, Skipped> {
        let how = &self.preprocess;
        self.reader.try_with(index, || {
            let mut picture = [0; 2];
            let place = self.reader.load(index, worker, |size| {
                picture = size;
                (needed(size, how), 1)
            })?;
            let Worker { renderer, part, .. } = worker;
            let [width, height] = picture;
            let whole = place.of(CropBox { top: 0, left: 0, height, width });
            let image = renderer.prepare_part(part, whole, picture, how);
            if let Some(corrupted) = self.corruption {
                let mut stream = corrupted.stream(CORRUPTION_SEED, index as u64);
                corrupt::apply(image, corrupted, &mut stream)
                    .map_err(|error| self.reader.error(index, error.to_string()))?;
            }
            write(image, &how.normalize, self.form.channels_last, output);
            Ok(self.reader.label(index))
        })
    }
}
