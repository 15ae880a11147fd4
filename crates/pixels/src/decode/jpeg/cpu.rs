//! The three loops in which the time goes, compiled for the processor that is there.
//!
//! Each body is written once and inlined into a function per instruction set.
#![cfg_attr(
    target_arch = "x86_64",
    expect(
        unsafe_code,
        reason = "code for an instruction set is called after its presence was checked"
    )
)]

use super::super::DecodeError;
use super::paint::{self, Lines, Picture};
use super::{Block, Quantisation, idct, progressive, sequential};
use crate::simd;

/// The instruction set in use.
#[derive(Clone, Copy)]
pub struct Cpu {
    /// AVX2 and BMI, which [`simd::level`] has asked for.
    #[cfg(target_arch = "x86_64")]
    wide: bool,
}

impl Cpu {
    pub fn detect() -> Self {
        Self {
            #[cfg(target_arch = "x86_64")]
            wide: simd::level() >= simd::Level::Avx2,
        }
    }

    pub fn sequential(self, job: &mut sequential::Job) -> Result<(), DecodeError> {
        #[cfg(target_arch = "x86_64")]
        if self.wide {
            // SAFETY: the instruction sets are there, see `detect`.
            return unsafe { wide::sequential(job) };
        }
        sequential::scan(job)
    }

    pub fn progressive(self, job: &mut progressive::Job) -> Result<(), DecodeError> {
        #[cfg(target_arch = "x86_64")]
        if self.wide {
            // SAFETY: the instruction sets are there, see `detect`.
            return unsafe { wide::progressive(job) };
        }
        progressive::scan(job)
    }

    /// See [`idct::blocks`].
    pub fn blocks(
        self,
        size: usize,
        blocks: &[Block],
        last: &[u8],
        quantisation: &Quantisation,
        out: &mut [u8],
        stride: usize,
    ) {
        #[cfg(target_arch = "x86_64")]
        if self.wide {
            // SAFETY: the instruction sets are there, see `detect`.
            return unsafe { wide::blocks(size, blocks, last, quantisation, out, stride) };
        }
        idct::blocks(size, blocks, last, quantisation, out, stride);
    }

    pub fn paint(self, picture: &Picture, lines: &mut Lines, out: &mut [u8]) {
        #[cfg(target_arch = "x86_64")]
        if self.wide {
            // SAFETY: the instruction sets are there, see `detect`.
            return unsafe { wide::paint(picture, lines, out) };
        }
        paint::paint(picture, lines, out);
    }
}

#[cfg(target_arch = "x86_64")]
mod wide {
    use super::super::vector;
    use super::{Block, DecodeError, Lines, Picture, Quantisation, idct, paint};
    use super::{progressive as progressive_scan, sequential as sequential_scan};

    #[target_feature(enable = "avx2,bmi1,bmi2")]
    pub fn sequential(job: &mut sequential_scan::Job) -> Result<(), DecodeError> {
        sequential_scan::scan(job)
    }

    #[target_feature(enable = "avx2,bmi1,bmi2")]
    pub fn progressive(job: &mut progressive_scan::Job) -> Result<(), DecodeError> {
        progressive_scan::scan(job)
    }

    #[target_feature(enable = "avx2,bmi1,bmi2")]
    pub fn blocks(
        size: usize,
        blocks: &[Block],
        last: &[u8],
        quantisation: &Quantisation,
        out: &mut [u8],
        stride: usize,
    ) {
        match size {
            8 => vector::blocks(blocks, last, quantisation, out, stride),
            _ => idct::blocks(size, blocks, last, quantisation, out, stride),
        }
    }

    #[target_feature(enable = "avx2,bmi1,bmi2")]
    pub fn paint(picture: &Picture, lines: &mut Lines, out: &mut [u8]) {
        paint::paint(picture, lines, out);
    }
}

#[cfg(all(test, target_arch = "x86_64"))]
mod tests {
    use super::*;

    #[test]
    fn every_instruction_set_computes_the_same_samples() {
        let mut state = 1u64;
        let mut number = move || {
            state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1);
            (state >> 40) as i16
        };
        for round in 0..500 {
            let quantisation =
                [0; 64].map(|_: i16| number() & if round % 2 == 0 { 15 } else { -1 });
            let blocks = [0; 5].map(|_: i16| {
                // From few and small values to damaged ones.
                let (most, few) = (number() & 0x7FF, number() & 3);
                [0; 64].map(|_: i16| if number() & few == 0 { number() % (most + 1) } else { 0 })
            });
            for size in [8, 4, 2, 1] {
                let [portable, found] = [Cpu { wide: false }, Cpu::detect()].map(|cpu| {
                    let mut out = vec![0; 8 * 48];
                    cpu.blocks(size, &blocks, &[63; 5], &quantisation, &mut out, 48);
                    out
                });
                assert!(portable == found, "round {round}, size {size}");
            }
        }
    }
}
