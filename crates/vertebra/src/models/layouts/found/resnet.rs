use super::Shapes;
use crate::error::Result;
use crate::models::resnet::{Block, ResNetConfig, Shape, Stem};
use crate::models::{BackboneConfig, Family};

/// A residual network.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct ResNet {
    pub shape: Shape,
    pub config: ResNetConfig,
    pub channels: i64,
}

const NAMED: &[fn(ResNetConfig) -> BackboneConfig] = &[
    BackboneConfig::Resnet18,
    BackboneConfig::Resnet34,
    BackboneConfig::Resnet50,
    BackboneConfig::Resnet101,
    BackboneConfig::Resnet152,
];

pub fn read(shapes: &Shapes) -> Result<ResNet> {
    let [width, channels, kernel, _] = shapes.of::<4>("conv1.weight")?;
    let block = if shapes.has("layer1.0.conv3.weight") { Block::Bottleneck } else { Block::Basic };
    let stages = [1, 2, 3, 4].map(|stage| shapes.count(&format!("layer{stage}")));
    let stem = match kernel {
        7 => Stem::Standard,
        3 => Stem::Small,
        _ => {
            let problem = format!("is {kernel} pixels wide, not 7 or 3");
            return Err(shapes.unusual("conv1.weight", problem));
        }
    };
    let config = ResNetConfig { stem, width, ..ResNetConfig::default() };
    Ok(ResNet { shape: Shape { block, stages }, config, channels })
}

impl ResNet {
    /// The published depth that it has.
    pub fn backbone(&self) -> Option<BackboneConfig> {
        let same = |named: &BackboneConfig| matches!(named.family(), Family::ResNet(shape, _) if shape == self.shape);
        let found = NAMED.iter().map(|named| named(self.config)).find(same)?;
        let doubled = 2 * ResNetConfig::default().width;
        if matches!(found, BackboneConfig::Resnet50(c) if c.width == doubled) {
            let width = ResNetConfig::default().width;
            return Some(BackboneConfig::Resnet50x2(ResNetConfig { width, ..self.config }));
        }
        Some(found)
    }
}
