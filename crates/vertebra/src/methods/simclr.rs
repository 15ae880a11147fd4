//! SimCLR (Chen et al., ICML 2020): tell the other view of an image from all other images of the batch.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};
use tch::{Device, Tensor};

use super::siamese::{self, Siamese};
use super::{Context, Loss, Method};
use crate::error::{Error, Result};
use crate::models::heads::MlpConfig;
use crate::models::{Backbone, BackboneConfig};
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
            last_norm: false,
        };
        Self { temperature: 0.2, projector }
    }
}

impl Config {
    pub fn check(&self, views: usize) -> Result<()> {
        if !(self.temperature > 0.0 && self.temperature.is_finite()) {
            return Err(Error::Recipe {
                field: "method.temperature".into(),
                problem: format!("expected a positive number, got {}", self.temperature),
                hint: None,
            });
        }
        siamese::check(&self.projector, views)
    }
}

/// A run of SimCLR.
pub struct Simclr {
    config: Config,
    network: Siamese,
}

impl Simclr {
    pub fn new(config: &Config, backbone: &BackboneConfig, channels: i64, device: Device) -> Self {
        let network = Siamese::new(backbone, channels, &config.projector, device);
        Self { config: config.clone(), network }
    }
}

impl Method for Simclr {
    fn embed(&self, views: &[Tensor], context: &Context) -> Vec<Tensor> {
        self.network.represent(views, context)
    }

    fn loss(&mut self, embedded: &[Tensor], context: &Context) -> Result<Loss> {
        let z = self.network.project(embedded, context);
        expect_pair("simclr", &z[0], &z[1])?;
        let total = info_nce::nt_xent(&z[0], &z[1], self.config.temperature);
        let parts = vec![("contrast", total.detach())];
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
