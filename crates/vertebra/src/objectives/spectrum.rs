//! How many directions features spread over: numbers of their singular values and of the eigenvalues of their covariance.
//!
//! Everything is computed in f64 on the CPU. Spectra come from the eigenvalues of the smaller of `ZᵀZ` and `ZZᵀ`,
//! several times quicker than singular values (512 rows take tens of milliseconds). A singular value is then exact
//! to 1.5e-8 of the largest (the root of f64's rounding), below the 1e-7 that RankMe adds to each.
//!
//! None of these numbers is a mean over rows, and none is comparable between different n.

use tch::{Device, Kind, Tensor};

/// Added to each share of the spectrum (Garrido 2023).
const RANKME_EPSILON: f64 = 1e-7;

/// Of the largest eigenvalue, below which one is what rounding leaves of zero.
const ROUNDING: f64 = 1e-12;

/// RankMe (Garrido 2023): the exponential of the entropy of the singular values of `z [n, d]`, not centred, with
/// ε = 1e-7. At most min(n, d), but for what ε adds; 0 for zeros; NaN where `z` is not finite. Compare only
/// values of equal n, and want n ≥ 10 d.
pub fn rankme(z: &Tensor) -> f64 {
    rankme_of(&squared_singular_values(z))
}

/// [`rankme`] from the squared singular values.
pub fn rankme_of(squared: &[f64]) -> f64 {
    entropy_rank(squared.iter().map(|value| value.sqrt()), RANKME_EPSILON)
}

/// The exponential of the entropy of the eigenvalues of the covariance of `z [n, d]` (Roy and Vetterli 2007): how
/// many directions the rows spread over. At most min(n − 1, d); 0 when all rows are equal; NaN where `z` is not
/// finite.
pub fn effective_rank(z: &Tensor) -> f64 {
    effective_rank_of(&covariance_eigenvalues(z))
}

/// [`effective_rank`] from the eigenvalues of the covariance.
pub fn effective_rank_of(eigenvalues: &[f64]) -> f64 {
    entropy_rank(eigenvalues.iter().copied(), 0.0)
}

/// (Σλ)² / Σλ² of the eigenvalues of the covariance, from 1 to their number; 0 where all are 0.
pub fn participation_ratio(eigenvalues: &[f64]) -> f64 {
    let squares: f64 = eigenvalues.iter().map(|value| value * value).sum();
    ratio(eigenvalues.iter().sum::<f64>().powi(2), squares)
}

/// ‖Z‖²_F / σ₁² of the squared singular values, not centred, from 1 to their number; 0 where all are 0.
pub fn stable_rank(squared: &[f64]) -> f64 {
    over_largest(squared)
}

/// NESum (He and Ozay 2022): Σ λ_i / λ_1 of the eigenvalues of the covariance, from 1 to their number; 0 where all are 0.
pub fn nesum(eigenvalues: &[f64]) -> f64 {
    over_largest(eigenvalues)
}

/// A straight line through the logarithms of a spectrum.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct PowerLaw {
    /// λ_i falls as i^−α.
    pub alpha: f64,
    /// The share of the variance of ln λ that the line explains, 0 to 1.
    pub r_squared: f64,
    /// The first and the last eigenvalue of the fit, counted from 1.
    pub range: [usize; 2],
}

/// α-ReQ (Agrawal 2022): the least-squares fit ln λ_i = −α ln i + c to descending eigenvalues, from the `first`
/// (counted from 1) to the last that is above rounding (1e-12 of the largest). `None` for fewer than two of them.
/// Published code differs in the range: compare only values of the same one.
pub fn alpha_req(eigenvalues: &[f64], first: usize) -> Option<PowerLaw> {
    let least = eigenvalues.first()? * ROUNDING;
    let last = eigenvalues.iter().take_while(|value| **value > least).count();
    let first = first.max(1);
    if last <= first {
        return None;
    }
    let points = || (first..=last).map(|i| ((i as f64).ln(), eigenvalues[i - 1].ln()));
    let n = (last - first + 1) as f64;
    let (sum_x, sum_y) = points().fold((0.0, 0.0), |(a, b), (x, y)| (a + x, b + y));
    let (mean_x, mean_y) = (sum_x / n, sum_y / n);
    let (mut xx, mut xy, mut yy) = (0.0, 0.0, 0.0);
    for (x, y) in points() {
        let (x, y) = (x - mean_x, y - mean_y);
        (xx, xy, yy) = (xx + x * x, xy + x * y, yy + y * y);
    }
    // Equal eigenvalues are a level line, which explains all there is.
    let r_squared = if yy > 0.0 { xy * xy / (xx * yy) } else { 1.0 };
    Some(PowerLaw { alpha: -xy / xx, r_squared, range: [first, last] })
}

/// The min(n, d) squared singular values of `z [n, d]`, not centred, descending. Empty for an empty matrix, one NaN
/// where it is not finite.
pub fn squared_singular_values(z: &Tensor) -> Vec<f64> {
    let z = exact(z);
    let (rows, columns) = (z.size()[0], z.size()[1]);
    if rows == 0 || columns == 0 {
        return Vec::new();
    }
    let gram = if rows < columns { z.matmul(&z.tr()) } else { z.tr().matmul(&z) };
    if gram.isfinite().all().int64_value(&[]) == 0 {
        return vec![f64::NAN];
    }
    let values = gram.linalg_eigvalsh("L");
    // Of a Gram matrix none is negative but by rounding.
    (0..values.size()[0]).rev().map(|index| values.double_value(&[index]).max(0.0)).collect()
}

/// The min(n, d) largest eigenvalues of the covariance (denominator n − 1) of the rows of `z [n, d]`, descending; the
/// others are 0. All are 0 when the rows are equal, or are fewer than two. One NaN where `z` is not finite.
pub fn covariance_eigenvalues(z: &Tensor) -> Vec<f64> {
    let z = exact(z);
    let centred = &z - z.mean_dim([0i64].as_slice(), true, Kind::Double);
    // Rounding of the mean leaves something of rows that are all equal.
    let rounding = z.square().sum(Kind::Double).double_value(&[]) * f64::EPSILON;
    let mut spectrum = squared_singular_values(&centred);
    if spectrum.iter().sum::<f64>() <= rounding {
        spectrum.fill(0.0);
    }
    let freedom = (z.size()[0] - 1).max(1) as f64;
    spectrum.iter().map(|value| value / freedom).collect()
}

/// exp(−Σ p ln p) with p = value / Σ values + ε; 0 where all values are 0.
pub(crate) fn entropy_rank(values: impl Iterator<Item = f64>, epsilon: f64) -> f64 {
    let values: Vec<f64> = values.collect();
    let total: f64 = values.iter().sum();
    if total == 0.0 {
        return 0.0;
    }
    let shares = values.iter().map(|value| value / total + epsilon);
    shares.map(|p| if p == 0.0 { 0.0 } else { -p * p.ln() }).sum::<f64>().exp()
}

/// A copy in f64 on the CPU, without gradient.
pub(crate) fn exact(z: &Tensor) -> Tensor {
    z.detach().to_device(Device::Cpu).to_kind(Kind::Double)
}

fn over_largest(descending: &[f64]) -> f64 {
    ratio(descending.iter().sum(), descending.first().copied().unwrap_or(0.0))
}

fn ratio(above: f64, below: f64) -> f64 {
    if below == 0.0 { 0.0 } else { above / below }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// sin(0.7 i + 1.3 j + 0.1 i j), `[n, d]`.
    fn waves(n: usize, d: usize) -> Tensor {
        let values: Vec<f64> = (0..n * d)
            .map(|index| ((index / d) as f64, (index % d) as f64))
            .map(|(i, j)| (0.7 * i + 1.3 * j + 0.1 * i * j).sin())
            .collect();
        Tensor::from_slice(&values).view([n as i64, d as i64])
    }

    fn close(found: f64, wanted: f64) {
        // Eight printed decimals, and eigenvalues in f64.
        assert!((found / wanted - 1.0).abs() < 1e-6, "{found} is not {wanted}");
    }

    fn gaussian(n: i64, d: i64) -> Tensor {
        tch::manual_seed(7);
        Tensor::randn([n, d], (Kind::Float, Device::Cpu))
    }

    #[test]
    fn rankme_has_its_published_values() {
        close(rankme(&waves(16, 6)), 4.922_990_96);
        close(rankme(&waves(16, 6).tr()), 4.922_990_96);
        close(rankme(&Tensor::eye(4, (Kind::Double, Device::Cpu))), 4.000_000_62);
        close(rankme(&Tensor::ones([8, 4], (Kind::Double, Device::Cpu))), 1.000_004_7);
    }

    #[test]
    fn rankme_from_the_gram_matrix_agrees_with_singular_values() {
        let z = gaussian(64, 20).matmul(&gaussian(20, 96));
        let (_, exact, _) = z.to_kind(Kind::Double).svd(true, false);
        let values = (0..64).map(|index| exact.double_value(&[index]));
        let wanted = entropy_rank(values, RANKME_EPSILON);
        // 44 singular values of zero, each 1.5e-8 of the largest or less, times −ln p.
        assert!((rankme(&z) / wanted - 1.0).abs() < 1e-5, "{} {wanted}", rankme(&z));
    }

    #[test]
    fn rankme_of_gaussian_noise_stays_below_its_finite_sample_ceiling() {
        let found = rankme(&gaussian(256, 128));
        // Seed-dependent within 1.
        assert!((found - 118.5).abs() < 1.0, "{found}");
    }

    #[test]
    fn the_effective_rank_has_its_published_value() {
        close(effective_rank(&waves(16, 6)), 4.130_305_99);
        close(effective_rank(&(waves(16, 6) + 10.0)), 4.130_305_99);
    }

    #[test]
    fn the_numbers_of_a_spectrum_have_their_published_values() {
        let z = waves(16, 6);
        let eigenvalues = covariance_eigenvalues(&z);
        // The smallest is printed with six digits.
        for (found, wanted) in eigenvalues.iter().zip([1.030_052_48, 1.004_733_72, 0.540_530_73]) {
            close(*found, wanted);
        }
        close(participation_ratio(&eigenvalues), 3.744_450_34);
        close(nesum(&eigenvalues), 2.995_135_63);
        close(stable_rank(&squared_singular_values(&z)), 3.014_935_97);
        let fit = alpha_req(&eigenvalues, 1).unwrap();
        close(fit.alpha, 2.604_665_13);
        assert_eq!(fit.range, [1, 6]);
        // Three printed decimals.
        assert!((fit.r_squared - 0.547).abs() < 5e-4, "{fit:?}");
    }

    #[test]
    fn a_power_law_is_found_whatever_the_range() {
        let law: Vec<f64> = (1..=100).map(|i| f64::from(i).powf(-1.2)).collect();
        for first in [0, 1, 11] {
            let fit = alpha_req(&law, first).unwrap();
            assert_eq!(fit.range, [first.max(1), 100]);
            // Rounding of f64 sums.
            assert!((fit.alpha - 1.2).abs() < 1e-12 && (fit.r_squared - 1.0).abs() < 1e-12);
        }
        assert_eq!(alpha_req(&law, 100), None);
        assert_eq!(alpha_req(&[], 1), None);
    }

    #[test]
    fn rounded_zeros_are_not_part_of_the_fit() {
        let z = gaussian(64, 5).matmul(&gaussian(5, 20));
        let fit = alpha_req(&covariance_eigenvalues(&z.to_kind(Kind::Double)), 1).unwrap();
        // The product is rounded to f32, 6e-8 of the largest: below 1e-12 when squared.
        assert_eq!(fit.range, [1, 5]);
    }

    #[test]
    fn equal_rows_spread_over_nothing() {
        let same = Tensor::full([8, 4], 0.3, (Kind::Float, Device::Cpu));
        assert_eq!(effective_rank(&same), 0.0);
        let zeros = Tensor::zeros([8, 4], (Kind::Float, Device::Cpu));
        assert_eq!([rankme(&zeros), effective_rank(&zeros)], [0.0; 2]);
        let eigenvalues = covariance_eigenvalues(&same);
        assert_eq!([participation_ratio(&eigenvalues), nesum(&eigenvalues)], [0.0; 2]);
        assert_eq!(stable_rank(&squared_singular_values(&zeros)), 0.0);
        assert_eq!(alpha_req(&eigenvalues, 1), None);
    }

    #[test]
    fn numbers_that_are_not_finite_give_nan() {
        let mut z = gaussian(8, 4);
        let _ = z.fill_(f64::NAN);
        assert!(rankme(&z).is_nan() && effective_rank(&z).is_nan());
    }
}
