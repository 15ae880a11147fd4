//! A file that the parquet library reads from many threads at once.

use std::fs;
use std::io::{self, Read};
use std::sync::Arc;

use bytes::Bytes;
use parquet::errors::{ParquetError, Result};
use parquet::file::reader::{ChunkReader, Length};

use super::super::tar::Handles;

/// One of the files of some handles. The library's own reading of a `File` moves a cursor that all threads share.
#[derive(Clone)]
pub(super) struct Piecewise {
    handles: Arc<Handles>,
    number: usize,
    size: u64,
}

/// The rest of a file from some place.
pub(super) struct Rest {
    file: Piecewise,
    at: u64,
}

impl Piecewise {
    pub(super) fn open(handles: &Arc<Handles>, number: usize) -> io::Result<Self> {
        let size = fs::metadata(handles.path(number))?.len();
        Ok(Self { handles: handles.clone(), number, size })
    }

    pub(super) fn size(&self) -> u64 {
        self.size
    }
}

impl Length for Piecewise {
    fn len(&self) -> u64 {
        self.size
    }
}

impl ChunkReader for Piecewise {
    type T = io::BufReader<Rest>;

    fn get_read(&self, start: u64) -> Result<Self::T> {
        Ok(io::BufReader::new(Rest { file: self.clone(), at: start }))
    }

    fn get_bytes(&self, start: u64, length: usize) -> Result<Bytes> {
        let inside = start.checked_add(length as u64).is_some_and(|end| end <= self.size);
        if !inside {
            return Err(ParquetError::EOF(format!("{length} bytes at {start} of {}", self.size)));
        }
        let mut bytes = vec![0; length];
        self.handles.read(self.number, &mut bytes, start)?;
        Ok(bytes.into())
    }
}

impl Read for Rest {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let left = self.file.size.saturating_sub(self.at).min(buffer.len() as u64) as usize;
        self.file.handles.read(self.file.number, &mut buffer[..left], self.at)?;
        self.at += left as u64;
        Ok(left)
    }
}
