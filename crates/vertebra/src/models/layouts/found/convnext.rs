use super::Shapes;
use crate::error::Result;
use crate::models::BackboneConfig;

/// A ConvNeXt of either version.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct ConvNext {
    pub blocks: [i64; 4],
    pub widths: [i64; 4],
    /// Whether responses are normalised inside its blocks: version 2.
    pub second: bool,
    /// Pixels along a side of the stem's patches.
    pub patch: i64,
    pub channels: i64,
}

pub fn read(shapes: &Shapes) -> Result<ConvNext> {
    let [_, channels, patch, _] = shapes.of::<4>("stem.0.weight")?;
    let mut widths = [0; 4];
    for (i, width) in widths.iter_mut().enumerate() {
        [*width] = shapes.of::<1>(&format!("stages.{i}.blocks.0.norm.weight"))?;
    }
    let blocks = [0, 1, 2, 3].map(|i| shapes.count(&format!("stages.{i}.blocks")));
    let second = shapes.has("stages.0.blocks.0.mlp.grn.weight");
    Ok(ConvNext { blocks, widths, second, patch, channels })
}

impl ConvNext {
    pub fn backbone(&self) -> Option<BackboneConfig> {
        None
    }
}
