//! Only the part of a picture that its views need.

use std::panic::{AssertUnwindSafe, catch_unwind};

use super::orientation::Orientation;
use super::{DecodeError, Format, decode, jpeg};
use crate::image::Image;
use crate::planes::AnyPlanes;
use crate::record::CropBox;
use crate::resize::Area;

/// A whole JPEG file ends within so many bytes of its end mark; some writers leave a little behind it.
const TAIL: usize = 1024;

/// A picture of which enough has been read to know its size.
pub enum Opened {
    /// The header of a JPEG.
    Jpeg(jpeg::Header),
    /// All of it has been decoded.
    Pixels(Image),
}

/// Decodes parts, with memory that is used again.
#[derive(Default)]
pub struct Decoder {
    jpeg: jpeg::Scratch,
    /// A part as it is stored, before it is turned upright.
    stored: Vec<u8>,
}

/// Where a decoded part lies in its picture.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Place {
    /// Pixels of the picture for one of the part, along each side.
    shrink: f64,
    /// The part's origin, in pixels of the reduced picture.
    top: f64,
    left: f64,
}

impl Opened {
    /// Reads as much of a file as its size needs: the header of a JPEG, all of any other.
    ///
    /// A JPEG whose end is missing is decoded, so that a file that was cut short is an error at once and not when a view
    /// happens to need what is missing. Other damage is found by the views that need what it hit.
    pub fn read(bytes: &[u8]) -> Result<Self, DecodeError> {
        let tail = &bytes[bytes.len().saturating_sub(TAIL)..];
        let ends = || tail.windows(2).any(|pair| pair == [0xFF, 0xD9]);
        match Format::of(bytes) {
            Some(Format::Jpeg) if ends() => {
                let in_jpeg = |error: DecodeError| error.of_format(Format::Jpeg);
                let header = jpeg::header(bytes).map_err(in_jpeg)?;
                Ok(Self::Jpeg(header))
            }
            _ => decode(bytes).map(Self::Pixels),
        }
    }

    /// Width and height, upright.
    pub fn size(&self) -> [usize; 2] {
        match self {
            Self::Pixels(image) => [image.width, image.height],
            Self::Jpeg(header) => upright_size([header.width, header.height], header.orientation),
        }
    }
}

impl Decoder {
    /// The pixels of `region`, and perhaps some around it, into `out`. `bytes` are those that `opened` was read from. A
    /// JPEG is decoded at a `shrink`-th of its size, 1, 2, 4 or 8, any other picture at its full size.
    pub fn part(
        &mut self,
        opened: &Opened,
        bytes: &[u8],
        region: CropBox,
        shrink: usize,
        out: &mut AnyPlanes,
    ) -> Result<Place, DecodeError> {
        match opened {
            Opened::Pixels(image) => {
                out.take(image, region);
                Ok(Place { top: region.top as f64, left: region.left as f64, shrink: 1.0 })
            }
            Opened::Jpeg(header) => {
                let decode = || self.jpeg(header, bytes, region, shrink, out);
                catch_unwind(AssertUnwindSafe(decode))
                    .unwrap_or_else(|_| Err(DecodeError::gave_up()))
                    .map_err(|error| error.of_format(Format::Jpeg))
            }
        }
    }

    fn jpeg(
        &mut self,
        header: &jpeg::Header,
        bytes: &[u8],
        region: CropBox,
        shrink: usize,
        out: &mut AnyPlanes,
    ) -> Result<Place, DecodeError> {
        let orientation = header.orientation;
        let stored = [header.width, header.height];
        let mirrored = orientation.map_or([false; 2], Orientation::mirrors);
        let [across, down] = upright_size(stored, orientation);
        let [x, width, left] = reduced(region.left, region.width, across, shrink, mirrored[0]);
        let [y, height, top] = reduced(region.top, region.height, down, shrink, mirrored[1]);
        let part = CropBox {
            top: y as usize,
            left: x as usize,
            height: height as usize,
            width: width as usize,
        };
        let planes = out.as_u8_mut();
        planes.reshape(part.width, part.height, header.channels);
        match orientation {
            None => {
                jpeg::decode_region(bytes, part, shrink, &mut self.jpeg, &mut planes.samples)?;
            }
            Some(orientation) => {
                let there = orientation.stored_box(part, stored.map(|side| side.div_ceil(shrink)));
                jpeg::decode_region(bytes, there, shrink, &mut self.jpeg, &mut self.stored)?;
                let pixels = part.width * part.height;
                let turned = planes.samples.chunks_exact_mut(pixels);
                for (target, plane) in turned.zip(self.stored.chunks_exact(pixels)) {
                    orientation.turn(plane, [there.width, there.height], 1, target);
                }
            }
        }
        Ok(Place { shrink: shrink as f64, top, left })
    }
}

fn upright_size([width, height]: [usize; 2], orientation: Option<Orientation>) -> [usize; 2] {
    if orientation.is_some_and(Orientation::swaps_sides) {
        [height, width]
    } else {
        [width, height]
    }
}

/// A stretch of a side as pixels of the reduced side: the first, how many, and where the first one begins in the
/// reduced picture. A mirrored side is reduced from its far end, so its pixels may begin before the picture does.
fn reduced(start: usize, length: usize, side: usize, shrink: usize, mirrored: bool) -> [f64; 3] {
    let by = shrink as f64;
    let pixels = side.div_ceil(shrink) as f64;
    let shift = if mirrored { pixels - side as f64 / by } else { 0.0 };
    let first = (start as f64 / by + shift).floor();
    let last = ((start + length) as f64 / by + shift).ceil().min(pixels);
    [first, last - first, first - shift]
}

impl Place {
    /// Where a crop of the picture lies in the part.
    pub fn of(self, crop: CropBox) -> Area {
        let Area { top, left, height, width } = crop.into();
        Area {
            top: top / self.shrink - self.top,
            left: left / self.shrink - self.left,
            height: height / self.shrink,
            width: width / self.shrink,
        }
    }
}
