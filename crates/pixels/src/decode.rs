//! File bytes to an [`Image`].

use crate::image::Image;

/// Why bytes are no image.
#[derive(Debug, thiserror::Error)]
#[error("{0}")]
pub struct DecodeError(String);

/// Stand-in: reads what `encode_png` below writes.
pub fn decode(bytes: &[u8]) -> Result<Image, DecodeError> {
    let error = || DecodeError("not an image".to_owned());
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

/// Stand-in: a PPM.
pub fn encode_png(image: &Image) -> Vec<u8> {
    let mut bytes = format!("P6\n{} {}\n255\n", image.width, image.height).into_bytes();
    bytes.extend_from_slice(image.clone().into_rgb().expect("colour").as_u8().expect("8 bits"));
    bytes
}
