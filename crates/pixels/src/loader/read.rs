//! Samples as the loader wants them: with the right channels, or with the reason why not.

use std::collections::BTreeMap;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::{Arc, Mutex, PoisonError};

use crate::decode::{Decoder, Opened, Place};
use crate::image::{Image, Samples};
use crate::planes::AnyPlanes;
use crate::record::CropBox;
use crate::source::{Source, SourceError, Stored};
use crate::view::Renderer;

use super::Skipped;

/// A source read with a wanted number of channels. It remembers what cannot be read whatever is wanted of it, so that a
/// long run of broken files is read once and not once per epoch. A damage that only some views meet is not
/// remembered: what one view found would decide another, and with it the order of threads or a restart.
pub(super) struct Reader {
    source: Arc<dyn Source>,
    channels: usize,
    broken: Mutex<BTreeMap<usize, Skipped>>,
}

/// Why an attempt at a sample failed.
pub(super) struct Failure {
    error: SourceError,
    /// Whether any other attempt would fail, too.
    lasting: bool,
}

/// What one thread needs to make views, all of it used again from image to image.
#[derive(Default)]
pub(super) struct Worker {
    file: Vec<u8>,
    decoder: Decoder,
    /// The part of the image at hand that was decoded, with the wanted channels.
    pub(super) part: AnyPlanes,
    pub(super) renderer: Renderer,
}

impl Reader {
    pub(super) fn new(source: Arc<dyn Source>, channels: usize) -> Self {
        Self { source, channels, broken: Mutex::default() }
    }

    pub(super) fn len(&self) -> usize {
        self.source.len()
    }

    pub(super) fn label(&self, index: usize) -> Option<u32> {
        self.source.label(index)
    }

    /// `attempt` at a sample, which is made once for one that can never be read.
    pub(super) fn try_with<T>(
        &self,
        index: usize,
        attempt: impl FnOnce() -> Result<T, Failure>,
    ) -> Result<T, Skipped> {
        if let Some(known) = self.lock().get(&index) {
            return Err(known.clone());
        }
        attempt().map_err(|Failure { error, lasting }| {
            let skipped =
                Skipped { sample: index, name: self.source.name(index), problem: error.problem };
            if lasting {
                self.lock().insert(index, skipped.clone());
            }
            skipped
        })
    }

    /// The first sample of `wanted`, `wanted + 1`, ..., around the source, at which `attempt` succeeds, what it gave, and
    /// what was passed over. An error when there is none, and with `strict` when it is not `wanted` itself.
    pub(super) fn readable_from<T>(
        &self,
        wanted: usize,
        strict: bool,
        mut attempt: impl FnMut(usize) -> Result<T, Failure>,
    ) -> Result<(usize, T, Vec<Skipped>), SourceError> {
        let n = self.len();
        let mut skipped: Vec<Skipped> = Vec::new();
        for index in (wanted..n).chain(0..wanted) {
            match self.try_with(index, || attempt(index)) {
                Ok(found) => return Ok((index, found, skipped)),
                Err(skip) if strict => {
                    return Err(SourceError::new(skip.name, skip.problem)
                        .hint("without `strict`, unreadable samples are passed over and listed"));
                }
                Err(skip) => skipped.push(skip),
            }
        }
        let example =
            skipped.first().map_or_else(String::new, |s| format!("{}: {}", s.name, s.problem));
        Err(SourceError::new("source", format!("none of {n} samples can be read ({example})")))
    }

    /// Brings the pixels into the worker's part that `wanted` asks for when it is told the image's width and height: a
    /// region, and how much smaller it may be decoded.
    pub(super) fn load(
        &self,
        index: usize,
        worker: &mut Worker,
        wanted: impl FnOnce([usize; 2]) -> (CropBox, usize),
    ) -> Result<Place, Failure> {
        let Worker { file, decoder, part, .. } = worker;
        let undecodable = |error| SourceError::undecodable(self.source.name(index), error);
        let opened = match self.source.fetch(index, file)? {
            Stored::File => Opened::read(file).map_err(undecodable)?,
            Stored::Pixels(image) => Opened::Pixels(image),
        };
        let (region, shrink) = wanted(opened.size());
        let place = decoder
            .part(&opened, file, region, shrink, part)
            .map_err(|error| Failure { error: undecodable(error), lasting: false })?;
        // The memory of an image that the source keeps as pixels serves for the next one.
        if let Opened::Pixels(Image { samples: Samples::U8(samples), .. }) = opened
            && file.capacity() < samples.capacity()
        {
            *file = samples;
        }
        self.fit(index, part)?;
        Ok(place)
    }

    /// Sees to the channels: with three wanted, everything becomes RGB; otherwise there must be just as many.
    fn fit(&self, index: usize, part: &mut AnyPlanes) -> Result<(), SourceError> {
        let found = part.channels();
        if part.fit(self.channels) {
            return Ok(());
        }
        let problem = format!("{} channels are wanted, {found} found", self.channels);
        Err(self.error(index, problem))
    }

    /// What is wrong with a sample.
    pub(super) fn error(&self, index: usize, problem: impl Into<String>) -> SourceError {
        SourceError::new(self.source.name(index), problem.into())
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, BTreeMap<usize, Skipped>> {
        self.broken.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl From<SourceError> for Failure {
    /// Of a file as such.
    fn from(error: SourceError) -> Self {
        Self { error, lasting: true }
    }
}

/// A panic in `work` becomes an error, so that a mistake in a decoder ends a run with a message and not a hang.
pub(super) fn guarded<T>(work: impl FnOnce() -> Result<T, SourceError>) -> Result<T, SourceError> {
    catch_unwind(AssertUnwindSafe(work)).unwrap_or_else(|panic| {
        let text = (panic.downcast_ref::<String>().map(String::as_str))
            .or_else(|| panic.downcast_ref::<&str>().copied())
            .unwrap_or("no message");
        Err(SourceError::new("the loader", format!("a worker failed: {text}")))
    })
}
