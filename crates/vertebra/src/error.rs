//! The library's only error type.

use std::path::PathBuf;

/// What was wanted, what was found, and where. [`Error::hint`] says what to do.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    #[error("cannot {action} {}: {cause}", path.display())]
    File { action: &'static str, path: PathBuf, cause: std::io::Error },

    #[error("{}: not a usable {what}: {problem}", path.display())]
    Damaged { what: &'static str, path: PathBuf, problem: String },

    #[error("{}: it asks to call `{callable}`: such a file can run code and is refused", path.display())]
    Unsafe { path: PathBuf, callable: String },

    #[error("{}: no tensor named `{name}`", path.display())]
    MissingTensor { path: PathBuf, name: String, nearest: Option<String> },

    #[error("{}: the tensor `{name}` is not part of this model", path.display())]
    UnclaimedTensor { path: PathBuf, name: String, nearest: Option<String> },

    #[error("{}: `{name}` has shape {found:?}, the model wants {wanted:?}", path.display())]
    WrongShape { path: PathBuf, name: String, wanted: Vec<i64>, found: Vec<i64> },

    #[error("{place}: expected {wanted}, got {found:?}")]
    Shape { place: &'static str, wanted: &'static str, found: Vec<i64> },

    #[error("recipe: {field}: {problem}")]
    Recipe { field: String, problem: String, hint: Option<String> },

    #[error("the loss became {value} at step {step} (first bad term: {term})")]
    NonFinite { step: u64, term: String, value: f64, last_good: Option<PathBuf> },

    #[error("no parameter group claims `{name}`")]
    UnclaimedParameter { name: String },

    #[error(transparent)]
    Source(#[from] pixels::source::SourceError),

    #[error(transparent)]
    Report(#[from] report::ReportError),

    // Not its source: the message already holds all of it.
    #[error("torch: {0}")]
    Torch(tch::TchError),

    #[error("{problem}")]
    Usage { problem: String, hint: Option<String> },
}

pub type Result<T, E = Error> = std::result::Result<T, E>;

impl Error {
    /// What the person can do about it.
    pub fn hint(&self) -> Option<String> {
        match self {
            Self::MissingTensor { nearest, .. } => {
                nearest.as_ref().map(|name| format!("the file does hold `{name}`"))
            }
            Self::UnclaimedTensor { nearest, .. } => {
                nearest.as_ref().map(|name| format!("the model has `{name}`"))
            }
            Self::Damaged { what: "checkpoint", .. } => Some(
                "delete it: the run goes on from the checkpoint before, or begins again".into(),
            ),
            Self::Unsafe { .. } => Some(
                "if you trust it, open it in Python and save its tensors alone, as safetensors or with \
                 `torch.save(model.state_dict(), file)`"
                    .into(),
            ),
            Self::NonFinite { last_good, .. } => Some(match last_good {
                Some(path) => format!(
                    "begin again in another folder with a lower `optimizer.lr`, a longer warm-up, or \
                     `precision = \"fp32\"`; the last good checkpoint, {}, is still an encoder",
                    path.display()
                ),
                None => {
                    "start again with a lower `optimizer.lr`, or with `precision = \"fp32\"`".into()
                }
            }),
            Self::Source(error) => error.hint.clone(),
            Self::Report(report::ReportError::File { cause, .. }) if is_full(cause) => {
                Some("make room on the disk; `--resume` goes on from the newest checkpoint".into())
            }
            Self::Report(error) => error.hint(),
            Self::Recipe { hint, .. } | Self::Usage { hint, .. } => hint.clone(),
            _ => None,
        }
    }

    /// Wraps an input/output error with what was being done to which file.
    pub fn file(
        action: &'static str,
        path: impl Into<PathBuf>,
    ) -> impl FnOnce(std::io::Error) -> Self {
        let path = path.into();
        move |cause| Self::File { action, path, cause }
    }
}

impl From<tch::TchError> for Error {
    fn from(error: tch::TchError) -> Self {
        Self::Torch(error)
    }
}

/// Whether a file could not be written for want of room.
fn is_full(cause: &std::io::Error) -> bool {
    use std::io::ErrorKind::{FileTooLarge, QuotaExceeded, StorageFull};
    matches!(cause.kind(), StorageFull | QuotaExceeded | FileTooLarge)
}
