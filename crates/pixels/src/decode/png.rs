//! PNG: 1 to 16 bits, palettes, transparency.

use std::io::Cursor;

use png::{BitDepth, ColorType, Decoder, Transformations};

use super::transparency::over_white;
use super::{DecodeError, check_size, orientation};
use crate::image::Image;

pub fn decode(bytes: &[u8]) -> Result<Image, DecodeError> {
    let mut decoder = Decoder::new(Cursor::new(bytes));
    decoder.set_transformations(Transformations::EXPAND);
    decoder.set_ignore_text_chunk(true);
    decoder.set_ignore_iccp_chunk(true);
    let mut reader = decoder.read_info().map_err(explain)?;
    let info = reader.info();
    let (width, height) = (info.width as usize, info.height as usize);
    let upright = info.exif_metadata.as_deref().and_then(orientation::of_exif);
    let (color, depth) = reader.output_color_type();
    let channels = color.samples();
    check_size(width as u64, height as u64, channels as u64)?;
    let size = reader.output_buffer_size().ok_or_else(DecodeError::truncated)?;
    let mut buffer = vec![0; size];
    reader.next_frame(&mut buffer).map_err(explain)?;
    let alpha = matches!(color, ColorType::GrayscaleAlpha | ColorType::Rgba);
    let opaque = channels - usize::from(alpha);
    let image = if depth == BitDepth::Sixteen {
        let wide: Vec<u16> =
            buffer.as_chunks().0.iter().map(|&pair| u16::from_be_bytes(pair)).collect();
        let samples = if alpha { over_white(&wide, channels) } else { wide };
        Image::from_u16(width, height, opaque, samples)
    } else {
        let samples = if alpha { over_white(&buffer, channels) } else { buffer };
        Image::from_u8(width, height, opaque, samples)
    };
    Ok(orientation::apply(image, upright))
}

fn explain(error: png::DecodingError) -> DecodeError {
    match error {
        png::DecodingError::IoError(error) if error.kind() == std::io::ErrorKind::UnexpectedEof => {
            DecodeError::truncated()
        }
        error => DecodeError::from(error),
    }
}
