//! Open files, a limited number of them, read from many threads.

use std::collections::VecDeque;
use std::fs::File;
use std::io;
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};

/// As many files are kept open; a process may commonly have 1024.
const MOST_OPEN: usize = 64;

/// Files that are opened when they are first read.
pub(in crate::source) struct Handles {
    paths: Vec<PathBuf>,
    /// The latest use last. The lock is held while a file is looked up or opened, never while one is read.
    open: Mutex<VecDeque<(usize, Arc<File>)>>,
}

impl Handles {
    pub(in crate::source) fn new(paths: &[PathBuf]) -> Self {
        Self { paths: paths.to_vec(), open: Mutex::default() }
    }

    pub(in crate::source) fn path(&self, number: usize) -> &Path {
        &self.paths[number]
    }

    /// Fills `buffer` from a place in a file.
    pub(in crate::source) fn read(
        &self,
        number: usize,
        buffer: &mut [u8],
        at: u64,
    ) -> io::Result<()> {
        let file = self.file(number)?;
        read_at(&file, buffer, at)
    }

    fn file(&self, number: usize) -> io::Result<Arc<File>> {
        let mut open = self.open.lock().unwrap_or_else(PoisonError::into_inner);
        let known = open.iter().position(|(other, _)| *other == number);
        let file = match known.and_then(|place| open.remove(place)) {
            Some((_, file)) => file,
            None => Arc::new(File::open(&self.paths[number])?),
        };
        if open.len() >= MOST_OPEN {
            open.pop_front();
        }
        open.push_back((number, file.clone()));
        Ok(file)
    }
}

/// Reads without a cursor, so that threads can share the file.
pub(in crate::source) fn read_at(file: &File, buffer: &mut [u8], at: u64) -> io::Result<()> {
    file.read_exact_at(buffer, at)
}
