//! Methods: one file per paper, which says which heads, which loss and what happens after a step.

pub mod ibot;
mod siamese;
pub mod simclr;
pub mod vicreg;

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};
use tch::{Device, Kind, Tensor};

use crate::error::Result;
use crate::models::{Backbone, BackboneConfig};
use crate::training::collective::Collective;

/// What a method may know of the run it serves.
pub struct Context<'a> {
    pub collective: &'a dyn Collective,
    pub device: Device,
    /// The kind of autocast, `None` for f32 throughout.
    pub autocast: Option<Kind>,
}

impl Context<'_> {
    /// Runs networks in the run's precision. Objectives stay outside.
    pub fn autocast<T>(&self, body: impl FnOnce() -> T) -> T {
        torch_bridge::autocast(self.device, self.autocast, body)
    }
}

/// A loss and what is worth seeing of it.
#[derive(Debug)]
pub struct Loss {
    /// The scalar to minimise.
    pub total: Tensor,
    /// Scalars under the names of the paper, for the journal; unweighted.
    pub parts: Vec<(&'static str, Tensor)>,
    /// The first view's representation (before the projector) and embedding (after it), `[N, D]`, without gradient: what
    /// the health of a run is read from.
    pub representation: Tensor,
    pub embedding: Tensor,
}

/// A way to learn without labels.
///
/// The work is cut in two so that gradient accumulation is exact: `embed` treats every sample on its own, `loss`
/// needs the whole batch. (Batch norm inside `embed` normalises each micro-batch by itself.)
pub trait Method: Send {
    /// The part that is done sample by sample: `views[v]`: `[N, C, S, S]` → tensors whose first dimension is N.
    fn embed(&self, views: &[Tensor], context: &Context) -> Vec<Tensor>;

    /// The part that needs the whole batch: what `embed` gave → loss.
    fn loss(&mut self, embedded: &[Tensor], context: &Context) -> Result<Loss>;

    /// After the optimizer's step: teachers follow, queues turn.
    fn after_step(&mut self, _context: &Context) {}

    /// Everything a checkpoint must hold: parameters, running statistics, teachers, queues.
    fn variables(&self) -> BTreeMap<String, Tensor>;

    /// What the optimizer moves; a subset of `variables`. The backbone's names begin with `backbone.`.
    fn parameters(&self) -> BTreeMap<String, Tensor>;

    /// The encoder that remains after pretraining.
    fn backbone(&self) -> &dyn Backbone;
}

/// A method by name, with its published defaults.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(tag = "name", rename_all = "snake_case")]
pub enum MethodConfig {
    Vicreg(vicreg::Config),
    Simclr(simclr::Config),
}

impl MethodConfig {
    /// Every method, with its published options.
    pub fn all() -> [Self; 2] {
        [Self::Vicreg(vicreg::Config::default()), Self::Simclr(simclr::Config::default())]
    }

    /// The paper's spelling.
    pub fn title(&self) -> &'static str {
        match self {
            Self::Vicreg(_) => "VICReg",
            Self::Simclr(_) => "SimCLR",
        }
    }

    /// Refuses options that cannot be trained with; `views` is how many views the plan gives.
    pub fn check(&self, views: usize) -> Result<()> {
        match self {
            Self::Vicreg(config) => config.check(views),
            Self::Simclr(config) => config.check(views),
        }
    }

    /// Builds the method and its backbone with fresh weights from `seed`.
    pub fn build(
        &self,
        backbone: &BackboneConfig,
        channels: i64,
        seed: u64,
        device: Device,
    ) -> Box<dyn Method> {
        tch::manual_seed(seed as i64);
        match self {
            Self::Vicreg(config) => {
                Box::new(vicreg::Vicreg::new(config, backbone, channels, device))
            }
            Self::Simclr(config) => {
                Box::new(simclr::Simclr::new(config, backbone, channels, device))
            }
        }
    }
}
