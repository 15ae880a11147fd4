//! Swin (Liu 2021) and Swin V2 (Liu 2022) under timm's names.
//!
//! Windows follow timm 1.0.31. `image` decides them: a stage whose map is no larger than the window has one window of
//! the map's size, and no shift. Images of another size go through those same windows (timm's `dynamic_img_size`;
//! without it timm refuses them): maps that windows do not divide are padded with zeros at their far edges, and what is
//! left of an image beyond whole patches is not seen.
//!
//! Initial values are timm's: matrices and position biases normal with std 0.02; biases 0; the patches'
//! convolution PyTorch's default; in the second version the norms that end a block 0 and the logit scale ln 10.
//! Stochastic depth, which the papers train with, is left out.

mod attention;
mod block;

use serde::{Deserialize, Serialize};
use tch::nn;
use tch::{Kind, Tensor};

use self::block::{Block, Windows};
use super::layers::{LayerNorm, Linear, default_conv_init};
use super::{Backbone, Features, Mode, Tap};

/// PyTorch's default, which Swin's norms keep.
const EPSILON: f64 = 1e-5;

/// What a Swin may be asked for beyond its size.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct SwinConfig {
    /// Height and width of the images that windows are made for, whole patches; other sizes go through the same windows.
    pub image: i64,
    /// Height and width of a patch; it must divide `image`.
    pub patch: i64,
    /// Height and width of a window, in positions of a stage's map, 1 to 64.
    pub window: i64,
}

/// The same for the second version, which was published for other sizes.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct SwinV2Config {
    /// Height and width of the images that windows are made for, whole patches; other sizes go through the same windows.
    pub image: i64,
    /// Height and width of a patch; it must divide `image`.
    pub patch: i64,
    /// Height and width of a window, in positions of a stage's map, 1 to 64. Any window takes the weights of any other
    /// (positions go through an MLP), but only the published one gives the published features.
    pub window: i64,
}

/// Channels of the first stage, doubled by each that follows, and the stages.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Shape {
    pub width: i64,
    pub stages: &'static [Stage],
    pub version: Version,
}

/// Blocks of one resolution, and the heads of their attention.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Stage {
    pub blocks: i64,
    pub heads: i64,
}

/// The two papers.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Version {
    /// Norms before the branches, scaled products, a table of position biases.
    V1,
    /// Norms after the branches, cosines, position biases from an MLP.
    V2,
}

pub const TINY: Shape = Shape::v1(96, &stages([2, 2, 6, 2], 3));
pub const SMALL: Shape = Shape::v1(96, &stages([2, 2, 18, 2], 3));
pub const BASE: Shape = Shape::v1(128, &stages([2, 2, 18, 2], 4));
pub const LARGE: Shape = Shape::v1(192, &stages([2, 2, 18, 2], 6));

/// `heads` in the first stage, and twice as many in each that follows.
const fn stages(blocks: [i64; 4], heads: i64) -> [Stage; 4] {
    let [a, b, c, d] = blocks;
    [
        Stage { blocks: a, heads },
        Stage { blocks: b, heads: 2 * heads },
        Stage { blocks: c, heads: 4 * heads },
        Stage { blocks: d, heads: 8 * heads },
    ]
}

impl Shape {
    pub const fn v1(width: i64, stages: &'static [Stage]) -> Self {
        Self { width, stages, version: Version::V1 }
    }

    /// The same size in the second version.
    #[must_use]
    pub const fn v2(self) -> Self {
        Self { version: Version::V2, ..self }
    }
}

impl Default for SwinConfig {
    fn default() -> Self {
        Self { image: 224, patch: 4, window: 7 }
    }
}

impl Default for SwinV2Config {
    fn default() -> Self {
        Self { image: 256, patch: 4, window: 8 }
    }
}

impl From<SwinV2Config> for SwinConfig {
    fn from(SwinV2Config { image, patch, window }: SwinV2Config) -> Self {
        Self { image, patch, window }
    }
}

impl SwinConfig {
    /// The field that cannot be built, and what is wrong with it.
    pub fn check(self) -> Result<(), (&'static str, String)> {
        let Self { image, patch, window } = self;
        if patch < 1 || image < patch || image % patch != 0 {
            let problem =
                format!("expected a patch that divides the image, got {patch} and {image}");
            return Err(("patch", problem));
        }
        // Every pair of a window's positions has an entry in memory.
        if !(1..=64).contains(&window) {
            return Err(("window", format!("expected 1 to 64 positions, got {window}")));
        }
        Ok(())
    }
}

/// A Swin without its classifier. `map` is the last stage's output after the last norm, and `pooled` its mean over
/// space; taps see maps before that norm, as `[N, D, H, W]` too (channels last in memory).
#[derive(Debug)]
pub struct Swin {
    patch: i64,
    projection: Tensor,
    projection_bias: Tensor,
    patch_norm: LayerNorm,
    stages: Vec<Layer>,
    norm: LayerNorm,
    width: i64,
}

/// One resolution.
#[derive(Debug)]
struct Layer {
    merging: Option<PatchMerging>,
    windows: Windows,
    blocks: Vec<Block>,
}

impl Swin {
    /// `channels` is that of the images. `config` must have been checked.
    pub fn new(path: &nn::Path, shape: Shape, config: SwinConfig, channels: i64) -> Self {
        let SwinConfig { image, patch, window } = config;
        let embed = path / "patch_embed";
        let proj = &embed / "proj";
        let init = default_conv_init(channels * patch * patch);
        let (mut width, mut side) = (shape.width, image / patch);
        let mut layers = Vec::new();
        for (i, stage) in shape.stages.iter().enumerate() {
            let path = path / "layers" / i;
            let merging =
                (i > 0).then(|| PatchMerging::new(&(&path / "downsample"), width, shape.version));
            if i > 0 {
                (width, side) = (2 * width, (side + 1) / 2);
            }
            let windows = Windows::new(side, window);
            let block = |j| {
                let path = &path / "blocks" / j;
                Block::new(&path, shape.version, width, stage.heads, windows.side, j % 2 == 1)
            };
            layers.push(Layer { merging, windows, blocks: (0..stage.blocks).map(block).collect() });
        }
        Self {
            patch,
            projection: proj.var("weight", &[shape.width, channels, patch, patch], init),
            projection_bias: proj.var("bias", &[shape.width], init),
            patch_norm: LayerNorm::with(&(&embed / "norm"), shape.width, 1.0, EPSILON),
            stages: layers,
            norm: LayerNorm::with(&(path / "norm"), width, 1.0, EPSILON),
            width,
        }
    }
}

impl Backbone for Swin {
    fn forward(&self, images: &Tensor, _mode: Mode, tap: &mut Tap) -> Features {
        let patches = images.conv2d(
            &self.projection,
            Some(&self.projection_bias),
            [self.patch; 2],
            [0i64; 2],
            [1i64; 2],
            1,
        );
        // Inside, channels are the last dimension.
        let mut x = self.patch_norm.forward(&patches.permute([0, 2, 3, 1]));
        tap("stem", &x.permute([0, 3, 1, 2]));
        for (i, layer) in self.stages.iter().enumerate() {
            if let Some(merging) = &layer.merging {
                x = merging.forward(&x);
            }
            let mask = layer.windows.mask(&x);
            for (j, block) in layer.blocks.iter().enumerate() {
                x = block.forward(&x, layer.windows, mask.as_ref());
                tap(&format!("layers.{i}.blocks.{j}"), &x.permute([0, 3, 1, 2]));
            }
        }
        let map = self.norm.forward(&x).permute([0, 3, 1, 2]);
        let pooled = map.mean_dim([2i64, 3].as_slice(), false, None::<Kind>);
        tap("pooled", &pooled);
        Features { pooled, map: Some(map), tokens: None }
    }

    fn width(&self) -> i64 {
        self.width
    }

    fn freeze(&mut self, kind: Kind) {
        for stage in &mut self.stages {
            stage.blocks.iter_mut().for_each(|block| block.freeze(kind));
        }
    }
}

/// Half the height and width, twice the channels. The first version normalises before its matrix, the second after it.
#[derive(Debug)]
struct PatchMerging {
    version: Version,
    norm: LayerNorm,
    reduction: Linear,
}

impl PatchMerging {
    fn new(path: &nn::Path, width: i64, version: Version) -> Self {
        let normed = match version {
            Version::V1 => 4 * width,
            Version::V2 => 2 * width,
        };
        Self {
            version,
            norm: LayerNorm::with(&(path / "norm"), normed, 1.0, EPSILON),
            reduction: Linear::unbiased(&(path / "reduction"), 4 * width, 2 * width),
        }
    }

    /// `[N, H, W, D]` → `[N, H / 2, W / 2, 2 D]`, rounded up.
    fn forward(&self, x: &Tensor) -> Tensor {
        let [_, h, w, d] = sides(x);
        let x = x.constant_pad_nd([0, 0, 0, w % 2, 0, h % 2]);
        let squares = x.reshape([-1, (h + 1) / 2, 2, (w + 1) / 2, 2, d]);
        // A square's columns come first, then its rows.
        let x = squares.permute([0, 1, 3, 4, 2, 5]).flatten(3, 5);
        match self.version {
            Version::V1 => self.reduction.forward(&self.norm.forward(&x)),
            Version::V2 => self.norm.forward(&self.reduction.forward(&x)),
        }
    }
}

/// The four dimensions of a map.
fn sides(x: &Tensor) -> [i64; 4] {
    let (n, h, w, d) = x.size4().expect("a map has four dimensions");
    [n, h, w, d]
}
