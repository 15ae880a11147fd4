//! Features judged without labels: how many directions they spread over, how evenly, and how stable they are under views.
//!
//! These are signs, not scores of a task: a collapse shows, a good rank is no promise. Compare encoders on the same samples,
//! and ranks of other widths as shares of the width.

pub mod alignment;
pub mod cka;
pub mod lidar;

use std::time::Instant;

use pixels::draw::{Draw, Purpose};
use report::record::{Score, Unit};
use serde::{Deserialize, Serialize};
use tch::Tensor;

use super::{FeatureTable, Outcome, expect_finite, mean_score, number_score};
use crate::error::{Error, Result};
use crate::objectives::health::std_of_normalised;
use crate::objectives::spectrum;
use alignment::{UNIFORMITY_T, uniformity};

/// Changes whenever equal features could get another score.
pub const VERSION: u32 = 1;

/// Names the draw of the rows that are looked at: the same for every encoder.
const SEED: u64 = 0;

/// What is looked at.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct LabelFreeConfig {
    /// Rows of which spectra are taken, at most, the same for every encoder. RankMe's authors take 25,600 images (Garrido
    /// 2023); 25,000 here.
    pub rows: usize,
    /// Rows whose pairs make the uniformity, at most: its cost grows with their square.
    pub uniformity_rows: usize,
    /// The first eigenvalue of α-ReQ's fit, counted from 1. Published code differs; 1 takes all, Stringer 2019 leaves out
    /// the first ten.
    pub alpha_first: usize,
}

impl Default for LabelFreeConfig {
    fn default() -> Self {
        Self { rows: 25_000, uniformity_rows: 5_000, alpha_first: 1 }
    }
}

/// The numbers of a table that need no labels and no views; labels are not looked at. In order, with d for the width:
///
/// - `rankme`, `stable_rank`: of the singular values, not centred, up to d;
/// - `effective_rank`, `participation_ratio`, `nesum`: of the eigenvalues of the covariance, up to d;
/// - `alpha_req`: how fast those eigenvalues fall; the setting has the range of the fit and its R². It is left out where
///   fewer than two are above zero;
/// - `uniformity`: see [`uniformity`]; lower is more even, 0 is one point;
/// - `std_of_normalised`: the collapse meter, 1/√d when features point everywhere and 0 when all are equal.
///
/// None is a mean over samples: there are no items, and no interval that resampling would give honestly (a sample drawn
/// twice adds nothing to a spectrum). Settings have n and d.
pub fn evaluate(table: &FeatureTable, encoder: &str, config: &LabelFreeConfig) -> Result<Outcome> {
    let start = Instant::now();
    config.check()?;
    let (rows, d) = (table.x.size()[0] as usize, table.x.size()[1]);
    if rows < 2 || d == 0 {
        return Err(usage(
            &format!("two rows or more of a feature or more are needed, got {rows} of {d}"),
            "give a source with more readable images",
        ));
    }
    expect_finite(&table.x, "test")?;
    let x = subset(&table.x, config.rows);
    let n = x.size()[0] as usize;
    let of_rows = format!("n={n} d={d}");
    let mut scores = Vec::new();
    let mut add = |metric: &str, value: f64, n: usize, setting: String| {
        let mut score = number_score("label_free", VERSION, metric, value, n, encoder);
        score.setting = setting;
        scores.push(score);
    };
    let squared = spectrum::squared_singular_values(&x);
    add("rankme", spectrum::rankme_of(&squared), n, of_rows.clone());
    add("stable_rank", spectrum::stable_rank(&squared), n, of_rows.clone());
    let eigenvalues = spectrum::covariance_eigenvalues(&x);
    add("effective_rank", spectrum::effective_rank_of(&eigenvalues), n, of_rows.clone());
    add("participation_ratio", spectrum::participation_ratio(&eigenvalues), n, of_rows.clone());
    add("nesum", spectrum::nesum(&eigenvalues), n, of_rows.clone());
    if let Some(fit) = spectrum::alpha_req(&eigenvalues, config.alpha_first) {
        let [first, last] = fit.range;
        let range = format!("{of_rows} i={first}..{last} R²={:.3}", fit.r_squared);
        add("alpha_req", fit.alpha, n, range);
    }
    let few = subset(&x, config.uniformity_rows);
    let m = few.size()[0] as usize;
    let even = uniformity(&few, UNIFORMITY_T)?;
    add("uniformity", even, m, format!("n={m} d={d} t={UNIFORMITY_T}"));
    let healthy = 1.0 / (d as f64).sqrt();
    add("std_of_normalised", std_of_normalised(&x), n, format!("{of_rows} healthy={healthy:.4}"));
    timed(&mut scores, start);
    Ok(Outcome { items: Vec::new(), scores })
}

/// The numbers of several views of the same samples, `x [n, q, d]` (see [`views`](super::views)), n ≥ 2 and q ≥ 2:
///
/// - `alignment`: of the first two views, with α = 2; a mean over samples, whose items are the outcome's;
/// - `lidar`: after dividing by the mean length of all rows, so that δ means the same for every encoder. No interval.
pub fn of_views(x: &Tensor, encoder: &str) -> Result<Outcome> {
    let start = Instant::now();
    let rank = lidar::lidar(&lidar::to_scale(x), lidar::DELTA)?;
    let items = alignment::alignment(&x.select(1, 0), &x.select(1, 1), alignment::ALIGNMENT_ALPHA)?;
    let (n, q, d) = (x.size()[0], x.size()[1], x.size()[2]);
    let mut alignment = mean_score("label_free", VERSION, "alignment", &items, encoder);
    alignment.unit = Unit::Number;
    alignment.setting = format!("n={n} d={d} alpha={}", alignment::ALIGNMENT_ALPHA);
    let mut lidar = number_score("label_free", VERSION, "lidar", rank, n as usize, encoder);
    lidar.setting = format!("n={n} q={q} d={d} delta={:e}", lidar::DELTA);
    let mut scores = vec![alignment, lidar];
    timed(&mut scores, start);
    Ok(Outcome { items, scores })
}

fn timed(scores: &mut [Score], start: Instant) {
    for score in scores {
        score.seconds = start.elapsed().as_secs_f64();
    }
}

impl LabelFreeConfig {
    fn check(&self) -> Result<()> {
        let Self { rows, uniformity_rows, alpha_first } = *self;
        if rows >= 2 && uniformity_rows >= 2 && alpha_first >= 1 {
            return Ok(());
        }
        Err(usage(
            &format!(
                "rows and uniformity_rows must be 2 or more and alpha_first 1 or more, got {rows}, \
                 {uniformity_rows} and {alpha_first}"
            ),
            "leave a setting out to get its default",
        ))
    }
}

/// At most `most` rows, drawn without replacement by a fixed seed, in their order.
fn subset(x: &Tensor, most: usize) -> Tensor {
    let rows = x.size()[0] as usize;
    if rows <= most {
        return x.shallow_clone();
    }
    let order = Draw::of_seed(SEED).stream(Purpose::Split).permutation(rows);
    let mut chosen: Vec<i64> = order.into_iter().take(most).map(|row| row as i64).collect();
    chosen.sort_unstable();
    x.index_select(0, &Tensor::from_slice(&chosen).to_device(x.device()))
}

fn usage(problem: &str, hint: &str) -> Error {
    Error::Usage { problem: format!("label-free: {problem}"), hint: Some(hint.into()) }
}

#[cfg(test)]
mod tests {
    use tch::{Device, Kind};

    use super::*;

    fn table(x: Tensor) -> FeatureTable {
        let rows = x.size()[0] as usize;
        FeatureTable {
            x,
            labels: vec![None; rows],
            samples: (0..rows).collect(),
            groups: Vec::new(),
            skipped: Vec::new(),
            classes: Vec::new(),
        }
    }

    fn noise(shape: &[i64]) -> Tensor {
        tch::manual_seed(11);
        Tensor::randn(shape, (Kind::Float, Device::Cpu))
    }

    #[test]
    fn every_number_says_of_how_many_rows_it_is() {
        let config =
            LabelFreeConfig { rows: 100, uniformity_rows: 50, ..LabelFreeConfig::default() };
        let outcome = evaluate(&table(noise(&[200, 8])), "x", &config).unwrap();
        assert!(outcome.items.is_empty());
        let metrics: Vec<&str> = outcome.scores.iter().map(|it| it.metric.as_str()).collect();
        let wanted = [
            "rankme",
            "stable_rank",
            "effective_rank",
            "participation_ratio",
            "nesum",
            "alpha_req",
            "uniformity",
            "std_of_normalised",
        ];
        assert_eq!(metrics, wanted);
        for score in &outcome.scores {
            assert!(score.value.is_finite() && score.interval.is_none(), "{score:?}");
            assert_eq!(score.unit, Unit::Number);
            let rows = if score.metric == "uniformity" { 50 } else { 100 };
            assert_eq!(score.samples, rows);
            assert!(score.setting.starts_with(&format!("n={rows} d=8")), "{}", score.setting);
        }
        assert!(outcome.scores[5].setting.contains(" i=1..8 R²=0."));
        assert!(outcome.scores[7].setting.ends_with("healthy=0.3536"));
    }

    #[test]
    fn collapsed_features_have_numbers_and_no_slope() {
        let outcome = evaluate(
            &table(Tensor::zeros([6, 3], (Kind::Float, Device::Cpu))),
            "x",
            &LabelFreeConfig::default(),
        )
        .unwrap();
        assert_eq!(outcome.scores.len(), 7);
        assert!(outcome.scores.iter().all(|score| score.value == 0.0), "{:?}", outcome.scores);
    }

    #[test]
    fn views_are_aligned_where_they_are_alike() {
        let x = noise(&[40, 1, 6]);
        let near = &x + noise(&[40, 5, 6]) * 0.01;
        let outcome = of_views(&near, "x").unwrap();
        let [alignment, lidar] = &outcome.scores[..] else { panic!("two scores") };
        // Two views differ by 0.01 √2 in each direction, on rows of length √6 or so.
        assert!(alignment.value < 1e-3 && alignment.interval.is_some(), "{alignment:?}");
        assert_eq!(outcome.items.len(), 40);
        assert!(lidar.value > 4.0 && lidar.interval.is_none(), "{lidar:?}");
        assert_eq!(lidar.setting, "n=40 q=5 d=6 delta=1e-4");
        // No scale of the features changes either.
        let large = of_views(&(&near * 1024.0), "x").unwrap();
        assert!((large.scores[1].value - lidar.value).abs() < 1e-9);
    }

    #[test]
    fn input_without_a_spread_is_refused() {
        let default = LabelFreeConfig::default();
        for rows in [0, 1] {
            let error = evaluate(&table(noise(&[rows, 4])), "x", &default).unwrap_err();
            assert!(error.to_string().contains(&format!("got {rows} of 4")), "{error}");
        }
        let x = noise(&[4, 2]);
        let _ = x.get(2).fill_(f64::INFINITY);
        assert!(evaluate(&table(x), "x", &default).is_err());
        let none = LabelFreeConfig { rows: 0, ..default };
        assert!(evaluate(&table(noise(&[4, 2])), "x", &none).is_err());
        assert!(of_views(&noise(&[4, 2]), "x").is_err());
        assert!(of_views(&noise(&[4, 1, 2]), "x").is_err());
    }
}
