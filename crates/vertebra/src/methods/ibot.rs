//! iBOT (Zhou et al., ICLR 2022): DINO on the class token, and the same on patches that the student does not see.
//!
//! L = λ₁ · DINO's loss + λ₂ · mean over large views of the cross-entropy, on the hidden patches of that view, between the
//! teacher, which sees all of it, and the student: first over the hidden patches of an image, then over the images. One
//! head serves class token and patches, each with its own centre and teacher's temperature, as in the paper's main runs.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};
use tch::nn::Init;
use tch::{Device, Kind, Tensor};
use torch_bridge::steps;

use super::network::{Network, Teacher, apply, mean_over_directed};
use super::{Batch, Context, Inputs, Loss, Method, Progress, Views, expect, mask};
use crate::error::{Error, Result};
use crate::models::dino_head::{DinoHead, DinoHeadConfig};
use crate::models::vit::{Pool, VitConfig};
use crate::models::{Backbone, Features, Mode, no_tap};
use crate::objectives::health::Symptom;
use crate::objectives::{distillation, expect_pair, soft_cross_entropy};
use crate::training::schedule;

/// Head, teacher, temperatures and masks.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Config {
    /// Of student and teacher, for class token and patches.
    pub projector: DinoHeadConfig,
    /// The teacher's momentum at the start, which rises to 1 in half a cosine; 0.996 in the paper.
    pub momentum: f64,
    /// τ_s; 0.1 in the paper.
    pub student_temperature: f64,
    /// The teacher's temperatures after their warm-up, of the class token and of patches; both 0.07 in the authors' main
    /// runs.
    pub teacher_temperature: f64,
    pub patch_temperature: f64,
    /// Both at the start, from where they rise in a straight line; 0.04 in the paper.
    pub warmup_teacher_temperature: f64,
    /// Epochs of that rise; 30 in the paper.
    pub warmup_teacher_epochs: f64,
    /// The centres' momentum; 0.9 in the authors' code.
    pub centre_momentum: f64,
    /// Epochs at the start in which prototypes do not move; 1 in the authors' code.
    pub frozen_epochs: f64,
    /// λ₁ and λ₂, both 1 in the paper.
    pub class_weight: f64,
    pub patch_weight: f64,
    /// How many large views of all have hidden patches, the least and the most share of the patches that are hidden then:
    /// a half, 0.1 to 0.5 in the paper.
    pub mask_probability: f64,
    pub mask_ratio: [f64; 2],
}

impl Default for Config {
    /// The authors' ViT-S, with half their 8192 prototypes for small images.
    fn default() -> Self {
        Self {
            projector: DinoHeadConfig { norm_last: false, ..DinoHeadConfig::default() },
            momentum: 0.996,
            student_temperature: 0.1,
            teacher_temperature: 0.07,
            patch_temperature: 0.07,
            warmup_teacher_temperature: 0.04,
            warmup_teacher_epochs: 30.0,
            centre_momentum: 0.9,
            frozen_epochs: 1.0,
            class_weight: 1.0,
            patch_weight: 1.0,
            mask_probability: 0.5,
            mask_ratio: [0.1, 0.5],
        }
    }
}

impl Config {
    pub fn check(&self, inputs: &Inputs) -> Result<()> {
        self.projector.check("method.projector")?;
        let Some(VitConfig { pool: Pool::Class, projection: None, .. }) = inputs.backbone.vit()
        else {
            return Err(Error::Recipe {
                field: "backbone".into(),
                problem: format!(
                    "iBOT hides patches and reads a class token, which {} as configured has not",
                    inputs.backbone.title()
                ),
                hint: Some(
                    "a ViT with `pool = \"class\"` and no `projection`; \"dino\" takes any backbone".into(),
                ),
            });
        };
        for (field, value) in [
            ("method.student_temperature", self.student_temperature),
            ("method.teacher_temperature", self.teacher_temperature),
            ("method.patch_temperature", self.patch_temperature),
            ("method.warmup_teacher_temperature", self.warmup_teacher_temperature),
        ] {
            expect(field, value > 0.0 && value.is_finite(), "a positive number", value)?;
        }
        for (field, value) in [
            ("method.momentum", self.momentum),
            ("method.centre_momentum", self.centre_momentum),
            ("method.mask_probability", self.mask_probability),
        ] {
            expect(field, (0.0..=1.0).contains(&value), "0 to 1", value)?;
        }
        for (field, value) in [
            ("method.warmup_teacher_epochs", self.warmup_teacher_epochs),
            ("method.frozen_epochs", self.frozen_epochs),
            ("method.class_weight", self.class_weight),
            ("method.patch_weight", self.patch_weight),
        ] {
            expect(field, value >= 0.0 && value.is_finite(), "0 or more", value)?;
        }
        let [low, high] = self.mask_ratio;
        let ordered = 0.0 <= low && low <= high && high < 1.0;
        expect(
            "method.mask_ratio",
            ordered,
            "two rising shares below 1",
            format!("{low}, {high}"),
        )?;
        inputs.expect_views()
    }

    /// Where a temperature that ends at `end` is at a step.
    fn temperature(&self, end: f64, progress: Progress) -> f64 {
        if progress.epoch() >= self.warmup_teacher_epochs {
            return end;
        }
        let done = progress.epoch() / self.warmup_teacher_epochs;
        schedule::linear(self.warmup_teacher_temperature, end, done)
    }
}

/// A run of iBOT.
pub struct Ibot {
    config: Config,
    patch: i64,
    network: Network<DinoHead>,
    teacher: Teacher<DinoHead>,
    /// What stands in the place of a hidden patch, `[D]`.
    mask_token: Tensor,
    /// Of class tokens and of patches, `[K]` each.
    centres: [Tensor; 2],
    /// Both after this step.
    pending: Option<[Tensor; 2]>,
    /// See [`Method::prototypes`].
    shares: Option<Tensor>,
    views: Views,
}

/// The hidden patches of a view of the whole batch.
struct Hidden {
    /// Their places among all N · T.
    rows: Tensor,
    /// 1 / (N · hidden patches of the same image).
    weights: Tensor,
}

impl Ibot {
    pub fn new(config: &Config, inputs: &Inputs, device: Device) -> Self {
        let network = Network::<DinoHead>::new(inputs, &config.projector, device);
        let teacher = Teacher::of(&network, inputs, &config.projector, device)
            .expect("a copy has the names of its original");
        let path = network.root();
        let width = network.backbone.width();
        let mask_token = path.var("mask_token", &[width], Init::Const(0.0));
        let centre = |name| path.zeros_no_train(name, &[config.projector.prototypes]);
        let centres = [centre("centre"), centre("patch_centre")];
        Self {
            config: config.clone(),
            patch: inputs.backbone.vit().map_or(1, |vit| vit.patch),
            mask_token,
            centres,
            pending: None,
            shares: None,
            views: inputs.views,
            teacher,
            network,
        }
    }

    /// Which patches of a grid each of `images` images hides in a view, `images · T`, the first of them at place `first`.
    fn mask(
        &self,
        [rows, columns]: [usize; 2],
        (first, images): (usize, usize),
        view: usize,
        progress: Progress,
    ) -> Vec<bool> {
        let Config { mask_probability, mask_ratio, .. } = self.config;
        let of = |place: usize| {
            let at = mask::address(progress, place, view);
            mask::blockwise::hidden(rows, columns, mask_probability, mask_ratio, at)
        };
        (first..first + images).flat_map(of).collect()
    }

    /// The student's features of a view, of which patches are hidden where it is large.
    fn seen(&self, batch: &Batch, view: usize, context: &Context) -> Features {
        let (images, backbone) = (&batch.views[view], &self.network.backbone);
        if view >= self.views.large {
            return backbone.forward(images, Mode::Train, &mut no_tap);
        }
        let grid = mask::grid(images, self.patch);
        let mask = self.mask(grid, (batch.first, batch.size()), view, context.progress);
        let mask = Tensor::from_slice(&mask).view([batch.size() as i64, -1]);
        let mask = mask.to_device(images.device());
        backbone
            .forward_masked(images, &mask, &self.mask_token, Mode::Train, &mut no_tap)
            .expect("a checked backbone has patches")
    }

    /// The tokens of a view's patches, `[N, T, D]`.
    fn patches(&self, features: &Features) -> Tensor {
        mask::patches(self.network.backbone.as_ref(), features)
    }

    /// The hidden patches of the whole batch, for tokens `[N, T, D]` of a view.
    fn hidden(&self, tokens: &Tensor, view: usize, progress: Progress) -> Hidden {
        let (n, t) = (tokens.size()[0], tokens.size()[1]);
        // Large views are square.
        let side = (t as f64).sqrt().round() as usize;
        let mask = self.mask([side, side], (0, n as usize), view, progress);
        let (mut rows, mut weights) = (Vec::new(), Vec::new());
        for (image, mask) in mask.chunks(t as usize).enumerate() {
            let hidden: Vec<i64> = (0..t).filter(|&patch| mask[patch as usize]).collect();
            let weight = 1.0 / (n as f32 * hidden.len().max(1) as f32);
            weights.extend(hidden.iter().map(|_| weight));
            rows.extend(hidden.iter().map(|patch| image as i64 * t + patch));
        }
        let to = |tensor: Tensor| tensor.to_device(tokens.device());
        Hidden { rows: to(Tensor::from_slice(&rows)), weights: to(Tensor::from_slice(&weights)) }
    }

    /// The loss on the hidden patches of all large views, and the patches' next centre. `student`, `teacher`: one
    /// `[N, T, D]` per large view.
    fn patch_loss(
        &self,
        student: &[Tensor],
        teacher: &[Tensor],
        context: &Context,
    ) -> (Tensor, Tensor) {
        let Config { patch_temperature, student_temperature, centre_momentum, .. } = self.config;
        let temperature = self.config.temperature(patch_temperature, context.progress);
        let head = self.teacher.projector();
        let (mut terms, mut means) = (Vec::new(), Vec::new());
        for (view, (seen, all)) in student.iter().zip(teacher).enumerate() {
            let hidden = self.hidden(seen, view, context.progress);
            let (target, mean) = tch::no_grad(|| {
                let units = context.autocast(|| head.bottleneck(&all.detach().flatten(0, 1)));
                // Logits are linear in the units, so their mean over all patches needs no logits of all.
                let mean = units.mean_dim([0i64].as_slice(), true, Kind::Float);
                let units = units.index_select(0, &hidden.rows);
                (head.prototypes(&units), head.prototypes(&mean))
            });
            let target = distillation::teacher(&target, &self.centres[1], temperature);
            let seen = seen.flatten(0, 1).index_select(0, &hidden.rows);
            let logits = &apply(&self.network.projector, &[seen], context)[0];
            terms.push(distillation::patch_cross_entropy(
                &target,
                logits,
                &hidden.weights,
                student_temperature,
            ));
            means.push(mean);
        }
        let means = Tensor::cat(&means, 0);
        let centre = distillation::moved_centre(&self.centres[1], &means, centre_momentum);
        (Tensor::stack(&terms, 0).mean(Kind::Float), centre)
    }
}

impl Method for Ibot {
    /// The student's class tokens of all views, its patches of the large ones; then the teacher's of both.
    fn embed(&self, batch: &Batch, context: &Context) -> Vec<Tensor> {
        let large = self.views.large;
        let student: Vec<Features> = context
            .autocast(|| (0..self.views.all).map(|view| self.seen(batch, view, context)).collect());
        let teacher: Vec<Features> = tch::no_grad(|| {
            context.autocast(|| {
                let backbone = self.teacher.backbone();
                let of = |view| backbone.forward(view, Mode::Train, &mut no_tap);
                batch.views[..large].iter().map(of).collect()
            })
        });
        let mut embedded: Vec<Tensor> =
            student.iter().map(|features| features.pooled.shallow_clone()).collect();
        embedded.extend(student[..large].iter().map(|features| self.patches(features)));
        embedded.extend(teacher.iter().map(|features| features.pooled.shallow_clone()));
        embedded.extend(teacher.iter().map(|features| self.patches(features)));
        embedded
    }

    fn loss(&mut self, embedded: &[Tensor], context: &Context) -> Result<Loss> {
        let (student, rest) = embedded.split_at(self.views.all);
        let (student_patches, rest) = rest.split_at(self.views.large);
        let (teacher, teacher_patches) = rest.split_at(self.views.large);
        let logits = self.network.project(student, context);
        expect_pair("ibot", &logits[0], &logits[1])?;
        let teacher = Tensor::stack(&self.teacher.project(teacher, context), 0).detach();
        let temperature =
            self.config.temperature(self.config.teacher_temperature, context.progress);
        let targets = distillation::teacher(&teacher, &self.centres[0], temperature);
        let class = mean_over_directed(self.views, |target, view| {
            let target = targets.get(target as i64);
            soft_cross_entropy(&target, &logits[view], self.config.student_temperature)
        });
        let (patch, patch_centre) = self.patch_loss(student_patches, teacher_patches, context);
        let momentum = self.config.centre_momentum;
        let centre = distillation::moved_centre(&self.centres[0], &teacher, momentum);
        self.pending = Some([centre, patch_centre]);
        self.shares = Some(targets.mean_dim([0i64, 1].as_slice(), false, Kind::Float));
        let parts = vec![
            ("class", class.detach()),
            ("patch", patch.detach()),
            ("teacher_entropy", distillation::entropy(&targets)),
        ];
        let total = class * self.config.class_weight + patch * self.config.patch_weight;
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
        if let Some(moved) = self.pending.take() {
            tch::no_grad(|| {
                self.centres.iter_mut().zip(&moved).for_each(|(centre, moved)| centre.copy_(moved));
            });
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
            Symptom::PrototypeCollapse => "a faster centre (`method.centre_momentum` lower)",
            _ => "a lower `method.teacher_temperature`",
        })
    }

    fn prototypes(&self) -> Option<&Tensor> {
        self.shares.as_ref()
    }
}
