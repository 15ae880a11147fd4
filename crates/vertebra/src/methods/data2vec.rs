//! data2vec (Baevski et al., ICML 2022), for images: a student that does not see all patches says what a teacher, which sees them all
//! and follows the student, has at the hidden ones, in the middle and at the end of its depth.
//!
//! Target: t = LN(1/K Σ LN(zˡ)) over the outputs zˡ of the teacher's last K blocks, before its last norm, without the class token; both
//! norms without factors. L = mean over the hidden patches of the batch and the dimensions of the smooth L1 of ẑ − t, where ẑ is the
//! student's last token through one linear layer. What remains is the teacher. The authors' ViT has relative positions, which ours has
//! not, and layer scale, which is the backbone's option; their teacher drops no paths, their student some, ours none.
//!
//! With more than one view each is an image of its own, and the loss the mean over the hidden patches of all. The number of
//! hidden patches differs between images; ours is the mean over those of all ranks, the authors' a mean of the ranks' means.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};
use tch::{Device, Kind, Tensor};

use super::mask::{self, Filled};
use super::network::{Network, Teacher};
use super::{Batch, Context, Inputs, Loss, Method, Progress, expect, expect_positive};
use crate::error::Result;
use crate::models::heads::MlpConfig;
use crate::models::layers::{Linear, NARROW};
use crate::models::{Backbone, Mode, no_tap};
use crate::objectives::health::Symptom;
use crate::objectives::reconstruction;
use crate::training::schedule;

/// Masks, targets and the teacher's momentum.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Config {
    /// The share of the patches that is hidden, in blocks: 120 of 196 in the authors' code. Blocks that do not fit any more can leave a
    /// little less.
    pub mask_ratio: f64,
    /// K, how many of the last blocks make the target: 6 of 12 and of 24 in the paper.
    pub top_blocks: usize,
    /// β, where the loss turns from a parabola into a line; 2 in the paper.
    pub beta: f64,
    /// The teacher's momentum at the start, and at the end of a rise in a straight line: 0.999 and 0.9998 in the paper.
    pub momentum: f64,
    pub final_momentum: f64,
    /// Epochs of that rise; the whole run where absent.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub momentum_epochs: Option<f64>,
}

impl Default for Config {
    /// The authors' ViT-B.
    fn default() -> Self {
        Self {
            mask_ratio: 0.6125,
            top_blocks: 6,
            beta: 2.0,
            momentum: 0.999,
            final_momentum: 0.9998,
            momentum_epochs: None,
        }
    }
}

impl Config {
    pub fn check(&self, inputs: &Inputs) -> Result<()> {
        let (shape, _) = mask::transformer("data2vec", inputs)?;
        let share = 0.0 < self.mask_ratio && self.mask_ratio < 1.0;
        expect("method.mask_ratio", share, "a share between 0 and 1", self.mask_ratio)?;
        let depth = usize::try_from(shape.depth).unwrap_or(0);
        let there = (1..=depth).contains(&self.top_blocks);
        let wanted = format!("1 to the backbone's {depth} blocks");
        expect("method.top_blocks", there, &wanted, self.top_blocks)?;
        expect_positive("method.beta", self.beta)?;
        for (field, value) in
            [("method.momentum", self.momentum), ("method.final_momentum", self.final_momentum)]
        {
            expect(field, (0.0..=1.0).contains(&value), "0 to 1", value)?;
        }
        match self.momentum_epochs {
            Some(epochs) => expect_positive("method.momentum_epochs", epochs),
            None => Ok(()),
        }
    }

    /// The teacher's momentum after a step.
    fn momentum(&self, progress: Progress) -> f64 {
        let done = self.momentum_epochs.map_or(progress.done(), |all| progress.epoch() / all);
        schedule::linear(self.momentum, self.final_momentum, done)
    }
}

/// A run of data2vec.
pub struct Data2vec {
    config: Config,
    patch: i64,
    /// The first block that is part of the target.
    first_block: usize,
    network: Network,
    teacher: Teacher,
    /// What stands in the place of a hidden patch, `[D]`.
    mask_token: Tensor,
    /// From a token of the student to the teacher's.
    predictor: Linear,
}

impl Data2vec {
    pub fn new(config: &Config, inputs: &Inputs, device: Device) -> Self {
        let none = MlpConfig::of(&[]);
        let network = Network::new(inputs, &none, device);
        let teacher = Teacher::of(&network, inputs, &none, device)
            .expect("a copy has the names of its original");
        let (shape, vit) = inputs.backbone.transformer().expect("a checked backbone is a ViT");
        let path = network.root();
        let mask_token = path.var("mask_token", &[shape.width], NARROW);
        let predictor = Linear::transformer(&(&path / "predictor"), shape.width, shape.width);
        let first_block = (shape.depth as usize).saturating_sub(config.top_blocks);
        let config = config.clone();
        Self { config, patch: vit.patch, first_block, network, teacher, mask_token, predictor }
    }

    /// The teacher's tokens of a view, `[N, T, D]`.
    fn target(&self, images: &Tensor, context: &Context) -> Tensor {
        let backbone = self.teacher.backbone();
        let prefix = backbone.prefix_tokens();
        let mut blocks = Vec::new();
        let mut note = |name: &str, tokens: &Tensor| {
            let number = name.strip_prefix("blocks.").and_then(|number| number.parse().ok());
            if number.is_some_and(|number: usize| number >= self.first_block) {
                let patches = tokens.narrow(1, prefix, tokens.size()[1] - prefix);
                blocks.push(patches.to_kind(Kind::Float));
            }
        };
        tch::no_grad(|| context.autocast(|| backbone.forward(images, Mode::Train, &mut note)));
        reconstruction::mean_of_blocks(&blocks)
    }

    fn fill(&self, batch: &Batch, view: usize, context: &Context) -> Filled {
        let Config { mask_ratio, beta, .. } = self.config;
        let images = &batch.views[view];
        let [rows, columns] = mask::grid(images, self.patch);
        let mask = mask::of_batch(batch, view, context.progress, |at| {
            mask::blockwise::hidden(rows, columns, 1.0, [mask_ratio; 2], at)
        });
        let backbone = self.network.backbone.as_ref();
        let (features, prediction) = context.autocast(|| {
            let features = backbone
                .forward_masked(images, &mask, &self.mask_token, Mode::Train, &mut no_tap)
                .expect("a checked backbone has patches");
            let prediction = self.predictor.forward(&mask::patches(backbone, &features));
            (features, prediction.to_kind(Kind::Float))
        });
        let target = self.target(images, context);
        let errors = reconstruction::smooth_l1_errors(&prediction, &target, beta);
        let embedding = target.mean_dim([1i64].as_slice(), false, None::<Kind>);
        Filled::masked(&errors, &mask, &features.pooled, &embedding)
    }
}

impl Method for Data2vec {
    /// For each image the sum of its errors, the number of its hidden patches, the student's representation by what is seen of it, and
    /// the mean of the teacher's tokens.
    fn embed(&self, batch: &Batch, context: &Context) -> Vec<Tensor> {
        mask::embedded(batch, |view| self.fill(batch, view, context))
    }

    fn loss(&mut self, embedded: &[Tensor], _context: &Context) -> Result<Loss> {
        let [errors, hidden] = mask::totals(embedded);
        let total = errors / hidden.clamp_min(1.0);
        Ok(mask::loss("tokens", total, embedded))
    }

    fn after_step(&mut self, context: &Context) -> Result<()> {
        self.teacher.follow(&self.network, self.config.momentum(context.progress))
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

    fn encoder(&self) -> &'static str {
        "teacher.backbone."
    }

    fn knob(&self, _symptom: Symptom) -> Option<&'static str> {
        Some("a slower teacher (`method.momentum` higher)")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_momentum_rises_in_a_straight_line_and_stays() {
        let at = |step| Progress { seed: 0, step, steps: 1000, per_epoch: 10.0, batch: 8 };
        let of = |config: &Config, step| config.momentum(at(step));
        let whole = Config::default();
        let short = Config { momentum_epochs: Some(50.0), ..Config::default() };
        for (config, step, wanted) in [
            (&whole, 0, 0.999),
            (&whole, 500, 0.9994),
            (&whole, 1000, 0.9998),
            (&short, 250, 0.9994),
            (&short, 500, 0.9998),
            (&short, 900, 0.9998),
        ] {
            // Rounding of f64.
            assert!((of(config, step) - wanted).abs() < 1e-12, "step {step}");
        }
    }
}
