use std::path::{Path, PathBuf};

use clap::ValueEnum;
use serde_json::json;
use vertebra::evaluation::{
    KnnConfig, LinearConfig, LogisticConfig, LowShotConfig, MlpConfig, Protocol, encoder,
};
use vertebra::scoring;

use super::Compute;
use crate::show::Screen;

/// Judge a frozen encoder with labelled images: k nearest neighbours, or a classifier fitted on its features.
///
/// The same network with random weights is judged beside it, because a score without that baseline says little.
#[derive(clap::Args)]
pub struct Probe {
    /// How to judge.
    protocol: ProtocolName,
    /// A run folder, a checkpoint, or ARCH=FILE (resnet50=weights.safetensors).
    encoder: String,
    /// Labelled images to learn from: a folder with one sub-folder per class, or a URI.
    #[arg(long, value_name = "URI")]
    train: String,
    /// Labelled images to be tested on.
    #[arg(long, value_name = "URI")]
    test: String,
    /// Neighbours that vote (knn).
    #[arg(long, default_value_t = 20)]
    k: usize,
    /// Leave out the network with random weights.
    #[arg(long)]
    no_random: bool,
    /// Where extracted features are kept; by default the run folder, else the user's cache folder.
    #[arg(long, value_name = "DIR")]
    cache: Option<PathBuf>,
    #[command(flatten)]
    compute: Compute,
    /// One JSON object: {"scores": [...]}.
    #[arg(long)]
    json: bool,
}

#[derive(Clone, Copy, ValueEnum)]
enum ProtocolName {
    Knn,
    Linear,
    Logistic,
    Mlp,
    LowShot,
}

impl Probe {
    pub fn run(self) -> anyhow::Result<()> {
        let (opened, spec) = self.compute.open(&self.encoder)?;
        let task = scoring::open_task(&self.train, &self.test)?;
        let protocol = match self.protocol {
            ProtocolName::Knn => Protocol::Knn(KnnConfig { k: self.k, ..KnnConfig::default() }),
            ProtocolName::Linear => Protocol::Linear(LinearConfig::default()),
            ProtocolName::Logistic => Protocol::Logistic(LogisticConfig::default()),
            ProtocolName::Mlp => Protocol::Mlp(MlpConfig::default()),
            ProtocolName::LowShot => Protocol::LowShot(LowShotConfig::default()),
        };
        let cache = self.cache.clone().unwrap_or_else(|| cache_of(&self.encoder));
        let screen = Screen::quiet(self.json);
        let mut encoders = vec![opened];
        if !self.no_random {
            let like = &encoders[0];
            encoders.push(encoder::random(&spec, 0, like.device, like.autocast));
        }
        let mut scores = Vec::new();
        for encoder in &encoders {
            let protocols = std::slice::from_ref(&protocol);
            scores.extend(scoring::score(encoder, &task, protocols, &cache, &mut |text| {
                screen.say(text);
            })?);
        }
        if self.json {
            println!("{}", json!({ "scores": scores }));
        } else {
            screen.scores(&scores);
        }
        Ok(())
    }
}

/// A run keeps its features itself; those of other encoders go to the user's cache folder.
pub fn cache_of(encoder: &str) -> PathBuf {
    if Path::new(encoder).is_dir() {
        return Path::new(encoder).join("features");
    }
    let home = std::env::var_os("XDG_CACHE_HOME")
        .map(PathBuf::from)
        .or_else(|| std::env::var_os("HOME").map(|home| PathBuf::from(home).join(".cache")));
    home.unwrap_or_else(std::env::temp_dir).join("vertebra").join("features")
}
