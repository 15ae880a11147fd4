//! Checkpoints: named tensors plus a header, written whole or not at all.

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};

use pixels::plan::Preprocess;
use serde::{Deserialize, Serialize};
use tch::Tensor;

use crate::error::{Error, Result};
use crate::models::vit::predictor::PredictorSpec;
use crate::models::{BackboneConfig, weights};

/// How many checkpoints of a run are kept: the newest, and one to fall back to.
const KEPT: usize = 2;
/// The key of the header in a file's metadata.
const HEADER: &str = "vertebra";
const MODEL: &str = "model.";
const OPTIMIZER: &str = "optimizer.";

/// Where a run stands: enough to go on as if nothing had happened.
#[derive(Debug)]
pub struct Checkpoint {
    pub header: Header,
    /// The method's variables, by name.
    pub model: BTreeMap<String, Tensor>,
    /// The optimizer's state, by name.
    pub optimizer: BTreeMap<String, Tensor>,
}

/// What a checkpoint says of itself.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Header {
    pub format: u32,
    /// Optimizer steps done.
    pub step: u64,
    /// Seconds of training so far.
    pub seconds: f64,
    pub encoder: EncoderSpec,
}

/// What is needed to use the encoder inside a checkpoint without the recipe.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct EncoderSpec {
    pub backbone: BackboneConfig,
    pub channels: usize,
    pub preprocess: Preprocess,
    /// What the names of its variables begin with, among those of the method.
    #[serde(default = "student")]
    pub variables: String,
    /// Of a world model: the predictor that is kept beside it, whose names begin with `predictor.`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub predictor: Option<PredictorSpec>,
}

impl EncoderSpec {
    /// A backbone by itself.
    pub fn new(backbone: BackboneConfig, channels: usize, preprocess: Preprocess) -> Self {
        Self { backbone, channels, preprocess, variables: student(), predictor: None }
    }
}

fn student() -> String {
    "backbone.".into()
}

impl Checkpoint {
    /// The version of the layout that this program writes and reads.
    pub const FORMAT: u32 = 1;

    /// Writes `checkpoints/step-NNNNNNNN.safetensors` and removes all but the newest two.
    pub fn save(&self, folder: &Path) -> Result<PathBuf> {
        fs::create_dir_all(folder).map_err(Error::file("create", folder))?;
        let path = folder.join(format!("step-{:08}.safetensors", self.header.step));
        let prefixed = |prefix: &'static str, tensors: &BTreeMap<String, Tensor>| {
            let rename = |(name, tensor): (&String, &Tensor)| {
                (format!("{prefix}{name}"), tensor.shallow_clone())
            };
            tensors.iter().map(rename).collect::<Vec<_>>()
        };
        let tensors = prefixed(MODEL, &self.model)
            .into_iter()
            .chain(prefixed(OPTIMIZER, &self.optimizer))
            .collect();
        let header = serde_json::to_string(&self.header).expect("a header of plain fields");
        weights::save(&path, &tensors, &BTreeMap::from([(HEADER.to_string(), header)]))?;
        for old in list(folder)?.iter().rev().skip(KEPT) {
            fs::remove_file(old).map_err(Error::file("remove", old))?;
        }
        Ok(path)
    }

    /// Reads one checkpoint; a damaged one is an error.
    pub fn load(path: &Path) -> Result<Self> {
        let damaged =
            |problem: String| Error::Damaged { what: "checkpoint", path: path.into(), problem };
        let (tensors, metadata) = weights::load(path).map_err(|error| match error {
            Error::Damaged { problem, .. } => damaged(problem),
            other => other,
        })?;
        Self::from_parts(path, tensors, &metadata)
    }

    /// Whether a file with this metadata is a checkpoint.
    pub fn is_of(metadata: &BTreeMap<String, String>) -> bool {
        metadata.contains_key(HEADER)
    }

    /// The same of a file that was read already.
    pub fn from_parts(
        path: &Path,
        tensors: BTreeMap<String, Tensor>,
        metadata: &BTreeMap<String, String>,
    ) -> Result<Self> {
        let damaged =
            |problem: String| Error::Damaged { what: "checkpoint", path: path.into(), problem };
        let header = metadata.get(HEADER).ok_or_else(|| damaged("it has no header".into()))?;
        let header: Header = serde_json::from_str(header)
            .map_err(|error| damaged(format!("its header cannot be read ({error})")))?;
        if header.format != Self::FORMAT {
            let problem = format!("it has format {}, expected {}", header.format, Self::FORMAT);
            return Err(damaged(problem));
        }
        let (mut model, mut optimizer) = (BTreeMap::new(), BTreeMap::new());
        for (name, tensor) in tensors {
            if let Some(name) = name.strip_prefix(MODEL) {
                model.insert(name.to_string(), tensor);
            } else if let Some(name) = name.strip_prefix(OPTIMIZER) {
                optimizer.insert(name.to_string(), tensor);
            } else {
                return Err(damaged(format!("`{name}` belongs to no part")));
            }
        }
        Ok(Self { header, model, optimizer })
    }

    /// The newest checkpoint of a folder that can be read, and the errors of newer ones that cannot. `None` when the
    /// folder has none at all; when all are damaged, the newest one's error.
    pub fn newest(folder: &Path) -> Result<Option<(PathBuf, Self, Vec<Error>)>> {
        let mut damaged = Vec::new();
        for path in list(folder)?.into_iter().rev() {
            match Self::load(&path) {
                Ok(checkpoint) => return Ok(Some((path, checkpoint, damaged))),
                Err(error) => damaged.push(error),
            }
        }
        match damaged.into_iter().next() {
            Some(error) => Err(error),
            None => Ok(None),
        }
    }
}

/// The checkpoints of a folder, oldest first; empty when there is no folder.
pub fn list(folder: &Path) -> Result<Vec<PathBuf>> {
    let entries = match fs::read_dir(folder) {
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(Vec::new()),
        other => other.map_err(Error::file("list", folder))?,
    };
    let mut found = Vec::new();
    for entry in entries {
        let path = entry.map_err(Error::file("list", folder))?.path();
        let name = path.file_name().unwrap_or_default().to_string_lossy();
        if name.starts_with("step-") && name.ends_with(".safetensors") {
            found.push(path);
        }
    }
    found.sort();
    Ok(found)
}
