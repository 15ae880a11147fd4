//! Transforms of pixels as pure functions: parameters in, the image changed in place.
//!
//! On 8-bit RGB each function gives Pillow's bytes, so a view equals the one that torchvision makes from a PIL
//! image. The colour functions are defined for 8-bit images of three channels only and panic on others;
//! [`ViewPlan::check`](crate::plan::ViewPlan::check) keeps them from being asked. Blur, solarize, flip and
//! everything in [`channels`] take any number of channels and both depths.

use crate::image::{Image, Samples};

mod blur;
pub mod channels;
mod hue;

pub use blur::gaussian_blur;
pub use hue::hue;

/// Multiplies every sample by `factor`; 1 changes nothing, 0 is black.
pub fn brightness(image: &mut Image, factor: f32) {
    blend_with_constant(rgb(image), 0, factor);
}

/// Moves every sample away from the mean luminance of this image (a whole number) by `factor`; 0 is grey.
pub fn contrast(image: &mut Image, factor: f32) {
    let samples = rgb(image);
    let pixels = samples.as_chunks::<3>().0;
    let sum: u64 = pixels.iter().map(|&pixel| u64::from(luma(pixel))).sum();
    let mean = sum as f64 / pixels.len().max(1) as f64;
    blend_with_constant(samples, (mean + 0.5) as u8, factor);
}

/// Moves every sample away from its pixel's luminance by `factor`; 0 is grey.
pub fn saturation(image: &mut Image, factor: f32) {
    for pixel in rgb(image).as_chunks_mut::<3>().0 {
        let grey = luma(*pixel);
        *pixel = pixel.map(|sample| blend(grey, sample, factor));
    }
}

/// Luminance in all three channels.
pub fn grayscale(image: &mut Image) {
    for pixel in rgb(image).as_chunks_mut::<3>().0 {
        *pixel = [luma(*pixel); 3];
    }
}

/// Inverts every sample of at least half of the range.
pub fn solarize(image: &mut Image) {
    match &mut image.samples {
        Samples::U8(samples) => samples.iter_mut().for_each(|v| *v = (*v).min(255 - *v)),
        Samples::U16(samples) => samples.iter_mut().for_each(|v| *v = (*v).min(65_535 - *v)),
    }
}

/// Mirrors left and right.
pub fn flip(image: &mut Image) {
    let (width, channels) = (image.width, image.channels);
    match &mut image.samples {
        Samples::U8(samples) => flip_rows(samples, width, channels),
        Samples::U16(samples) => flip_rows(samples, width, channels),
    }
}

fn flip_rows<T>(samples: &mut [T], width: usize, channels: usize) {
    for row in samples.chunks_exact_mut(width * channels) {
        // Reversing the samples mirrors the pixels but also their channels; those are turned back.
        row.reverse();
        row.chunks_exact_mut(channels).for_each(<[T]>::reverse);
    }
}

/// The samples of an 8-bit RGB image.
fn rgb(image: &mut Image) -> &mut [u8] {
    assert_eq!(image.channels, 3, "colour needs three channels");
    match &mut image.samples {
        Samples::U8(samples) => samples,
        Samples::U16(_) => panic!("colour is defined for 8 bits"),
    }
}

/// Luminance after ITU-R BT.601, in fixed point with 16 bits.
fn luma([r, g, b]: [u8; 3]) -> u8 {
    ((19_595 * u32::from(r) + 38_470 * u32::from(g) + 7_471 * u32::from(b) + 32_768) >> 16) as u8
}

/// `from` at factor 0, `to` at 1, and beyond; truncated and clipped.
fn blend(from: u8, to: u8, factor: f32) -> u8 {
    (f32::from(from) + factor * (f32::from(to) - f32::from(from))) as u8
}

fn blend_with_constant(samples: &mut [u8], constant: u8, factor: f32) {
    let mut table = [0; 256];
    for (value, entry) in (0..=255).zip(&mut table) {
        *entry = blend(constant, value, factor);
    }
    for sample in samples {
        *sample = table[usize::from(*sample)];
    }
}
