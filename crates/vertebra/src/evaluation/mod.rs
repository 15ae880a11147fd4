//! Frozen features and what is measured on them: k-NN, the linear probe, a map, intervals.
//!
//! Everything here sees a frozen [`Encoder`] or its [`FeatureTable`], never a method. A protocol's number, with
//! its version and its interval, becomes a [`Score`].

pub mod attentive;
mod choosing;
pub mod encoder;
pub mod features;
pub mod finetune;
pub mod knn;
pub mod linear;
pub mod map;
pub mod neighbours;
pub mod statistics;
mod supervised;

use report::record::{Score, Unit};
use serde::{Deserialize, Serialize};
use tch::{Kind, Tensor};

use crate::error::{Error, Result};
pub use attentive::AttentiveConfig;
pub(crate) use choosing::{Trial, best, split};
pub use features::{Cached, Encoder, ExtractOptions, FeatureTable};
pub use finetune::FinetuneConfig;
pub use knn::KnnConfig;
pub use linear::LinearConfig;
pub(crate) use neighbours::nearest;
pub use neighbours::{Neighbour, normalise_rows};
pub(crate) use supervised::{Answers, Epochs, LabelledImages, Supervised, Tally, label_tensor};

/// A way of judging frozen features with labels, and its settings.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case", tag = "protocol")]
pub enum Protocol {
    /// Weighted k-nearest neighbours: nothing is trained.
    Knn(KnnConfig),
    /// A linear classifier trained with SGD.
    Linear(LinearConfig),
}

impl Protocol {
    /// The name that its scores carry.
    pub fn name(&self) -> &'static str {
        match self {
            Self::Knn(_) => "knn",
            Self::Linear(_) => "linear",
        }
    }

    /// Judges `test` with the labels of `train`. `encoder` is the name that the scores carry (`trained`,
    /// `random`...).
    pub fn score(
        &self,
        train: &FeatureTable,
        test: &FeatureTable,
        encoder: &str,
    ) -> Result<Vec<Score>> {
        let outcome = match self {
            Self::Knn(config) => knn::evaluate(train, test, encoder, config)?,
            Self::Linear(config) => linear::evaluate(train, test, encoder, config)?,
        };
        Ok(outcome.scores)
    }
}

/// What a protocol found.
#[derive(Clone, Debug)]
pub struct Outcome {
    /// The first score's value of each test sample, in the table's order: 1 or 0 for a right or a wrong first answer,
    /// the average precision of a query. Its mean is the score. Two encoders' lists on one table can be compared in
    /// pairs (see [`statistics`]). Empty where the score is no mean over samples.
    pub items: Vec<f64>,
    pub scores: Vec<Score>,
}

/// The labelled rows of a training and a test table, and how many classes there are.
pub(crate) struct Task {
    pub train: Labelled,
    pub test: Labelled,
    /// Two or more; labels are in `0..classes`.
    pub classes: usize,
}

/// Rows with a label.
pub(crate) struct Labelled {
    /// `[N, D]`
    pub x: Tensor,
    /// N labels.
    pub y: Vec<u32>,
}

impl Task {
    /// Fails where a table has no labels, or the two do not speak of the same features and classes.
    pub(crate) fn new(train: &FeatureTable, test: &FeatureTable) -> Result<Self> {
        refuse_other_classes(&train.classes, &test.classes)?;
        let (width, found) = (train.x.size()[1], test.x.size()[1]);
        if width != found {
            return Err(Error::Usage {
                problem: format!(
                    "the training features are {width} wide and the test features {found}"
                ),
                hint: Some("extract both with the same encoder".into()),
            });
        }
        let (train_rows, test_rows) = (labelled(train, "training")?, labelled(test, "test")?);
        let names = train.classes.len().max(test.classes.len());
        let classes = count_classes(names, train_rows.y.iter().chain(&test_rows.y))?;
        Ok(Self { train: train_rows, test: test_rows, classes })
    }
}

/// Fails where both sources name their classes, and not the same ones.
pub(crate) fn refuse_other_classes(train: &[String], test: &[String]) -> Result<()> {
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
pub(crate) fn count_classes<'a>(
    names: usize,
    labels: impl Iterator<Item = &'a u32>,
) -> Result<usize> {
    let classes = names.max(labels.max().map_or(0, |&label| label as usize + 1));
    if classes < 2 {
        return Err(Error::Usage {
            problem: "every sample has the same label: there is nothing to tell apart".into(),
            hint: Some("give a source with two classes or more".into()),
        });
    }
    Ok(classes)
}

pub(crate) fn unlabelled(role: &str, samples: usize) -> Error {
    Error::Usage {
        problem: format!(
            "the {role} source has no labels ({samples} samples), and this protocol needs them"
        ),
        hint: Some("give a labelled source, such as a folder with one sub-folder per class".into()),
    }
}

fn labelled(table: &FeatureTable, role: &str) -> Result<Labelled> {
    let (rows, y): (Vec<i64>, Vec<u32>) = table
        .labels
        .iter()
        .enumerate()
        .filter_map(|(row, label)| label.map(|label| (row as i64, label)))
        .unzip();
    if y.is_empty() {
        return Err(unlabelled(role, table.labels.len()));
    }
    let x = if y.len() == table.labels.len() {
        table.x.shallow_clone()
    } else {
        table.x.index_select(0, &Tensor::from_slice(&rows).to_device(table.x.device()))
    };
    Ok(Labelled { x: x.to_kind(Kind::Float), y })
}

fn abridged(names: &[String]) -> String {
    let shown = names.iter().take(3).cloned().collect::<Vec<_>>().join(", ");
    if names.len() > 3 { format!("{shown}… ({} in all)", names.len()) } else { shown }
}

/// The mean of `items`, one for each test sample, as a score with its bootstrap interval; the unit is a share.
pub(crate) fn mean_score(
    protocol: &str,
    version: u32,
    metric: &str,
    items: &[f64],
    encoder: &str,
) -> Score {
    Score {
        protocol: protocol.into(),
        version,
        metric: metric.into(),
        value: items.iter().sum::<f64>() / items.len() as f64,
        interval: Some(statistics::bootstrap_mean(items, statistics::RESAMPLES, 0)),
        samples: items.len(),
        encoder: encoder.into(),
        seconds: 0.0,
        setting: String::new(),
        unit: Unit::Share,
        layer: String::new(),
        test: String::new(),
    }
}

/// The mean of what several seeds scored, `values`, with Student's interval, in the likeness of one seed's score: the
/// metric gets `_over_seeds` behind it. `None` for fewer than two.
pub(crate) fn over_seeds(values: &[f64], one: &Score) -> Option<Score> {
    let statistics::SeedMean { mean, std, half } = statistics::over_seeds(values)?;
    Some(Score {
        metric: format!("{}_over_seeds", one.metric),
        value: mean,
        interval: Some([(mean - half).max(0.0), (mean + half).min(1.0)]),
        setting: format!("{}, {} seeds of deviation {std:.4}", one.setting, values.len()),
        ..one.clone()
    })
}

/// Right and wrong answers as the items of a score.
pub(crate) fn items_of(correct: &[bool]) -> Vec<f64> {
    correct.iter().map(|&right| f64::from(u8::from(right))).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn table(labels: &[Option<u32>], classes: &[&str]) -> FeatureTable {
        FeatureTable {
            x: Tensor::arange(labels.len() as i64 * 2, (Kind::Float, tch::Device::Cpu))
                .view([-1, 2]),
            labels: labels.to_vec(),
            samples: (0..labels.len()).collect(),
            skipped: Vec::new(),
            classes: classes.iter().map(ToString::to_string).collect(),
        }
    }

    #[test]
    fn unlabelled_rows_are_left_out() {
        let train = table(&[Some(0), None, Some(4)], &[]);
        let task = Task::new(&train, &table(&[Some(1)], &[])).unwrap();
        assert_eq!(task.train.y, [0, 4]);
        assert_eq!(Vec::<f32>::try_from(task.train.x.select(1, 0)).unwrap(), [0.0, 4.0]);
        assert_eq!(task.classes, 5);
    }

    #[test]
    fn a_table_without_labels_is_refused_with_a_hint() {
        let error = Task::new(&table(&[Some(0)], &[]), &table(&[None, None], &[])).err().unwrap();
        assert!(error.to_string().contains("the test source has no labels (2 samples)"), "{error}");
        assert!(error.hint().unwrap().contains("one sub-folder per class"));
    }

    #[test]
    fn sources_with_other_classes_are_refused() {
        let error = Task::new(&table(&[Some(0)], &["cat", "dog"]), &table(&[Some(0)], &["dog"]))
            .err()
            .unwrap();
        assert!(error.to_string().contains("cat, dog"), "{error}");
    }

    #[test]
    fn protocols_refuse_unknown_settings() {
        let parse = |text: &str| serde_json::from_str::<Protocol>(text);
        let default = parse(r#"{"protocol": "knn"}"#).unwrap();
        assert_eq!(default, Protocol::Knn(KnnConfig::default()));
        assert!(parse(r#"{"protocol": "knn", "neighbors": 3}"#).is_err());
        assert!(parse(r#"{"protocol": "linear", "epoch": 3}"#).is_err());
    }
}
