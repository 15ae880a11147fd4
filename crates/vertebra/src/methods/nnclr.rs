//! NNCLR (Dwibedi et al., ICCV 2021): the positive is not the other view itself but its nearest neighbour among earlier
//! embeddings.
//!
//! L = mean over the directions of InfoNCE(neighbour of one view, prediction of the other). The queue learns the first view's
//! embeddings.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};
use tch::{Device, Tensor};

use super::network::{Network, apply, mean_over_directed};
use super::queue::{self, Queue};
use super::{Batch, Context, Inputs, Loss, Method, Views, expect, expect_positive};
use crate::error::Result;
use crate::models::Backbone;
use crate::models::heads::{Mlp, MlpConfig};
use crate::objectives::{expect_pair, info_nce};

/// Temperature, queue and heads.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Config {
    /// τ; 0.1 in the paper, 0.2 in solo-learn's CIFAR recipes.
    pub temperature: f64,
    /// Embeddings in the queue, a multiple of the batch; 98304 in the paper, 65536 in solo-learn.
    pub queue: i64,
    pub projector: MlpConfig,
    pub predictor: MlpConfig,
}

impl Default for Config {
    /// The paper's and solo-learn's heads: 2048-2048-256 with a batch norm at the end, and 4096-256.
    fn default() -> Self {
        let projector =
            MlpConfig { last_bias: true, last_norm: true, ..MlpConfig::of(&[2048, 2048, 256]) };
        let predictor = MlpConfig { last_bias: true, ..MlpConfig::of(&[4096, 256]) };
        Self { temperature: 0.2, queue: 65536, projector, predictor }
    }
}

impl Config {
    pub fn check(&self, inputs: &Inputs) -> Result<()> {
        expect_positive("method.temperature", self.temperature)?;
        queue::check(self.queue)?;
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

/// A run of NNCLR.
pub struct Nnclr {
    config: Config,
    network: Network,
    predictor: Mlp,
    queue: Queue,
    views: Views,
}

impl Nnclr {
    pub fn new(config: &Config, inputs: &Inputs, device: Device) -> Self {
        let network = Network::new(inputs, &config.projector, device);
        let width = config.projector.outputs();
        let predictor = network.head("predictor", width, &config.predictor);
        let root = network.root();
        let queue = Queue::new(&root, "queue", &Queue::directions(&root, config.queue, width));
        Self { config: config.clone(), network, predictor, queue, views: inputs.views }
    }
}

impl Method for Nnclr {
    fn embed(&self, batch: &Batch, context: &Context) -> Vec<Tensor> {
        self.network.represent(&batch.views, context)
    }

    fn loss(&mut self, embedded: &[Tensor], context: &Context) -> Result<Loss> {
        let z = self.network.project(embedded, context);
        let p = apply(&self.predictor, &z, context);
        let nearest = |z| info_nce::nearest(z, self.queue.rows());
        let neighbours: Vec<Tensor> = z[..self.views.large].iter().map(nearest).collect();
        expect_pair("nnclr", &neighbours[0], &p[1])?;
        let total = mean_over_directed(self.views, |target, other| {
            info_nce::between(&neighbours[target], &p[other], self.config.temperature)
        });
        self.queue.remember(&z[0])?;
        let parts = vec![("contrast", total.detach())];
        let (representation, embedding) = (embedded[0].detach(), z[0].detach());
        Ok(Loss { total, parts, representation, embedding })
    }

    fn after_step(&mut self, context: &Context) -> Result<()> {
        self.queue.turn(&context.progress);
        Ok(())
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
