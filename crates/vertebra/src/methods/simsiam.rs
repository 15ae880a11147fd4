//! SimSiam (Chen and He, CVPR 2021): predict the other view's embedding, which gets no gradient; no teacher, no negatives.
//!
//! L = mean over (target's large view, other view) of −cos(p, z): for two views the paper's half of both directions, from
//! −1 to 1. The loss is −1 at collapse and at success; what keeps embeddings apart is the stopped gradient, together with
//! the predictor, whose learning rate does not fall.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};
use tch::{Device, Tensor};

use super::network::{Network, apply, mean_over_directed};
use super::{Batch, Context, Inputs, Loss, Method, Views, expect};
use crate::error::Result;
use crate::models::Backbone;
use crate::models::heads::{Mlp, MlpConfig};
use crate::objectives::health::Symptom;
use crate::objectives::{expect_pair, regression};
use crate::training::groups::{Rule, standard_rules};

/// Heads, and what the paper takes away to show what matters.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Config {
    pub projector: MlpConfig,
    pub predictor: MlpConfig,
    /// Whether targets are constants. Without it the paper's runs collapse within a few epochs (figure 2).
    pub stop_gradient: bool,
}

impl Default for Config {
    /// The authors' heads: 2048-2048-2048 with batch norm after each layer, the last without scale and shift; 512-2048.
    fn default() -> Self {
        let plain = MlpConfig { hidden_bias: false, ..MlpConfig::default() };
        Self {
            projector: MlpConfig { last_norm: true, last_affine: false, ..plain.clone() },
            predictor: MlpConfig { widths: vec![512, 2048], last_bias: true, ..plain },
            stop_gradient: true,
        }
    }
}

impl Config {
    pub fn check(&self, inputs: &Inputs) -> Result<()> {
        self.projector.check("method.projector")?;
        self.predictor.check("method.predictor")?;
        let (found, wanted) = (self.predictor.outputs(), self.projector.outputs());
        let place = "method.predictor.widths";
        expect(
            place,
            found == wanted,
            &format!("{wanted} at the end, as in the projector"),
            found,
        )?;
        inputs.expect_views()
    }
}

/// A run of SimSiam.
pub struct Simsiam {
    config: Config,
    network: Network,
    predictor: Mlp,
    views: Views,
}

impl Simsiam {
    pub fn new(config: &Config, inputs: &Inputs, device: Device) -> Self {
        let network = Network::new(inputs, &config.projector, device);
        let predictor = network.head("predictor", config.projector.outputs(), &config.predictor);
        Self { config: config.clone(), network, predictor, views: inputs.views }
    }
}

impl Method for Simsiam {
    fn embed(&self, batch: &Batch, context: &Context) -> Vec<Tensor> {
        self.network.represent(&batch.views, context)
    }

    fn loss(&mut self, embedded: &[Tensor], context: &Context) -> Result<Loss> {
        let z = self.network.project(embedded, context);
        let predictions = apply(&self.predictor, &z, context);
        expect_pair("simsiam", &predictions[0], &z[0])?;
        let constant = self.config.stop_gradient;
        let total = mean_over_directed(self.views, |target, view| {
            let target = if constant { z[target].detach() } else { z[target].shallow_clone() };
            regression::negative_cosine(&predictions[view], &target)
        });
        let parts = vec![("negative_cosine", total.detach())];
        let (representation, embedding) = (embedded[0].detach(), z[0].detach());
        Ok(Loss { total, parts, representation, embedding })
    }

    fn variables(&self) -> BTreeMap<String, Tensor> {
        self.network.variables()
    }

    fn parameters(&self) -> BTreeMap<String, Tensor> {
        self.network.parameters()
    }

    /// The predictor keeps the peak rate, as the authors' `--fix-pred-lr` does.
    fn rules(&self) -> Vec<Rule> {
        let predictor = |rule: Rule| Rule { constant_lr: true, ..rule };
        let vectors = Rule { max_dims: Some(1), ..Rule::named("predictor.*").exempt() };
        let mut rules = vec![predictor(vectors), predictor(Rule::named("predictor.*"))];
        rules.extend(standard_rules());
        rules
    }

    fn backbone(&self) -> &dyn Backbone {
        self.network.backbone.as_ref()
    }

    fn knob(&self, _symptom: Symptom) -> Option<&'static str> {
        Some(if self.config.stop_gradient {
            "batch norm in both heads (`hidden_norm`, `projector.last_norm`)"
        } else {
            "the stop-gradient (`method.stop_gradient = true`)"
        })
    }
}
