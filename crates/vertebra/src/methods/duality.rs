//! VICReg-exp and VICReg-ctr (Garrido et al., ICLR 2023): the two steps from VICReg to SimCLR.
//!
//! VICReg-exp replaces the squares of VICReg's covariance term by the logarithm of a sum of exponentials (equation 12), VICReg-ctr
//! also takes variance and covariance of the transposed embeddings (equation 13), so that it is samples that spread and
//! repel each other. L = λ · invariance + μ · Σ variance + ν · Σ covariance, the sums over the two branches.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};
use tch::{Device, Tensor};

use super::network::{Network, mean_over_pairs};
use super::{Batch, Context, Inputs, Loss, Method, Parts, Views, expect, expect_positive};
use crate::error::Result;
use crate::models::Backbone;
use crate::models::heads::MlpConfig;
use crate::objectives::{expect_pair, vicreg as objective};

/// Weights, temperature and projector.
///
/// The paper's weights are in a supplement that we have not seen, and VICReg's 25, 25, 1 do not fit: a published attempt with them
/// and τ = 0.5 did not learn. The default keeps VICReg's λ and μ and has λ : ν = 1 : τ, the ratio of attraction and repulsion in
/// DCL, to which VICReg-ctr then comes closest.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Config {
    /// λ, μ and ν.
    pub invariance: f64,
    pub variance: f64,
    pub covariance: f64,
    /// τ of the exponentials.
    pub temperature: f64,
    /// 8192-8192-512 is among the best in the paper, 2048-2048-2048 suits small images.
    pub projector: MlpConfig,
}

impl Default for Config {
    fn default() -> Self {
        Self {
            invariance: 25.0,
            variance: 25.0,
            covariance: 2.5,
            temperature: 0.1,
            projector: MlpConfig::default(),
        }
    }
}

impl Config {
    pub fn check(&self, inputs: &Inputs) -> Result<()> {
        expect_positive("method.temperature", self.temperature)?;
        self.projector.check("method.projector")?;
        // One feature has no other to be told from.
        let width = self.projector.outputs();
        expect("method.projector.widths", width > 1, "at least 2 at the end", width)?;
        inputs.expect_views()
    }
}

/// What is told from one another.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Side {
    /// VICReg-exp.
    Dimensions,
    /// VICReg-ctr.
    Samples,
}

/// A run of VICReg-exp or VICReg-ctr.
pub struct Duality {
    config: Config,
    side: Side,
    network: Network,
    views: Views,
}

impl Duality {
    pub fn new(config: &Config, side: Side, inputs: &Inputs, device: Device) -> Self {
        let network = Network::new(inputs, &config.projector, device);
        Self { config: config.clone(), side, network, views: inputs.views }
    }
}

impl Method for Duality {
    fn embed(&self, batch: &Batch, context: &Context) -> Vec<Tensor> {
        self.network.represent(&batch.views, context)
    }

    fn loss(&mut self, embedded: &[Tensor], context: &Context) -> Result<Loss> {
        let z = self.network.project(embedded, context);
        let (total, parts) =
            mean_over_pairs(self.views, &z, |za, zb| loss_of(&self.config, self.side, za, zb))?;
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

/// The loss of two embeddings `[N, D]`, D > 1, and its unweighted parts.
pub fn loss_of(config: &Config, side: Side, za: &Tensor, zb: &Tensor) -> Result<(Tensor, Parts)> {
    expect_pair("vicreg_exp", za, zb)?;
    let sides = [za, zb].map(|z| match side {
        Side::Dimensions => z.shallow_clone(),
        Side::Samples => z.tr(),
    });
    let [va, vb] = sides.each_ref().map(objective::variance);
    let [ca, cb] =
        sides.each_ref().map(|z| objective::exponential_covariance(z, config.temperature));
    let (invariance, variance, covariance) = (objective::invariance(za, zb), va + vb, ca + cb);
    let total = config.invariance * &invariance
        + config.variance * &variance
        + config.covariance * &covariance;
    let parts = [("invariance", invariance), ("variance", variance), ("covariance", covariance)];
    Ok((total, parts.map(|(name, part)| (name, part.detach())).into()))
}
