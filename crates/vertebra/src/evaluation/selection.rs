//! Choosing a setting on held-out training rows: the test table is looked at once, when all is chosen.

use pixels::draw::{Draw, Purpose};
use tch::{Device, Kind, Tensor};

use super::{Labelled, units};

/// One in so many training rows is held out.
const HELD_OUT: usize = 10;

/// Added to a dimension's variance, as a share of its squared mean: what varies by less than 1e-5 of itself is
/// rounding. (MAE adds 1e-6 to all, which would drown dimensions of small scale.)
const VARIANCE_SHARE: f64 = 1e-10;

/// How one setting did on held-out rows.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Trial {
    pub accuracy: f64,
    /// Mean cross-entropy in nats; not finite where training diverged.
    pub loss: f64,
}

impl Trial {
    /// Of the log-probabilities `[n, C]` of rows with `labels`.
    pub(crate) fn of(log_probabilities: &Tensor, labels: &[u32]) -> Self {
        let labels = label_tensor(labels, log_probabilities.device());
        let own = log_probabilities.gather(1, &labels.unsqueeze(1), false);
        let right = log_probabilities.argmax(1, false).eq_tensor(&labels);
        let mean =
            |values: &Tensor| values.to_kind(Kind::Double).mean(Kind::Double).double_value(&[]);
        Self { accuracy: mean(&right), loss: -mean(&own) }
    }

    /// Whether it is the better one: a higher accuracy, of equal ones a lower cross-entropy. Divergence never is.
    pub(crate) fn beats(self, other: Option<Self>) -> bool {
        let Some(other) = other else { return self.loss.is_finite() };
        let order = self.accuracy.total_cmp(&other.accuracy).then(other.loss.total_cmp(&self.loss));
        self.loss.is_finite() && order.is_gt()
    }
}

impl Labelled {
    /// See [`split`].
    pub(crate) fn split(&self, seed: u64) -> (Vec<usize>, Vec<usize>) {
        split(&self.y, &self.groups, seed)
    }

    pub(crate) fn pick(&self, wanted: &[usize]) -> Self {
        let index: Vec<i64> = wanted.iter().map(|&row| row as i64).collect();
        let x = self.x.index_select(0, &Tensor::from_slice(&index).to_device(self.x.device()));
        let group = |row: &usize| self.groups.get(*row).copied();
        let groups = wanted.iter().filter_map(group).collect();
        let y = wanted.iter().map(|&row| self.y[row]).collect();
        let samples = wanted.iter().map(|&row| self.samples[row]).collect();
        Self { x, y, groups, samples }
    }
}

/// Rows to learn from and rows held out, as indices: every tenth of a random order within classes, so that each class
/// gives its share. Groups (the images of one patient) stay whole; each counts with the class of its first row. Nothing
/// is held out of a single row or group. `groups` is empty, or has an entry for each of the `labels`.
pub(crate) fn split(labels: &[u32], groups: &[Option<u64>], seed: u64) -> (Vec<usize>, Vec<usize>) {
    let units = units(groups, labels.len());
    let mut order = Draw::of_seed(seed).stream(Purpose::Split).permutation(units.len());
    order.sort_by_key(|&unit| labels[units[unit][0]]);
    let place = units.len().min(HELD_OUT) / 2;
    let (mut learned, mut held) = (Vec::new(), Vec::new());
    for (index, unit) in order.into_iter().enumerate() {
        let out = index % HELD_OUT == place && units.len() > 1;
        let part = if out { &mut held } else { &mut learned };
        part.extend_from_slice(&units[unit]);
    }
    (learned, held)
}

/// The trial that beats all others, the first of equals; `None` where all diverged.
pub(crate) fn best(trials: &[Trial]) -> Option<usize> {
    let mut best: Option<usize> = None;
    for (index, trial) in trials.iter().enumerate() {
        if trial.beats(best.map(|best| trials[best])) {
            best = Some(index);
        }
    }
    best
}

/// What makes the features of each dimension have mean 0 and deviation 1 over some rows.
pub(crate) struct Standard {
    /// Mean and 1 / deviation, `[D]`.
    mean: Tensor,
    scale: Tensor,
}

impl Standard {
    /// Over the rows of `x [N, D]`.
    pub(crate) fn of(x: &Tensor) -> Self {
        let mean = x.mean_dim([0i64].as_slice(), false, Kind::Float);
        let variance = x.var_dim([0i64].as_slice(), false, false);
        let floor = mean.square() * VARIANCE_SHARE;
        // Features that never change at all have no deviation: they stay 0.
        let scale = (variance + floor).clamp_min(1e-30).rsqrt();
        Self { mean, scale }
    }

    /// D.
    pub(crate) fn width(&self) -> i64 {
        self.mean.size()[0]
    }

    pub(crate) fn copy(&self) -> Self {
        Self { mean: self.mean.shallow_clone(), scale: self.scale.shallow_clone() }
    }

    /// Rows `[n, D]` in this measure.
    pub(crate) fn apply(&self, x: &Tensor) -> Tensor {
        (x - &self.mean) * &self.scale
    }
}

/// Labels as indices `[N]`, i64.
pub(crate) fn label_tensor(labels: &[u32], device: Device) -> Tensor {
    let labels: Vec<i64> = labels.iter().map(|&label| i64::from(label)).collect();
    Tensor::from_slice(&labels).to_device(device)
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;

    fn rows(y: Vec<u32>, groups: Vec<Option<u64>>) -> Labelled {
        let x = Tensor::zeros([y.len() as i64, 1], (Kind::Float, Device::Cpu));
        let samples = (0..y.len()).collect();
        Labelled { x, y, groups, samples }
    }

    #[test]
    fn every_class_gives_its_share_to_the_held_out_rows() {
        let rows = rows((0..400).map(|row| u32::from(row % 4 == 0)).collect(), Vec::new());
        let (learned, held) = rows.split(5);
        let of_class_one = held.iter().filter(|&&row| rows.y[row] == 1).count();
        assert_eq!((learned.len(), held.len(), of_class_one), (360, 40, 10));
        let mut all = [learned, held.clone()].concat();
        all.sort_unstable();
        assert!(all.into_iter().eq(0..400));
        assert_eq!(held, rows.split(5).1);
        assert_ne!(held, rows.split(6).1);
    }

    #[test]
    fn small_tables_hold_out_one_row() {
        assert_eq!(rows(vec![0, 1], Vec::new()).split(0).1.len(), 1);
        assert_eq!(rows(vec![0; 9], Vec::new()).split(0).1.len(), 1);
        assert_eq!(rows(vec![0], Vec::new()).split(0).1.len(), 0);
    }

    #[test]
    fn no_group_is_divided() {
        // Forty groups of three rows, and ten rows alone.
        let groups: Vec<_> = (0..130).map(|row| (row < 120).then_some(row as u64 % 40)).collect();
        let rows = rows((0..130).map(|row| row % 2).collect(), groups);
        let (learned, held) = rows.split(3);
        let groups = |part: &[usize]| -> BTreeSet<u64> {
            part.iter().filter_map(|&row| rows.groups[row]).collect()
        };
        assert!(groups(&learned).is_disjoint(&groups(&held)));
        // Five of fifty units.
        assert!((5..=15).contains(&held.len()) && !groups(&held).is_empty(), "{held:?}");
        assert_eq!(learned.len() + held.len(), 130);
        assert_eq!(rows.pick(&held).groups.len(), held.len());
    }

    #[test]
    fn accuracy_comes_before_cross_entropy_and_divergence_never_wins() {
        let trial = |accuracy, loss| Trial { accuracy, loss };
        assert!(trial(0.5, 9.0).beats(None) && !trial(1.0, f64::NAN).beats(None));
        assert!(trial(0.6, 9.0).beats(Some(trial(0.5, 1.0))));
        assert!(trial(0.5, 0.9).beats(Some(trial(0.5, 1.0))));
        assert!(!trial(0.5, 1.0).beats(Some(trial(0.5, 1.0))));
        assert!(!trial(0.9, f64::INFINITY).beats(Some(trial(0.5, 1.0))));
    }
}
