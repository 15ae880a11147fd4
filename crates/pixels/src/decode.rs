//! File bytes to an [`Image`].

use crate::image::Image;

/// Why bytes are no image.
#[derive(Debug, thiserror::Error)]
#[error("{problem}")]
pub struct DecodeError {
    pub problem: String,
    pub hint: Option<String>,
}

/// Stand-in: reads a plain PPM.
pub fn decode(bytes: &[u8]) -> Result<Image, DecodeError> {
    let error = || DecodeError { problem: "not an image".to_owned(), hint: None };
    let mut parts = bytes.splitn(4, |&b| b == b'\n');
    let mut word = || parts.next().ok_or_else(error);
    let number = |text: &[u8]| {
        std::str::from_utf8(text).ok().and_then(|t| t.parse::<usize>().ok()).ok_or_else(error)
    };
    if word()? != b"P6" {
        return Err(error());
    }
    let size = word()?;
    let cut = size.iter().position(|&b| b == b' ').ok_or_else(error)?;
    let (width, height) = (number(&size[..cut])?, number(&size[cut + 1..])?);
    word()?;
    let samples = word()?.to_vec();
    if samples.len() != width * height * 3 {
        return Err(error());
    }
    Ok(Image::from_u8(width, height, 3, samples))
}
