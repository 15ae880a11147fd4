//! Images prepared for a frozen encoder.

use std::sync::Arc;
use std::time::Duration;

use rayon::iter::{IndexedParallelIterator, IntoParallelIterator};
use rayon::slice::ParallelSliceMut;

use crate::numbers::{NumbersMut, write};
use crate::plan::Preprocess;
use crate::record::CropBox;
use crate::source::{Source, SourceError};

use super::Skipped;
use super::ordered::{Crew, Ordered};
use super::read::{Reader, Worker, guarded};
use super::store::Store;

/// Some samples, prepared.
#[derive(Debug)]
pub struct Prepared {
    /// Which samples of the source these are.
    pub samples: Vec<usize>,
    /// Normalised, `[n, C, crop, crop]`.
    pub data: Vec<f32>,
    pub labels: Vec<Option<u32>>,
    /// Samples that belonged here and could not be read.
    pub skipped: Vec<Skipped>,
}

/// Prepared samples in the order they were asked for. Dropping it stops its threads.
pub struct PreparedBatches {
    ordered: Ordered<Prepared>,
}

/// The samples `indices` of a source (all of them with `None`), each once, in order, at most `batch` at a time.
/// Unreadable ones are left out and reported, so a batch may have fewer, or none.
/// `channels` as in [`LoaderOptions`](super::LoaderOptions). An error where no threads can be had.
pub fn prepared(
    source: Arc<dyn Source>,
    indices: Option<Vec<usize>>,
    preprocess: &Preprocess,
    channels: usize,
    batch: usize,
    workers: usize,
) -> Result<PreparedBatches, SourceError> {
    let indices = indices.unwrap_or_else(|| (0..source.len()).collect());
    let batch = batch.max(1);
    let jobs = indices.len().div_ceil(batch) as u64;
    let reader = Reader::new(source, channels);
    let memory = Store::new();
    let preprocess = preprocess.clone();
    let ordered = Ordered::start(0..jobs, workers, move |job, crew| {
        let means = preprocess.normalize.mean.len();
        if means != channels || preprocess.normalize.std.len() != channels {
            let problem = format!("{channels} channels are wanted, but {means} means given");
            return Err(SourceError::new("normalize", problem));
        }
        let chunk = indices.chunks(batch).nth(job as usize).unwrap_or_default();
        prepare_chunk(&reader, &memory, chunk, &preprocess, crew)
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

fn prepare_chunk(
    reader: &Reader,
    memory: &Store<Worker>,
    chunk: &[usize],
    preprocess: &Preprocess,
    crew: &Crew,
) -> Result<Prepared, SourceError> {
    let numbers = preprocess.normalize.mean.len() * preprocess.crop * preprocess.crop;
    let mut data = vec![0.0; chunk.len() * numbers];
    let mut outcomes: Vec<Outcome> = std::iter::repeat_with(|| None).take(chunk.len()).collect();
    let items =
        chunk.into_par_iter().zip(&mut outcomes).zip(data.par_chunks_exact_mut(numbers.max(1)));
    crew.each(
        items,
        || memory.lease(),
        |worker, ((&index, outcome), output)| {
            *outcome = Some(guarded(|| {
                Ok(reader.try_with(index, || {
                    let whole = |[width, height]: [usize; 2]| {
                        (CropBox { top: 0, left: 0, height, width }, 1)
                    };
                    reader.load(index, worker, whole)?;
                    let Worker { renderer, part, .. } = &mut **worker;
                    let image = renderer.prepare(part, preprocess);
                    write(image, &preprocess.normalize, false, NumbersMut::F32(output));
                    Ok(reader.label(index))
                }))
            }));
        },
    );
    let mut prepared =
        Prepared { samples: Vec::new(), data, labels: Vec::new(), skipped: Vec::new() };
    for (place, (&index, outcome)) in chunk.iter().zip(outcomes).enumerate() {
        match outcome.unwrap_or_else(|| Err(SourceError::new("the loader", "stopped")))? {
            Ok(label) => {
                let to = prepared.samples.len() * numbers;
                prepared.data.copy_within(place * numbers..(place + 1) * numbers, to);
                prepared.samples.push(index);
                prepared.labels.push(label);
            }
            Err(skipped) => prepared.skipped.push(skipped),
        }
    }
    prepared.data.truncate(prepared.samples.len() * numbers);
    Ok(prepared)
}
