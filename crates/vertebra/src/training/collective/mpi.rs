//! Ranks that MPI started: `mpirun -n 4 vertebra pretrain …`.

use mpi::collective::SystemOperation;
use mpi::environment::Universe;
use mpi::topology::{Communicator, SimpleCommunicator};
use mpi::traits::CommunicatorCollectives;
use tch::{Kind, Tensor};

use super::Collective;
use crate::error::{Error, Result};

/// The processes of one `mpirun`, which share tensors through the memory of the host. When it is dropped, MPI ends, and no other
/// can be had in this process.
pub struct Mpi {
    /// Ends MPI when it goes.
    _universe: Universe,
}

impl Mpi {
    /// Joins the processes that were started together. An error where this process has begun MPI already.
    pub fn begin() -> Result<Self> {
        let universe = mpi::initialize().ok_or_else(|| Error::Usage {
            problem: "MPI is already in use in this process".into(),
            hint: None,
        })?;
        Ok(Self { _universe: universe })
    }
}

/// All processes. MPI keeps them; this is a handle.
fn world() -> SimpleCommunicator {
    SimpleCommunicator::world()
}

impl std::fmt::Debug for Mpi {
    fn fmt(&self, f: &mut std::fmt::Formatter) -> std::fmt::Result {
        write!(f, "rank {} of {}", self.rank(), self.ranks())
    }
}

impl Collective for Mpi {
    fn ranks(&self) -> usize {
        world().size() as usize
    }

    fn rank(&self) -> usize {
        world().rank() as usize
    }

    fn gather(&self, rows: &Tensor) -> Result<Tensor> {
        let mut size = rows.size();
        let mine = bytes(rows)?;
        let mut all = vec![0u8; mine.len() * self.ranks()];
        world().all_gather_into(&mine[..], &mut all[..]);
        size[0] *= self.ranks() as i64;
        Ok(Tensor::from_data_size(&all, &size, rows.kind()).to_device(rows.device()))
    }

    /// All tensors in one message. MPI may add in another order on each rank, so the first rank's sum is what all take.
    fn sum(&self, tensors: &mut [Tensor]) -> Result<()> {
        if tensors.is_empty() {
            return Ok(());
        }
        let flat: Vec<Tensor> = tensors
            .iter()
            .map(|tensor| tensor.detach().to_kind(Kind::Float).flatten(0, -1))
            .collect();
        let mine = Vec::<f32>::try_from(&Tensor::cat(&flat, 0))?;
        let mut sum = vec![0f32; mine.len()];
        world().all_reduce_into(&mine[..], &mut sum[..], SystemOperation::sum());
        let mut rest = &sum[..];
        tch::no_grad(|| {
            for tensor in tensors {
                let (here, after) = rest.split_at(tensor.numel());
                tensor.copy_(&Tensor::from_slice(here).view(tensor.size().as_slice()));
                rest = after;
            }
        });
        Ok(())
    }

    fn any(&self, here: bool) -> Result<bool> {
        let mut found = 0i32;
        world().all_reduce_into(&i32::from(here), &mut found, SystemOperation::max());
        Ok(found > 0)
    }
}

/// The numbers of a tensor as they lie in memory, row by row.
fn bytes(tensor: &Tensor) -> Result<Vec<u8>> {
    let tensor = tensor.detach().to_device(tch::Device::Cpu).contiguous();
    let mut bytes = vec![0u8; tensor.numel() * tensor.kind().elt_size_in_bytes()];
    tensor.f_copy_data_u8(&mut bytes, tensor.numel())?;
    Ok(bytes)
}
