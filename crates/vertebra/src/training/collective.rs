//! What ranks do together. One process is [`Alone`]; more processes implement the same trait.

#[cfg(feature = "mpi")]
mod mpi;

#[cfg(feature = "mpi")]
pub use mpi::Mpi;

use tch::Tensor;

use crate::error::Result;

/// The ranks of a run. N ranks must equal one rank, to rounding.
///
/// Every rank must make the same calls in the same order, with tensors of the same shape and kind. Nothing here has a gradient:
/// the pretraining loop cuts the graph where it gathers.
pub trait Collective: std::fmt::Debug + Send + Sync {
    /// How many processes take part.
    fn ranks(&self) -> usize;

    /// This process, from 0.
    fn rank(&self) -> usize;

    /// Rows of every rank, in the order of the ranks: `[n, …]` → `[ranks · n, …]`.
    fn gather(&self, rows: &Tensor) -> Result<Tensor>;

    /// Replaces each tensor by its sum over the ranks, the same bits on every rank.
    fn sum(&self, tensors: &mut [Tensor]) -> Result<()>;

    /// Whether any rank says so.
    fn any(&self, here: bool) -> Result<bool>;
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

    fn gather(&self, rows: &Tensor) -> Result<Tensor> {
        Ok(rows.shallow_clone())
    }

    fn sum(&self, _tensors: &mut [Tensor]) -> Result<()> {
        Ok(())
    }

    fn any(&self, here: bool) -> Result<bool> {
        Ok(here)
    }
}
