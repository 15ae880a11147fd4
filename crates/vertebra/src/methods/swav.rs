//! SwAV (Caron et al., NeurIPS 2020): assign each view to prototypes such that all are used alike, and let the other
//! views predict the assignment.
//!
//! L = mean over (large view a, other view v) of −Σ q_a ln softmax(s_v / τ), with s the cosines to the prototypes and q
//! the codes of [`assignment::sinkhorn`]. Equal assignment is what prevents collapse.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};
use tch::nn::Init;
use tch::{Device, Kind, Tensor};
use torch_bridge::steps;

use super::network::{Network, mean_over_directed};
use super::{Batch, Context, Inputs, Loss, Method, Progress, Views, expect};
use crate::error::Result;
use crate::models::Backbone;
use crate::models::heads::MlpConfig;
use crate::objectives::health::Symptom;
use crate::objectives::{assignment, expect_pair, normalized, soft_cross_entropy};

/// Projector, prototypes, and how they are shared out.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Config {
    pub projector: MlpConfig,
    /// K; 3000 in the paper and in solo-learn's CIFAR recipes.
    pub prototypes: i64,
    /// τ of the prediction; 0.1 in the paper.
    pub temperature: f64,
    /// ε of the codes, 0.05 in the authors' code, and the rounds of their computation, 3.
    pub epsilon: f64,
    pub iterations: u32,
    /// Epochs at the start in which prototypes do not move; one on ImageNet in the authors' runs, 2 in solo-learn's on
    /// CIFAR.
    pub frozen_epochs: f64,
    /// Embeddings of earlier images, per large view, that codes are computed with, 0 for none: a small batch alone cannot
    /// use all prototypes alike. 3840 in the authors' runs with a batch of 256 and in solo-learn's.
    pub queue: i64,
    /// The epoch from which on the queue is used, once it is full; 15 in the authors' runs on ImageNet, 50 in solo-learn's on
    /// CIFAR.
    pub queue_epoch: f64,
}

impl Default for Config {
    /// solo-learn's CIFAR recipes; their head is 2048-128.
    fn default() -> Self {
        Self {
            projector: MlpConfig { last_bias: true, ..MlpConfig::of(&[2048, 128]) },
            prototypes: 3000,
            temperature: 0.1,
            epsilon: 0.05,
            iterations: 3,
            frozen_epochs: 2.0,
            queue: 3840,
            queue_epoch: 50.0,
        }
    }
}

impl Config {
    pub fn check(&self, inputs: &Inputs) -> Result<()> {
        self.projector.check("method.projector")?;
        expect("method.prototypes", self.prototypes > 1, "at least 2", self.prototypes)?;
        for (field, value) in
            [("method.temperature", self.temperature), ("method.epsilon", self.epsilon)]
        {
            expect(field, value > 0.0 && value.is_finite(), "a positive number", value)?;
        }
        expect("method.iterations", self.iterations > 0, "at least 1", self.iterations)?;
        for (field, value) in
            [("method.frozen_epochs", self.frozen_epochs), ("method.queue_epoch", self.queue_epoch)]
        {
            expect(field, value >= 0.0, "0 or more", value)?;
        }
        expect("method.queue", self.queue >= 0, "0 or more", self.queue)?;
        inputs.expect_views()
    }
}

/// A run of SwAV.
pub struct Swav {
    config: Config,
    network: Network,
    /// `[K, D]`, rows of unit length.
    prototypes: Tensor,
    /// `[large views, queue, D]`, the newest first.
    queue: Option<Tensor>,
    /// What the queue learns of the step: `[large views, N, D]`.
    pending: Option<Tensor>,
    /// See [`Method::prototypes`].
    shares: Option<Tensor>,
    views: Views,
}

impl Swav {
    pub fn new(config: &Config, inputs: &Inputs, device: Device) -> Self {
        let network = Network::new(inputs, &config.projector, device);
        let width = config.projector.outputs();
        let init = Init::Randn { mean: 0.0, stdev: 1.0 };
        let path = network.root();
        let prototypes = (&path / "prototypes").var("weight", &[config.prototypes, width], init);
        let shape = [inputs.views.large as i64, config.queue, width];
        let queue = (config.queue > 0).then(|| path.zeros_no_train("queue", &shape));
        let method = Self {
            config: config.clone(),
            prototypes,
            queue,
            pending: None,
            shares: None,
            views: inputs.views,
            network,
        };
        method.renormalise();
        method
    }

    fn renormalise(&self) {
        tch::no_grad(|| {
            let unit = normalized(&self.prototypes);
            self.prototypes.shallow_clone().copy_(&unit);
        });
    }

    /// Cosines to the prototypes, `[N, D]` of unit length → `[N, K]`.
    fn scores(&self, z: &Tensor) -> Tensor {
        z.matmul(&self.prototypes.tr())
    }

    /// The codes of a large view, with those of the queue where it is in use.
    fn codes(&self, view: usize, scores: &Tensor, progress: Progress) -> Tensor {
        let n = scores.size()[0];
        let Config { epsilon, iterations, queue_epoch, queue, .. } = self.config;
        let full = progress.step.saturating_mul(n as u64) >= queue as u64;
        let scores = scores.detach();
        let all = match &self.queue {
            Some(queue) if full && progress.epoch() >= queue_epoch => {
                let earlier = self.scores(&queue.get(view as i64)).detach();
                Tensor::cat(&[scores, earlier], 0)
            }
            _ => scores,
        };
        assignment::sinkhorn(&all, epsilon, iterations).narrow(0, 0, n)
    }
}

impl Method for Swav {
    fn embed(&self, batch: &Batch, context: &Context) -> Vec<Tensor> {
        self.network.represent(&batch.views, context)
    }

    fn loss(&mut self, embedded: &[Tensor], context: &Context) -> Result<Loss> {
        let z: Vec<Tensor> =
            self.network.project(embedded, context).iter().map(normalized).collect();
        expect_pair("swav", &z[0], &z[1])?;
        let scores: Vec<Tensor> = z.iter().map(|z| self.scores(z)).collect();
        let codes: Vec<Tensor> = (0..self.views.large)
            .map(|view| self.codes(view, &scores[view], context.progress))
            .collect();
        let temperature = self.config.temperature;
        let total = mean_over_directed(self.views, |assigned, view| {
            soft_cross_entropy(&codes[assigned], &scores[view], temperature)
        });
        if self.queue.is_some() {
            self.pending = Some(Tensor::stack(&z[..self.views.large], 0).detach());
        }
        let predicted = (scores[0].detach() / temperature).softmax(-1, Kind::Float);
        self.shares = Some(predicted.mean_dim([0i64].as_slice(), false, Kind::Float));
        let parts = vec![("swapped_prediction", total.detach())];
        let (representation, embedding) = (embedded[0].detach(), z[0].detach());
        Ok(Loss { total, parts, representation, embedding })
    }

    fn before_step(&mut self, context: &Context) {
        if context.progress.epoch() < self.config.frozen_epochs {
            steps::clear_grads(&[self.prototypes.shallow_clone()]);
        }
    }

    fn after_step(&mut self, _context: &Context) -> Result<()> {
        self.renormalise();
        if let (Some(queue), Some(newest)) = (&self.queue, self.pending.take()) {
            let turned = Tensor::cat(&[&newest, queue], 1).narrow(1, 0, self.config.queue);
            tch::no_grad(|| queue.shallow_clone().copy_(&turned));
        }
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

    fn knob(&self, symptom: Symptom) -> Option<&'static str> {
        Some(match symptom {
            Symptom::PrototypeCollapse => "more rounds of Sinkhorn (`method.iterations`)",
            _ => "a smaller `method.epsilon`, for codes that differ more",
        })
    }

    fn prototypes(&self) -> Option<&Tensor> {
        self.shares.as_ref()
    }
}
