//! Weighted k-nearest neighbours (Wu 2018, "instance discrimination"; the settings are those of DINO, Caron 2021).

use std::time::Instant;

use serde::{Deserialize, Serialize};
use tch::Tensor;

use super::{
    FeatureTable, Fitted, Labelled, Neighbour, Origin, Outcome, Task, judge, nearest,
    normalise_rows,
};
use crate::error::{Error, Result};

/// Changes whenever equal features could get another score. 2: votes that are equal in f32 are a tie, which the lower
/// class wins.
pub const VERSION: u32 = 2;

/// The part of the probabilities that is spread evenly over all classes, because a class without a vote would have the
/// probability 0 and an infinite cross-entropy: with it, the right class without a vote costs −ln(1e-4 / classes). The
/// order of the classes stays.
const SPREAD: f64 = 1e-4;

/// How neighbours vote.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct KnnConfig {
    /// How many neighbours vote; at most the size of the training table. 20 is DINO's best for ImageNet.
    pub k: usize,
    /// T: a neighbour of cosine similarity s votes with the weight exp(s / T). 0.07 in both papers.
    pub temperature: f64,
}

impl Default for KnnConfig {
    fn default() -> Self {
        Self { k: 20, temperature: 0.07 }
    }
}

/// How well the labelled rows of `train` vote on the tests (see [`classification`](super::classification)). The
/// probabilities are the shares of the votes. Where a test is the same table (the same features of the same samples), no
/// row votes for itself: leave-one-out.
pub fn evaluate(
    train: &FeatureTable,
    tests: &[(&str, &FeatureTable)],
    encoder: &str,
    config: &KnnConfig,
) -> Result<Outcome> {
    let start = Instant::now();
    config.check()?;
    let mut task = Task::new(train, tests)?;
    for test in task.tests.iter_mut().filter(|test| test.is_train) {
        test.notes.push("leave-one-out".into());
    }
    let alone = task.tests.iter().any(|test| test.is_train);
    let k = config.k.min(task.train.y.len() - usize::from(alone));
    let mut setting = format!("k={k} T={}", config.temperature);
    if k < config.k {
        let reduced = format!(" (k reduced from {}: all of the training table)", config.k);
        setting.push_str(&reduced);
    }
    let (learned, held) = task.train.split(0);
    let held = (!held.is_empty()).then(|| task.train.pick(&held));
    let held = held.map(|held| {
        let voters = Voters::of(&task.train.pick(&learned), task.classes, config);
        (voters.log_probabilities(&held.x, false), held.y)
    });
    let voters = Voters::of(&task.train, task.classes, config);
    let predict =
        Box::new(|test: &super::Test| voters.log_probabilities(&test.rows.x, test.is_train));
    let fitted = Fitted { predict, held, setting };
    Ok(judge(&task, &fitted, Origin { protocol: "knn", version: VERSION, encoder, start }))
}

/// Rows that vote.
struct Voters<'a> {
    /// `[N, D]`, of length one.
    x: Tensor,
    y: Vec<u32>,
    classes: usize,
    config: &'a KnnConfig,
}

impl<'a> Voters<'a> {
    fn of(rows: &Labelled, classes: usize, config: &'a KnnConfig) -> Self {
        Self { x: normalise_rows(&rows.x), y: rows.y.clone(), classes, config }
    }

    /// `[n, C]` for rows `[n, D]`. `own` says that these are the voters themselves.
    fn log_probabilities(&self, x: &Tensor, own: bool) -> Tensor {
        let k = self.config.k.min(self.y.len() - usize::from(own));
        let mut values = Vec::with_capacity(x.size()[0] as usize * self.classes);
        // One more: a row finds itself, unless k equals come before it.
        nearest(&normalise_rows(x), &self.x, k + usize::from(own), |query, neighbours| {
            let others = neighbours.iter().filter(|voter| !own || voter.row != query);
            let votes = votes(others.take(k), &self.y, self.classes, self.config.temperature);
            let floor = SPREAD / self.classes as f64;
            values.extend(votes.iter().map(|vote| (vote * (1.0 - SPREAD) + floor).ln() as f32));
        });
        Tensor::from_slice(&values).view([-1, self.classes as i64])
    }
}

impl KnnConfig {
    fn check(&self) -> Result<()> {
        let problem = if self.k == 0 {
            "k must be 1 or more, got 0".to_string()
        } else if !(self.temperature.is_finite() && self.temperature > 0.0) {
            format!("the temperature must be a number above 0, got {}", self.temperature)
        } else {
            return Ok(());
        };
        let hint = "the defaults are k = 20 and temperature = 0.07";
        Err(Error::Usage { problem: format!("knn: {problem}"), hint: Some(hint.into()) })
    }
}

/// Each class's share of the votes. `neighbours` come nearest first.
fn votes<'a>(
    neighbours: impl Iterator<Item = &'a Neighbour>,
    labels: &[u32],
    classes: usize,
    temperature: f64,
) -> Vec<f64> {
    let mut votes = vec![0.0; classes];
    let mut largest = None;
    for neighbour in neighbours {
        let similarity = f64::from(neighbour.similarity);
        // Relative to the first, so that no temperature overflows.
        let relative = similarity - *largest.get_or_insert(similarity);
        votes[labels[neighbour.row] as usize] += (relative / temperature).exp();
    }
    let all: f64 = votes.iter().sum();
    votes.into_iter().map(|vote| vote / all).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::evaluation::recorded;

    const TRAIN: [([f32; 2], u32); 7] = [
        ([1.0, 0.0], 0),
        ([0.9, 0.1], 0),
        ([0.8, 0.3], 1),
        ([0.1, 1.0], 1),
        ([0.0, 1.0], 1),
        ([0.3, 0.9], 2),
        ([-1.0, 0.2], 2),
    ];
    const TEST: [[f32; 2]; 3] = [[1.0, 0.2], [0.4, 1.0], [-1.0, 1.0]];

    fn table(rows: &[[f32; 2]], labels: &[u32]) -> FeatureTable {
        let x = Tensor::from_slice(&rows.concat()).view([-1, 2]);
        let labels = labels.iter().map(|&label| Some(label)).collect();
        FeatureTable::new(x, labels, Vec::new()).unwrap()
    }

    fn train() -> FeatureTable {
        let (rows, labels): (Vec<_>, Vec<_>) = TRAIN.into_iter().unzip();
        table(&rows, &labels)
    }

    fn shares(k: usize) -> Vec<Vec<f64>> {
        let labels: Vec<u32> = TRAIN.iter().map(|row| row.1).collect();
        let voters = normalise_rows(&train().x);
        let queries = normalise_rows(&table(&TEST, &[0, 0, 0]).x);
        let mut shares = Vec::new();
        nearest(&queries, &voters, k, |_, found| {
            shares.push(votes(found.iter(), &labels, 3, 0.07));
        });
        shares
    }

    #[test]
    fn shares_of_the_votes_have_their_published_values() {
        let wanted = [
            (3, [[0.67248, 0.32752, 0.0], [0.0, 0.48839, 0.51161], [0.0, 0.18449, 0.81551]]),
            (
                5,
                [[0.67227, 0.32743, 0.00029], [0.00028, 0.49078, 0.50895], [0.0, 0.18388, 0.81612]],
            ),
            (
                7,
                [[0.67227, 0.32743, 0.00029], [0.00034, 0.49075, 0.50891], [0.0, 0.18388, 0.81612]],
            ),
        ];
        for (k, rows) in wanted {
            for (found, wanted) in shares(k).iter().zip(rows) {
                for (found, wanted) in found.iter().zip(wanted) {
                    // Five printed decimals, and f32 similarities divided by 0.07.
                    assert!((found - wanted).abs() < 1.1e-5, "k={k}: {found} is not {wanted}");
                }
            }
        }
    }

    #[test]
    fn probabilities_are_the_recorded_shares_of_the_votes() {
        let file = recorded();
        let part = |name: &str| {
            let rows: Vec<Vec<f32>> = serde_json::from_value(file[name]["x"].clone()).unwrap();
            let y: Vec<u32> = serde_json::from_value(file[name]["y"].clone()).unwrap();
            let x = Tensor::from_slice(&rows.concat()).view([rows.len() as i64, -1]);
            let samples = (0..y.len()).collect();
            Labelled { x, y, groups: Vec::new(), samples }
        };
        let shares: Vec<Vec<f64>> = serde_json::from_value(file["knn"].clone()).unwrap();
        let config = KnnConfig::default();
        let voters = Voters::of(&part("train"), 5, &config);
        let found = voters.log_probabilities(&part("test").x.narrow(0, 0, 8), false).exp();
        for (row, wanted) in shares.iter().enumerate() {
            for (class, wanted) in wanted.iter().enumerate() {
                let found = found.double_value(&[row as i64, class as i64]);
                let wanted = wanted * (1.0 - SPREAD) + SPREAD / 5.0;
                // f32 similarities divided by 0.07.
                assert!((found - wanted).abs() < 1e-5, "{row} {class}: {found} is not {wanted}");
            }
        }
    }

    #[test]
    fn a_class_without_votes_has_a_finite_cross_entropy() {
        let config = KnnConfig { k: 1, ..KnnConfig::default() };
        let test = table(&TEST, &[2, 2, 2]);
        let outcome = evaluate(&train(), &[("", &test)], "x", &config).unwrap();
        let nll = outcome.scores.iter().find(|score| score.metric == "nll").unwrap();
        // One of three has no vote for its class: −ln(1e-4 / 3) over three, and next to nothing; f32.
        assert!((nll.value - (3e4f64).ln() / 3.0).abs() < 1e-3, "{}", nll.value);
    }

    #[test]
    fn near_neighbours_outvote_a_far_majority() {
        // A plain majority would answer 0, 1, 1 for k = 3 and 1, 1, 1 for k = 7.
        for (k, wanted) in [(1, [0, 2, 2]), (3, [0, 2, 2]), (7, [0, 2, 2])] {
            let config = KnnConfig { k, ..KnnConfig::default() };
            let outcome =
                evaluate(&train(), &[("", &table(&TEST, &wanted))], "x", &config).unwrap();
            assert_eq!(outcome.items, [1.0; 3], "k={k}");
        }
    }

    #[test]
    fn the_score_says_what_was_measured() {
        let test = table(&TEST, &[0, 2, 1]);
        let outcome = evaluate(&train(), &[("", &test)], "trained", &KnnConfig::default()).unwrap();
        let score = &outcome.scores[0];
        assert_eq!((score.protocol.as_str(), score.metric.as_str()), ("knn", "top1"));
        assert_eq!((score.encoder.as_str(), score.samples), ("trained", 3));
        // Two of three.
        assert!((score.value - 2.0 / 3.0).abs() < 1e-12);
        let [low, high] = score.interval.unwrap();
        assert!(low < score.value && score.value < high);
        assert_eq!(score.setting, "k=7 T=0.07 (k reduced from 20: all of the training table)");
    }

    #[test]
    fn no_row_votes_for_itself() {
        // Alone against two of another class: itself is the only neighbour that would be right.
        let rows = [[1.0, 0.0], [0.9, 0.1], [0.9, 0.2]];
        let (train, again) = (table(&rows, &[0, 1, 1]), table(&rows, &[0, 1, 1]));
        let config = KnnConfig { k: 1, ..KnnConfig::default() };
        for test in [&train, &again] {
            let outcome = evaluate(&train, &[("", test)], "x", &config).unwrap();
            assert_eq!(outcome.items, [0.0, 1.0, 1.0]);
            assert_eq!(outcome.scores[0].setting, "k=1 T=0.07 (leave-one-out)");
        }
        let one = table(&rows[..1], &[0]);
        assert!(evaluate(&one, &[("", &one)], "x", &config).is_err());
    }

    #[test]
    fn settings_without_meaning_are_refused() {
        let test = table(&TEST, &[0, 1, 2]);
        for config in [
            KnnConfig { k: 0, temperature: 0.07 },
            KnnConfig { k: 1, temperature: 0.0 },
            KnnConfig { k: 1, temperature: f64::NAN },
        ] {
            assert!(evaluate(&train(), &[("", &test)], "x", &config).is_err(), "{config:?}");
        }
    }
}
