//! Bytes to views: equality with Pillow and torchvision, and with itself.
#![allow(clippy::unwrap_used, reason = "a test may fail by panicking")]

mod channels;
mod decoding;
mod deep_tiffs;
mod jpegs;
mod oracles;
mod parts;
mod pillow;
mod plans;
mod prepared;
mod quirks;
mod rendering;
mod tiffs;

use std::path::PathBuf;

use pixels::image::Image;
use pixels::planes::{AnyPlanes, Planes};
use pixels::verify::{pattern as pattern_of, signature};

/// The synthetic picture of the recorded signatures: 48 × 64 RGB.
fn pattern() -> Image {
    pattern_of(64, 48, 3)
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
