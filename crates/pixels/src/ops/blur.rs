//! Gaussian blur as Pillow does it: three box filters in a row along each axis.
//!
//! The boxes are "extended" (Gwosdek et al. 2011): 2r + 1 full samples and a fraction of one more at either end, so
//! that the variance of the three together is exactly σ². Each pass rounds to the image's depth.

use crate::planes::{Depth, Planes};
use crate::simd::widest;

const PRECISION: u32 = BoxKernel::PRECISION;
const HALF: u32 = 1 << (PRECISION - 1);
const PASSES: usize = BoxKernel::PASSES;

/// Blurs with standard deviation `sigma` in pixels; edges are continued by their last sample. 0 changes nothing.
/// `spare` is memory that is used again.
///
/// The passes run over a copy of the plane whose rows are continued on both sides, as over one long line: along the rows
/// from neighbour to neighbour, along the columns from row to row.
pub fn gaussian_blur<T: Blurred>(image: &mut Planes<T>, sigma: f32, spare: &mut Vec<T>) {
    let kernel = BoxKernel::new(sigma);
    if kernel.radius == 0 && kernel.edge == 0 {
        return;
    }
    let (width, reach) = (image.width, kernel.reach());
    let stride = width + 2 * reach;
    let length = stride * image.height;
    spare.resize(2 * length, T::default());
    let (a, b) = spare.split_at_mut(length);
    for plane in image.planes_mut() {
        for (line, row) in a.chunks_exact_mut(stride).zip(plane.chunks_exact(width)) {
            line[reach..reach + width].copy_from_slice(row);
        }
        let (mut from, mut to) = (&mut *a, &mut *b);
        for _ in 0..PASSES {
            from.chunks_exact_mut(stride).for_each(|line| continue_row(line, reach));
            pass(from, to, 1, kernel);
            (from, to) = (to, from);
        }
        for _ in 0..PASSES {
            pass_down(from, to, stride, kernel);
            (from, to) = (to, from);
        }
        for (line, row) in from.chunks_exact(stride).zip(plane.chunks_exact_mut(width)) {
            row.copy_from_slice(&line[reach..reach + width]);
        }
    }
}

/// The margins of a row become its first and last sample.
fn continue_row<T: Copy>(line: &mut [T], reach: usize) {
    let end = line.len() - reach;
    let (first, last) = (line[reach], line[end - 1]);
    line[..reach].fill(first);
    line[end..].fill(last);
}

/// A sample that can be blurred: how wide its sums are.
pub trait Blurred: Depth {
    /// The sum of `inner` samples times their weight and `ends` times theirs, rounded.
    fn weigh(inner: [Self; 3], more: u32, ends: [Self; 2], kernel: BoxKernel) -> Self;
    fn wide(self) -> u32;
}

impl Blurred for u8 {
    // The weights sum to at most 2²⁴, and 255 · 2²⁴ + 2²³ is below 2³².
    #[inline(always)]
    fn weigh(inner: [u8; 3], more: u32, ends: [u8; 2], kernel: BoxKernel) -> u8 {
        let inner = u32::from(inner.iter().map(|v| u16::from(*v)).sum::<u16>()) + more;
        let ends = u32::from(ends.iter().map(|v| u16::from(*v)).sum::<u16>());
        ((inner * kernel.inner + ends * kernel.edge + HALF) >> PRECISION) as u8
    }

    #[inline(always)]
    fn wide(self) -> u32 {
        self.into()
    }
}

impl Blurred for u16 {
    #[inline(always)]
    fn weigh(inner: [u16; 3], more: u32, ends: [u16; 2], kernel: BoxKernel) -> u16 {
        let sum = |samples: &[u16]| samples.iter().map(|v| u64::from(*v)).sum::<u64>();
        let inner = (sum(&inner) + u64::from(more)) * u64::from(kernel.inner);
        ((inner + sum(&ends) * u64::from(kernel.edge) + u64::from(HALF)) >> PRECISION) as u16
    }

    #[inline(always)]
    fn wide(self) -> u32 {
        self.into()
    }
}

/// `2·radius + 1` samples of weight `inner` between two of weight `edge`; the weights sum to 2²⁴ or one less.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct BoxKernel {
    /// Full samples on either side of the middle one.
    pub radius: usize,
    pub inner: u32,
    pub edge: u32,
}

impl BoxKernel {
    /// Fractional bits of a weight.
    pub const PRECISION: u32 = 24;
    /// Boxes in a row along each axis.
    pub const PASSES: usize = 3;

    /// The box of which [`BoxKernel::PASSES`] together have variance σ².
    pub fn new(sigma: f32) -> Self {
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

widest! {
    /// One pass over samples whose neighbours lie `step` apart, for all that have enough of them.
    fn pass[T: Blurred](from: &[T], to: &mut [T], step: usize, kernel: BoxKernel) {
        let margin = kernel.reach() * step;
        let end = to.len().saturating_sub(margin).max(margin.min(to.len()));
        let out = &mut to[margin.min(from.len())..end];
        weigh(out, |by| &from[by * step..], kernel);
    }
}

/// One pass along all columns.
fn pass_down<T: Blurred>(from: &[T], to: &mut [T], stride: usize, kernel: BoxKernel) {
    pass(from, to, stride, kernel);
    let (reach, height) = (kernel.reach(), from.len() / stride);
    // Near the upper and lower edges the first and last row stand in for those that are missing.
    for (y, line) in to.chunks_exact_mut(stride).enumerate() {
        if y < reach || y + reach >= height {
            let row = |by: usize| {
                let at = (y + by).saturating_sub(reach).min(height - 1);
                &from[at * stride..][..stride]
            };
            weigh(line, row, kernel);
        }
    }
}

/// The kernel over samples and their neighbours: `shifted(0)` are those at its lower end, `shifted(2 · reach)` at its
/// upper.
#[inline(always)]
fn weigh<'a, T: Blurred>(out: &mut [T], shifted: impl Fn(usize) -> &'a [T], kernel: BoxKernel) {
    let n = out.len();
    if n == 0 {
        return;
    }
    let (low, high) = (&shifted(0)[..n], &shifted(2 * kernel.reach())[..n]);
    match kernel.radius {
        0 => {
            let middle = &shifted(1)[..n];
            for i in 0..n {
                let inner = [middle[i], T::default(), T::default()];
                out[i] = T::weigh(inner, 0, [low[i], high[i]], kernel);
            }
        }
        1 => {
            let [a, b, c] = [1, 2, 3].map(|by| &shifted(by)[..n]);
            for i in 0..n {
                out[i] = T::weigh([a[i], b[i], c[i]], 0, [low[i], high[i]], kernel);
            }
        }
        radius => {
            for i in 0..n {
                let inner = (4..=2 * radius + 1).map(|by| shifted(by)[i].wide()).sum();
                let near = [1, 2, 3].map(|by| shifted(by)[i]);
                out[i] = T::weigh(near, inner, [low[i], high[i]], kernel);
            }
        }
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
