//! Gaussian blur as Pillow does it: three box filters in a row along each axis.
//!
//! The boxes are "extended" (Gwosdek et al. 2011): 2r + 1 full samples and a fraction of one more at either end, so
//! that the variance of the three together is exactly σ². Each pass rounds to the image's depth.

use crate::image::{Image, Samples};

/// Fractional bits of a weight.
const PRECISION: u32 = 24;
const PASSES: usize = 3;

/// Blurs with standard deviation `sigma` in pixels; edges are continued by their last sample. 0 changes nothing.
pub fn gaussian_blur(image: &mut Image, sigma: f32) {
    let (width, height, channels) = (image.width, image.height, image.channels);
    let kernel = BoxKernel::new(sigma);
    if kernel.radius == 0 && kernel.edge == 0 {
        return;
    }
    match &mut image.samples {
        Samples::U8(samples) => {
            blur_rows(samples, width, channels, kernel);
            blur_columns(samples, height, kernel);
        }
        Samples::U16(samples) => {
            blur_rows(samples, width, channels, kernel);
            blur_columns(samples, height, kernel);
        }
    }
}

/// `2·radius + 1` samples of weight `inner` between two of weight `edge`; the weights sum to 2²⁴ or one less.
#[derive(Clone, Copy, Debug, PartialEq)]
struct BoxKernel {
    radius: usize,
    inner: u32,
    edge: u32,
}

impl BoxKernel {
    /// The box of which [`PASSES`] together have variance σ².
    fn new(sigma: f32) -> Self {
        // Pillow keeps these in single precision, which reaches the last bit of the weights.
        let variance = sigma * sigma / PASSES as f32;
        let length = (12.0 * f64::from(variance) + 1.0).sqrt() as f32;
        let whole = ((f64::from(length) - 1.0) / 2.0).floor() as f32;
        let fraction = (2.0 * whole + 1.0) * (whole * (whole + 1.0) - 3.0 * variance)
            / (6.0 * (variance - (whole + 1.0) * (whole + 1.0)));
        Self::of_radius(whole + fraction)
    }

    fn of_radius(radius: f32) -> Self {
        let whole = radius as usize;
        let inner = ((1u32 << PRECISION) as f32 / (radius * 2.0 + 1.0)) as u32;
        let edge = (1u32 << PRECISION).saturating_sub((2 * whole as u32 + 1) * inner) / 2;
        Self { radius: whole, inner, edge }
    }

    /// How many samples the kernel reaches to either side.
    fn reach(self) -> usize {
        self.radius + 1
    }
}

/// A sample's depth: how wide its sums are.
trait Depth: Copy + Default {
    type Sum: Copy + Default + std::ops::AddAssign;
    fn widen(self) -> Self::Sum;
    /// `inner · weight of inner + ends · weight of edge`, rounded.
    fn weigh(inner: Self::Sum, ends: Self::Sum, kernel: BoxKernel) -> Self;
}

impl Depth for u8 {
    // The weights sum to at most 2²⁴, and 255 · 2²⁴ + 2²³ is below 2³².
    type Sum = u32;
    fn widen(self) -> u32 {
        self.into()
    }
    fn weigh(inner: u32, ends: u32, kernel: BoxKernel) -> Self {
        ((inner * kernel.inner + ends * kernel.edge + (1 << (PRECISION - 1))) >> PRECISION) as Self
    }
}

impl Depth for u16 {
    type Sum = u64;
    fn widen(self) -> u64 {
        self.into()
    }
    fn weigh(inner: u64, ends: u64, kernel: BoxKernel) -> Self {
        let sum = inner * u64::from(kernel.inner) + ends * u64::from(kernel.edge);
        ((sum + (1 << (PRECISION - 1))) >> PRECISION) as Self
    }
}

fn blur_rows<T: Depth>(samples: &mut [T], width: usize, channels: usize, kernel: BoxKernel) {
    let line = width * channels;
    let margin = kernel.reach() * channels;
    let mut padded = vec![T::default(); line + 2 * margin];
    let mut sums = vec![T::Sum::default(); line];
    for row in samples.chunks_exact_mut(line) {
        for _ in 0..PASSES {
            padded[margin..margin + line].copy_from_slice(row);
            for pixel in padded[..margin].chunks_exact_mut(channels) {
                pixel.copy_from_slice(&row[..channels]);
            }
            for pixel in padded[margin + line..].chunks_exact_mut(channels) {
                pixel.copy_from_slice(&row[line - channels..]);
            }
            set(&mut sums, &padded[channels..][..line]);
            for step in 2..=2 * kernel.radius + 1 {
                add(&mut sums, &padded[step * channels..][..line]);
            }
            let far = &padded[2 * margin..][..line];
            weigh(row, &sums, &padded[..line], far, kernel);
        }
    }
}

fn blur_columns<T: Depth>(samples: &mut [T], height: usize, kernel: BoxKernel) {
    let line = samples.len() / height;
    let mut sums = vec![T::Sum::default(); line];
    let mut before = samples.to_vec();
    for pass in 0..PASSES {
        if pass > 0 {
            before.copy_from_slice(samples);
        }
        let row = |y: usize, offset: usize| {
            // `offset − reach` rows from y, kept inside the image.
            let at = (y + offset).saturating_sub(kernel.reach()).min(height - 1);
            &before[at * line..][..line]
        };
        for (y, target) in samples.chunks_exact_mut(line).enumerate() {
            set(&mut sums, row(y, 1));
            for offset in 2..=2 * kernel.radius + 1 {
                add(&mut sums, row(y, offset));
            }
            weigh(target, &sums, row(y, 0), row(y, 2 * kernel.reach()), kernel);
        }
    }
}

fn set<T: Depth>(sums: &mut [T::Sum], samples: &[T]) {
    for (sum, sample) in sums.iter_mut().zip(samples) {
        *sum = sample.widen();
    }
}

fn add<T: Depth>(sums: &mut [T::Sum], samples: &[T]) {
    for (sum, sample) in sums.iter_mut().zip(samples) {
        *sum += sample.widen();
    }
}

fn weigh<T: Depth>(out: &mut [T], sums: &[T::Sum], near: &[T], far: &[T], kernel: BoxKernel) {
    for (((out, &sum), near), far) in out.iter_mut().zip(sums).zip(near).zip(far) {
        let mut ends = near.widen();
        ends += far.widen();
        *out = T::weigh(sum, ends, kernel);
    }
}

#[cfg(test)]
mod tests {
    use super::BoxKernel;

    #[test]
    fn box_weights_equal_pillow() {
        let cases = [
            (0.1, 0, 16_721_291, 27_962),
            (0.5, 0, 15_379_114, 699_051),
            (1.0, 0, 11_184_811, 2_796_202),
            (2.0, 1, 4_473_924, 1_677_722),
        ];
        for (sigma, radius, inner, edge) in cases {
            assert_eq!(BoxKernel::new(sigma), BoxKernel { radius, inner, edge }, "σ {sigma}");
        }
    }
}
