//! Bytes to views: equality with Pillow and torchvision, and with itself.
#![allow(clippy::unwrap_used, reason = "a test may fail by panicking")]

mod decoding;
mod oracles;
mod pillow;
mod plans;
mod rendering;

use pixels::image::{Image, Samples};

/// The synthetic picture of the recorded signatures: 48 × 64 RGB.
fn pattern() -> Image {
    let mut samples = Vec::new();
    for y in 0..48 {
        for x in 0..64 {
            samples.extend(
                (0..3).map(|c| ((7 * x + 13 * y + 3 * x * y + 85 * c + 11 * c * x) % 256) as u8),
            );
        }
    }
    Image::from_u8(64, 48, 3, samples)
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
