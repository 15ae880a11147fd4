//! Saying what is at hidden patches: pixels (MAE, He 2022; SimMIM, Xie 2022) or a teacher's tokens (data2vec, Baevski 2022; I-JEPA,
//! Assran 2023).
//!
//! Errors come patch by patch and are not reduced: a method sums them over the hidden patches of each image, and divides by what the
//! whole batch hides.

use tch::{Kind, Reduction, Tensor};

/// ε of [`layer_normed`]; PyTorch's default.
const LAYER_EPSILON: f64 = 1e-5;

/// Element by element e² / 2β where |e| < β, else |e| − β / 2 (Girshick 2015 for β = 1). `difference`: any shape; β > 0, 2 in
/// data2vec, 1 in I-JEPA.
pub fn smooth_l1(difference: &Tensor, beta: f64) -> Tensor {
    difference.smooth_l1_loss(&difference.zeros_like(), Reduction::None, beta)
}

/// Each `[D]` of `[…, D]` with mean 0 and variance 1 (biased, ε 1e-5), without factors: what targets of tokens are.
pub fn layer_normed(x: &Tensor) -> Tensor {
    let width = x.size().last().copied().unwrap_or(1);
    x.layer_norm([width], None::<&Tensor>, None::<&Tensor>, LAYER_EPSILON, false)
}

#[cfg(test)]
mod tests {
    use super::*;
    use tch::Device;

    const EXACT: (Kind, Device) = (Kind::Double, Device::Cpu);

    #[test]
    fn smooth_l1_is_a_parabola_up_to_beta_and_a_line_beyond() {
        let e = Tensor::from_slice(&[0.0, 1.0, -1.0, 2.0, 4.0, -4.0]);
        let found = Vec::<f64>::try_from(smooth_l1(&e, 2.0)).unwrap();
        assert_eq!(found, [0.0, 0.25, 0.25, 1.0, 3.0, 3.0]);
        let found = Vec::<f64>::try_from(smooth_l1(&e, 1.0)).unwrap();
        assert_eq!(found, [0.0, 0.5, 0.5, 1.5, 3.5, 3.5]);
    }

    #[test]
    fn predicting_nothing_of_layer_normed_tokens_costs_one() {
        tch::manual_seed(5);
        let x = Tensor::randn([3, 7, 64], EXACT) * 3.0 + 1.0;
        let mean = layer_normed(&x).square().mean(None::<Kind>).double_value(&[]);
        // var / (var + 1e-5) with a variance of about 9.
        assert!((mean - 1.0).abs() < 2e-6, "{mean}");
    }
}
