//! The orientation that a camera stores beside the pixels.

use crate::image::{Image, Samples};

/// How stored pixels are turned to be upright: the values 2 to 8 of the EXIF tag 0x0112.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Orientation(u8);

impl Orientation {
    /// `None` for 1, which means upright, and for values without a meaning.
    pub fn new(value: u64) -> Option<Self> {
        (2..=8).contains(&value).then_some(Self(value as u8))
    }

    fn swaps_sides(self) -> bool {
        self.0 >= 5
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
    let samples = match &image.samples {
        Samples::U8(samples) => Samples::U8(turn(samples, &image, orientation)),
        Samples::U16(samples) => Samples::U16(turn(samples, &image, orientation)),
    };
    if orientation.swaps_sides() {
        Image { width: image.height, height: image.width, samples, ..image }
    } else {
        Image { samples, ..image }
    }
}

fn turn<T: Copy>(samples: &[T], image: &Image, orientation: Orientation) -> Vec<T> {
    let &Image { width, height, channels, .. } = image;
    let (columns, rows) = if orientation.swaps_sides() { (height, width) } else { (width, height) };
    let mut out = Vec::with_capacity(samples.len());
    for y in 0..rows {
        for x in 0..columns {
            let (x, y) = orientation.stored(x, y, width, height);
            out.extend_from_slice(&samples[(y * width + x) * channels..][..channels]);
        }
    }
    out
}

/// The orientation in an EXIF block, which is a small TIFF file: byte order, offset of the first directory, entries
/// of twelve bytes. `None` where there is none, or the block is broken.
pub fn of_exif(exif: &[u8]) -> Option<Orientation> {
    const TAG: u16 = 0x0112;
    const SHORT: u16 = 3;
    let exif = exif.strip_prefix(b"Exif\0\0").unwrap_or(exif);
    let little = match exif.get(..2)? {
        b"II" => true,
        b"MM" => false,
        _ => return None,
    };
    let short = |at: usize| {
        let bytes = [*exif.get(at)?, *exif.get(at + 1)?];
        Some(if little { u16::from_le_bytes(bytes) } else { u16::from_be_bytes(bytes) })
    };
    let halves = [short(4)?, short(6)?].map(usize::from);
    let directory = if little { halves[0] | halves[1] << 16 } else { halves[0] << 16 | halves[1] };
    let entries = usize::from(short(directory)?);
    (0..entries)
        .map(|entry| directory + 2 + 12 * entry)
        .find(|&at| short(at) == Some(TAG) && short(at + 2) == Some(SHORT))
        .and_then(|at| Orientation::new(short(at + 8)?.into()))
}
