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
use tch::Tensor;

use super::{FeatureTable, Fitted, Origin, Outcome, Task, Test, Trial, judge};
use crate::error::{Error, Result};
use sgd::{Setting, fit};

/// Changes whenever equal features could get another score. 2: classes without training rows are no classes.
pub const VERSION: u32 = 2;

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

/// How well a linear classifier of the rows of `train` does on the tests (see
/// [`classification`](super::classification)).
pub fn evaluate(
    train: &FeatureTable,
    tests: &[(&str, &FeatureTable)],
    encoder: &str,
    config: &LinearConfig,
) -> Result<Outcome> {
    let start = Instant::now();
    config.check()?;
    let task = Task::new(train, tests)?;
    task.refuse_own_training("linear")?;
    tch::no_grad(|| {
        let chosen = choose(&task, config)?;
        let classifier = fit(&task.train, task.classes, &[chosen.setting], config);
        let predict = Box::new(|test: &Test| classifier.log_probabilities(&test.rows.x).remove(0));
        let fitted = Fitted { predict, held: Some(chosen.held), setting: chosen.text };
        Ok(judge(&task, &fitted, Origin { protocol: "linear", version: VERSION, encoder, start }))
    })
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

/// What was found on held-out rows.
struct Chosen {
    setting: Setting,
    /// Log-probabilities and labels of the held-out rows.
    held: (Tensor, Vec<u32>),
    /// The setting and how it was found.
    text: String,
}

/// The setting with the best accuracy on held-out training rows, of equal ones the lowest cross-entropy. Settings that
/// diverged are out.
fn choose(task: &Task, config: &LinearConfig) -> Result<Chosen> {
    let settings = config.settings();
    let (learned, held) = task.train.split(config.seed);
    if held.is_empty() {
        return Err(usage(
            "the probe needs two labelled training images or more, and two groups where there are groups",
            "give a larger training source",
        ));
    }
    let held = task.train.pick(&held);
    let fitted = fit(&task.train.pick(&learned), task.classes, &settings, config);
    let mut best: Option<(Trial, usize, Tensor)> = None;
    for (index, found) in fitted.log_probabilities(&held.x).into_iter().enumerate() {
        let trial = Trial::of(&found, &held.y);
        if trial.beats(best.as_ref().map(|(trial, ..)| *trial)) {
            best = Some((trial, index, found));
        }
    }
    let (trial, index, found) = best.ok_or_else(|| {
        usage(
            &format!("training diverged with all {} settings", settings.len()),
            "give lower learning_rates",
        )
    })?;
    let Setting { lr, weight_decay } = settings[index];
    let mut text = format!("lr={lr} wd={weight_decay}");
    if settings.len() > 1 {
        let found = format!(" of {}, {:.3} held out", settings.len(), trial.accuracy);
        text.push_str(&found);
    }
    let beyond =
        |past: fn(&f64, &f64) -> bool| !config.learning_rates.iter().any(|it| past(it, &lr));
    if config.learning_rates.len() > 1 && (beyond(f64::gt) || beyond(f64::lt)) {
        text += ", edge of the sweep";
    }
    Ok(Chosen { setting: settings[index], held: (found, held.y), text })
}

#[cfg(test)]
mod tests;
