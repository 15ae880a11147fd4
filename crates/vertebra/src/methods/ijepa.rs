//! I-JEPA (Assran et al., CVPR 2023): from some patches of a picture, predict what a teacher says of others.
//!
//! L = mean over images, target blocks, their patches and the D numbers of each of the distance between prediction and target, which is the teacher's
//! token after a layer norm without scale and shift (ε 1e-5). The distance is the code's smooth L1; the paper's is squared, and
//! summed over a block. One view of each image; the encoder that remains is the teacher's.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};
use tch::{Device, Tensor};

use super::latent::{self, Distance, Latent};
use super::mask::blocks::Multiblock;
use super::{Batch, Context, Inputs, Loss, Method, expect};
use crate::error::Result;
use crate::models::Backbone;
use crate::models::vit::predictor::{PredictorConfig, PredictorSpec};
use crate::objectives::health::Symptom;

/// The predictor, the masks, and how slow the teacher is.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Config {
    pub predictor: PredictorConfig,
    pub masks: Multiblock,
    pub distance: Distance,
    /// The teacher's at the start; it rises to 1 in a straight line.
    pub momentum: f64,
}

impl Default for Config {
    /// The official code's for ViT-H.
    fn default() -> Self {
        Self {
            predictor: PredictorConfig::default(),
            masks: Multiblock::default(),
            distance: Distance::SmoothL1,
            momentum: 0.996,
        }
    }
}

impl Config {
    pub fn check(&self, inputs: &Inputs) -> Result<()> {
        latent::check("I-JEPA", inputs, self.predictor, self.momentum)?;
        self.masks.check("method.masks")?;
        let views = inputs.views.all;
        expect("views", views == 1, "one view of each image (`count = 1`)", views)
    }
}

/// A run of I-JEPA.
pub struct Ijepa {
    config: Config,
    latent: Latent,
}

impl Ijepa {
    pub fn new(config: &Config, inputs: &Inputs, device: Device) -> Self {
        let latent = Latent::new(inputs, config.predictor, |spec| spec, device);
        Self { config: config.clone(), latent }
    }
}

impl Method for Ijepa {
    fn embed(&self, batch: &Batch, context: &Context) -> Vec<Tensor> {
        let images = &batch.views[0];
        let masks = self.config.masks.draw(self.latent.grid(images), context.progress);
        let (seen, asked) = masks.on(batch.first, batch.size(), images.device());
        self.latent.errors([images; 2], (&seen, &asked), None, self.config.distance, context)
    }

    fn loss(&mut self, embedded: &[Tensor], _context: &Context) -> Result<Loss> {
        Ok(Latent::loss(embedded))
    }

    fn after_step(&mut self, context: &Context) -> Result<()> {
        self.latent.follow(self.config.momentum, context)
    }

    fn variables(&self) -> BTreeMap<String, Tensor> {
        self.latent.variables()
    }

    fn parameters(&self) -> BTreeMap<String, Tensor> {
        self.latent.parameters()
    }

    fn backbone(&self) -> &dyn Backbone {
        self.latent.backbone()
    }

    fn encoder(&self) -> &'static str {
        "teacher.backbone."
    }

    fn predictor(&self) -> Option<PredictorSpec> {
        Some(self.latent.predictor())
    }

    fn knob(&self, _symptom: Symptom) -> Option<&'static str> {
        Some("a slower teacher (`method.momentum` nearer to 1)")
    }
}
