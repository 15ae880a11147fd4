//! How sure a number is. Every interval is 95 %.

use std::collections::BTreeMap;

use pixels::draw::{Draw, Purpose, Stream};

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

/// What a bootstrap draws with replacement: single items, or whole groups of items that belong together (the images
/// of one patient), which are no independent evidence.
#[derive(Clone, Debug)]
pub enum Units {
    /// So many items, each by itself.
    Items(usize),
    /// The items of each group.
    Groups(Vec<Vec<usize>>),
}

impl Units {
    /// The units of `n` items: their groups where there are any of two items or more. `groups` is empty, or has one
    /// entry for each item.
    pub fn of(groups: &[Option<u64>], n: usize) -> Self {
        let units = units(groups, n);
        if units.len() == n { Self::Items(n) } else { Self::Groups(units) }
    }

    /// How many there are.
    pub fn len(&self) -> usize {
        match self {
            Self::Items(n) => *n,
            Self::Groups(groups) => groups.len(),
        }
    }

    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// As many units as there are, with replacement: the indices of their items.
    fn draw(&self, stream: &mut Stream, items: &mut Vec<usize>) {
        items.clear();
        for _ in 0..self.len() {
            let unit = stream.below(self.len() as u64) as usize;
            match self {
                Self::Items(_) => items.push(unit),
                Self::Groups(groups) => items.extend_from_slice(&groups[unit]),
            }
        }
    }
}

/// The items that stay together: those of a group, or an item alone, in the order of their first items. `groups` is
/// empty, or has one entry for each of `n` items.
pub fn units(groups: &[Option<u64>], n: usize) -> Vec<Vec<usize>> {
    let mut units: Vec<Vec<usize>> = Vec::new();
    let mut known = BTreeMap::new();
    for item in 0..n {
        let place = match groups.get(item).copied().flatten() {
            Some(group) => *known.entry(group).or_insert(units.len()),
            None => units.len(),
        };
        if place == units.len() {
            units.push(Vec::new());
        }
        units[place].push(item);
    }
    units
}

/// The percentile bootstrap interval of any statistic of test items. The statistic gets the items' indices, drawn
/// with replacement, unit by unit. The same seed draws the same indices.
pub fn bootstrap_units(
    units: &Units,
    resamples: usize,
    seed: u64,
    mut statistic: impl FnMut(&[usize]) -> f64,
) -> [f64; 2] {
    let mut stream = Draw::of_seed(seed).stream(Purpose::Bootstrap);
    let mut items = Vec::new();
    percentiles(units.len(), resamples, || {
        units.draw(&mut stream, &mut items);
        statistic(&items)
    })
}

/// The percentile bootstrap interval of any statistic of `n` test items.
pub fn bootstrap(
    n: usize,
    resamples: usize,
    seed: u64,
    statistic: impl FnMut(&[usize]) -> f64,
) -> [f64; 2] {
    bootstrap_units(&Units::Items(n), resamples, seed, statistic)
}

/// The percentile bootstrap interval of a mean over test items.
pub fn bootstrap_mean(values: &[f64], resamples: usize, seed: u64) -> [f64; 2] {
    bootstrap(values.len(), resamples, seed, |items| mean_of(values, items))
}

/// The difference mean(a) − mean(b) of two models on the same test items, and its percentile bootstrap interval:
/// both models are resampled with the same indices. `None` unless there are as many of each, and at least one.
pub fn paired_difference(
    a: &[f64],
    b: &[f64],
    resamples: usize,
    seed: u64,
) -> Option<(f64, [f64; 2])> {
    let differences = differences(a, b)?;
    Some((mean(&differences), bootstrap_mean(&differences, resamples, seed)))
}

/// The difference mean(a) − mean(b) of two sets of test items that have nothing to do with one another, and its
/// percentile bootstrap interval: each is resampled by itself. NaN where one is empty.
pub fn independent_difference(
    (a, units_a): (&[f64], &Units),
    (b, units_b): (&[f64], &Units),
    resamples: usize,
    seed: u64,
) -> (f64, [f64; 2]) {
    let stream = |sample| Draw { sample, ..Draw::of_seed(seed) }.stream(Purpose::Bootstrap);
    let (mut first, mut second, mut items) = (stream(0), stream(1), Vec::new());
    let interval = percentiles(units_a.len().min(units_b.len()), resamples, || {
        units_a.draw(&mut first, &mut items);
        let of_a = mean_of(a, &items);
        units_b.draw(&mut second, &mut items);
        of_a - mean_of(b, &items)
    });
    (mean(a) - mean(b), interval)
}

/// Two encoders judged on the same test items.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Comparison {
    /// The means.
    pub a: f64,
    pub b: f64,
    /// a − b.
    pub difference: f64,
    /// Of the difference: percentile bootstrap over items, or over groups where there are any, the same for both.
    pub interval: [f64; 2],
    /// McNemar's exact p-value, where all items are 0 or 1 and no two belong together.
    pub p: Option<f64>,
    /// Whether the interval holds zero.
    pub tie: bool,
}

impl Comparison {
    /// Of each item's value with the one and the other ([`Outcome::items`](super::Outcome)); `groups` is empty, or has
    /// an entry for each item. `None` unless there are as many of each, and at least one.
    pub fn paired(a: &[f64], b: &[f64], groups: &[Option<u64>]) -> Option<Self> {
        let differences = differences(a, b)?;
        let units = Units::of(groups, a.len());
        let interval = bootstrap_units(&units, RESAMPLES, 0, |items| mean_of(&differences, items));
        let binary = a.iter().chain(b).all(|&item| item == 0.0 || item == 1.0);
        let count = |wanted: f64| differences.iter().filter(|&&it| it == wanted).count();
        let p = (binary && matches!(units, Units::Items(_)))
            .then(|| mcnemar_exact(count(1.0), count(-1.0)));
        let tie = interval[0] <= 0.0 && interval[1] >= 0.0;
        Some(Self { a: mean(a), b: mean(b), difference: mean(&differences), interval, p, tie })
    }

    /// `vicreg is better than random by 3.2 points (95 % 1.1 to 5.3, p = 0.0021)`, for shares from 0 to 1.
    pub fn in_words(&self, a: &str, b: &str) -> String {
        let points = |share: f64| format!("{:.1}", share * 100.0).replace('-', "−");
        let p = match self.p {
            Some(p) if p < 1e-4 => ", p < 0.0001".into(),
            Some(p) => format!(", p = {p:.4}"),
            None => String::new(),
        };
        let [low, high] = self.interval.map(points);
        if self.tie {
            let difference = points(self.difference);
            return format!("{a} and {b} are tied: {difference} points (95 % {low} to {high}{p})");
        }
        let better = if self.difference > 0.0 { "better" } else { "worse" };
        let size = points(self.difference.abs());
        format!("{a} is {better} than {b} by {size} points (95 % {low} to {high}{p})")
    }
}

fn differences(a: &[f64], b: &[f64]) -> Option<Vec<f64>> {
    (a.len() == b.len() && !a.is_empty()).then(|| a.iter().zip(b).map(|(a, b)| a - b).collect())
}

pub(crate) fn mean(values: &[f64]) -> f64 {
    values.iter().sum::<f64>() / values.len() as f64
}

/// The mean of some of the values.
pub(crate) fn mean_of(values: &[f64], items: &[usize]) -> f64 {
    items.iter().map(|&item| values[item]).sum::<f64>() / items.len() as f64
}

/// The interval of the values that `resample` gives; NaN where there is nothing to draw.
fn percentiles(units: usize, resamples: usize, mut resample: impl FnMut() -> f64) -> [f64; 2] {
    if units == 0 || resamples == 0 {
        return [f64::NAN; 2];
    }
    let mut values: Vec<f64> = (0..resamples).map(|_| resample()).collect();
    values.sort_by(f64::total_cmp);
    [quantile(&values, 0.025), quantile(&values, 0.975)]
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
    let (n, mean) = (values.len() as f64, mean(values));
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
mod tests;
