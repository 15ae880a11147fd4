use std::collections::BTreeMap;

use tch::Tensor;

use super::Shapes;
use crate::error::Result;
use crate::models::convnext::{ConvNextConfig, Shape, Stage, Version};
use crate::models::{BackboneConfig, Family};

/// A ConvNeXt of either version.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct ConvNext {
    pub shape: Shape,
    pub config: ConvNextConfig,
    pub channels: i64,
}

const NAMED: &[fn(ConvNextConfig) -> BackboneConfig] = &[
    BackboneConfig::ConvnextTiny,
    BackboneConfig::ConvnextSmall,
    BackboneConfig::ConvnextBase,
    BackboneConfig::ConvnextLarge,
    BackboneConfig::Convnextv2Atto,
    BackboneConfig::Convnextv2Femto,
    BackboneConfig::Convnextv2Pico,
    BackboneConfig::Convnextv2Nano,
    BackboneConfig::Convnextv2Tiny,
    BackboneConfig::Convnextv2Small,
    BackboneConfig::Convnextv2Base,
    BackboneConfig::Convnextv2Large,
];

pub fn read(shapes: &Shapes) -> Result<ConvNext> {
    let [_, channels, patch, _] = shapes.of::<4>("stem.0.weight")?;
    let mut stages = [Stage { blocks: 0, width: 0 }; 4];
    for (i, stage) in stages.iter_mut().enumerate() {
        let [width] = shapes.of::<1>(&format!("stages.{i}.blocks.0.norm.weight"))?;
        *stage = Stage { blocks: shapes.count(&format!("stages.{i}.blocks")), width };
    }
    let second = shapes.has("stages.0.blocks.0.mlp.grn.weight");
    let version = if second { Version::V2 } else { Version::V1 };
    let conv_mlp = shapes.of::<4>("stages.0.blocks.0.mlp.fc1.weight").is_ok();
    let shape = Shape { stages, version, conv_mlp };
    Ok(ConvNext { shape, config: ConvNextConfig { patch }, channels })
}

impl ConvNext {
    /// The published size that it has, whichever way its matrices are stored.
    pub fn backbone(&self) -> Option<BackboneConfig> {
        let wanted = (self.shape.stages, self.shape.version);
        NAMED.iter().map(|named| named(self.config)).find(|named| {
            matches!(named.family(), Family::ConvNext(it, _) if (it.stages, it.version) == wanted)
        })
    }
}

/// Matrices as `backbone` stores them: `[outputs, inputs]`, or as 1×1 convolutions.
pub fn fit(backbone: &BackboneConfig, tensors: &mut BTreeMap<String, Tensor>) {
    let Family::ConvNext(shape, _) = backbone.family() else { return };
    for (name, tensor) in tensors {
        if !name.ends_with("mlp.fc1.weight") && !name.ends_with("mlp.fc2.weight") {
            continue;
        }
        match (shape.conv_mlp, &tensor.size()[..]) {
            (true, &[outputs, inputs]) => *tensor = tensor.reshape([outputs, inputs, 1, 1]),
            (false, &[outputs, inputs, 1, 1]) => *tensor = tensor.reshape([outputs, inputs]),
            _ => {}
        }
    }
}
