//! Predictors: narrow transformers that say what an encoder would make of patches it has not seen (I-JEPA, Assran 2023), told where these
//! are and, in an image world model (Garrido 2024), what is done to the picture. A decoder of pixels is one with another output.
//!
//! The encoder's tokens are projected to the predictor's width; each place that is asked for is one learned mask token plus the sines
//! and cosines of the place; all go through the blocks together, and the last tokens are projected to the output.

use serde::{Deserialize, Serialize};
use tch::{Tensor, nn};

use super::block::Block;
use super::{Shape, VitConfig, gather, sincos};
use crate::error::{Error, Result};
use crate::models::layers::{LayerNorm, Linear, NARROW};

/// The size of a predictor.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct PredictorConfig {
    /// Dimensions of a token: 384 in I-JEPA, whatever the encoder. A multiple of 4 and of the heads.
    pub width: i64,
    /// Blocks.
    pub depth: i64,
    /// As many as the encoder's where absent, as in I-JEPA.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub heads: Option<i64>,
}

impl Default for PredictorConfig {
    /// I-JEPA's for ViT-L and ViT-H; for ViT-B it has 6 blocks.
    fn default() -> Self {
        Self { width: 384, depth: 12, heads: None }
    }
}

/// How a predictor is told the action.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Conditioning {
    /// Not at all.
    None,
    /// One token per number of the action, by an affine map of its own, before all others.
    Sequence,
    /// Each mask token, its place already added, goes together with the action through an MLP of three layers. The context does
    /// not.
    Feature,
}

/// All that is needed to build a predictor again.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct PredictorSpec {
    /// Dimensions of the encoder's tokens.
    pub inputs: i64,
    /// Dimensions of what is predicted.
    pub outputs: i64,
    pub width: i64,
    pub depth: i64,
    pub heads: i64,
    pub conditioning: Conditioning,
    /// Numbers of an action.
    pub actions: i64,
}

impl PredictorConfig {
    /// With the encoder's options filled in: `inputs` dimensions and `heads`. It predicts as many dimensions as it reads, and is told
    /// nothing.
    pub fn over(self, inputs: i64, heads: i64) -> PredictorSpec {
        PredictorSpec {
            inputs,
            outputs: inputs,
            width: self.width,
            depth: self.depth,
            heads: self.heads.unwrap_or(heads),
            conditioning: Conditioning::None,
            actions: 0,
        }
    }

    /// Refuses what cannot be built behind an encoder with so many `heads`; `field` is its place in the recipe.
    pub fn check(self, field: &str, heads: i64) -> Result<()> {
        let heads = self.heads.unwrap_or(heads);
        let Self { width, depth, .. } = self;
        let problem = if !(1..=1024).contains(&heads) {
            format!("expected 1 to 1024 heads, got {heads}")
        } else if !(4..=65536).contains(&width) || width % 4 != 0 || width % heads != 0 {
            format!(
                "expected a width that is a multiple of 4 and of its {heads} heads, got {width}"
            )
        } else if !(1..=256).contains(&depth) {
            format!("expected a depth of 1 to 256 blocks, got {depth}")
        } else {
            return Ok(());
        };
        let hint = Some("heads are as many as the encoder's, unless `heads` says otherwise".into());
        Err(Error::Recipe { field: field.into(), problem, hint })
    }
}

/// What is seen of a grid of patches, and what is asked for.
#[derive(Debug)]
pub struct Places {
    /// Rows and columns.
    pub grid: [i64; 2],
    /// The patches of the context, `[N, K]`.
    pub seen: Tensor,
    /// The patches to predict, `[N, M]`.
    pub asked: Tensor,
}

/// A predictor.
#[derive(Debug)]
pub struct Predictor {
    spec: PredictorSpec,
    embed: Linear,
    mask_token: Tensor,
    action: Action,
    blocks: Vec<Block>,
    norm: LayerNorm,
    proj: Linear,
}

/// The weights that read an action.
#[derive(Debug)]
enum Action {
    None,
    /// `[A, P]` each.
    Sequence {
        weight: Tensor,
        bias: Tensor,
    },
    Feature([Linear; 3]),
}

impl Predictor {
    /// With fresh weights from torch's generator. `spec` is of a checked configuration.
    pub fn new(path: &nn::Path, spec: PredictorSpec) -> Self {
        let PredictorSpec { inputs, outputs, width, depth, heads, .. } = spec;
        let shape = Shape { width, depth, heads, mlp: 4 * width };
        let mask_token = path.var("mask_token", &[1, 1, width], NARROW);
        let config = VitConfig::default();
        Self {
            spec,
            embed: Linear::transformer(&(path / "embed"), inputs, width),
            mask_token,
            action: Action::new(&(path / "action"), &spec),
            blocks: (0..depth)
                .map(|i| Block::new(&(path / "blocks" / i), shape, &config))
                .collect(),
            norm: LayerNorm::new(&(path / "norm"), width),
            proj: Linear::transformer(&(path / "proj"), width, outputs),
        }
    }

    pub fn spec(&self) -> PredictorSpec {
        self.spec
    }

    /// What is at the places asked for, `[N, M, outputs]`. `context`: the encoder's tokens `[N, prefix + K, inputs]`; those of the
    /// prefix have no place. `action`: `[N, A]`; a predictor that is told nothing does not read it. Further tokens of the
    /// predictor's own width, `[N, E, P]`, may stand beside (`beside`): those of a task.
    pub fn forward(
        &self,
        context: &Tensor,
        places: &Places,
        action: Option<&Tensor>,
        beside: Option<&Tensor>,
    ) -> Tensor {
        let [rows, columns] = places.grid;
        let table = sincos(rows, columns, self.spec.width).to_device(context.device());
        let at = |places: &Tensor| gather(&table.expand([places.size()[0], -1, -1], false), places);
        let prefix = context.size()[1] - places.seen.size()[1];
        let context = self.embed.forward(context);
        let seen = context.narrow(1, prefix, places.seen.size()[1]) + at(&places.seen);
        let mut asked = &self.mask_token + at(&places.asked);
        let mut tokens = Vec::new();
        match (&self.action, action) {
            (Action::Sequence { weight, bias }, Some(action)) => {
                tokens.push(action.unsqueeze(-1) * weight + bias);
            }
            (Action::Feature(layers), Some(action)) => asked = told(layers, &asked, action),
            (Action::None, _) | (_, None) => {}
        }
        tokens.extend(beside.map(Tensor::shallow_clone));
        if prefix > 0 {
            tokens.push(context.narrow(1, 0, prefix));
        }
        tokens.extend([seen, asked]);
        let kind = context.kind();
        let tokens: Vec<Tensor> = tokens.iter().map(|part| part.to_kind(kind)).collect();
        let mut x = Tensor::cat(&tokens, 1);
        for block in &self.blocks {
            x = block.forward(&x);
        }
        let m = places.asked.size()[1];
        let x = x.narrow(1, x.size()[1] - m, m);
        self.proj.forward(&self.norm.forward(&x))
    }
}

impl Action {
    fn new(path: &nn::Path, spec: &PredictorSpec) -> Self {
        let PredictorSpec { width, actions, conditioning, .. } = *spec;
        match conditioning {
            Conditioning::None => Self::None,
            Conditioning::Sequence => {
                let weight = path.var("weight", &[actions, width], NARROW);
                // Without a name of its own, a token of value 0 would say nothing of which number it is.
                let bias = path.var("bias", &[actions, width], NARROW);
                Self::Sequence { weight, bias }
            }
            Conditioning::Feature => Self::Feature([
                Linear::new(&(path / "0"), width + actions, width, true),
                Linear::new(&(path / "2"), width, width, true),
                Linear::new(&(path / "4"), width, width, true),
            ]),
        }
    }
}

/// Mask tokens `[N, M, P]`, each with the action `[N, A]` beside it, through three layers with ReLU between them.
fn told([first, second, third]: &[Linear; 3], asked: &Tensor, action: &Tensor) -> Tensor {
    let action = action.unsqueeze(1).expand([-1, asked.size()[1], -1], false);
    let x = Tensor::cat(&[asked, &action.to_kind(asked.kind())], -1);
    let x = second.forward(&first.forward(&x).relu()).relu();
    third.forward(&x)
}
