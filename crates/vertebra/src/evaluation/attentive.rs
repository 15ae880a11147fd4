//! V-JEPA's attentive probe (Bardes 2024): one learned query looks at all the places of an image, by attention, where a
//! linear probe sees one vector of them. What a mean over the image drowns can be found by it.
//!
//! The encoder is frozen: its tokens are made once, of the prepared image (no random views; the authors crop and flip),
//! and kept in bfloat16 where they fit. The rule is that of the linear probe: a learning rate is chosen on a tenth of
//! the training images, the probe trained again on all, and the test images are looked at once.

mod block;
mod tokens;
mod train;

use std::sync::Arc;
use std::time::Instant;

use pixels::source::Source;
use serde::{Deserialize, Serialize};

use super::{Encoder, Epochs, Outcome, Supervised, best, split};
use crate::error::{Error, Result};
pub(crate) use block::Probes;
use tokens::Tokens;
use train::{answer, fit, judge};

/// Changes whenever equal tokens could get another score.
pub const VERSION: u32 = 1;

/// The sweep and the schedule. AdamW with β = (0.9, 0.999), the cosine to 0 without warm-up, and gradients clipped to
/// a norm of 1, as in the authors' evaluation.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct AttentiveConfig {
    /// As they are, for any batch. The authors' is 1e-3, at a batch of 1024; ours are four around it.
    pub learning_rates: Vec<f64>,
    /// Falls to 1e-6 with a cosine; biases and norms do not decay. 1e-3 is the authors' for images.
    pub weight_decay: f64,
    /// 20 as in V-JEPA.
    pub epochs: usize,
    /// Images per step, at most all of them. Ours: small tables need steps.
    pub batch: usize,
    /// Decides the initial weights, the order of the images, and which are held out.
    pub seed: u64,
    /// GiB of memory for the tokens of the training images. Where they need more, the encoder makes them again in
    /// each epoch: the same numbers, later.
    pub memory: f64,
}

impl Default for AttentiveConfig {
    fn default() -> Self {
        Self {
            learning_rates: vec![1e-4, 3e-4, 1e-3, 3e-3],
            weight_decay: 1e-3,
            epochs: 20,
            batch: 64,
            seed: 0,
            memory: 4.0,
        }
    }
}

/// Top-1 accuracy on `test`, and top-5 where there are more than five classes. Unlabelled images and those that cannot
/// be read are left out.
///
/// `progress` is told after each epoch how many are over, of all the trainings together, and the mean loss: of the
/// best learning rate where several are trained side by side.
pub fn evaluate(
    encoder: &Encoder,
    train: &Arc<dyn Source>,
    test: &Arc<dyn Source>,
    config: &AttentiveConfig,
    progress: &mut dyn FnMut(usize, usize, f64),
) -> Result<Outcome> {
    let start = Instant::now();
    config.check()?;
    let Supervised { train, test, classes } = Supervised::new(train, test)?;
    let sweeping = config.learning_rates.len() > 1;
    let mut epochs = Epochs::new(config.epochs * if sweeping { 2 } else { 1 }, progress);
    let train = Tokens::of(encoder, train, config.memory)?;
    let (lr, mut setting) = choose(&train, classes, config, &mut epochs)?;
    if !train.are_kept() {
        setting += ", tokens made anew in each epoch";
    }
    let all: Vec<usize> = (0..train.images().samples.len()).collect();
    let probe = fit(&train, &all, classes, &[lr], config, &mut epochs)?;
    let test = Tokens::once(encoder, test);
    let answers = answer(&probe, &test, config)?;
    let mut outcome = answers.outcome("attentive", VERSION, &encoder.name);
    for score in &mut outcome.scores {
        score.setting.clone_from(&setting);
        score.seconds = start.elapsed().as_secs_f64();
    }
    Ok(outcome)
}

/// The learning rate that does best on held-out training images, and how it was found, as text. A single one is not
/// tried first.
fn choose(
    train: &Tokens,
    classes: usize,
    config: &AttentiveConfig,
    epochs: &mut Epochs,
) -> Result<(f64, String)> {
    let rates = &config.learning_rates;
    if let [lr] = rates[..] {
        return Ok((lr, format!("lr={lr}")));
    }
    let images = train.images();
    let (learned, held) = split(&images.labels, &images.groups(), config.seed);
    if held.is_empty() {
        return Err(usage(
            "the choice of a learning rate needs two labelled training images or more, got 1",
            "give a larger training source",
        ));
    }
    let probes = fit(train, &learned, classes, rates, config, epochs)?;
    let trials = judge(&probes, train, &held, config)?;
    let best = best(&trials).ok_or_else(|| diverged(rates))?;
    let lr = rates[best];
    let mut text = format!("lr={lr} of {}, {:.3} held out", rates.len(), trials[best].accuracy);
    let beyond = |past: fn(&f64, &f64) -> bool| !rates.iter().any(|it| past(it, &lr));
    if beyond(f64::gt) || beyond(f64::lt) {
        text += ", edge of the sweep";
    }
    Ok((lr, text))
}

impl AttentiveConfig {
    fn check(&self) -> Result<()> {
        let bad = |value: &f64, least: f64| !value.is_finite() || *value < least;
        let rates = &self.learning_rates;
        let problem = if rates.is_empty() || rates.iter().any(|lr| bad(lr, f64::MIN_POSITIVE)) {
            format!("learning_rates must be numbers above 0, got {rates:?}")
        } else if bad(&self.weight_decay, 0.0) {
            format!("weight_decay must be a number of 0 or more, got {}", self.weight_decay)
        } else if bad(&self.memory, 0.0) {
            format!("memory must be a number of 0 or more GiB, got {}", self.memory)
        } else if self.epochs == 0 || self.batch == 0 {
            let (epochs, batch) = (self.epochs, self.batch);
            format!("epochs and batch must be 1 or more, got {epochs} and {batch}")
        } else {
            return Ok(());
        };
        Err(usage(&problem, "leave the setting out to get its default"))
    }
}

fn diverged(rates: &[f64]) -> Error {
    let problem = format!("training diverged with the learning rates {rates:?}");
    usage(&problem, "give lower learning_rates")
}

fn usage(problem: &str, hint: &str) -> Error {
    Error::Usage { problem: format!("attentive: {problem}"), hint: Some(hint.into()) }
}

#[cfg(test)]
mod tests;
