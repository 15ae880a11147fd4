//! Which images are the same picture, to the bit or to the eye.
//!
//! Two pictures are near duplicates when their outlines agree in two ways: the difference hash (Krawetz 2013: the signs of
//! the steps between neighbouring cells of a grid of 9 × 8, 64 bits) differs in at most [`MOST_BITS`] bits, and the cells
//! themselves, in colour, correlate by at least [`LEAST_CORRELATION`]. The hash finds the candidates without comparing
//! all pairs; the correlation refuses pictures that only share a plain ground. Both ignore brightness, contrast, size and
//! compression; neither sees a mirrored, turned or strongly cropped copy.

use std::collections::BTreeMap;

use crate::image::{Image, Samples};
use crate::plan::Interpolation;
use crate::record::CropBox;
use crate::resize::resize;

/// Bits in which the hashes of near duplicates may differ. One of five parts of 64 bits is then the same in both.
const MOST_BITS: u32 = 4;
const PARTS: u32 = MOST_BITS + 1;
const LEAST_CORRELATION: f64 = 0.995;
const COLUMNS: usize = 9;
const ROWS: usize = 8;
const CELLS: usize = 3 * COLUMNS * ROWS;
/// A step between two cells counts when it is more than this share of the range of all cells: less is the noise of
/// compression in a plain ground.
const LEAST_STEP: f64 = 0.02;
/// An image is compared with so many of those whose hash shares a part with its own. Only plain pictures, of which
/// thousands share one, have more; what is alike among them is found through others of its kind.
const MOST_COMPARED: usize = 400;

/// What is remembered of an image to compare it with others.
pub struct Look {
    /// Number in its source.
    pub index: usize,
    /// Whether it is of the second source.
    pub against: bool,
    /// Equal for images of the same size, channels and samples, and in practice for no others.
    pub exact: u128,
    /// `None` for an image too plain to be told from others.
    pub outline: Option<Outline>,
}

/// An image as a coarse grid in colour.
pub struct Outline {
    hash: u64,
    /// Mean 0 and length 32767, so that the product of two is their correlation.
    cells: Box<[i16; CELLS]>,
}

/// A hash of everything that makes an image: 128 bits in two lanes that mix eight bytes per step.
pub fn fingerprint(image: &Image) -> u128 {
    let mut lanes = [0x9E37_79B9_7F4A_7C15u64, 0xC2B2_AE3D_27D4_EB4F];
    let mut mix = |word: u64| {
        lanes[0] = (lanes[0].rotate_left(23) ^ word).wrapping_mul(0xBF58_476D_1CE4_E5B9);
        lanes[1] = (lanes[1].rotate_left(41) ^ word).wrapping_mul(0x94D0_49BB_1331_11EB);
    };
    let bits = if image.as_u8().is_some() { 8 } else { 16 };
    for number in [image.width as u64, image.height as u64, image.channels as u64, bits] {
        mix(number);
    }
    match &image.samples {
        Samples::U8(samples) => {
            for word in samples.chunks(8) {
                mix(word.iter().fold(0, |all, &v| all << 8 | u64::from(v)));
            }
        }
        Samples::U16(samples) => {
            for word in samples.chunks(4) {
                mix(word.iter().fold(0, |all, &v| all << 16 | u64::from(v)));
            }
        }
    }
    let [a, b] = lanes.map(|lane| (lane ^ lane >> 29).wrapping_mul(0x94D0_49BB_1331_11EB));
    u128::from(a) << 64 | u128::from(b)
}

/// The outline of an image; `None` for one whose cells differ by less than a step or two of its depth.
pub fn outline(image: &Image) -> Option<Outline> {
    let whole = CropBox { top: 0, left: 0, height: image.height, width: image.width };
    let grid = resize(image, whole, COLUMNS, ROWS, Interpolation::Bilinear);
    let samples: Vec<f64> = match &grid.samples {
        Samples::U8(samples) => samples.iter().map(|&v| v.into()).collect(),
        Samples::U16(samples) => samples.iter().map(|&v| v.into()).collect(),
    };
    let pixels = samples.chunks_exact(grid.channels);
    let grey: Vec<f64> =
        pixels.clone().map(|pixel| pixel.iter().sum::<f64>() / pixel.len() as f64).collect();
    let cells: Vec<f64> = match grid.channels {
        3 => samples.clone(),
        _ => grey.iter().flat_map(|&v| [v; 3]).collect(),
    };
    let mean = cells.iter().sum::<f64>() / CELLS as f64;
    let length = cells.iter().map(|v| (v - mean).powi(2)).sum::<f64>().sqrt();
    if length < 2.0 * (CELLS as f64).sqrt() {
        return None;
    }
    let mut scaled = Box::new([0; CELLS]);
    for (to, from) in scaled.iter_mut().zip(&cells) {
        *to = ((from - mean) / length * 32_767.0).round() as i16;
    }
    Some(Outline { hash: steps(&grey), cells: scaled })
}

/// One bit for each pair of neighbours in a row of the grid.
fn steps(grey: &[f64]) -> u64 {
    let low = grey.iter().copied().fold(f64::INFINITY, f64::min);
    let high = grey.iter().copied().fold(f64::NEG_INFINITY, f64::max);
    let least = LEAST_STEP * (high - low);
    let pairs = grey.chunks_exact(COLUMNS).flat_map(|row| row.windows(2));
    pairs.fold(0, |bits, pair| bits << 1 | u64::from(pair[1] - pair[0] > least))
}

impl Outline {
    fn is_near(&self, other: &Self) -> bool {
        (self.hash ^ other.hash).count_ones() <= MOST_BITS
            && self.correlation(other) >= LEAST_CORRELATION
    }

    fn correlation(&self, other: &Self) -> f64 {
        let product = |(a, b): (&i16, &i16)| i64::from(*a) * i64::from(*b);
        let sum: i64 = self.cells.iter().zip(other.cells.iter()).map(product).sum();
        sum as f64 / (32_767.0 * 32_767.0)
    }
}

/// The places in `looks` of the images that are equal to the bit, two or more in each group, in their order.
pub fn equal(looks: &[Look]) -> Vec<Vec<usize>> {
    let mut places: BTreeMap<u128, Vec<usize>> = BTreeMap::new();
    for (place, look) in looks.iter().enumerate() {
        places.entry(look.exact).or_default().push(place);
    }
    let mut groups: Vec<_> = places.into_values().filter(|group| group.len() > 1).collect();
    groups.sort();
    groups
}

/// The places in `looks` of the images that are near duplicates, of each other or through others. Copies that are
/// equal to the bit come with their group; a group of nothing else is left out.
pub fn near(looks: &[Look], equal: &[Vec<usize>]) -> Vec<Vec<usize>> {
    let mut sets = Sets::of(looks.len());
    for group in equal {
        for &place in &group[1..] {
            sets.join(group[0], place);
        }
    }
    // Of equal images one stands for all.
    let mut shown: Vec<(u64, usize)> = (0..looks.len())
        .filter(|&place| sets.first(place) == place)
        .filter_map(|place| Some((looks[place].outline.as_ref()?.hash, place)))
        .collect();
    let mut near = Vec::new();
    for part in 0..PARTS {
        let key = |hash: u64| {
            let width = u64::BITS.div_ceil(PARTS);
            hash.rotate_right(part * width) & ((1 << width) - 1)
        };
        shown.sort_unstable_by_key(|&(hash, place)| (key(hash), hash, place));
        for run in shown.chunk_by(|a, b| key(a.0) == key(b.0)) {
            for (at, &(_, a)) in run.iter().enumerate() {
                for &(_, b) in run[at + 1..].iter().take(MOST_COMPARED) {
                    let [x, y] = [a, b].map(|place| looks[place].outline.as_ref());
                    if sets.first(a) != sets.first(b) && x.zip(y).is_some_and(|(x, y)| x.is_near(y))
                    {
                        sets.join(a, b);
                        near.push(a);
                    }
                }
            }
        }
    }
    let mut groups: BTreeMap<usize, Vec<usize>> =
        near.iter().map(|&place| (sets.first(place), Vec::new())).collect();
    for place in 0..looks.len() {
        if let Some(group) = groups.get_mut(&sets.first(place)) {
            group.push(place);
        }
    }
    groups.into_values().collect()
}

/// Disjoint sets, each named by its first member.
struct Sets(Vec<usize>);

impl Sets {
    fn of(count: usize) -> Self {
        Self((0..count).collect())
    }

    fn first(&mut self, mut place: usize) -> usize {
        while self.0[place] != place {
            self.0[place] = self.0[self.0[place]];
            place = self.0[place];
        }
        place
    }

    fn join(&mut self, a: usize, b: usize) {
        let (a, b) = (self.first(a), self.first(b));
        self.0[a.max(b)] = a.min(b);
    }
}
