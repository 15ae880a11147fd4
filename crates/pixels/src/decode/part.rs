//! Only the part of a picture that its views need.

use super::{DecodeError, Format, decode};
use crate::image::Image;
use crate::planes::AnyPlanes;
use crate::record::CropBox;
use crate::resize::Area;

/// A picture of which enough has been read to know its size.
pub enum Opened {
    /// All of it has been decoded.
    Pixels(Image),
}

/// Decodes parts, with memory that is used again.
#[derive(Default)]
pub struct Decoder {}

/// Where a decoded part lies in its picture.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Place {
    /// The part's origin, in pixels of the reduced picture.
    top: f64,
    left: f64,
    /// Pixels of the picture for one of the part, along each side.
    shrink: f64,
}

impl Opened {
    /// Reads as much of a file as its size needs: the header of a JPEG, all of any other.
    pub fn read(bytes: &[u8]) -> Result<Self, DecodeError> {
        let _ = Format::of(bytes);
        decode(bytes).map(Self::Pixels)
    }

    /// Width and height, upright.
    pub fn size(&self) -> [usize; 2] {
        match self {
            Self::Pixels(image) => [image.width, image.height],
        }
    }
}

impl Decoder {
    /// The pixels of `region`, and perhaps some around it, into `out`. `bytes` are those that `opened` was read from. A
    /// picture that can be decoded at a `shrink`-th of its size is.
    pub fn part(
        &mut self,
        opened: &Opened,
        _bytes: &[u8],
        region: CropBox,
        _shrink: usize,
        out: &mut AnyPlanes,
    ) -> Result<Place, DecodeError> {
        match opened {
            Opened::Pixels(image) => {
                out.take(image, region);
                Ok(Place { top: region.top as f64, left: region.left as f64, shrink: 1.0 })
            }
        }
    }
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
