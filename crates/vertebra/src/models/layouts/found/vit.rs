use std::collections::BTreeMap;
use std::path::Path;

use pixels::plan::Preprocess;
use tch::Tensor;

use super::super::beside::Beside;
use super::super::{Layout, standards};
use super::Shapes;
use crate::error::{Error, Result};
use crate::models::vit::{Mlp, Pool, VitConfig};
use crate::models::{BackboneConfig, Family};

/// A vision transformer. Heads leave no trace in its shapes: the published size of the same width has them.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Vit {
    pub width: i64,
    pub depth: i64,
    /// Width of the MLPs as [`Shape`](crate::models::vit::Shape) counts it.
    pub mlp: i64,
    pub channels: i64,
    /// `mlp` and `epsilon` are those of most until `Vit::settle`.
    pub config: VitConfig,
}

const NAMED: &[fn(VitConfig) -> BackboneConfig] = &[
    BackboneConfig::VitTiny,
    BackboneConfig::VitSmall,
    BackboneConfig::VitBase,
    BackboneConfig::VitLarge,
    BackboneConfig::VitHuge,
    BackboneConfig::VitGiant,
    BackboneConfig::VitSo400m,
];

/// The network, and whether the class token's position must be folded into it.
pub fn read(shapes: &Shapes) -> Result<(Vit, bool)> {
    let [width, channels, patch, _] = shapes.of::<4>("patch_embed.proj.weight")?;
    let [_, positions, _] = shapes.of::<3>("pos_embed")?;
    let [inside, _] = shapes.of::<2>("blocks.0.mlp.fc1.weight")?;
    let [_, hidden] = shapes.of::<2>("blocks.0.mlp.fc2.weight")?;
    let class_token = shapes.has("cls_token");
    let registers = if shapes.has("reg_token") { shapes.of::<3>("reg_token")?[1] } else { 0 };
    // Packed halves, of which each is two thirds of the MLP's width.
    let gated = inside == 2 * hidden;
    let (mlp, activation) = if gated { (hidden * 3 / 2, Mlp::Swiglu) } else { (hidden, Mlp::Gelu) };
    let prefix = i64::from(class_token) + registers;
    let Some((side, placed)) = grid(positions, i64::from(class_token), prefix) else {
        let problem = format!("has {positions} positions, which are no square of patches");
        return Err(shapes.unusual("pos_embed", &problem));
    };
    let pool = if shapes.has("attn_pool.latent") {
        Pool::Attention
    } else if shapes.has("fc_norm.weight") {
        Pool::MeanNorm
    } else if class_token {
        Pool::Class
    } else {
        Pool::Mean
    };
    let config = VitConfig {
        image: side * patch,
        patch,
        pool,
        class_token,
        registers,
        prefix_positions: placed == prefix,
        layer_scale: shapes.has("blocks.0.ls1.gamma").then_some(1e-5),
        pre_norm: shapes.has("norm_pre.weight"),
        mlp: activation,
        ..VitConfig::default()
    };
    let depth = shapes.count("blocks");
    Ok((Vit { width, depth, mlp, channels, config }, placed != prefix && placed > 0))
}

/// Patches along a side, and how many of the positions are not patches': none, the class token's, or all of the
/// prefix's. Nine positions beside a class token and four registers are three by three patches, though two by two with
/// five before them would have as many.
fn grid(positions: i64, class: i64, prefix: i64) -> Option<(i64, i64)> {
    let mut placements = vec![prefix];
    if prefix > class {
        // DINOv2's own names place the class token and no register, timm's neither.
        placements = vec![0, class, prefix];
    } else if class > 0 {
        placements.push(0);
    }
    placements.into_iter().find_map(|placed| {
        let patches = positions - placed;
        let side = (patches.max(0) as f64).sqrt().round() as i64;
        (side > 0 && side * side == patches).then_some((side, placed))
    })
}

/// The class token with its position added, and positions of patches alone: the same sum, made once.
pub fn fold_class_position(tensors: &mut BTreeMap<String, Tensor>) {
    let (Some(class), Some(positions)) = (tensors.get("cls_token"), tensors.get("pos_embed"))
    else {
        return;
    };
    let patches = positions.size()[1] - 1;
    let class = class + positions.narrow(1, 0, 1);
    let positions = positions.narrow(1, 1, patches).copy();
    tensors.insert("cls_token".into(), class);
    tensors.insert("pos_embed".into(), positions);
}

impl Vit {
    /// Decides what shapes do not tell: activation, ε, and whether timm averages.
    pub(in crate::models::layouts) fn settle(
        &mut self,
        path: &Path,
        layout: &Layout,
        quick: Option<bool>,
        beside: &Beside,
    ) -> Result<()> {
        let config = &mut self.config;
        let usual = if config.pre_norm { 1e-5 } else { layout.epsilon.unwrap_or(config.epsilon) };
        config.epsilon = beside.epsilon.unwrap_or(usual);
        if config.pool == Pool::Class && beside.averages == Some(true) {
            config.pool = Pool::Mean;
        }
        if layout.is_siglip() || config.pool == Pool::Attention {
            config.mlp = Mlp::GeluTanh;
        } else if config.pre_norm {
            config.mlp = match quick {
                Some(true) => Mlp::QuickGelu,
                Some(false) => Mlp::Gelu,
                None => return Err(undecided(path)),
            };
        }
        Ok(())
    }

    /// The published size that it has.
    pub fn backbone(&self) -> Option<BackboneConfig> {
        let wanted = (self.width, self.depth, self.mlp);
        NAMED.iter().map(|named| named(self.config)).find(|named| {
            matches!(named.family(), Family::Vit(it, _) if (it.width, it.depth, it.mlp) == wanted)
        })
    }

    pub fn preprocess(&self) -> Preprocess {
        let image = self.config.image as usize;
        match self.config {
            config if config.pre_norm => standards::clip(image),
            config if config.mlp == Mlp::GeluTanh => standards::siglip(image),
            config if config.layer_scale.is_some() && config.image == 518 => standards::dinov2(),
            _ => standards::whole(image),
        }
    }
}

fn undecided(path: &Path) -> Error {
    Error::Usage {
        problem: format!(
            "{}: an image tower of CLIP, and nothing says which activation it was trained with",
            path.display()
        ),
        hint: Some(
            "say `openai_clip_vit_base=FILE` for the quick GELU (OpenAI, DFN, MetaCLIP) or \
             `clip_vit_base=FILE` for the exact one (LAION, DataComp), or put its config.json beside it"
                .into(),
        ),
    }
}
