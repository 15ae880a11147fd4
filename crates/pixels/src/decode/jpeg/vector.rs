//! The whole inverse transform of [`super::idct`] by AVX2: two blocks at a time, one in each half of the registers.
//!
//! Every product is one of 16 bits and two of them are added at once, so that a block costs half of what 32-bit lanes
//! cost. Only operations without pointers are used, so nothing here is unsafe.

#[allow(clippy::wildcard_imports, reason = "two dozen names that no other item resembles")]
use std::arch::x86_64::*;

use super::idct::{dc, flat};
use super::{Block, Quantisation};

/// Eight rows of two blocks, or eight columns.
type Rows = [__m256i; 8];

/// See [`super::idct::blocks`], with eight samples for eight coefficients.
#[inline]
#[target_feature(enable = "avx2")]
pub fn blocks(
    blocks: &[Block],
    last: &[u8],
    quantisation: &Quantisation,
    out: &mut [u8],
    stride: usize,
) {
    let mut steps = [_mm256_setzero_si256(); 8];
    for (y, steps) in steps.iter_mut().enumerate() {
        *steps = row(quantisation, quantisation, y);
    }
    let mut column = 0;
    for (pair, last) in blocks.chunks(2).zip(last.chunks(2)) {
        let out = &mut out[column..];
        column += 8 * pair.len();
        match (pair, last) {
            (_, [0] | [0, 0]) => {
                for (k, block) in pair.iter().enumerate() {
                    flat::<8>(dc(block, quantisation), &mut out[8 * k..], stride);
                }
            }
            ([a, b], _) => {
                for (y, rows) in transform(a, b, &steps).into_iter().enumerate() {
                    // The first row of both blocks, then the second row of both.
                    let rows = _mm256_permute4x64_epi64::<0b11_01_10_00>(rows);
                    let [a, b, c, d] = words(rows);
                    put(&mut out[2 * y * stride..][..16], [a, b]);
                    put(&mut out[(2 * y + 1) * stride..][..16], [c, d]);
                }
            }
            ([a], _) => {
                for (y, rows) in transform(a, a, &steps).into_iter().enumerate() {
                    let [a, b, ..] = words(rows);
                    put(&mut out[2 * y * stride..][..8], [a]);
                    put(&mut out[(2 * y + 1) * stride..][..8], [b]);
                }
            }
            _ => {}
        }
    }
}

/// Row `y` of two blocks.
#[inline]
#[target_feature(enable = "avx2")]
fn row(a: &[i16; 64], b: &[i16; 64], y: usize) -> __m256i {
    let [a, b] = [a, b].map(|block| {
        let [a, b, c, d, e, f, g, h] = block.as_chunks().0[y];
        _mm_setr_epi16(a, b, c, d, e, f, g, h)
    });
    _mm256_set_m128i(b, a)
}

#[inline]
#[target_feature(enable = "avx2")]
fn words(rows: __m256i) -> [i64; 4] {
    [
        _mm256_extract_epi64::<0>(rows),
        _mm256_extract_epi64::<1>(rows),
        _mm256_extract_epi64::<2>(rows),
        _mm256_extract_epi64::<3>(rows),
    ]
}

#[inline(always)]
fn put<const N: usize>(out: &mut [u8], words: [i64; N]) {
    for (out, word) in out.as_chunks_mut::<8>().0.iter_mut().zip(words) {
        *out = word.to_le_bytes();
    }
}

/// The samples of two blocks: in each half of `result[k]`, rows 2k and 2k + 1 of one of them.
#[inline]
#[target_feature(enable = "avx2")]
fn transform(a: &Block, b: &Block, steps: &Rows) -> [__m256i; 4] {
    let mut coefficients = [_mm256_setzero_si256(); 8];
    for (y, (coefficients, steps)) in coefficients.iter_mut().zip(steps).enumerate() {
        *coefficients = _mm256_mullo_epi16(row(a, b, y), *steps);
    }
    let rows = pass::<11>(coefficients);
    let columns = pass::<18>(transposed(rows));
    bytes(columns)
}

/// The one-dimensional transform, down the rows.
#[inline]
#[target_feature(enable = "avx2")]
fn pass<const SHIFT: i32>([c0, c1, c2, c3, c4, c5, c6, c7]: Rows) -> Rows {
    // Even part.
    let (sum, difference) = (_mm256_add_epi16(c0, c4), _mm256_sub_epi16(c0, c4));
    let (sum, difference) = (shifted::<SHIFT>(sum), shifted::<SHIFT>(difference));
    let c26 = mixed(c2, c6);
    let (low, high) = (products(c26, 4433, 4433 - 15137), products(c26, 4433 + 6270, 4433));
    let even = [add(sum, high), add(difference, low), sub(difference, low), sub(sum, high)];
    // Odd part.
    let ab = mixed(_mm256_add_epi16(c7, c3), _mm256_add_epi16(c5, c1));
    let (p, q) = (products(ab, 9633 - 16069, 9633), products(ab, 9633, 9633 - 3196));
    let (c71, c53) = (mixed(c7, c1), mixed(c5, c3));
    let odd = [
        add(products(c71, -7373, 12299 - 7373), q),
        add(products(c53, -20995, 25172 - 20995), p),
        add(products(c53, 16819 - 20995, -20995), q),
        add(products(c71, 2446 - 7373, -7373), p),
    ];
    let [r0, r1, r2, r3] = [0, 1, 2, 3].map(|k| narrow::<SHIFT>(add(even[k], odd[k])));
    let [r7, r6, r5, r4] = [0, 1, 2, 3].map(|k| narrow::<SHIFT>(sub(even[k], odd[k])));
    [r0, r1, r2, r3, r4, r5, r6, r7]
}

/// 32-bit lanes: the lower and the upper four columns of each block.
type Wide = [__m256i; 2];

#[inline]
#[target_feature(enable = "avx2")]
fn mixed(a: __m256i, b: __m256i) -> Wide {
    [_mm256_unpacklo_epi16(a, b), _mm256_unpackhi_epi16(a, b)]
}

/// `a · first + b · second` of mixed rows a and b.
#[inline]
#[target_feature(enable = "avx2")]
fn products(mixed: Wide, first: i16, second: i16) -> Wide {
    let factors = _mm256_set1_epi32(i32::from(second) << 16 | i32::from(first) & 0xFFFF);
    [_mm256_madd_epi16(mixed[0], factors), _mm256_madd_epi16(mixed[1], factors)]
}

/// A row times 2¹³, and the half that makes the shift at the end round.
#[inline]
#[target_feature(enable = "avx2")]
fn shifted<const SHIFT: i32>(row: __m256i) -> Wide {
    let half = _mm256_set1_epi32(1 << (SHIFT - 1));
    let high = mixed(_mm256_setzero_si256(), row);
    high.map(|high| _mm256_add_epi32(_mm256_srai_epi32::<3>(high), half))
}

#[inline]
#[target_feature(enable = "avx2")]
fn add(a: Wide, b: Wide) -> Wide {
    [_mm256_add_epi32(a[0], b[0]), _mm256_add_epi32(a[1], b[1])]
}

#[inline]
#[target_feature(enable = "avx2")]
fn sub(a: Wide, b: Wide) -> Wide {
    [_mm256_sub_epi32(a[0], b[0]), _mm256_sub_epi32(a[1], b[1])]
}

#[inline]
#[target_feature(enable = "avx2")]
fn narrow<const SHIFT: i32>(wide: Wide) -> __m256i {
    _mm256_packs_epi32(_mm256_srai_epi32::<SHIFT>(wide[0]), _mm256_srai_epi32::<SHIFT>(wide[1]))
}

/// Rows to columns, of each block.
#[inline]
#[target_feature(enable = "avx2")]
fn transposed([r0, r1, r2, r3, r4, r5, r6, r7]: Rows) -> Rows {
    let [a0, a1] = mixed(r0, r4);
    let [b0, b1] = mixed(r1, r5);
    let [c0, c1] = mixed(r2, r6);
    let [d0, d1] = mixed(r3, r7);
    let ([e0, e1], [f0, f1]) = (mixed(a0, c0), mixed(b0, d0));
    let ([g0, g1], [h0, h1]) = (mixed(a1, c1), mixed(b1, d1));
    let [[s0, s1], [s2, s3]] = [mixed(e0, f0), mixed(e1, f1)];
    let [[s4, s5], [s6, s7]] = [mixed(g0, h0), mixed(g1, h1)];
    [s0, s1, s2, s3, s4, s5, s6, s7]
}

/// Columns of 16 bits around zero to rows of bytes.
#[inline]
#[target_feature(enable = "avx2")]
fn bytes([c0, c1, c2, c3, c4, c5, c6, c7]: Rows) -> [__m256i; 4] {
    let (a, b) = (_mm256_packs_epi16(c0, c2), _mm256_packs_epi16(c1, c3));
    let (c, d) = (_mm256_packs_epi16(c4, c6), _mm256_packs_epi16(c5, c7));
    // Pairs of columns, then fours, then rows of eight.
    let [ab, cd] = [(a, b), (c, d)]
        .map(|(a, b)| mixed(_mm256_unpacklo_epi8(a, b), _mm256_unpackhi_epi8(a, b)));
    let centre = _mm256_set1_epi8(-128);
    [
        _mm256_unpacklo_epi32(ab[0], cd[0]),
        _mm256_unpackhi_epi32(ab[0], cd[0]),
        _mm256_unpacklo_epi32(ab[1], cd[1]),
        _mm256_unpackhi_epi32(ab[1], cd[1]),
    ]
    .map(|rows| _mm256_xor_si256(rows, centre))
}
