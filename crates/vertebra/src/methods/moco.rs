//! MoCo v2 (He et al., CVPR 2020; Chen et al. 2020): find the teacher's key of another view among the keys of earlier batches.
//!
//! Queries are of the student, keys of a teacher that follows it, negatives a queue of earlier keys. The authors shuffle images
//! between ranks so that batch norm does not tell keys of one image apart from others; here heads see the whole batch
//! anyway, and the backbone's batch norm is that of each micro-batch.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};
use tch::{Device, Kind, Tensor};

use super::network::{Network, Teacher};
use super::queue::{self, Queue};
use super::{Batch, Context, Inputs, Loss, Method, Views, expect, expect_positive};
use crate::error::Result;
use crate::models::Backbone;
use crate::models::heads::MlpConfig;
use crate::objectives::{expect_pair, info_nce};
use crate::training::schedule;

/// Temperature, queue, teacher and projector.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Config {
    /// τ; 0.2 in v2, 0.07 in v1.
    pub temperature: f64,
    /// K, keys in each queue, a multiple of the batch; 65536 in the paper, 32768 in each of solo-learn's two.
    pub queue: i64,
    /// Every large view gives keys to all others, each from a queue of its own, and the losses are averaged (MoCo v2+ of
    /// Chen and He 2021, as solo-learn has it). Otherwise the first view gives the keys, as in the paper.
    pub symmetric: bool,
    /// The teacher's momentum at the start and at the end, half a cosine between: 0.999 throughout in the paper, 0.99 to 0.999 in
    /// solo-learn.
    pub momentum: f64,
    pub final_momentum: f64,
    pub projector: MlpConfig,
}

impl Default for Config {
    /// The paper's, with the head and queue of solo-learn's CIFAR recipes: 2048-256 without batch norm.
    fn default() -> Self {
        let projector =
            MlpConfig { hidden_norm: false, last_bias: true, ..MlpConfig::of(&[2048, 256]) };
        Self {
            temperature: 0.2,
            queue: 32768,
            symmetric: true,
            momentum: 0.999,
            final_momentum: 0.999,
            projector,
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
        queue::check(self.queue)?;
        self.projector.check("method.projector")?;
        inputs.expect_views()
    }
}

/// A run of MoCo v2.
pub struct Moco {
    config: Config,
    network: Network,
    teacher: Teacher,
    /// One for each view that gives keys.
    queues: Vec<Queue>,
    views: Views,
}

impl Moco {
    pub fn new(config: &Config, inputs: &Inputs, device: Device) -> Self {
        let network = Network::new(inputs, &config.projector, device);
        let teacher = Teacher::of(&network, inputs, &config.projector, device)
            .expect("a copy has the names of its original");
        let root = network.root();
        // The same directions in each queue, so that a fresh method does not tell its views apart.
        let rows = Queue::directions(&root, config.queue, config.projector.outputs());
        let giving = if config.symmetric { inputs.views.large } else { 1 };
        let path = root / "queue";
        let queues = (0..giving).map(|view| Queue::new(&path, &view.to_string(), &rows)).collect();
        Self { config: config.clone(), network, teacher, queues, views: inputs.views }
    }

    /// The first view that asks: with one queue, view 0 only gives keys.
    fn first_query(&self) -> usize {
        usize::from(!self.config.symmetric)
    }
}

impl Method for Moco {
    /// Queries, then keys.
    fn embed(&self, batch: &Batch, context: &Context) -> Vec<Tensor> {
        let mut embedded = self.network.represent(&batch.views[self.first_query()..], context);
        embedded.extend(self.teacher.represent(&batch.views[..self.queues.len()], context));
        embedded
    }

    fn loss(&mut self, embedded: &[Tensor], context: &Context) -> Result<Loss> {
        let first = self.first_query();
        let (asking, giving) = embedded.split_at(self.views.all - first);
        let queries = self.network.project(asking, context);
        let keys = self.teacher.project(giving, context);
        let mut losses = Vec::new();
        for (view, key) in keys.iter().enumerate() {
            for other in (first..self.views.all).filter(|&other| other != view) {
                let query = &queries[other - first];
                expect_pair("moco", query, key)?;
                let rows = self.queues[view].rows();
                losses.push(info_nce::queue(query, key, rows, self.config.temperature));
            }
        }
        for (queue, key) in self.queues.iter_mut().zip(&keys) {
            queue.remember(key)?;
        }
        let total = Tensor::stack(&losses, 0).mean(None::<Kind>);
        let parts = vec![("contrast", total.detach())];
        let (representation, embedding) = (embedded[0].detach(), queries[0].detach());
        Ok(Loss { total, parts, representation, embedding })
    }

    fn after_step(&mut self, context: &Context) -> Result<()> {
        let Config { momentum, final_momentum, .. } = self.config;
        self.queues.iter_mut().for_each(|queue| queue.turn(&context.progress));
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
