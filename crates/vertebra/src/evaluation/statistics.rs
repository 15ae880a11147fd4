//! How sure a number is. Every interval is 95 %.

use pixels::draw::{Draw, Purpose};

/// Resamples of a bootstrap, by default.
pub const RESAMPLES: usize = 1000;

/// The 0.975 quantile of the standard normal distribution.
const Z: f64 = 1.959_963_984_540_054;

/// The interval of a proportion (Wilson 1927), for `right` of `n`. [0, 1] for n = 0.
pub fn wilson(right: usize, n: usize) -> [f64; 2] {
    if n == 0 {
        return [0.0, 1.0];
    }
    let (p, n) = (right as f64 / n as f64, n as f64);
    let shrink = 1.0 + Z * Z / n;
    let centre = (p + Z * Z / (2.0 * n)) / shrink;
    let half = Z * (p * (1.0 - p) / n + Z * Z / (4.0 * n * n)).sqrt() / shrink;
    [(centre - half).max(0.0), (centre + half).min(1.0)]
}

/// The percentile bootstrap interval of any statistic of `n` test items. The statistic gets the items' indices,
/// drawn with replacement. The same seed draws the same indices.
pub fn bootstrap(
    n: usize,
    resamples: usize,
    seed: u64,
    mut statistic: impl FnMut(&[usize]) -> f64,
) -> [f64; 2] {
    if n == 0 || resamples == 0 {
        return [f64::NAN; 2];
    }
    let mut stream = Draw::of_seed(seed).stream(Purpose::Bootstrap);
    let mut items = vec![0; n];
    let mut values: Vec<f64> = (0..resamples)
        .map(|_| {
            items.fill_with(|| stream.below(n as u64) as usize);
            statistic(&items)
        })
        .collect();
    values.sort_by(f64::total_cmp);
    [quantile(&values, 0.025), quantile(&values, 0.975)]
}

/// The percentile bootstrap interval of a mean over test items.
pub fn bootstrap_mean(values: &[f64], resamples: usize, seed: u64) -> [f64; 2] {
    bootstrap(values.len(), resamples, seed, |items| {
        items.iter().map(|&item| values[item]).sum::<f64>() / items.len() as f64
    })
}

/// The difference mean(a) − mean(b) of two models on the same test items, and its percentile bootstrap interval:
/// both models are resampled with the same indices. `None` unless there are as many of each, and at least one.
pub fn paired_difference(
    a: &[f64],
    b: &[f64],
    resamples: usize,
    seed: u64,
) -> Option<(f64, [f64; 2])> {
    if a.len() != b.len() || a.is_empty() {
        return None;
    }
    let differences: Vec<f64> = a.iter().zip(b).map(|(a, b)| a - b).collect();
    let mean = differences.iter().sum::<f64>() / differences.len() as f64;
    Some((mean, bootstrap_mean(&differences, resamples, seed)))
}

/// A mean over seeds.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct SeedMean {
    pub mean: f64,
    /// Standard deviation over the seeds, denominator n − 1.
    pub std: f64,
    /// The interval is mean ± half, half = t · std / √n with Student's t of n − 1 degrees of freedom.
    pub half: f64,
}

/// Mean and interval over seeds. `None` for fewer than two: one seed says nothing of the spread.
pub fn over_seeds(values: &[f64]) -> Option<SeedMean> {
    if values.len() < 2 {
        return None;
    }
    let n = values.len() as f64;
    let mean = values.iter().sum::<f64>() / n;
    let std = (values.iter().map(|v| (v - mean).powi(2)).sum::<f64>() / (n - 1.0)).sqrt();
    Some(SeedMean { mean, std, half: student_t(values.len() - 1) * std / n.sqrt() })
}

/// The two-sided p-value of McNemar's exact test for two classifiers on the same items: `only_a` items that the
/// first alone had right, and `only_b` that the second alone had right.
pub fn mcnemar_exact(only_a: usize, only_b: usize) -> f64 {
    let (n, fewer) = (only_a + only_b, only_a.min(only_b));
    let mut ln_term = -(n as f64) * std::f64::consts::LN_2;
    let mut tail = 0.0;
    for k in 0..=fewer {
        tail += ln_term.exp();
        ln_term += (((n - k) as f64) / (k + 1) as f64).ln();
    }
    (2.0 * tail).min(1.0)
}

/// Linear interpolation between the order statistics of an ascending list.
fn quantile(sorted: &[f64], q: f64) -> f64 {
    let place = q * (sorted.len() - 1) as f64;
    let below = place.floor() as usize;
    let above = (below + 1).min(sorted.len() - 1);
    sorted[below] + (place - below as f64) * (sorted[above] - sorted[below])
}

/// The 0.975 quantile of Student's t distribution, for one degree of freedom or more.
fn student_t(freedom: usize) -> f64 {
    const SMALL: [f64; 30] = [
        12.706_205, 4.302_653, 3.182_446, 2.776_445, 2.570_582, 2.446_912, 2.364_624, 2.306_004,
        2.262_157, 2.228_139, 2.200_985, 2.178_813, 2.160_369, 2.144_787, 2.131_450, 2.119_905,
        2.109_816, 2.100_922, 2.093_024, 2.085_963, 2.079_614, 2.073_873, 2.068_658, 2.063_899,
        2.059_539, 2.055_529, 2.051_831, 2.048_407, 2.045_230, 2.042_272,
    ];
    if let Some(t) = SMALL.get(freedom.wrapping_sub(1)) {
        return *t;
    }
    // The expansion around the normal quantile (Abramowitz and Stegun 26.7.5).
    let v = freedom as f64;
    Z + (Z.powi(3) + Z) / (4.0 * v)
        + (5.0 * Z.powi(5) + 16.0 * Z.powi(3) + 3.0 * Z) / (96.0 * v * v)
        + (3.0 * Z.powi(7) + 19.0 * Z.powi(5) + 17.0 * Z.powi(3) - 15.0 * Z) / (384.0 * v.powi(3))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn close(found: f64, wanted: f64, tolerance: f64) {
        assert!((found - wanted).abs() <= tolerance, "{found} is not {wanted}");
    }

    // The references are given with eight decimals.
    const PRINTED: f64 = 1e-8;

    #[test]
    fn the_wilson_interval_has_its_published_value() {
        let [low, high] = wilson(85, 100);
        close(low, 0.767_164_40, PRINTED);
        close(high, 0.906_940_15, PRINTED);
        assert_eq!(wilson(0, 0), [0.0, 1.0]);
        // Rounding of f64.
        close(wilson(0, 7)[0], 0.0, 1e-15);
        close(wilson(7, 7)[1], 1.0, 1e-15);
    }

    #[test]
    fn mcnemar_has_its_published_value() {
        close(mcnemar_exact(12, 25), 0.047_031_03, PRINTED);
        close(mcnemar_exact(25, 12), 0.047_031_03, PRINTED);
        assert_eq!(mcnemar_exact(0, 0), 1.0);
        assert_eq!(mcnemar_exact(30, 30), 1.0);
        // 2 · 2⁻¹⁰
        close(mcnemar_exact(0, 10), 0.001_953_125, 1e-15);
    }

    #[test]
    fn means_over_seeds_use_students_t() {
        let found = over_seeds(&[71.2, 70.8, 71.9]).unwrap();
        close(found.mean, 71.3, 1e-12);
        close(found.std, 0.556_776_44, PRINTED);
        // The reference has four decimals.
        close(found.half, 1.3831, 5e-5);
        assert_eq!(over_seeds(&[71.2]), None);
    }

    #[test]
    fn the_t_quantile_is_exact_on_both_sides_of_its_table() {
        close(student_t(30), 2.042_272_456, 1e-6);
        // The expansion's first dropped term is 1.8e-6 for 31 degrees of freedom and falls with their fourth power.
        close(student_t(31), 2.039_513_446, 2e-6);
        close(student_t(100), 1.983_971_519, 2e-8);
    }

    #[test]
    fn the_bootstrap_of_a_mean_agrees_with_the_normal_interval() {
        let values: Vec<f64> = (0..400).map(|i| f64::from(u8::from(i % 4 != 0))).collect();
        let half = Z * (0.75f64 * 0.25 / 400.0).sqrt();
        let [low, high] = bootstrap_mean(&values, 4000, 3);
        // A 0.025 quantile of 4000 resamples has a standard error of 0.04 standard errors of the mean; five.
        let slack = 5.0 * 0.043 * half / Z;
        close(low, 0.75 - half, slack);
        close(high, 0.75 + half, slack);
    }

    #[test]
    fn the_bootstrap_repeats_for_a_seed_and_differs_between_seeds() {
        let values: Vec<f64> = (0..50).map(|i| f64::from(i).sin()).collect();
        assert_eq!(bootstrap_mean(&values, 100, 1), bootstrap_mean(&values, 100, 1));
        assert_ne!(bootstrap_mean(&values, 100, 1), bootstrap_mean(&values, 100, 2));
    }

    #[test]
    fn a_paired_difference_is_narrower_than_the_models_apart() {
        let a: Vec<f64> = (0..200).map(|i| f64::from(u8::from(i % 2 == 0))).collect();
        let mut b = a.clone();
        b[0] = 0.0;
        let (difference, [low, high]) = paired_difference(&a, &b, 1000, 0).unwrap();
        close(difference, 0.005, 1e-12);
        assert!(low == 0.0 && high < 0.02, "[{low}, {high}]");
        assert_eq!(paired_difference(&a, &b[1..], 1000, 0), None);
    }

    #[test]
    fn quantiles_interpolate_between_order_statistics() {
        close(quantile(&[1.0, 2.0, 4.0], 0.75), 3.0, 1e-15);
        assert_eq!(quantile(&[5.0], 0.975), 5.0);
    }
}
