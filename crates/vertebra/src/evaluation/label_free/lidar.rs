//! LiDAR (Thilak 2023): how many directions tell samples apart beyond what their views already vary in.

use tch::{Kind, Tensor};

use super::usage;
use crate::error::{Error, Result};
use crate::objectives::exact;
use crate::objectives::spectrum::{entropy_rank, squared_singular_values};

/// δ, added to the diagonal of the scatter within samples: stable-pretraining's default, on features [to scale](to_scale).
pub const DELTA: f64 = 1e-4;

/// Added to each share of the spectrum, stable-pretraining's default.
const EPSILON: f64 = 1e-8;

/// The effective rank of the linear discriminant of `e [n, q, d]`: n samples (as classes) of q views each.
///
/// With μ_i the mean of a sample's views and μ that of all μ_i: S_b = Σ (μ_i − μ)(μ_i − μ)ᵀ / (n − 1) and
/// S_w = Σ (e_iv − μ_i)(e_iv − μ_i)ᵀ / (n (q − 1)) + δ I. The result is exp(−Σ p ln p) of the eigenvalues λ of
/// S_w^−½ S_b S_w^−½, p = λ / Σ λ + ε with ε = 1e-8. From 1 to min(n − 1, d), but for what ε adds; 0 where all samples have
/// the same mean. Want n > d, and compare only values of equal n and q. δ is absolute: see [`to_scale`].
///
/// Fails where n or q is below 2, a number is not finite, or δ is not above 0.
pub fn lidar(e: &Tensor, delta: f64) -> Result<f64> {
    let (n, q, d) = match e.size()[..] {
        [n, q, d] if n >= 2 && q >= 2 && d >= 1 => (n, q, d),
        _ => {
            let wanted = "[n, q, d] with n > 1 and q > 1";
            return Err(Error::Shape { place: "lidar", wanted, found: e.size() });
        }
    };
    if !(delta.is_finite() && delta > 0.0) {
        return Err(usage(
            &format!("LiDAR's delta must be a number above 0, got {delta}"),
            "the default is 1e-4",
        ));
    }
    let e = exact(e);
    if e.isfinite().all().int64_value(&[]) == 0 {
        return Err(usage(
            "the features hold numbers that are not finite",
            "use another checkpoint",
        ));
    }
    let means = e.mean_dim([1i64].as_slice(), true, Kind::Double);
    let within = (&e - &means).reshape([n * q, d]);
    let scatter = within.tr().matmul(&within) / (n * (q - 1)) as f64
        + Tensor::eye(d, (Kind::Double, e.device())) * delta;
    let means = means.squeeze_dim(1);
    let between =
        (&means - means.mean_dim([0i64].as_slice(), true, Kind::Double)) / ((n - 1) as f64).sqrt();
    // With S_w = L Lᵀ, S_w^−½ S_b S_w^−½ has the eigenvalues of L⁻¹ S_b L⁻ᵀ: squared singular values of L⁻¹ Bᵀ.
    let factor = scatter.f_linalg_cholesky(false)?;
    let whitened = factor.f_linalg_solve_triangular(&between.tr(), false, true, false)?;
    let found = squared_singular_values(&whitened);
    let zeros = std::iter::repeat_n(0.0, d as usize - found.len());
    Ok(entropy_rank(found.into_iter().chain(zeros), EPSILON))
}

/// `e` divided by the mean length of its rows (its last dimension), so that [`lidar`]'s δ means the same for every encoder.
/// Zeros stay zeros.
pub fn to_scale(e: &Tensor) -> Tensor {
    let e = exact(e);
    let lengths = e.square().sum_dim_intlist([-1i64].as_slice(), false, Kind::Double).sqrt();
    e / lengths.mean(Kind::Double).clamp_min(f64::MIN_POSITIVE)
}

#[cfg(test)]
mod tests {
    use tch::Device;

    use super::*;

    /// cos(0.9 k + 1.7 j + 0.05 k j) + 0.1 sin(1.1 v + 2.3 j + 0.4 k v), `[6, 4, 5]` by k, v, j.
    fn views() -> Tensor {
        let [k, v, j] = [6, 4, 5].map(|length| Tensor::arange(length, (Kind::Double, Device::Cpu)));
        let (k, v) = (k.view([6, 1, 1]), v.view([1, 4, 1]));
        let class = (&k * 0.9 + &j * 1.7 + &k * &j * 0.05).cos();
        class + (&v * 1.1 + &j * 2.3 + &k * &v * 0.4).sin() * 0.1
    }

    #[test]
    fn it_has_its_published_values() {
        for (delta, wanted) in [(1e-4, 1.732_379_15), (1e-2, 2.009_915_56)] {
            let found = lidar(&views(), delta).unwrap();
            // Eigenvalues in f64.
            assert!((found / wanted - 1.0).abs() < 1e-5, "{found} is not {wanted}");
        }
    }

    #[test]
    fn fewer_samples_than_dimensions_are_no_other_formula() {
        // The directions that no sample has are zeros of the spectrum: padding with them changes nothing but ε.
        let wide = views().constant_pad_nd([0, 20]);
        let (narrow, wide) = (lidar(&views(), 1e-4).unwrap(), lidar(&wide, 1e-4).unwrap());
        // 20 times −ε ln ε.
        assert!((wide / narrow - 1.0).abs() < 5e-6, "{wide} {narrow}");
    }

    #[test]
    fn a_scale_of_its_own_makes_it_independent_of_units() {
        let (a, b) = (to_scale(&views()), to_scale(&(views() * 1000.0)));
        let (a, b) = (lidar(&a, DELTA).unwrap(), lidar(&b, DELTA).unwrap());
        assert!((a / b - 1.0).abs() < 1e-9, "{a} {b}");
    }

    #[test]
    fn equal_samples_have_no_rank_and_bad_input_is_refused() {
        let zeros = Tensor::zeros([3, 2, 4], (Kind::Float, Device::Cpu));
        assert_eq!(lidar(&to_scale(&zeros), DELTA).unwrap(), 0.0);
        assert!(lidar(&views().narrow(1, 0, 1), DELTA).is_err());
        assert!(lidar(&views().narrow(0, 0, 1), DELTA).is_err());
        assert!(lidar(&views().select(1, 0), DELTA).is_err());
        assert!(lidar(&(views() * f64::NAN), DELTA).is_err());
        assert!(lidar(&views(), 0.0).is_err());
    }
}
