use super::super::beside::Beside;
use super::Shapes;
use crate::error::Result;
use crate::models::BackboneConfig;

/// A Swin of either version.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Swin {
    pub blocks: [i64; 4],
    pub heads: [i64; 4],
    /// Channels of the first stage.
    pub width: i64,
    /// Whether attention is by cosines and position biases come from an MLP: version 2.
    pub second: bool,
    pub patch: i64,
    /// Positions along a side of a window. The second version's leave no trace: 8 until [`Swin::settle`].
    pub window: i64,
    /// The images that such windows were published for.
    pub image: i64,
    pub channels: i64,
}

pub fn read(shapes: &Shapes) -> Result<Swin> {
    let [width, channels, patch, _] = shapes.of::<4>("patch_embed.proj.weight")?;
    let second = shapes.has("layers.0.blocks.0.attn.logit_scale");
    let mut heads = [0; 4];
    let mut window = 8;
    for (i, heads) in heads.iter_mut().enumerate() {
        let attn = format!("layers.{i}.blocks.0.attn");
        if second {
            [*heads, _, _] = shapes.of::<3>(&format!("{attn}.logit_scale"))?;
        } else {
            let name = format!("{attn}.relative_position_bias_table");
            let [distances, found] = shapes.of::<2>(&name)?;
            *heads = found;
            // (2 w − 1)² pairs of positions; the last stage's window may be smaller than the others'.
            let side = ((distances.max(0) as f64).sqrt().round() as i64 + 1) / 2;
            window = if i == 0 { side } else { window };
        }
    }
    let blocks = [0, 1, 2, 3].map(|i| shapes.count(&format!("layers.{i}.blocks")));
    let image = 32 * window;
    Ok(Swin { blocks, heads, width, second, patch, window, image, channels })
}

impl Swin {
    /// Decides the window of the second version.
    pub fn settle(&mut self, beside: &Beside) {
        if self.second {
            self.window = beside.window.unwrap_or(self.window);
        }
        if let Some(preprocess) = &beside.preprocess {
            self.image = preprocess.crop as i64;
        } else if self.second {
            self.image = 256;
        }
    }

    pub fn backbone(&self) -> Option<BackboneConfig> {
        None
    }
}
