//! The orientation that a camera stores beside the pixels.

use super::directory;
use crate::image::{Image, Samples};
use crate::record::CropBox;

/// How stored pixels are turned to be upright: the values 2 to 8 of the EXIF tag 0x0112.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Orientation(u8);

impl Orientation {
    /// `None` for 1, which means upright, and for values without a meaning.
    pub fn new(value: u64) -> Option<Self> {
        (2..=8).contains(&value).then_some(Self(value as u8))
    }

    pub fn swaps_sides(self) -> bool {
        self.0 >= 5
    }

    /// Whether the upright picture's columns, and its rows, run against the stored ones.
    pub fn mirrors(self) -> [bool; 2] {
        [matches!(self.0, 2 | 3 | 6 | 7), matches!(self.0, 3 | 4 | 7 | 8)]
    }

    /// Where an upright box is stored, in an image of `[width, height]` as stored.
    pub fn stored_box(self, upright: CropBox, [width, height]: [usize; 2]) -> CropBox {
        let CropBox { top, left, .. } = upright;
        let (right, bottom) = (left + upright.width - 1, top + upright.height - 1);
        let (a, b) = self.stored(left, top, width, height);
        let (c, d) = self.stored(right, bottom, width, height);
        let (left, top) = (a.min(c), b.min(d));
        CropBox { top, left, height: b.abs_diff(d) + 1, width: a.abs_diff(c) + 1 }
    }

    /// Turns interleaved samples of `[width, height]` as stored upright. Panics if `out` has another length.
    pub fn turn<T: Copy>(
        self,
        samples: &[T],
        [width, height]: [usize; 2],
        channels: usize,
        out: &mut [T],
    ) {
        assert_eq!(samples.len(), out.len(), "turning changes no number of samples");
        let columns = if self.swaps_sides() { height } else { width };
        for (y, row) in out.chunks_exact_mut(columns * channels).enumerate() {
            for (x, pixel) in row.chunks_exact_mut(channels).enumerate() {
                let (x, y) = self.stored(x, y, width, height);
                pixel.copy_from_slice(&samples[(y * width + x) * channels..][..channels]);
            }
        }
    }

    /// Where the upright pixel (x, y) is stored, in an image of `width × height` as stored.
    fn stored(self, x: usize, y: usize, width: usize, height: usize) -> (usize, usize) {
        match self.0 {
            2 => (width - 1 - x, y),
            3 => (width - 1 - x, height - 1 - y),
            4 => (x, height - 1 - y),
            5 => (y, x),
            6 => (y, height - 1 - x),
            7 => (width - 1 - y, height - 1 - x),
            _ => (width - 1 - y, x),
        }
    }
}

/// The image, upright.
pub fn apply(image: Image, orientation: Option<Orientation>) -> Image {
    let Some(orientation) = orientation else { return image };
    let (size, channels) = ([image.width, image.height], image.channels);
    let samples = match image.samples {
        Samples::U8(mut samples) => {
            orientation.turn(&samples.clone(), size, channels, &mut samples);
            Samples::U8(samples)
        }
        Samples::U16(mut samples) => {
            orientation.turn(&samples.clone(), size, channels, &mut samples);
            Samples::U16(samples)
        }
    };
    let [width, height] = size;
    if orientation.swaps_sides() {
        Image { width: height, height: width, channels, samples }
    } else {
        Image { width, height, channels, samples }
    }
}

/// The orientation in an EXIF block; `None` where there is none, or the block is broken.
pub fn of_exif(exif: &[u8]) -> Option<Orientation> {
    const TAG: u16 = 0x0112;
    let exif = exif.strip_prefix(b"Exif\0\0").unwrap_or(exif);
    Orientation::new(directory::find(exif, TAG)?.value.into())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_orientation_is_turned_upright() {
        let stored = Image::from_u8(3, 2, 1, vec![0, 1, 2, 3, 4, 5]);
        let upright: [(u64, [u8; 6]); 8] = [
            (1, [0, 1, 2, 3, 4, 5]),
            (2, [2, 1, 0, 5, 4, 3]),
            (3, [5, 4, 3, 2, 1, 0]),
            (4, [3, 4, 5, 0, 1, 2]),
            (5, [0, 3, 1, 4, 2, 5]),
            (6, [3, 0, 4, 1, 5, 2]),
            (7, [5, 2, 4, 1, 3, 0]),
            (8, [2, 5, 1, 4, 0, 3]),
        ];
        for (value, expected) in upright {
            let image = apply(stored.clone(), Orientation::new(value));
            assert_eq!(image.width, if value < 5 { 3 } else { 2 });
            assert_eq!(image.as_u8(), Some(&expected[..]), "orientation {value}");
        }
    }

    #[test]
    fn the_tag_is_found_in_both_byte_orders() {
        let big = b"Exif\0\0MM\0\x2A\0\0\0\x08\0\x01\x01\x12\0\x03\0\0\0\x01\0\x06\0\0\0\0\0\0";
        let little = b"II\x2A\0\x08\0\0\0\x01\0\x12\x01\x03\0\x01\0\0\0\x06\0\0\0\0\0\0\0";
        assert_eq!(of_exif(big), Some(Orientation(6)));
        assert_eq!(of_exif(little), Some(Orientation(6)));
        for length in 0..little.len() {
            // Cut anywhere, it is found or not, and nothing else happens.
            let _ = of_exif(&little[..length]);
        }
    }
}
