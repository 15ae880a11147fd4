//! Blurs, computed in double precision and rounded once.

use crate::planes::Planes;

use super::{sample, share};

/// A weight, and where the sample is that it is for: to the right, and down.
type Tap = ([i64; 2], f64);

/// A Gaussian that ends at 4 σ; edges are continued by their last sample (scikit-image's defaults).
pub(super) fn gaussian(image: &mut Planes<u8>, sigma: f64) {
    let line = gaussian_line(sigma, (4.0 * sigma + 0.5) as i64);
    let across: Vec<Tap> = line.iter().map(|&(at, weight)| ([at, 0], weight)).collect();
    let down: Vec<Tap> = line.iter().map(|&(at, weight)| ([0, at], weight)).collect();
    each(image, |plane, size| {
        let plane = filter(plane, size, &down, continued);
        filter(&plane, size, &across, continued)
    });
}

/// A disc of one weight, softened by a Gaussian of 3 × 3 pixels, of 5 × 5 for a radius above 8. Edges are mirrored about
/// their last sample (OpenCV's default), those of the disc's square too, so that its weights sum to 1 only nearly.
pub(super) fn defocus(image: &mut Planes<u8>, radius: i64, sigma: f64) {
    let taps = disc(radius, sigma);
    each(image, |plane, size| filter(plane, size, &taps, mirrored));
}

/// The mean of the picture and of `copies` magnified about the centre by 1, 1 + step, ... (the first is the picture again).
pub(super) fn zoom(image: &mut Planes<u8>, copies: u32, step: f64) {
    // The step that is left after it was added to 1, as `numpy.arange` has it: sizes are rounded from these factors.
    let step = (1.0 + step) - 1.0;
    each(image, |plane, size| {
        let mut sum = plane.to_vec();
        for copy in 0..copies {
            magnify_onto(&mut sum, plane, size, 1.0 + f64::from(copy) * step);
        }
        sum.iter().map(|sum| sum / f64::from(copies + 1)).collect()
    });
}

/// Makes every plane anew from its shares and its size (width, height).
fn each(image: &mut Planes<u8>, make: impl Fn(&[f64], [usize; 2]) -> Vec<f64>) {
    let size = [image.width, image.height];
    for plane in image.planes_mut() {
        let shares: Vec<f64> = plane.iter().map(|&it| share(it)).collect();
        for (target, made) in plane.iter_mut().zip(make(&shares, size)) {
            *target = sample(made);
        }
    }
}

/// The weights of a Gaussian at −reach..=reach, whose sum is 1.
fn gaussian_line(sigma: f64, reach: i64) -> Vec<(i64, f64)> {
    let weight = |at: i64| (-0.5 * (at as f64 / sigma).powi(2)).exp();
    let sum: f64 = (-reach..=reach).map(weight).sum();
    (-reach..=reach).map(|at| (at, weight(at) / sum)).collect()
}

fn disc(radius: i64, sigma: f64) -> Vec<Tap> {
    let (reach, soft) = if radius <= 8 { (8, 1) } else { (radius, 2) };
    let side = (2 * reach + 1) as usize;
    let places = || (-reach..=reach).flat_map(|y| (-reach..=reach).map(move |x| [x, y]));
    let inside = |[x, y]: [i64; 2]| x * x + y * y <= radius * radius;
    let count = places().filter(|&place| inside(place)).count() as f64;
    let hard: Vec<f64> =
        places().map(|place| if inside(place) { 1.0 / count } else { 0.0 }).collect();
    let line = gaussian_line(sigma, soft);
    let square: Vec<Tap> =
        line.iter().flat_map(|&(y, b)| line.iter().map(move |&(x, a)| ([x, y], a * b))).collect();
    let softened = filter(&hard, [side; 2], &square, mirrored);
    // Single precision, as the generator's: where a picture is uniform, cutting off shows whether the sum reaches 1.
    let single = |weight: f64| f64::from(weight as f32);
    places().zip(softened.into_iter().map(single)).filter(|(_, weight)| *weight > 0.0).collect()
}

/// The weighted sum around every sample. `edge` says which sample stands for one outside of `0..side`.
fn filter(
    plane: &[f64],
    [width, height]: [usize; 2],
    taps: &[Tap],
    edge: fn(i64, usize) -> usize,
) -> Vec<f64> {
    let reach = |axis: usize| taps.iter().map(|(at, _)| at[axis].abs()).max().unwrap_or(0);
    let (beside, above) = (reach(0), reach(1));
    let stride = width + 2 * beside as usize;
    let mut padded = Vec::with_capacity(stride * (height + 2 * above as usize));
    for y in -above..height as i64 + above {
        let row = &plane[edge(y, height) * width..][..width];
        padded.extend((-beside..width as i64 + beside).map(|x| row[edge(x, width)]));
    }
    let mut out = vec![0.0; plane.len()];
    for (y, target) in out.chunks_exact_mut(width.max(1)).enumerate() {
        for ([right, below], weight) in taps {
            let row = y + (above + below) as usize;
            let from = &padded[row * stride + (beside + right) as usize..][..width];
            target.iter_mut().zip(from).for_each(|(sum, x)| *sum += weight * x);
        }
    }
    out
}

/// The nearest sample.
fn continued(at: i64, side: usize) -> usize {
    at.clamp(0, side as i64 - 1) as usize
}

/// Mirrored about the first and the last sample, which are not repeated.
fn mirrored(at: i64, side: usize) -> usize {
    let last = side as i64 - 1;
    if last == 0 {
        return 0;
    }
    let at = at.rem_euclid(2 * last);
    at.min(2 * last - at) as usize
}

/// Adds a plane whose centre is magnified to the whole size, linearly between samples. The centre's side is rounded up, and
/// what it is too large then is trimmed.
fn magnify_onto(sum: &mut [f64], plane: &[f64], [width, height]: [usize; 2], factor: f64) {
    let columns = magnified(width, factor);
    for (target, (top, below)) in sum.chunks_exact_mut(width.max(1)).zip(magnified(height, factor))
    {
        let upper = &plane[top * width..][..width];
        let lower = &plane[(top + 1).min(height - 1) * width..][..width];
        for (sum, &(left, beside)) in target.iter_mut().zip(&columns) {
            let right = (left + 1).min(width - 1);
            let between = |row: &[f64]| row[left] + beside * (row[right] - row[left]);
            let (upper, lower) = (between(upper), between(lower));
            *sum += upper + below * (lower - upper);
        }
    }
}

/// Where each sample of a magnified side lies: the sample before it, and how far behind that.
fn magnified(side: usize, factor: f64) -> Vec<(usize, f64)> {
    let part = (side as f64 / factor).ceil() as usize;
    let large = ((part as f64 * factor).round_ties_even() as usize).max(side);
    let (start, trim) = ((side - part) / 2, (large - side) / 2);
    let pace = if large > 1 { (part - 1) as f64 / (large - 1) as f64 } else { 0.0 };
    let place = |at: usize| {
        let at = ((at + trim) as f64 * pace).min((part - 1) as f64);
        (start + at as usize, at.fract())
    };
    (0..side).map(place).collect()
}
