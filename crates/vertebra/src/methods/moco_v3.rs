//! MoCo v3 (Chen, Xie and He, ICCV 2021): predict the teacher's key of another view, among the keys of the same batch.
//!
//! L = Σ over the two directions of 2τ · InfoNCE(q, k). With more views the mean over all directions (key of a large view, query of
//! any other) takes the place of that sum, times 2, so that two views give the paper's value.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};
use tch::{Device, Tensor};

use super::network::{Network, Teacher, apply, mean_over_directed};
use super::{Batch, Context, Inputs, Loss, Method, Views, expect, expect_positive};
use crate::error::Result;
use crate::models::Backbone;
use crate::models::heads::{Mlp, MlpConfig};
use crate::objectives::{expect_pair, info_nce};
use crate::training::schedule;

/// Temperature, teacher and heads.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Config {
    /// τ; 0.2 for ViT and in solo-learn, 1 for the authors' ResNet-50.
    pub temperature: f64,
    /// The teacher's momentum at the start, rising to `final_momentum` by half a cosine; 0.99 to 1 in the paper.
    pub momentum: f64,
    pub final_momentum: f64,
    pub projector: MlpConfig,
    pub predictor: MlpConfig,
}

impl Default for Config {
    /// For ResNets: 4096-256 both, without biases, the projector ending in a batch norm without scale and shift. For ViT the
    /// authors take three layers in the projector, and end the predictor likewise.
    fn default() -> Self {
        let plain = MlpConfig { hidden_bias: false, ..MlpConfig::of(&[4096, 256]) };
        Self {
            temperature: 0.2,
            momentum: 0.99,
            final_momentum: 1.0,
            projector: MlpConfig { last_norm: true, last_affine: false, ..plain.clone() },
            predictor: plain,
        }
    }
}

impl Config {
    pub fn check(&self, inputs: &Inputs) -> Result<()> {
        expect_positive("method.temperature", self.temperature)?;
        for (field, value) in
            [("method.momentum", self.momentum), ("method.final_momentum", self.final_momentum)]
        {
            expect(field, (0.0..=1.0).contains(&value), "0 to 1", value)?;
        }
        self.projector.check("method.projector")?;
        self.predictor.check("method.predictor")?;
        let (wanted, found) = (self.projector.outputs(), self.predictor.outputs());
        expect(
            "method.predictor.widths",
            found == wanted,
            &format!("the projector's last width, {wanted}, at the end"),
            found,
        )?;
        inputs.expect_views()
    }
}

/// A run of MoCo v3.
pub struct MocoV3 {
    config: Config,
    network: Network,
    predictor: Mlp,
    teacher: Teacher,
    views: Views,
}

impl MocoV3 {
    pub fn new(config: &Config, inputs: &Inputs, device: Device) -> Self {
        let network = Network::new(inputs, &config.projector, device);
        let predictor = network.head("predictor", config.projector.outputs(), &config.predictor);
        let teacher = Teacher::of(&network, inputs, &config.projector, device)
            .expect("a copy has the names of its original");
        Self { config: config.clone(), network, predictor, teacher, views: inputs.views }
    }
}

impl Method for MocoV3 {
    /// Queries, then keys.
    fn embed(&self, batch: &Batch, context: &Context) -> Vec<Tensor> {
        let mut embedded = self.network.represent(&batch.views, context);
        embedded.extend(self.teacher.represent(&batch.views[..self.views.large], context));
        embedded
    }

    fn loss(&mut self, embedded: &[Tensor], context: &Context) -> Result<Loss> {
        let (asking, giving) = embedded.split_at(self.views.all);
        let z = self.network.project(asking, context);
        let queries = apply(&self.predictor, &z, context);
        let keys = self.teacher.project(giving, context);
        let temperature = self.config.temperature;
        expect_pair("moco_v3", &queries[1], &keys[0])?;
        let contrast = mean_over_directed(self.views, |target, other| {
            info_nce::between(&queries[other], &keys[target], temperature)
        });
        let total = &contrast * (2.0 * 2.0 * temperature);
        let parts = vec![("contrast", contrast.detach())];
        let (representation, embedding) = (embedded[0].detach(), z[0].detach());
        Ok(Loss { total, parts, representation, embedding })
    }

    fn after_step(&mut self, context: &Context) -> Result<()> {
        let Config { momentum, final_momentum, .. } = self.config;
        let momentum = schedule::cosine(momentum, final_momentum, context.progress.done());
        self.teacher.follow(&self.network, momentum)
    }

    fn variables(&self) -> BTreeMap<String, Tensor> {
        let mut variables = self.network.variables();
        variables.extend(self.teacher.variables());
        variables
    }

    fn parameters(&self) -> BTreeMap<String, Tensor> {
        self.network.parameters()
    }

    fn backbone(&self) -> &dyn Backbone {
        self.network.backbone.as_ref()
    }
}
