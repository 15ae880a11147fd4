//! Bytes to views: equality with Pillow and torchvision, and with itself.
#![allow(clippy::unwrap_used, reason = "a test may fail by panicking")]

mod decoding;
mod jpegs;
mod oracles;
mod parts;
mod pillow;
mod plans;
mod rendering;
mod tiffs;

use std::path::PathBuf;

use pixels::image::{Image, Samples};
use pixels::planes::{AnyPlanes, Planes};

/// The synthetic picture of the recorded signatures: 48 × 64 RGB.
fn pattern() -> Image {
    pattern_of(64, 48, 3)
}

fn pattern_of(width: usize, height: usize, channels: usize) -> Image {
    let mut samples = Vec::new();
    for y in 0..height {
        for x in 0..width {
            let value = |c| (7 * x + 13 * y + 3 * x * y + 85 * c + 11 * c * x) % 256;
            samples.extend((0..channels).map(|c| value(c) as u8));
        }
    }
    Image::from_u8(width, height, channels, samples)
}

/// An 8-bit image after a change of its planes.
fn changed(image: &Image, change: impl FnOnce(&mut Planes<u8>)) -> Image {
    let mut planes = AnyPlanes::of(image);
    change(planes.as_u8_mut());
    planes.image()
}

/// The folder of real pictures, named by the variable `VERTEBRA_DATA`.
fn data() -> Option<PathBuf> {
    let found = std::env::var_os("VERTEBRA_DATA").map(PathBuf::from);
    if found.is_none() {
        println!("skipped: VERTEBRA_DATA names no folder of pictures");
    }
    found
}

/// The sum of the samples and a sum that also depends on where they are; equal pictures, in practice.
fn signature(image: &Image) -> (u64, u64) {
    let sums = |samples: &mut dyn Iterator<Item = u64>| {
        samples.enumerate().fold((0, 0), |(sum, placed), (k, sample)| {
            (sum + sample, placed + sample * (k as u64 % 251 + 1))
        })
    };
    match &image.samples {
        Samples::U8(samples) => sums(&mut samples.iter().map(|&v| v.into())),
        Samples::U16(samples) => sums(&mut samples.iter().map(|&v| v.into())),
    }
}
