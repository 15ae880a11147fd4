//! Weights from anywhere: what a file of named tensors is, and its tensors under our names.
//!
//! A file is opened prefix by prefix (`holders`), told by names that only its layout has (`LAYOUTS`), renamed by that
//! layout's table (`table`), and its architecture and options are read from the shapes (`found`). Every tensor is
//! claimed by a row, left out with a reason, or named in an error. Our names are torchvision's for ResNet and timm's for
//! all else.
//!
//! What shapes cannot tell comes from `config.json` and its like beside the file (`beside`), else from the layout: ε
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
mod standards;
mod swin;
mod table;
mod vit;

use std::collections::BTreeMap;
use std::path::Path;

use pixels::plan::Preprocess;
use tch::Tensor;

pub use found::{ConvNext, Found, ResNet, Swin, Vit};

use self::beside::Beside;
use self::table::{Renamed, Row, fits};
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
    /// Under our names. [`Imported::assign`] checks that they are all of the backbone's, with their shapes.
    pub tensors: BTreeMap<String, Tensor>,
    /// The file's names of the tensors left out, and why.
    pub left_out: Vec<(String, &'static str)>,
    pub preprocess: Preprocess,
    rows: &'static [&'static [Row]],
}

/// A foreign layout.
#[derive(Debug)]
struct Layout {
    name: &'static str,
    /// Each of these fits a name of the file.
    marks: &'static [&'static str],
    /// None of these does.
    without: &'static [&'static str],
    rows: &'static [&'static [Row]],
    network: Network,
    /// ε of a transformer's norms, where the writer's is not 1e-6.
    epsilon: Option<f64>,
}

/// How the renamed tensors are read.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Network {
    ResNet,
    Vit,
    ConvNext,
    Swin,
}

const SIGLIP: &str = "Hugging Face's names of SigLIP";

/// The first whose marks are all there is the file's.
const LAYOUTS: &[Layout] = &[
    Layout {
        name: "torchvision's names of a ResNet",
        marks: &["conv1.weight", "bn1.weight", "layer1.0.conv1.weight"],
        without: &[],
        rows: &[convolutional::RESNET],
        network: Network::ResNet,
        epsilon: None,
    },
    Layout {
        name: "DINOv2's names, blocks in chunks",
        marks: &["patch_embed.proj.weight", "blocks.?.?.norm1.weight"],
        without: &["layers.**"],
        rows: &[vit::CHUNKS, vit::TIMM],
        network: Network::Vit,
        epsilon: None,
    },
    Layout {
        name: "DINOv2's names",
        marks: &[
            "patch_embed.proj.weight",
            "blocks.?.norm1.weight",
            "mask_token",
            "blocks.?.ls1.gamma",
        ],
        without: &["layers.**"],
        rows: &[vit::TIMM],
        network: Network::Vit,
        epsilon: None,
    },
    Layout {
        name: "timm's names of a vision transformer",
        marks: &["patch_embed.proj.weight", "blocks.?.norm1.weight"],
        without: &["layers.**"],
        rows: &[vit::TIMM],
        network: Network::Vit,
        epsilon: None,
    },
    Layout {
        name: "open_clip's names of an image tower",
        marks: &["conv1.weight", "positional_embedding", "transformer.resblocks.?.ln_1.weight"],
        without: &["token_embedding.weight"],
        rows: &[clip::OPEN_CLIP],
        network: Network::Vit,
        epsilon: None,
    },
    Layout {
        name: "Hugging Face's names of CLIP",
        marks: &["embeddings.patch_embedding.weight", "pre_layrnorm.weight"],
        without: &[],
        rows: &[clip::HUGGING_FACE],
        network: Network::Vit,
        epsilon: None,
    },
    Layout {
        name: SIGLIP,
        marks: &["embeddings.patch_embedding.weight", "encoder.layers.?.layer_norm1.weight"],
        without: &["embeddings.class_embedding"],
        rows: &[clip::HUGGING_FACE],
        network: Network::Vit,
        epsilon: None,
    },
    Layout {
        name: "Hugging Face's names of DINOv2",
        marks: &["embeddings.patch_embeddings.projection.weight", "encoder.layer.?.norm1.weight"],
        without: &[],
        rows: &[hugging_face::COMMON, hugging_face::DINOV2],
        network: Network::Vit,
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
        network: Network::Vit,
        epsilon: Some(1e-12),
    },
    Layout {
        name: "timm's names of a ConvNeXt",
        marks: &["stem.0.weight", "stages.?.blocks.?.conv_dw.weight"],
        without: &[],
        rows: &[convolutional::CONVNEXT_TIMM],
        network: Network::ConvNext,
        epsilon: None,
    },
    Layout {
        name: "facebookresearch's names of a ConvNeXt",
        marks: &["downsample_layers.0.0.weight", "stages.?.?.dwconv.weight"],
        without: &[],
        rows: &[convolutional::CONVNEXT],
        network: Network::ConvNext,
        epsilon: None,
    },
    Layout {
        name: "Microsoft's names of a Swin",
        marks: &["layers.?.blocks.?.attn.qkv.weight", "layers.0.downsample.reduction.weight"],
        without: &[],
        rows: &[swin::MICROSOFT, swin::COMMON],
        network: Network::Swin,
        epsilon: None,
    },
    Layout {
        name: "timm's names of a Swin",
        marks: &["layers.?.blocks.?.attn.qkv.weight"],
        without: &[],
        rows: &[swin::TIMM, swin::COMMON],
        network: Network::Swin,
        epsilon: None,
    },
];

/// A file's tensors under our names, and what network they are.
#[derive(Debug)]
pub struct Translated {
    /// Whose names the file has.
    pub layout: &'static str,
    /// The prefix under which the encoder was, `teacher.module.backbone.`; mostly nothing.
    pub under: String,
    pub found: Found,
    pub tensors: BTreeMap<String, Tensor>,
    /// The file's names of the tensors left out, and why.
    pub left_out: Vec<(String, &'static str)>,
    rows: &'static [&'static [Row]],
}

/// What a file is, with its tensors under our names. `wanted` is the architecture that a person named, as a recipe
/// spells it, with `clip_` or `openai_clip_` before it where the activation must be said; a file of another one is an
/// error. `path` is where the tensors are from: what lies beside it is read.
pub fn recognise(
    path: &Path,
    tensors: BTreeMap<String, Tensor>,
    wanted: Option<&str>,
) -> Result<Imported> {
    let beside = beside::read(path)?;
    let (wanted, quick) = wanted.map_or((None, None), activation);
    let named = wanted.is_some();
    let mut it = settled(path, tensors, &beside, quick, named)?;
    let backbone = it.found.backbone();
    let title = backbone.map_or_else(|| it.found.describe(), |it| title(&it));
    if let Some(wanted) = wanted.filter(|wanted| backbone.is_none_or(|it| it.name() != *wanted)) {
        return Err(Error::Usage {
            problem: format!(
                "{}: this is {title} in {}, not a {wanted}",
                path.display(),
                it.layout
            ),
            hint: backbone.map(|it| format!("say `{}=FILE`, or the file alone", it.name())),
        });
    }
    let Some(backbone) = backbone else {
        let names = BackboneConfig::all().map(|it| it.name());
        return Err(Error::Usage {
            problem: format!(
                "{}: {title} in {}, a size that is not built here",
                path.display(),
                it.layout
            ),
            hint: Some(format!("there are {}", names.join(", "))),
        });
    };
    let unusable = |error: String| Error::Damaged {
        what: "file of weights",
        path: path.into(),
        problem: format!("{title} in {}, and {error}", it.layout),
    };
    backbone.check().map_err(|error| unusable(error.to_string()))?;
    let channels = usize::try_from(it.found.channels()).unwrap_or(0);
    let preprocess = beside.preprocess.unwrap_or_else(|| it.found.preprocess());
    preprocess.check(channels).map_err(|error| unusable(error.to_string()))?;
    found::fit(&backbone, &mut it.tensors);
    Ok(Imported {
        layout: it.layout,
        under: it.under,
        backbone,
        channels,
        tensors: it.tensors,
        left_out: it.left_out,
        preprocess,
        rows: it.rows,
    })
}

/// The same for networks of any size, named here or not; nothing beside the file is read. `quick` is whether CLIP's
/// activation is the quick GELU: needed for CLIP.
pub fn translate(
    path: &Path,
    tensors: BTreeMap<String, Tensor>,
    quick: Option<bool>,
) -> Result<Translated> {
    settled(path, tensors, &Beside::default(), quick, false)
}

fn settled(
    path: &Path,
    tensors: BTreeMap<String, Tensor>,
    beside: &Beside,
    quick: Option<bool>,
    named: bool,
) -> Result<Translated> {
    let opened = holders::open(tensors);
    let Some(layout) = LAYOUTS.iter().find(|layout| layout.is_of(&opened.tensors)) else {
        return Err(unknown(path, &opened.tensors));
    };
    let window = swin::window(&opened.tensors);
    let under = opened.under;
    let placed = |error| table::placed(&under, error);
    let renamed = table::apply(path, layout.rows, opened.tensors).map_err(placed)?;
    let Renamed { mut tensors, left_out } = renamed;
    let mut found = found::read(path, layout, window, &mut tensors).map_err(placed)?;
    found.settle(path, layout, beside, quick.or(beside.quick_gelu), named)?;
    let inside = left_out.into_iter().map(|(name, why)| (format!("{under}{name}"), why));
    let left_out = opened.left_out.into_iter().chain(inside).collect();
    let (layout, rows) = (layout.name, layout.rows);
    Ok(Translated { layout, under, found, tensors, left_out, rows })
}

impl Imported {
    /// Copies the tensors into the backbone's variables. All of both must find their partner of the same shape, else an
    /// error has the name that the tensor has, or would have, in the file.
    pub fn assign(&self, path: &Path, variables: &BTreeMap<String, Tensor>) -> Result<()> {
        table::assign(path, self.rows, &self.under, &self.tensors, variables)
    }
}

/// The architecture, and the activation of CLIP that the name says.
fn activation(wanted: &str) -> (Option<&str>, Option<bool>) {
    if let Some(name) = wanted.strip_prefix("openai_clip_") {
        return (Some(name), Some(true));
    }
    match wanted.strip_prefix("clip_") {
        Some(name) => (Some(name), Some(false)),
        None => (Some(wanted), None),
    }
}

impl Layout {
    fn is_of(&self, tensors: &BTreeMap<String, Tensor>) -> bool {
        let there = |mark: &&str| tensors.keys().any(|name| fits(mark, name));
        self.marks.iter().all(there) && !self.without.iter().any(there)
    }

    fn is_siglip(&self) -> bool {
        self.name == SIGLIP
    }
}

/// `a ViT-S/16`.
fn title(backbone: &BackboneConfig) -> String {
    match backbone.family() {
        super::Family::Vit(_, config) => format!("a {}/{}", backbone.title(), config.patch),
        _ => format!("a {}", backbone.title()),
    }
}

fn unknown(path: &Path, tensors: &BTreeMap<String, Tensor>) -> Error {
    let first: Vec<String> = tensors
        .iter()
        .take(4)
        .map(|(name, tensor)| format!("`{name}` {:?}", tensor.size()))
        .collect();
    let problem = match tensors.len() {
        0 => format!("{}: it holds no weights", path.display()),
        n => format!(
            "{}: {n} tensors in no layout known here: {}{}",
            path.display(),
            first.join(", "),
            if n > first.len() { ", ..." } else { "" }
        ),
    };
    let known: Vec<&str> = LAYOUTS.iter().map(|layout| layout.name).collect();
    Error::Usage { problem, hint: Some(format!("known are {}", known.join("; "))) }
}
