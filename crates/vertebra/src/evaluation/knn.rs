//! Weighted k-nearest neighbours (Wu 2018, "instance discrimination"; the settings are those of DINO, Caron 2021).

use std::time::Instant;

use serde::{Deserialize, Serialize};
use tch::Tensor;

use super::neighbours::for_each;
use super::{FeatureTable, Neighbour, Outcome, Task, normalise_rows, share_score};
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
            problem: "k-NN without the image itself needs at least two labelled images, got 1".into(),
            hint: Some("give a larger training source".into()),
        });
    }
    let k = config.k.min(available);
    let voters = normalise_rows(&task.train.x);
    let queries = normalise_rows(&task.test.x);
    let mut correct = Vec::with_capacity(task.test.y.len());
    // One more: a row finds itself, unless k equals come before it.
    for_each(&queries, &voters, k + usize::from(leave_one_out), |query, neighbours| {
        let others = neighbours.iter().filter(|voter| !leave_one_out || voter.row != query);
        let votes = votes(others.take(k), &task.train.y, task.classes, config.temperature);
        correct.push(first_largest(&votes) == task.test.y[query] as usize);
    });
    let mut score = share_score("knn", VERSION, "top1", &correct, encoder);
    score.setting = format!("k={k} T={}", config.temperature);
    if k < config.k {
        score.setting += &format!(" (k reduced from {}: all of the training table)", config.k);
    }
    if leave_one_out {
        score.setting += " (leave-one-out)";
    }
    score.seconds = start.elapsed().as_secs_f64();
    Ok(Outcome { correct, scores: vec![score] })
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
    let mut nearest = None;
    for neighbour in neighbours {
        let similarity = f64::from(neighbour.similarity);
        // Relative to the nearest, so that no temperature overflows.
        let nearest = *nearest.get_or_insert(similarity);
        votes[labels[neighbour.row] as usize] += ((similarity - nearest) / temperature).exp();
    }
    let all: f64 = votes.iter().sum();
    votes.iter_mut().for_each(|vote| *vote /= all);
    votes
}

fn first_largest(values: &[f64]) -> usize {
    (1..values.len()).fold(0, |best, index| if values[index] > values[best] { index } else { best })
}
