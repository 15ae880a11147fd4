//! What went wrong and what to do about it.

use std::fmt;

/// A task's failure.
#[derive(Debug)]
pub struct Failure {
    what: String,
    hint: String,
}

impl Failure {
    /// `what` failed, and where; `hint` says what to do, and may be empty.
    pub fn new(what: impl Into<String>, hint: impl Into<String>) -> Self {
        Self { what: what.into(), hint: hint.into() }
    }
}

impl fmt::Display for Failure {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(out, "error: {}", self.what.trim_end())?;
        if self.hint.is_empty() { Ok(()) } else { write!(out, "\nhint: {}", self.hint) }
    }
}
