//! ConvNeXt (Liu 2022) and ConvNeXt V2 (Woo 2023) under timm's names.
//!
//! Initial values as in both papers: weights normal with std 0.02; biases 0; layer scale 1e-6 in the
//! first version, response normalisation 0 in the second. Stochastic depth, which the papers train with, is left out.

use serde::{Deserialize, Serialize};
use tch::nn::{self, Init};
use tch::{Kind, Tensor};

use super::layers::{LayerNorm, NARROW};
use super::{Backbone, Features, Mode, Tap};

/// What a ConvNeXt may be asked for beyond its size.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct ConvNextConfig {
    /// Height and width of the patches that the stem makes positions of, 1 to 32: 4 in the paper, 1 or 2 for images of
    /// 32 or 64 pixels (behind patches of 2, timm halves once more). Three halvings follow: images are at least eight
    /// patches wide.
    pub patch: i64,
}

/// Blocks and channels of the four stages, and what is inside a block.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Shape {
    pub stages: [Stage; 4],
    pub version: Version,
    /// Whether the files of these weights store matrices as 1×1 convolutions, `[outputs, inputs, 1, 1]`.
    pub conv_mlp: bool,
}

/// Residual blocks of one resolution.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Stage {
    pub blocks: i64,
    pub width: i64,
}

/// The two papers.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Version {
    /// Each channel of a branch is scaled by a learned number (`gamma`).
    V1,
    /// Channels inside a branch compete through global response normalisation (`grn`).
    V2,
}

pub const TINY: Shape = Shape::v1([3, 3, 9, 3], 96);
pub const SMALL: Shape = Shape::v1([3, 3, 27, 3], 96);
pub const BASE: Shape = Shape::v1([3, 3, 27, 3], 128);
pub const LARGE: Shape = Shape::v1([3, 3, 27, 3], 192);
pub const V2_ATTO: Shape = Shape::v2_by_convolutions([2, 2, 6, 2], 40);
pub const V2_FEMTO: Shape = Shape::v2_by_convolutions([2, 2, 6, 2], 48);
pub const V2_PICO: Shape = Shape::v2_by_convolutions([2, 2, 6, 2], 64);
pub const V2_NANO: Shape = Shape::v2_by_convolutions([2, 2, 8, 2], 80);

impl Shape {
    /// `width` channels in the first stage, and twice as many in each that follows.
    pub const fn v1(blocks: [i64; 4], width: i64) -> Self {
        let [a, b, c, d] = blocks;
        let stages = [
            Stage { blocks: a, width },
            Stage { blocks: b, width: 2 * width },
            Stage { blocks: c, width: 4 * width },
            Stage { blocks: d, width: 8 * width },
        ];
        Self { stages, version: Version::V1, conv_mlp: false }
    }

    /// The same size in the second version.
    #[must_use]
    pub const fn v2(self) -> Self {
        Self { version: Version::V2, ..self }
    }

    const fn v2_by_convolutions(blocks: [i64; 4], width: i64) -> Self {
        Self { conv_mlp: true, ..Self::v1(blocks, width).v2() }
    }
}

impl Default for ConvNextConfig {
    fn default() -> Self {
        Self { patch: 4 }
    }
}

impl ConvNextConfig {
    /// The smallest image that three halvings leave a position of, in pixels.
    pub fn least_side(self) -> i64 {
        8 * self.patch
    }

    /// The field that cannot be built, and what is wrong with it.
    pub fn check(self) -> Result<(), (&'static str, String)> {
        if (1..=32).contains(&self.patch) {
            return Ok(());
        }
        Err(("patch", format!("expected 1 to 32 pixels, got {}", self.patch)))
    }
}

/// A ConvNeXt without its classifier. `map` is the last stage's output; `pooled` is its mean over space, normalised
/// after that (`head.norm`).
#[derive(Debug)]
pub struct ConvNext {
    stem: Conv,
    stem_norm: LayerNorm,
    stages: Vec<(Option<Downsample>, Vec<Block>)>,
    norm: LayerNorm,
    width: i64,
}

impl ConvNext {
    /// `channels` is that of the images. `config` must have been checked.
    pub fn new(path: &nn::Path, shape: Shape, config: ConvNextConfig, channels: i64) -> Self {
        let first = shape.stages[0].width;
        let mut inputs = first;
        let mut stages = Vec::new();
        for (i, stage) in shape.stages.iter().enumerate() {
            let path = path / "stages" / i;
            let downsample =
                (i > 0).then(|| Downsample::new(&(&path / "downsample"), inputs, stage.width));
            let blocks = (0..stage.blocks)
                .map(|j| Block::new(&(&path / "blocks" / j), stage.width, shape))
                .collect();
            stages.push((downsample, blocks));
            inputs = stage.width;
        }
        Self {
            stem: Conv::patches(&(path / "stem" / 0), channels, first, config.patch),
            stem_norm: LayerNorm::new(&(path / "stem" / 1), first),
            stages,
            norm: LayerNorm::new(&(path / "head" / "norm"), inputs),
            width: inputs,
        }
    }
}

impl Backbone for ConvNext {
    fn forward(&self, images: &Tensor, _mode: Mode, tap: &mut Tap) -> Features {
        let mut x = over_channels(&self.stem_norm, &self.stem.forward(images));
        tap("stem", &x);
        for (i, (downsample, blocks)) in self.stages.iter().enumerate() {
            if let Some(downsample) = downsample {
                x = downsample.forward(&x);
            }
            for (j, block) in blocks.iter().enumerate() {
                x = block.forward(&x);
                tap(&format!("stages.{i}.blocks.{j}"), &x);
            }
        }
        let mean = x.mean_dim([2i64, 3].as_slice(), false, None::<Kind>);
        let pooled = self.norm.forward(&mean);
        tap("pooled", &pooled);
        Features { pooled, map: Some(x), tokens: None }
    }

    fn width(&self) -> i64 {
        self.width
    }
}

/// Norm, then 2×2 patches.
#[derive(Debug)]
struct Downsample {
    norm: LayerNorm,
    conv: Conv,
}

impl Downsample {
    fn new(path: &nn::Path, inputs: i64, outputs: i64) -> Self {
        Self {
            norm: LayerNorm::new(&(path / 0), inputs),
            conv: Conv::patches(&(path / 1), inputs, outputs, 2),
        }
    }

    /// `[N, C, H, W]` → `[N, outputs, H / 2, W / 2]`, rounded down.
    fn forward(&self, x: &Tensor) -> Tensor {
        self.conv.forward(&over_channels(&self.norm, x))
    }
}

/// A 7×7 convolution of each channel, then an MLP of each position, added to their input.
#[derive(Debug)]
struct Block {
    conv_dw: Conv,
    norm: LayerNorm,
    fc1: Matrix,
    response: Option<ResponseNorm>,
    fc2: Matrix,
    gamma: Option<Tensor>,
}

impl Block {
    fn new(path: &nn::Path, width: i64, shape: Shape) -> Self {
        let mlp = path / "mlp";
        let (first, conv) = (shape.version == Version::V1, shape.conv_mlp);
        Self {
            conv_dw: Conv::depthwise(&(path / "conv_dw"), width, 7),
            norm: LayerNorm::new(&(path / "norm"), width),
            fc1: Matrix::new(&(&mlp / "fc1"), width, 4 * width, conv),
            response: (!first).then(|| ResponseNorm::new(&(&mlp / "grn"), 4 * width)),
            fc2: Matrix::new(&(&mlp / "fc2"), 4 * width, width, conv),
            gamma: first.then(|| path.var("gamma", &[width], Init::Const(1e-6))),
        }
    }

    /// `[N, C, H, W]` → the same.
    fn forward(&self, x: &Tensor) -> Tensor {
        let y = self.norm.forward(&self.conv_dw.forward(x).permute([0, 2, 3, 1]));
        let mut y = self.fc1.forward(&y).gelu("none");
        if let Some(response) = &self.response {
            y = response.forward(&y);
        }
        let y = self.fc2.forward(&y);
        let y = match &self.gamma {
            Some(gamma) => y * gamma,
            None => y,
        };
        x + y.permute([0, 3, 1, 2])
    }
}

/// Global response normalisation (Woo 2023, algorithm 1): a channel's L2 norm over space, as a multiple of the mean one
/// of its image's channels (plus 1e-6), scales that channel; the input is added.
#[derive(Debug)]
struct ResponseNorm {
    weight: Tensor,
    bias: Tensor,
}

impl ResponseNorm {
    fn new(path: &nn::Path, width: i64) -> Self {
        Self {
            weight: path.var("weight", &[width], Init::Const(0.0)),
            bias: path.var("bias", &[width], Init::Const(0.0)),
        }
    }

    /// `[N, H, W, C]` → the same.
    fn forward(&self, x: &Tensor) -> Tensor {
        let norms = x.norm_scalaropt_dim(2, [1i64, 2], true);
        let mean = norms.mean_dim([-1i64].as_slice(), true, None::<Kind>);
        let response = norms / (mean + 1e-6);
        x + (x * response * &self.weight + &self.bias)
    }
}

/// A convolution with bias.
#[derive(Debug)]
struct Conv {
    weight: Tensor,
    bias: Tensor,
    stride: i64,
    padding: i64,
    groups: i64,
}

impl Conv {
    /// One position of every `side × side` pixels; what is left over at the far edges is not seen.
    fn patches(path: &nn::Path, inputs: i64, outputs: i64, side: i64) -> Self {
        Self::new(path, [outputs, inputs, side, side], side, 0, 1)
    }

    /// Each channel on its own.
    fn depthwise(path: &nn::Path, width: i64, kernel: i64) -> Self {
        Self::new(path, [width, 1, kernel, kernel], 1, kernel / 2, width)
    }

    fn new(path: &nn::Path, shape: [i64; 4], stride: i64, padding: i64, groups: i64) -> Self {
        let weight = path.var("weight", &shape, NARROW);
        let bias = path.var("bias", &[shape[0]], Init::Const(0.0));
        Self { weight, bias, stride, padding, groups }
    }

    fn forward(&self, x: &Tensor) -> Tensor {
        let (stride, padding) = ([self.stride; 2], [self.padding; 2]);
        x.conv2d(&self.weight, Some(&self.bias), stride, padding, [1i64; 2], self.groups)
    }
}

/// A fully connected layer over the last dimension, whose file may hold it as a 1×1 convolution.
#[derive(Debug)]
struct Matrix {
    weight: Tensor,
    bias: Tensor,
}

impl Matrix {
    fn new(path: &nn::Path, inputs: i64, outputs: i64, conv: bool) -> Self {
        let shape = [outputs, inputs, 1, 1];
        let weight = path.var("weight", if conv { &shape } else { &shape[..2] }, NARROW);
        Self { weight, bias: path.var("bias", &[outputs], Init::Const(0.0)) }
    }

    fn forward(&self, x: &Tensor) -> Tensor {
        x.linear(&self.weight.flatten(1, -1), Some(&self.bias))
    }
}

/// A norm over the channels of `[N, C, H, W]`. With channels last in memory nothing moves.
fn over_channels(norm: &LayerNorm, x: &Tensor) -> Tensor {
    norm.forward(&x.permute([0, 2, 3, 1])).permute([0, 3, 1, 2])
}
