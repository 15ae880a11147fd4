//! Batches of random views for training, and of prepared images for evaluation: in order, ahead of time, on many
//! threads, and the same whatever the number of threads or the step at which a run was taken up again.

mod buffer;
mod ordered;
mod prepared;
mod read;
mod store;

use std::ops::Range;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use rayon::iter::{IndexedParallelIterator, IntoParallelIterator};
use rayon::slice::ParallelSliceMut;

use crate::decode;
use crate::draw::{Draw, Purpose};
use crate::numbers::{Form, NumbersMut, write};
use crate::plan::{ViewPlan, ViewSpec};
use crate::record::{CropBox, ViewRecord};
use crate::source::{Source, SourceError};
use crate::view;

use buffer::Memory;
pub use buffer::Numbers;
use ordered::{Crew, Ordered};
pub use prepared::{PrepareOptions, Prepared, PreparedBatches, prepared};
use read::{Failure, Reader, Worker, guarded};
pub use store::Lease;
use store::Store;

/// How batches are made.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct LoaderOptions {
    /// Names the order of every epoch and every draw.
    pub seed: u64,
    /// Samples in a batch, over all ranks.
    pub batch: usize,
    /// Which part of each batch is made here.
    pub share: Share,
    /// Threads; it cannot change a number. 0 means 1.
    pub workers: usize,
    /// Channels of a view. With 3, every image becomes RGB; otherwise an image must have just as many.
    pub channels: usize,
    /// The first unreadable sample ends the run, instead of being replaced and reported.
    pub strict: bool,
    /// Every picture is decoded at its full size. Otherwise a JPEG of which every view's crop is at least twice (four,
    /// eight times) as wide and high as the view is decoded at a half (a quarter, an eighth) of its size.
    pub exact: bool,
    /// What the numbers of a batch are.
    pub form: Form,
}

/// One of several processes that make a batch together: rank r of R takes the r-th of R equal parts.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Share {
    pub rank: usize,
    pub ranks: usize,
}

impl Share {
    /// One process makes everything.
    pub const ALL: Self = Self { rank: 0, ranks: 1 };
}

/// Random views of a source, as a function of the step.
#[derive(Clone)]
pub struct Loader {
    shared: Arc<Shared>,
}

/// The views of the samples of one step.
#[derive(Debug)]
pub struct Batch {
    /// Counted from 0 over all epochs.
    pub step: u64,
    pub epoch: u64,
    /// One per view of the plan, unfolded.
    pub views: Vec<View>,
    /// `[view][sample]`.
    pub records: Vec<Vec<ViewRecord>>,
    /// Which sample of the source stands at each place.
    pub samples: Vec<usize>,
    pub labels: Vec<Option<u32>>,
    /// Unreadable samples met while making this batch, by number; the same one may come again in another batch.
    pub skipped: Vec<Skipped>,
}

/// One view of all samples of a batch.
#[derive(Debug, PartialEq)]
pub struct View {
    /// Height and width in pixels.
    pub size: usize,
    /// `[N, C, size, size]`, or `[N, size, size, C]` where the channels are asked to be last.
    pub data: Numbers,
}

/// A sample that could not be read.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Skipped {
    pub sample: usize,
    /// Its name in the source.
    pub name: String,
    pub problem: String,
}

/// Batches in the order of their steps. Dropping it stops its threads.
pub struct Batches {
    ordered: Ordered<Batch>,
}

struct Shared {
    reader: Reader,
    specs: Vec<ViewSpec>,
    plan: ViewPlan,
    options: LoaderOptions,
    memory: Memory,
    workers: Store<Worker>,
    /// The epoch asked for last, and its order.
    order: Mutex<Option<(u64, Arc<[usize]>)>>,
}

/// What one place of a batch became.
struct Place {
    sample: usize,
    label: Option<u32>,
    skipped: Vec<Skipped>,
}

impl Loader {
    /// An error when the source has fewer samples than a batch, when a batch would be empty or cannot be divided among
    /// the ranks, or when the normalisation does not fit the channels.
    pub fn new(
        source: Arc<dyn Source>,
        plan: ViewPlan,
        options: LoaderOptions,
    ) -> Result<Self, SourceError> {
        let n = source.len();
        if options.batch == 0 || options.batch > n {
            return Err(SourceError::new(
                "batch",
                format!("a batch of {} cannot be taken from {n} samples", options.batch),
            )
            .hint(match n {
                0 | 1 => "more images are needed".to_string(),
                _ => format!("choose a `batch` between 2 and {n}"),
            }));
        }
        let Share { rank, ranks } = options.share;
        if rank >= ranks || !options.batch.is_multiple_of(ranks) {
            return Err(SourceError::new(
                "batch",
                format!(
                    "a batch of {} cannot be divided among {ranks} ranks for rank {rank}",
                    options.batch
                ),
            ));
        }
        let [mean, std] = [plan.normalize.mean.len(), plan.normalize.std.len()];
        if mean != options.channels || std != options.channels {
            return Err(SourceError::new(
                "normalize",
                format!(
                    "{} channels are wanted, but {mean} means and {std} stds given",
                    options.channels
                ),
            ));
        }
        let specs = plan.unfolded().into_iter().cloned().collect();
        let reader = Reader::new(source, options.channels);
        Ok(Self {
            shared: Arc::new(Shared {
                reader,
                specs,
                plan,
                options,
                memory: Memory::new(),
                workers: Store::new(),
                order: Mutex::default(),
            }),
        })
    }

    /// Whole batches in an epoch; the samples left over are dropped (others in each epoch).
    pub fn batches_per_epoch(&self) -> u64 {
        self.shared.batches_per_epoch()
    }

    /// The batches of `steps`, beginning anywhere: batch k is the same however the range begins. An error where no
    /// threads can be had.
    pub fn batches(&self, steps: Range<u64>) -> Result<Batches, SourceError> {
        let shared = self.shared.clone();
        let workers = shared.options.workers;
        let ordered = Ordered::start(steps, workers, move |k, crew| shared.batch(k, crew))?;
        Ok(Batches { ordered })
    }
}

impl Loader {
    /// Reads and decodes the parts of `count` samples that their views of the first epoch need, and makes no view of
    /// them, on this thread. What is left of the cost of views when everything else is free.
    pub fn decode_only(&self, count: usize) {
        let shared = &self.shared;
        let (order, mut worker) = (shared.order(0), shared.workers.lease());
        let mut records = vec![None; shared.specs.len()];
        for &sample in order.iter().cycle().take(count) {
            // One that cannot be read has cost its time, too.
            let _ = shared.load(0, sample, sample, &mut worker, &mut records);
        }
    }
}

impl Batches {
    /// How long the consumer has waited for data so far.
    pub fn waited(&self) -> Duration {
        self.ordered.waited()
    }
}

impl Iterator for Batches {
    type Item = Result<Batch, SourceError>;

    fn next(&mut self) -> Option<Self::Item> {
        self.ordered.next()
    }
}

impl Shared {
    fn batches_per_epoch(&self) -> u64 {
        (self.reader.len() / self.options.batch) as u64
    }

    fn batch(&self, step: u64, crew: &Crew) -> Result<Batch, SourceError> {
        let (epoch, at) = (step / self.batches_per_epoch(), step % self.batches_per_epoch());
        let Share { rank, ranks } = self.options.share;
        let n = self.options.batch / ranks;
        let order = self.order(epoch);
        let wanted = &order[at as usize * self.options.batch + rank * n..][..n];
        let mut views: Vec<View> = self.specs.iter().map(|spec| self.blank(spec, n)).collect();
        let count = self.specs.len();
        let mut records: Vec<Option<ViewRecord>> = vec![None; n * count];
        let mut places: Vec<Option<Result<Place, SourceError>>> =
            std::iter::repeat_with(|| None).take(n).collect();
        {
            let mut slots: Vec<_> = views
                .iter_mut()
                .map(|view| view.data.chunks(self.options.channels * view.size * view.size))
                .collect();
            // Sample by sample, all its views.
            let mut outputs: Vec<NumbersMut> = Vec::with_capacity(n * count);
            for _ in 0..n {
                outputs.extend(slots.iter_mut().filter_map(Iterator::next));
            }
            let items = wanted
                .into_par_iter()
                .zip(&mut places)
                .zip(outputs.par_chunks_exact_mut(count))
                .zip(records.par_chunks_exact_mut(count));
            crew.each(
                items,
                || self.workers.lease(),
                |worker, (((&sample, place), outputs), records)| {
                    *place = Some(guarded(|| self.place(epoch, sample, worker, outputs, records)));
                },
            );
        }
        self.assemble(step, epoch, views, records, places)
    }

    /// The order of the samples in an epoch, kept until another epoch is asked for.
    fn order(&self, epoch: u64) -> Arc<[usize]> {
        let mut kept = self.order.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some((known, order)) = &*kept
            && *known == epoch
        {
            return order.clone();
        }
        let draw = Draw { epoch, ..Draw::of_seed(self.options.seed) };
        let order: Arc<[usize]> = draw.stream(Purpose::Order).permutation(self.reader.len()).into();
        *kept = Some((epoch, order.clone()));
        order
    }

    fn blank(&self, spec: &ViewSpec, samples: usize) -> View {
        let numbers = samples * self.options.channels * spec.size * spec.size;
        View { size: spec.size, data: self.memory.numbers(self.options.form, numbers) }
    }

    /// Fills one place of a batch. A sample that cannot be read is replaced by the next one of the source that
    /// can; the draws stay those of the place's own sample, so that no view is twice in a batch.
    fn place(
        &self,
        epoch: u64,
        wanted: usize,
        worker: &mut Worker,
        outputs: &mut [NumbersMut],
        records: &mut [Option<ViewRecord>],
    ) -> Result<Place, SourceError> {
        let strict = self.options.strict;
        let (sample, at, skipped) = self.reader.readable_from(wanted, strict, |index| {
            self.load(epoch, wanted, index, worker, records)
        })?;
        let views = self.specs.iter().zip(records.iter().flatten()).zip(outputs);
        for ((spec, record), output) in views {
            let area = at.of(record.crop);
            let Worker { renderer, part, .. } = &mut *worker;
            let view = if self.options.form.geometry_only {
                renderer.view(part, area, spec, &record.geometry())
            } else {
                renderer.view(part, area, spec, record)
            };
            let last = self.options.form.channels_last;
            write(view, &self.plan.normalize, last, output.reborrow());
        }
        Ok(Place { sample, label: self.reader.label(sample), skipped })
    }

    /// Chooses the views that `wanted` has in this epoch, of the image of sample `index`, and decodes what they need.
    fn load(
        &self,
        epoch: u64,
        wanted: usize,
        index: usize,
        worker: &mut Worker,
        records: &mut [Option<ViewRecord>],
    ) -> Result<decode::Place, Failure> {
        self.reader.load(index, worker, |size| {
            for (number, (spec, record)) in self.specs.iter().zip(&mut *records).enumerate() {
                let (seed, sample) = (self.options.seed, wanted as u64);
                let draw = Draw { seed, epoch, sample, view: number as u64 };
                let channels = self.options.channels;
                *record = Some(view::choose(size, channels, spec, draw));
            }
            self.needed(records.iter().flatten())
        })
    }

    /// The smallest box that holds the crops of an image, and how much smaller the image may be decoded: so that no
    /// view is enlarged that would not be.
    fn needed<'a>(&self, records: impl Iterator<Item = &'a ViewRecord>) -> (CropBox, usize) {
        let (mut top, mut left, mut bottom, mut right) = (usize::MAX, usize::MAX, 0, 0);
        let mut shrink = if self.options.exact { 1 } else { 8 };
        for (record, spec) in records.zip(&self.specs) {
            let CropBox { top: t, left: l, height, width } = record.crop;
            (top, left) = (top.min(t), left.min(l));
            (bottom, right) = (bottom.max(t + height), right.max(l + width));
            while shrink > 1 && height.min(width) < shrink * spec.size {
                shrink /= 2;
            }
        }
        (CropBox { top, left, height: bottom - top, width: right - left }, shrink)
    }

    fn assemble(
        &self,
        step: u64,
        epoch: u64,
        views: Vec<View>,
        made: Vec<Option<ViewRecord>>,
        places: Vec<Option<Result<Place, SourceError>>>,
    ) -> Result<Batch, SourceError> {
        let mut records = vec![Vec::with_capacity(places.len()); self.specs.len()];
        let (mut samples, mut labels, mut skipped) = (Vec::new(), Vec::new(), Vec::new());
        for place in places {
            let place = place.unwrap_or_else(|| Err(SourceError::new("the loader", "stopped")))?;
            samples.push(place.sample);
            labels.push(place.label);
            skipped.extend(place.skipped);
        }
        for (at, record) in made.into_iter().enumerate() {
            records[at % self.specs.len()].extend(record);
        }
        skipped.sort_by_key(|skip: &Skipped| skip.sample);
        skipped.dedup_by_key(|skip| skip.sample);
        Ok(Batch { step, epoch, views, records, samples, labels, skipped })
    }
}

#[cfg(test)]
mod tests;
