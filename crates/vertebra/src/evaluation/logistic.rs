//! Logistic regression at the minimum of its objective, by L-BFGS: the linear probe of CLIP (Radford 2021) and one of
//! DINOv2's (Oquab 2023).
//!
//! The objective is scikit-learn's: ½‖W‖² + C Σ −ln softmax(W x + b) of the right class, the bias free. Of two classes,
//! as there, W is one vector, whose product is the second class's logit while the first's is 0. What is minimised is
//! this divided by C · N: the tolerance is of the gradient of the mean cross-entropy, which does not grow with the
//! table.
//!
//! C is chosen on a tenth of the training table; then the classifier is fitted on all of it, and the tests are looked
//! at once. Features are taken as they are (CLIP's convention); `standardise` gives each dimension mean 0 and deviation
//! 1 first, which changes the meaning of C and makes badly scaled features converge sooner.

mod lbfgs;

use std::time::Instant;

use serde::{Deserialize, Serialize};
use tch::{Kind, Tensor};

use super::{
    FeatureTable, Fitted, Labelled, Origin, Outcome, Standard, Task, Test, Trial, judge,
    label_tensor,
};
use crate::error::{Error, Result};
pub(crate) use lbfgs::{Limits, Minimum};

/// Changes whenever equal features could get another score.
pub const VERSION: u32 = 1;

/// Products of a gradient (rows × dimensions × classes) up to which all is computed in f64, because it takes no more
/// than a moment; beyond it in f32, with sums in f64.
const EXACT: usize = 1 << 28;

/// The path of C and when a fit ends.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct LogisticConfig {
    /// Inverse strengths of the penalty. The default is thirteen from 1e-6 to 1e6, the range of CLIP's sweep; DINOv2's
    /// are 45 from 1e-6 to 1e5.
    pub cs: Vec<f64>,
    /// Whether each dimension is brought to mean 0 and deviation 1.
    pub standardise: bool,
    /// The largest entry of the gradient at which a fit has converged. 1e-4 is scikit-learn's default.
    pub tolerance: f64,
    /// The most steps of a fit. 1000 as in CLIP.
    pub iterations: usize,
    /// Decides which rows are held out.
    pub seed: u64,
}

impl Default for LogisticConfig {
    fn default() -> Self {
        Self {
            cs: (-6..=6).map(|power| 10f64.powi(power)).collect(),
            standardise: false,
            tolerance: 1e-4,
            iterations: 1000,
            seed: 0,
        }
    }
}

/// How well a logistic regression on the rows of `train` does on the tests (see
/// [`classification`](super::classification)).
pub fn evaluate(
    train: &FeatureTable,
    tests: &[(&str, &FeatureTable)],
    encoder: &str,
    config: &LogisticConfig,
) -> Result<Outcome> {
    let start = Instant::now();
    config.check()?;
    let task = Task::new(train, tests)?;
    task.refuse_own_training("logistic")?;
    tch::no_grad(|| {
        let Chosen { c, like, held, mut text } = choose(&task, config)?;
        let problem = Problem::of(&task.train, task.classes, config.standardise);
        let (classifier, minimum) = problem.solve(c, Some(&like), config.limits());
        if !minimum.converged {
            let how = format!(", not converged in {} steps", config.iterations);
            text.push_str(&how);
        }
        let predict = Box::new(|test: &Test| classifier.log_probabilities(&test.rows.x));
        let fitted = Fitted { predict, held: Some(held), setting: text };
        Ok(judge(&task, &fitted, Origin { protocol: "logistic", version: VERSION, encoder, start }))
    })
}

impl LogisticConfig {
    fn check(&self) -> Result<()> {
        let positive = |value: f64| value.is_finite() && value > 0.0;
        let problem = if self.cs.is_empty() || !self.cs.iter().all(|&c| positive(c)) {
            format!("cs must be numbers above 0, got {:?}", self.cs)
        } else if !positive(self.tolerance) || self.iterations == 0 {
            let (tolerance, iterations) = (self.tolerance, self.iterations);
            format!("tolerance and iterations must be above 0, got {tolerance} and {iterations}")
        } else {
            return Ok(());
        };
        Err(usage(&problem, "leave the setting out to get its default"))
    }

    fn limits(&self) -> Limits {
        Limits { tolerance: self.tolerance, iterations: self.iterations }
    }
}

/// What was found on held-out rows.
struct Chosen {
    c: f64,
    /// The classifier of this C on the other rows.
    like: Logistic,
    /// Log-probabilities and labels of the held-out rows.
    held: (Tensor, Vec<u32>),
    /// C and how it was found.
    text: String,
}

/// The C with the best accuracy on held-out training rows, of equal ones the lowest cross-entropy. From the strongest
/// penalty to the weakest, each fit begins where the last one ended.
fn choose(task: &Task, config: &LogisticConfig) -> Result<Chosen> {
    let (learned, held) = task.train.split(config.seed);
    if held.is_empty() {
        return Err(usage(
            "the probe needs two labelled training images or more, and two groups where there are groups",
            "give a larger training source",
        ));
    }
    let held = task.train.pick(&held);
    let problem = Problem::of(&task.train.pick(&learned), task.classes, config.standardise);
    let mut cs = config.cs.clone();
    cs.sort_by(f64::total_cmp);
    let mut last: Option<Logistic> = None;
    let mut best: Option<(Trial, f64, Logistic, Tensor)> = None;
    for &c in &cs {
        let (classifier, minimum) = problem.solve(c, last.as_ref(), config.limits());
        let found = classifier.log_probabilities(&held.x);
        let trial = Trial::of(&found, &held.y);
        if trial.beats(best.as_ref().map(|(trial, ..)| *trial)) {
            best = Some((trial, c, classifier.copy(), found));
        }
        // From what is no number no fit can begin.
        last = minimum.value.is_finite().then_some(classifier);
    }
    let (trial, c, like, found) = best.ok_or_else(|| {
        usage("the features are too large for logistic regression", "set standardise = true")
    })?;
    let features = if config.standardise { "standardised" } else { "raw" };
    let mut text = format!("C={c} {features} features");
    if cs.len() > 1 {
        let how = format!(" of {}, {:.3} held out", cs.len(), trial.accuracy);
        text.push_str(&how);
        if c == cs[0] || Some(&c) == cs.last() {
            text += ", edge of the sweep";
        }
    }
    Ok(Chosen { c, like, held: (found, held.y), text })
}

/// Labelled rows that a logistic regression is to be fitted on.
pub(crate) struct Problem {
    /// `[N, D]`, f64 or f32: all is computed in its kind.
    x: Tensor,
    /// `[1, N]`
    labels: Tensor,
    classes: i64,
    standard: Option<Standard>,
}

impl Problem {
    /// In f64 where that takes no more than a moment. Labels are in `0..classes`, two classes or more.
    pub(crate) fn of(rows: &Labelled, classes: usize, standardise: bool) -> Self {
        let standard = standardise.then(|| Standard::of(&rows.x));
        let x = standard.as_ref().map_or_else(|| rows.x.shallow_clone(), |it| it.apply(&rows.x));
        let kind = if x.numel() * classes <= EXACT { Kind::Double } else { Kind::Float };
        let labels = label_tensor(&rows.y, x.device()).unsqueeze(0);
        Self { x: x.to_kind(kind), labels, classes: classes as i64, standard }
    }

    /// The classifier for this C, sought from `start` (from zeros without it), and its place in the objective divided
    /// by C · N.
    pub(crate) fn solve(
        &self,
        c: f64,
        start: Option<&Logistic>,
        limits: Limits,
    ) -> (Logistic, Minimum) {
        let heads = if self.classes == 2 { 1 } else { self.classes };
        let width = self.x.size()[1];
        let size = heads * (width + 1);
        let start = start.map_or_else(
            || Tensor::zeros([size], (self.x.kind(), self.x.device())),
            |it| it.parameters.to_kind(self.x.kind()),
        );
        let penalty = 1.0 / (c * self.x.size()[0] as f64);
        let minimum = lbfgs::minimise(start, limits, |at| self.value_and_gradient(at, penalty));
        let standard = self.standard.as_ref().map(Standard::copy);
        let parameters = minimum.at.shallow_clone();
        (Logistic { parameters, width, classes: self.classes, standard }, minimum)
    }

    /// Mean cross-entropy + ½ `penalty` ‖W‖², and its gradient, at parameters `[H · D + H]`.
    fn value_and_gradient(&self, parameters: &Tensor, penalty: f64) -> (f64, Tensor) {
        let (n, width) = (self.x.size()[0], self.x.size()[1]);
        let (weights, bias) = parts(parameters, width);
        // Classes first: the softmax over them is several times quicker with the rows last.
        let found = log_softmax(&weights, &bias, &self.x, self.classes);
        let own = found.gather(0, &self.labels, false).sum(Kind::Double).double_value(&[]);
        let size = weights.square().sum(Kind::Double).double_value(&[]);
        let mut error = found.exp();
        let ones = Tensor::ones_like(&self.labels).to_kind(error.kind());
        let _ = error.scatter_add_(0, &self.labels, &-ones);
        error /= n as f64;
        let heads = weights.size()[0];
        // Of two classes, the second alone has parameters.
        let error = error.narrow(0, self.classes - heads, heads);
        let slope = error.matmul(&self.x) + weights * penalty;
        let gradient = [slope.view(-1), error.sum_dim_intlist([1i64].as_slice(), false, None)];
        (-own / n as f64 + 0.5 * penalty * size, Tensor::cat(&gradient, 0))
    }
}

/// A fitted logistic regression.
pub(crate) struct Logistic {
    /// Weights `[H, D]`, then biases `[H]`: H is the number of classes, or 1 of two classes.
    parameters: Tensor,
    width: i64,
    classes: i64,
    standard: Option<Standard>,
}

impl Logistic {
    /// `[N, C]` in f32 of rows `[N, D]`.
    pub(crate) fn log_probabilities(&self, x: &Tensor) -> Tensor {
        let x = self.standard.as_ref().map_or_else(|| x.shallow_clone(), |it| it.apply(x));
        let (weights, bias) = parts(&self.parameters, self.width);
        let found = log_softmax(&weights, &bias, &x.to_kind(weights.kind()), self.classes);
        found.tr().to_kind(Kind::Float).contiguous()
    }

    fn copy(&self) -> Self {
        let standard = self.standard.as_ref().map(Standard::copy);
        Self { parameters: self.parameters.shallow_clone(), standard, ..*self }
    }
}

/// Weights `[H, D]` and biases `[H, 1]`.
fn parts(parameters: &Tensor, width: i64) -> (Tensor, Tensor) {
    let heads = parameters.size()[0] / (width + 1);
    let weights = parameters.narrow(0, 0, heads * width).view([heads, width]);
    (weights, parameters.narrow(0, heads * width, heads).view([heads, 1]))
}

/// `[C, N]`
fn log_softmax(weights: &Tensor, bias: &Tensor, x: &Tensor, classes: i64) -> Tensor {
    let logits = weights.matmul(&x.tr()) + bias;
    let logits = if logits.size()[0] < classes {
        Tensor::cat(&[logits.zeros_like(), logits], 0)
    } else {
        logits
    };
    logits.log_softmax(0, None)
}

fn usage(problem: &str, hint: &str) -> Error {
    Error::Usage { problem: format!("logistic: {problem}"), hint: Some(hint.into()) }
}

#[cfg(test)]
mod tests;
