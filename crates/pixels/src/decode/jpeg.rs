//! JPEG: baseline and progressive, grey, YCbCr, RGB, CMYK and YCCK.

use zune_jpeg::JpegDecoder;
use zune_jpeg::zune_core::bytestream::ZCursor;
use zune_jpeg::zune_core::colorspace::ColorSpace;
use zune_jpeg::zune_core::options::DecoderOptions;

use super::{DecodeError, check_size, orientation};
use crate::image::Image;

pub fn decode(bytes: &[u8]) -> Result<Image, DecodeError> {
    // Where data runs out, the lenient decoder fills up with grey. The strict one refuses, but it also refuses
    // harmless oddities, so it is asked only when the end mark is missing.
    let complete = has_end(bytes);
    let options = DecoderOptions::default()
        .set_strict_mode(!complete)
        .set_max_width(usize::from(u16::MAX))
        .set_max_height(usize::from(u16::MAX));
    let mut decoder = JpegDecoder::new_with_options(ZCursor::new(bytes), options);
    decoder.decode_headers().map_err(DecodeError::from)?;
    let info = decoder.info().ok_or_else(DecodeError::truncated)?;
    let (width, height) = (usize::from(info.width), usize::from(info.height));
    let grey = decoder.input_colorspace() == Some(ColorSpace::Luma);
    let (channels, space) = if grey { (1, ColorSpace::Luma) } else { (3, ColorSpace::RGB) };
    check_size(width as u64, height as u64, channels as u64)?;
    decoder.set_options(options.jpeg_set_out_colorspace(space));
    let samples = match decoder.decode() {
        Ok(samples) => samples,
        Err(_) if !complete => return Err(DecodeError::truncated()),
        Err(error) => return Err(DecodeError::from(error)),
    };
    if samples.len() != width * height * channels {
        return Err(DecodeError::truncated());
    }
    let upright = decoder.exif().and_then(|exif| orientation::of_exif(exif));
    let image = Image::from_u8(width, height, channels, samples);
    Ok(orientation::apply(image, upright))
}

/// Whether the marks of the file, followed from segment to segment, lead to the end-of-image mark. Thumbnails inside
/// of segments have end marks of their own, so looking at the last bytes or for any end mark does not do.
fn has_end(bytes: &[u8]) -> bool {
    const END: u8 = 0xD9;
    let mut at = 2;
    while let Some(skip) = bytes.get(at..).and_then(|rest| rest.iter().position(|&b| b == 0xFF)) {
        at += skip + 1;
        match bytes.get(at) {
            Some(&END) => return true,
            // Stuffed bytes, fill bytes, restart marks and other marks without a segment.
            Some(0x00 | 0x01 | 0xFF | 0xD0..=0xD8) | None => {}
            Some(_) => {
                let Some(length) = bytes.get(at + 1..at + 3) else { return false };
                at += 1 + usize::from(u16::from_be_bytes([length[0], length[1]]));
            }
        }
    }
    false
}
