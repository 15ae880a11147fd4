//! JPEG: baseline and progressive, grey, YCbCr, RGB, CMYK and YCCK.

use zune_jpeg::JpegDecoder;
use zune_jpeg::errors::DecodeErrors;
use zune_jpeg::zune_core::bytestream::ZCursor;
use zune_jpeg::zune_core::colorspace::ColorSpace;
use zune_jpeg::zune_core::options::DecoderOptions;

use super::{DecodeError, check_size, orientation};
use crate::image::Image;

/// What the header says. At most [`super::MAX_SAMPLES`] samples.
#[derive(Clone, Copy)]
pub struct Frame {
    pub width: usize,
    pub height: usize,
    /// 1 of a grey image, 3 of any other: what is decoded is grey or RGB.
    pub channels: usize,
}

pub fn decode(bytes: &[u8]) -> Result<Image, DecodeError> {
    #[cfg(feature = "turbo")]
    return decode_by(super::turbo::samples, bytes);
    #[cfg(not(feature = "turbo"))]
    decode_by(samples, bytes)
}

/// A decoder of the data. Data that is missing or damaged has to be an error.
type Samples = fn(&[u8], Frame) -> Result<Vec<u8>, DecodeError>;

fn decode_by(samples: Samples, bytes: &[u8]) -> Result<Image, DecodeError> {
    decode_strictly(samples, bytes).or_else(|error| match without_stray_bytes(bytes) {
        Some(tidy) => decode_strictly(samples, &tidy),
        None => Err(error),
    })
}

fn decode_strictly(samples: Samples, bytes: &[u8]) -> Result<Image, DecodeError> {
    let mut decoder = JpegDecoder::new_with_options(ZCursor::new(bytes), options());
    decoder.decode_headers().map_err(explain)?;
    let info = decoder.info().ok_or_else(DecodeError::truncated)?;
    let (width, height) = (usize::from(info.width), usize::from(info.height));
    let channels = if decoder.input_colorspace() == Some(ColorSpace::Luma) { 1 } else { 3 };
    check_size(width as u64, height as u64, channels as u64)?;
    let upright = decoder.exif().and_then(|exif| orientation::of_exif(exif));
    let samples = samples(bytes, Frame { width, height, channels })?;
    Ok(orientation::apply(Image::from_u8(width, height, channels, samples), upright))
}

/// By zune-jpeg.
#[cfg(any(test, not(feature = "turbo")))]
fn samples(bytes: &[u8], frame: Frame) -> Result<Vec<u8>, DecodeError> {
    let space = if frame.channels == 1 { ColorSpace::Luma } else { ColorSpace::RGB };
    let options = options().jpeg_set_out_colorspace(space);
    let samples =
        JpegDecoder::new_with_options(ZCursor::new(bytes), options).decode().map_err(explain)?;
    if samples.len() != frame.width * frame.height * frame.channels {
        return Err(DecodeError::truncated());
    }
    Ok(samples)
}

fn options() -> DecoderOptions {
    // Where data is missing or damaged, the lenient mode fills up with grey and says nothing.
    DecoderOptions::default()
        .set_strict_mode(true)
        .set_max_width(usize::from(u16::MAX))
        .set_max_height(usize::from(u16::MAX))
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

#[cfg(all(test, feature = "turbo"))]
mod tests {
    #![allow(clippy::unwrap_used, reason = "a test may fail by panicking")]

    use super::super::turbo;
    use super::*;

    fn folder(name: &str) -> Option<Vec<Vec<u8>>> {
        let Some(data) = std::env::var_os("VERTEBRA_DATA") else {
            println!("skipped: VERTEBRA_DATA names no folder of pictures");
            return None;
        };
        let folder = std::fs::read_dir(std::path::Path::new(&data).join(name)).unwrap();
        Some(folder.take(40).map(|entry| std::fs::read(entry.unwrap().path()).unwrap()).collect())
    }

    /// How far apart two arrays are: at most, and on average.
    fn difference(a: &[u8], b: &[u8]) -> (u8, f64) {
        assert_eq!(a.len(), b.len());
        let apart = || a.iter().zip(b).map(|(a, b)| a.abs_diff(*b));
        (apart().max().unwrap(), apart().map(f64::from).sum::<f64>() / a.len() as f64)
    }

    #[test]
    fn the_decoders_agree_on_photographs() {
        for bytes in folder("imagenet-sample").unwrap_or_default() {
            let [pure, turbo] = [samples, turbo::samples].map(|by| decode_by(by, &bytes).unwrap());
            let (most, mean) = difference(pure.as_u8().unwrap(), turbo.as_u8().unwrap());
            // Measured on 2501 files: 9 at most, and 0.43. The inverse transforms round differently.
            assert!(most <= 9 && mean < 0.5, "{most} at most, {mean} on average");
        }
    }

    #[test]
    fn the_decoders_refuse_the_same_files() {
        for bytes in folder("decode-quirks/jpeg").unwrap_or_default() {
            for share in [0, 1, 20, 50, 80, 95, 99, 100] {
                let part = &bytes[..bytes.len() * share / 100];
                let [pure, turbo] = [samples, turbo::samples].map(|by| decode_by(by, part).is_ok());
                assert_eq!(pure, turbo, "{share} % of {} bytes", bytes.len());
            }
        }
    }

    #[test]
    fn stray_bytes_before_the_end_mark_are_passed_over() {
        for bytes in folder("imagenet-sample").unwrap_or_default().iter().take(4) {
            assert!(bytes.ends_with(&[0xFF, 0xD9]));
            let stray = [&bytes[..bytes.len() - 2], &[0, 0xFF, 0xD9]].concat();
            for by in [samples, turbo::samples] {
                let [clean, stray] = [bytes, &stray].map(|bytes| decode_by(by, bytes).unwrap());
                assert!(clean == stray);
            }
        }
    }
}
