//! Samples of components to pixels: spread where pixels share a sample, and turned into colours.

use super::colour;
use super::layout::{Layout, Plane};
use super::markers::{Colours, MOST_COMPONENTS};
use crate::record::CropBox;

/// A row of each component, spread over the pixels.
#[derive(Default)]
pub struct Lines([Line; MOST_COMPONENTS]);

#[derive(Default)]
struct Line {
    /// Samples on the way, with one neighbour more on each side.
    sums: Vec<u16>,
    pixels: Vec<u8>,
}

pub struct Picture<'a> {
    pub layout: &'a Layout,
    pub samples: &'a [u8],
    pub colours: Colours,
    pub region: CropBox,
}

/// Fills the planes of `out`, red, green and blue or grey.
#[inline(always)]
pub fn paint(picture: &Picture, lines: &mut Lines, out: &mut [u8]) {
    let &Picture { layout, samples, colours, region } = picture;
    let area = region.width * region.height;
    let (first, rest) = out.split_at_mut(area);
    let (second, third) = rest.split_at_mut(rest.len() / 2);
    for row in 0..region.height {
        let mut planes = layout.planes.iter();
        let [a, b, c, d] = lines.0.each_mut().map(|line| match planes.next() {
            Some(plane) if plane.size > 0 => spread(plane, samples, region, region.top + row, line),
            _ => &[],
        });
        let place = row * region.width..(row + 1) * region.width;
        let first = &mut first[place.clone()];
        if colours == Colours::Grey {
            first.copy_from_slice(a);
            continue;
        }
        let rgb = [first, &mut second[place.clone()], &mut third[place]];
        match colours {
            Colours::Ycc => colour::of_ycc([a, b, c], rgb),
            Colours::Cmyk => colour::of_cmyk([a, b, c], d, rgb),
            Colours::Ycck => colour::of_ycck([a, b, c], d, rgb),
            _ => rgb.into_iter().zip([a, b, c]).for_each(|(to, from)| to.copy_from_slice(from)),
        }
    }
}

/// The pixels of row `y` of the region, of one component.
#[inline(always)]
fn spread<'a>(
    plane: &Plane,
    samples: &'a [u8],
    region: CropBox,
    y: usize,
    line: &'a mut Line,
) -> &'a [u8] {
    let [across, down] = plane.spread;
    let (left, width) = (region.left, region.width);
    let (first, end) = (left / across, (left + width - 1) / across + 1);
    // Where the next sample would be outside, the last one stands for it.
    let clamped = |y: usize| y.min(plane.whole[1] - 1);
    let row = |y: usize| {
        let start = plane.start + (y - plane.origin[1]) * plane.stride;
        &samples[start..start + plane.stride]
    };
    let near = row(clamped(y / down));
    let (from, to) = (first - plane.origin[0], end - plane.origin[0]);
    if !plane.smooth {
        if across == 1 {
            return &near[from..to];
        }
        line.pixels.clear();
        line.pixels
            .extend(near[from..to].iter().flat_map(|&sample| (0..across).map(move |_| sample)));
        return &line.pixels[left - first * across..][..width];
    }
    let far = match down {
        1 => near,
        _ if y.is_multiple_of(2) => row((y / 2).saturating_sub(1)),
        _ => row(clamped(y / 2 + 1)),
    };
    if across == 1 {
        let rounding = 1 + (y % 2) as u16;
        line.pixels.clear();
        line.pixels.extend(
            near[from..to].iter().zip(&far[from..to]).map(|(&near, &far)| {
                ((3 * u16::from(near) + u16::from(far) + rounding) >> 2) as u8
            }),
        );
        return &line.pixels;
    }
    // One neighbour more on both sides.
    let left_most = first.saturating_sub(1) - plane.origin[0];
    let right_most = (end + 1).min(plane.whole[0]) - plane.origin[0];
    let (near, far) = (&near[left_most..right_most], &far[left_most..right_most]);
    line.sums.clear();
    line.sums.resize(end - first + 2, 0);
    let (inside, last) = (usize::from(first == 0), line.sums.len() - 1);
    let vertical = |near: u8, far: u8| match down {
        1 => u16::from(near),
        _ => 3 * u16::from(near) + u16::from(far),
    };
    for (sum, (&near, &far)) in line.sums[inside..].iter_mut().zip(near.iter().zip(far)) {
        *sum = vertical(near, far);
    }
    line.sums[0] = line.sums[usize::from(first == 0)];
    if end == plane.whole[0] {
        line.sums[last] = line.sums[last - 1];
    }
    line.pixels.resize(2 * (end - first), 0);
    match down {
        1 => horizontal::<2, 1, 2>(&line.sums, &mut line.pixels),
        _ => horizontal::<4, 8, 7>(&line.sums, &mut line.pixels),
    }
    &line.pixels[left - 2 * first..][..width]
}

/// Two pixels for each sum but the outer ones: three quarters of it and one of its neighbour's.
#[inline(always)]
fn horizontal<const SHIFT: u32, const LEFT: u16, const RIGHT: u16>(
    sums: &[u16],
    pixels: &mut [u8],
) {
    let count = pixels.len() / 2;
    let (before, here, after) = (&sums[..count], &sums[1..=count], &sums[2..count + 2]);
    for (k, pair) in pixels.as_chunks_mut::<2>().0.iter_mut().enumerate() {
        pair[0] = ((3 * here[k] + before[k] + LEFT) >> SHIFT) as u8;
        pair[1] = ((3 * here[k] + after[k] + RIGHT) >> SHIFT) as u8;
    }
}
