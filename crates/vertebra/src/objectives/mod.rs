//! Objectives: pure functions of gathered tensors. No configuration, no device, no process.
//!
//! Every function takes f32 (or f64) and returns a scalar tensor; callers leave autocast first, because a covariance or a
//! matrix of logits in bf16 keeps three digits.

pub mod barlow;
pub mod duality;
pub mod health;
pub mod info_nce;
pub mod spectral;
pub mod spectrum;
pub mod vicreg;

use tch::Tensor;

use crate::error::{Error, Result};
pub(crate) use duality::{column_dots, cross_off_diagonal_energy, off_diagonal_energy};
pub(crate) use spectrum::{exact, rankme};

/// N and D of two equal `[N, D]` with N > 1.
pub(crate) fn expect_pair(place: &'static str, a: &Tensor, b: &Tensor) -> Result<(i64, i64)> {
    let wanted = "two equal [N, D] with N > 1";
    match (a.size().as_slice(), b.size().as_slice()) {
        ([n, d], [m, e]) if n == m && d == e && *n > 1 => Ok((*n, *d)),
        (found, _) if found.len() != 2 || found[0] < 2 => {
            Err(Error::Shape { place, wanted, found: found.to_vec() })
        }
        (_, other) => Err(Error::Shape { place, wanted, found: other.to_vec() }),
    }
}
