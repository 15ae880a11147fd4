//! Every sample of a source read once, on many threads.

use std::sync::atomic::{AtomicUsize, Ordering};

use crate::decode::{Conversion, decode_and_tell};
use crate::image::Image;
use crate::source::{Source, SourceError, Stored};

#[cfg(test)]
pub(crate) mod shelf;

/// A sample as it was read.
pub(crate) struct Read {
    pub image: Image,
    /// What decoding did to its samples.
    pub conversion: Option<Conversion>,
}

/// Reads the samples `indices`, each once. Every one of `workers` threads keeps what it sees in a value made by `new`;
/// these come back, in no order, and which sample is in which of them is not fixed either: what is made of them must
/// not depend on it. `done` hears of each sample that was read. Memory is one decoded image per thread and the values.
pub(crate) fn scan<T: Send>(
    source: &dyn Source,
    indices: &[usize],
    workers: usize,
    done: &(dyn Fn() + Sync),
    new: impl Fn() -> T + Sync,
    visit: impl Fn(&mut T, usize, Result<Read, SourceError>) + Sync,
) -> Vec<T> {
    let next = AtomicUsize::new(0);
    let work = || {
        let mut seen = new();
        let mut buffer = Vec::new();
        while let Some(&index) = indices.get(next.fetch_add(1, Ordering::Relaxed)) {
            visit(&mut seen, index, read(source, index, &mut buffer));
            done();
        }
        seen
    };
    std::thread::scope(|scope| {
        let threads: Vec<_> = (0..workers.max(1)).map(|_| scope.spawn(work)).collect();
        threads
            .into_iter()
            .map(|thread| thread.join().unwrap_or_else(|panic| std::panic::resume_unwind(panic)))
            .collect()
    })
}

fn read(source: &dyn Source, index: usize, buffer: &mut Vec<u8>) -> Result<Read, SourceError> {
    match source.fetch(index, buffer)? {
        Stored::Pixels(image) => Ok(Read { image, conversion: None }),
        Stored::File => {
            let (image, conversion) = decode_and_tell(buffer)
                .map_err(|error| SourceError::undecodable(source.name(index), error))?;
            Ok(Read { image, conversion })
        }
    }
}
