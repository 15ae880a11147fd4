//! Barlow Twins (Zbontar et al., ICML 2021): the cross-correlation of two views shall be the identity.

use tch::{Kind, Tensor};

use super::{column_dots, cross_off_diagonal_energy};

/// Added to each variance, as the authors' affine-free batch norm does.
const EPSILON: f64 = 1e-5;

/// Σⱼ (C_jj − 1)² and Σ_{j≠k} C_jk² (equation 1), to be added with λ, where C_jk = (1/N) Σᵢ ẑa_ij ẑb_ik is the correlation of
/// feature j in one view with k in the other, features standardised over the batch with the biased variance.
///
/// `za`, `zb`: `[N, D]`, gathered, N > 1, row i of both from one image → two scalars. `[D, D]` is formed only where it is cheaper
/// than two `[N, N]`.
pub fn barlow(za: &Tensor, zb: &Tensor) -> [Tensor; 2] {
    let n = za.size()[0] as f64;
    let (za, zb) = (standardised(za), standardised(zb));
    let on_diagonal = (column_dots(&za, &zb) / n - 1.0).square().sum(None::<Kind>);
    let off_diagonal = (cross_off_diagonal_energy(&za, &zb) / n.powi(2)).to_kind(za.kind());
    [on_diagonal, off_diagonal]
}

fn standardised(z: &Tensor) -> Tensor {
    let centred = z - z.mean_dim([0i64].as_slice(), true, None::<Kind>);
    let variance = z.var_dim([0i64].as_slice(), false, true);
    centred * (variance + EPSILON).rsqrt()
}

#[cfg(test)]
mod tests {
    use super::*;
    use tch::Device;

    const F64: (Kind, Device) = (Kind::Double, Device::Cpu);

    fn random(n: i64, d: i64) -> Tensor {
        tch::manual_seed(n * 100 + d);
        Tensor::randn([n, d], F64)
    }

    fn values(za: &Tensor, zb: &Tensor) -> [f64; 2] {
        barlow(za, zb).map(|it| it.double_value(&[]))
    }

    #[test]
    fn equal_views_of_uncorrelated_features_cost_nothing() {
        let centred = |z: Tensor| &z - z.mean_dim([0i64].as_slice(), true, Kind::Double);
        // Columns that are orthogonal to each other and to the constant one.
        let z = Tensor::cat(&[Tensor::ones([12, 1], F64), random(12, 7)], 1);
        let z = centred(Tensor::linalg_qr(&z, "reduced").0.narrow(1, 1, 7)) * 100.0;
        let [on, off] = values(&z, &z);
        // ε against a variance of 833 takes 1.2e-8 off each correlation.
        assert!(on < 1e-14 && off < 1e-14, "{on} {off}");
        let [on, _] = values(&z, &-&z);
        assert!((on - 28.0).abs() < 1e-6, "opposite views cost 4 each: {on}");
    }

    #[test]
    fn equal_features_cost_all_off_the_diagonal() {
        for (n, d) in [(12, 5), (5, 12)] {
            let z = random(n, 1).repeat([1, d]) * 100.0;
            let [on, off] = values(&z, &z);
            assert!(on < 1e-8 && (off - (d * (d - 1)) as f64).abs() < 1e-4, "{on} {off}");
        }
    }

    #[test]
    fn both_sides_give_the_plain_matrix() {
        for (n, d) in [(6, 20), (20, 6), (9, 18), (9, 19)] {
            let (za, zb) = (random(n, d), random(n + 1, d).narrow(0, 0, n));
            let c = standardised(&za).tr().matmul(&standardised(&zb)) / n as f64;
            let diagonal = c.diagonal(0, 0, 1);
            let on = (&diagonal - 1.0).square().sum(Kind::Double).double_value(&[]);
            let off = &c - Tensor::diag_embed(&diagonal, 0, 0, 1);
            let off = off.square().sum(Kind::Double).double_value(&[]);
            let found = values(&za, &zb);
            assert!((found[0] - on).abs() < 1e-11 * on && (found[1] - off).abs() < 1e-11 * off);
        }
    }

    #[test]
    fn collapse_has_a_finite_gradient() {
        let z = Tensor::full([6, 4], 3.0, F64).set_requires_grad(true);
        let [on, off] = barlow(&z, &z);
        (on + off).backward();
        assert_eq!(z.grad().isfinite().all().int64_value(&[]), 1);
    }
}
