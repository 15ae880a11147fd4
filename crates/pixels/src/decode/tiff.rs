//! TIFF as microscopes and scanners write it: 1 to 16 bits, any number of channels, strips or tiles, interleaved or
//! planar.

use std::io::Cursor;

use tiff::decoder::{Decoder, DecodingResult, Limits};
use tiff::tags::Tag;
use tiff::{ColorType, TiffError};

use super::transparency::over_white;
use super::{DecodeError, MAX_SAMPLES, check_size, directory, orientation};
use crate::image::{Image, Samples};

pub fn decode(bytes: &[u8]) -> Result<Image, DecodeError> {
    let greyed = without_palette(bytes);
    let indexed = greyed.is_some();
    let bytes = greyed.as_deref().unwrap_or(bytes);
    let mut decoder = Decoder::new(Cursor::new(bytes)).map_err(explain)?.with_limits(limits());
    let (width, height) = decoder.dimensions().map_err(explain)?;
    let color = decoder.colortype().map_err(explain)?;
    let channels = usize::from(color.num_samples());
    check_size(width.into(), height.into(), channels as u64)?;
    let upright = decoder.find_tag_unsigned(Tag::Orientation).ok().flatten();
    let mut result = DecodingResult::U8(Vec::new());
    let layout = decoder.read_image_to_buffer(&mut result).map_err(explain)?;
    let (width, height) = (width as usize, height as usize);
    let size = Size { width, height, channels, planes: layout.planes.max(1) };
    let samples = match result {
        DecodingResult::U8(samples) => Samples::U8(match color.bit_depth() {
            8 => size.interleave(&samples)?,
            bits @ 1..=7 => size.interleave(&size.unpack(&samples, bits, indexed)?)?,
            bits => return Err(unsupported(color, bits)),
        }),
        DecodingResult::U16(samples) => Samples::U16(size.interleave(&samples)?),
        _ => return Err(unsupported(color, color.bit_depth())),
    };
    let image = in_colour(Image { width, height, channels, samples }, color)?;
    Ok(orientation::apply(image, upright.and_then(orientation::Orientation::new)))
}

/// The file with its palette indices declared as grey, which the library reads; `None` if it has no palette.
fn without_palette(bytes: &[u8]) -> Option<Vec<u8>> {
    const PHOTOMETRIC: u16 = 262;
    const PALETTE: u16 = 3;
    const BLACK_IS_ZERO: u16 = 1;
    let kind = directory::find(bytes, PHOTOMETRIC).filter(|kind| kind.value == PALETTE)?;
    let mut grey = bytes.to_vec();
    let value = BLACK_IS_ZERO;
    let value = if kind.little_endian { value.to_le_bytes() } else { value.to_be_bytes() };
    grey[kind.at].copy_from_slice(&value);
    Some(grey)
}

/// The library's own limits, wide enough for what [`check_size`] lets through.
fn limits() -> Limits {
    let mut limits = Limits::default();
    limits.decoding_buffer_size = 2 * MAX_SAMPLES as usize;
    limits.intermediate_buffer_size = 2 * MAX_SAMPLES as usize;
    limits
}

/// How the samples of a decoded file lie.
struct Size {
    width: usize,
    height: usize,
    channels: usize,
    /// 1 where the channels of a pixel lie together, else one plane after the other.
    planes: usize,
}

impl Size {
    /// The samples with the channels of a pixel side by side.
    fn interleave<T: Copy>(&self, samples: &[T]) -> Result<Vec<T>, DecodeError> {
        let pixels = self.width * self.height;
        let samples = samples.get(..pixels * self.channels).ok_or_else(DecodeError::truncated)?;
        if self.planes == 1 || self.channels == 1 {
            return Ok(samples.to_vec());
        }
        let pixel = |i: usize| samples[i..].iter().step_by(pixels).copied();
        Ok((0..pixels).flat_map(pixel).collect())
    }

    /// Samples of fewer than 8 bits, packed into bytes row by row, as whole bytes. Intensities are spread over 0 to
    /// 255; indices of a palette stay as they are.
    fn unpack(&self, packed: &[u8], bits: u8, indexed: bool) -> Result<Vec<u8>, DecodeError> {
        let (bits, mask) = (usize::from(bits), (1u16 << bits) - 1);
        let line = self.width * if self.planes == 1 { self.channels } else { 1 };
        let stride = (line * bits).div_ceil(8);
        let rows = self.height * self.planes;
        let packed = packed.get(..stride * rows).ok_or_else(DecodeError::truncated)?;
        let spread = if indexed { 1 } else { 255 / mask };
        let mut out = Vec::with_capacity(line * rows);
        for row in packed.chunks_exact(stride) {
            out.extend((0..line).map(|x| {
                let at = x * bits;
                let pair = u16::from_be_bytes([row[at / 8], *row.get(at / 8 + 1).unwrap_or(&0)]);
                ((pair >> (16 - bits - at % 8) & mask) * spread) as u8
            }));
        }
        Ok(out)
    }
}

/// Removes alpha and turns printing colours into RGB.
fn in_colour(image: Image, color: ColorType) -> Result<Image, DecodeError> {
    let Image { width, height, channels, samples } = image;
    let image = |channels, samples| Ok(Image { width, height, channels, samples });
    match (color, samples) {
        (ColorType::GrayA(_) | ColorType::RGBA(_), Samples::U8(samples)) => {
            image(channels - 1, Samples::U8(over_white(&samples, channels)))
        }
        (ColorType::GrayA(_) | ColorType::RGBA(_), Samples::U16(samples)) => {
            image(channels - 1, Samples::U16(over_white(&samples, channels)))
        }
        (ColorType::YCbCr(_), Samples::U8(samples)) => {
            let rgb = samples.as_chunks().0.iter().flat_map(|&pixel| from_ycbcr(pixel)).collect();
            image(3, Samples::U8(rgb))
        }
        (ColorType::CMYK(_), Samples::U8(samples)) => {
            let rgb = samples.as_chunks().0.iter().flat_map(|&pixel| from_cmyk(pixel)).collect();
            image(3, Samples::U8(rgb))
        }
        (ColorType::Gray(_) | ColorType::RGB(_) | ColorType::Multiband { .. }, samples) => {
            image(channels, samples)
        }
        _ => Err(unsupported(color, color.bit_depth())),
    }
}

/// ITU-R BT.601 over the full range, as in JPEG files.
fn from_ycbcr([y, cb, cr]: [u8; 3]) -> [u8; 3] {
    let (y, cb, cr) = (f32::from(y), f32::from(cb) - 128.0, f32::from(cr) - 128.0);
    [y + 1.402 * cr, y - 0.344_136 * cb - 0.714_136 * cr, y + 1.772 * cb]
        .map(|sample| sample.round() as u8)
}

/// Ink on white paper, without a colour profile.
fn from_cmyk([c, m, y, k]: [u8; 4]) -> [u8; 3] {
    [c, m, y].map(|ink| {
        let light = u32::from(255 - ink) * u32::from(255 - k);
        ((light + 127) / 255) as u8
    })
}

fn unsupported(color: ColorType, bits: u8) -> DecodeError {
    DecodeError::new(format!("samples of the kind {color:?} with {bits} bits are not read"))
        .with_hint("convert the file to unsigned integers of 8 or 16 bits")
}

fn explain(error: TiffError) -> DecodeError {
    match error {
        TiffError::IoError(error) if error.kind() == std::io::ErrorKind::UnexpectedEof => {
            DecodeError::truncated()
        }
        error => DecodeError::from(error),
    }
}
