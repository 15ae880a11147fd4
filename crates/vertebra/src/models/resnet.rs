//! ResNet-18 to ResNet-152 (He 2016) under torchvision's names, with the stem for small images.

use serde::{Deserialize, Serialize};
use tch::{Kind, Tensor, nn};

use super::layers::{BatchNorm, Conv, ConvNorm};
use super::{Backbone, Features, Mode, Tap};

/// What a ResNet may be asked for beyond its depth.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct ResNetConfig {
    pub stem: Stem,
    /// Channels of the stem and of the first stage; 64 in the paper. Every stage doubles it.
    pub width: i64,
    /// Start every residual branch at zero (the last batch norm's scale), as VICReg's authors do.
    pub zero_init_residual: bool,
}

/// The layers before the first stage.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Stem {
    /// 7×7 stride 2, then a 3×3 max-pool of stride 2: for images of 96 pixels and more.
    Standard,
    /// 3×3 stride 1 and no pooling: for images of 32 to 64 pixels (padding 1; solo-learn pads by 2).
    Small,
}

/// Which block, and how many in each of the four stages.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Shape {
    pub block: Block,
    pub stages: [i64; 4],
}

/// The two residual blocks of the paper.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Block {
    /// Two 3×3 convolutions.
    Basic,
    /// 1×1, 3×3 (which carries the stride), 1×1; four times wider at its end.
    Bottleneck,
}

pub const RESNET18: Shape = Shape { block: Block::Basic, stages: [2, 2, 2, 2] };
pub const RESNET34: Shape = Shape { block: Block::Basic, stages: [3, 4, 6, 3] };
pub const RESNET50: Shape = Shape { block: Block::Bottleneck, stages: [3, 4, 6, 3] };
pub const RESNET101: Shape = Shape { block: Block::Bottleneck, stages: [3, 4, 23, 3] };
pub const RESNET152: Shape = Shape { block: Block::Bottleneck, stages: [3, 8, 36, 3] };

impl Default for ResNetConfig {
    fn default() -> Self {
        Self { stem: Stem::Standard, width: 64, zero_init_residual: false }
    }
}

/// A residual network without its classifier.
#[derive(Debug)]
pub struct ResNet {
    stem: Stem,
    first: ConvNorm,
    blocks: Vec<(String, Residual)>,
    width: i64,
}

impl ResNet {
    /// `channels` is that of the images.
    pub fn new(path: &nn::Path, shape: Shape, config: ResNetConfig, channels: i64) -> Self {
        let (kernel, stride) = match config.stem {
            Stem::Standard => (7, 2),
            Stem::Small => (3, 1),
        };
        let conv1 = Conv::new(&(path / "conv1"), channels, config.width, kernel, stride);
        let bn1 = BatchNorm::new(&(path / "bn1"), config.width, 1.0);
        let last_scale = if config.zero_init_residual { 0.0 } else { 1.0 };
        let mut blocks = Vec::new();
        let mut inputs = config.width;
        for (stage, &count) in shape.stages.iter().enumerate() {
            let middle = config.width << stage;
            for index in 0..count {
                let name = format!("layer{}.{index}", stage + 1);
                let stride = if stage > 0 && index == 0 { 2 } else { 1 };
                let place = path / format!("layer{}", stage + 1) / index;
                let block = Residual::new(&place, shape.block, inputs, middle, stride, last_scale);
                inputs = middle * shape.block.expansion();
                blocks.push((name, block));
            }
        }
        Self { stem: config.stem, first: ConvNorm::new(conv1, bn1), blocks, width: inputs }
    }
}

impl Backbone for ResNet {
    fn forward(&self, images: &Tensor, mode: Mode, tap: &mut Tap) -> Features {
        let mut x = self.first.forward(images, mode, true);
        if self.stem == Stem::Standard {
            x = x.max_pool2d([3, 3], [2, 2], [1, 1], [1, 1], false);
        }
        tap("stem", &x);
        for (name, block) in &self.blocks {
            x = block.forward(&x, mode);
            tap(name, &x);
        }
        let pooled = x.mean_dim([2i64, 3].as_slice(), false, None);
        tap("pooled", &pooled);
        Features { pooled, map: Some(x), tokens: None }
    }

    fn width(&self) -> i64 {
        self.width
    }

    fn freeze(&mut self, kind: Kind) {
        self.first.freeze(kind);
        for (_, block) in &mut self.blocks {
            block.freeze(kind);
        }
    }
}

impl Block {
    fn expansion(self) -> i64 {
        match self {
            Self::Basic => 1,
            Self::Bottleneck => 4,
        }
    }
}

/// A residual block: `relu(branch(x) + shortcut(x))`.
#[derive(Debug)]
struct Residual {
    /// All but the last layer of the branch.
    inner: Vec<ConvNorm>,
    last: ConvNorm,
    shortcut: Option<ConvNorm>,
}

impl Residual {
    fn new(p: &nn::Path, block: Block, inputs: i64, middle: i64, stride: i64, last: f64) -> Self {
        let outputs = middle * block.expansion();
        // kernel, inputs, outputs, stride of each convolution
        let plan: &[(i64, i64, i64, i64)] = match block {
            Block::Basic => &[(3, inputs, outputs, stride), (3, outputs, outputs, 1)],
            Block::Bottleneck => {
                &[(1, inputs, middle, 1), (3, middle, middle, stride), (1, middle, outputs, 1)]
            }
        };
        let mut branch: Vec<ConvNorm> = plan
            .iter()
            .enumerate()
            .map(|(i, &(kernel, from, to, stride))| {
                let scale = if i + 1 == plan.len() { last } else { 1.0 };
                let conv = Conv::new(&(p / format!("conv{}", i + 1)), from, to, kernel, stride);
                ConvNorm::new(conv, BatchNorm::new(&(p / format!("bn{}", i + 1)), to, scale))
            })
            .collect();
        let last = branch.pop().expect("a plan has two layers or three");
        let shortcut = (stride != 1 || inputs != outputs).then(|| {
            let conv = Conv::new(&(p / "downsample" / 0), inputs, outputs, 1, stride);
            ConvNorm::new(conv, BatchNorm::new(&(p / "downsample" / 1), outputs, 1.0))
        });
        Self { inner: branch, last, shortcut }
    }

    fn freeze(&mut self, kind: Kind) {
        let layers = self.inner.iter_mut().chain([&mut self.last]).chain(&mut self.shortcut);
        layers.for_each(|layer| layer.freeze(kind));
    }

    fn forward(&self, x: &Tensor, mode: Mode) -> Tensor {
        let mut y = x.shallow_clone();
        for layer in &self.inner {
            y = layer.forward(&y, mode, true);
        }
        match &self.shortcut {
            Some(shortcut) => self.last.forward_added(&y, &shortcut.forward(x, mode, false), mode),
            None => self.last.forward_added(&y, x, mode),
        }
    }
}
