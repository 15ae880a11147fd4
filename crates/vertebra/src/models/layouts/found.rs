//! What the shapes of renamed tensors tell of a network.

mod convnext;
mod resnet;
mod swin;
mod vit;

use std::collections::BTreeMap;
use std::path::Path;

use pixels::plan::Preprocess;
use tch::Tensor;

use super::beside::Beside;
use super::table::foreign;
use super::{Layout, Network};
use crate::error::{Error, Result};
use crate::models::BackboneConfig;

pub use convnext::{ConvNext, fit};
pub use resnet::ResNet;
pub use swin::Swin;
pub use vit::Vit;

/// A network by what its tensors are, known to this library or not.
#[derive(Clone, Debug, PartialEq)]
pub enum Found {
    ResNet(ResNet),
    Vit(Vit),
    ConvNext(ConvNext),
    Swin(Swin),
}

impl Found {
    /// The preprocessing of its publishers.
    pub fn preprocess(&self) -> Preprocess {
        match self {
            Self::ResNet(_) => super::standards::resnet(),
            Self::Vit(vit) => vit.preprocess(),
            Self::ConvNext(_) => super::standards::whole(224),
            Self::Swin(swin) => super::standards::swin(swin.config.image as usize),
        }
    }

    /// Channels of the images.
    pub fn channels(&self) -> i64 {
        match self {
            Self::ResNet(it) => it.channels,
            Self::Vit(it) => it.channels,
            Self::ConvNext(it) => it.channels,
            Self::Swin(it) => it.channels,
        }
    }

    /// Decides what shapes do not tell: by what lies beside the file, by a person's word (`quick`: CLIP's activation;
    /// `named`: that the published options of the size are meant), else by the layout. An error where it cannot.
    pub fn settle(
        &mut self,
        path: &Path,
        layout: &Layout,
        beside: &Beside,
        quick: Option<bool>,
        named: bool,
    ) -> Result<()> {
        match self {
            Self::Vit(vit) => vit.settle(path, layout, quick, beside),
            Self::Swin(swin) => swin.settle(path, beside, named),
            Self::ResNet(_) | Self::ConvNext(_) => Ok(()),
        }
    }

    /// The architecture of this library that it is.
    pub fn backbone(&self) -> Option<BackboneConfig> {
        match self {
            Self::ResNet(it) => it.backbone(),
            Self::Vit(it) => it.backbone(),
            Self::ConvNext(it) => it.backbone(),
            Self::Swin(it) => it.backbone(),
        }
    }

    /// In words, for a network that has no name here.
    pub fn describe(&self) -> String {
        match self {
            Self::ResNet(it) => format!(
                "a ResNet of {:?} blocks, {} channels wide at its start",
                it.shape.stages, it.config.width
            ),
            Self::Vit(it) => format!(
                "a ViT of {} blocks, {} wide, with patches of {} pixels",
                it.depth, it.width, it.config.patch
            ),
            Self::ConvNext(it) => {
                let stages = it.shape.stages.map(|stage| (stage.blocks, stage.width));
                format!(
                    "a ConvNeXt {:?} whose stages have (blocks, channels) {stages:?}",
                    it.shape.version
                )
            }
            Self::Swin(it) => format!(
                "a Swin whose stages have (blocks, heads) {:?}, {} channels wide at its start",
                it.stages, it.width
            ),
        }
    }
}

/// Reads a network from its tensors, and brings those into the form that it has here. `window` is a Swin's, where the
/// file had a table of it.
pub fn read(
    path: &Path,
    layout: &Layout,
    window: Option<i64>,
    tensors: &mut BTreeMap<String, Tensor>,
) -> Result<Found> {
    let shapes = Shapes { path, layout, tensors };
    Ok(match layout.network {
        Network::ResNet => Found::ResNet(resnet::read(&shapes)?),
        Network::ConvNext => Found::ConvNext(convnext::read(&shapes)?),
        Network::Swin => Found::Swin(swin::read(&shapes, window)?),
        Network::Vit => {
            let (found, folds) = vit::read(&shapes)?;
            if folds {
                vit::fold_class_position(tensors);
            }
            Found::Vit(found)
        }
    })
}

/// The shapes of tensors under our names; what is not there is an error that has the file's name.
struct Shapes<'a> {
    path: &'a Path,
    layout: &'a Layout,
    tensors: &'a BTreeMap<String, Tensor>,
}

impl Shapes<'_> {
    fn has(&self, name: &str) -> bool {
        self.tensors.contains_key(name)
    }

    /// The shape of a tensor that must be there with `N` dimensions.
    fn of<const N: usize>(&self, name: &str) -> Result<[i64; N]> {
        let Some(tensor) = self.tensors.get(name) else {
            let theirs = foreign(self.layout.rows, name).unwrap_or_else(|| name.into());
            return Err(Error::MissingTensor {
                path: self.path.into(),
                name: theirs,
                nearest: None,
            });
        };
        let found = tensor.size();
        found.clone().try_into().map_err(|_| self.unusual(name, format!("has shape {found:?}")))
    }

    /// How many numbers follow each other from 0 in `PREFIX.N.`.
    fn count(&self, prefix: &str) -> i64 {
        let there = |n: &i64| {
            let start = format!("{prefix}.{n}.");
            self.tensors
                .range(start.clone()..)
                .next()
                .is_some_and(|(name, _)| name.starts_with(&start))
        };
        (0..).take_while(there).count() as i64
    }

    fn unusual(&self, name: &str, problem: String) -> Error {
        let theirs = foreign(self.layout.rows, name).unwrap_or_else(|| name.into());
        Error::Damaged {
            what: "file of weights",
            path: self.path.into(),
            problem: format!("`{theirs}` {problem}"),
        }
    }
}
