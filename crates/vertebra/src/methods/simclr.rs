//! SimCLR (Chen et al., ICML 2020): tell the other view of an image from all other images of the batch.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};
use tch::{Device, Tensor};

use super::network::{Network, mean_over_pairs};
use super::{Batch, Context, Inputs, Loss, Method, Views, expect_positive};
use crate::error::Result;
use crate::models::Backbone;
use crate::models::heads::MlpConfig;
use crate::objectives::{expect_pair, info_nce};

/// Temperature and projector.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Config {
    /// τ; 0.1 in the paper's ImageNet runs, 0.5 in its CIFAR-10 runs, 0.2 in solo-learn's.
    pub temperature: f64,
    pub projector: MlpConfig,
}

impl Default for Config {
    /// The head of solo-learn's CIFAR recipes: 2048-256, no batch norm.
    fn default() -> Self {
        let projector = MlpConfig {
            widths: vec![2048, 256],
            hidden_norm: false,
            last_bias: true,
            ..MlpConfig::default()
        };
        Self { temperature: 0.2, projector }
    }
}

impl Config {
    pub fn check(&self, inputs: &Inputs) -> Result<()> {
        expect_positive("method.temperature", self.temperature)?;
        self.projector.check("method.projector")?;
        inputs.expect_views()
    }
}

/// A run of SimCLR.
pub struct Simclr {
    config: Config,
    network: Network,
    views: Views,
}

impl Simclr {
    pub fn new(config: &Config, inputs: &Inputs, device: Device) -> Self {
        let network = Network::new(inputs, &config.projector, device);
        Self { config: config.clone(), network, views: inputs.views }
    }
}

impl Method for Simclr {
    fn embed(&self, batch: &Batch, context: &Context) -> Vec<Tensor> {
        self.network.represent(&batch.views, context)
    }

    fn loss(&mut self, embedded: &[Tensor], context: &Context) -> Result<Loss> {
        let z = self.network.project(embedded, context);
        let (total, parts) = mean_over_pairs(self.views, &z, |za, zb| {
            expect_pair("simclr", za, zb)?;
            let contrast = info_nce::nt_xent(za, zb, self.config.temperature);
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
