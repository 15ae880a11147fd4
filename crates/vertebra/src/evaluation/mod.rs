//! Frozen features and what is measured on them: classifiers fitted on them, retrieval, clustering, numbers without
//! labels, a map, intervals.
//!
//! Everything here sees a frozen [`Encoder`] or its [`FeatureTable`], never a method. A protocol's number, with
//! its version and its interval, becomes a [`Score`].

pub mod attentive;
pub mod classification;
pub mod clustering;
pub mod encoder;
pub mod features;
pub mod finetune;
pub mod finetune_predictor;
pub mod knn;
pub mod label_free;
pub mod linear;
pub mod logistic;
pub mod low_shot;
pub mod map;
pub mod mlp;
pub mod neighbours;
pub mod retrieval;
mod selection;
pub mod statistics;
mod supervised;
mod task;
mod tuning;
pub mod views;
pub mod world_model;

use report::record::{Score, Unit};
use serde::{Deserialize, Serialize};
use tch::Tensor;

use crate::error::{Error, Result};
pub use attentive::AttentiveConfig;
pub(crate) use attentive::Probes;
pub(crate) use classification::{Fitted, Origin, judge, right};
pub use clustering::ClusteringConfig;
pub(crate) use encoder::identity;
pub(crate) use features::POOLED;
pub use features::{Cached, Encoder, ExtractOptions, FeatureTable, Layers};
pub use finetune_predictor::{FinetunePredictorConfig, TuningMode};
pub use knn::KnnConfig;
pub use label_free::LabelFreeConfig;
pub use linear::LinearConfig;
pub use logistic::LogisticConfig;
pub(crate) use logistic::{Limits, Problem};
pub use low_shot::LowShotConfig;
pub use mlp::MlpConfig;
pub(crate) use neighbours::nearest;
pub use neighbours::{Neighbour, normalise_rows};
pub use retrieval::RetrievalConfig;
pub(crate) use selection::{Standard, Trial, best, label_tensor, split};
pub use statistics::RESAMPLES;
pub(crate) use statistics::{
    SeedMean, Units, bootstrap_units, independent_difference, mean_of, over_seeds, units,
};
pub(crate) use supervised::{Answers, Epochs, LabelledImages, Supervised, Tally};
pub(crate) use task::{Labelled, Task, Test, labelled};
pub use tuning::FinetuneConfig;
pub(crate) use tuning::{Setting, Training, adamw, answers, judged, linear_classifier, train};
pub use world_model::{WorldConfig, WorldModel};

/// A way of judging frozen features with labels, and its settings.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case", tag = "protocol")]
pub enum Protocol {
    /// Weighted k-nearest neighbours: nothing is trained.
    Knn(KnnConfig),
    /// A linear classifier trained with SGD.
    Linear(LinearConfig),
    /// A linear classifier at the minimum of its objective, by L-BFGS.
    Logistic(LogisticConfig),
    /// A perceptron with hidden layers, trained with SGD.
    Mlp(MlpConfig),
    /// The logistic classifier of few labelled images.
    LowShot(LowShotConfig),
    /// The test images ranked for each of them, or the training images for each test image where those are others.
    Retrieval(RetrievalConfig),
    /// k-means of the test images.
    Clustering(ClusteringConfig),
    /// Spectra and evenness of the test images' features, without labels.
    LabelFree(LabelFreeConfig),
}

impl Protocol {
    /// The name that its scores carry.
    pub fn name(&self) -> &'static str {
        match self {
            Self::Knn(_) => "knn",
            Self::Linear(_) => "linear",
            Self::Logistic(_) => "logistic",
            Self::Mlp(_) => "mlp",
            Self::LowShot(_) => "low_shot",
            Self::Retrieval(_) => "retrieval",
            Self::Clustering(_) => "clustering",
            Self::LabelFree(_) => "label_free",
        }
    }

    /// Judges test tables with the labels of `train`. Each test has a name: the first is the task's own and is named
    /// "", the others are shifted sets, whose scores carry their names (`sketch`; `fog/3` for a corruption and its
    /// severity). `encoder` is the name that the scores carry (`trained`, `random`...).
    pub fn score(
        &self,
        train: &FeatureTable,
        tests: &[(&str, &FeatureTable)],
        encoder: &str,
    ) -> Result<Outcome> {
        match self {
            Self::Knn(config) => knn::evaluate(train, tests, encoder, config),
            Self::Linear(config) => linear::evaluate(train, tests, encoder, config),
            Self::Logistic(config) => logistic::evaluate(train, tests, encoder, config),
            Self::Mlp(config) => mlp::evaluate(train, tests, encoder, config),
            Self::LowShot(config) => low_shot::evaluate(train, tests, encoder, config),
            Self::Retrieval(_) | Self::Clustering(_) | Self::LabelFree(_) => {
                self.score_each(train, tests, encoder)
            }
        }
    }
}

impl Protocol {
    /// Of protocols that fit nothing: each test table on its own. The items are those of the first.
    fn score_each(
        &self,
        train: &FeatureTable,
        tests: &[(&str, &FeatureTable)],
        encoder: &str,
    ) -> Result<Outcome> {
        let mut found: Option<Outcome> = None;
        for (name, test) in tests {
            let mut outcome = match self {
                Self::Retrieval(config) => retrieval::evaluate(train, test, encoder, config)?,
                Self::Clustering(config) => clustering::evaluate(test, encoder, config)?,
                Self::LabelFree(config) => label_free::evaluate(test, encoder, config)?,
                other => unreachable!("{} fits a classifier", other.name()),
            };
            outcome.scores.iter_mut().for_each(|score| score.test = (*name).into());
            match &mut found {
                Some(found) => found.scores.extend(outcome.scores),
                None => found = Some(outcome),
            }
        }
        found.ok_or_else(|| Error::Usage {
            problem: "there is no test table".into(),
            hint: Some("give one table or more to be tested on".into()),
        })
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

/// The mean of `items`, one for each test sample, as a score with its bootstrap interval; the unit is a share.
pub(crate) fn mean_score(
    protocol: &str,
    version: u32,
    metric: &str,
    items: &[f64],
    encoder: &str,
) -> Score {
    let interval = Some(statistics::bootstrap_mean(items, RESAMPLES, 0));
    let value = statistics::mean(items);
    Score { interval, ..plain_score(protocol, version, metric, value, items.len(), encoder) }
}

/// A number without an interval: no mean over samples.
pub(crate) fn plain_score(
    protocol: &str,
    version: u32,
    metric: &str,
    value: f64,
    samples: usize,
    encoder: &str,
) -> Score {
    Score {
        protocol: protocol.into(),
        version,
        metric: metric.into(),
        value,
        interval: None,
        samples,
        encoder: encoder.into(),
        seconds: 0.0,
        setting: String::new(),
        unit: Unit::Share,
        layer: String::new(),
        test: String::new(),
        task: String::new(),
    }
}

/// A score that is no mean over samples, on a scale of its own, without an interval; `samples` were looked at.
pub(crate) fn number_score(
    protocol: &str,
    version: u32,
    metric: &str,
    value: f64,
    samples: usize,
    encoder: &str,
) -> Score {
    let score = plain_score(protocol, version, metric, value, samples, encoder);
    Score { unit: Unit::Number, ..score }
}

/// Fails where a feature of `role`'s table is not a finite number: comparisons with NaN have no order.
pub(crate) fn expect_finite(x: &Tensor, role: &str) -> Result<()> {
    if x.isfinite().all().int64_value(&[]) == 1 {
        return Ok(());
    }
    Err(Error::Usage {
        problem: format!("the {role} features hold numbers that are not finite"),
        hint: Some("extract them anew; if they stay so, use another checkpoint".into()),
    })
}

/// The numbers that `fixtures/record_evaluation_classifiers.py` has recorded.
#[cfg(test)]
pub(crate) fn recorded() -> serde_json::Value {
    let path = concat!(env!("CARGO_MANIFEST_DIR"), "/../../fixtures/evaluation-classifiers.json");
    serde_json::from_str(&std::fs::read_to_string(path).unwrap()).unwrap()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn protocols_refuse_unknown_settings() {
        let parse = |text: &str| serde_json::from_str::<Protocol>(text);
        let default = parse(r#"{"protocol": "knn"}"#).unwrap();
        assert_eq!(default, Protocol::Knn(KnnConfig::default()));
        assert!(parse(r#"{"protocol": "knn", "neighbors": 3}"#).is_err());
        for name in ["linear", "logistic", "mlp", "low_shot"] {
            assert_eq!(parse(&format!(r#"{{"protocol": "{name}"}}"#)).unwrap().name(), name);
            assert!(parse(&format!(r#"{{"protocol": "{name}", "epoch": 3}}"#)).is_err());
        }
    }
}
