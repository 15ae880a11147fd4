//! Barlow Twins (Zbontar et al., ICML 2021): each feature agrees with itself in the other view, and with no other feature.
//!
//! L = s · (Σⱼ (C_jj − 1)² + λ Σ_{j≠k} C_jk²), C the cross-correlation of the two views over the whole batch.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};
use tch::{Device, Tensor};

use super::network::{Network, mean_over_pairs};
use super::{Batch, Context, Inputs, Loss, Method, Views, expect_positive};
use crate::error::Result;
use crate::models::Backbone;
use crate::models::heads::MlpConfig;
use crate::objectives::{barlow as objective, expect_pair};
use crate::training::groups::Rule;

/// Weights and projector.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Config {
    /// λ; 0.0051 in the authors' code, 5e-3 in the paper.
    pub lambda: f64,
    /// s; 1 in the authors' code, 0.1 in solo-learn's CIFAR recipes. LARS does not see it but for weight decay.
    pub scale: f64,
    /// The rate of biases and batch norm, as a share of the rate of weights: 0.0048 / 0.2 = 0.024 in the authors' code, whose
    /// LARS adapts only the latter; 1 elsewhere.
    pub bias_lr_scale: f64,
    /// 8192-8192-8192 without biases in the paper.
    pub projector: MlpConfig,
}

impl Default for Config {
    /// solo-learn's for CIFAR: 2048-2048-2048 with biases.
    fn default() -> Self {
        let projector = MlpConfig { last_bias: true, ..MlpConfig::default() };
        Self { lambda: 0.0051, scale: 0.1, bias_lr_scale: 1.0, projector }
    }
}

impl Config {
    pub fn check(&self, inputs: &Inputs) -> Result<()> {
        expect_positive("method.lambda", self.lambda)?;
        expect_positive("method.scale", self.scale)?;
        expect_positive("method.bias_lr_scale", self.bias_lr_scale)?;
        self.projector.check("method.projector")?;
        inputs.expect_views()
    }
}

/// A run of Barlow Twins.
pub struct Barlow {
    config: Config,
    network: Network,
    views: Views,
}

impl Barlow {
    pub fn new(config: &Config, inputs: &Inputs, device: Device) -> Self {
        let network = Network::new(inputs, &config.projector, device);
        Self { config: config.clone(), network, views: inputs.views }
    }
}

impl Method for Barlow {
    fn embed(&self, batch: &Batch, context: &Context) -> Vec<Tensor> {
        self.network.represent(&batch.views, context)
    }

    fn loss(&mut self, embedded: &[Tensor], context: &Context) -> Result<Loss> {
        let z = self.network.project(embedded, context);
        let (total, parts) = mean_over_pairs(self.views, &z, |za, zb| {
            expect_pair("barlow", za, zb)?;
            let [on_diagonal, off_diagonal] = objective::barlow(za, zb);
            let total = self.config.scale * (&on_diagonal + self.config.lambda * &off_diagonal);
            let parts = [("on_diagonal", on_diagonal), ("off_diagonal", off_diagonal)];
            Ok((total, parts.map(|(name, part)| (name, part.detach())).into()))
        })?;
        let (representation, embedding) = (embedded[0].detach(), z[0].detach());
        Ok(Loss { total, parts, representation, embedding })
    }

    fn variables(&self) -> BTreeMap<String, Tensor> {
        self.network.variables()
    }

    fn parameters(&self) -> BTreeMap<String, Tensor> {
        self.network.parameters()
    }

    fn rules(&self) -> Vec<Rule> {
        let vectors =
            Rule { max_dims: Some(1), lr_scale: self.config.bias_lr_scale, ..Rule::all().exempt() };
        vec![vectors, Rule::all()]
    }

    fn backbone(&self) -> &dyn Backbone {
        self.network.backbone.as_ref()
    }
}
