//! File bytes to an [`Image`].

use crate::image::Image;

/// Why bytes are not an image.
#[derive(Debug, thiserror::Error)]
#[error("{problem}")]
pub struct DecodeError {
    /// What was found.
    pub problem: String,
    /// What to do about it, where that is known.
    pub hint: Option<String>,
}

pub fn decode(_bytes: &[u8]) -> Result<Image, DecodeError> {
    unimplemented!()
}
