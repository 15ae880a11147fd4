//! Arithmetic on lists of tensors, in place and without a graph: one kernel for many tensors on a
//! GPU, one pass over memory on the CPU.
//!
//! All lists of a call have one length and one device; tensors at one index have one shape. An
//! empty list is no work.

use std::ffi::c_char;

use tch::Tensor;

use crate::ffi;

/// The numbers of one AdamW step.
#[derive(Clone, Copy, Debug)]
pub struct Adamw {
    pub lr: f64,
    pub beta1: f64,
    pub beta2: f64,
    pub weight_decay: f64,
    pub eps: f64,
}

/// The numbers of one SGD step.
#[derive(Clone, Copy, Debug)]
pub struct Sgd {
    pub lr: f64,
    pub momentum: f64,
    pub weight_decay: f64,
    pub nesterov: bool,
}

/// Adds 1 to each t of `steps` (f32 scalars on the parameters' device), moves the moments m
/// (`means`) and v (`squares`), then p ← p(1 − γλ) and
/// p ← p − γ/(1 − β₁^t) · m / (√v/√(1 − β₂^t) + ε).
pub fn fused_adamw(
    params: &[Tensor],
    grads: &[Tensor],
    means: &[Tensor],
    squares: &[Tensor],
    steps: &[Tensor],
    with: Adamw,
) {
    let n = same_length(params, &[grads, means, squares, steps]);
    let (p, g, m, v, t) = (
        ffi::handles(params),
        ffi::handles(grads),
        ffi::handles(means),
        ffi::handles(squares),
        ffi::handles(steps),
    );
    // SAFETY: five arrays of `n` handles to tensors borrowed for the call.
    call(n, || unsafe {
        ffi::bridge_fused_adamw(
            p.as_ptr(),
            g.as_ptr(),
            m.as_ptr(),
            v.as_ptr(),
            t.as_ptr(),
            n,
            with.lr,
            with.beta1,
            with.beta2,
            with.weight_decay,
            with.eps,
        )
    });
}

/// u = g + λp; b ← μb + u; p ← p − γb, or p − γ(u + μb) with Nesterov. The buffers b (`velocities`)
/// start at zero.
pub fn fused_sgd(params: &[Tensor], grads: &[Tensor], velocities: &[Tensor], with: Sgd) {
    let n = same_length(params, &[grads, velocities]);
    let (p, g, b) = (ffi::handles(params), ffi::handles(grads), ffi::handles(velocities));
    // SAFETY: three arrays of `n` handles to tensors borrowed for the call.
    call(n, || unsafe {
        ffi::bridge_fused_sgd(
            p.as_ptr(),
            g.as_ptr(),
            b.as_ptr(),
            n,
            with.lr,
            with.momentum,
            with.weight_decay,
            with.nesterov,
        )
    });
}

/// The Euclidean norm of each tensor: `[n]`, on their device. `tensors` is not empty.
pub fn norms(tensors: &[Tensor]) -> Tensor {
    let list = ffi::handles(tensors);
    let mut out = Tensor::new();
    // SAFETY: an array of handles to borrowed tensors, and `out`, a live tensor that the call
    // replaces.
    call(list.len(), || unsafe { ffi::bridge_norms(list.as_ptr(), list.len(), out.as_mut_ptr()) });
    out
}

/// t ← t + `alpha` · other.
pub fn add_(tensors: &[Tensor], others: &[Tensor], alpha: f64) {
    let n = same_length(tensors, &[others]);
    let (list, others) = (ffi::handles(tensors), ffi::handles(others));
    // SAFETY: two arrays of `n` handles to tensors borrowed for the call.
    call(n, || unsafe { ffi::bridge_add(list.as_ptr(), others.as_ptr(), n, alpha) });
}

/// t ← t · factor, with one factor for all (`factors`: a scalar) or one for each (`[n]`), kept on
/// the device.
pub fn scale_(tensors: &[Tensor], factors: &Tensor) {
    let list = ffi::handles(tensors);
    // SAFETY: an array of handles and one handle, to tensors borrowed for the call.
    call(list.len(), || unsafe { ffi::bridge_scale(list.as_ptr(), list.len(), factors.as_ptr()) });
}

/// t ← t + `weight` · (end − t).
pub fn lerp_(tensors: &[Tensor], ends: &[Tensor], weight: f64) {
    let n = same_length(tensors, &[ends]);
    let (list, ends) = (ffi::handles(tensors), ffi::handles(ends));
    // SAFETY: two arrays of `n` handles to tensors borrowed for the call.
    call(n, || unsafe { ffi::bridge_lerp(list.as_ptr(), ends.as_ptr(), n, weight) });
}

/// Drops the gradients: afterwards `grad()` is undefined, not zero, so that a parameter that gets
/// none in the next backward pass can be told apart, and the pass need not add to zeros.
pub fn clear_grads(tensors: &[Tensor]) {
    let list = ffi::handles(tensors);
    // SAFETY: an array of handles to tensors borrowed for the call.
    call(list.len(), || unsafe { ffi::bridge_clear_grads(list.as_ptr(), list.len()) });
}

fn same_length(first: &[Tensor], others: &[&[Tensor]]) -> usize {
    assert!(others.iter().all(|list| list.len() == first.len()), "lists of unequal length");
    first.len()
}

fn call(n: usize, bridge: impl FnOnce() -> *mut c_char) {
    if n > 0 {
        // SAFETY: the string is that of the call made here, used once.
        unsafe { ffi::outcome(bridge()) }.unwrap_or_else(|error| panic!("libtorch: {error}"));
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use tch::{Device, Kind};

    fn sgd(lr: f64) -> Sgd {
        Sgd { lr, momentum: 0.9, weight_decay: 0.1, nesterov: false }
    }

    #[test]
    fn a_gradient_laid_out_otherwise_in_memory_meets_its_own_parameter() {
        let plain = Tensor::arange(6, (Kind::Float, Device::Cpu)).view([2, 3]);
        let turned = plain.t_copy().t_copy().transpose(0, 1).contiguous().transpose(0, 1);
        assert_ne!(plain.stride(), turned.stride());
        let step = |grad: &Tensor| {
            let param = Tensor::ones([2, 3], (Kind::Float, Device::Cpu));
            let velocity = param.zeros_like();
            fused_sgd(&[param.shallow_clone()], &[grad.shallow_clone()], &[velocity], sgd(0.1));
            param
        };
        assert_eq!(step(&plain), step(&turned));
    }

    #[test]
    #[should_panic(expected = "shapes differ: [2, 3] and [6]")]
    fn a_gradient_of_another_shape_is_refused_with_words() {
        let param = Tensor::ones([2, 3], (Kind::Float, Device::Cpu));
        let velocity = param.zeros_like();
        let grad = Tensor::ones([6], (Kind::Float, Device::Cpu));
        fused_sgd(&[param], &[grad], &[velocity], sgd(0.1));
    }

    #[test]
    fn each_tensor_is_scaled_by_its_own_factor_or_all_by_one() {
        let ones = || [1, 2].map(|n| Tensor::ones([n], (Kind::Double, Device::Cpu)));
        let tensors = ones();
        scale_(&tensors, &Tensor::from_slice(&[2., 3.]));
        assert_eq!(Vec::<f64>::try_from(norms(&tensors)).unwrap(), [2., 18f64.sqrt()]);
        let tensors = ones();
        scale_(&tensors, &Tensor::from(5.));
        assert_eq!(Vec::<f64>::try_from(&tensors[1]).unwrap(), [5., 5.]);
    }

    #[test]
    fn cleared_gradients_are_undefined_and_empty_lists_no_work() {
        let x = Tensor::ones([2], (Kind::Float, Device::Cpu)).set_requires_grad(true);
        x.sum(Kind::Float).backward();
        assert!(x.grad().defined());
        clear_grads(&[x.shallow_clone()]);
        assert!(!x.grad().defined());
        clear_grads(&[]);
        lerp_(&[], &[], 0.5);
    }
}
