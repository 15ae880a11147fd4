//! What protocols share that learn from images and not from a table of features: the labelled samples of two
//! sources, how far they are, and the scores of what a classifier answered.

use std::sync::Arc;

use pixels::source::Source;
use tch::{Kind, Tensor};

use super::{Outcome, Trial, mean_score};
use crate::error::{Error, Result};

/// Labelled images to learn from, others to be tested on, and how many classes there are.
pub(crate) struct Supervised {
    pub train: LabelledImages,
    pub test: LabelledImages,
    /// Two or more; labels are in `0..classes`. A class without a training image is never answered.
    pub classes: usize,
}

/// Samples of a source with their labels.
pub(crate) struct LabelledImages {
    pub source: Arc<dyn Source>,
    pub samples: Vec<usize>,
    pub labels: Vec<u32>,
}

/// Counts the epochs of all trainings of a protocol, for whoever shows them.
pub(crate) struct Epochs<'a> {
    done: usize,
    all: usize,
    tell: &'a mut dyn FnMut(usize, usize, f64),
}

/// How a classifier does, while it answers.
#[derive(Default)]
pub(crate) struct Tally {
    right: f64,
    loss: f64,
    answered: usize,
}

/// The answers of a classifier to test images.
pub(crate) struct Answers {
    /// `[N, K]`, f32, on the CPU.
    pub log_probabilities: Tensor,
    /// N labels.
    pub labels: Tensor,
}

impl Supervised {
    /// Fails where a source has no labels, where the two do not speak of the same classes, or are one and the same.
    pub(crate) fn new(train: &Arc<dyn Source>, test: &Arc<dyn Source>) -> Result<Self> {
        refuse_other_classes(train.classes(), test.classes())?;
        if Arc::ptr_eq(train, test) || train.fingerprint() == test.fingerprint() {
            return Err(Error::Usage {
                problem: "the training and the test source are the same: the encoder would be judged on what it \
                          learned"
                    .into(),
                hint: Some("give another source as test".into()),
            });
        }
        let (train, test) =
            (LabelledImages::of(train, "training")?, LabelledImages::of(test, "test")?);
        let names = train.source.classes().len().max(test.source.classes().len());
        let classes = count_classes(names, train.labels.iter().chain(&test.labels))?;
        Ok(Self { train, test, classes })
    }
}

impl LabelledImages {
    fn of(source: &Arc<dyn Source>, role: &str) -> Result<Self> {
        let (samples, labels): (Vec<usize>, Vec<u32>) = (0..source.len())
            .filter_map(|sample| source.label(sample).map(|label| (sample, label)))
            .unzip();
        if samples.is_empty() {
            return Err(unlabelled(role, source.len()));
        }
        Ok(Self { source: source.clone(), samples, labels })
    }

    /// The group of each, where the source has groups.
    pub(crate) fn groups(&self) -> Vec<Option<u64>> {
        self.samples.iter().map(|&sample| self.source.group(sample)).collect()
    }

    /// Some of them, by row.
    pub(crate) fn pick(&self, rows: &[usize]) -> Self {
        Self {
            source: self.source.clone(),
            samples: rows.iter().map(|&row| self.samples[row]).collect(),
            labels: rows.iter().map(|&row| self.labels[row]).collect(),
        }
    }
}

impl<'a> Epochs<'a> {
    /// `all` epochs are to come.
    pub(crate) fn new(all: usize, tell: &'a mut dyn FnMut(usize, usize, f64)) -> Self {
        Self { done: 0, all, tell }
    }

    /// `count` epochs are over, the last with this mean loss.
    pub(crate) fn over(&mut self, count: usize, loss: f64) {
        self.done += count;
        (self.tell)(self.done, self.all, loss);
    }
}

impl Tally {
    /// `logits`: `[n, K]`, `labels`: `[n]`.
    pub(crate) fn add(&mut self, logits: &Tensor, labels: &Tensor) {
        let sum = |values: &Tensor| values.sum(Kind::Double).double_value(&[]);
        let log_probabilities = logits.log_softmax(-1, Kind::Float);
        self.loss -= sum(&log_probabilities.gather(1, &labels.unsqueeze(1), false));
        self.right += sum(&logits.argmax(1, false).eq_tensor(labels));
        self.answered += labels.size()[0] as usize;
    }

    pub(crate) fn trial(&self) -> Trial {
        let n = self.answered as f64;
        Trial { accuracy: self.right / n, loss: self.loss / n }
    }
}

impl Answers {
    /// How well they fit the labels; a trial without answers has diverged.
    pub(crate) fn trial(answers: Option<&Self>) -> Trial {
        let mut tally = Tally::default();
        if let Some(Self { log_probabilities, labels }) = answers {
            tally.add(log_probabilities, labels);
        }
        tally.trial()
    }

    /// Top-1 accuracy, and top-5 where there are more than five classes.
    pub(crate) fn outcome(&self, protocol: &str, version: u32, encoder: &str) -> Outcome {
        let (first, fifth) = self.right_among_five();
        let items = items_of(&first);
        let mut scores = vec![mean_score(protocol, version, "top1", &items, encoder)];
        if self.log_probabilities.size()[1] > 5 {
            scores.push(mean_score(protocol, version, "top5", &items_of(&fifth), encoder));
        }
        Outcome { items, scores }
    }

    /// Whether the right class is the first answer, and whether it is among the first five.
    fn right_among_five(&self) -> (Vec<bool>, Vec<bool>) {
        let (answers, labels) = (&self.log_probabilities, self.labels.unsqueeze(1));
        let right = answers.gather(1, &labels, false);
        // Of equal answers the lower class comes first.
        let classes = Tensor::arange(answers.size()[1], (Kind::Int64, answers.device()));
        let tied = answers.eq_tensor(&right).logical_and(&classes.unsqueeze(0).lt_tensor(&labels));
        let ahead = answers.gt_tensor(&right).logical_or(&tied);
        let ranks = ahead.sum_dim_intlist([1i64].as_slice(), false, Kind::Int64);
        (0..ranks.size()[0])
            .map(|row| ranks.int64_value(&[row]))
            .map(|rank| (rank == 0, rank < 5))
            .unzip()
    }
}

/// Fails where both sources name their classes, and not the same ones: the head that is learned has an output for each.
fn refuse_other_classes(train: &[String], test: &[String]) -> Result<()> {
    if train.is_empty() || test.is_empty() || train == test {
        return Ok(());
    }
    Err(Error::Usage {
        problem: format!(
            "the training source has the classes {} and the test source {}",
            abridged(train),
            abridged(test)
        ),
        hint: Some("give both sources the same class folders, with the same names".into()),
    })
}

/// As many classes as have names, or as the labels tell of if those are more. Fails for fewer than two.
fn count_classes<'a>(names: usize, labels: impl Iterator<Item = &'a u32>) -> Result<usize> {
    let classes = names.max(labels.max().map_or(0, |&label| label as usize + 1));
    if classes < 2 {
        return Err(Error::Usage {
            problem: "every sample has the same label: there is nothing to tell apart".into(),
            hint: Some("give a source with two classes or more".into()),
        });
    }
    Ok(classes)
}

fn unlabelled(role: &str, samples: usize) -> Error {
    Error::Usage {
        problem: format!(
            "the {role} source has no labels ({samples} samples), and this protocol needs them"
        ),
        hint: Some("give a labelled source, such as a folder with one sub-folder per class".into()),
    }
}

fn abridged(names: &[String]) -> String {
    let shown = names.iter().take(3).cloned().collect::<Vec<_>>().join(", ");
    if names.len() > 3 { format!("{shown}… ({} in all)", names.len()) } else { shown }
}

fn items_of(correct: &[bool]) -> Vec<f64> {
    correct.iter().map(|&right| f64::from(u8::from(right))).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_tally_of_answers_is_their_accuracy_and_cross_entropy() {
        let logits = Tensor::from_slice(&[2f32, 0.0, 0.0, 2.0, 0.0, 2.0]).view([3, 2]);
        let mut tally = Tally::default();
        tally.add(&logits.narrow(0, 0, 2), &Tensor::from_slice(&[0i64, 1]));
        tally.add(&logits.narrow(0, 2, 1), &Tensor::from_slice(&[0i64]));
        let Trial { accuracy, loss } = tally.trial();
        assert!((accuracy - 2.0 / 3.0).abs() < 1e-15);
        // ln(1 + e⁻²) twice and ln(1 + e²) once; f32 logits.
        assert!((loss - (2.0 * 0.126_928_0 + 2.126_928_0) / 3.0).abs() < 1e-6, "{loss}");
    }

    #[test]
    fn of_equal_answers_the_lower_class_comes_first() {
        let answers = Answers {
            log_probabilities: Tensor::zeros([2, 7], (Kind::Float, tch::Device::Cpu)),
            labels: Tensor::from_slice(&[4i64, 5]),
        };
        let outcome = answers.outcome("p", 1, "x");
        assert_eq!(outcome.items, [0.0, 0.0]);
        assert_eq!(outcome.scores[1].metric, "top5");
        assert_eq!(outcome.scores[1].value, 0.5);
    }
}
