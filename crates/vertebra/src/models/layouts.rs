//! Weights from anywhere: what a file of named tensors is, and its tensors under our names.
//!
//! A file is opened prefix by prefix ([`holders`]), told by names that only its layout has ([`LAYOUTS`]), renamed by that
//! layout's table ([`table`]), and its architecture and options are read from the shapes ([`found`]). Every tensor is
//! claimed by a row, left out with a reason, or named in an error. Our names are torchvision's for ResNet and timm's for
//! all else.
//!
//! What shapes cannot tell comes from `config.json` and its like beside the file ([`beside`]), else from the layout: ε
//! is that of the library that wrote the file, MLPs have the exact GELU (SigLIP's its approximation with a tanh), the
//! class token is read where there is one, and the preprocessing is the publisher's. CLIP is trained with either of two
//! activations, and nothing in its weights tells which: without a `config.json` a person must say it, as
//! `openai_clip_vit_base=FILE` (quick GELU: OpenAI's own weights, DFN's, MetaCLIP's) or `clip_vit_base=FILE` (exact
//! GELU: LAION's, DataComp's).

mod beside;
mod clip;
mod convolutional;
mod found;
mod holders;
mod hugging_face;
mod swin;
pub mod table;
mod vit;

use std::collections::BTreeMap;
use std::path::Path;

use pixels::plan::Preprocess;
use tch::Tensor;

pub use found::Found;

use self::table::{Renamed, Row};
use super::BackboneConfig;
use crate::error::{Error, Result};

/// What a file of weights turned out to be.
#[derive(Debug)]
pub struct Imported {
    /// Whose names the file has.
    pub layout: &'static str,
    /// The prefix under which the encoder was, `teacher.module.backbone.`; mostly nothing.
    pub under: String,
    /// With the options that the shapes tell.
    pub backbone: BackboneConfig,
    /// Channels of the images.
    pub channels: usize,
    /// Under our names. [`super::weights::assign`] checks that they are all of the backbone's, with their shapes.
    pub tensors: BTreeMap<String, Tensor>,
    /// The file's names of the tensors left out, and why.
    pub left_out: Vec<(String, &'static str)>,
    pub preprocess: Preprocess,
}

/// A foreign layout.
#[derive(Debug)]
pub struct Layout {
    pub name: &'static str,
    /// Each of these fits a name of the file.
    marks: &'static [&'static str],
    /// None of these does.
    without: &'static [&'static str],
    rows: &'static [&'static [Row]],
    family: Family,
    /// ε of a transformer's norms, where the writer's is not 1e-6.
    epsilon: Option<f64>,
}

/// How the renamed tensors are read.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Family {
    ResNet,
    Vit,
    ConvNext,
    Swin,
}

/// The first whose marks are all there is the file's.
const LAYOUTS: &[Layout] = &[
    Layout {
        name: "torchvision's names of a ResNet",
        marks: &["conv1.weight", "bn1.weight", "layer1.0.conv1.weight"],
        without: &[],
        rows: &[convolutional::RESNET],
        family: Family::ResNet,
        epsilon: None,
    },
    Layout {
        name: "DINOv2's names, blocks in chunks",
        marks: &["patch_embed.proj.weight", "blocks.?.?.norm1.weight"],
        without: &["layers.**"],
        rows: &[vit::CHUNKS, vit::TIMM],
        family: Family::Vit,
        epsilon: None,
    },
    Layout {
        name: "DINOv2's names",
        marks: &["patch_embed.proj.weight", "blocks.?.norm1.weight", "mask_token", "blocks.?.ls1.gamma"],
        without: &["layers.**"],
        rows: &[vit::TIMM],
        family: Family::Vit,
        epsilon: None,
    },
    Layout {
        name: "timm's names of a vision transformer",
        marks: &["patch_embed.proj.weight", "blocks.?.norm1.weight"],
        without: &["layers.**"],
        rows: &[vit::TIMM],
        family: Family::Vit,
        epsilon: None,
    },
    Layout {
        name: "open_clip's names of an image tower",
        marks: &["conv1.weight", "positional_embedding", "transformer.resblocks.?.ln_1.weight"],
        without: &["token_embedding.weight"],
        rows: &[clip::OPEN_CLIP],
        family: Family::Vit,
        epsilon: None,
    },
    Layout {
        name: "Hugging Face's names of CLIP",
        marks: &["embeddings.patch_embedding.weight", "pre_layrnorm.weight"],
        without: &[],
        rows: &[clip::HUGGING_FACE],
        family: Family::Vit,
        epsilon: None,
    },
    Layout {
        name: "Hugging Face's names of SigLIP",
        marks: &["embeddings.patch_embedding.weight", "encoder.layers.?.layer_norm1.weight"],
        without: &["embeddings.class_embedding"],
        rows: &[clip::HUGGING_FACE],
        family: Family::Vit,
        epsilon: None,
    },
    Layout {
        name: "Hugging Face's names of DINOv2",
        marks: &["embeddings.patch_embeddings.projection.weight", "encoder.layer.?.norm1.weight"],
        without: &[],
        rows: &[hugging_face::COMMON, hugging_face::DINOV2],
        family: Family::Vit,
        epsilon: None,
    },
    Layout {
        name: "Hugging Face's names of a vision transformer",
        marks: &[
            "embeddings.patch_embeddings.projection.weight",
            "encoder.layer.?.layernorm_before.weight",
        ],
        without: &[],
        rows: &[hugging_face::COMMON, hugging_face::VIT],
        family: Family::Vit,
        epsilon: Some(1e-12),
    },
    Layout {
        name: "timm's names of a ConvNeXt",
        marks: &["stem.0.weight", "stages.?.blocks.?.conv_dw.weight"],
        without: &[],
        rows: &[convolutional::CONVNEXT_TIMM],
        family: Family::ConvNext,
        epsilon: None,
    },
    Layout {
        name: "facebookresearch's names of a ConvNeXt",
        marks: &["downsample_layers.0.0.weight", "stages.?.?.dwconv.weight"],
        without: &[],
        rows: &[convolutional::CONVNEXT],
        family: Family::ConvNext,
        epsilon: None,
    },
    Layout {
        name: "Microsoft's names of a Swin",
        marks: &["layers.?.blocks.?.attn.qkv.weight", "layers.0.downsample.reduction.weight"],
        without: &[],
        rows: &[swin::MICROSOFT, swin::COMMON],
        family: Family::Swin,
        epsilon: None,
    },
    Layout {
        name: "timm's names of a Swin",
        marks: &["layers.?.blocks.?.attn.qkv.weight"],
        without: &[],
        rows: &[swin::TIMM, swin::COMMON],
        family: Family::Swin,
        epsilon: None,
    },
];

/// What a file is, with its tensors under our names. `wanted` is the architecture that a person named, as a recipe
/// spells it, with `clip_` or `openai_clip_` before it where that must be said; a file of another one is an error.
///
/// `path` is where the tensors are from: what lies beside it is read.
pub fn recognise(
    path: &Path,
    tensors: BTreeMap<String, Tensor>,
    wanted: Option<&str>,
) -> Result<Imported> {
    let named = translate(path, tensors)?;
    let beside = beside::read(path)?;
    let found = named.found(path)?;
    let (wanted, quick) = activation(wanted);
    let quick = quick.or(beside.quick_gelu);
    let (backbone, tensors) = found.backbone(path, &named, quick, &beside, wanted)?;
    let preprocess = beside.preprocess.unwrap_or_else(|| found.preprocess());
    Ok(Imported {
        layout: named.layout.name,
        under: named.under,
        backbone,
        channels: found.channels() as usize,
        tensors,
        left_out: named.left_out,
        preprocess,
    })
}
