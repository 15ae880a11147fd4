//! Spectral contrastive learning, SCL (HaoChen et al., NeurIPS 2021): embeddings that factorise the graph of which views belong
//! together.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};
use tch::{Device, Tensor};

use super::network::{Network, mean_over_pairs};
use super::{Batch, Context, Inputs, Loss, Method, Views, expect_positive};
use crate::error::Result;
use crate::models::Backbone;
use crate::models::heads::MlpConfig;
use crate::objectives::{expect_pair, spectral};

/// Radius and projector.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Config {
    /// μ, the square of the largest length of an embedding; 1 for CIFAR-10 and 10 for ImageNet in the authors' code.
    pub mu: f64,
    pub projector: MlpConfig,
}

impl Default for Config {
    /// The authors' for CIFAR-10: 2048-1000, with a batch norm after the last layer too.
    fn default() -> Self {
        let projector =
            MlpConfig { last_bias: true, last_norm: true, ..MlpConfig::of(&[2048, 1000]) };
        Self { mu: 1.0, projector }
    }
}

impl Config {
    pub fn check(&self, inputs: &Inputs) -> Result<()> {
        expect_positive("method.mu", self.mu)?;
        self.projector.check("method.projector")?;
        inputs.expect_views()
    }
}

/// A run of spectral contrastive learning.
pub struct Spectral {
    config: Config,
    network: Network,
    views: Views,
}

impl Spectral {
    pub fn new(config: &Config, inputs: &Inputs, device: Device) -> Self {
        let network = Network::new(inputs, &config.projector, device);
        Self { config: config.clone(), network, views: inputs.views }
    }
}

impl Method for Spectral {
    fn embed(&self, batch: &Batch, context: &Context) -> Vec<Tensor> {
        self.network.represent(&batch.views, context)
    }

    fn loss(&mut self, embedded: &[Tensor], context: &Context) -> Result<Loss> {
        let z = self.network.project(embedded, context);
        let (total, parts) = mean_over_pairs(self.views, &z, |za, zb| {
            expect_pair("spectral", za, zb)?;
            let (loss, [attraction, repulsion]) = spectral::spectral(za, zb, self.config.mu);
            let parts = [("attraction", attraction), ("repulsion", repulsion)];
            Ok((loss, parts.map(|(name, part)| (name, part.detach())).into()))
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
