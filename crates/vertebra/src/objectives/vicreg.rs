//! Variance, invariance and covariance (Bardes, Ponce and LeCun, ICLR 2022).
//!
//! A coefficient means nothing without its reduction. Here: invariance is the mean over all elements (the authors' code and
//! Algorithm 1; equation 5 as printed is larger by D); variance and covariance are of one branch, and the
//! [method](crate::methods::vicreg) says how the branches are added.

use tch::{Kind, Tensor};

use super::off_diagonal_energy;

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
/// Through the smaller of the two [Gram matrices](super::duality).
pub fn covariance(z: &Tensor) -> Tensor {
    let (n, d) = (z.size()[0], z.size()[1]);
    let energy = off_diagonal_energy(&centred(z));
    (energy / ((n - 1) as f64).powi(2) / d as f64).to_kind(z.kind())
}

/// VICReg-exp's covariance term (Garrido et al., ICLR 2023, equation 11): (1/D) Σⱼ ln Σ_{k≠j} exp(C_jk/τ), C the covariance of the
/// centred batch. `z`: `[N, D]`, gathered, N > 1, D > 1 → scalar. Forms the `[D, D]` matrix: an exponential of every entry has
/// no shorter way.
///
/// Of the transposed embeddings `[D, N]` it is VICReg-ctr's (equation 13): C is then that of samples over their coordinates, and
/// the mean is over N.
pub fn exponential_covariance(z: &Tensor, temperature: f64) -> Tensor {
    let (n, d) = (z.size()[0], z.size()[1]);
    let centred = centred(z);
    let covariance = centred.tr().matmul(&centred) / (n - 1) as f64;
    let own = Tensor::eye(d, (Kind::Bool, z.device()));
    let others = (covariance / temperature).masked_fill(&own, f64::NEG_INFINITY);
    others.logsumexp([1i64], false).mean(None::<Kind>)
}

fn centred(z: &Tensor) -> Tensor {
    z - z.mean_dim([0i64].as_slice(), true, None::<Kind>)
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

    #[test]
    fn the_two_sample_example_has_its_value_and_gradient() {
        let z = rows(&[1., 2., 3., 3., 0., -1.], 2).set_requires_grad(true);
        let c = covariance(&z);
        assert!(close(&c, 24.0));
        c.backward();
        let row = rows(&[-40. / 3., 40. / 3., 32. / 3.], 1);
        let wanted = Tensor::cat(&[&row, &-&row], 0);
        assert!((z.grad() - wanted).abs().max().double_value(&[]) < 1e-12);
    }

    #[test]
    fn the_exponential_term_of_known_covariances_has_its_values() {
        // Uncorrelated: ln(D − 1). All covariances a = 4/3: ln(D − 1) + a/τ.
        let z = rows(&[1., 1., 1., -1., -1., 1., -1., -1.], 4);
        assert!(close(&exponential_covariance(&z, 0.1), 0.0));
        let same = rows(&[1., 1., -1., -1.], 4).repeat([1, 5]);
        assert!(close(&exponential_covariance(&same, 0.5), 4f64.ln() + 4.0 / 3.0 / 0.5));
    }

    /// ∂/∂C_jk is the softmax of row j without its diagonal, over D τ; through C it reaches Z from both of its sides.
    #[test]
    fn the_exponential_term_has_the_gradient_of_its_softmax() {
        let (n, d, temperature) = (6, 4, 0.3);
        let z = random(n, d).set_requires_grad(true);
        exponential_covariance(&z, temperature).backward();
        let centred = centred(&z.detach());
        let c = centred.tr().matmul(&centred) / (n - 1) as f64;
        let own = Tensor::eye(d, (Kind::Bool, Device::Cpu));
        let weights = (c / temperature).masked_fill(&own, f64::NEG_INFINITY).softmax(1, None);
        let of_c = weights / (d as f64 * temperature);
        let wanted = centred.matmul(&(&of_c + of_c.tr())) / (n - 1) as f64;
        assert!((z.grad() - wanted).abs().max().double_value(&[]) < 1e-12);
    }

    /// With every sample's spread at 1 the transposed covariance is Pearson's correlation of samples.
    #[test]
    fn of_transposed_embeddings_it_compares_samples() {
        let z = random(5, 9);
        let spread = z.std_dim([1i64].as_slice(), true, true);
        let z = &z / spread;
        let correlation = z.corrcoef();
        let own = Tensor::eye(5, (Kind::Bool, Device::Cpu));
        let others = (correlation / 0.1).masked_fill(&own, f64::NEG_INFINITY);
        let wanted = others.logsumexp([1i64], false).mean(None::<Kind>).double_value(&[]);
        assert!(close(&exponential_covariance(&z.tr(), 0.1), wanted));
    }
}
