//! Samples as the loader wants them: with the right channels, or with the reason why not.

use std::collections::BTreeMap;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::{Arc, Mutex, PoisonError};

use crate::image::Image;
use crate::source::{Source, SourceError};

use super::Skipped;

/// A source read with a wanted number of channels. It remembers what it found broken, so that a long run of
/// broken files is read once and not once per epoch.
pub(super) struct Reader {
    source: Arc<dyn Source>,
    channels: usize,
    broken: Mutex<BTreeMap<usize, Skipped>>,
}

/// An image that fits, and its label.
pub(super) struct Read {
    pub(super) image: Image,
    pub(super) label: Option<u32>,
}

impl Reader {
    pub(super) fn new(source: Arc<dyn Source>, channels: usize) -> Self {
        Self { source, channels, broken: Mutex::default() }
    }

    pub(super) fn len(&self) -> usize {
        self.source.len()
    }

    pub(super) fn read(&self, index: usize) -> Result<Read, Skipped> {
        if let Some(known) = self.lock().get(&index) {
            return Err(known.clone());
        }
        self.read_anew(index).map_err(|error| {
            let skipped =
                Skipped { sample: index, name: self.source.name(index), problem: error.problem };
            self.lock().insert(index, skipped.clone());
            skipped
        })
    }

    /// The first readable sample of `wanted`, `wanted + 1`, ..., around the source, and what was passed over.
    /// An error when there is none, and with `strict` when it is not `wanted` itself.
    pub(super) fn readable_from(
        &self,
        wanted: usize,
        strict: bool,
    ) -> Result<(usize, Read, Vec<Skipped>), SourceError> {
        let n = self.len();
        let mut skipped: Vec<Skipped> = Vec::new();
        for index in (wanted..n).chain(0..wanted) {
            match self.read(index) {
                Ok(read) => return Ok((index, read, skipped)),
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

    fn read_anew(&self, index: usize) -> Result<Read, SourceError> {
        let sample = self.source.get(index)?;
        let found = sample.image.channels;
        let image = match self.channels {
            3 => sample.image.into_rgb(),
            wanted if wanted == found => Some(sample.image),
            _ => None,
        };
        let image = image.ok_or_else(|| {
            let problem = format!("{} channels are wanted, {found} found", self.channels);
            SourceError::new(self.source.name(index), problem)
        })?;
        Ok(Read { image, label: sample.label })
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, BTreeMap<usize, Skipped>> {
        self.broken.lock().unwrap_or_else(PoisonError::into_inner)
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
