//! BYOL (Grill et al., NeurIPS 2020): predict what a slowly following teacher makes of another view.
//!
//! L = 2 · mean over (teacher's large view, other view of the student) of ‖p̂ − ẑ'‖²: for two views the paper's sum of both
//! directions, from 0 to 8, and no larger for more of them. The loss cannot tell collapse from success, both are 0; what
//! keeps embeddings apart is the predictor, together with the teacher's slowness.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};
use tch::{Device, Tensor};

use super::network::{Network, Teacher, apply, mean_over_directed};
use super::{Batch, Context, Inputs, Loss, Method, Views, expect};
use crate::error::Result;
use crate::models::Backbone;
use crate::models::heads::{Mlp, MlpConfig};
use crate::objectives::health::Symptom;
use crate::objectives::{expect_pair, regression};
use crate::training::schedule;

/// Heads, and how slow the teacher is.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Config {
    pub projector: MlpConfig,
    /// Behind the student's projector. `widths = []` is none, which the paper's ablation (table 5b) shows to collapse;
    /// otherwise as wide as the projector at its end.
    pub predictor: MlpConfig,
    /// τ₀, the teacher's momentum at the start, which rises to 1 in half a cosine; 0.996 for 1000 epochs in the paper, 0.99
    /// for 100 to 300, and 0.99 in solo-learn's CIFAR recipes.
    pub momentum: f64,
}

impl Default for Config {
    /// The heads of the paper and of solo-learn's CIFAR recipes: 4096-256, twice.
    fn default() -> Self {
        let head = MlpConfig { last_bias: true, ..MlpConfig::of(&[4096, 256]) };
        Self { projector: head.clone(), predictor: head, momentum: 0.99 }
    }
}

impl Config {
    pub fn check(&self, inputs: &Inputs) -> Result<()> {
        self.projector.check("method.projector")?;
        if !self.predictor.widths.is_empty() {
            self.predictor.check("method.predictor")?;
            let (found, wanted) = (self.predictor.outputs(), self.projector.outputs());
            let place = "method.predictor.widths";
            expect(
                place,
                found == wanted,
                &format!("{wanted} at the end, as in the projector"),
                found,
            )?;
        }
        let momentum = self.momentum;
        expect("method.momentum", (0.0..=1.0).contains(&momentum), "0 to 1", momentum)?;
        inputs.expect_views()
    }
}

/// A run of BYOL.
pub struct Byol {
    config: Config,
    network: Network,
    predictor: Mlp,
    teacher: Teacher,
    views: Views,
}

impl Byol {
    pub fn new(config: &Config, inputs: &Inputs, device: Device) -> Self {
        let network = Network::new(inputs, &config.projector, device);
        let outputs = config.projector.outputs();
        let predictor = network.head("predictor", outputs, &config.predictor);
        let teacher = Teacher::of(&network, inputs, &config.projector, device)
            .expect("a copy has the names of its original");
        Self { config: config.clone(), network, predictor, teacher, views: inputs.views }
    }
}

impl Method for Byol {
    fn embed(&self, batch: &Batch, context: &Context) -> Vec<Tensor> {
        let mut embedded = self.network.represent(&batch.views, context);
        embedded.extend(self.teacher.represent(&batch.views[..self.views.large], context));
        embedded
    }

    fn loss(&mut self, embedded: &[Tensor], context: &Context) -> Result<Loss> {
        let (student, teacher) = embedded.split_at(self.views.all);
        let z = self.network.project(student, context);
        let predictions = apply(&self.predictor, &z, context);
        let targets = self.teacher.project(teacher, context);
        expect_pair("byol", &predictions[0], &targets[0])?;
        let distance = mean_over_directed(self.views, |target, view| {
            regression::squared_distance(&predictions[view], &targets[target].detach())
        });
        let parts = vec![("distance", distance.detach())];
        let (representation, embedding) = (embedded[0].detach(), z[0].detach());
        Ok(Loss { total: distance * 2.0, parts, representation, embedding })
    }

    fn after_step(&mut self, context: &Context) -> Result<()> {
        let momentum = schedule::cosine(self.config.momentum, 1.0, context.progress.done());
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

    fn knob(&self, _symptom: Symptom) -> Option<&'static str> {
        Some(if self.config.predictor.widths.is_empty() {
            "a predictor (`method.predictor.widths`)"
        } else {
            "a slower teacher (`method.momentum` nearer to 1)"
        })
    }
}
