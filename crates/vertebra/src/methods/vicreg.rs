//! VICReg (Bardes, Ponce and LeCun, ICLR 2022): pull two views together, keep every feature's spread, and keep features uncorrelated.
//!
//! L = λ · invariance + μ · Σ variance + ν · Σ covariance, with the sums over the two branches as [`Branches`] says.
//! The authors' code averages the variance and sums the covariance; the paper's equation 6 sums both with the same 25, 25, 1.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};
use tch::{Device, Tensor};

use super::network::{Network, mean_over_pairs};
use super::{Batch, Context, Inputs, Loss, Method, Parts, Views};
use crate::error::Result;
use crate::models::Backbone;
use crate::models::heads::MlpConfig;
use crate::objectives::health::Symptom;
use crate::objectives::{expect_pair, vicreg as objective};

/// Weights of the three terms, and the expander.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Config {
    /// λ, μ and ν; 25, 25 and 1 in the paper (section 4.2).
    pub invariance: f64,
    pub variance: f64,
    pub covariance: f64,
    /// How the variance of the two branches is added; the authors' code takes the mean, the paper the sum.
    pub variance_branches: Branches,
    /// How the covariance is; the sum in the code and the paper, the mean in VICRegL's code.
    pub covariance_branches: Branches,
    /// The paper calls it expander; 8192-8192-8192 there, 2048-2048-2048 for small images.
    pub projector: MlpConfig,
}

/// How a term of two branches becomes one number.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Branches {
    Mean,
    Sum,
}

impl Default for Config {
    fn default() -> Self {
        Self {
            invariance: 25.0,
            variance: 25.0,
            covariance: 1.0,
            variance_branches: Branches::Mean,
            covariance_branches: Branches::Sum,
            projector: MlpConfig::default(),
        }
    }
}

impl Config {
    pub fn check(&self, inputs: &Inputs) -> Result<()> {
        self.projector.check("method.projector")?;
        inputs.expect_views()
    }
}

impl Branches {
    fn add(self, a: Tensor, b: Tensor) -> Tensor {
        match self {
            Self::Mean => (a + b) / 2.0,
            Self::Sum => a + b,
        }
    }
}

/// A run of VICReg.
pub struct Vicreg {
    config: Config,
    network: Network,
    views: Views,
}

impl Vicreg {
    pub fn new(config: &Config, inputs: &Inputs, device: Device) -> Self {
        let network = Network::new(inputs, &config.projector, device);
        Self { config: config.clone(), network, views: inputs.views }
    }
}

impl Method for Vicreg {
    fn embed(&self, batch: &Batch, context: &Context) -> Vec<Tensor> {
        self.network.represent(&batch.views, context)
    }

    fn loss(&mut self, embedded: &[Tensor], context: &Context) -> Result<Loss> {
        let z = self.network.project(embedded, context);
        let (total, parts) =
            mean_over_pairs(self.views, &z, |za, zb| loss_of(&self.config, za, zb))?;
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

    fn knob(&self, symptom: Symptom) -> Option<&'static str> {
        Some(match symptom {
            Symptom::DimensionalCollapse => {
                "a larger weight of the covariance term (`method.covariance`)"
            }
            _ => "a larger weight of the variance term (`method.variance`)",
        })
    }
}

/// The loss of two embeddings `[N, D]`, and its unweighted parts.
pub fn loss_of(config: &Config, za: &Tensor, zb: &Tensor) -> Result<(Tensor, Parts)> {
    expect_pair("vicreg", za, zb)?;
    let invariance = objective::invariance(za, zb);
    let variance = config.variance_branches.add(objective::variance(za), objective::variance(zb));
    let covariance =
        config.covariance_branches.add(objective::covariance(za), objective::covariance(zb));
    let total = config.invariance * &invariance
        + config.variance * &variance
        + config.covariance * &covariance;
    let parts = [("invariance", invariance), ("variance", variance), ("covariance", covariance)];
    Ok((total, parts.map(|(name, part)| (name, part.detach())).into()))
}
