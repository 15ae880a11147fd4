//! Methods: one file per paper, which says which heads, which loss and what happens after a step.
//!
//! A method is a function of the whole batch of an optimizer step. It never learns how many micro-batches or ranks made that
//! batch: the [pretraining loop](crate::pretrain) cuts it, gathers what [`Method::embed`] gave, and hands all rows to
//! [`Method::loss`]. So teachers, queues and centres cannot move twice in a step, nor apart on two ranks.

pub mod barlow;
pub mod byol;
pub mod data2vec;
pub mod dcl;
pub mod dino;
pub mod duality;
pub mod ibot;
pub mod ijepa;
pub mod iwm;
mod latent;
pub mod mae;
pub mod mask;
pub mod moco;
pub mod moco_v3;
pub mod network;
pub mod nnclr;
mod queue;
pub mod simclr;
pub mod simmim;
pub mod simsiam;
pub mod spectral;
pub mod supervised;
pub mod swav;
pub mod vicreg;
pub mod w_mse;

use std::collections::BTreeMap;

use pixels::plan::ViewPlan;
use pixels::record::ViewRecord;
use serde::{Deserialize, Serialize};
use tch::{Device, Kind, Tensor};

use crate::error::{Error, Result};
use crate::models::vit::predictor::PredictorSpec;
use crate::models::{Backbone, BackboneConfig};
use crate::objectives::health::Symptom;
use crate::training::groups::{Rule, standard_rules};

/// Views of some images, and what is known of the images.
#[derive(Debug)]
pub struct Batch {
    /// One `[N, C, S, S]` per view, large views first; row i of each is of image i.
    pub views: Vec<Tensor>,
    /// What was done to make each view, `[view][image]`. Only world models read them.
    pub records: Vec<Vec<ViewRecord>>,
    /// One per image. Only the supervised baseline reads them.
    pub labels: Vec<Option<u32>>,
    /// The place of the first image in the whole batch of the step: what addresses a draw for an image.
    pub first: usize,
}

impl Batch {
    /// `size` images from place `start` on, over the same memory.
    #[must_use]
    pub fn narrow(&self, start: usize, size: usize) -> Self {
        let rows = |view: &Tensor| view.narrow(0, start as i64, size as i64);
        Self {
            views: self.views.iter().map(rows).collect(),
            records: self.records.iter().map(|of| of[start..start + size].to_vec()).collect(),
            labels: self.labels[start..start + size].to_vec(),
            first: self.first + start,
        }
    }

    /// How many images.
    pub fn size(&self) -> usize {
        self.labels.len()
    }
}

/// What a method may know of the run it serves.
#[derive(Clone, Copy, Debug)]
pub struct Context {
    pub device: Device,
    /// The kind of autocast, `None` for f32 throughout.
    pub autocast: Option<Kind>,
    pub progress: Progress,
}

impl Context {
    /// Runs networks in the run's precision. Objectives stay outside.
    pub fn autocast<T>(&self, body: impl FnOnce() -> T) -> T {
        torch_bridge::autocast(self.device, self.autocast, body)
    }
}

/// Where a run stands.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Progress {
    /// The run's, for draws that no image owns.
    pub seed: u64,
    /// Optimizer steps done before this one.
    pub step: u64,
    /// Of the whole run.
    pub steps: u64,
    /// Steps of an epoch.
    pub per_epoch: f64,
    /// Images of the whole batch of a step, over all micro-batches and ranks.
    pub batch: usize,
}

impl Progress {
    /// The share of the run that is done, 0 to 1: what schedules are functions of.
    pub fn done(&self) -> f64 {
        self.step as f64 / self.steps.max(1) as f64
    }

    /// Epochs done, with the fraction.
    pub fn epoch(&self) -> f64 {
        self.step as f64 / self.per_epoch
    }
}

/// How many views of an image there are. The large ones, which come first, are compared with all others; small ones
/// (multi-crop; Caron et al. 2020) only with large ones.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Views {
    pub large: usize,
    pub all: usize,
    /// Whether all show one crop and differ by what the numbers of their records tell ([`ViewPlan::is_aligned`]).
    pub aligned: bool,
}

impl Views {
    /// Those of a plan: the views of the largest size are the large ones, and must come first.
    pub fn of(plan: &ViewPlan) -> Result<Self> {
        let sizes: Vec<usize> = plan.unfolded().iter().map(|view| view.size).collect();
        let largest = sizes.iter().max().copied().unwrap_or(0);
        let large = sizes.iter().take_while(|&&size| size == largest).count();
        if sizes[large..].contains(&largest) {
            return Err(Error::Recipe {
                field: "views".into(),
                problem: format!("expected the largest views first, got sizes {sizes:?}"),
                hint: Some("small crops are compared with the large ones before them".into()),
            });
        }
        Ok(Self { large, all: sizes.len(), aligned: plan.is_aligned() })
    }

    /// The pairs (a, b), a < b, of which at least one is large: what a loss of two views is averaged over.
    pub fn pairs(self) -> Vec<(usize, usize)> {
        (0..self.large).flat_map(|a| (a + 1..self.all).map(move |b| (a, b))).collect()
    }

    /// The pairs (target, other) with a large target and any other view: what a student predicts of a teacher.
    pub fn directed(self) -> Vec<(usize, usize)> {
        let others = |a| (0..self.all).filter(move |&b| b != a).map(move |b| (a, b));
        (0..self.large).flat_map(others).collect()
    }
}

/// What a method is built for.
#[derive(Clone, Copy, Debug)]
pub struct Inputs<'a> {
    pub backbone: &'a BackboneConfig,
    /// Of the images.
    pub channels: i64,
    pub views: Views,
}

impl Inputs<'_> {
    /// Refuses a plan with fewer than two views.
    pub fn expect_views(&self) -> Result<()> {
        if self.views.all >= 2 {
            return Ok(());
        }
        Err(Error::Recipe {
            field: "views".into(),
            problem: format!(
                "this method compares views of an image, the plan gives {}",
                self.views.all
            ),
            hint: Some("one `[[views]]` with `count = 2`, or two of them".into()),
        })
    }
}

/// Scalars under the names of the paper.
pub type Parts = Vec<(&'static str, Tensor)>;

/// A loss and what is worth seeing of it.
#[derive(Debug)]
pub struct Loss {
    /// The scalar to minimise.
    pub total: Tensor,
    /// For the journal; unweighted.
    pub parts: Parts,
    /// The first view's representation (before the projector) and embedding (after it), `[N, D]`, without gradient: what
    /// the health of a run is read from.
    pub representation: Tensor,
    pub embedding: Tensor,
}

/// A way to learn without labels.
///
/// The work is cut in two so that micro-batches and ranks are exact: `embed` treats every sample on its own, `loss` sees the
/// whole batch. (Batch norm inside `embed` normalises each micro-batch of each rank by itself; the heads belong to `loss`, so
/// theirs is that of the whole batch.)
pub trait Method: Send {
    /// The part that is done sample by sample → tensors whose first dimension is N.
    fn embed(&self, batch: &Batch, context: &Context) -> Vec<Tensor>;

    /// The part that needs the whole batch: what `embed` gave, for all images of the step → loss. Called twice, it gives
    /// the same value twice: what a queue or a centre learns of the batch waits for `after_step`.
    fn loss(&mut self, embedded: &[Tensor], context: &Context) -> Result<Loss>;

    /// Between the gradient and the optimizer's step: a layer that is still frozen drops its gradient.
    fn before_step(&mut self, _context: &Context) {}

    /// After the optimizer's step: teachers follow, queues turn, centres move.
    fn after_step(&mut self, _context: &Context) -> Result<()> {
        Ok(())
    }

    /// Everything a checkpoint must hold: parameters, running statistics, teachers, queues.
    fn variables(&self) -> BTreeMap<String, Tensor>;

    /// What the optimizer moves; a subset of `variables`. The backbone's names begin with `backbone.`.
    fn parameters(&self) -> BTreeMap<String, Tensor>;

    /// Which parameters decay, adapt, and at which rate.
    fn rules(&self) -> Vec<Rule> {
        standard_rules()
    }

    /// The backbone that learns.
    fn backbone(&self) -> &dyn Backbone;

    /// What the names of the encoder's variables begin with: of what remains after pretraining, the backbone that learns or the
    /// teacher's.
    fn encoder(&self) -> &'static str {
        "backbone."
    }

    /// How the predictor that is kept beside the encoder is built; of a world model. Its names begin with `predictor.`.
    fn predictor(&self) -> Option<PredictorSpec> {
        None
    }

    /// Whether embeddings that are all equal could be an answer to the loss, so that health looks for it. Not where the targets are
    /// pixels: what is predicted of these is of low rank from the start, and nothing is wrong with it.
    fn can_collapse(&self) -> bool {
        true
    }

    /// What to try first against a symptom of the embeddings: the option that is there to prevent it.
    fn knob(&self, _symptom: Symptom) -> Option<&'static str> {
        None
    }

    /// How much each prototype was used by the last loss, `[K]`, summing to 1; of a method that has prototypes.
    fn prototypes(&self) -> Option<&Tensor> {
        None
    }
}

/// Refuses an option that does not hold what it should.
pub(crate) fn expect(
    field: &str,
    holds: bool,
    wanted: &str,
    found: impl std::fmt::Display,
) -> Result<()> {
    if holds {
        return Ok(());
    }
    let problem = format!("expected {wanted}, got {found}");
    Err(Error::Recipe { field: field.into(), problem, hint: None })
}

/// The same for a temperature, a weight or a radius.
fn expect_positive(field: &str, value: f64) -> Result<()> {
    expect(field, value > 0.0 && value.is_finite(), "a positive number", value)
}

/// A method by name, with its published defaults.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(tag = "name", rename_all = "snake_case")]
pub enum MethodConfig {
    Vicreg(vicreg::Config),
    Simclr(simclr::Config),
    Byol(byol::Config),
    Simsiam(simsiam::Config),
    WMse(w_mse::Config),
    Swav(swav::Config),
    Dino(dino::Config),
    Ibot(ibot::Config),
    Dcl(dcl::Config),
    Spectral(spectral::Config),
    Barlow(barlow::Config),
    Moco(moco::Config),
    MocoV3(moco_v3::Config),
    Nnclr(nnclr::Config),
    VicregExp(duality::Config),
    VicregCtr(duality::Config),
    Supervised(supervised::Config),
    Ijepa(ijepa::Config),
    Iwm(iwm::Config),
    Mae(mae::Config),
    Simmim(simmim::Config),
    Data2vec(data2vec::Config),
}

impl MethodConfig {
    /// Every method, with its published options.
    pub fn all() -> Vec<Self> {
        vec![
            Self::Vicreg(vicreg::Config::default()),
            Self::Simclr(simclr::Config::default()),
            Self::Byol(byol::Config::default()),
            Self::Simsiam(simsiam::Config::default()),
            Self::WMse(w_mse::Config::default()),
            Self::Swav(swav::Config::default()),
            Self::Dino(dino::Config::default()),
            Self::Ibot(ibot::Config::default()),
            Self::Dcl(dcl::Config::default()),
            Self::Spectral(spectral::Config::default()),
            Self::Barlow(barlow::Config::default()),
            Self::Moco(moco::Config::default()),
            Self::MocoV3(moco_v3::Config::default()),
            Self::Nnclr(nnclr::Config::default()),
            Self::VicregExp(duality::Config::default()),
            Self::VicregCtr(duality::Config::default()),
            Self::Supervised(supervised::Config::default()),
            Self::Ijepa(ijepa::Config::default()),
            Self::Iwm(iwm::Config::default()),
            Self::Mae(mae::Config::default()),
            Self::Simmim(simmim::Config::default()),
            Self::Data2vec(data2vec::Config::default()),
        ]
    }

    /// The paper's spelling.
    pub fn title(&self) -> &'static str {
        match self {
            Self::Vicreg(_) => "VICReg",
            Self::Simclr(_) => "SimCLR",
            Self::Byol(_) => "BYOL",
            Self::Simsiam(_) => "SimSiam",
            Self::WMse(_) => "W-MSE",
            Self::Swav(_) => "SwAV",
            Self::Dino(_) => "DINO",
            Self::Ibot(_) => "iBOT",
            Self::Dcl(_) => "DCL",
            Self::Spectral(_) => "Spectral contrastive",
            Self::Barlow(_) => "Barlow Twins",
            Self::Moco(_) => "MoCo v2",
            Self::MocoV3(_) => "MoCo v3",
            Self::Nnclr(_) => "NNCLR",
            Self::VicregExp(_) => "VICReg-exp",
            Self::VicregCtr(_) => "VICReg-ctr",
            Self::Supervised(_) => "Supervised",
            Self::Ijepa(_) => "I-JEPA",
            Self::Iwm(_) => "IWM",
            Self::Mae(_) => "MAE",
            Self::Simmim(_) => "SimMIM",
            Self::Data2vec(_) => "data2vec",
        }
    }

    /// Refuses options that cannot be trained with.
    pub fn check(&self, inputs: &Inputs) -> Result<()> {
        match self {
            Self::Vicreg(config) => config.check(inputs),
            Self::Simclr(config) => config.check(inputs),
            Self::Byol(config) => config.check(inputs),
            Self::Simsiam(config) => config.check(inputs),
            Self::WMse(config) => config.check(inputs),
            Self::Swav(config) => config.check(inputs),
            Self::Dino(config) => config.check(inputs),
            Self::Ibot(config) => config.check(inputs),
            Self::Dcl(config) => config.check(inputs),
            Self::Spectral(config) => config.check(inputs),
            Self::Barlow(config) => config.check(inputs),
            Self::Moco(config) => config.check(inputs),
            Self::MocoV3(config) => config.check(inputs),
            Self::Nnclr(config) => config.check(inputs),
            Self::VicregExp(config) | Self::VicregCtr(config) => config.check(inputs),
            Self::Supervised(config) => config.check(inputs),
            Self::Ijepa(config) => config.check(inputs),
            Self::Iwm(config) => config.check(inputs),
            Self::Mae(config) => config.check(inputs),
            Self::Simmim(config) => config.check(inputs),
            Self::Data2vec(config) => config.check(inputs),
        }
    }

    /// Builds the method and its backbone with fresh weights from `seed`.
    pub fn build(&self, inputs: &Inputs, seed: u64, device: Device) -> Box<dyn Method> {
        tch::manual_seed(seed as i64);
        match self {
            Self::Vicreg(config) => Box::new(vicreg::Vicreg::new(config, inputs, device)),
            Self::Simclr(config) => Box::new(simclr::Simclr::new(config, inputs, device)),
            Self::Byol(config) => Box::new(byol::Byol::new(config, inputs, device)),
            Self::Simsiam(config) => Box::new(simsiam::Simsiam::new(config, inputs, device)),
            Self::WMse(config) => Box::new(w_mse::WMse::new(config, inputs, device)),
            Self::Swav(config) => Box::new(swav::Swav::new(config, inputs, device)),
            Self::Dino(config) => Box::new(dino::Dino::new(config, inputs, device)),
            Self::Ibot(config) => Box::new(ibot::Ibot::new(config, inputs, device)),
            Self::Dcl(config) => Box::new(dcl::Dcl::new(config, inputs, device)),
            Self::Spectral(config) => Box::new(spectral::Spectral::new(config, inputs, device)),
            Self::Barlow(config) => Box::new(barlow::Barlow::new(config, inputs, device)),
            Self::Moco(config) => Box::new(moco::Moco::new(config, inputs, device)),
            Self::MocoV3(config) => Box::new(moco_v3::MocoV3::new(config, inputs, device)),
            Self::Nnclr(config) => Box::new(nnclr::Nnclr::new(config, inputs, device)),
            Self::VicregExp(config) => {
                Box::new(duality::Duality::new(config, duality::Side::Dimensions, inputs, device))
            }
            Self::VicregCtr(config) => {
                Box::new(duality::Duality::new(config, duality::Side::Samples, inputs, device))
            }
            Self::Supervised(config) => {
                Box::new(supervised::Supervised::new(config, inputs, device))
            }
            Self::Ijepa(config) => Box::new(ijepa::Ijepa::new(config, inputs, device)),
            Self::Iwm(config) => Box::new(iwm::Iwm::new(config, inputs, device)),
            Self::Mae(config) => Box::new(mae::Mae::new(config, inputs, device)),
            Self::Simmim(config) => Box::new(simmim::Simmim::new(config, inputs, device)),
            Self::Data2vec(config) => Box::new(data2vec::Data2vec::new(config, inputs, device)),
        }
    }
}
