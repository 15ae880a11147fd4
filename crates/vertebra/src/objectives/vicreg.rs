//! Variance, invariance and covariance (Bardes, Ponce and LeCun, ICLR 2022).
//!
//! A coefficient means nothing without its reduction. Here: invariance is the mean over all elements (the authors' code and
//! Algorithm 1; equation 5 as printed is larger by D); variance and covariance are of one branch, and the
//! [method](crate::methods::vicreg) says how the branches are added.

use tch::{Kind, Tensor};

/// Inside the square root, so that the gradient of a constant feature is 0 and not NaN.
const EPSILON: f64 = 1e-4;

/// Mean of (za − zb)² over all N · D elements. Both `[N, D]` → scalar.
pub fn invariance(za: &Tensor, zb: &Tensor) -> Tensor {
    (za - zb).square().mean(None::<Kind>)
}

/// Mean hinge on each feature's standard deviation: 0 once every std ≥ 1 (equation 1; unbiased variance, γ = 1).
/// `z`: `[N, D]`, gathered over ranks, N > 1 → scalar.
pub fn variance(z: &Tensor) -> Tensor {
    let std = (z.var_dim([0i64].as_slice(), true, false) + EPSILON).sqrt();
    (1f64 - std).relu().mean(None::<Kind>)
}

/// Sum of the squared off-diagonal covariances, divided by D (equations 3 and 4). `z`: `[N, D]`, gathered, N > 1 → scalar.
///
/// ‖ZᵀZ‖ = ‖ZZᵀ‖, so the smaller of the two Gram matrices is formed: N × N when N < D. The diagonal is taken off
/// afterwards, which costs the digits by which it outweighs the rest.
pub fn covariance(z: &Tensor) -> Tensor {
    let (n, d) = (z.size()[0], z.size()[1]);
    let centred = z - z.mean_dim([0i64].as_slice(), true, None::<Kind>);
    let gram = if n < d { centred.matmul(&centred.tr()) } else { centred.tr().matmul(&centred) };
    let everything = gram.square().sum(None::<Kind>);
    let sum_of_squares = centred.square().sum_dim_intlist([0i64].as_slice(), false, None::<Kind>);
    let diagonal = sum_of_squares.square().sum(None::<Kind>);
    (everything - diagonal) / ((n - 1) as f64).powi(2) / d as f64
}

#[cfg(test)]
mod tests {
    use super::*;
    use tch::Device;

    fn rows(values: &[f64], n: i64) -> Tensor {
        Tensor::from_slice(values).reshape([n, -1])
    }

    fn close(found: &Tensor, wanted: f64) -> bool {
        (found.double_value(&[]) - wanted).abs() < 1e-9
    }

    fn random(n: i64, d: i64) -> Tensor {
        tch::manual_seed(7);
        Tensor::randn([n, d], (Kind::Double, Device::Cpu))
    }

    #[test]
    fn a_worked_example_has_its_values() {
        let za = rows(&[1., 2., 0., 0., 1., 1., 2., 0., 1., 1., 1., 2.], 4);
        let zb = rows(&[1., 1., 0., 0., 1., 1., 2., 1., 1., 0., 1., 2.], 4);
        assert!(close(&invariance(&za, &zb), 0.25));
        assert!((variance(&za).double_value(&[]) - 0.183_442_184_1).abs() < 1e-9);
        assert!((variance(&zb).double_value(&[]) - 0.405_320_951_5).abs() < 1e-9);
        assert!(close(&covariance(&za), 4.0 / 27.0));
        assert!(close(&covariance(&zb), 2.0 / 27.0));
    }

    #[test]
    fn collapse_costs_the_hinge_and_has_a_finite_gradient() {
        let z = Tensor::full([8, 5], 3.0, (Kind::Double, Device::Cpu)).set_requires_grad(true);
        let loss = variance(&z) + covariance(&z);
        assert!(close(&loss, 0.99));
        loss.backward();
        assert!(z.grad().isfinite().all().int64_value(&[]) == 1);
    }

    #[test]
    fn orthogonal_features_of_large_spread_cost_nothing() {
        let z = rows(&[1., 1., 1., -1., -1., 1., -1., -1.], 4);
        assert!(close(&variance(&z), 0.0) && close(&covariance(&z), 0.0));
    }

    #[test]
    fn both_gram_matrices_give_the_same_covariance() {
        for (n, d) in [(6, 20), (20, 6), (9, 9)] {
            let z = random(n, d);
            let centred = &z - z.mean_dim([0i64].as_slice(), true, None::<Kind>);
            let c = centred.tr().matmul(&centred) / (n - 1) as f64;
            let off = &c - Tensor::diag_embed(&c.diagonal(0, 0, 1), 0, 0, 1);
            let direct = off.square().sum(None::<Kind>).double_value(&[]) / d as f64;
            assert!((covariance(&z).double_value(&[]) - direct).abs() < 1e-10 * direct.max(1.0));
        }
    }

    #[test]
    fn order_translation_and_sign_change_nothing() {
        let z = random(12, 7);
        let shuffled = z.flip([0]).flip([1]);
        let moved = &z + Tensor::arange(7, (Kind::Double, Device::Cpu));
        let mirrored = &z * rows(&[1., -1., 1., 1., -1., 1., -1.], 1);
        for other in [shuffled, moved, mirrored] {
            assert!(close(&variance(&other), variance(&z).double_value(&[])));
            assert!(close(&covariance(&other), covariance(&z).double_value(&[])));
        }
    }

    #[test]
    fn scaling_by_a_multiplies_covariance_by_its_fourth_power() {
        let z = random(12, 7);
        assert!(close(&covariance(&(&z * 3.0)), 81.0 * covariance(&z).double_value(&[])));
    }
}
