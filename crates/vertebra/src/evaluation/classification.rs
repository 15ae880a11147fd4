//! Judging a classifier by its probabilities: the one place where predictions become scores, whatever fitted them.
//!
//! Of the task's own test: `top1`; `top5` where there are more than five classes; `mean_per_class`, the average recall
//! over the classes of the test; and how honest the probabilities are: `ece`, `ece_equal_mass`, `mce` (see
//! [`calibration_error`], [`equal_mass_error`]), `nll` (mean −ln p of the right class, in nats), `brier` (mean over
//! samples of Σ over classes of (p − y)², y being 1 for the right one, 0 to 2), and `ece_scaled` and `nll_scaled` after
//! temperature scaling (Guo 2017) on training rows that were held out. Of each shifted test: `top1`, `ece`, `nll`, and
//! `gap`. Of corruptions: `corruption_error`.
//!
//! A sample of a class without training rows is wrong whatever the answer; no probability was asked for its class, so
//! that `nll` is over the others.

mod calibration;
mod shift;

use std::collections::BTreeMap;
use std::time::Instant;

use report::record::{Score, Unit};
use tch::{Device, Kind, Tensor};

use super::{
    Outcome, RESAMPLES, Task, Test, Units, bootstrap_units, label_tensor, mean_score, plain_score,
};
pub use calibration::{BINS, calibration_error, equal_mass_error, temperature};

/// A fitted classifier.
pub(crate) struct Fitted<'a> {
    /// Log-probabilities `[N, C]`, f32, of the rows of a test.
    pub predict: Box<dyn Fn(&Test) -> Tensor + 'a>,
    /// The same of training rows that its setting has not learned from, and their labels: what the temperature is
    /// fitted on. `None` where no row could be held out.
    pub held: Option<(Tensor, Vec<u32>)>,
    /// What was chosen on the way, as text.
    pub setting: String,
}

/// What the scores are of.
#[derive(Clone, Copy)]
pub(crate) struct Origin<'a> {
    pub protocol: &'static str,
    pub version: u32,
    /// The encoder's name.
    pub encoder: &'a str,
    /// When the work began.
    pub start: Instant,
}

/// All scores of a classifier. The items are the first answers on the task's own test.
pub(crate) fn judge(task: &Task, fitted: &Fitted, origin: Origin) -> Outcome {
    let own = &task.tests[0];
    let probabilities = (fitted.predict)(own);
    let clean = Answers::of(&probabilities, &own.rows.y, None);
    let mut scores = Sheet::new(origin, fitted, own).own(&clean, fitted);
    let mut corrupted = Vec::new();
    for test in &task.tests[1..] {
        let limit = test.answers.as_deref();
        let answers = Answers::of(&(fitted.predict)(test), &test.rows.y, limit);
        let sheet = Sheet::new(origin, fitted, test);
        scores.extend(sheet.shifted(&answers));
        scores.push(shift::gap(&sheet, &answers, own, &probabilities));
        corrupted.push((test, answers.right));
    }
    scores.extend(shift::corruption_error(&Sheet::new(origin, fitted, own), &corrupted));
    Outcome { items: clean.right, scores }
}

/// Whether the first answer is right, 1 or 0 for each row of log-probabilities `[N, C]`: of equally probable classes
/// the lower answers. `limit` says which classes may answer.
pub(crate) fn right(
    log_probabilities: &Tensor,
    labels: &[u32],
    limit: Option<&[bool]>,
) -> Vec<f64> {
    Answers::of(log_probabilities, labels, limit).right
}

/// What a classifier says of a test's N rows.
struct Answers {
    /// `[N, C]`, f32, on the CPU; −∞ for classes that may not answer.
    log_probabilities: Tensor,
    labels: Vec<u32>,
    /// 1 where the most probable class is the right one, else 0.
    right: Vec<f64>,
    /// The probability of the most probable class.
    confidence: Vec<f64>,
}

impl Answers {
    fn of(log_probabilities: &Tensor, labels: &[u32], limit: Option<&[bool]>) -> Self {
        let mut log_probabilities = log_probabilities.to_device(Device::Cpu);
        if let Some(limit) = limit {
            let barred: Vec<bool> = limit.iter().map(|may| !may).collect();
            log_probabilities = log_probabilities
                .masked_fill(&Tensor::from_slice(&barred), f64::NEG_INFINITY)
                .log_softmax(1, None);
        }
        // The first of the largest, which `argmax` does not promise.
        let (largest, _) = log_probabilities.max_dim(1, true);
        let classes = log_probabilities.size()[1];
        let places = Tensor::arange(classes, (Kind::Int64, Device::Cpu));
        let first = places
            .where_scalarother(&log_probabilities.eq_tensor(&largest), classes)
            .amin([1i64].as_slice(), false);
        let right = first.eq_tensor(&label_tensor(labels, Device::Cpu));
        let confidence = largest.squeeze_dim(1).to_kind(Kind::Double).exp();
        let (right, confidence) = (numbers(&right), numbers(&confidence));
        Self { log_probabilities, labels: labels.to_vec(), right, confidence }
    }

    /// 1 where fewer than five classes are as probable as the right one or more. A class that shares its place with
    /// others (of k-NN, all that got no vote) comes last of them.
    fn right_among_five(&self) -> Vec<f64> {
        let (own, known) = self.own();
        let ahead = self.log_probabilities.ge_tensor(&own.unsqueeze(1));
        let place = numbers(&ahead.sum_dim_intlist([1i64].as_slice(), false, Kind::Int64));
        let right = |(place, known): (f64, bool)| f64::from(u8::from(known && place <= 5.0));
        place.into_iter().zip(known).map(right).collect()
    }

    /// −ln p of the right class; `None` for samples whose class was not in training.
    fn losses(&self) -> Vec<Option<f64>> {
        let (own, known) = self.own();
        numbers(&own).into_iter().zip(known).map(|(own, known)| known.then_some(-own)).collect()
    }

    fn brier(&self) -> Vec<f64> {
        let (own, known) = self.own();
        let squares = self.log_probabilities.exp().square();
        let squares = numbers(&squares.sum_dim_intlist([1i64].as_slice(), false, Kind::Double));
        let own = numbers(&own);
        let one = |row: usize| if known[row] { 1.0 - 2.0 * own[row].exp() } else { 1.0 };
        squares.iter().enumerate().map(|(row, square)| square + one(row)).collect()
    }

    /// The log-probability `[N]` of the right class, and whether it is one of those that the classifier knows (where it
    /// is not, the number has no meaning).
    fn own(&self) -> (Tensor, Vec<bool>) {
        let classes = self.log_probabilities.size()[1] as u32;
        let known: Vec<bool> = self.labels.iter().map(|&label| label < classes).collect();
        let labels: Vec<u32> = self.labels.iter().map(|&label| label.min(classes - 1)).collect();
        let labels = label_tensor(&labels, Device::Cpu).unsqueeze(1);
        (self.log_probabilities.gather(1, &labels, false).squeeze_dim(1), known)
    }
}

/// Where the scores of one test are written.
struct Sheet<'a> {
    origin: Origin<'a>,
    setting: String,
    test: &'a Test,
    units: Units,
}

impl<'a> Sheet<'a> {
    fn new(origin: Origin<'a>, fitted: &Fitted, test: &'a Test) -> Self {
        let units = Units::of(&test.rows.groups, test.rows.y.len());
        Self { origin, setting: fitted.setting.clone() + &test.notes(), test, units }
    }

    fn own(&self, answers: &Answers, fitted: &Fitted) -> Vec<Score> {
        let Answers { right, confidence, .. } = answers;
        let mut scores = vec![self.mean("top1", right)];
        if answers.log_probabilities.size()[1] > 5 {
            scores.push(self.mean("top5", &answers.right_among_five()));
        }
        scores.push(self.mean_per_class(answers));
        let (ece, mce) = calibration_error(confidence, right, BINS);
        scores.push(self.plain("ece", ece));
        scores.push(self.plain("ece_equal_mass", equal_mass_error(confidence, right, BINS)));
        scores.push(self.plain("mce", mce));
        scores.push(self.loss("nll", answers));
        scores.push(Score { unit: Unit::Number, ..self.mean("brier", &answers.brier()) });
        if let Some((held, labels)) = &fitted.held {
            let temperature = temperature(held, labels);
            let scaled = (&answers.log_probabilities / temperature).log_softmax(1, None);
            let scaled = Answers::of(&scaled, &answers.labels, None);
            let (ece, _) = calibration_error(&scaled.confidence, right, BINS);
            let mut found = [self.plain("ece_scaled", ece), self.loss("nll_scaled", &scaled)];
            let rows = labels.len();
            let how = format!(", scaled by T={temperature:.3} of {rows} held-out rows");
            for score in &mut found {
                score.setting.push_str(&how);
            }
            scores.extend(found);
        }
        scores
    }

    fn shifted(&self, answers: &Answers) -> Vec<Score> {
        let (ece, _) = calibration_error(&answers.confidence, &answers.right, BINS);
        vec![self.mean("top1", &answers.right), self.plain("ece", ece), self.loss("nll", answers)]
    }

    /// A number that is no mean over samples and has no interval: a calibration error of resampled items is larger
    /// than that of the items, for noise adds to it.
    fn plain(&self, metric: &str, value: f64) -> Score {
        let Origin { protocol, version, encoder, start } = self.origin;
        Score {
            setting: self.setting.clone(),
            test: self.test.name.clone(),
            seconds: start.elapsed().as_secs_f64(),
            ..plain_score(protocol, version, metric, value, self.test.rows.y.len(), encoder)
        }
    }

    fn mean(&self, metric: &str, items: &[f64]) -> Score {
        let Origin { protocol, version, encoder, .. } = self.origin;
        match &self.units {
            Units::Items(_) => {
                let found = mean_score(protocol, version, metric, items, encoder);
                Score { interval: found.interval, ..self.plain(metric, found.value) }
            }
            Units::Groups(_) => {
                let items: Vec<_> = items.iter().copied().map(Some).collect();
                self.mean_of_known(metric, &items)
            }
        }
    }

    fn loss(&self, metric: &str, answers: &Answers) -> Score {
        Score { unit: Unit::Number, ..self.mean_of_known(metric, &answers.losses()) }
    }

    /// The mean over the samples that have a value.
    fn mean_of_known(&self, metric: &str, items: &[Option<f64>]) -> Score {
        let samples = items.iter().flatten().count();
        let mean = |chosen: &mut dyn Iterator<Item = Option<f64>>| {
            let (sum, count) = chosen.flatten().fold((0.0, 0.0), |(s, n), it| (s + it, n + 1.0));
            sum / count
        };
        let interval = bootstrap_units(&self.units, RESAMPLES, 0, |chosen| {
            mean(&mut chosen.iter().map(|&item| items[item]))
        });
        let value = mean(&mut items.iter().copied());
        Score { interval: Some(interval), samples, ..self.plain(metric, value) }
    }

    /// The average over classes of the share of their samples that is right; a class without samples has none.
    fn mean_per_class(&self, answers: &Answers) -> Score {
        let mut places = BTreeMap::new();
        for label in &answers.labels {
            let next = places.len();
            places.entry(label).or_insert(next);
        }
        let place: Vec<usize> = answers.labels.iter().map(|label| places[label]).collect();
        let recall = |chosen: &mut dyn Iterator<Item = usize>| {
            let mut counts = vec![(0.0, 0.0); places.len()];
            for item in chosen {
                let (right, all) = &mut counts[place[item]];
                *right += answers.right[item];
                *all += 1.0;
            }
            let present = counts.iter().filter(|(_, all)| *all > 0.0);
            let (sum, count) = present.fold((0.0, 0.0), |(s, n), (r, all)| (s + r / all, n + 1.0));
            sum / count
        };
        let interval = bootstrap_units(&self.units, RESAMPLES, 0, |chosen| {
            recall(&mut chosen.iter().copied())
        });
        let value = recall(&mut (0..answers.labels.len()));
        Score { interval: Some(interval), ..self.plain("mean_per_class", value) }
    }
}

/// The values of a tensor `[N]`.
fn numbers(values: &Tensor) -> Vec<f64> {
    let mut numbers = vec![0.0; values.numel()];
    values.to_kind(Kind::Double).copy_data(&mut numbers, values.numel());
    numbers
}

#[cfg(test)]
mod tests;
