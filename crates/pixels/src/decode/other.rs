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
        ImageFormat::Gif => read(GifDecoder::new(file).map_err(explain)?),
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
