//! A perceptron with hidden layers on frozen features: what is there beyond what a line can divide.
//!
//! Layers are linear, batch norm, ReLU, as wide as asked for, on standardised features. The rule is that of the linear
//! probe: a setting, and here how many epochs, are chosen on a tenth of the training table (a perceptron overfits), the
//! training is done again on all of it, and the tests are looked at once.

use std::f64::consts::PI;
use std::time::Instant;

use pixels::draw::{Draw, Purpose};
use serde::{Deserialize, Serialize};
use tch::nn::{self, OptimizerConfig};
use tch::{Kind, Tensor};

use super::{
    FeatureTable, Fitted, Labelled, Origin, Outcome, Standard, Task, Test, Trial, judge,
    label_tensor,
};
use crate::error::{Error, Result};
use crate::models::Mode;
use crate::models::layers::{BatchNorm, Linear};

/// Changes whenever equal features could get another score.
pub const VERSION: u32 = 1;

const MOMENTUM: f64 = 0.9;

/// Rows that are judged at once.
const PART: i64 = 4096;

/// The perceptron, its sweep and its schedule.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct MlpConfig {
    /// Layers with weights, the last one included: 2 or 3 by convention.
    pub layers: usize,
    /// Of the hidden layers.
    pub width: usize,
    /// For a batch of 256; a batch of B takes lr · B / 256. Batch norm makes a few of them enough.
    pub learning_rates: Vec<f64>,
    /// Each is tried with each learning rate.
    pub weight_decays: Vec<f64>,
    /// The length of the schedule; the best epoch of it is kept.
    pub epochs: usize,
    /// Rows per step, two or more; the rows left over are spread over the steps.
    pub batch: usize,
    /// Decides the initial weights, the order of the rows, and which are held out.
    pub seed: u64,
}

impl Default for MlpConfig {
    fn default() -> Self {
        Self {
            layers: 2,
            width: 2048,
            learning_rates: vec![3e-3, 1e-2, 3e-2, 0.1, 0.3],
            weight_decays: vec![0.0],
            epochs: 50,
            batch: 256,
            seed: 0,
        }
    }
}

/// How well a perceptron of the rows of `train` does on the tests (see [`classification`](super::classification)). It
/// seeds torch's generator.
pub fn evaluate(
    train: &FeatureTable,
    tests: &[(&str, &FeatureTable)],
    encoder: &str,
    config: &MlpConfig,
) -> Result<Outcome> {
    let start = Instant::now();
    config.check()?;
    let task = Task::new(train, tests)?;
    task.refuse_own_training("mlp")?;
    let Chosen { setting, epochs, held, text } = choose(&task, config)?;
    let classifier = config.fit(&task.train, task.classes, setting, epochs, |_, _| ());
    let predict = Box::new(|test: &Test| classifier.log_probabilities(&test.rows.x));
    let fitted = Fitted { predict, held: Some(held), setting: text };
    Ok(judge(&task, &fitted, Origin { protocol: "mlp", version: VERSION, encoder, start }))
}

/// One point of a sweep.
#[derive(Clone, Copy)]
struct Setting {
    lr: f64,
    weight_decay: f64,
}

/// What was found on held-out rows.
struct Chosen {
    setting: Setting,
    epochs: usize,
    /// Log-probabilities and labels of the held-out rows.
    held: (Tensor, Vec<u32>),
    text: String,
}

/// The setting and the epoch with the best accuracy on held-out training rows, of equal ones the lowest cross-entropy.
fn choose(task: &Task, config: &MlpConfig) -> Result<Chosen> {
    let (learned, held) = task.train.split(config.seed);
    if held.is_empty() || learned.len() < 2 {
        return Err(usage(
            "the probe needs three labelled training images or more, and two groups where there are groups",
            "give a larger training source",
        ));
    }
    let (learned, held) = (task.train.pick(&learned), task.train.pick(&held));
    let mut best: Option<(Trial, Setting, usize, Tensor)> = None;
    for &lr in &config.learning_rates {
        for &weight_decay in &config.weight_decays {
            let setting = Setting { lr, weight_decay };
            config.fit(&learned, task.classes, setting, config.epochs, |epoch, perceptron| {
                let found = perceptron.log_probabilities(&held.x);
                let trial = Trial::of(&found, &held.y);
                if trial.beats(best.as_ref().map(|(trial, ..)| *trial)) {
                    best = Some((trial, setting, epoch, found));
                }
            });
        }
    }
    let settings = config.learning_rates.len() * config.weight_decays.len();
    let (trial, setting, epochs, found) = best.ok_or_else(|| {
        let problem = format!("training diverged with all {settings} settings");
        usage(&problem, "give lower learning_rates")
    })?;
    let text = format!(
        "lr={} wd={} of {settings}, epoch {epochs} of {}, {:.3} held out, {} layers {} wide",
        setting.lr,
        setting.weight_decay,
        config.epochs,
        trial.accuracy,
        config.layers,
        config.width
    );
    Ok(Chosen { setting, epochs, held: (found, held.y), text })
}

impl MlpConfig {
    fn check(&self) -> Result<()> {
        let bad = |values: &[f64], least: f64| {
            values.is_empty() || values.iter().any(|value| !value.is_finite() || *value < least)
        };
        let problem = if bad(&self.learning_rates, f64::MIN_POSITIVE) {
            format!("learning_rates must be numbers above 0, got {:?}", self.learning_rates)
        } else if bad(&self.weight_decays, 0.0) {
            format!("weight_decays must be numbers of 0 or more, got {:?}", self.weight_decays)
        } else if self.layers < 2 || self.width == 0 {
            let (layers, width) = (self.layers, self.width);
            format!("there must be two layers or more and some width, got {layers} and {width}")
        } else if self.epochs == 0 || self.batch < 2 {
            let (epochs, batch) = (self.epochs, self.batch);
            format!("epochs must be 1 or more and batch 2 or more, got {epochs} and {batch}")
        } else {
            return Ok(());
        };
        Err(usage(&problem, "leave the setting out to get its default"))
    }

    /// Trains on `rows` for the first `epochs` epochs of the schedule: SGD with momentum 0.9, the learning rate falling
    /// to 0 with the cosine of the steps done of the whole schedule. `look` sees the perceptron after each epoch, which
    /// count from 1.
    fn fit(
        &self,
        rows: &Labelled,
        classes: usize,
        setting: Setting,
        epochs: usize,
        mut look: impl FnMut(usize, &Perceptron),
    ) -> Perceptron {
        tch::manual_seed(self.seed as i64);
        let store = nn::VarStore::new(rows.x.device());
        let perceptron =
            Perceptron::new(&store.root(), self, Standard::of(&rows.x), classes as i64);
        let Setting { lr, weight_decay: wd } = setting;
        let sgd = nn::Sgd { momentum: MOMENTUM, dampening: 0.0, wd, nesterov: false };
        // Only an empty store is refused.
        let Ok(mut optimizer) = sgd.build(&store, lr) else { return perceptron };
        let n = rows.y.len();
        let parts = (n / self.batch).max(1);
        let labels = label_tensor(&rows.y, rows.x.device());
        for epoch in 0..epochs {
            let draw = Draw { epoch: epoch as u64, ..Draw::of_seed(self.seed) };
            let order = draw.stream(Purpose::Order).permutation(n);
            let order: Vec<i64> = order.into_iter().map(|row| row as i64).collect();
            for part in 0..parts {
                let chosen = &order[part * n / parts..(part + 1) * n / parts];
                let rate = lr * chosen.len() as f64 / 256.0;
                let done = (epoch * parts + part) as f64 / (self.epochs * parts) as f64;
                optimizer.set_lr(rate * 0.5 * (1.0 + (PI * done).cos()));
                let chosen = Tensor::from_slice(chosen).to_device(rows.x.device());
                let logits = perceptron.logits(&rows.x.index_select(0, &chosen), Mode::Train);
                optimizer.backward_step(
                    &logits.cross_entropy_for_logits(&labels.index_select(0, &chosen)),
                );
            }
            look(epoch + 1, &perceptron);
        }
        perceptron
    }
}

struct Perceptron {
    standard: Standard,
    hidden: Vec<(Linear, BatchNorm)>,
    last: Linear,
}

impl Perceptron {
    fn new(path: &nn::Path, config: &MlpConfig, standard: Standard, classes: i64) -> Self {
        let (mut inputs, width) = (standard.width(), config.width as i64);
        let hidden = (1..config.layers)
            .map(|layer| {
                let path = path / layer;
                let linear = Linear::new(&(&path / "linear"), inputs, width, false);
                inputs = width;
                (linear, BatchNorm::new(&(&path / "norm"), width, 1.0))
            })
            .collect();
        Self { standard, hidden, last: Linear::new(&(path / "last"), width, classes, true) }
    }

    /// `[n, C]` of rows `[n, D]`.
    fn logits(&self, x: &Tensor, mode: Mode) -> Tensor {
        let x = self.standard.apply(x);
        let inner = self
            .hidden
            .iter()
            .fold(x, |x, (linear, norm)| norm.forward(&linear.forward(&x), mode).relu());
        self.last.forward(&inner)
    }

    /// `[N, C]` of rows `[N, D]`, part by part.
    fn log_probabilities(&self, x: &Tensor) -> Tensor {
        let parts: Vec<Tensor> = tch::no_grad(|| {
            let parts = x.split(PART, 0).into_iter();
            parts.map(|x| self.logits(&x, Mode::Eval).log_softmax(1, Kind::Float)).collect()
        });
        Tensor::cat(&parts, 0)
    }
}

fn usage(problem: &str, hint: &str) -> Error {
    Error::Usage { problem: format!("mlp: {problem}"), hint: Some(hint.into()) }
}

#[cfg(test)]
mod tests {
    use tch::Device;

    use super::*;

    /// Points of the plane, labelled by the sign of their coordinates' product: no line divides them.
    fn quarters(rows: usize, seed: u64) -> FeatureTable {
        let mut stream = Draw::of_seed(seed).stream(Purpose::World);
        let points: Vec<f32> = (0..rows * 2).map(|_| stream.normal() as f32).collect();
        let labels = points.chunks(2).map(|xy| Some(u32::from(xy[0] * xy[1] > 0.0))).collect();
        FeatureTable::new(Tensor::from_slice(&points).view([-1, 2]), labels, Vec::new()).unwrap()
    }

    fn quick() -> MlpConfig {
        MlpConfig {
            width: 32,
            epochs: 20,
            batch: 32,
            learning_rates: vec![0.1, 0.5],
            ..MlpConfig::default()
        }
    }

    #[test]
    fn what_no_line_divides_is_told_apart() {
        let (train, test) = (quarters(400, 1), quarters(300, 2));
        for layers in [2, 3] {
            let config = MlpConfig { layers, ..quick() };
            let outcome = evaluate(&train, &[("", &test)], "x", &config).unwrap();
            // A line is right half of the time; the border itself leaves a few doubtful points.
            assert!(outcome.scores[0].value > 0.85, "{layers} layers: {}", outcome.scores[0].value);
            assert!(outcome.scores[0].setting.contains(" of 2, epoch "));
        }
    }

    #[test]
    fn the_same_seed_gives_the_same_numbers_and_an_early_end_is_a_part_of_the_schedule() {
        let rows = Task::new(&quarters(100, 1), &[("", &quarters(50, 2))]).unwrap();
        let setting = Setting { lr: 0.1, weight_decay: 1e-4 };
        let mut seen = Vec::new();
        let whole = quick().fit(&rows.train, 2, setting, 4, |_, it| {
            seen.push(it.log_probabilities(&rows.tests[0].rows.x));
        });
        let part = quick().fit(&rows.train, 2, setting, 2, |_, _| ());
        let of = |it: &Perceptron| it.log_probabilities(&rows.tests[0].rows.x);
        assert_eq!(of(&part), seen[1]);
        assert_eq!(of(&whole), seen[3]);
        assert!(of(&part) != of(&whole));
    }

    #[test]
    fn constant_features_and_small_tables_give_numbers() {
        let of = |rows: usize| {
            let x = Tensor::ones([rows as i64, 3], (Kind::Float, Device::Cpu));
            let labels = (0..rows).map(|row| Some(row as u32 % 2)).collect();
            FeatureTable::new(x, labels, Vec::new()).unwrap()
        };
        let score =
            |n| evaluate(&of(n), &[("", &of(10))], "x", &quick()).map(|it| it.scores[0].value);
        assert!(score(30).unwrap().is_finite() && score(4).unwrap().is_finite());
        let error = score(2).unwrap_err();
        assert!(error.to_string().contains("three labelled training images"), "{error}");
    }

    #[test]
    fn settings_without_meaning_are_refused() {
        let (train, test) = (quarters(30, 1), quarters(30, 2));
        for config in [
            MlpConfig { layers: 1, ..quick() },
            MlpConfig { width: 0, ..quick() },
            MlpConfig { batch: 1, ..quick() },
            MlpConfig { epochs: 0, ..quick() },
            MlpConfig { learning_rates: vec![], ..quick() },
            MlpConfig { weight_decays: vec![f64::NAN], ..quick() },
        ] {
            assert!(evaluate(&train, &[("", &test)], "x", &config).is_err(), "{config:?}");
        }
        let wild = MlpConfig { learning_rates: vec![1e38], ..quick() };
        let error = evaluate(&train, &[("", &test)], "x", &wild).unwrap_err();
        assert!(error.to_string().contains("diverged"), "{error}");
    }
}
