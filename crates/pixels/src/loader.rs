//! Batches of random views for training, and of prepared images for evaluation: in order, ahead of time, on many
//! threads, and the same whatever the number of threads or the step at which a run was taken up again.

mod ordered;
mod prepared;
mod read;

use std::ops::Range;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use crate::draw::{Draw, Purpose};
use crate::plan::{ViewPlan, ViewSpec};
use crate::record::ViewRecord;
use crate::source::{Source, SourceError};
use crate::view;

use ordered::{Crew, Ordered};
pub use prepared::{Prepared, PreparedBatches, prepared};
use read::{Reader, guarded};

/// How batches are made.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct LoaderOptions {
    /// Names the order of every epoch and every draw.
    pub seed: u64,
    /// Samples in a batch.
    pub batch: usize,
    /// Threads; it cannot change a number. 0 means 1.
    pub workers: usize,
    /// Channels of a view. With 3, every image becomes RGB; otherwise an image must have just as many.
    pub channels: usize,
    /// The first unreadable sample ends the run, instead of being replaced and reported.
    pub strict: bool,
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
    /// Normalised, `[N, C, size, size]`.
    pub data: Vec<f32>,
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
    /// The epoch asked for last, and its order.
    order: Mutex<Option<(u64, Arc<[usize]>)>>,
}

/// What one place of a batch became.
struct Place {
    sample: usize,
    label: Option<u32>,
    records: Vec<ViewRecord>,
    skipped: Vec<Skipped>,
}

impl Loader {
    /// An error when the source has fewer samples than a batch, when a batch would be empty, or when the
    /// normalisation does not fit the channels.
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
            shared: Arc::new(Shared { reader, specs, plan, options, order: Mutex::default() }),
        })
    }

    /// Whole batches in an epoch; the samples left over are dropped (others in each epoch).
    pub fn batches_per_epoch(&self) -> u64 {
        self.shared.batches_per_epoch()
    }

    /// The batches of `steps`, beginning anywhere: batch k is the same however the range begins.
    pub fn batches(&self, steps: Range<u64>) -> Batches {
        let shared = self.shared.clone();
        let workers = shared.options.workers;
        Batches { ordered: Ordered::start(steps, workers, move |k, crew| shared.batch(k, crew)) }
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
        let n = self.options.batch;
        let order = self.order(epoch);
        let wanted = &order[at as usize * n..][..n];
        let mut views: Vec<View> = self.specs.iter().map(|spec| self.blank(spec)).collect();
        let mut slots: Vec<_> = views
            .iter_mut()
            .map(|view| view.data.chunks_exact_mut(self.options.channels * view.size * view.size))
            .collect();
        let mut places: Vec<Option<Result<Place, SourceError>>> =
            std::iter::repeat_with(|| None).take(n).collect();
        let items = wanted.iter().zip(&mut places).map(|(&sample, place)| {
            let outputs: Vec<&mut [f32]> = slots.iter_mut().filter_map(Iterator::next).collect();
            (sample, place, outputs)
        });
        crew.each(items, |(sample, place, outputs)| {
            *place = Some(guarded(|| self.place(epoch, sample, outputs)));
        });
        self.assemble(step, epoch, views, places)
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

    fn blank(&self, spec: &ViewSpec) -> View {
        let numbers = self.options.batch * self.options.channels * spec.size * spec.size;
        View { size: spec.size, data: vec![0.0; numbers] }
    }

    /// Fills one place of a batch. A sample that cannot be read is replaced by the next one of the source that
    /// can; the draws stay those of the place's own sample, so that no view is twice in a batch.
    fn place(
        &self,
        epoch: u64,
        wanted: usize,
        outputs: Vec<&mut [f32]>,
    ) -> Result<Place, SourceError> {
        let (sample, read, skipped) = self.reader.readable_from(wanted, self.options.strict)?;
        let mut records = Vec::with_capacity(outputs.len());
        for ((number, spec), output) in self.specs.iter().enumerate().zip(outputs) {
            let draw =
                Draw { seed: self.options.seed, epoch, sample: wanted as u64, view: number as u64 };
            let (image, record) = view::render(&read.image, spec, draw);
            view::write_normalized(&image, &self.plan.normalize, output);
            records.push(record);
        }
        Ok(Place { sample, label: read.label, records, skipped })
    }

    fn assemble(
        &self,
        step: u64,
        epoch: u64,
        views: Vec<View>,
        places: Vec<Option<Result<Place, SourceError>>>,
    ) -> Result<Batch, SourceError> {
        let mut records = vec![Vec::with_capacity(self.options.batch); self.specs.len()];
        let (mut samples, mut labels, mut skipped) = (Vec::new(), Vec::new(), Vec::new());
        for place in places {
            let place = place.unwrap_or_else(|| Err(SourceError::new("the loader", "stopped")))?;
            samples.push(place.sample);
            labels.push(place.label);
            skipped.extend(place.skipped);
            for (all, record) in records.iter_mut().zip(place.records) {
                all.push(record);
            }
        }
        skipped.sort_by_key(|skip: &Skipped| skip.sample);
        skipped.dedup_by_key(|skip| skip.sample);
        Ok(Batch { step, epoch, views, records, samples, labels, skipped })
    }
}

#[cfg(test)]
mod tests;
