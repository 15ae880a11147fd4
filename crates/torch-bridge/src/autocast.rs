//! Mixed precision as a region of code.

use std::ffi::c_int;

use tch::{Device, Kind};

use crate::ffi;

/// Runs `body` with automatic mixed precision: on `device`, convolutions and matrix products
/// compute in `kind` (bf16 or half), parameters stay as they are, and the casts of parameters are
/// kept until the outermost region ends. `None` runs the body in plain f32, also inside another
/// region.
///
/// What stays in f32 differs: CUDA keeps norms, softmax, exponentials and losses there, the CPU
/// only losses; see to the others with a `None` region or a cast. The state before is restored on
/// the way out, also when `body` panics. It belongs to the thread. A device other than the CPU and
/// CUDA runs the body unchanged.
pub fn autocast<T>(device: Device, kind: Option<Kind>, body: impl FnOnce() -> T) -> T {
    let cuda = match device {
        Device::Cpu => false,
        Device::Cuda(_) => true,
        _ => return body(),
    };
    let _region = Region::enter(cuda, kind.map_or(-1, scalar_type));
    body()
}

struct Region {
    cuda: bool,
    before: ffi::Autocast,
}

impl Region {
    fn enter(cuda: bool, kind: c_int) -> Self {
        let mut before = ffi::Autocast::default();
        // SAFETY: `before` outlives the call, which only writes it.
        let entered =
            unsafe { ffi::outcome(ffi::bridge_autocast_enter(cuda, kind, &raw mut before)) };
        entered.unwrap_or_else(|error| panic!("autocast: {error}"));
        Self { cuda, before }
    }
}

impl Drop for Region {
    fn drop(&mut self) {
        // SAFETY: `before` outlives the call, which only reads it. An error here would hide the
        // panic that may be under way, and setting thread-local flags has no reason to fail.
        let _ =
            unsafe { ffi::outcome(ffi::bridge_autocast_leave(self.cuda, &raw const self.before)) };
    }
}

/// libtorch's number for a kind that autocast knows.
fn scalar_type(kind: Kind) -> c_int {
    match kind {
        Kind::Half => 5,
        Kind::BFloat16 => 15,
        other => panic!("autocast computes in BFloat16 or Half, not in {other:?}"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use tch::Tensor;

    fn product_kind() -> Kind {
        let x = Tensor::ones([4, 4], (Kind::Float, Device::Cpu));
        x.matmul(&x).kind()
    }

    #[test]
    fn products_inside_the_region_are_bf16_and_outside_f32() {
        let inside = autocast(Device::Cpu, Some(Kind::BFloat16), product_kind);
        assert_eq!((inside, product_kind()), (Kind::BFloat16, Kind::Float));
    }

    #[test]
    fn none_inside_a_region_is_plain_f32_and_the_region_goes_on_after_it() {
        let kinds = autocast(Device::Cpu, Some(Kind::BFloat16), || {
            let island = autocast(Device::Cpu, None, product_kind);
            (island, product_kind())
        });
        assert_eq!(kinds, (Kind::Float, Kind::BFloat16));
    }

    #[test]
    fn a_panic_inside_leaves_the_region() {
        let panicked = std::panic::catch_unwind(|| {
            autocast(Device::Cpu, Some(Kind::BFloat16), || {
                assert_eq!(product_kind(), Kind::Float, "expected here");
            });
        });
        assert!(panicked.is_err());
        assert_eq!(product_kind(), Kind::Float);
    }

    #[test]
    fn a_parameter_changed_between_regions_is_cast_anew() {
        let weight = Tensor::ones([2, 2], (Kind::Float, Device::Cpu)).set_requires_grad(true);
        let x = Tensor::ones([2, 2], (Kind::Float, Device::Cpu));
        let sum = || {
            let y = autocast(Device::Cpu, Some(Kind::BFloat16), || x.matmul(&weight));
            y.to_kind(Kind::Float).sum(Kind::Float).double_value(&[])
        };
        let before = sum();
        tch::no_grad(|| {
            let _ = weight.shallow_clone().fill_(2.);
        });
        assert_eq!((before, sum()), (8., 16.));
    }

    #[test]
    fn gradients_of_f32_parameters_are_f32() {
        let weight = Tensor::ones([2, 2], (Kind::Float, Device::Cpu)).set_requires_grad(true);
        let y = autocast(Device::Cpu, Some(Kind::BFloat16), || weight.matmul(&weight));
        y.to_kind(Kind::Float).sum(Kind::Float).backward();
        assert_eq!(weight.grad().kind(), Kind::Float);
    }

    #[test]
    fn weights_seen_without_a_graph_first_still_get_their_gradient() {
        let weight = Tensor::ones([2, 2], (Kind::Float, Device::Cpu)).set_requires_grad(true);
        let x = Tensor::ones([2, 2], (Kind::Float, Device::Cpu));
        let y = autocast(Device::Cpu, Some(Kind::BFloat16), || {
            let _teacher = tch::no_grad(|| x.matmul(&weight));
            x.matmul(&weight)
        });
        assert!(y.requires_grad());
        y.to_kind(Kind::Float).sum(Kind::Float).backward();
        assert_eq!(weight.grad().double_value(&[0, 0]), 2.);
    }
}
