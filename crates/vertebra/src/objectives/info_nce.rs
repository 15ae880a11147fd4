//! The normalised temperature-scaled cross-entropy (NT-Xent; Chen et al., SimCLR, ICML 2020, equation 1).

use tch::{Kind, Tensor};

/// Mean over all 2N views of −s⁺/τ + ln Σ exp(s/τ), where s is the cosine, the sum runs over the 2N − 1 other
/// views and s⁺ is the cosine with the view of the same image.
///
/// `za`, `zb`: `[N, D]`, gathered, row i of both from one image → scalar. The mean over 2N is the paper's; the
/// official TensorFlow code returns the sum of two means over N, twice this value.
pub fn nt_xent(za: &Tensor, zb: &Tensor, temperature: f64) -> Tensor {
    let n = za.size()[0];
    let z = normalized(&Tensor::cat(&[za, zb], 0));
    let own = Tensor::eye(2 * n, (Kind::Bool, z.device()));
    let logits = (z.matmul(&z.tr()) / temperature).masked_fill(&own, f64::NEG_INFINITY);
    let partner = Tensor::arange(2 * n, (Kind::Int64, z.device())).roll([n], [0]);
    logits.cross_entropy_loss(&partner, None::<&Tensor>, tch::Reduction::Mean, -100, 0.0)
}

/// Rows of unit length; a row of zeros stays zero. ε 1e-12 under the root as in the papers' code.
pub fn normalized(z: &Tensor) -> Tensor {
    let squared = z.square().sum_dim_intlist([-1i64].as_slice(), true, None::<Kind>);
    z * squared.clamp_min(1e-12).rsqrt()
}

#[cfg(test)]
mod tests {
    use super::*;
    use tch::Device;

    fn loss(za: &Tensor, zb: &Tensor, temperature: f64) -> f64 {
        nt_xent(za, zb, temperature).double_value(&[])
    }

    fn eye(n: i64) -> Tensor {
        Tensor::eye(n, (Kind::Double, Device::Cpu))
    }

    #[test]
    fn collapse_costs_the_logarithm_of_the_other_views() {
        let z = Tensor::ones([8, 4], (Kind::Double, Device::Cpu));
        assert!((loss(&z, &z, 0.2) - 15f64.ln()).abs() < 1e-12);
    }

    #[test]
    fn orthonormal_and_opposite_images_have_their_values() {
        assert!((loss(&eye(2), &eye(2), 0.5) - 0.239_544_8).abs() < 1e-7);
        let opposite = Tensor::from_slice(&[1f64, 0., -1., 0.]).reshape([2, 2]);
        assert!((loss(&opposite, &opposite, 0.5) - 0.035_976_3).abs() < 1e-7);
        assert!((loss(&eye(3), &eye(3), 0.2) - 0.026_595_0).abs() < 1e-7);
    }

    #[test]
    fn scale_order_and_the_order_of_views_change_nothing() {
        tch::manual_seed(3);
        let [za, zb] = [0, 1].map(|_| Tensor::randn([10, 6], (Kind::Double, Device::Cpu)));
        let here = loss(&za, &zb, 0.2);
        assert!((loss(&(&za * 5.0), &zb, 0.2) - here).abs() < 1e-12);
        assert!((loss(&zb, &za, 0.2) - here).abs() < 1e-12);
        assert!((loss(&za.flip([0]), &zb.flip([0]), 0.2) - here).abs() < 1e-12);
    }

    #[test]
    fn the_gradient_reaches_both_views_and_zeros_stay_finite() {
        let za = Tensor::zeros([3, 2], (Kind::Double, Device::Cpu)).set_requires_grad(true);
        let zb = eye(3).narrow(1, 0, 2).copy().set_requires_grad(true);
        nt_xent(&za, &zb, 0.5).backward();
        for z in [&za, &zb] {
            assert_eq!(z.grad().isfinite().all().int64_value(&[]), 1);
        }
        assert!(zb.grad().abs().sum(None::<Kind>).double_value(&[]) > 0.0);
    }
}
