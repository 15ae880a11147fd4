//! Any source written as tar shards: one file, or a few, in place of a million.
//!
//! A shard is what webdataset's readers expect, so that other programs read it too: for each sample `00000000.jpg` with
//! `.cls` (the label), `.txt` (the first caption) and `.json` (what else is known, and what was done). Opened as `tar:`
//! it gives the same images, labels, classes, names, captions, boxes and groups; masks, frames and flow stay behind.

mod sample;
mod shard;

use std::path::{Path, PathBuf};
use std::sync::Mutex;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::thread;

use crate::source::{Source, SourceError};

use sample::{Done, Ready};
use shard::Shards;

/// So many samples for each thread are made before they are written: enough to keep threads busy, little enough to
/// stay in memory.
const AHEAD: usize = 16;

/// How a source is packed. The default copies the images as they are into one file.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct PackOptions {
    /// A new shard begins where the next sample would make the old one larger; `None` for a single file. With `Some`,
    /// `out.tar` means `out-000000.tar`, `out-000001.tar`, ...
    pub shard_bytes: Option<u64>,
    /// Images whose shorter side is longer than this many pixels are made smaller (bicubic, antialiased); none is
    /// made larger.
    pub short_side: Option<usize>,
    /// Every image becomes a JPEG of this quality, 1 to 100; those of more than 8 bits, or of other than 1 or 3
    /// channels, become PNG or TIFF without loss. Without it, an image that was made smaller is a JPEG of quality 92
    /// if it was a JPEG before, and without loss if it was not.
    pub quality: Option<u8>,
    /// Threads; they cannot change a byte. 0 means all cores.
    pub workers: usize,
}

/// What was written.
#[derive(Debug, Default)]
pub struct Packed {
    pub shards: Vec<PathBuf>,
    pub samples: usize,
    /// Of all shards together.
    pub bytes: u64,
    /// Files that were copied byte by byte.
    pub unchanged: usize,
    pub resized: usize,
    /// Images encoded anew as JPEG, and as PNG or TIFF.
    pub jpeg: usize,
    pub lossless: usize,
    /// Samples that could not be read, and are not in the shards.
    pub skipped: Vec<SourceError>,
}

/// Writes a source to `out`. The shards appear under their names when all are complete; an error leaves none. Existing
/// files are not overwritten. `progress` is told the number of samples done, and of all.
///
/// Each image is decoded once, whether it is changed or not, so that a broken one is found here and not in training.
/// The same source and options give the same bytes.
pub fn pack(
    source: &dyn Source,
    out: &Path,
    options: &PackOptions,
    progress: &mut dyn FnMut(usize, usize),
) -> Result<Packed, SourceError> {
    check(options)?;
    let mut shards = Shards::create(out, options.shard_bytes, source.classes())?;
    let workers = match options.workers {
        0 => thread::available_parallelism().map_or(1, std::num::NonZero::get),
        workers => workers,
    };
    let total = source.len();
    let mut packed = Packed::default();
    for start in (0..total).step_by(workers * AHEAD) {
        let end = total.min(start + workers * AHEAD);
        let made = in_parallel(end - start, workers, |i| sample::ready(source, start + i, options));
        for (index, made) in (start..end).zip(made) {
            match made {
                Ok(ready) => {
                    shards.add(index, &ready.entries)?;
                    packed.count(&ready);
                }
                Err(error) => packed.skipped.push(error),
            }
        }
        progress(end, total);
    }
    if packed.samples == 0 {
        let example = packed.skipped.first().map_or_else(String::new, |first| format!(": {first}"));
        let problem = format!("none of {total} samples could be read{example}");
        return Err(SourceError::new(out.to_string_lossy(), problem));
    }
    (packed.shards, packed.bytes) = shards.finish()?;
    Ok(packed)
}

impl Packed {
    fn count(&mut self, ready: &Ready) {
        self.samples += 1;
        self.resized += usize::from(ready.resized);
        match ready.done {
            Done::Unchanged => self.unchanged += 1,
            Done::Jpeg(_) => self.jpeg += 1,
            Done::Lossless => self.lossless += 1,
        }
    }
}

fn check(options: &PackOptions) -> Result<(), SourceError> {
    let wrong = |what: &str, found: String| {
        Err(SourceError::new("pack", format!("{what} is wanted, found {found}")))
    };
    match (options.quality, options.short_side) {
        (Some(quality), _) if !(1..=100).contains(&quality) => {
            wrong("a quality of 1 to 100", quality.to_string())
        }
        (_, Some(0)) => wrong("a short side of 1 pixel or more", "0".into()),
        _ => Ok(()),
    }
}

/// The results of `work` for 0 to `count`, in order.
fn in_parallel<T: Send>(count: usize, workers: usize, work: impl Fn(usize) -> T + Sync) -> Vec<T> {
    let next = AtomicUsize::new(0);
    let results = Mutex::new(Vec::with_capacity(count));
    let run = || {
        loop {
            let index = next.fetch_add(1, Ordering::Relaxed);
            if index >= count {
                return;
            }
            let result = work(index);
            results.lock().unwrap_or_else(std::sync::PoisonError::into_inner).push((index, result));
        }
    };
    thread::scope(|scope| {
        for _ in 1..workers.min(count) {
            scope.spawn(run);
        }
        run();
    });
    let mut results = results.into_inner().unwrap_or_else(std::sync::PoisonError::into_inner);
    results.sort_unstable_by_key(|(index, _)| *index);
    results.into_iter().map(|(_, result)| result).collect()
}

#[cfg(test)]
mod tests;
