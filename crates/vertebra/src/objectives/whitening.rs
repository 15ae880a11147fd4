//! Whitening of embeddings (Ermolov 2021, W-MSE, section 3.2).

use tch::{Kind, Tensor};

/// Of a feature's variance, below which what the other features leave of it is rounding.
const ROUNDING: f64 = 1e-12;

/// Each group's rows made of mean 0 and covariance I: L⁻¹ (z − mean) with L Lᵀ the covariance (denominator W − 1), as
/// the authors' code has it, ε 0.
///
/// `z`: `[G, W, D]`, G groups of W rows, W > D, else the covariance has no inverse → `[G, W, D]` of the same kind.
/// Computed in f64. A group whose covariance cannot be factorised (too few rows, collapsed or not finite) becomes NaN.
pub fn whiten(z: &Tensor) -> Tensor {
    let (rows, width) = (z.size()[1], z.size()[2]);
    let exact = z.to_kind(Kind::Double);
    let centred = &exact - exact.mean_dim([1i64].as_slice(), true, None::<Kind>);
    let covariance = centred.transpose(1, 2).matmul(&centred) / (rows - 1).max(1) as f64;
    let (factor, stopped) = covariance.linalg_cholesky_ex(false, false);
    // Of a factorisation that stopped halfway, or went on with rounding, numbers without meaning would be left.
    let diagonal = |matrix: &Tensor| matrix.detach().diagonal(0, 1, 2);
    let lost = diagonal(&factor).square().le_tensor(&(diagonal(&covariance) * ROUNDING));
    let failed = stopped.not_equal(0).logical_or(&lost.any_dim(1, false));
    let failed = failed.view([-1, 1, 1]).expand([-1, width, width], false);
    let factor = factor.masked_fill(&failed, f64::NAN);
    let white = factor.linalg_solve_triangular(&centred.transpose(1, 2), false, true, false);
    white.transpose(1, 2).to_kind(z.kind())
}

#[cfg(test)]
mod tests {
    use super::*;
    use tch::Device;

    /// Correlated columns, off centre, of unequal spread.
    fn groups(count: i64, rows: i64, width: i64) -> Tensor {
        tch::manual_seed(5);
        let normal = |shape: &[i64]| Tensor::randn(shape, (Kind::Double, Device::Cpu));
        normal(&[count, rows, width]).matmul(&normal(&[width, width])) + normal(&[width]) * 3.0
    }

    fn largest(tensor: &Tensor) -> f64 {
        tensor.abs().max().double_value(&[])
    }

    #[test]
    fn whitened_groups_have_mean_zero_and_the_identity_as_covariance() {
        let white = whiten(&groups(3, 32, 8));
        let covariance = white.transpose(1, 2).matmul(&white) / 31.0;
        let identity = Tensor::eye(8, (Kind::Double, Device::Cpu));
        // Of f64, what the condition of a random covariance leaves.
        assert!(largest(&(covariance - identity)) < 1e-9);
        assert!(largest(&white.mean_dim([1i64].as_slice(), false, None::<Kind>)) < 1e-9);
    }

    #[test]
    fn a_change_of_place_and_scale_is_whitened_away() {
        let z = groups(2, 32, 8);
        assert!(largest(&(whiten(&(&z * 3.0 + 1.0)) - whiten(&z))) < 1e-9);
        let single = whiten(&z.to_kind(Kind::Float));
        assert_eq!(single.kind(), Kind::Float);
        // Inputs rounded to 6e-8, times the condition.
        assert!(largest(&(single.to_kind(Kind::Double) - whiten(&z))) < 1e-4);
    }

    #[test]
    fn the_gradient_is_finite_and_sees_the_statistics() {
        let z = groups(2, 16, 4).set_requires_grad(true);
        let white = whiten(&z);
        (&white * white.detach().roll([1], [1])).sum(None::<Kind>).backward();
        assert_eq!(z.grad().isfinite().all().int64_value(&[]), 1);
        // Moving all rows of a group together changes nothing.
        assert!(largest(&z.grad().sum_dim_intlist([1i64].as_slice(), false, None::<Kind>)) < 1e-9);
    }

    #[test]
    fn a_group_that_cannot_be_whitened_is_not_a_number_and_no_panic() {
        let z = groups(4, 16, 4);
        // Equal rows, equal columns, infinity.
        let _ = z.get(0).fill_(1.0);
        z.get(1).copy_(&groups(1, 16, 4).get(0).narrow(1, 0, 1).expand([16, 4], false));
        let _ = z.get(2).fill_(f64::INFINITY);
        let finite = whiten(&z).isfinite().flatten(1, 2).all_dim(1, false);
        for (group, wanted) in [0, 0, 0, 1].into_iter().enumerate() {
            assert_eq!(finite.int64_value(&[group as i64]), wanted, "group {group}");
        }
        let few = whiten(&groups(1, 3, 4).set_requires_grad(true)).sum(None::<Kind>);
        few.backward();
        assert!(few.double_value(&[]).is_nan());
    }
}
