//! Coefficients to samples: libjpeg's accurate integer transform and its reductions by 2, 4 and 8.
//!
//! The transform of Loeffler, Ligtenberg and Moschytz (1989) with 13-bit constants; two more bits are kept between
//! its passes. Sums and saturation are those of 16-bit vector units, which differ from wider ones in
//! damaged files only.

use super::{Block, Quantisation};

/// Bits of the constants, and bits that are kept between the passes.
const CONSTANT: u32 = 13;
const BETWEEN: u32 = 2;

/// The samples of blocks that lie side by side: `size` rows of them, the first at the start of `out`.
///
/// `last` names the last coefficient of each that is not zero.
#[inline(always)]
pub fn blocks(
    size: usize,
    blocks: &[Block],
    last: &[u8],
    quantisation: &Quantisation,
    out: &mut [u8],
    stride: usize,
) {
    for (column, (block, &last)) in blocks.iter().zip(last).enumerate() {
        let out = &mut out[column * size..];
        match size {
            8 if last == 0 => flat::<8>(dc(block, quantisation), out, stride),
            8 => put(&whole(block, quantisation), out, stride),
            4 => put(&half(block, quantisation), out, stride),
            2 => put(&quarter(block, quantisation), out, stride),
            _ => out[0] = dc(block, quantisation),
        }
    }
}

/// The one value of a block without AC coefficients.
#[inline(always)]
pub fn dc(block: &Block, quantisation: &Quantisation) -> u8 {
    let value = i32::from(block[0].wrapping_mul(quantisation[0]));
    sample((value + 4) >> 3)
}

#[inline(always)]
pub fn flat<const N: usize>(value: u8, out: &mut [u8], stride: usize) {
    for row in out.chunks_mut(stride).take(N) {
        row[..N].fill(value);
    }
}

#[inline(always)]
fn put<const N: usize>(rows: &[[u8; N]; N], out: &mut [u8], stride: usize) {
    for (to, row) in out.chunks_mut(stride).zip(rows) {
        to[..N].copy_from_slice(row);
    }
}

fn sample(value: i32) -> u8 {
    (value.clamp(-128, 127) + 128) as u8
}

fn saturated(value: i32) -> i32 {
    value.clamp(i32::from(i16::MIN), i32::from(i16::MAX))
}

#[inline(always)]
fn rounded(value: i32, bits: u32) -> i32 {
    value.wrapping_add(1 << (bits - 1)) >> bits
}

/// Rows of eight coefficients, multiplied by their steps.
#[inline(always)]
fn dequantised(block: &Block, quantisation: &Quantisation) -> [[i32; 8]; 8] {
    let mut rows = [[0; 8]; 8];
    for (k, (value, step)) in block.iter().zip(quantisation).enumerate() {
        rows[k / 8][k % 8] = i32::from(value.wrapping_mul(*step));
    }
    rows
}

#[inline(always)]
fn transposed<const R: usize, const C: usize>(rows: &[[i32; C]; R]) -> [[i32; R]; C] {
    std::array::from_fn(|x| std::array::from_fn(|y| rows[y][x]))
}

#[inline(always)]
fn whole(block: &Block, quantisation: &Quantisation) -> [[u8; 8]; 8] {
    let mut rows = dequantised(block, quantisation);
    pass(&mut rows, CONSTANT - BETWEEN);
    let mut columns = transposed(&rows);
    pass(&mut columns, CONSTANT + BETWEEN + 3);
    transposed(&columns).map(|row| row.map(sample))
}

/// The one-dimensional transform of each column.
#[expect(
    clippy::needless_range_loop,
    reason = "the loop over columns is the one that becomes vectors"
)]
#[inline(always)]
fn pass(rows: &mut [[i32; 8]; 8], shift: u32) {
    for x in 0..8 {
        let [c0, c1, c2, c3, c4, c5, c6, c7] = std::array::from_fn(|y| rows[y][x]);
        let narrow = |sum: i32| i32::from(sum as i16);
        // Even part.
        let low = c2 * 4433 + c6 * (4433 - 15137);
        let high = c2 * (4433 + 6270) + c6 * 4433;
        let (sum, difference) = (narrow(c0 + c4) << CONSTANT, narrow(c0 - c4) << CONSTANT);
        let even = [
            sum.wrapping_add(high),
            difference.wrapping_add(low),
            difference.wrapping_sub(low),
            sum.wrapping_sub(high),
        ];
        // Odd part.
        let (a, b) = (narrow(c7 + c3), narrow(c5 + c1));
        let (p, q) = (a * (9633 - 16069) + b * 9633, a * 9633 + b * (9633 - 3196));
        let odd = [
            (c7 * -7373 + c1 * (12299 - 7373)).wrapping_add(q),
            (c5 * -20995 + c3 * (25172 - 20995)).wrapping_add(p),
            (c5 * (16819 - 20995) + c3 * -20995).wrapping_add(q),
            (c7 * (2446 - 7373) + c1 * -7373).wrapping_add(p),
        ];
        for k in 0..4 {
            rows[k][x] = saturated(rounded(even[k].wrapping_add(odd[k]), shift));
            rows[7 - k][x] = saturated(rounded(even[k].wrapping_sub(odd[k]), shift));
        }
    }
}

/// Four by four samples of a block, each the size of four.
#[inline(always)]
fn half(block: &Block, quantisation: &Quantisation) -> [[u8; 4]; 4] {
    let rows = half_pass(&dequantised(block, quantisation), CONSTANT - BETWEEN + 1);
    let columns = half_pass(&transposed(&rows), CONSTANT + BETWEEN + 3 + 1);
    transposed(&columns).map(|row| row.map(sample))
}

#[inline(always)]
fn half_pass<const W: usize>(rows: &[[i32; W]; 8], shift: u32) -> [[i32; W]; 4] {
    let mut out = [[0; W]; 4];
    for x in 0..W {
        let [c0, c1, c2, c3, _, c5, c6, c7] = std::array::from_fn(|y| rows[y][x]);
        let (dc, low) = (c0 << (CONSTANT + 1), c2 * 15137 + c6 * -6270);
        let even = [dc.wrapping_add(low), dc.wrapping_sub(low)];
        let inner = (c7 * -1730 + c5 * 11893).wrapping_add(c3 * -17799 + c1 * 8697);
        let outer = (c7 * -4176 + c5 * -4926).wrapping_add(c3 * 7373 + c1 * 20995);
        for (k, odd) in [outer, inner].into_iter().enumerate() {
            out[k][x] = saturated(rounded(even[k].wrapping_add(odd), shift));
            out[3 - k][x] = saturated(rounded(even[k].wrapping_sub(odd), shift));
        }
    }
    out
}

/// Two by two samples of a block, each the size of sixteen.
#[inline(always)]
fn quarter(block: &Block, quantisation: &Quantisation) -> [[u8; 2]; 2] {
    let rows = quarter_pass(&dequantised(block, quantisation), CONSTANT - BETWEEN + 2);
    let columns = quarter_pass(&transposed(&rows), CONSTANT + BETWEEN + 3 + 2);
    transposed(&columns).map(|row| row.map(sample))
}

#[inline(always)]
fn quarter_pass<const W: usize>(rows: &[[i32; W]; 8], shift: u32) -> [[i32; W]; 2] {
    let mut out = [[0; W]; 2];
    for x in 0..W {
        let [c0, c1, _, c3, _, c5, _, c7] = std::array::from_fn(|y| rows[y][x]);
        let even = c0 << (CONSTANT + 2);
        let odd = (c7 * -5906 + c5 * 6967).wrapping_add(c3 * -10426 + c1 * 29692);
        out[0][x] = saturated(rounded(even.wrapping_add(odd), shift));
        out[1][x] = saturated(rounded(even.wrapping_sub(odd), shift));
    }
    out
}
