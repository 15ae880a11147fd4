//! The vision transformer (Dosovitskiy 2021) under timm's names: tiny, small and base.

use serde::{Deserialize, Serialize};
use tch::nn::{self, Init};
use tch::{Kind, Tensor};

use super::layers::{LayerNorm, Linear, default_conv_init, truncated_normal};
use super::{Backbone, Features, Mode, Tap};

/// What a transformer may be asked for beyond its size.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct VitConfig {
    /// Height and width of the images the positions are made for; other sizes interpolate them.
    pub image: i64,
    /// Height and width of a patch; it must divide `image`.
    pub patch: i64,
    /// What `pooled` is.
    pub pool: Pool,
}

/// How tokens become one vector.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Pool {
    /// The class token after the last norm.
    Class,
    /// The mean of the patch tokens after the last norm.
    Mean,
}

/// Width, depth and heads; the MLP is four times as wide.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Shape {
    pub width: i64,
    pub depth: i64,
    pub heads: i64,
}

pub const TINY: Shape = Shape { width: 192, depth: 12, heads: 3 };
pub const SMALL: Shape = Shape { width: 384, depth: 12, heads: 6 };
pub const BASE: Shape = Shape { width: 768, depth: 12, heads: 12 };

impl Default for VitConfig {
    fn default() -> Self {
        Self { image: 224, patch: 16, pool: Pool::Class }
    }
}

/// A transformer over patches, without its classifier.
#[derive(Debug)]
pub struct Vit {
    config: VitConfig,
    projection: Tensor,
    projection_bias: Tensor,
    cls_token: Tensor,
    pos_embed: Tensor,
    blocks: Vec<Layer>,
    norm: LayerNorm,
}

impl Vit {
    /// `channels` is that of the images. `config` must have been checked: `patch` divides `image`.
    pub fn new(path: &nn::Path, shape: Shape, config: VitConfig, channels: i64) -> Self {
        let Shape { width, depth, heads } = shape;
        let grid = config.image / config.patch;
        let embed = path / "patch_embed" / "proj";
        let init = default_conv_init(channels * config.patch * config.patch);
        let mut pos_embed = path.zeros("pos_embed", &[1, grid * grid + 1, width]);
        truncated_normal(&mut pos_embed, 0.02);
        Self {
            config,
            projection: embed.var("weight", &[width, channels, config.patch, config.patch], init),
            projection_bias: embed.var("bias", &[width], init),
            cls_token: path.var("cls_token", &[1, 1, width], Init::Randn { mean: 0., stdev: 1e-6 }),
            pos_embed,
            blocks: (0..depth).map(|i| Layer::new(&(path / "blocks" / i), width, heads)).collect(),
            norm: LayerNorm::new(&(path / "norm"), width),
        }
    }

    /// Positions for a grid of `rows × columns` patches, `[1, 1 + rows · columns, D]`: the learned ones, or
    /// those resampled (bicubic, antialiased, as timm does).
    fn positions(&self, rows: i64, columns: i64) -> Tensor {
        let grid = self.config.image / self.config.patch;
        if (rows, columns) == (grid, grid) {
            return self.pos_embed.shallow_clone();
        }
        let width = self.width();
        let class = self.pos_embed.narrow(1, 0, 1);
        let patches = self.pos_embed.narrow(1, 1, grid * grid);
        let square = patches.reshape([1, grid, grid, width]).permute([0, 3, 1, 2]);
        let resized =
            square.internal_upsample_bicubic2d_aa([rows, columns], false, None::<f64>, None::<f64>);
        let tokens = resized.permute([0, 2, 3, 1]).reshape([1, rows * columns, width]);
        Tensor::cat(&[class, tokens], 1)
    }
}

impl Backbone for Vit {
    fn forward(&self, images: &Tensor, _mode: Mode, tap: &mut Tap) -> Features {
        let patches = images.conv2d(
            &self.projection,
            Some(&self.projection_bias),
            [self.config.patch; 2],
            [0i64; 2],
            [1i64; 2],
            1,
        );
        let (n, _, rows, columns) = patches.size4().expect("a convolution gives four dimensions");
        let tokens = patches.flatten(2, 3).transpose(1, 2);
        let class = self.cls_token.expand([n, 1, -1], false).to_kind(tokens.kind());
        let mut x = Tensor::cat(&[class, tokens], 1) + self.positions(rows, columns);
        tap("stem", &x);
        for (i, block) in self.blocks.iter().enumerate() {
            x = block.forward(&x);
            tap(&format!("blocks.{i}"), &x);
        }
        let tokens = self.norm.forward(&x);
        let pooled = match self.config.pool {
            Pool::Class => tokens.select(1, 0),
            Pool::Mean => tokens.narrow(1, 1, rows * columns).mean_dim(1, false, None::<Kind>),
        };
        tap("pooled", &pooled);
        Features { pooled, map: None, tokens: Some(tokens) }
    }

    fn width(&self) -> i64 {
        self.cls_token.size()[2]
    }

    fn prefix_tokens(&self) -> i64 {
        1
    }

    fn pool_tap(&self, activation: &Tensor) -> Tensor {
        if activation.dim() == 3 { activation.select(1, 0) } else { activation.shallow_clone() }
    }
}

/// Attention and MLP, each after its norm and added to its input.
#[derive(Debug)]
struct Layer {
    heads: i64,
    norm1: LayerNorm,
    qkv: Linear,
    proj: Linear,
    norm2: LayerNorm,
    fc1: Linear,
    fc2: Linear,
}

impl Layer {
    fn new(path: &nn::Path, width: i64, heads: i64) -> Self {
        let (attn, mlp) = (path / "attn", path / "mlp");
        Self {
            heads,
            norm1: LayerNorm::new(&(path / "norm1"), width),
            qkv: Linear::transformer(&(&attn / "qkv"), width, 3 * width),
            proj: Linear::transformer(&(&attn / "proj"), width, width),
            norm2: LayerNorm::new(&(path / "norm2"), width),
            fc1: Linear::transformer(&(&mlp / "fc1"), width, 4 * width),
            fc2: Linear::transformer(&(&mlp / "fc2"), 4 * width, width),
        }
    }

    /// `[N, T, D]` → the same.
    fn forward(&self, x: &Tensor) -> Tensor {
        let x = x + self.attention(&self.norm1.forward(x));
        let hidden = self.fc1.forward(&self.norm2.forward(&x)).gelu("none");
        &x + self.fc2.forward(&hidden)
    }

    fn attention(&self, x: &Tensor) -> Tensor {
        let (n, t, d) = x.size3().expect("tokens have three dimensions");
        let qkv = self.qkv.forward(x).reshape([n, t, 3, self.heads, d / self.heads]);
        let qkv = qkv.permute([2, 0, 3, 1, 4]);
        let [q, k, v] = [0, 1, 2].map(|i| qkv.select(0, i));
        let mixed = Tensor::scaled_dot_product_attention(
            &q,
            &k,
            &v,
            None::<&Tensor>,
            0.0,
            false,
            None::<f64>,
            false,
        );
        self.proj.forward(&mixed.transpose(1, 2).reshape([n, t, d]))
    }
}
