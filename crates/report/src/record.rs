//! The records of a run folder: `journal.jsonl`, `scores.jsonl`, `run.json`, `gallery.json`.
//!
//! Scripts read these files: fields may be added, never renamed.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

/// One logged step, a line of `journal.jsonl`.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct JournalLine {
    /// Optimizer steps done, from 1.
    pub step: u64,
    /// Epochs done, with the fraction.
    pub epoch: f64,
    /// The whole loss of this step.
    pub loss: f64,
    pub lr: f64,
    /// Source images per second since the last line.
    pub images_per_s: f64,
    /// Share of the time spent waiting for data since the last line, 0 to 1.
    pub data_wait: f64,
    /// The loss's parts under their own names (`invariance`, `variance`...), the norm of the gradient
    /// (`grad_norm`), and the health keys: `representation_std`, `representation_rank`, `embedding_std`,
    /// `embedding_rank`, `knn` (top-1 with labels, 0 to 1).
    #[serde(flatten)]
    pub values: BTreeMap<String, f64>,
}

/// One result of one protocol, a line of `scores.jsonl`.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Score {
    /// `knn`, `linear`...
    pub protocol: String,
    /// Scores of different versions are not comparable.
    pub version: u32,
    /// `top1`...
    pub metric: String,
    /// 0 to 1.
    pub value: f64,
    /// 95 % interval, [low, high].
    pub interval: [f64; 2],
    /// How many test samples.
    pub samples: usize,
    /// `trained`, `random`, or a name.
    pub encoder: String,
    pub seconds: f64,
    /// What was chosen on the way, as text: `k=20 T=0.07`, `lr=0.3 wd=0`.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub setting: String,
}

/// What made a run, `run.json`.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct RunInfo {
    /// The command as typed.
    pub command: String,
    /// `VICReg, ResNet-18 on world:...`: one line for people.
    pub title: String,
    /// Version of the program and the commit it was built from.
    pub version: String,
    pub commit: String,
    /// Processor or GPU, cores, memory.
    pub machine: String,
    pub device: String,
    /// `bf16` or `fp32`.
    pub precision: String,
    /// Trainable parameters.
    pub parameters: u64,
    /// Images in the training source, and how many were skipped so far.
    pub images: u64,
    pub skipped: u64,
    /// Seconds of training so far, over all resumptions.
    pub seconds: f64,
    /// Seconds since 1970 when the run began.
    pub started: u64,
    /// Steps of the whole run.
    pub steps: u64,
    /// `running`, `finished`, `interrupted` or `failed: ...`.
    pub state: String,
    /// Warnings worth a reader's attention: advice on collapse, a fallback that was taken.
    pub advice: Vec<String>,
}

/// Pictures for the report, `gallery.json`.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Gallery {
    pub views: Vec<ViewRow>,
    pub neighbours: Vec<NeighbourRow>,
    pub map: Option<EmbeddingMap>,
}

/// An image and its random views.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct ViewRow {
    pub source: Picture,
    /// Each caption is the view's record in words.
    pub views: Vec<Picture>,
}

/// A query and its nearest images, nearest first.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct NeighbourRow {
    pub query: Picture,
    pub neighbours: Vec<Picture>,
}

/// A small picture in the page.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Picture {
    /// A PNG file, base64.
    pub png: String,
    pub caption: String,
    /// Class name, where there is one.
    pub label: Option<String>,
}

/// Embeddings in the plane.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct EmbeddingMap {
    /// How it was made: `PCA, 31 % + 12 % of the variance`.
    pub title: String,
    pub points: Vec<[f32; 2]>,
    /// Index into `classes` for each point; empty without labels.
    pub labels: Vec<u32>,
    pub classes: Vec<String>,
}
