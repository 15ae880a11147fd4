use std::path::Path;

use super::super::beside::Beside;
use super::Shapes;
use crate::error::{Error, Result};
use crate::models::swin::{SwinConfig, SwinV2Config};
use crate::models::{BackboneConfig, Family};

/// A Swin of either version.
#[derive(Clone, Debug, PartialEq)]
pub struct Swin {
    /// Blocks and heads of each stage.
    pub stages: Vec<(i64, i64)>,
    /// Channels of the first stage.
    pub width: i64,
    /// Whether attention is by cosines and position biases come from an MLP: version 2.
    pub second: bool,
    pub config: SwinConfig,
    pub channels: i64,
    /// Whether the file tells `config.window`: timm's of the second version do not.
    pub told: bool,
}

const NAMED: &[fn(SwinConfig) -> BackboneConfig] = &[
    BackboneConfig::SwinTiny,
    BackboneConfig::SwinSmall,
    BackboneConfig::SwinBase,
    BackboneConfig::SwinLarge,
];
const NAMED_V2: &[fn(SwinV2Config) -> BackboneConfig] = &[
    BackboneConfig::Swinv2Tiny,
    BackboneConfig::Swinv2Small,
    BackboneConfig::Swinv2Base,
    BackboneConfig::Swinv2Large,
];

/// `window` is that of a table that Microsoft's files have and nothing here reads.
pub fn read(shapes: &Shapes, window: Option<i64>) -> Result<Swin> {
    let [width, channels, patch, _] = shapes.of::<4>("patch_embed.proj.weight")?;
    let second = shapes.has("layers.0.blocks.0.attn.logit_scale");
    let count = shapes.count("layers");
    let mut stages = Vec::new();
    let mut told = window;
    for i in 0..count {
        let attn = format!("layers.{i}.blocks.0.attn");
        let heads = if second {
            let [heads, _, _] = shapes.of::<3>(&format!("{attn}.logit_scale"))?;
            heads
        } else {
            let name = format!("{attn}.relative_position_bias_table");
            let [distances, heads] = shapes.of::<2>(&name)?;
            // (2 w − 1)² distances within a window; the last stage's may be smaller than the first's.
            told = told.or(Some(((distances.max(1) as f64).sqrt().round() as i64 + 1) / 2));
            heads
        };
        stages.push((shapes.count(&format!("layers.{i}.blocks")), heads));
    }
    let published = SwinV2Config::default();
    // Every published size has a last map of one window, which is an image of so many.
    let image = told.map_or(published.image, |window| window * (patch << (count - 1).clamp(0, 8)));
    let config = SwinConfig { image, patch, window: told.unwrap_or(published.window) };
    Ok(Swin { stages, width, second, config, channels, told: told.is_some() })
}

impl Swin {
    /// Decides the windows that shapes do not tell: by what lies beside the file, or by the size that a person named.
    pub fn settle(&mut self, path: &Path, beside: &Beside, named: bool) -> Result<()> {
        if let (true, Some(window)) = (self.second, beside.window) {
            (self.config.window, self.told) = (window, true);
        }
        if let Some(preprocess) = &beside.preprocess {
            self.config.image = preprocess.crop as i64;
        }
        if self.told {
            return Ok(());
        }
        let published = BackboneConfig::all().into_iter().find(|it| self.is(it));
        match published.map(|it| it.family()) {
            Some(Family::Swin(_, config)) if named => {
                (self.config.image, self.config.window) = (config.image, config.window);
                Ok(())
            }
            _ => Err(Error::Usage {
                problem: format!(
                    "{}: a Swin V2, and nothing says how large its windows are",
                    path.display()
                ),
                hint: Some(
                    "put its config.json beside it, or say `swinv2_tiny=FILE` where they are the \
                     size's default"
                        .into(),
                ),
            }),
        }
    }

    /// The published size that it has.
    pub fn backbone(&self) -> Option<BackboneConfig> {
        let SwinConfig { image, patch, window } = self.config;
        let second = SwinV2Config { image, patch, window };
        if self.second {
            return NAMED_V2.iter().map(|named| named(second)).find(|named| self.is(named));
        }
        NAMED.iter().map(|named| named(self.config)).find(|named| self.is(named))
    }

    fn is(&self, named: &BackboneConfig) -> bool {
        let Family::Swin(shape, _) = named.family() else { return false };
        let stages = shape.stages.iter().map(|stage| (stage.blocks, stage.heads));
        let second = matches!(shape.version, crate::models::swin::Version::V2);
        shape.width == self.width && second == self.second && stages.eq(self.stages.iter().copied())
    }
}
