//! DINO (Caron et al., ICCV 2021): match the distribution over prototypes that a slowly following teacher gives another view.
//!
//! L = mean over (teacher's large view, other view of the student) of −Σ P_t ln softmax(s / τ_s), P_t = softmax((g − c) / τ_t).
//! Two things keep it from collapse, each alone leading to another one: the centre c, a running mean of the teacher's logits,
//! keeps one prototype from winning all images; the low temperature τ_t keeps the teacher from giving all the same.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};
use tch::{Device, Kind, Tensor};
use torch_bridge::steps;

use super::network::{Network, Teacher, mean_over_directed};
use super::{Batch, Context, Inputs, Loss, Method, Progress, Views, expect};
use crate::error::Result;
use crate::models::Backbone;
use crate::models::dino_head::{DinoHead, DinoHeadConfig};
use crate::objectives::health::Symptom;
use crate::objectives::{distillation, expect_pair, soft_cross_entropy};
use crate::training::schedule;

/// Head, teacher and temperatures.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Config {
    /// Of student and teacher.
    pub projector: DinoHeadConfig,
    /// The teacher's momentum at the start, which rises to 1 in half a cosine; 0.996 in the paper (batch 1024), 0.9995 in
    /// solo-learn's CIFAR recipes (batch 256).
    pub momentum: f64,
    /// τ_s; 0.1 in the paper.
    pub student_temperature: f64,
    /// τ_t after its warm-up; 0.07 in the authors' long runs and in solo-learn's recipes, 0.04 in their code.
    pub teacher_temperature: f64,
    /// τ_t at the start, from where it rises in a straight line; 0.04 in the paper.
    pub warmup_teacher_temperature: f64,
    /// Epochs of that rise; 30 in the authors' long runs, 0 in solo-learn's.
    pub warmup_teacher_epochs: f64,
    /// Whether the teacher's logits are centred; without it one prototype wins all images (figure 7 of the paper).
    pub centering: bool,
    /// The centre's momentum; 0.9 in the authors' code.
    pub centre_momentum: f64,
    /// Epochs at the start in which prototypes do not move; 1 in the authors' code.
    pub frozen_epochs: f64,
}

impl Default for Config {
    /// solo-learn's CIFAR recipes.
    fn default() -> Self {
        Self {
            projector: DinoHeadConfig::default(),
            momentum: 0.9995,
            student_temperature: 0.1,
            teacher_temperature: 0.07,
            warmup_teacher_temperature: 0.04,
            warmup_teacher_epochs: 0.0,
            centering: true,
            centre_momentum: 0.9,
            frozen_epochs: 1.0,
        }
    }
}

impl Config {
    pub fn check(&self, inputs: &Inputs) -> Result<()> {
        self.projector.check("method.projector")?;
        for (field, value) in [
            ("method.student_temperature", self.student_temperature),
            ("method.teacher_temperature", self.teacher_temperature),
            ("method.warmup_teacher_temperature", self.warmup_teacher_temperature),
        ] {
            expect(field, value > 0.0 && value.is_finite(), "a positive number", value)?;
        }
        for (field, value) in
            [("method.momentum", self.momentum), ("method.centre_momentum", self.centre_momentum)]
        {
            expect(field, (0.0..=1.0).contains(&value), "0 to 1", value)?;
        }
        for (field, value) in [
            ("method.warmup_teacher_epochs", self.warmup_teacher_epochs),
            ("method.frozen_epochs", self.frozen_epochs),
        ] {
            expect(field, value >= 0.0, "0 or more", value)?;
        }
        inputs.expect_views()
    }

    /// τ_t at a step.
    fn temperature(&self, progress: Progress) -> f64 {
        if progress.epoch() >= self.warmup_teacher_epochs {
            return self.teacher_temperature;
        }
        let done = progress.epoch() / self.warmup_teacher_epochs;
        schedule::linear(self.warmup_teacher_temperature, self.teacher_temperature, done)
    }
}

/// A run of DINO.
pub struct Dino {
    config: Config,
    network: Network<DinoHead>,
    teacher: Teacher<DinoHead>,
    /// c, `[K]`.
    centre: Tensor,
    /// The centre after this step.
    pending: Option<Tensor>,
    /// See [`Method::prototypes`].
    shares: Option<Tensor>,
    views: Views,
}

impl Dino {
    pub fn new(config: &Config, inputs: &Inputs, device: Device) -> Self {
        let network = Network::new(inputs, &config.projector, device);
        let teacher = Teacher::of(&network, inputs, &config.projector, device)
            .expect("a copy has the names of its original");
        let centre = network.root().zeros_no_train("centre", &[config.projector.prototypes]);
        Self {
            config: config.clone(),
            network,
            teacher,
            centre,
            pending: None,
            shares: None,
            views: inputs.views,
        }
    }
}

impl Method for Dino {
    fn embed(&self, batch: &Batch, context: &Context) -> Vec<Tensor> {
        let mut embedded = self.network.represent(&batch.views, context);
        embedded.extend(self.teacher.represent(&batch.views[..self.views.large], context));
        embedded
    }

    fn loss(&mut self, embedded: &[Tensor], context: &Context) -> Result<Loss> {
        let (student, teacher) = embedded.split_at(self.views.all);
        let logits = self.network.project(student, context);
        expect_pair("dino", &logits[0], &logits[1])?;
        let teacher = Tensor::stack(&self.teacher.project(teacher, context), 0).detach();
        let temperature = self.config.temperature(context.progress);
        let targets = distillation::teacher(&teacher, &self.centre, temperature);
        let total = mean_over_directed(self.views, |target, view| {
            let target = targets.get(target as i64);
            soft_cross_entropy(&target, &logits[view], self.config.student_temperature)
        });
        self.pending = self.config.centering.then(|| {
            distillation::moved_centre(&self.centre, &teacher, self.config.centre_momentum)
        });
        self.shares = Some(targets.mean_dim([0i64, 1].as_slice(), false, Kind::Float));
        let parts = vec![
            ("cross_entropy", total.detach()),
            ("teacher_entropy", distillation::entropy(&targets)),
        ];
        let (representation, embedding) = (embedded[0].detach(), logits[0].detach());
        Ok(Loss { total, parts, representation, embedding })
    }

    fn before_step(&mut self, context: &Context) {
        if context.progress.epoch() < self.config.frozen_epochs {
            let mut frozen = self.network.parameters();
            frozen.retain(|name, _| name.starts_with("projector.last_layer."));
            steps::clear_grads(&frozen.into_values().collect::<Vec<_>>());
        }
    }

    fn after_step(&mut self, context: &Context) -> Result<()> {
        if let Some(centre) = self.pending.take() {
            tch::no_grad(|| self.centre.copy_(&centre));
        }
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

    fn knob(&self, symptom: Symptom) -> Option<&'static str> {
        Some(match symptom {
            _ if !self.config.centering => "the centre (`method.centering = true`)",
            Symptom::PrototypeCollapse => "a faster centre (`method.centre_momentum` lower)",
            _ => "a lower `method.teacher_temperature`",
        })
    }

    fn prototypes(&self) -> Option<&Tensor> {
        self.shares.as_ref()
    }
}
