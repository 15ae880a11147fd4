//! Transforms of pixels as pure functions: parameters in, the planes changed in place.
//!
//! On 8-bit RGB each function gives Pillow's bytes, so a view equals the one that torchvision makes from a PIL
//! image. The colour functions are defined for 8-bit images of three channels only and panic on others;
//! [`ViewPlan::check`](crate::plan::ViewPlan::check) keeps them from being asked. Blur, solarize, flip and
//! everything in [`channels`] take any number of channels and both depths.

use crate::planes::{Depth, Planes};
use crate::simd::{whole, widest};

mod blur;
pub mod channels;
mod hue;

pub use blur::{Blurred, BoxKernel, gaussian_blur};
pub use hue::hue;

/// Pixels whose sum of luminances fits into 32 bits.
const SUMMED: usize = 1 << 16;

/// Multiplies every sample by `factor`; 1 changes nothing, 0 is black.
pub fn brightness(image: &mut Planes<u8>, factor: f32) {
    assert_eq!(image.channels, 3, "colour needs three channels");
    blend_with_constant(&mut image.samples, 0, factor);
}

/// Moves every sample away from the mean luminance of this image (a whole number) by `factor`; 0 is grey.
pub fn contrast(image: &mut Planes<u8>, factor: f32) {
    let [red, green, blue] = image.rgb_mut();
    let pixels = red.len();
    let mut sum = 0;
    for ((red, green), blue) in
        red.chunks(SUMMED).zip(green.chunks(SUMMED)).zip(blue.chunks(SUMMED))
    {
        let mut part = 0;
        sum_of_luma(red, green, blue, &mut part);
        sum += u64::from(part);
    }
    let mean = sum as f64 / pixels.max(1) as f64;
    blend_with_constant(&mut image.samples, (mean + 0.5) as u8, factor);
}

/// Moves every sample away from its pixel's luminance by `factor`; 0 is grey.
pub fn saturation(image: &mut Planes<u8>, factor: f32) {
    let [red, green, blue] = image.rgb_mut();
    saturate(red, green, blue, factor);
}

/// Luminance in all three channels.
pub fn grayscale(image: &mut Planes<u8>) {
    let [red, green, blue] = image.rgb_mut();
    grey(red, green, blue);
}

/// Inverts every sample of at least half of the range.
pub fn solarize<T: Depth>(image: &mut Planes<T>) {
    fold(&mut image.samples);
}

/// Mirrors left and right.
pub fn flip<T>(image: &mut Planes<T>) {
    image.samples.chunks_exact_mut(image.width.max(1)).for_each(<[T]>::reverse);
}

/// Luminance after ITU-R BT.601, in fixed point with 16 bits.
#[inline(always)]
fn luma(r: u8, g: u8, b: u8) -> u8 {
    ((19_595 * u32::from(r) + 38_470 * u32::from(g) + 7_471 * u32::from(b) + 32_768) >> 16) as u8
}

/// `from` at factor 0, `to` at 1, and beyond; truncated and clipped.
#[inline(always)]
fn blend(from: f32, to: u8, factor: f32) -> u8 {
    whole(from + factor * (f32::from(to) - from), 255) as u8
}

widest! {
    fn blend_with_constant(samples: &mut [u8], constant: u8, factor: f32) {
        let from = f32::from(constant);
        for sample in samples {
            *sample = blend(from, *sample, factor);
        }
    }
}

widest! {
    fn sum_of_luma(red: &[u8], green: &[u8], blue: &[u8], sum: &mut u32) {
        *sum = red.iter().zip(green).zip(blue).map(|((r, g), b)| u32::from(luma(*r, *g, *b))).sum();
    }
}

widest! {
    fn saturate(red: &mut [u8], green: &mut [u8], blue: &mut [u8], factor: f32) {
        for ((r, g), b) in red.iter_mut().zip(green).zip(blue) {
            let grey = f32::from(luma(*r, *g, *b));
            *r = blend(grey, *r, factor);
            *g = blend(grey, *g, factor);
            *b = blend(grey, *b, factor);
        }
    }
}

widest! {
    fn grey(red: &mut [u8], green: &mut [u8], blue: &mut [u8]) {
        for ((r, g), b) in red.iter_mut().zip(green).zip(blue) {
            let grey = luma(*r, *g, *b);
            (*r, *g, *b) = (grey, grey, grey);
        }
    }
}

widest! {
    fn fold[T: Depth](samples: &mut [T]) {
        for sample in samples {
            *sample = (*sample).min(sample.inverse());
        }
    }
}
