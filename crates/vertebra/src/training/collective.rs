//! What ranks do together. One process is [`Alone`]; more processes implement the same trait.

use tch::Tensor;

/// The ranks of a run. N ranks must equal one rank, to rounding.
pub trait Collective: Send + Sync {
    /// How many processes take part.
    fn ranks(&self) -> usize;

    /// This process, from 0.
    fn rank(&self) -> usize;

    /// Rows of every rank, in the order of the ranks, with gradient: `[n, D]` → `[ranks · n, D]`.
    fn gather(&self, rows: &Tensor) -> Tensor;
}

/// One process: everything is already together.
#[derive(Clone, Copy, Debug, Default)]
pub struct Alone;

impl Collective for Alone {
    fn ranks(&self) -> usize {
        1
    }

    fn rank(&self) -> usize {
        0
    }

    fn gather(&self, rows: &Tensor) -> Tensor {
        rows.shallow_clone()
    }
}
