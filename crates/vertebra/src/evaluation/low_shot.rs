//! Few labelled images: the logistic classifier on k of each class, or on a share of the training table, over several
//! draws.
//!
//! Features are divided by their length and C is fixed at 1 (the settings of Tian 2020, "Rethinking few-shot image
//! classification"): k images leave none to choose a setting on. Which images are drawn follows from the seed, the
//! draw and the images' numbers in their source alone, so that every encoder gets the same ones.

use std::collections::BTreeMap;
use std::time::Instant;

use pixels::draw::{Draw, Purpose};
use report::record::Score;
use serde::{Deserialize, Serialize};
use tch::Tensor;

use super::{
    FeatureTable, Labelled, Limits, Outcome, Problem, RESAMPLES, Task, Test, Units,
    bootstrap_units, mean_of, normalise_rows, over_seeds, plain_score, right,
};
use crate::error::{Error, Result};

/// Changes whenever equal features could get another score.
pub const VERSION: u32 = 1;

/// How many images, and how often.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct LowShotConfig {
    /// Images of each class; of a smaller class, all.
    pub shots: Vec<usize>,
    /// Shares of each class's images, above 0 and up to 1; at least one image of each class.
    pub fractions: Vec<f64>,
    /// Draws of each, two or more.
    pub draws: usize,
    pub c: f64,
    /// Decides the draws.
    pub seed: u64,
}

impl Default for LowShotConfig {
    fn default() -> Self {
        Self { shots: vec![1, 5, 10], fractions: vec![0.01, 0.1], draws: 5, c: 1.0, seed: 0 }
    }
}

/// Top-1 accuracy on the tests, mean over the draws, for each number of images: `top1@5` is of 5 images of each class,
/// `top1@10%` of a tenth of them.
///
/// Its interval is mean ± √(h₁² + h₂²), within 0 and 1: h₁ is t · std / √draws with Student's t, for which images were
/// drawn; h₂ is half of the bootstrap interval over the test samples, each with its mean over the draws, for which images
/// were asked about.
pub fn evaluate(
    train: &FeatureTable,
    tests: &[(&str, &FeatureTable)],
    encoder: &str,
    config: &LowShotConfig,
) -> Result<Outcome> {
    let start = Instant::now();
    config.check()?;
    let task = Task::new(train, tests)?;
    task.refuse_own_training("low_shot")?;
    let x: Vec<Tensor> = task.tests.iter().map(|test| normalise_rows(&test.rows.x)).collect();
    let train = Labelled { x: normalise_rows(&task.train.x), ..task.train };
    let mut outcome = Outcome { items: Vec::new(), scores: Vec::new() };
    for size in config.sizes() {
        // Of each test, of each draw: the right answers.
        let mut found = vec![Vec::new(); x.len()];
        let mut rows = 0;
        for draw in 0..config.draws {
            let episode = train.pick(&size.episode(&train, draw, config.seed));
            rows = episode.y.len();
            let limits = Limits { tolerance: 1e-4, iterations: 1000 };
            let problem = Problem::of(&episode, task.classes, false);
            let (classifier, _) = tch::no_grad(|| problem.solve(config.c, None, limits));
            for ((test, x), found) in task.tests.iter().zip(&x).zip(&mut found) {
                let probabilities = tch::no_grad(|| classifier.log_probabilities(x));
                found.push(right(&probabilities, &test.rows.y, test.answers.as_deref()));
            }
        }
        for (test, draws) in task.tests.iter().zip(found) {
            let (mut score, items) = mean_over_draws(test, &draws, &size.metric(), encoder);
            score.setting = format!(
                "C={} on features of length 1, {} draws of {rows} images{}",
                config.c,
                config.draws,
                test.notes()
            );
            score.seconds = start.elapsed().as_secs_f64();
            outcome.scores.push(score);
            if outcome.items.is_empty() {
                outcome.items = items;
            }
        }
    }
    Ok(outcome)
}

impl LowShotConfig {
    fn check(&self) -> Result<()> {
        let share = |share: f64| share > 0.0 && share <= 1.0;
        let problem = if self.shots.is_empty() && self.fractions.is_empty() {
            "there must be a number of shots or a fraction, got none".to_string()
        } else if self.shots.contains(&0) {
            format!("shots must be 1 or more, got {:?}", self.shots)
        } else if !self.fractions.iter().all(|&it| share(it)) {
            format!("fractions must be above 0 and at most 1, got {:?}", self.fractions)
        } else if self.draws < 2 {
            format!("there must be two draws or more, got {}", self.draws)
        } else if !(self.c.is_finite() && self.c > 0.0) {
            format!("c must be a number above 0, got {}", self.c)
        } else {
            return Ok(());
        };
        let hint = "leave the setting out to get its default";
        Err(Error::Usage { problem: format!("low_shot: {problem}"), hint: Some(hint.into()) })
    }

    fn sizes(&self) -> Vec<Size> {
        let shots = self.shots.iter().map(|&shots| Size::Shots(shots));
        shots.chain(self.fractions.iter().map(|&share| Size::Share(share))).collect()
    }
}

/// How many images are drawn.
#[derive(Clone, Copy)]
enum Size {
    Shots(usize),
    Share(f64),
}

impl Size {
    fn metric(self) -> String {
        match self {
            Self::Shots(shots) => format!("top1@{shots}"),
            Self::Share(share) => format!("top1@{}%", share * 100.0),
        }
    }

    /// The rows of one draw, ascending. Each image has a random number of its own, and those with the lowest are taken:
    /// larger sizes of the same draw hold the smaller ones.
    fn episode(self, train: &Labelled, draw: usize, seed: u64) -> Vec<usize> {
        let mut classes: BTreeMap<u32, Vec<(u64, usize)>> = BTreeMap::new();
        for (row, (&label, &sample)) in train.y.iter().zip(&train.samples).enumerate() {
            let draw = Draw { epoch: draw as u64, sample: sample as u64, ..Draw::of_seed(seed) };
            let key = draw.stream(Purpose::Split).bits();
            classes.entry(label).or_default().push((key, row));
        }
        let mut rows = Vec::new();
        for mut members in classes.into_values() {
            let count = match self {
                Self::Shots(shots) => shots,
                Self::Share(share) => ((share * members.len() as f64).round() as usize).max(1),
            };
            members.sort_unstable();
            rows.extend(members.iter().take(count).map(|&(_, row)| row));
        }
        rows.sort_unstable();
        rows
    }
}

/// The score, and each test sample's mean over the draws.
fn mean_over_draws(
    test: &Test,
    draws: &[Vec<f64>],
    metric: &str,
    encoder: &str,
) -> (Score, Vec<f64>) {
    let n = test.rows.y.len();
    let of_sample = |item: usize| draws.iter().map(|right| right[item]).sum::<f64>();
    let items: Vec<f64> = (0..n).map(|item| of_sample(item) / draws.len() as f64).collect();
    let means: Vec<f64> = draws.iter().map(|right| right.iter().sum::<f64>() / n as f64).collect();
    let value = means.iter().sum::<f64>() / means.len() as f64;
    let units = Units::of(&test.rows.groups, n);
    let [low, high] = bootstrap_units(&units, RESAMPLES, 0, |chosen| mean_of(&items, chosen));
    let of_draws = over_seeds(&means).map_or(0.0, |found| found.half);
    let half = of_draws.hypot((high - low) / 2.0);
    let interval = Some([(value - half).max(0.0), (value + half).min(1.0)]);
    let plain = plain_score("low_shot", VERSION, metric, value, n, encoder);
    (Score { interval, test: test.name.clone(), ..plain }, items)
}

#[cfg(test)]
mod tests {
    use tch::{Device, Kind};

    use super::*;

    /// Four classes around the ends of four axes.
    fn axes(rows: usize, noise: f64, seed: u64) -> FeatureTable {
        let mut stream = Draw::of_seed(seed).stream(Purpose::World);
        let values: Vec<f32> = (0..rows * 4)
            .map(|i| {
                let own = if i % 4 == (i / 4) % 4 { 1.0 } else { 0.0 };
                (own + noise * stream.normal()) as f32
            })
            .collect();
        let labels = (0..rows).map(|row| Some(row as u32 % 4)).collect();
        FeatureTable::new(Tensor::from_slice(&values).view([-1, 4]), labels, Vec::new()).unwrap()
    }

    fn rows(y: &[u32], samples: &[usize]) -> Labelled {
        Labelled {
            x: Tensor::zeros([y.len() as i64, 1], (Kind::Float, Device::Cpu)),
            y: y.to_vec(),
            groups: Vec::new(),
            samples: samples.to_vec(),
        }
    }

    #[test]
    fn more_images_do_better_and_the_interval_holds_the_mean() {
        let (train, test) = (axes(400, 0.5, 1), axes(200, 0.5, 2));
        let config = LowShotConfig { fractions: vec![0.5], ..LowShotConfig::default() };
        let outcome = evaluate(&train, &[("", &test)], "x", &config).unwrap();
        let metrics: Vec<&str> = outcome.scores.iter().map(|it| it.metric.as_str()).collect();
        assert_eq!(metrics, ["top1@1", "top1@5", "top1@10", "top1@50%"]);
        let values: Vec<f64> = outcome.scores.iter().map(|score| score.value).collect();
        assert!(values[0] < values[2] && values[2] < values[3] + 0.03, "{values:?}");
        for score in &outcome.scores {
            let [low, high] = score.interval.unwrap();
            assert!(low < score.value && score.value < high, "{score:?}");
        }
        let mean = outcome.items.iter().sum::<f64>() / 200.0;
        // Sums in another order.
        assert!((mean - values[0]).abs() < 1e-12);
        let wanted = "C=1 on features of length 1, 5 draws of 4 images";
        assert_eq!(outcome.scores[0].setting, wanted);
    }

    #[test]
    fn a_draw_knows_samples_and_not_rows() {
        let y: Vec<u32> = (0..40).map(|row| row % 2).collect();
        let all: Vec<usize> = (0..40).collect();
        let whole = Size::Shots(3).episode(&rows(&y, &all), 0, 5);
        // Another encoder's table lacks some images that were not drawn.
        let kept: Vec<usize> =
            all.into_iter().filter(|it| whole.contains(it) || it % 3 > 0).collect();
        let labels: Vec<u32> = kept.iter().map(|&row| y[row]).collect();
        let found = Size::Shots(3).episode(&rows(&labels, &kept), 0, 5);
        let found: Vec<usize> = found.into_iter().map(|row| kept[row]).collect();
        assert_eq!(found, whole);
        let all: Vec<usize> = (0..40).collect();
        assert_ne!(Size::Shots(3).episode(&rows(&y, &all), 1, 5), whole);
        assert_ne!(Size::Shots(3).episode(&rows(&y, &all), 0, 6), whole);
        let more = Size::Shots(5).episode(&rows(&y, &all), 0, 5);
        assert!(whole.iter().all(|row| more.contains(row)));
    }

    #[test]
    fn each_class_gives_its_share_and_one_image_at_least() {
        let y: Vec<u32> = (0..100).map(|row| u32::from(row >= 90)).collect();
        let rows = rows(&y, &(0..100).collect::<Vec<_>>());
        let count = |size: Size| {
            let chosen = size.episode(&rows, 0, 0);
            let second = chosen.iter().filter(|&&row| y[row] == 1).count();
            (chosen.len() - second, second)
        };
        assert_eq!(count(Size::Share(0.1)), (9, 1));
        assert_eq!(count(Size::Share(0.01)), (1, 1));
        assert_eq!(count(Size::Share(1.0)), (90, 10));
        assert_eq!(count(Size::Shots(20)), (20, 10));
    }

    #[test]
    fn settings_without_meaning_and_a_test_on_train_are_refused() {
        let (train, test) = (axes(40, 0.5, 1), axes(20, 0.5, 2));
        let default = LowShotConfig::default;
        for config in [
            LowShotConfig { shots: vec![], fractions: vec![], ..default() },
            LowShotConfig { shots: vec![0], ..default() },
            LowShotConfig { fractions: vec![1.5], ..default() },
            LowShotConfig { draws: 1, ..default() },
            LowShotConfig { c: f64::NAN, ..default() },
        ] {
            assert!(evaluate(&train, &[("", &test)], "x", &config).is_err(), "{config:?}");
        }
        assert!(evaluate(&train, &[("", &train)], "x", &default()).is_err());
    }
}
