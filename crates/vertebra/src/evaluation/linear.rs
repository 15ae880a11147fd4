//! Linear evaluation: a linear classifier on frozen features, all settings of its sweep trained in one pass.
//!
//! The rule: a setting is chosen on a tenth of the training table, trained again on all of it, and the test table
//! is looked at once.
//!
//! Features are standardised with the training table's mean and deviation per dimension, as MAE's batch norm
//! without scale and shift does (He 2022). Encoders differ in the scale of their features by orders of magnitude,
//! and without it one sweep of learning rates would not serve two of them.

mod sgd;

use std::time::Instant;

use serde::{Deserialize, Serialize};
use tch::{Kind, Tensor};

use super::{FeatureTable, Labelled, Outcome, Task, Trial, best, items_of, mean_score, split};
use crate::error::{Error, Result};
use sgd::{Fitted, Setting, fit};

/// Changes whenever equal features could get another score.
pub const VERSION: u32 = 1;

/// The sweep and the schedule.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct LinearConfig {
    /// For a batch of 256; a batch of B takes lr · B / 256. The default is thirteen from 1e-4 to 1: as many as
    /// DINOv2's, and higher, because small tables make few steps; the rates of VICReg (0.02, 0.3), MAE (0.1) and
    /// SwAV (0.3) are among them or near.
    pub learning_rates: Vec<f64>,
    /// Each is tried with each learning rate. Weights decay, biases do not. 0 as in DINO and MAE.
    pub weight_decays: Vec<f64>,
    /// 100 as in VICReg, DINO and SwAV.
    pub epochs: usize,
    /// Rows per step, at most the size of the training table.
    pub batch: usize,
    /// Decides the initial weights, the order of the rows, and which are held out.
    pub seed: u64,
}

impl Default for LinearConfig {
    fn default() -> Self {
        Self {
            learning_rates: vec![
                1e-4, 2e-4, 5e-4, 1e-3, 2e-3, 5e-3, 1e-2, 2e-2, 5e-2, 0.1, 0.2, 0.5, 1.0,
            ],
            weight_decays: vec![0.0],
            epochs: 100,
            batch: 256,
            seed: 0,
        }
    }
}

/// Top-1 accuracy on `test`, and top-5 where there are more than five classes.
pub fn evaluate(
    train: &FeatureTable,
    test: &FeatureTable,
    encoder: &str,
    config: &LinearConfig,
) -> Result<Outcome> {
    let start = Instant::now();
    config.check()?;
    let task = Task::new(train, test)?;
    if train.is_same(test) {
        return Err(usage(
            "the training and the test table are the same: the probe would be judged on what it learned",
            "give another source as test",
        ));
    }
    let (setting, chosen) = tch::no_grad(|| choose(&task, config))?;
    let (first, fifth) = tch::no_grad(|| {
        let fitted = fit(&task.train, task.classes, &[setting], config);
        ranked(&fitted, &task.test)
    });
    let items = items_of(&first);
    let mut scores = vec![mean_score("linear", VERSION, "top1", &items, encoder)];
    if task.classes > 5 {
        scores.push(mean_score("linear", VERSION, "top5", &items_of(&fifth), encoder));
    }
    for score in &mut scores {
        score.setting.clone_from(&chosen);
        score.seconds = start.elapsed().as_secs_f64();
    }
    Ok(Outcome { items, scores })
}

impl LinearConfig {
    fn check(&self) -> Result<()> {
        let bad = |values: &[f64], least: f64| {
            values.is_empty() || values.iter().any(|value| !value.is_finite() || *value < least)
        };
        let problem = if bad(&self.learning_rates, f64::MIN_POSITIVE) {
            format!("learning_rates must be numbers above 0, got {:?}", self.learning_rates)
        } else if bad(&self.weight_decays, 0.0) {
            format!("weight_decays must be numbers of 0 or more, got {:?}", self.weight_decays)
        } else if self.epochs == 0 || self.batch == 0 {
            let (epochs, batch) = (self.epochs, self.batch);
            format!("epochs and batch must be 1 or more, got {epochs} and {batch}")
        } else {
            return Ok(());
        };
        Err(usage(&problem, "leave the setting out to get its default"))
    }

    fn settings(&self) -> Vec<Setting> {
        let rates = self.learning_rates.iter();
        rates
            .flat_map(|&lr| {
                self.weight_decays.iter().map(move |&weight_decay| Setting { lr, weight_decay })
            })
            .collect()
    }
}

fn usage(problem: &str, hint: &str) -> Error {
    Error::Usage { problem: format!("linear: {problem}"), hint: Some(hint.into()) }
}

/// The setting with the best accuracy on held-out training rows (of equal ones the lowest cross-entropy), and
/// how it was found, as text. Settings that diverged are out.
fn choose(task: &Task, config: &LinearConfig) -> Result<(Setting, String)> {
    let settings = config.settings();
    let (learned, held) = split(&task.train.y, config.seed);
    if held.is_empty() {
        return Err(usage(
            &format!("the probe needs two labelled training images or more, got {}", learned.len()),
            "give a larger training source",
        ));
    }
    let fitted = fit(&pick(&task.train, &learned), task.classes, &settings, config);
    let trials = judged(&fitted, &pick(&task.train, &held));
    let best = best(&trials).ok_or_else(|| {
        usage(
            &format!("training diverged with all {} settings", settings.len()),
            "give lower learning_rates",
        )
    })?;
    let Setting { lr, weight_decay } = settings[best];
    let mut text = format!("lr={lr} wd={weight_decay}");
    if settings.len() > 1 {
        let found = format!(" of {}, {:.3} held out", settings.len(), trials[best].accuracy);
        text.push_str(&found);
    }
    let beyond =
        |past: fn(&f64, &f64) -> bool| !config.learning_rates.iter().any(|it| past(it, &lr));
    if config.learning_rates.len() > 1 && (beyond(f64::gt) || beyond(f64::lt)) {
        text += ", edge of the sweep";
    }
    Ok((settings[best], text))
}

fn pick(rows: &Labelled, wanted: &[usize]) -> Labelled {
    let index: Vec<i64> = wanted.iter().map(|&row| row as i64).collect();
    let x = rows.x.index_select(0, &Tensor::from_slice(&index).to_device(rows.x.device()));
    Labelled { x, y: wanted.iter().map(|&row| rows.y[row]).collect() }
}

fn judged(fitted: &Fitted, rows: &Labelled) -> Vec<Trial> {
    let n = rows.y.len() as f64;
    let mut sums = vec![(0.0, 0.0); fitted.settings()];
    fitted.for_each_logits(rows, |logits, labels| {
        let labels = labels.view([1, 1, -1]).expand([logits.size()[0], 1, -1], false);
        let losses = -logits.log_softmax(1, None).gather(1, &labels, false).squeeze_dim(1);
        let right = logits.argmax(1, false).eq_tensor(&labels.squeeze_dim(1));
        for (index, sum) in sums.iter_mut().enumerate() {
            let of = |values: &Tensor| {
                values.select(0, index as i64).sum(Kind::Double).double_value(&[])
            };
            *sum = (sum.0 + of(&right), sum.1 + of(&losses));
        }
    });
    sums.into_iter().map(|(right, loss)| Trial { accuracy: right / n, loss: loss / n }).collect()
}

/// Whether the right class is the first answer, and whether it is among the first five, of the only setting.
fn ranked(fitted: &Fitted, rows: &Labelled) -> (Vec<bool>, Vec<bool>) {
    let (mut first, mut fifth) = (Vec::new(), Vec::new());
    fitted.for_each_logits(rows, |logits, labels| {
        let (logits, labels) = (logits.select(0, 0), labels.unsqueeze(0));
        let right = logits.gather(0, &labels, false);
        // Of equal logits the lower class comes first.
        let classes = Tensor::arange(logits.size()[0], (Kind::Int64, logits.device())).unsqueeze(1);
        let tied = logits.eq_tensor(&right).logical_and(&classes.lt_tensor(&labels));
        let ahead = logits.gt_tensor(&right).logical_or(&tied);
        let ranks = ahead.sum_dim_intlist([0i64].as_slice(), false, Kind::Int64);
        for index in 0..ranks.size()[0] {
            let rank = ranks.int64_value(&[index]);
            first.push(rank == 0);
            fifth.push(rank < 5);
        }
    });
    (first, fifth)
}

#[cfg(test)]
mod tests;
