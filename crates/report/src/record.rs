//! The records of a run folder: `journal.jsonl`, `scores.jsonl`, `run.json`, `gallery.json`.
//!
//! Scripts read these files: fields may be added, never renamed.

use std::collections::BTreeMap;
use std::fs::{self, File, OpenOptions};
use std::io::{ErrorKind, Write};
use std::path::{Path, PathBuf};

use serde::de::DeserializeOwned;
use serde::{Deserialize, Deserializer, Serialize};
use serde_json::Value;

use crate::ReportError;

/// One logged step, a line of `journal.jsonl`. JSON has no NaN: a value that is not finite is written as
/// `null` and read as NaN.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct JournalLine {
    /// Optimizer steps done, from 1.
    pub step: u64,
    /// Epochs done, with the fraction.
    #[serde(deserialize_with = "number_or_nan")]
    pub epoch: f64,
    /// The whole loss of this step.
    #[serde(deserialize_with = "number_or_nan")]
    pub loss: f64,
    #[serde(deserialize_with = "number_or_nan")]
    pub lr: f64,
    /// Source images per second since the last line.
    #[serde(deserialize_with = "number_or_nan")]
    pub images_per_s: f64,
    /// Share of the time spent waiting for data since the last line, 0 to 1.
    #[serde(deserialize_with = "number_or_nan")]
    pub data_wait: f64,
    /// The loss's parts under their own names (`invariance`, `variance`...), the norm of the gradient
    /// (`grad_norm`), and the health keys: `representation_std`, `representation_rank`, `embedding_std`,
    /// `embedding_rank`, `knn` (top-1 with labels, 0 to 1), `width` (dimensions of the embedding), and of the embedding with
    /// rows of length 1 `sample_contrastive`, `dimension_contrastive` (Garrido 2023, per pair). Of a world model: `mrr` (does its
    /// predictor apply an action?), `mrr_chance` beside it, and `r2_mean` (do its features keep the colours?).
    #[serde(flatten, deserialize_with = "numbers_only")]
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
    /// A share from 0 to 1, or a plain number: see `unit`.
    pub value: f64,
    /// 95 % interval, [low, high]; `None` where the value is no mean over samples and cannot be resampled.
    pub interval: Option<[f64; 2]>,
    /// How many test samples.
    pub samples: usize,
    /// `trained`, `random`, or a name.
    pub encoder: String,
    pub seconds: f64,
    /// What was chosen on the way, as text: `k=20 T=0.07`, `lr=0.3 wd=0`.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub setting: String,
    #[serde(default, skip_serializing_if = "Unit::is_share")]
    pub unit: Unit,
    /// The activation that was judged, as a tap names it; empty for the representation.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub layer: String,
    /// The shifted or corrupted test set; empty for the task's own.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub test: String,
    /// The name of one of several labelled tasks; empty for the recipe's own, or the only one.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub task: String,
}

/// How a score's value is read.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Unit {
    /// A share of one, shown in per cent.
    #[default]
    Share,
    /// A number of its own scale: an effective rank, an entropy, a cross-entropy in nats.
    Number,
}

impl Unit {
    /// Whether it is the default, which files leave out.
    pub fn is_share(&self) -> bool {
        *self == Self::Share
    }
}

/// What made a run, `run.json`. A field that the file lacks takes its default.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
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
    /// The most memory that training held, in MiB: resident of the process on the CPU, in tensors on a GPU; absent where
    /// the machine does not tell.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub peak_memory_mb: Option<f64>,
    /// Seconds since 1970 when the run began.
    pub started: u64,
    /// Steps of the whole run.
    pub steps: u64,
    /// Processes that trained together; 0 in older records, which means one.
    pub ranks: u64,
    /// `running`, `finished`, `interrupted` or `failed: ...`.
    pub state: String,
    /// Warnings worth a reader's attention: advice on collapse, a fallback that was taken.
    pub advice: Vec<String>,
}

/// Pictures for the report, `gallery.json`.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct Gallery {
    pub views: Vec<ViewRow>,
    pub neighbours: Vec<NeighbourRow>,
    pub map: Option<EmbeddingMap>,
    /// Of a world model: what its predictor imagines.
    #[serde(skip_serializing_if = "Imagination::is_empty")]
    pub imagination: Imagination,
}

/// What a predictor imagines, made visible by the nearest of what there is.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct Imagination {
    /// What one sees, in plain words.
    pub about: String,
    pub rows: Vec<ImaginedRow>,
}

impl Imagination {
    pub fn is_empty(&self) -> bool {
        self.rows.is_empty()
    }
}

/// An image, and what was asked of it.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct ImaginedRow {
    pub source: Picture,
    pub asked: Vec<Imagined>,
}

/// One question, its true answer and the pictures nearest to the prediction.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Imagined {
    /// The caption says what was asked for.
    pub truth: Picture,
    /// Nearest first.
    pub found: Vec<Picture>,
    /// Whether the first of them is the true answer.
    pub right: bool,
}

/// An image and its random views.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct ViewRow {
    pub source: Picture,
    /// Each caption is the view's record in words.
    pub views: Vec<Picture>,
}

/// A query and its nearest images, nearest first. A neighbour's caption is its similarity: `0.93`.
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

/// Adds `value` as one line to the JSON-lines file `path`, which is made when it is not there.
/// The line goes out in a single write, so that a kill leaves at most one torn line, at the end.
/// A torn line that an earlier kill left is ended first: it stays alone in its ruin.
pub fn append(path: &Path, value: &impl Serialize) -> Result<(), ReportError> {
    let mut line = Vec::new();
    if ends_in_the_middle_of_a_line(path) {
        line.push(b'\n');
    }
    serde_json::to_writer(&mut line, value)
        .map_err(|cause| ReportError::Json { path: path.to_owned(), cause })?;
    line.push(b'\n');
    OpenOptions::new()
        .create(true)
        .append(true)
        .open(path)
        .and_then(|mut file| file.write_all(&line))
        .map_err(ReportError::file("append to", path))
}

/// What [`read_lines`] found.
#[derive(Clone, Debug, PartialEq)]
pub struct Lines<T> {
    /// The lines that could be read, in order.
    pub values: Vec<T>,
    /// How many lines could not: torn by a kill, or of another form.
    pub dropped: usize,
}

/// Reads a JSON-lines file and drops every line that is not a whole `T`, such as the last one of a run that
/// was killed. A missing file is an error ([`ReportError::File`]); an empty one is not.
pub fn read_lines<T: DeserializeOwned>(path: &Path) -> Result<Lines<T>, ReportError> {
    let bytes = fs::read(path).map_err(ReportError::file("read", path))?;
    let mut lines = Lines { values: Vec::new(), dropped: 0 };
    for line in bytes.split(|&byte| byte == b'\n').filter(|line| !line.trim_ascii().is_empty()) {
        match serde_json::from_slice(line) {
            Ok(value) => lines.values.push(value),
            Err(_) => lines.dropped += 1,
        }
    }
    Ok(lines)
}

/// Writes `value` as a JSON file that is either whole or not there: see [`write_atomically`].
pub fn write_json(path: &Path, value: &impl Serialize) -> Result<(), ReportError> {
    let mut bytes = serde_json::to_vec_pretty(value)
        .map_err(|cause| ReportError::Json { path: path.to_owned(), cause })?;
    bytes.push(b'\n');
    write_atomically(path, &bytes)
}

/// Reads a JSON file.
pub fn read_json<T: DeserializeOwned>(path: &Path) -> Result<T, ReportError> {
    let bytes = fs::read(path).map_err(ReportError::file("read", path))?;
    serde_json::from_slice(&bytes)
        .map_err(|cause| ReportError::Json { path: path.to_owned(), cause })
}

/// Writes a file whole or not at all: into a temporary file beside it, to the disk, then renamed.
/// The old file, if any, stays until the new one is complete.
pub fn write_atomically(path: &Path, bytes: &[u8]) -> Result<(), ReportError> {
    let temporary = beside(path);
    let written = File::create(&temporary)
        .and_then(|mut file| file.write_all(bytes).and_then(|()| file.sync_all()))
        .and_then(|()| fs::rename(&temporary, path));
    if written.is_err() {
        // The first failure is the one to report; a leftover that cannot be removed says nothing more.
        let _ = fs::remove_file(&temporary);
    }
    written.map_err(ReportError::file("write", path))?;
    sync_folder(path)
}

/// `report.html` → `.report.html.4711.tmp`: the process is in the name, for two may write at once.
fn beside(path: &Path) -> PathBuf {
    let name = path.file_name().unwrap_or_default().to_string_lossy();
    path.with_file_name(format!(".{name}.{}.tmp", std::process::id()))
}

/// A rename is durable only when its folder is on the disk too.
fn sync_folder(path: &Path) -> Result<(), ReportError> {
    let folder = match path.parent() {
        Some(parent) if !parent.as_os_str().is_empty() => parent,
        _ => Path::new("."),
    };
    match File::open(folder).and_then(|folder| folder.sync_all()) {
        // Some file systems cannot sync a folder; the rename is done all the same.
        Err(cause) if !matches!(cause.kind(), ErrorKind::InvalidInput | ErrorKind::Unsupported) => {
            Err(ReportError::File { action: "write", path: path.to_owned(), cause })
        }
        _ => Ok(()),
    }
}

fn ends_in_the_middle_of_a_line(path: &Path) -> bool {
    use std::io::{Read, Seek, SeekFrom};
    let mut last = [0];
    File::open(path)
        .and_then(|mut file| {
            file.seek(SeekFrom::End(-1))?;
            file.read_exact(&mut last)
        })
        .is_ok_and(|()| last != [b'\n'])
}

fn number_or_nan<'de, D: Deserializer<'de>>(from: D) -> Result<f64, D::Error> {
    Ok(Option::deserialize(from)?.unwrap_or(f64::NAN))
}

/// Keeps the numbers of an object; what a later version adds as text or lists is not for the curves.
fn numbers_only<'de, D: Deserializer<'de>>(from: D) -> Result<BTreeMap<String, f64>, D::Error> {
    let values = BTreeMap::<String, Value>::deserialize(from)?;
    Ok(values
        .into_iter()
        .filter_map(|(name, value)| match value {
            Value::Null => Some((name, f64::NAN)),
            value => value.as_f64().map(|number| (name, number)),
        })
        .collect())
}
