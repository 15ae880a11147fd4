//! The two passes over one plane.
//!
//! A weighted sum of rows is a sum of neighbours in memory, sixteen and more at once. The pass along the rows is made
//! one, too: sixteen rows are turned into columns, summed, and turned back.

use std::ops::{AddAssign, Mul, Range};

use super::axis::{Axis, PRECISION};
use crate::planes::Depth;
use crate::simd::widest;

/// Rows that are turned at once.
const BLOCK: usize = 16;

/// A square of samples, row by row.
pub type Tile<T> = [[T; BLOCK]; BLOCK];

/// A sample that can be resampled: how its weighted sums are held and rounded.
pub trait Resampled: Depth {
    type Sum: Copy + AddAssign + Mul<Output = Self::Sum>;
    const HALF: Self::Sum;
    fn widen(self) -> Self::Sum;
    fn weight(weight: i32) -> Self::Sum;
    fn narrow(sum: Self::Sum) -> Self;

    /// Columns become rows.
    #[inline]
    fn turn(rows: [&[Self; BLOCK]; BLOCK], columns: &mut Tile<Self>) {
        for (x, column) in columns.iter_mut().enumerate() {
            for (sample, row) in column.iter_mut().zip(rows) {
                *sample = row[x];
            }
        }
    }
}

impl Resampled for u8 {
    // 255 · 2²² times the sum of |weights| (at most 1.3 for the cubic) stays below 2³¹.
    type Sum = i32;
    const HALF: i32 = 1 << (PRECISION - 1);
    #[inline]
    fn widen(self) -> i32 {
        self.into()
    }
    #[inline]
    fn weight(weight: i32) -> i32 {
        weight
    }
    #[inline]
    fn narrow(sum: i32) -> Self {
        (sum >> PRECISION).clamp(0, 255) as Self
    }

    #[cfg(target_arch = "x86_64")]
    #[inline]
    #[expect(unsafe_code, reason = "the instructions of a transposition")]
    fn turn(rows: [&[u8; BLOCK]; BLOCK], columns: &mut Tile<u8>) {
        // SAFETY: every x86-64 processor has SSE2.
        unsafe { turn_sse2(rows, columns) }
    }
}

impl Resampled for u16 {
    type Sum = i64;
    const HALF: i64 = 1 << (PRECISION - 1);
    #[inline]
    fn widen(self) -> i64 {
        self.into()
    }
    #[inline]
    fn weight(weight: i32) -> i64 {
        weight.into()
    }
    #[inline]
    fn narrow(sum: i64) -> Self {
        (sum >> PRECISION).clamp(0, 65_535) as Self
    }
}

/// Columns become rows, in four rounds in which row i and row i + 8 are shuffled like two halves of a pack of cards.
#[cfg(target_arch = "x86_64")]
#[inline]
#[target_feature(enable = "sse2")]
fn turn_sse2(rows: [&[u8; BLOCK]; BLOCK], columns: &mut Tile<u8>) {
    use std::arch::x86_64 as x;
    let mut packs = [x::_mm_setzero_si128(); BLOCK];
    for (pack, row) in packs.iter_mut().zip(rows) {
        let [low, high] = row.as_chunks::<8>().0 else { unreachable!("16 bytes are twice 8") };
        *pack = x::_mm_set_epi64x(i64::from_le_bytes(*high), i64::from_le_bytes(*low));
    }
    for _ in 0..4 {
        let before = packs;
        for i in 0..BLOCK / 2 {
            packs[2 * i] = x::_mm_unpacklo_epi8(before[i], before[i + BLOCK / 2]);
            packs[2 * i + 1] = x::_mm_unpackhi_epi8(before[i], before[i + BLOCK / 2]);
        }
    }
    for (column, pack) in columns.iter_mut().zip(packs) {
        let high = x::_mm_cvtsi128_si64(x::_mm_unpackhi_epi64(pack, pack));
        column[..8].copy_from_slice(&x::_mm_cvtsi128_si64(pack).to_le_bytes());
        column[8..].copy_from_slice(&high.to_le_bytes());
    }
}

/// Rows of one plane, somewhere in a larger one.
#[derive(Clone, Copy)]
pub(super) struct Grid<'a, T> {
    pub(super) samples: &'a [T],
    /// Samples from one row to the next.
    pub(super) stride: usize,
    pub(super) width: usize,
}

impl<'a, T> Grid<'a, T> {
    #[inline]
    fn row(&self, y: usize) -> &'a [T] {
        &self.samples[y * self.stride..][..self.width]
    }
}

/// The given rows of a plane, resampled along the row, into `out` row by row.
pub(super) fn across<T: Resampled>(
    grid: &Grid<T>,
    rows: Range<usize>,
    axis: &Axis,
    columns: &mut Vec<T>,
    out: &mut [T],
) {
    let width = axis.len();
    if let Some(start) = axis.identity {
        for (y, target) in rows.zip(out.chunks_exact_mut(width)) {
            target.copy_from_slice(&grid.row(y)[start..][..width]);
        }
        return;
    }
    let reads = axis.reads();
    columns.resize((grid.width + width) * BLOCK, T::default());
    for (first, block) in rows.clone().step_by(BLOCK).zip(out.chunks_mut(BLOCK * width)) {
        let last = rows.end - 1;
        // Where fewer rows are left, the last one stands in for those that are missing.
        let lines: [&[T]; BLOCK] = std::array::from_fn(|i| grid.row((first + i).min(last)));
        across_block(&lines, reads.clone(), axis, columns, block);
    }
}

widest! {
    /// Up to sixteen rows; `columns` has room for them, turned, and for what becomes of them.
    fn across_block[T: Resampled](
        lines: &[&[T]; BLOCK],
        reads: Range<usize>,
        axis: &Axis,
        columns: &mut [T],
        out: &mut [T],
    ) {
        let (inputs, outputs) = columns.as_chunks_mut::<BLOCK>().0.split_at_mut(lines[0].len());
        to_columns(lines, reads, inputs);
        for (target, (first, weights)) in outputs.iter_mut().zip(axis.outputs()) {
            let mut sums = [T::HALF; BLOCK];
            for (column, &weight) in inputs[first..].iter().zip(weights) {
                let weight = T::weight(weight);
                for (sum, sample) in sums.iter_mut().zip(column) {
                    *sum += sample.widen() * weight;
                }
            }
            for (sample, sum) in target.iter_mut().zip(sums) {
                *sample = T::narrow(sum);
            }
        }
        to_rows(&outputs[..axis.len()], out);
    }
}

#[inline(always)]
fn to_columns<T: Resampled>(
    lines: &[&[T]; BLOCK],
    range: Range<usize>,
    columns: &mut [[T; BLOCK]],
) {
    // Beside a whole number of tiles, the last tile overlaps the one before.
    if range.len() >= BLOCK {
        for tile in 0..range.len().div_ceil(BLOCK) {
            let at = (range.start + tile * BLOCK).min(range.end - BLOCK);
            let blank = [T::default(); BLOCK];
            let mut rows = [&blank; BLOCK];
            for (row, line) in rows.iter_mut().zip(lines) {
                *row = chunk(line, at);
            }
            T::turn(rows, chunk_mut(columns, at));
        }
        return;
    }
    for (x, column) in range.clone().zip(&mut columns[range.start..]) {
        for (sample, line) in column.iter_mut().zip(lines) {
            *sample = line[x];
        }
    }
}

#[inline(always)]
fn to_rows<T: Resampled>(columns: &[[T; BLOCK]], out: &mut [T]) {
    let width = columns.len();
    if width >= BLOCK && out.len() == BLOCK * width {
        for tile in 0..width.div_ceil(BLOCK) {
            let at = (tile * BLOCK).min(width - BLOCK);
            let blank = [T::default(); BLOCK];
            let mut rows = [&blank; BLOCK];
            for (row, column) in rows.iter_mut().zip(&columns[at..]) {
                *row = column;
            }
            let mut turned = [[T::default(); BLOCK]; BLOCK];
            T::turn(rows, &mut turned);
            for (y, row) in turned.iter().enumerate() {
                *chunk_mut(out, y * width + at) = *row;
            }
        }
        return;
    }
    for (y, line) in out.chunks_exact_mut(width).enumerate() {
        for (sample, column) in line.iter_mut().zip(columns) {
            *sample = column[y];
        }
    }
}

/// Sixteen neighbours.
#[inline(always)]
fn chunk<T>(samples: &[T], at: usize) -> &[T; BLOCK] {
    samples[at..].first_chunk().expect("the range is as long as a block or longer")
}

#[inline(always)]
fn chunk_mut<T>(samples: &mut [T], at: usize) -> &mut [T; BLOCK] {
    samples[at..].first_chunk_mut().expect("the range is as long as a block or longer")
}

/// All columns of a plane, resampled along the column. Row 0 of the plane is row `first` of the axis.
pub(super) fn down<T: Resampled>(grid: &Grid<T>, first: usize, axis: &Axis, out: &mut [T]) {
    let rows = out.chunks_exact_mut(grid.width);
    if axis.identity.is_some() {
        for (target, (row, _)) in rows.zip(axis.outputs()) {
            target.copy_from_slice(grid.row(row - first));
        }
        return;
    }
    for (target, (row, weights)) in rows.zip(axis.outputs()) {
        down_row(&grid.samples[(row - first) * grid.stride..], grid.stride, weights, target);
    }
}

widest! {
    /// One row: the weighted sum of rows that follow one another `stride` samples apart.
    fn down_row[T: Resampled](samples: &[T], stride: usize, weights: &[i32], out: &mut [T]) {
        let width = out.len();
        let (wide, rest) = out.as_chunks_mut::<64>();
        for (number, target) in wide.iter_mut().enumerate() {
            *target = sum_of(&samples[number * 64..], stride, weights);
        }
        let at = width - rest.len();
        let (narrow, rest) = rest.as_chunks_mut::<16>();
        for (number, target) in narrow.iter_mut().enumerate() {
            *target = sum_of(&samples[at + number * 16..], stride, weights);
        }
        let at = width - rest.len();
        for (x, target) in rest.iter_mut().enumerate() {
            [*target] = sum_of(&samples[at + x..], stride, weights);
        }
    }
}

#[inline(always)]
fn sum_of<T: Resampled, const N: usize>(samples: &[T], stride: usize, weights: &[i32]) -> [T; N] {
    let mut sums = [T::HALF; N];
    for (t, &weight) in weights.iter().enumerate() {
        let weight = T::weight(weight);
        let row = &samples[t * stride..][..N];
        for (sum, sample) in sums.iter_mut().zip(row) {
            *sum += sample.widen() * weight;
        }
    }
    let mut narrow = [T::default(); N];
    for (sample, sum) in narrow.iter_mut().zip(sums) {
        *sample = T::narrow(sum);
    }
    narrow
}
