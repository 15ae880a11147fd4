//! Backbones, heads, and weights in and out.

pub mod heads;
pub mod layers;
pub mod resnet;
pub mod vit;
pub mod weights;

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};
use tch::{Kind, Tensor, nn};

use self::resnet::{RESNET18, RESNET34, RESNET50, ResNet, ResNetConfig};
use self::vit::{Vit, VitConfig};
use crate::error::{Error, Result};

/// Whether batch statistics are learned (`Train`) or used (`Eval`).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Mode {
    Train,
    Eval,
}

impl Mode {
    pub fn is_train(self) -> bool {
        self == Self::Train
    }
}

/// Receives inside activations by name, in forward order: `stem`, `layer1.0`, ... `pooled`.
pub type Tap<'a> = dyn FnMut(&str, &Tensor) + 'a;

/// A tap that looks at nothing.
pub fn no_tap(_: &str, _: &Tensor) {}

/// What a backbone makes of a batch of images.
#[derive(Debug)]
pub struct Features {
    /// `[N, D]`: the representation that probes and projectors read.
    pub pooled: Tensor,
    /// The last feature map `[N, D, H, W]` of a convolutional backbone.
    pub map: Option<Tensor>,
    /// The normalised tokens `[N, T, D]` of a transformer; the patches, row by row, follow the first
    /// [`Backbone::prefix_tokens`].
    pub tokens: Option<Tensor>,
}

/// A visual encoder.
pub trait Backbone: Send {
    /// `images`: `[N, C, S, S]`, normalised.
    fn forward(&self, images: &Tensor, mode: Mode, tap: &mut Tap) -> Features;

    /// D, the width of `pooled`.
    fn width(&self) -> i64;

    /// How many tokens come before those of the patches: the class token first where there is one, then registers.
    fn prefix_tokens(&self) -> i64 {
        0
    }

    /// An inside activation as one vector per image, `[N, D]`: a map `[N, D, H, W]` is averaged over space, tokens
    /// `[N, T, D]` become the class token where there is one, else the mean of the patches; `[N, D]` stays.
    fn pool_tap(&self, activation: &Tensor) -> Tensor {
        match activation.dim() {
            4 => activation.mean_dim([2i64, 3].as_slice(), false, None::<Kind>),
            3 => {
                let prefix = self.prefix_tokens();
                let patches = activation.size()[1] - prefix;
                activation.narrow(1, prefix, patches).mean_dim(1, false, None::<Kind>)
            }
            _ => activation.shallow_clone(),
        }
    }
}

/// A backbone by name; the variant decides which options exist.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
#[serde(tag = "name", rename_all = "snake_case")]
pub enum BackboneConfig {
    Resnet18(ResNetConfig),
    Resnet34(ResNetConfig),
    Resnet50(ResNetConfig),
    VitTiny(VitConfig),
    VitSmall(VitConfig),
    VitBase(VitConfig),
}

impl BackboneConfig {
    /// Every name, with the published options.
    pub fn all() -> [Self; 6] {
        let (resnet, vit) = (ResNetConfig::default(), VitConfig::default());
        [
            Self::Resnet18(resnet),
            Self::Resnet34(resnet),
            Self::Resnet50(resnet),
            Self::VitTiny(vit),
            Self::VitSmall(vit),
            Self::VitBase(vit),
        ]
    }

    /// The name in recipes and on the command line.
    pub fn name(&self) -> &'static str {
        match self {
            Self::Resnet18(_) => "resnet18",
            Self::Resnet34(_) => "resnet34",
            Self::Resnet50(_) => "resnet50",
            Self::VitTiny(_) => "vit_tiny",
            Self::VitSmall(_) => "vit_small",
            Self::VitBase(_) => "vit_base",
        }
    }

    /// The papers' spelling.
    pub fn title(&self) -> &'static str {
        match self {
            Self::Resnet18(_) => "ResNet-18",
            Self::Resnet34(_) => "ResNet-34",
            Self::Resnet50(_) => "ResNet-50",
            Self::VitTiny(_) => "ViT-Ti",
            Self::VitSmall(_) => "ViT-S",
            Self::VitBase(_) => "ViT-B",
        }
    }

    /// Convolutional networks run faster with channels last.
    pub fn is_convolutional(&self) -> bool {
        matches!(self, Self::Resnet18(_) | Self::Resnet34(_) | Self::Resnet50(_))
    }

    /// Channels of the narrowest convolution behind the first; a transformer has none.
    pub fn least_channels(&self) -> i64 {
        match self {
            Self::Resnet18(c) | Self::Resnet34(c) | Self::Resnet50(c) => c.width,
            Self::VitTiny(_) | Self::VitSmall(_) | Self::VitBase(_) => i64::MAX,
        }
    }

    /// Refuses sizes that cannot be built.
    pub fn check(&self) -> Result<()> {
        let refuse = |field: &str, problem: String| {
            Err(Error::Recipe { field: format!("backbone.{field}"), problem, hint: None })
        };
        match *self {
            Self::Resnet18(c) | Self::Resnet34(c) | Self::Resnet50(c) if c.width < 1 => {
                refuse("width", format!("expected at least 1 channel, got {}", c.width))
            }
            Self::VitTiny(c) | Self::VitSmall(c) | Self::VitBase(c)
                if c.patch < 1 || c.image < c.patch || c.image % c.patch != 0 =>
            {
                let problem = format!(
                    "expected a patch that divides the image, got {} and {}",
                    c.patch, c.image
                );
                refuse("patch", problem)
            }
            _ => Ok(()),
        }
    }

    /// Builds the backbone with fresh weights under `path`; torch's generator must have been seeded.
    pub fn build(&self, path: &nn::Path, channels: i64) -> Box<dyn Backbone> {
        match *self {
            Self::Resnet18(config) => Box::new(ResNet::new(path, RESNET18, config, channels)),
            Self::Resnet34(config) => Box::new(ResNet::new(path, RESNET34, config, channels)),
            Self::Resnet50(config) => Box::new(ResNet::new(path, RESNET50, config, channels)),
            Self::VitTiny(config) => Box::new(Vit::new(path, vit::TINY, config, channels)),
            Self::VitSmall(config) => Box::new(Vit::new(path, vit::SMALL, config, channels)),
            Self::VitBase(config) => Box::new(Vit::new(path, vit::BASE, config, channels)),
        }
    }
}

/// All variables of a store, parameters and running statistics, in the order of their names.
pub fn named_variables(store: &nn::VarStore) -> BTreeMap<String, Tensor> {
    store.variables().into_iter().collect()
}

/// The parameters alone.
pub fn named_parameters(store: &nn::VarStore) -> BTreeMap<String, Tensor> {
    store.variables().into_iter().filter(|(_, variable)| variable.requires_grad()).collect()
}
