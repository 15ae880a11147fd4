//! Fine-tuning the predictor of a world model (Garrido 2024): the encoder is frozen, the predictor is kept, asked for the whole
//! image with nothing to do, and learns together with a head on what it says. A predictor that knows more of the world than how
//! to fill holes is a better start than a fresh one.
//!
//! The number means something beside its controls only: a fresh predictor of the same size, the encoder tuned without a
//! predictor ([`finetune`](super::finetune) with this head), and both tuned together. All have the views, the schedule and the
//! choice of a setting of fine-tuning.
//!
//! Several tasks may share one predictor: each has a head and a learned token of its own beside the predictor's other tokens,
//! every step holds a batch of each, and the loss is the mean of theirs.

mod learner;

use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::Instant;

use pixels::source::Source;
use serde::{Deserialize, Serialize};

use super::{
    Epochs, FinetuneConfig, LabelledImages, Origin, Outcome, Setting, Supervised, WorldModel,
    judged,
};
use crate::error::{Error, Result};
use crate::training::checkpoint::EncoderSpec;
use learner::Learner;

/// Changes whenever an equal world model could get another score.
pub const VERSION: u32 = 1;

/// The arrangements to try, and how they learn.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct FinetunePredictorConfig {
    /// One outcome for each.
    pub modes: Vec<TuningMode>,
    /// What makes logits of the predictor's tokens.
    pub head: TuningHead,
    /// Factor on the rate of a predictor that comes trained; a fresh one has the rate itself. 1/10 is published.
    pub predictor_rate: f64,
    /// Rates are those of the head and of a fresh predictor; 2.5e-4 is 1e-3 · batch / 256 (ours). Layer decay is for encoders that
    /// learn.
    #[serde(flatten)]
    pub finetune: FinetuneConfig,
}

/// What learns beside the head.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum TuningMode {
    /// The predictor of the world model, over the frozen encoder.
    Pretrained,
    /// A fresh predictor of the same size, over the frozen encoder.
    Random,
    /// The encoder, without a predictor.
    Encoder,
    /// The encoder and the predictor of the world model.
    EndToEnd,
}

/// What makes logits of tokens `[n, T, D]`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum TuningHead {
    /// Their mean, and a linear classifier. Where there is no predictor, of what the encoder pools.
    Linear,
    /// The attention of one learned query, of V-JEPA's [`attentive`](super::attentive) probe.
    Attentive,
}

/// Labelled images of a name.
pub struct NamedTask {
    pub name: String,
    pub train: Arc<dyn Source>,
    pub test: Arc<dyn Source>,
}

/// How a task fares. The scores' `task` is its name.
#[derive(Debug)]
pub struct TaskOutcome {
    pub name: String,
    /// Under the predictor that all tasks share.
    pub shared: Outcome,
    /// Under a predictor of its own.
    pub own: Outcome,
}

impl Default for FinetunePredictorConfig {
    fn default() -> Self {
        Self {
            modes: TuningMode::ALL.to_vec(),
            head: TuningHead::Linear,
            predictor_rate: 0.1,
            finetune: FinetuneConfig::default(),
        }
    }
}

impl TuningMode {
    pub const ALL: [Self; 4] = [Self::Pretrained, Self::Random, Self::Encoder, Self::EndToEnd];

    /// As settings spell it.
    pub fn name(self) -> &'static str {
        match self {
            Self::Pretrained => "pretrained",
            Self::Random => "random",
            Self::Encoder => "encoder",
            Self::EndToEnd => "end_to_end",
        }
    }

    /// The name that its scores carry.
    fn protocol(self) -> &'static str {
        match self {
            Self::Pretrained => "predictor_pretrained",
            Self::Random => "predictor_random",
            Self::Encoder => "predictor_encoder",
            Self::EndToEnd => "predictor_end_to_end",
        }
    }

    fn has_predictor(self) -> bool {
        self != Self::Encoder
    }

    fn tunes_encoder(self) -> bool {
        matches!(self, Self::Encoder | Self::EndToEnd)
    }
}

/// Top-1 accuracy on `test` with each of the modes, and top-5 where there are more than five classes; over seeds as in
/// fine-tuning. The world model itself stays as it is.
///
/// `spec` is the encoder's. `progress` is told after each epoch how many are over, of all the trainings together, and the mean
/// loss.
pub fn evaluate(
    world: &WorldModel,
    spec: &EncoderSpec,
    train: &Arc<dyn Source>,
    test: &Arc<dyn Source>,
    config: &FinetunePredictorConfig,
    progress: &mut dyn FnMut(usize, usize, f64),
) -> Result<Vec<(TuningMode, Outcome)>> {
    config.check()?;
    let task = [Supervised::new(train, test)?];
    let mut epochs =
        Epochs::new(config.modes.iter().map(|&mode| config.epochs(mode)).sum(), progress);
    let mut found = Vec::new();
    for &mode in &config.modes {
        let job = Job { world, spec, mode, config, together: false };
        found.push((mode, job.run(&task, mode.protocol(), &mut epochs)?.remove(0)));
    }
    Ok(found)
}

/// Top-1 accuracy of each task under one predictor for all and under one of its own. The predictor of the world model is what
/// they start from, over the frozen encoder; the configuration's modes are not looked at. An epoch of the shared one is one of
/// the largest task.
pub fn multitask(
    world: &WorldModel,
    spec: &EncoderSpec,
    tasks: &[NamedTask],
    config: &FinetunePredictorConfig,
    progress: &mut dyn FnMut(usize, usize, f64),
) -> Result<Vec<TaskOutcome>> {
    config.check()?;
    let names: BTreeSet<&str> = tasks.iter().map(|task| task.name.as_str()).collect();
    if tasks.is_empty() || names.len() < tasks.len() {
        let given: Vec<&str> = tasks.iter().map(|task| task.name.as_str()).collect();
        return Err(usage(
            &format!("expected one task or more, each with a name of its own, got {given:?}"),
            "a task is a name, images to learn from and images to be tested on",
        ));
    }
    let mut labelled = Vec::new();
    for task in tasks {
        labelled.push(Supervised::new(&task.train, &task.test)?);
    }
    let mode = TuningMode::Pretrained;
    let mut epochs = Epochs::new(config.epochs(mode) * (1 + tasks.len()), progress);
    let mut job = Job { world, spec, mode, config, together: true };
    let shared = job.run(&labelled, "predictor_multitask", &mut epochs)?;
    job.together = false;
    let mut found = Vec::new();
    for ((task, labelled), mut shared) in tasks.iter().zip(&labelled).zip(shared) {
        let alone = std::slice::from_ref(labelled);
        let mut own = job.run(alone, mode.protocol(), &mut epochs)?.remove(0);
        for score in shared.scores.iter_mut().chain(&mut own.scores) {
            score.task.clone_from(&task.name);
        }
        found.push(TaskOutcome { name: task.name.clone(), shared, own });
    }
    Ok(found)
}

/// One arrangement.
struct Job<'a> {
    world: &'a WorldModel,
    spec: &'a EncoderSpec,
    mode: TuningMode,
    config: &'a FinetunePredictorConfig,
    /// Whether tasks have tokens of their own.
    together: bool,
}

impl Job<'_> {
    /// The outcome of each task, all learned together.
    fn run(
        &self,
        tasks: &[Supervised],
        protocol: &'static str,
        epochs: &mut Epochs,
    ) -> Result<Vec<Outcome>> {
        let encoder = &self.world.encoder;
        let origin =
            Origin { protocol, version: VERSION, encoder: &encoder.name, start: Instant::now() };
        let classes: Vec<usize> = tasks.iter().map(|task| task.classes).collect();
        let (settings, config) = (self.config.settings(self.mode), &self.config.finetune);
        let mut run =
            |train: &[LabelledImages], tests: &[&LabelledImages], setting: Setting, seed: u64| {
                let learner = Learner::new(self, &classes, seed)?;
                let answers = if learner.tune(train, setting, config, seed, epochs)? {
                    learner.answers(tests, config.batch)?
                } else {
                    None
                };
                Ok(((), answers))
            };
        let (outcomes, ()) = judged(tasks, &settings, config, origin, &mut run)?;
        Ok(outcomes)
    }
}

impl FinetunePredictorConfig {
    /// What is tried with a mode: layer decay where an encoder learns, rates alone elsewhere.
    fn settings(&self, mode: TuningMode) -> Vec<Setting> {
        if mode.tunes_encoder() {
            return self.finetune.settings();
        }
        let rates = self.finetune.learning_rates.iter();
        rates.map(|&lr| Setting { lr, layer_decay: 1.0 }).collect()
    }

    /// Of all trainings with a mode.
    fn epochs(&self, mode: TuningMode) -> usize {
        self.finetune.epochs_of(self.settings(mode).len())
    }

    fn check(&self) -> Result<()> {
        self.finetune.check()?;
        let rate = self.predictor_rate;
        let problem = if self.modes.is_empty() {
            "modes must hold one or more, got none".to_string()
        } else if (1..self.modes.len()).any(|at| self.modes[..at].contains(&self.modes[at])) {
            format!(
                "modes must differ, got {:?}",
                self.modes.iter().map(|it| it.name()).collect::<Vec<_>>()
            )
        } else if !(rate.is_finite() && rate > 0.0) {
            format!("predictor_rate must be a number above 0, got {rate}")
        } else {
            return Ok(());
        };
        Err(usage(&problem, "leave the setting out to get its default"))
    }
}

fn usage(problem: &str, hint: &str) -> Error {
    Error::Usage { problem: format!("predictor: {problem}"), hint: Some(hint.into()) }
}

#[cfg(test)]
mod tests;
