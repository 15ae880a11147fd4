//! The vision transformer (Dosovitskiy 2021) under timm's names: the network of every published family.
//!
//! What the families set, where it differs from the default (size, `image` and `patch` apart):
//!
//! | weights | options |
//! |---|---|
//! | ViT, DeiT, DINO, MoCo v3 | none |
//! | DINOv2 | `layer_scale = 1e-5`; giant: `mlp = "swiglu"` |
//! | DINOv2 with registers | the same, `registers = 4`, `prefix_positions = false` |
//! | MAE, fine-tuned | `pool = "mean_norm"` |
//! | I-JEPA | `class_token = false`, `pool = "mean"` |
//! | CLIP | `pre_norm = true`, `epsilon = 1e-5`; OpenAI's: `mlp = "quick_gelu"`; its joint space: `projection = 512` |
//! | SigLIP | `class_token = false`, `pool = "attention"`, `mlp = "gelu_tanh"` |
//!
//! MoCo v3, MAE and I-JEPA have fixed sine and cosine positions: `positions = "sincos"`. Their files hold them, so they load like
//! learned ones too, and training would then move them.

use serde::{Deserialize, Serialize};
use tch::nn::{self, Init};
use tch::{Kind, Tensor};

use super::layers::{LayerNorm, Linear, default_conv_init};
use super::{Backbone, Features, Mode, Tap};

mod block;
mod positions;
pub mod predictor;

use block::{AttentionPool, Block};
pub use positions::{Positions, sincos};

/// What a transformer may be asked for beyond its size.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct VitConfig {
    /// Height and width of the images the positions are made for; other sizes interpolate them.
    pub image: i64,
    /// Height and width of a patch; it must divide `image`.
    pub patch: i64,
    /// Blocks, where not as many as the name says.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub depth: Option<i64>,
    /// Dimensions of a token, where not as many as the name says: a multiple of 64, each of which is a head.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub width: Option<i64>,
    /// Where the positions of the patches come from.
    #[serde(skip_serializing_if = "Positions::are_learned")]
    pub positions: Positions,
    /// What `pooled` is.
    pub pool: Pool,
    /// Whether a learned token comes before those of the patches.
    pub class_token: bool,
    /// Learned tokens between the class token and the patches, which nothing reads (Darcet 2024).
    pub registers: i64,
    /// Whether the class token and the registers have positions too (not timm's `no_embed_class`).
    pub prefix_positions: bool,
    /// Where set, attention and MLP are multiplied by learned factors, one per channel, that start here (Touvron 2021).
    #[serde(skip_serializing_if = "Option::is_none")]
    pub layer_scale: Option<f64>,
    /// Whether tokens are normalised before the first block; the patches' projection then has no bias.
    pub pre_norm: bool,
    /// What stands between the two layers of every MLP.
    pub mlp: Mlp,
    /// ε of every layer normalisation.
    pub epsilon: f64,
    /// Where set, `pooled` is projected to so many dimensions: CLIP's space of images and texts. Probes do better
    /// before it (Radford 2021).
    #[serde(skip_serializing_if = "Option::is_none")]
    pub projection: Option<i64>,
}

/// How tokens become one vector.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Pool {
    /// The class token after the last norm.
    Class,
    /// The mean of the patch tokens after the last norm.
    Mean,
    /// The mean of the patch tokens, then the last norm (timm's `fc_norm`); [`Features::tokens`] have no norm.
    MeanNorm,
    /// A learned query attends to the patch tokens after the last norm (Zhai 2022, 2023; timm's `attn_pool`).
    Attention,
}

/// What an MLP does to its hidden numbers.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Mlp {
    /// x · Φ(x) (Hendrycks 2016).
    Gelu,
    /// The same by its approximation with a tanh.
    GeluTanh,
    /// The same by its approximation x · σ(1.702 x).
    QuickGelu,
    /// silu(x₁) · x₂ of the two halves of the first layer (Shazeer 2020), two thirds as wide.
    Swiglu,
}

/// Width, depth and heads, and the hidden width of the MLP.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Shape {
    pub width: i64,
    pub depth: i64,
    pub heads: i64,
    pub mlp: i64,
}

pub const TINY: Shape = Shape { width: 192, depth: 12, heads: 3, mlp: 768 };
pub const SMALL: Shape = Shape { width: 384, depth: 12, heads: 6, mlp: 1536 };
pub const BASE: Shape = Shape { width: 768, depth: 12, heads: 12, mlp: 3072 };
pub const LARGE: Shape = Shape { width: 1024, depth: 24, heads: 16, mlp: 4096 };
pub const HUGE: Shape = Shape { width: 1280, depth: 32, heads: 16, mlp: 5120 };
/// DINOv2's. The giant of Zhai 2022, I-JEPA's and `open_clip`'s is 1408 wide with 16 heads.
pub const GIANT: Shape = Shape { width: 1536, depth: 40, heads: 24, mlp: 6144 };
/// SigLIP's, by the shape that Alabdulmohsin 2023 computes for 400 million parameters.
pub const SO400M: Shape = Shape { width: 1152, depth: 27, heads: 16, mlp: 4304 };

impl Default for VitConfig {
    fn default() -> Self {
        Self {
            image: 224,
            patch: 16,
            depth: None,
            width: None,
            positions: Positions::Learned,
            pool: Pool::Class,
            class_token: true,
            registers: 0,
            prefix_positions: true,
            layer_scale: None,
            pre_norm: false,
            mlp: Mlp::Gelu,
            epsilon: 1e-6,
            projection: None,
        }
    }
}

impl VitConfig {
    /// The first field that cannot be built, and why.
    pub fn problem(&self) -> Option<(&'static str, String)> {
        let Self { image, patch, registers, projection, layer_scale, epsilon, .. } = *self;
        let positive = |number: f64| number > 0.0 && number.is_finite();
        if patch < 1 || image < patch || image % patch != 0 {
            let wanted = "expected a patch that divides the image";
            return Some(("patch", format!("{wanted}, got {patch} and {image}")));
        }
        if let Some(depth) = self.depth.filter(|depth| !(1..=256).contains(depth)) {
            return Some(("depth", format!("expected 1 to 256 blocks, got {depth}")));
        }
        let fits = |width: i64| (64..=65536).contains(&width) && width % 64 == 0;
        if let Some(width) = self.width.filter(|&width| !fits(width)) {
            return Some(("width", format!("expected a multiple of 64, got {width}")));
        }
        if self.pool == Pool::Class && !self.class_token {
            let wanted =
                "\"class\" needs `class_token`; \"mean\", \"mean_norm\" and \"attention\" do not";
            return Some(("pool", wanted.into()));
        }
        if !(0..=1024).contains(&registers) {
            return Some(("registers", format!("expected 0 to 1024, got {registers}")));
        }
        if let Some(start) = layer_scale.filter(|&start| !positive(start)) {
            return Some(("layer_scale", format!("expected more than 0, got {start}")));
        }
        if !positive(epsilon) {
            return Some(("epsilon", format!("expected more than 0, got {epsilon}")));
        }
        if let Some(width) = projection.filter(|width| !(1..=65536).contains(width)) {
            return Some(("projection", format!("expected 1 to 65536 dimensions, got {width}")));
        }
        None
    }

    /// Tokens before those of the patches.
    fn prefix(&self) -> i64 {
        i64::from(self.class_token) + self.registers
    }

    /// Patches along a side of the images that the positions are made for.
    fn grid(&self) -> i64 {
        self.image / self.patch
    }
}

impl Shape {
    /// The same where a recipe wants another depth or width: heads of 64 dimensions, an MLP of four times the width.
    pub(super) fn with(self, config: &VitConfig) -> Self {
        let shape = match config.width {
            Some(width) => Self { width, heads: width / 64, mlp: 4 * width, ..self },
            None => self,
        };
        Self { depth: config.depth.unwrap_or(self.depth), ..shape }
    }
}

/// Which patches of an image a transformer sees.
#[derive(Clone, Copy)]
enum Seen<'a> {
    All,
    /// Patches where the mask `[N, T]` is true have the token `[D]` in their place.
    Masked(&'a Tensor, &'a Tensor),
    /// The patches of these places alone, `[N, K]`.
    Kept(&'a Tensor),
}

/// The tokens `[N, T, D]` at the places `[N, K]`: `[N, K, D]`.
pub fn gather(tokens: &Tensor, places: &Tensor) -> Tensor {
    tokens.gather(1, &places.unsqueeze(-1).expand([-1, -1, tokens.size()[2]], false), false)
}

/// A transformer over patches, without its classifier.
#[derive(Debug)]
pub struct Vit {
    config: VitConfig,
    width: i64,
    projection: Tensor,
    projection_bias: Option<Tensor>,
    cls_token: Option<Tensor>,
    reg_token: Option<Tensor>,
    pos_embed: Tensor,
    norm_pre: Option<LayerNorm>,
    blocks: Vec<Block>,
    /// Of tokens, or of their mean with [`Pool::MeanNorm`].
    norm: LayerNorm,
    attn_pool: Option<AttentionPool>,
    head: Option<Linear>,
}

impl Vit {
    /// `channels` is that of the images. `config` must have no [`VitConfig::problem`].
    pub fn new(path: &nn::Path, shape: Shape, config: VitConfig, channels: i64) -> Self {
        let shape = shape.with(&config);
        let width = shape.width;
        let embed = path / "patch_embed" / "proj";
        let init = default_conv_init(channels * config.patch * config.patch);
        let placed = if config.prefix_positions { config.prefix() } else { 0 };
        let pos_embed = positions::of(path, placed, &config, width);
        let token = |name: &str, count: i64| {
            let init = Init::Randn { mean: 0., stdev: 1e-6 };
            (count > 0).then(|| path.var(name, &[1, count, width], init))
        };
        let norm = |name: &str| LayerNorm::with_epsilon(&(path / name), width, config.epsilon);
        Self {
            config,
            width,
            projection: embed.var("weight", &[width, channels, config.patch, config.patch], init),
            projection_bias: (!config.pre_norm).then(|| embed.var("bias", &[width], init)),
            cls_token: token("cls_token", i64::from(config.class_token)),
            reg_token: token("reg_token", config.registers),
            pos_embed,
            norm_pre: config.pre_norm.then(|| norm("norm_pre")),
            blocks: (0..shape.depth)
                .map(|i| Block::new(&(path / "blocks" / i), shape, &config))
                .collect(),
            norm: norm(if config.pool == Pool::MeanNorm { "fc_norm" } else { "norm" }),
            attn_pool: (config.pool == Pool::Attention)
                .then(|| AttentionPool::new(&(path / "attn_pool"), shape, &config)),
            head: config
                .projection
                .map(|outputs| Linear::new(&(path / "head"), width, outputs, false)),
        }
    }

    /// Images `[N, C, H, W]` as the tokens that enter the first block, `[N, T, D]`.
    fn embed(&self, images: &Tensor, seen: Seen) -> Tensor {
        let patches = images.conv2d(
            &self.projection,
            self.projection_bias.as_ref(),
            [self.config.patch; 2],
            [0i64; 2],
            [1i64; 2],
            1,
        );
        let (_, _, rows, columns) = patches.size4().expect("a convolution gives four dimensions");
        let mut tokens = patches.flatten(2, 3).transpose(1, 2);
        if let Seen::Masked(mask, token) = seen {
            tokens = token.to_kind(tokens.kind()).where_self(&mask.unsqueeze(-1), &tokens);
        }
        let positions = self.positions(rows, columns);
        let mut tokens = if self.config.prefix_positions {
            self.with_prefix(tokens) + positions
        } else {
            self.with_prefix(tokens + positions)
        };
        if let Seen::Kept(kept) = seen {
            tokens = self.keep(&tokens, kept);
        }
        match &self.norm_pre {
            Some(norm) => norm.forward(&tokens),
            None => tokens,
        }
    }

    /// The tokens of the prefix and of the patches `kept`, `[N, K]`.
    fn keep(&self, tokens: &Tensor, kept: &Tensor) -> Tensor {
        let prefix = self.config.prefix();
        let patches = gather(&self.patches(tokens), kept);
        if prefix == 0 { patches } else { Tensor::cat(&[tokens.narrow(1, 0, prefix), patches], 1) }
    }

    /// The class token and the registers before `[N, T, D]`.
    fn with_prefix(&self, tokens: Tensor) -> Tensor {
        // As many as there are images, without naming the number: an exported trace takes any.
        let first = tokens.narrow(1, 0, 1);
        let mut parts: Vec<Tensor> = [&self.cls_token, &self.reg_token]
            .into_iter()
            .flatten()
            .map(|token| {
                token
                    .expand_as(&first.expand([-1, token.size()[1], -1], false))
                    .to_kind(tokens.kind())
            })
            .collect();
        if parts.is_empty() {
            return tokens;
        }
        parts.push(tokens);
        Tensor::cat(&parts, 1)
    }

    /// Positions for a grid of `rows × columns` patches, `[1, T, D]`, those of a prefix first: the learned ones, or those
    /// resampled (bicubic, antialiased, as timm does).
    fn positions(&self, rows: i64, columns: i64) -> Tensor {
        let grid = self.config.grid();
        if (rows, columns) == (grid, grid) {
            return self.pos_embed.shallow_clone();
        }
        let placed = self.pos_embed.size()[1] - grid * grid;
        let patches = self.pos_embed.narrow(1, placed, grid * grid);
        let square = patches.reshape([1, grid, grid, self.width]).permute([0, 3, 1, 2]);
        let resized =
            square.internal_upsample_bicubic2d_aa([rows, columns], false, None::<f64>, None::<f64>);
        let tokens = resized.permute([0, 2, 3, 1]).reshape([1, rows * columns, self.width]);
        Tensor::cat(&[self.pos_embed.narrow(1, 0, placed), tokens], 1)
    }

    /// Tokens without those of the prefix.
    fn patches(&self, tokens: &Tensor) -> Tensor {
        let prefix = self.config.prefix();
        tokens.narrow(1, prefix, tokens.size()[1] - prefix)
    }

    /// From the last block's tokens: one vector `[N, D]`, and the tokens of [`Features::tokens`].
    fn pool(&self, x: Tensor) -> (Tensor, Tensor) {
        let mean = |tokens: &Tensor| self.patches(tokens).mean_dim(1, false, None::<Kind>);
        if self.config.pool == Pool::MeanNorm {
            return (self.norm.forward(&mean(&x)), x);
        }
        let tokens = self.norm.forward(&x);
        let pooled = match (&self.attn_pool, self.config.pool) {
            (Some(pool), _) => pool.forward(&self.patches(&tokens)),
            (None, Pool::Class) => tokens.select(1, 0),
            (None, _) => mean(&tokens),
        };
        (pooled, tokens)
    }

    /// The blocks and what follows, on the tokens that enter them.
    fn encode(&self, mut x: Tensor, tap: &mut Tap) -> Features {
        tap("stem", &x);
        for (i, block) in self.blocks.iter().enumerate() {
            x = block.forward(&x);
            tap(&format!("blocks.{i}"), &x);
        }
        let (mut pooled, tokens) = self.pool(x);
        if let Some(head) = &self.head {
            pooled = head.forward(&pooled);
        }
        tap("pooled", &pooled);
        Features { pooled, map: None, tokens: Some(tokens) }
    }
}

impl Backbone for Vit {
    fn forward(&self, images: &Tensor, _mode: Mode, tap: &mut Tap) -> Features {
        self.encode(self.embed(images, Seen::All), tap)
    }

    fn forward_masked(
        &self,
        images: &Tensor,
        mask: &Tensor,
        token: &Tensor,
        _mode: Mode,
        tap: &mut Tap,
    ) -> Option<Features> {
        Some(self.encode(self.embed(images, Seen::Masked(mask, token)), tap))
    }

    fn forward_kept(
        &self,
        images: &Tensor,
        kept: &Tensor,
        _mode: Mode,
        tap: &mut Tap,
    ) -> Option<Features> {
        Some(self.encode(self.embed(images, Seen::Kept(kept)), tap))
    }

    fn width(&self) -> i64 {
        self.config.projection.unwrap_or(self.width)
    }

    fn freeze(&mut self, kind: Kind) {
        for block in &mut self.blocks {
            block.freeze(kind);
        }
    }

    fn prefix_tokens(&self) -> i64 {
        self.config.prefix()
    }

    fn pool_tap(&self, activation: &Tensor) -> Tensor {
        match activation.dim() {
            3 if self.config.class_token => activation.select(1, 0),
            3 => self.patches(activation).mean_dim(1, false, None::<Kind>),
            _ => activation.shallow_clone(),
        }
    }
}
