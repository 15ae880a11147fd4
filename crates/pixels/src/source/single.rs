//! One image file.

use std::fs;
use std::path::{Path, PathBuf};
use std::time::UNIX_EPOCH;

use super::{Fingerprint, Source, SourceError, Stored};

/// One image file as a source of one sample without a label.
pub struct Single {
    path: PathBuf,
    fingerprint: String,
}

impl Single {
    /// An error where there is no such file.
    pub fn open(path: &Path) -> Result<Self, SourceError> {
        let unreadable =
            |error: std::io::Error| SourceError::new(path.to_string_lossy(), error.to_string());
        let path_there = fs::canonicalize(path).map_err(unreadable)?;
        let about = fs::metadata(&path_there).map_err(unreadable)?;
        let changed = about.modified().ok().and_then(|time| time.duration_since(UNIX_EPOCH).ok());
        let mut fingerprint = Fingerprint::new();
        fingerprint.bytes(path_there.as_os_str().as_encoded_bytes());
        fingerprint.number(about.len());
        fingerprint.number(changed.map_or(0, |time| time.as_nanos() as u64));
        Ok(Self { path: path.to_owned(), fingerprint: format!("single {}", fingerprint.text()) })
    }
}

impl Source for Single {
    fn len(&self) -> usize {
        1
    }

    fn fetch(&self, index: usize, buffer: &mut Vec<u8>) -> Result<Stored, SourceError> {
        let read = fs::File::open(&self.path).and_then(|mut file| {
            buffer.clear();
            std::io::Read::read_to_end(&mut file, buffer)
        });
        match read {
            Ok(_) => Ok(Stored::File),
            Err(error) => Err(SourceError::new(self.name(index), error.to_string())),
        }
    }

    fn label(&self, _index: usize) -> Option<u32> {
        None
    }

    fn name(&self, _index: usize) -> String {
        self.path.to_string_lossy().into_owned()
    }

    fn classes(&self) -> &[String] {
        &[]
    }

    fn fingerprint(&self) -> String {
        self.fingerprint.clone()
    }
}
