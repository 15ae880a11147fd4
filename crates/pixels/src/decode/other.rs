//! BMP, GIF (the first frame) and PNM.

use std::io::Cursor;

use ::image::codecs::{bmp::BmpDecoder, gif::GifDecoder, pnm::PnmDecoder};
use ::image::{ColorType, ImageDecoder, ImageFormat};

use super::transparency::over_white;
use super::{DecodeError, check_size};
use crate::image::Image;

pub fn decode(bytes: &[u8], format: ImageFormat) -> Result<Image, DecodeError> {
    let file = Cursor::new(bytes);
    match format {
        ImageFormat::Bmp => read(BmpDecoder::new(file).map_err(explain)?),
        ImageFormat::Gif => {
            // The library makes room for the frame, which may claim to be larger than the picture.
            let [width, height] = first_frame(bytes).unwrap_or_default();
            check_size(width, height, 4)?;
            read(GifDecoder::new(file).map_err(explain)?)
        }
        _ => read(PnmDecoder::new(file).map_err(explain)?),
    }
}

fn read(decoder: impl ImageDecoder) -> Result<Image, DecodeError> {
    let (width, height) = decoder.dimensions();
    let color = decoder.color_type();
    let channels = usize::from(color.channel_count());
    check_size(width.into(), height.into(), channels as u64)?;
    let mut buffer = vec![0; decoder.total_bytes() as usize];
    decoder.read_image(&mut buffer).map_err(explain)?;
    let (width, height) = (width as usize, height as usize);
    match color {
        ColorType::L8 | ColorType::Rgb8 => Ok(Image::from_u8(width, height, channels, buffer)),
        ColorType::La8 | ColorType::Rgba8 => {
            Ok(Image::from_u8(width, height, channels - 1, over_white(&buffer, channels)))
        }
        ColorType::L16 | ColorType::Rgb16 => {
            let wide = buffer.as_chunks().0.iter().map(|&pair| u16::from_ne_bytes(pair)).collect();
            Ok(Image::from_u16(width, height, channels, wide))
        }
        other => Err(DecodeError::new(format!("samples of the kind {other:?} are not read"))),
    }
}

/// Width and height of the first frame of a GIF; `None` where there is none.
fn first_frame(bytes: &[u8]) -> Option<[u64; 2]> {
    const EXTENSION: u8 = 0x21;
    const FRAME: u8 = 0x2C;
    let flags = *bytes.get(10)?;
    let colours = if flags & 0x80 == 0 { 0 } else { 3 << (usize::from(flags & 7) + 1) };
    let mut at = 13 + colours;
    while *bytes.get(at)? == EXTENSION {
        at += 2;
        // Blocks of bytes, each after its length, up to an empty one.
        while let length @ 1.. = *bytes.get(at)? {
            at += 1 + usize::from(length);
        }
        at += 1;
    }
    let side = |at: usize| {
        let pair = *bytes.get(at..)?.first_chunk()?;
        Some(u64::from(u16::from_le_bytes(pair)))
    };
    (bytes[at] == FRAME).then_some([side(at + 5)?, side(at + 7)?])
}

fn explain(error: ::image::ImageError) -> DecodeError {
    match error {
        ::image::ImageError::IoError(error)
            if error.kind() == std::io::ErrorKind::UnexpectedEof =>
        {
            DecodeError::truncated()
        }
        error => DecodeError::from(error),
    }
}
