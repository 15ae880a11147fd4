//! The spectral contrastive loss (HaoChen et al., NeurIPS 2021): a factorisation of the graph of augmented images.

use tch::{Kind, Tensor};

use super::{column_dots, cross_off_diagonal_energy};

/// (1/μ) (−2 · mean of zaᵢ·zbᵢ + mean over i ≠ j of (zaᵢ·zbⱼ)²), after rows longer than √μ are shortened to it; the authors' code, μ =
/// 1 for CIFAR-10 and 10 for ImageNet. `za`, `zb`: `[N, D]`, gathered, N > 1, row i of both from one image → scalar and its two
/// parts, already divided by μ: attraction (the negative one) and repulsion.
pub fn spectral(za: &Tensor, zb: &Tensor, mu: f64) -> (Tensor, [Tensor; 2]) {
    let n = za.size()[0];
    let (za, zb) = (shortened(za, mu).tr(), shortened(zb, mu).tr());
    let attraction = column_dots(&za, &zb).mean(None::<Kind>) * (-2.0 / mu);
    let pairs = (n * (n - 1)) as f64;
    let repulsion = (cross_off_diagonal_energy(&za, &zb) / pairs / mu).to_kind(za.kind());
    (&attraction + &repulsion, [attraction, repulsion])
}

/// Rows of length √μ where they were longer, untouched where they were not.
fn shortened(z: &Tensor, mu: f64) -> Tensor {
    let length = z.square().sum_dim_intlist([1i64].as_slice(), true, None::<Kind>);
    z * (length.clamp_min(mu) / mu).rsqrt()
}

#[cfg(test)]
mod tests {
    use super::*;
    use tch::Device;

    const F64: (Kind, Device) = (Kind::Double, Device::Cpu);

    fn loss(za: &Tensor, zb: &Tensor, mu: f64) -> f64 {
        spectral(za, zb, mu).0.double_value(&[])
    }

    #[test]
    fn collapse_costs_minus_one_and_orthonormal_images_minus_two() {
        let same = Tensor::full([6, 4], 0.5, F64);
        assert!((loss(&same, &same, 1.0) + 1.0).abs() < 1e-12);
        let eye = Tensor::eye(5, F64);
        assert!((loss(&eye, &eye, 1.0) + 2.0).abs() < 1e-12);
    }

    #[test]
    fn rows_beyond_the_ball_are_on_it_and_rows_inside_stay() {
        let eye = Tensor::eye(5, F64);
        assert!((loss(&(&eye * 7.0), &eye, 1.0) + 2.0).abs() < 1e-12);
        // Of length √10 at μ = 10: −2 again; of length 1: −2/10.
        assert!((loss(&(&eye * 7.0), &(&eye * 7.0), 10.0) + 2.0).abs() < 1e-12);
        assert!((loss(&eye, &eye, 10.0) + 0.2).abs() < 1e-12);
    }

    #[test]
    fn zeros_have_a_finite_gradient() {
        let z = Tensor::zeros([3, 2], F64).set_requires_grad(true);
        spectral(&z, &Tensor::eye(3, F64).narrow(1, 0, 2), 1.0).0.backward();
        assert_eq!(z.grad().isfinite().all().int64_value(&[]), 1);
    }
}
