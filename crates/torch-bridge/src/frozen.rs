//! Layers whose weights will not change again, on the CPU: the weights are packed once in the order that oneDNN
//! reads them, and what follows a product is done before its result leaves the processor's cache.
//!
//! The same numbers as the plain layers give, up to rounding. Nothing here has a gradient.

use std::cell::OnceCell;
use std::ffi::{CStr, c_char};
use std::ptr::null;

use tch::{Kind, Tensor};
use torch_sys::C_tensor;

use crate::ffi;

/// Whether libtorch can compute in `kind` (f32 or bf16) with oneDNN on this processor.
pub fn can_freeze(kind: Kind) -> bool {
    let bf16 = match kind {
        Kind::Float => false,
        Kind::BFloat16 => true,
        _ => return false,
    };
    let mut can = false;
    // SAFETY: `can` outlives the call, which only writes it.
    unsafe { ffi::outcome(ffi::bridge_onednn(bf16, &raw mut can)) }.is_ok() && can
}

/// A convolution with a square kernel. Its weights are packed for the size of the first images that it meets; images
/// of other sizes are as right, and somewhat slower.
#[derive(Debug)]
pub struct Convolution {
    weight: Tensor,
    bias: Tensor,
    with: ffi::Convolution,
    packed: OnceCell<Tensor>,
}

impl Convolution {
    /// `weight [O, I / groups, K, K]` and `bias [O]` become `kind`, which [`can_freeze`] has allowed.
    pub fn new(
        weight: &Tensor,
        bias: &Tensor,
        [stride, padding, groups]: [i64; 3],
        kind: Kind,
    ) -> Self {
        Self {
            weight: weight.detach().to_kind(kind),
            bias: bias.detach().to_kind(kind),
            with: ffi::Convolution { stride, padding, groups },
            packed: OnceCell::new(),
        }
    }

    /// `[N, I, H, W]` → `[N, O, H', W']`, after a ReLU if so asked.
    pub fn forward(&self, images: &Tensor, relu: bool) -> Tensor {
        self.call(images, relu, null())
    }

    /// relu(convolution + `sum`); `sum [N, O, H', W']` is given up.
    pub fn forward_added(&self, images: &Tensor, sum: &Tensor) -> Tensor {
        let sum = sum.to_kind(self.weight.kind());
        self.call(images, true, sum.as_ptr())
    }

    fn call(&self, images: &Tensor, relu: bool, sum: *const C_tensor) -> Tensor {
        let images = images.to_kind(self.weight.kind());
        let packed = self.packed.get_or_init(|| {
            let mut out = Tensor::new();
            // SAFETY: handles of tensors borrowed for the call, and `out`, a live tensor that it replaces.
            succeed(unsafe {
                ffi::bridge_pack_convolution(
                    self.weight.as_ptr(),
                    &raw const self.with,
                    images.as_ptr(),
                    out.as_mut_ptr(),
                )
            });
            out
        });
        let mut out = Tensor::new();
        // SAFETY: as above; `sum` is null or the handle of a tensor that the caller borrows for the call.
        succeed(unsafe {
            ffi::bridge_convolution(
                images.as_ptr(),
                packed.as_ptr(),
                self.bias.as_ptr(),
                &raw const self.with,
                relu,
                sum,
                out.as_mut_ptr(),
            )
        });
        out
    }
}

/// What follows a linear layer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Then {
    Nothing,
    /// x Φ(x).
    Gelu,
    /// GELU with the tanh in place of Φ.
    GeluTanh,
}

/// A fully connected layer, packed for the number of rows that it meets first.
#[derive(Debug)]
pub struct Linear {
    weight: Tensor,
    bias: Option<Tensor>,
    packed: OnceCell<Tensor>,
}

impl Linear {
    /// `weight [O, I]` and `bias [O]` become `kind`, which [`can_freeze`] has allowed.
    pub fn new(weight: &Tensor, bias: Option<&Tensor>, kind: Kind) -> Self {
        Self {
            weight: weight.detach().to_kind(kind).contiguous(),
            bias: bias.map(|bias| bias.detach().to_kind(kind)),
            packed: OnceCell::new(),
        }
    }

    /// `[…, I]` → `[…, O]`, in the weights' kind.
    pub fn forward(&self, x: &Tensor, then: Then) -> Tensor {
        let x = x.to_kind(self.weight.kind()).contiguous();
        let packed = self.packed.get_or_init(|| {
            let rows = x.numel() as i64 / self.weight.size()[1].max(1);
            let mut out = Tensor::new();
            // SAFETY: the handle of a tensor borrowed for the call, and `out`, a live tensor that it replaces.
            succeed(unsafe {
                ffi::bridge_pack_linear(self.weight.as_ptr(), rows, out.as_mut_ptr())
            });
            out
        });
        let (attribute, form): (&CStr, &CStr) = match then {
            Then::Nothing => (c"none", c""),
            Then::Gelu => (c"gelu", c"none"),
            Then::GeluTanh => (c"gelu", c"tanh"),
        };
        let mut out = Tensor::new();
        // SAFETY: as above; the strings are constants, and a missing bias is null.
        succeed(unsafe {
            ffi::bridge_linear(
                x.as_ptr(),
                packed.as_ptr(),
                self.bias.as_ref().map_or(null(), Tensor::as_ptr),
                attribute.as_ptr(),
                form.as_ptr(),
                out.as_mut_ptr(),
            )
        });
        out
    }
}

fn succeed(error: *mut c_char) {
    // SAFETY: the string is that of the call just made, used once.
    unsafe { ffi::outcome(error) }.unwrap_or_else(|error| panic!("libtorch: {error}"));
}

#[cfg(test)]
mod tests {
    use super::*;
    use tch::Device;

    const F32: (Kind, Device) = (Kind::Float, Device::Cpu);

    fn distance(found: &Tensor, wanted: &Tensor) -> f64 {
        let scale = wanted.abs().max().double_value(&[]);
        (found.to_kind(Kind::Float) - wanted).abs().max().double_value(&[]) / scale
    }

    /// f32 sums of a few hundred products in another order; bf16 has eight bits.
    const TOLERANCES: [(Kind, f64); 2] = [(Kind::Float, 1e-5), (Kind::BFloat16, 0.02)];

    #[test]
    fn a_frozen_convolution_is_the_plain_one_with_what_follows() {
        tch::manual_seed(1);
        let weight = Tensor::randn([32, 16, 3, 3], F32);
        let bias = Tensor::randn([32], F32);
        for (kind, tolerance) in TOLERANCES.into_iter().filter(|(kind, _)| can_freeze(*kind)) {
            let frozen = Convolution::new(&weight, &bias, [2, 1, 1], kind);
            // The second size is not the one that the weights were packed for.
            for size in [12, 9] {
                let x = Tensor::randn([2, 16, size, size], F32);
                let plain = x.conv2d(&weight, Some(&bias), [2, 2], [1, 1], [1, 1], 1);
                let sum = Tensor::randn_like(&plain);
                assert!(distance(&frozen.forward(&x, false), &plain) < tolerance, "{kind:?}");
                assert!(distance(&frozen.forward(&x, true), &plain.relu()) < tolerance);
                let wanted = (&plain + &sum).relu();
                assert!(distance(&frozen.forward_added(&x, &sum), &wanted) < tolerance);
            }
        }
    }

    #[test]
    fn depthwise_convolutions_freeze_too() {
        let (weight, bias) = (Tensor::randn([16, 1, 7, 7], F32), Tensor::randn([16], F32));
        let x = Tensor::randn([2, 16, 10, 10], F32);
        let plain = x.conv2d(&weight, Some(&bias), [1, 1], [3, 3], [1, 1], 16);
        let frozen = Convolution::new(&weight, &bias, [1, 3, 16], Kind::Float);
        assert!(distance(&frozen.forward(&x, false), &plain) < 1e-5);
    }

    #[test]
    fn a_frozen_linear_layer_is_the_plain_one_with_what_follows() {
        tch::manual_seed(2);
        let (weight, bias) = (Tensor::randn([24, 40], F32), Tensor::randn([24], F32));
        for (kind, tolerance) in TOLERANCES.into_iter().filter(|(kind, _)| can_freeze(*kind)) {
            for bias in [Some(&bias), None] {
                let frozen = Linear::new(&weight, bias, kind);
                for rows in [6, 5] {
                    let x = Tensor::randn([2, rows, 40], F32);
                    let plain = x.linear(&weight, bias);
                    let close = |then, wanted: &Tensor| {
                        let found = frozen.forward(&x, then);
                        assert_eq!(found.size(), wanted.size());
                        assert!(distance(&found, wanted) < tolerance, "{kind:?} {then:?}");
                    };
                    close(Then::Nothing, &plain);
                    close(Then::Gelu, &plain.gelu("none"));
                    close(Then::GeluTanh, &plain.gelu("tanh"));
                }
            }
        }
    }
}
