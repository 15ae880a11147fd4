//! Objectives: pure functions of gathered tensors. No configuration, no device, no process.
//!
//! Every function takes f32 (or f64) and, unless it says otherwise, returns a scalar tensor; callers leave autocast first, because a
//! covariance or a matrix of logits in bf16 keeps three digits.

pub mod assignment;
pub mod barlow;
pub mod distillation;
pub mod duality;
pub mod health;
pub mod info_nce;
pub mod reconstruction;
pub mod regression;
pub mod spectral;
pub mod spectrum;
pub mod vicreg;
pub mod whitening;

use tch::{Kind, Tensor};

use crate::error::{Error, Result};
pub(crate) use duality::{column_dots, cross_off_diagonal_energy, off_diagonal_energy};
pub use info_nce::normalized;
pub(crate) use spectrum::{entropy_rank, exact, rankme};

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

/// Mean over the rows of −Σ q ln softmax(s / τ): a student's logits s against a distribution q that is given. SwAV's
/// swapped prediction (q the codes) and DINO's loss (q the teacher's). `target`, `logits`: `[N, K]` → scalar.
pub fn soft_cross_entropy(target: &Tensor, logits: &Tensor, temperature: f64) -> Tensor {
    cross_entropies(target, logits, temperature).mean(None::<Kind>)
}

/// The same row by row, `[N]`.
pub(crate) fn cross_entropies(target: &Tensor, logits: &Tensor, temperature: f64) -> Tensor {
    let logs = (logits / temperature).log_softmax(-1, None::<Kind>);
    -(target * logs).sum_dim_intlist([-1i64].as_slice(), false, None::<Kind>)
}
