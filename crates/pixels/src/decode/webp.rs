//! WebP: lossy, lossless, animated (the first frame).

use std::io::Cursor;

use image_webp::WebPDecoder;

use super::transparency::over_white;
use super::{DecodeError, check_size, orientation};
use crate::image::Image;

pub fn decode(bytes: &[u8]) -> Result<Image, DecodeError> {
    let mut decoder = WebPDecoder::new(Cursor::new(bytes)).map_err(DecodeError::from)?;
    let (width, height) = decoder.dimensions();
    let alpha = decoder.has_alpha();
    let channels = if alpha { 4 } else { 3 };
    check_size(width.into(), height.into(), channels)?;
    let size = decoder.output_buffer_size().ok_or_else(DecodeError::truncated)?;
    let mut samples = vec![0; size];
    if decoder.is_animated() {
        decoder.read_frame(&mut samples).map_err(DecodeError::from)?;
    } else {
        decoder.read_image(&mut samples).map_err(DecodeError::from)?;
    }
    if alpha {
        samples = over_white(&samples, 4);
    }
    // A broken block says nothing about the pixels.
    let exif = decoder.exif_metadata().ok().flatten();
    let upright = exif.as_deref().and_then(orientation::of_exif);
    let image = Image::from_u8(width as usize, height as usize, 3, samples);
    Ok(orientation::apply(image, upright))
}
