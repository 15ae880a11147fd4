//! TIFF as microscopes and scanners write it: integers and floats, any number of channels, strips or tiles, interleaved
//! or planar.

use std::io::Cursor;

use tiff::decoder::{Decoder, DecodingResult, Limits};
use tiff::tags::Tag;
use tiff::{ColorType, TiffError, TiffUnsupportedError};

use super::depth::{Conversion, to_sixteen};
use super::transparency::over_white;
use super::{DecodeError, MAX_SAMPLES, check_size, directory, orientation};
use crate::image::{Image, Samples};

pub fn decode(bytes: &[u8]) -> Result<(Image, Option<Conversion>), DecodeError> {
    let greyed = without_palette(bytes);
    let indexed = greyed.is_some();
    let bytes = greyed.as_deref().unwrap_or(bytes);
    let mut decoder = Decoder::new(Cursor::new(bytes)).map_err(explain)?.with_limits(limits());
    let (width, height) = decoder.dimensions().map_err(explain)?;
    let color = decoder.colortype().map_err(explain)?;
    let channels = usize::from(color.num_samples());
    check_size(width.into(), height.into(), channels as u64)?;
    refuse_tiles_in_planes(&mut decoder, channels)?;
    let upright = decoder.find_tag_unsigned(Tag::Orientation).ok().flatten();
    let declared = declared_range(&mut decoder);
    let mut result = DecodingResult::U8(Vec::new());
    let layout = decoder.read_image_to_buffer(&mut result).map_err(explain)?;
    let (width, height) = (width as usize, height as usize);
    let size = Size { width, height, channels, planes: layout.planes.max(1) };
    let (samples, conversion) = size.samples(&result, color, indexed, declared)?;
    let has_alpha = matches!(color, ColorType::GrayA(_) | ColorType::RGBA(_));
    if let (Some(Conversion::Rescaled { low, high }), true) = (conversion, has_alpha) {
        let problem = format!("colours from {low} to {high} together with transparency");
        return Err(DecodeError::new(problem).with_hint("write the file without transparency"));
    }
    let image = in_colour(Image { width, height, channels, samples }, color)?;
    let image = orientation::apply(image, upright.and_then(orientation::Orientation::new));
    Ok((image, conversion))
}

/// The library panics on these.
fn refuse_tiles_in_planes(
    decoder: &mut Decoder<Cursor<&[u8]>>,
    channels: usize,
) -> Result<(), DecodeError> {
    const PLANAR: u16 = 2;
    let planar = decoder.find_tag_unsigned(Tag::PlanarConfiguration).ok().flatten() == Some(PLANAR);
    let tiled = decoder.find_tag(Tag::TileOffsets).is_ok_and(|tag| tag.is_some());
    if planar && tiled && channels > 1 {
        return Err(DecodeError::new("tiles of which each holds one channel are not read")
            .with_hint("write the file in strips, or with the channels of a pixel side by side"));
    }
    Ok(())
}

/// The lowest and highest sample as the file declares them, over all channels.
fn declared_range(decoder: &mut Decoder<Cursor<&[u8]>>) -> Option<[f64; 2]> {
    let mut numbers = |tag| {
        let value = decoder.find_tag(tag).ok()??;
        let single =
            || value.clone().into_f32_vec().map(|v| v.into_iter().map(f64::from).collect());
        let signed = || value.clone().into_i64_vec().map(|v| v.iter().map(|&v| v as f64).collect());
        let double: Result<Vec<f64>, TiffError> = value.clone().into_f64_vec();
        double.or_else(|_| single()).or_else(|_| signed()).ok()
    };
    let low = numbers(Tag::SMinSampleValue)?.into_iter().fold(f64::INFINITY, f64::min);
    let high = numbers(Tag::SMaxSampleValue)?.into_iter().fold(f64::NEG_INFINITY, f64::max);
    Some([low, high])
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

    /// The samples as an image holds them, and what was done to those of another kind. `declared` is the file's own
    /// range.
    fn samples(
        &self,
        result: &DecodingResult,
        color: ColorType,
        indexed: bool,
        declared: Option<[f64; 2]>,
    ) -> Result<(Samples, Option<Conversion>), DecodeError> {
        let wide = |(samples, conversion)| (Samples::U16(samples), Some(conversion));
        let shifted = |samples| (samples, Some(Conversion::Shifted));
        Ok(match result {
            DecodingResult::U8(v) => match color.bit_depth() {
                8 => (Samples::U8(self.interleave(v)?), None),
                bits @ 1..=7 => {
                    (Samples::U8(self.interleave(&self.unpack(v, bits, indexed)?)?), None)
                }
                bits => return Err(unsupported(color, bits)),
            },
            DecodingResult::U16(v) => (Samples::U16(self.interleave(v)?), None),
            DecodingResult::I8(v) => {
                let samples = self.interleave(v)?.into_iter().map(|v| v as u8 ^ 0x80);
                shifted(Samples::U8(samples.collect()))
            }
            DecodingResult::I16(v) => {
                let samples = self.interleave(v)?.into_iter().map(|v| v as u16 ^ 0x8000);
                shifted(Samples::U16(samples.collect()))
            }
            DecodingResult::U32(v) => {
                wide(to_sixteen(&self.interleave(v)?, f64::from, false, declared)?)
            }
            DecodingResult::I32(v) => {
                wide(to_sixteen(&self.interleave(v)?, f64::from, false, declared)?)
            }
            DecodingResult::U64(v) => {
                wide(to_sixteen(&self.interleave(v)?, |v| v as f64, false, declared)?)
            }
            DecodingResult::I64(v) => {
                wide(to_sixteen(&self.interleave(v)?, |v| v as f64, false, declared)?)
            }
            DecodingResult::F16(v) => {
                wide(to_sixteen(&self.interleave(v)?, f64::from, true, declared)?)
            }
            DecodingResult::F32(v) => {
                wide(to_sixteen(&self.interleave(v)?, f64::from, true, declared)?)
            }
            DecodingResult::F64(v) => {
                wide(to_sixteen(&self.interleave(v)?, |v| v, true, declared)?)
            }
        })
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
        TiffError::UnsupportedError(
            error @ TiffUnsupportedError::UnsupportedCompressionMethod(_),
        ) => DecodeError::from(error)
            .with_hint("write the file again with LZW, Deflate or no compression"),
        error => DecodeError::from(error),
    }
}
