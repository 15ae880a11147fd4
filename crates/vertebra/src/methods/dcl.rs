//! DCL, decoupled contrastive learning (Yeh et al., ECCV 2022): SimCLR without the partner among those it is told from, so that
//! small batches learn as well. DCLW also weighs each pair by how far apart it is.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};
use tch::{Device, Tensor};

use super::network::{Network, mean_over_pairs};
use super::{Batch, Context, Inputs, Loss, Method, Views, expect_positive};
use crate::error::Result;
use crate::models::Backbone;
use crate::models::heads::MlpConfig;
use crate::objectives::{expect_pair, info_nce};

/// σ of the weights, 0.5 in the paper and in every code.
const SIGMA: f64 = 0.5;

/// Temperature, weights and projector.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Config {
    /// τ; 0.1 in the paper.
    pub temperature: f64,
    /// DCLW in place of DCL.
    pub weighted: bool,
    pub projector: MlpConfig,
}

impl Default for Config {
    /// SimCLR's head in solo-learn's CIFAR recipes, 2048-256 without batch norm: the two differ by their loss alone.
    fn default() -> Self {
        let projector =
            MlpConfig { hidden_norm: false, last_bias: true, ..MlpConfig::of(&[2048, 256]) };
        Self { temperature: 0.1, weighted: false, projector }
    }
}

impl Config {
    pub fn check(&self, inputs: &Inputs) -> Result<()> {
        expect_positive("method.temperature", self.temperature)?;
        self.projector.check("method.projector")?;
        inputs.expect_views()
    }
}

/// A run of DCL.
pub struct Dcl {
    config: Config,
    network: Network,
    views: Views,
}

impl Dcl {
    pub fn new(config: &Config, inputs: &Inputs, device: Device) -> Self {
        let network = Network::new(inputs, &config.projector, device);
        Self { config: config.clone(), network, views: inputs.views }
    }
}

impl Method for Dcl {
    fn embed(&self, batch: &Batch, context: &Context) -> Vec<Tensor> {
        self.network.represent(&batch.views, context)
    }

    fn loss(&mut self, embedded: &[Tensor], context: &Context) -> Result<Loss> {
        let z = self.network.project(embedded, context);
        let sigma = self.config.weighted.then_some(SIGMA);
        let (total, parts) = mean_over_pairs(self.views, &z, |za, zb| {
            expect_pair("dcl", za, zb)?;
            let contrast = info_nce::decoupled(za, zb, self.config.temperature, sigma);
            Ok((contrast.shallow_clone(), vec![("contrast", contrast.detach())]))
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

    fn backbone(&self) -> &dyn Backbone {
        self.network.backbone.as_ref()
    }
}
