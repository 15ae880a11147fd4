//! The crate's only error type.

use std::io;
use std::path::{Path, PathBuf};

/// What failed, and on which file.
#[derive(Debug, thiserror::Error)]
pub enum ReportError {
    #[error("cannot {action} {}: {cause}", path.display())]
    File { action: &'static str, path: PathBuf, cause: io::Error },

    #[error("{}: not the JSON that was expected: {cause}", path.display())]
    Json { path: PathBuf, cause: serde_json::Error },

    #[error("{}: expected a run folder, found no folder", path.display())]
    NoFolder { path: PathBuf },
}

impl ReportError {
    /// What the person can do about it.
    pub fn hint(&self) -> Option<String> {
        match self {
            Self::NoFolder { .. } => {
                Some("name the folder that `vertebra pretrain --out` was given".into())
            }
            Self::Json { .. } => Some("the file is damaged or of another version".into()),
            Self::File { .. } => None,
        }
    }

    pub(crate) fn file(action: &'static str, path: &Path) -> impl FnOnce(io::Error) -> Self {
        let path = path.to_owned();
        move |cause| Self::File { action, path, cause }
    }
}
