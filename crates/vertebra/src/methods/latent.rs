//! What predicts tokens in the space of a teacher: a student that sees a few patches, a predictor of what the teacher says of others, and
//! the teacher, which sees the whole picture and follows. I-JEPA and image world models are made of it.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};
use tch::{Device, Kind, Tensor};

use super::network::{Network, Teacher};
use super::{Context, Inputs, Loss, expect, mask};
use crate::error::Result;
use crate::models::heads::MlpConfig;
use crate::models::vit::gather;
use crate::models::vit::predictor::{Places, Predictor, PredictorConfig, PredictorSpec};
use crate::models::{Backbone, Mode, no_tap};
use crate::objectives::reconstruction::{layer_normed, smooth_l1};
use crate::training::schedule;

/// How far a prediction is from its target, each number by itself.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Distance {
    /// e² / 2 below 1, |e| − 1/2 above: I-JEPA's code.
    SmoothL1,
    /// e²: I-JEPA's paper and image world models.
    L2,
}

impl Distance {
    fn of(self, error: &Tensor) -> Tensor {
        match self {
            Self::SmoothL1 => smooth_l1(error, 1.0),
            Self::L2 => error.square(),
        }
    }
}

/// Student, predictor and teacher, named `backbone.…`, `predictor.…` and `teacher.backbone.…`.
pub struct Latent {
    network: Network,
    predictor: Predictor,
    teacher: Teacher,
    patch: i64,
}

/// Refuses a backbone, a predictor or a momentum that cannot be had; `title` is the method's.
pub fn check(
    title: &str,
    inputs: &Inputs,
    predictor: PredictorConfig,
    momentum: f64,
) -> Result<()> {
    let (shape, _) = mask::transformer(title, inputs)?;
    predictor.check("method.predictor", shape.heads)?;
    expect("method.momentum", (0.0..=1.0).contains(&momentum), "0 to 1", momentum)
}

impl Latent {
    /// With fresh weights from torch's generator; the teacher equals the student. `complete` fills in what the predictor is told.
    pub fn new(
        inputs: &Inputs,
        predictor: PredictorConfig,
        complete: impl Fn(PredictorSpec) -> PredictorSpec,
        device: Device,
    ) -> Self {
        let none = MlpConfig::of(&[]);
        let network = Network::new(inputs, &none, device);
        let (shape, vit) = inputs.backbone.transformer().expect("a checked backbone is a ViT");
        let spec = complete(predictor.over(shape.width, shape.heads));
        let predictor = Predictor::new(&(network.root() / "predictor"), spec);
        let teacher = Teacher::of(&network, inputs, &none, device)
            .expect("a copy has the names of its original");
        Self { network, predictor, teacher, patch: vit.patch }
    }

    /// Rows and columns of patches of images `[N, C, H, W]`.
    pub fn grid(&self, images: &Tensor) -> [usize; 2] {
        mask::grid(images, self.patch)
    }

    /// For each image the mean error of the predictions, over the questions, the patches of each and the numbers of a patch, `[N]`; then the
    /// student's pooled tokens and the teacher's, `[N, D]`.
    ///
    /// The student sees the patches `seen` `[N, K]` of `source`; the teacher all of `target`. Each question of `asked`, `[N, M]`, is
    /// answered by itself: its patches do not see those of another.
    pub fn errors(
        &self,
        [source, target]: [&Tensor; 2],
        (seen, asked): (&Tensor, &[Tensor]),
        action: Option<&Tensor>,
        distance: Distance,
        context: &Context,
    ) -> Vec<Tensor> {
        let grid = self.grid(source).map(|side| side as i64);
        let (answers, pooled) = context.autocast(|| {
            let features = self
                .network
                .backbone
                .forward_kept(source, seen, Mode::Train, &mut no_tap)
                .expect("a checked backbone has patches");
            let tokens = features.tokens.as_ref().expect("a checked backbone has tokens");
            let many = asked.len() as i64;
            let repeat = |rows: &Tensor| {
                let mut times = vec![1; rows.dim()];
                times[0] = many;
                rows.repeat(times)
            };
            let places = Places { grid, seen: repeat(seen), asked: Tensor::cat(asked, 0) };
            let action = action.map(repeat);
            let answers = self.predictor.forward(&repeat(tokens), &places, action.as_ref(), None);
            (answers, features.pooled)
        });
        let (targets, goal) = self.targets(target, context);
        let wanted: Vec<Tensor> = asked.iter().map(|asked| gather(&targets, asked)).collect();
        let error = answers.to_kind(Kind::Float) - Tensor::cat(&wanted, 0);
        let each = distance.of(&error).mean_dim([1i64, 2].as_slice(), false, Kind::Float);
        let each = each.view([asked.len() as i64, -1]).mean_dim(0, false, Kind::Float);
        vec![each, pooled.to_kind(Kind::Float), goal]
    }

    /// The teacher's tokens of all patches, normalised over their numbers, `[N, T, D]`, and its pooled tokens `[N, D]`; without gradient.
    fn targets(&self, images: &Tensor, context: &Context) -> (Tensor, Tensor) {
        tch::no_grad(|| {
            let backbone = self.teacher.backbone();
            let features = context.autocast(|| backbone.forward(images, Mode::Train, &mut no_tap));
            let patches = mask::patches(backbone, &features).to_kind(Kind::Float);
            (layer_normed(&patches), features.pooled.to_kind(Kind::Float))
        })
    }

    /// The loss from what [`errors`](Self::errors) gave of all images: the mean.
    pub fn loss(embedded: &[Tensor]) -> Loss {
        let total = embedded[0].mean(Kind::Float);
        let (representation, embedding) = (embedded[1].detach(), embedded[2].detach());
        let parts = vec![("prediction", total.detach())];
        Loss { total, parts, representation, embedding }
    }

    /// The teacher follows with a momentum that rises from `start` to 1 in a straight line.
    pub fn follow(&self, start: f64, context: &Context) -> Result<()> {
        let momentum = schedule::linear(start, 1.0, context.progress.done());
        self.teacher.follow(&self.network, momentum)
    }

    pub fn predictor(&self) -> PredictorSpec {
        self.predictor.spec()
    }

    pub fn variables(&self) -> BTreeMap<String, Tensor> {
        let mut variables = self.network.variables();
        variables.extend(self.teacher.variables());
        variables
    }

    pub fn parameters(&self) -> BTreeMap<String, Tensor> {
        self.network.parameters()
    }

    pub fn backbone(&self) -> &dyn Backbone {
        self.network.backbone.as_ref()
    }
}
