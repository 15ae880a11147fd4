//! Limits on gradients. Clip after averaging over ranks and before the step. Nothing waits for the
//! device: norms stay tensors.

use tch::{Device, Kind, Tensor};
use torch_bridge::steps;

/// The Euclidean norm over all gradients of `params`, a scalar on their device; 0 where there is no
/// gradient.
pub fn global_norm(params: &[Tensor]) -> Tensor {
    total(&gradients(params))
}

/// Scales all gradients by min(1, `limit` / (‖g‖ + 1e-6)), with the norm over all of them together:
/// PyTorch's `clip_grad_norm_`. Returns the norm before.
pub fn clip_global(params: &[Tensor], limit: f64) -> Tensor {
    let grads = gradients(params);
    let norm = total(&grads);
    steps::scale_(&grads, &coefficient(&norm, limit));
    norm
}

/// The same formula for each gradient by itself, as DINO does with a limit of 3. Returns the norm
/// over all before.
pub fn clip_each(params: &[Tensor], limit: f64) -> Tensor {
    let grads = gradients(params);
    if grads.is_empty() {
        return total(&grads);
    }
    let norms = steps::norms(&grads);
    steps::scale_(&grads, &coefficient(&norms, limit));
    norms.norm()
}

fn gradients(params: &[Tensor]) -> Vec<Tensor> {
    params.iter().map(Tensor::grad).filter(Tensor::defined).collect()
}

fn total(grads: &[Tensor]) -> Tensor {
    if grads.is_empty() {
        return Tensor::zeros([], (Kind::Float, Device::Cpu));
    }
    steps::norms(grads).norm()
}

fn coefficient(norm: &Tensor, limit: f64) -> Tensor {
    (limit / (norm + 1e-6)).clamp_max(1.)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Parameters whose gradients are (3, 4) and (12).
    fn params() -> Vec<Tensor> {
        let param = |grad: &[f64]| {
            let grad = Tensor::from_slice(grad);
            let param = grad.zeros_like().set_requires_grad(true);
            (&param * grad).sum(Kind::Double).backward();
            param
        };
        vec![param(&[3., 4.]), param(&[12.])]
    }

    fn grads(params: &[Tensor]) -> Vec<f64> {
        let flat: Vec<_> = params.iter().map(Tensor::grad).collect();
        Vec::try_from(Tensor::cat(&flat, 0)).unwrap()
    }

    fn assert_scaled(params: &[Tensor], factors: [f64; 3]) {
        for ((found, whole), factor) in grads(params).iter().zip([3., 4., 12.]).zip(factors) {
            // The oracle has eight digits.
            assert!((found / whole - factor).abs() < 1e-8, "{found} is not {whole} × {factor}");
        }
    }

    #[test]
    fn the_global_norm_is_over_all_tensors() {
        assert_eq!(global_norm(&params()).double_value(&[]), 13.);
        assert_eq!(global_norm(&[]).double_value(&[]), 0.);
    }

    #[test]
    fn global_clipping_scales_all_by_one_factor() {
        let params = params();
        assert_eq!(clip_global(&params, 1.).double_value(&[]), 13.);
        assert_scaled(&params, [0.076_923_07; 3]);
    }

    #[test]
    fn clipping_each_scales_by_its_own_norm() {
        let params = params();
        assert_eq!(clip_each(&params, 3.).double_value(&[]), 13.);
        assert_scaled(&params, [0.599_999_88, 0.599_999_88, 0.249_999_98]);
    }

    #[test]
    fn small_gradients_and_missing_ones_are_left_alone() {
        let mut params = params();
        params.push(Tensor::zeros([2], (Kind::Double, Device::Cpu)).set_requires_grad(true));
        let _ = (clip_global(&params, 14.), clip_each(&params, 14.));
        assert_scaled(&params[..2], [1.; 3]);
        assert!(!params[2].grad().defined());
        let _ = (clip_global(&[], 1.), clip_each(&[], 1.));
    }
}
