//! JPEG: baseline and progressive, grey, YCbCr, RGB, CMYK and YCCK.

use zune_jpeg::JpegDecoder;
use zune_jpeg::errors::DecodeErrors;
use zune_jpeg::zune_core::bytestream::ZCursor;
use zune_jpeg::zune_core::colorspace::ColorSpace;
use zune_jpeg::zune_core::options::DecoderOptions;

use super::{DecodeError, check_size, orientation};
use crate::image::Image;

pub fn decode(bytes: &[u8]) -> Result<Image, DecodeError> {
    decode_strictly(bytes).or_else(|error| match without_stray_bytes(bytes) {
        Some(tidy) => decode_strictly(&tidy).map_err(explain),
        None => Err(explain(error)),
    })?
}

/// The outer error is the decoder's, the inner one ours.
fn decode_strictly(bytes: &[u8]) -> Result<Result<Image, DecodeError>, DecodeErrors> {
    // Where data is missing or damaged, the lenient mode fills up with grey and says nothing.
    let options = DecoderOptions::default()
        .set_strict_mode(true)
        .set_max_width(usize::from(u16::MAX))
        .set_max_height(usize::from(u16::MAX));
    let mut decoder = JpegDecoder::new_with_options(ZCursor::new(bytes), options);
    decoder.decode_headers()?;
    let info = decoder.info().ok_or(DecodeErrors::ExhaustedData)?;
    let (width, height) = (usize::from(info.width), usize::from(info.height));
    let grey = decoder.input_colorspace() == Some(ColorSpace::Luma);
    let (channels, space) = if grey { (1, ColorSpace::Luma) } else { (3, ColorSpace::RGB) };
    if let Err(error) = check_size(width as u64, height as u64, channels as u64) {
        return Ok(Err(error));
    }
    decoder.set_options(options.jpeg_set_out_colorspace(space));
    let samples = decoder.decode()?;
    if samples.len() != width * height * channels {
        return Err(DecodeErrors::ExhaustedData);
    }
    let upright = decoder.exif().and_then(|exif| orientation::of_exif(exif));
    let image = Image::from_u8(width, height, channels, samples);
    Ok(Ok(orientation::apply(image, upright)))
}

/// The file without the bytes that some writers leave between the segments of the header, which every viewer skips
/// and the strict mode refuses. `None` if there are none.
fn without_stray_bytes(bytes: &[u8]) -> Option<Vec<u8>> {
    const SCAN: u8 = 0xDA;
    let mut tidy = bytes.get(..2)?.to_vec();
    let mut at = 2;
    loop {
        at += bytes.get(at..)?.windows(2).position(|pair| {
            // A mark that opens a segment; stuffed and fill bytes, restarts and ends do not.
            pair[0] == 0xFF && matches!(pair[1], 0xC0..=0xCF | SCAN..=0xFE)
        })?;
        if bytes[at + 1] == SCAN {
            tidy.extend_from_slice(&bytes[at..]);
            return (tidy.len() < bytes.len()).then_some(tidy);
        }
        let length = usize::from(u16::from_be_bytes(*bytes.get(at + 2..)?.first_chunk()?));
        tidy.extend_from_slice(bytes.get(at..at + 2 + length)?);
        at += 2 + length;
    }
}

fn explain(error: DecodeErrors) -> DecodeError {
    match error {
        DecodeErrors::ExhaustedData
        | DecodeErrors::IoErrors(_)
        | DecodeErrors::FormatStatic("Premature end of buffer") => DecodeError::truncated(),
        DecodeErrors::FormatStatic(problem) => DecodeError::from(problem),
        DecodeErrors::Format(problem) => DecodeError::from(problem),
        error => DecodeError::from(error),
    }
}
