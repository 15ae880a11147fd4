use super::Shapes;
use crate::error::Result;
use crate::models::BackboneConfig;
use crate::models::resnet::{Block, ResNetConfig, Shape, Stem};
use crate::models::resnet::{RESNET18, RESNET34, RESNET50};

/// A residual network.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct ResNet {
    pub shape: Shape,
    pub config: ResNetConfig,
    pub channels: i64,
}

/// Which shapes have names.
const NAMES: &[(Shape, fn(ResNetConfig) -> BackboneConfig)] = &[
    (RESNET18, BackboneConfig::Resnet18),
    (RESNET34, BackboneConfig::Resnet34),
    (RESNET50, BackboneConfig::Resnet50),
];

pub fn read(shapes: &Shapes) -> Result<ResNet> {
    let [width, channels, kernel, _] = shapes.of::<4>("conv1.weight")?;
    let block = if shapes.has("layer1.0.conv3.weight") { Block::Bottleneck } else { Block::Basic };
    let stages = [1, 2, 3, 4].map(|stage| shapes.count(&format!("layer{stage}")));
    let stem = match kernel {
        7 => Stem::Standard,
        3 => Stem::Small,
        _ => return Err(shapes.unusual("conv1.weight", format!("is {kernel} pixels wide, not 7 or 3"))),
    };
    let config = ResNetConfig { stem, width, ..ResNetConfig::default() };
    Ok(ResNet { shape: Shape { block, stages }, config, channels })
}

impl ResNet {
    pub fn backbone(&self) -> Option<BackboneConfig> {
        NAMES.iter().find(|(shape, _)| *shape == self.shape).map(|(_, named)| named(self.config))
    }
}
