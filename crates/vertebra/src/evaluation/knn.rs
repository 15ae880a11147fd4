//! Weighted k-nearest neighbours (Wu 2018, "instance discrimination"; the settings are those of DINO, Caron 2021).

use std::time::Instant;

use serde::{Deserialize, Serialize};

use super::{
    FeatureTable, Neighbour, Outcome, Task, items_of, mean_score, nearest, normalise_rows,
};
use crate::error::{Error, Result};

/// Changes whenever equal features could get another score.
pub const VERSION: u32 = 1;

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

/// Top-1 accuracy on `test`, voted by the labelled rows of `train`. Where both are the same table (the same
/// features of the same samples), no row votes for itself: leave-one-out.
pub fn evaluate(
    train: &FeatureTable,
    test: &FeatureTable,
    encoder: &str,
    config: &KnnConfig,
) -> Result<Outcome> {
    let start = Instant::now();
    config.check()?;
    let task = Task::new(train, test)?;
    let leave_one_out = train.is_same(test);
    let available = task.train.y.len() - usize::from(leave_one_out);
    if available == 0 {
        return Err(Error::Usage {
            problem: "k-NN without the image itself needs at least two labelled images, got 1"
                .into(),
            hint: Some("give a larger training source".into()),
        });
    }
    let k = config.k.min(available);
    let voters = normalise_rows(&task.train.x);
    let queries = normalise_rows(&task.test.x);
    let mut correct = Vec::with_capacity(task.test.y.len());
    // One more: a row finds itself, unless k equals come before it.
    nearest(&queries, &voters, k + usize::from(leave_one_out), |query, neighbours| {
        let others = neighbours.iter().filter(|voter| !leave_one_out || voter.row != query);
        let votes = votes(others.take(k), &task.train.y, task.classes, config.temperature);
        correct.push(first_largest(&votes) == task.test.y[query] as usize);
    });
    let items = items_of(&correct);
    let mut score = mean_score("knn", VERSION, "top1", &items, encoder);
    score.setting = format!("k={k} T={}", config.temperature);
    if k < config.k {
        let reduced = format!(" (k reduced from {}: all of the training table)", config.k);
        score.setting.push_str(&reduced);
    }
    if leave_one_out {
        score.setting += " (leave-one-out)";
    }
    score.seconds = start.elapsed().as_secs_f64();
    Ok(Outcome { items, scores: vec![score] })
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

fn first_largest(values: &[f64]) -> usize {
    (1..values.len()).fold(0, |best, index| if values[index] > values[best] { index } else { best })
}

#[cfg(test)]
mod tests {
    use super::*;
    use tch::Tensor;

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
        FeatureTable {
            x: Tensor::from_slice(&rows.concat()).view([-1, 2]),
            labels: labels.iter().map(|&label| Some(label)).collect(),
            groups: vec![None; rows.len()],
            samples: (0..rows.len()).collect(),
            skipped: Vec::new(),
            classes: Vec::new(),
        }
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
    fn near_neighbours_outvote_a_far_majority() {
        // A plain majority would answer 0, 1, 1 for k = 3 and 1, 1, 1 for k = 7.
        for (k, wanted) in [(1, [0, 2, 2]), (3, [0, 2, 2]), (7, [0, 2, 2])] {
            let config = KnnConfig { k, ..KnnConfig::default() };
            let outcome = evaluate(&train(), &table(&TEST, &wanted), "x", &config).unwrap();
            assert_eq!(outcome.items, [1.0; 3], "k={k}");
        }
    }

    #[test]
    fn the_score_says_what_was_measured() {
        let test = table(&TEST, &[0, 2, 1]);
        let outcome = evaluate(&train(), &test, "trained", &KnnConfig::default()).unwrap();
        let [score] = &outcome.scores[..] else { panic!("one score") };
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
            let outcome = evaluate(&train, test, "x", &config).unwrap();
            assert_eq!(outcome.items, [0.0, 1.0, 1.0]);
            assert_eq!(outcome.scores[0].setting, "k=1 T=0.07 (leave-one-out)");
        }
        let one = table(&rows[..1], &[0]);
        assert!(evaluate(&one, &one, "x", &config).is_err());
    }

    #[test]
    fn settings_without_meaning_are_refused() {
        let test = table(&TEST, &[0, 1, 2]);
        for config in [
            KnnConfig { k: 0, temperature: 0.07 },
            KnnConfig { k: 1, temperature: 0.0 },
            KnnConfig { k: 1, temperature: f64::NAN },
        ] {
            assert!(evaluate(&train(), &test, "x", &config).is_err(), "{config:?}");
        }
    }
}
