//! How a protocol that trains chooses its setting: on a tenth of the training rows, and never on the test rows.

use pixels::draw::{Draw, Purpose};

/// One in so many training rows is held out to choose the setting.
const HELD_OUT: usize = 10;

/// How one setting did on held-out rows.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) struct Trial {
    pub accuracy: f64,
    /// Mean cross-entropy in nats; not finite where training diverged.
    pub loss: f64,
}

/// Rows to learn from and rows held out: every tenth of a random order within classes, so that each class gives
/// its share.
pub(crate) fn split(labels: &[u32], seed: u64) -> (Vec<usize>, Vec<usize>) {
    let mut order = Draw::of_seed(seed).stream(Purpose::Split).permutation(labels.len());
    order.sort_by_key(|&row| labels[row]);
    let place = labels.len().min(HELD_OUT) / 2;
    let (mut learned, mut held) = (Vec::new(), Vec::new());
    for (index, row) in order.into_iter().enumerate() {
        let part =
            if index % HELD_OUT == place && labels.len() > 1 { &mut held } else { &mut learned };
        part.push(row);
    }
    (learned, held)
}

/// The trial of the best accuracy, of equal ones that of the lowest cross-entropy. Those that diverged are out;
/// `None` where all did.
pub(crate) fn best(trials: &[Trial]) -> Option<usize> {
    let sound = (0..trials.len()).filter(|&index| trials[index].loss.is_finite());
    sound.min_by(|&a, &b| {
        let (a, b) = (&trials[a], &trials[b]);
        b.accuracy.total_cmp(&a.accuracy).then(a.loss.total_cmp(&b.loss))
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_lower_loss_decides_between_equals_and_what_diverged_is_out() {
        let trial = |accuracy, loss| Trial { accuracy, loss };
        let trials = [trial(1.0, f64::NAN), trial(0.8, 0.9), trial(0.8, 0.5), trial(0.7, 0.1)];
        assert_eq!(best(&trials), Some(2));
        assert_eq!(best(&trials[..1]), None);
    }
}
