//! Antialiased resampling, equal to Pillow 13 to the bit for 8-bit images.
//!
//! Every output sample is a weighted mean of the input samples under a kernel that widens with the reduction.
//! Both axes are separable; each pass rounds and clips to the depth of the image, as Pillow's does. Weights
//! are fixed-point with 22 fractional bits; 16-bit images use the same weights with wider sums.

use std::ops::{AddAssign, Mul, Range};

use crate::image::{Image, Samples};
use crate::plan::Interpolation;
use crate::record::CropBox;

/// Fractional bits of a weight.
const PRECISION: u32 = 22;

/// The part `region` of an image, resampled to `width × height`. The crop comes first: no pixel outside of the
/// region is read. Any number of channels. Panics if the region is empty or leaves the image, or if the new size
/// is 0.
pub fn resize(
    image: &Image,
    region: CropBox,
    width: usize,
    height: usize,
    interpolation: Interpolation,
) -> Image {
    let window = CropBox { top: 0, left: 0, height, width };
    resize_window(image, region, [width, height], window, interpolation)
}

/// The part `window` of what [`resize`] gives for `size` (width, height), without computing the rest.
pub fn resize_window(
    image: &Image,
    region: CropBox,
    size: [usize; 2],
    window: CropBox,
    interpolation: Interpolation,
) -> Image {
    assert!(region.width > 0 && region.height > 0, "an empty region cannot be resized");
    assert!(region.left + region.width <= image.width, "the region leaves the image");
    assert!(region.top + region.height <= image.height, "the region leaves the image");
    assert!(window.width > 0 && window.height > 0, "an image needs a size");
    assert!(window.left + window.width <= size[0] && window.top + window.height <= size[1]);
    let across = Axis::new(region.width, size[0], window.left, window.width, interpolation);
    let down = Axis::new(region.height, size[1], window.top, window.height, interpolation);
    let vertical_first = vertical_first([region.width, region.height], size);
    let samples = match &image.samples {
        Samples::U8(samples) => Samples::U8(two_passes(
            &View::new(samples, image, region),
            &across,
            &down,
            vertical_first,
        )),
        Samples::U16(samples) => Samples::U16(two_passes(
            &View::new(samples, image, region),
            &across,
            &down,
            vertical_first,
        )),
    };
    Image { width: window.width, height: window.height, channels: image.channels, samples }
}

/// The part `region` of an image, unchanged. Panics if it leaves the image.
pub fn crop(image: &Image, region: CropBox) -> Image {
    let size = [region.width, region.height];
    let window = CropBox { top: 0, left: 0, ..region };
    resize_window(image, region, size, window, Interpolation::Bilinear)
}

/// Which pass comes first reaches the last bit of the result. Pillow 13 starts with the columns when the height
/// shrinks by more than twice as many pixels as the width; earlier versions always start with the rows.
fn vertical_first([width, height]: [usize; 2], [new_width, new_height]: [usize; 2]) -> bool {
    let lost = |old: usize, new: usize| old as i64 - new as i64;
    let lost_rows = lost(height, new_height);
    lost_rows > 0 && lost_rows > 2 * lost(width, new_width)
}

/// One axis of a resampling: for each output position, which inputs enter with which weights.
struct Axis {
    taps: Vec<Taps>,
    weights: Vec<i32>,
    /// Positions whose output is their input: no filtering.
    identity: Option<usize>,
}

/// The inputs of one output: from `first` on, as many as there are `weights` (a range of [`Axis::weights`]).
struct Taps {
    first: usize,
    weights: Range<usize>,
}

impl Axis {
    /// Outputs `start .. start + count` of an axis that goes from `n` to `m` samples.
    fn new(n: usize, m: usize, start: usize, count: usize, interpolation: Interpolation) -> Self {
        if n == m {
            let taps = (start..start + count).map(|first| Taps { first, weights: 0..1 }).collect();
            return Self { taps, weights: vec![1 << PRECISION], identity: Some(start) };
        }
        let scale = n as f64 / m as f64;
        let widening = scale.max(1.0);
        let support = widening * interpolation.support();
        let mut taps = Vec::with_capacity(count);
        let mut weights = Vec::new();
        let mut kernel = Vec::new();
        for x in start..start + count {
            let centre = (x as f64 + 0.5) * scale;
            let first = (centre - support + 0.5).max(0.0) as usize;
            let last = ((centre + support + 0.5) as usize).min(n);
            kernel.clear();
            kernel.extend(
                (first..last)
                    .map(|t| interpolation.kernel((t as f64 - centre + 0.5) * (1.0 / widening))),
            );
            let sum: f64 = kernel.iter().sum();
            let from = weights.len();
            weights.extend(kernel.iter().map(|k| fixed(k / sum)));
            taps.push(Taps { first, weights: from..weights.len() });
        }
        Self { taps, weights, identity: None }
    }

    /// The range of inputs that any output reads.
    fn reads(&self) -> Range<usize> {
        let ends = self.taps.iter().map(|t| t.first + t.weights.len());
        self.taps.first().map_or(0, |t| t.first)..ends.max().unwrap_or(0)
    }
}

/// A weight in fixed point, rounded half away from zero.
fn fixed(weight: f64) -> i32 {
    (weight * f64::from(1 << PRECISION) + 0.5f64.copysign(weight)) as i32
}

impl Interpolation {
    /// Half of the kernel's width.
    fn support(self) -> f64 {
        match self {
            Self::Bilinear => 1.0,
            Self::Bicubic => 2.0,
        }
    }

    /// The kernel at distance `x`; Keys 1981 with a = −0.5 for bicubic.
    fn kernel(self, x: f64) -> f64 {
        const A: f64 = -0.5;
        let x = x.abs();
        match self {
            Self::Bilinear => (1.0 - x).max(0.0),
            Self::Bicubic if x < 1.0 => ((A + 2.0) * x - (A + 3.0)) * x * x + 1.0,
            Self::Bicubic if x < 2.0 => (((x - 5.0) * x + 8.0) * x - 4.0) * A,
            Self::Bicubic => 0.0,
        }
    }
}

/// A sample's depth: how its weighted sums are held and rounded.
trait Depth: Copy + Default {
    type Sum: Copy + AddAssign + Mul<Output = Self::Sum>;
    const HALF: Self::Sum;
    fn widen(self) -> Self::Sum;
    fn weight(weight: i32) -> Self::Sum;
    fn narrow(sum: Self::Sum) -> Self;
}

impl Depth for u8 {
    // 255 · 2²² times the sum of |weights| (at most 1.3 for the cubic) stays below 2³¹.
    type Sum = i32;
    const HALF: i32 = 1 << (PRECISION - 1);
    fn widen(self) -> i32 {
        self.into()
    }
    fn weight(weight: i32) -> i32 {
        weight
    }
    fn narrow(sum: i32) -> Self {
        (sum >> PRECISION).clamp(0, 255) as Self
    }
}

impl Depth for u16 {
    type Sum = i64;
    const HALF: i64 = 1 << (PRECISION - 1);
    fn widen(self) -> i64 {
        self.into()
    }
    fn weight(weight: i32) -> i64 {
        weight.into()
    }
    fn narrow(sum: i64) -> Self {
        (sum >> PRECISION).clamp(0, 65_535) as Self
    }
}

/// A rectangle of samples inside a larger buffer.
struct View<'a, T> {
    samples: &'a [T],
    /// Samples from one row to the next.
    stride: usize,
    /// Pixels.
    width: usize,
    channels: usize,
}

impl<'a, T> View<'a, T> {
    fn new(samples: &'a [T], image: &Image, region: CropBox) -> Self {
        let stride = image.width * image.channels;
        let samples = &samples[region.top * stride + region.left * image.channels..];
        Self { samples, stride, width: region.width, channels: image.channels }
    }

    fn row(&self, y: usize) -> &'a [T] {
        &self.samples[y * self.stride..][..self.width * self.channels]
    }
}

fn two_passes<T: Depth>(
    view: &View<T>,
    across: &Axis,
    down: &Axis,
    vertical_first: bool,
) -> Vec<T> {
    let channels = view.channels;
    if vertical_first {
        let (width, reads) = (view.width, 0..down.taps.len());
        let samples = vertical(view, 0, down);
        let between = View { samples: &samples, stride: width * channels, width, channels };
        horizontal(&between, reads, across)
    } else {
        let (width, reads) = (across.taps.len(), down.reads());
        let first = reads.start;
        let samples = horizontal(view, reads, across);
        let between = View { samples: &samples, stride: width * channels, width, channels };
        vertical(&between, first, down)
    }
}

/// The given rows of a view, resampled along the row.
fn horizontal<T: Depth>(view: &View<T>, rows: Range<usize>, axis: &Axis) -> Vec<T> {
    let line = axis.taps.len() * view.channels;
    let mut out = vec![T::default(); rows.len() * line];
    for (y, target) in rows.zip(out.chunks_exact_mut(line)) {
        let source = view.row(y);
        match (axis.identity, view.channels) {
            (Some(start), c) => target.copy_from_slice(&source[start * c..][..line]),
            (None, 1) => horizontal_line::<T, 1>(source, target, axis),
            (None, 3) => horizontal_line::<T, 3>(source, target, axis),
            (None, 4) => horizontal_line::<T, 4>(source, target, axis),
            (None, c) => {
                for channel in 0..c {
                    horizontal_channel(source, target, axis, channel, c);
                }
            }
        }
    }
    out
}

fn horizontal_line<T: Depth, const C: usize>(source: &[T], target: &mut [T], axis: &Axis) {
    for (pixel, taps) in target.as_chunks_mut::<C>().0.iter_mut().zip(&axis.taps) {
        let weights = &axis.weights[taps.weights.clone()];
        let inputs = &source[taps.first * C..][..weights.len() * C];
        let mut sums = [T::HALF; C];
        for (input, &weight) in inputs.as_chunks::<C>().0.iter().zip(weights) {
            let weight = T::weight(weight);
            for (sum, sample) in sums.iter_mut().zip(input) {
                *sum += sample.widen() * weight;
            }
        }
        *pixel = sums.map(T::narrow);
    }
}

fn horizontal_channel<T: Depth>(
    source: &[T],
    target: &mut [T],
    axis: &Axis,
    channel: usize,
    channels: usize,
) {
    for (x, taps) in axis.taps.iter().enumerate() {
        let weights = &axis.weights[taps.weights.clone()];
        let inputs = source[taps.first * channels + channel..].iter().step_by(channels);
        let mut sum = T::HALF;
        for (input, &weight) in inputs.zip(weights) {
            sum += input.widen() * T::weight(weight);
        }
        target[x * channels + channel] = T::narrow(sum);
    }
}

/// All columns of a view, resampled along the column. Row 0 of the view is row `first` of the axis.
fn vertical<T: Depth>(view: &View<T>, first: usize, axis: &Axis) -> Vec<T> {
    let line = view.width * view.channels;
    let mut out = Vec::with_capacity(axis.taps.len() * line);
    if axis.identity.is_some() {
        for taps in &axis.taps {
            out.extend_from_slice(view.row(taps.first - first));
        }
        return out;
    }
    let mut sums = vec![T::HALF; line];
    for taps in &axis.taps {
        sums.fill(T::HALF);
        for (t, &weight) in axis.weights[taps.weights.clone()].iter().enumerate() {
            let weight = T::weight(weight);
            for (sum, sample) in sums.iter_mut().zip(view.row(taps.first - first + t)) {
                *sum += sample.widen() * weight;
            }
        }
        out.extend(sums.iter().map(|&sum| T::narrow(sum)));
    }
    out
}
