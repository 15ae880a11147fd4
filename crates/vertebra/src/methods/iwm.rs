//! Image world models (Garrido et al. 2024): from some patches of a changed picture, and what would undo the change, predict what a
//! teacher says of the rest of the unchanged one.
//!
//! Two views of one crop: the source, which may be jittered, blurred, grey or solarized, and the target, which is jittered only. The predictor is
//! told the [`action`] that leads from one to the other.
//!
//! L = mean over images, hidden patches and the D numbers of each of ‖prediction − target‖², the target being the teacher's token of
//! the second view after a layer norm without scale and shift (ε 1e-5). What is not recovered of the paper is chosen as in I-JEPA:
//! the set summed over (what the source does not show), the norm of the targets, the mean in place of the sum. The encoder that remains is the
//! teacher's, beside it the predictor.

use std::collections::BTreeMap;

use pixels::record::ViewRecord;
use serde::{Deserialize, Serialize};
use tch::{Device, Tensor};

use super::latent::{self, Distance, Latent};
use super::mask::blocks::Union;
use super::{Batch, Context, Inputs, Loss, Method};
use crate::data::{ACTIONS, action, actions_on};
use crate::error::{Error, Result};
use crate::models::Backbone;
use crate::models::vit::predictor::{Conditioning, PredictorConfig, PredictorSpec};
use crate::objectives::health::Symptom;

/// The predictor and what it is told, the masks, and how slow the teacher is.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Config {
    /// 18 blocks of 384 make the paper's equivariant model, 12 its invariant one.
    pub predictor: PredictorConfig,
    pub conditioning: Conditioning,
    pub masks: Union,
    pub distance: Distance,
    /// The teacher's at the start; it rises to 1 in a straight line.
    pub momentum: f64,
}

impl Default for Config {
    /// The paper's equivariant model.
    fn default() -> Self {
        Self {
            predictor: PredictorConfig { depth: 18, ..PredictorConfig::default() },
            conditioning: Conditioning::Feature,
            masks: Union::default(),
            distance: Distance::L2,
            momentum: 0.996,
        }
    }
}

impl Config {
    pub fn check(&self, inputs: &Inputs) -> Result<()> {
        latent::check("IWM", inputs, self.predictor, self.momentum)?;
        self.masks.check("method.masks")?;
        if (inputs.views.all, inputs.views.large, inputs.views.aligned) == (2, 2, true) {
            return Ok(());
        }
        Err(Error::Recipe {
            field: "views".into(),
            problem: "expected a source and a target of one size and one crop, told apart by numbers alone".into(),
            hint: Some("two `[[views]]`, `jitter.shuffle = false` in both, `aligned = true` in the second".into()),
        })
    }
}

/// A run of an image world model.
pub struct Iwm {
    config: Config,
    latent: Latent,
}

impl Iwm {
    pub fn new(config: &Config, inputs: &Inputs, device: Device) -> Self {
        let conditioning = config.conditioning;
        let told = |spec| PredictorSpec { conditioning, actions: ACTIONS as i64, ..spec };
        let latent = Latent::new(inputs, config.predictor, told, device);
        Self { config: config.clone(), latent }
    }
}

impl Method for Iwm {
    fn embed(&self, batch: &Batch, context: &Context) -> Vec<Tensor> {
        let [source, target] = [&batch.views[0], &batch.views[1]];
        let masks = self.config.masks.draw(self.latent.grid(source), context.progress);
        let (seen, asked) = masks.on(batch.first, batch.size(), source.device());
        let pair = |(x, y): (&ViewRecord, &ViewRecord)| action(x, y);
        let actions: Vec<_> = batch.records[0].iter().zip(&batch.records[1]).map(pair).collect();
        let actions = actions_on(&actions, source.device());
        let told = Some(&actions);
        self.latent.errors([source, target], (&seen, &asked), told, self.config.distance, context)
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
