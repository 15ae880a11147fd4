//! Backbones, heads, and weights in and out.

pub mod convnext;
pub mod dino_head;
pub mod heads;
pub mod layers;
pub mod layouts;
pub mod resnet;
pub mod swin;
pub mod vit;
pub mod weights;

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};
use tch::{Kind, Tensor, nn};

pub use self::heads::Head;

use self::convnext::{ConvNext, ConvNextConfig};
use self::resnet::{ResNet, ResNetConfig};
use self::swin::{Swin, SwinConfig, SwinV2Config};
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

/// Receives inside activations by name, in forward order: `stem`, `layer1.0`, ... `pooled`. Maps are `[N, D, H, W]`. A
/// frozen network may write over an activation once the tap has seen it: keep what you compute of it, or a copy.
pub type Tap<'a> = dyn FnMut(&str, &Tensor) + 'a;

/// A tap that looks at nothing.
pub fn no_tap(_: &str, _: &Tensor) {}

/// What a backbone makes of a batch of images.
#[derive(Debug)]
pub struct Features {
    /// `[N, D]`: the representation that probes and projectors read.
    pub pooled: Tensor,
    /// The last feature map `[N, D, H, W]` of a backbone that has maps: a convolutional one, or Swin.
    pub map: Option<Tensor>,
    /// The normalised tokens `[N, T, D]` of a transformer; the patches, row by row, follow the first
    /// [`Backbone::prefix_tokens`].
    pub tokens: Option<Tensor>,
}

/// A visual encoder.
pub trait Backbone: Send {
    /// `images`: `[N, C, S, S]`, normalised.
    fn forward(&self, images: &Tensor, mode: Mode, tap: &mut Tap) -> Features;

    /// The same where patches are hidden: `token` `[D]` stands in the place of the patches where `mask` `[N, T]` (bool,
    /// T patches row by row) is true, before positions are added. `None` from a backbone without patch tokens, which is
    /// what most are.
    fn forward_masked(
        &self,
        images: &Tensor,
        mask: &Tensor,
        token: &Tensor,
        mode: Mode,
        tap: &mut Tap,
    ) -> Option<Features> {
        let _ = (images, mask, token, mode, tap);
        None
    }

    /// The same of some patches alone, as if there were no others: those at the places `kept`, `[N, K]` (i64, patches row by
    /// row); `tokens` has a row for each, in that order, behind the prefix. `None` from a backbone without patch tokens.
    fn forward_kept(
        &self,
        images: &Tensor,
        kept: &Tensor,
        mode: Mode,
        tap: &mut Tap,
    ) -> Option<Features> {
        let _ = (images, kept, mode, tap);
        None
    }

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

    /// Says that the weights, which lie on the CPU, will not change again: from now on `Mode::Eval` may compute in
    /// `kind` with weights packed for it, normalisations folded into convolutions, and activations joined to products.
    /// [`frozen::can_freeze`](torch_bridge::frozen::can_freeze) must have allowed the kind. The features stay the
    /// same up to rounding, but have no gradient: a network that learns is not frozen. By default nothing changes.
    fn freeze(&mut self, kind: Kind) {
        let _ = kind;
    }
}

/// A backbone by name; the variant decides which options exist.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
#[serde(tag = "name", rename_all = "snake_case")]
pub enum BackboneConfig {
    Resnet18(ResNetConfig),
    Resnet34(ResNetConfig),
    Resnet50(ResNetConfig),
    Resnet101(ResNetConfig),
    Resnet152(ResNetConfig),
    /// ResNet-50 with twice its `width` everywhere, as VICReg's authors published it.
    Resnet50x2(ResNetConfig),
    ConvnextTiny(ConvNextConfig),
    ConvnextSmall(ConvNextConfig),
    ConvnextBase(ConvNextConfig),
    ConvnextLarge(ConvNextConfig),
    Convnextv2Atto(ConvNextConfig),
    Convnextv2Femto(ConvNextConfig),
    Convnextv2Pico(ConvNextConfig),
    Convnextv2Nano(ConvNextConfig),
    Convnextv2Tiny(ConvNextConfig),
    Convnextv2Small(ConvNextConfig),
    Convnextv2Base(ConvNextConfig),
    Convnextv2Large(ConvNextConfig),
    SwinTiny(SwinConfig),
    SwinSmall(SwinConfig),
    SwinBase(SwinConfig),
    SwinLarge(SwinConfig),
    Swinv2Tiny(SwinV2Config),
    Swinv2Small(SwinV2Config),
    Swinv2Base(SwinV2Config),
    /// Published for images of 192 pixels and windows of 12 only.
    Swinv2Large(SwinV2Config),
    VitTiny(VitConfig),
    VitSmall(VitConfig),
    VitBase(VitConfig),
    VitLarge(VitConfig),
    VitHuge(VitConfig),
    VitGiant(VitConfig),
    VitSo400m(VitConfig),
}

/// What a name stands for: a family of networks, the size of one of them, its options.
enum Family {
    ResNet(resnet::Shape, ResNetConfig),
    ConvNext(convnext::Shape, ConvNextConfig),
    Swin(swin::Shape, SwinConfig),
    Vit(vit::Shape, VitConfig),
}

impl BackboneConfig {
    /// Every name, with the published options.
    pub fn all() -> [Self; 33] {
        let (resnet, vit) = (ResNetConfig::default(), VitConfig::default());
        let convnext = ConvNextConfig::default();
        let (swin, swin_v2) = (SwinConfig::default(), SwinV2Config::default());
        [
            Self::Resnet18(resnet),
            Self::Resnet34(resnet),
            Self::Resnet50(resnet),
            Self::Resnet101(resnet),
            Self::Resnet152(resnet),
            Self::Resnet50x2(resnet),
            Self::ConvnextTiny(convnext),
            Self::ConvnextSmall(convnext),
            Self::ConvnextBase(convnext),
            Self::ConvnextLarge(convnext),
            Self::Convnextv2Atto(convnext),
            Self::Convnextv2Femto(convnext),
            Self::Convnextv2Pico(convnext),
            Self::Convnextv2Nano(convnext),
            Self::Convnextv2Tiny(convnext),
            Self::Convnextv2Small(convnext),
            Self::Convnextv2Base(convnext),
            Self::Convnextv2Large(convnext),
            Self::SwinTiny(swin),
            Self::SwinSmall(swin),
            Self::SwinBase(swin),
            Self::SwinLarge(swin),
            Self::Swinv2Tiny(swin_v2),
            Self::Swinv2Small(swin_v2),
            Self::Swinv2Base(swin_v2),
            Self::Swinv2Large(SwinV2Config { image: 192, window: 12, ..swin_v2 }),
            Self::VitTiny(vit),
            Self::VitSmall(vit),
            Self::VitBase(vit),
            Self::VitLarge(vit),
            Self::VitHuge(vit),
            Self::VitGiant(vit),
            Self::VitSo400m(vit),
        ]
    }

    /// The name in recipes and on the command line.
    pub fn name(&self) -> &'static str {
        match self {
            Self::Resnet18(_) => "resnet18",
            Self::Resnet34(_) => "resnet34",
            Self::Resnet50(_) => "resnet50",
            Self::Resnet101(_) => "resnet101",
            Self::Resnet152(_) => "resnet152",
            Self::Resnet50x2(_) => "resnet50x2",
            Self::ConvnextTiny(_) => "convnext_tiny",
            Self::ConvnextSmall(_) => "convnext_small",
            Self::ConvnextBase(_) => "convnext_base",
            Self::ConvnextLarge(_) => "convnext_large",
            Self::Convnextv2Atto(_) => "convnextv2_atto",
            Self::Convnextv2Femto(_) => "convnextv2_femto",
            Self::Convnextv2Pico(_) => "convnextv2_pico",
            Self::Convnextv2Nano(_) => "convnextv2_nano",
            Self::Convnextv2Tiny(_) => "convnextv2_tiny",
            Self::Convnextv2Small(_) => "convnextv2_small",
            Self::Convnextv2Base(_) => "convnextv2_base",
            Self::Convnextv2Large(_) => "convnextv2_large",
            Self::SwinTiny(_) => "swin_tiny",
            Self::SwinSmall(_) => "swin_small",
            Self::SwinBase(_) => "swin_base",
            Self::SwinLarge(_) => "swin_large",
            Self::Swinv2Tiny(_) => "swinv2_tiny",
            Self::Swinv2Small(_) => "swinv2_small",
            Self::Swinv2Base(_) => "swinv2_base",
            Self::Swinv2Large(_) => "swinv2_large",
            Self::VitTiny(_) => "vit_tiny",
            Self::VitSmall(_) => "vit_small",
            Self::VitBase(_) => "vit_base",
            Self::VitLarge(_) => "vit_large",
            Self::VitHuge(_) => "vit_huge",
            Self::VitGiant(_) => "vit_giant",
            Self::VitSo400m(_) => "vit_so400m",
        }
    }

    /// The papers' spelling.
    pub fn title(&self) -> &'static str {
        match self {
            Self::Resnet18(_) => "ResNet-18",
            Self::Resnet34(_) => "ResNet-34",
            Self::Resnet50(_) => "ResNet-50",
            Self::Resnet101(_) => "ResNet-101",
            Self::Resnet152(_) => "ResNet-152",
            Self::Resnet50x2(_) => "ResNet-50 (x2)",
            Self::ConvnextTiny(_) => "ConvNeXt-T",
            Self::ConvnextSmall(_) => "ConvNeXt-S",
            Self::ConvnextBase(_) => "ConvNeXt-B",
            Self::ConvnextLarge(_) => "ConvNeXt-L",
            Self::Convnextv2Atto(_) => "ConvNeXt V2-A",
            Self::Convnextv2Femto(_) => "ConvNeXt V2-F",
            Self::Convnextv2Pico(_) => "ConvNeXt V2-P",
            Self::Convnextv2Nano(_) => "ConvNeXt V2-N",
            Self::Convnextv2Tiny(_) => "ConvNeXt V2-T",
            Self::Convnextv2Small(_) => "ConvNeXt V2-S",
            Self::Convnextv2Base(_) => "ConvNeXt V2-B",
            Self::Convnextv2Large(_) => "ConvNeXt V2-L",
            Self::SwinTiny(_) => "Swin-T",
            Self::SwinSmall(_) => "Swin-S",
            Self::SwinBase(_) => "Swin-B",
            Self::SwinLarge(_) => "Swin-L",
            Self::Swinv2Tiny(_) => "SwinV2-T",
            Self::Swinv2Small(_) => "SwinV2-S",
            Self::Swinv2Base(_) => "SwinV2-B",
            Self::Swinv2Large(_) => "SwinV2-L",
            Self::VitTiny(_) => "ViT-Ti",
            Self::VitSmall(_) => "ViT-S",
            Self::VitBase(_) => "ViT-B",
            Self::VitLarge(_) => "ViT-L",
            Self::VitHuge(_) => "ViT-H",
            Self::VitGiant(_) => "ViT-g",
            Self::VitSo400m(_) => "ViT-SO400M",
        }
    }

    /// The one table of sizes; everything below reads it.
    fn family(&self) -> Family {
        match *self {
            Self::Resnet18(c) => Family::ResNet(resnet::RESNET18, c),
            Self::Resnet34(c) => Family::ResNet(resnet::RESNET34, c),
            Self::Resnet50(c) => Family::ResNet(resnet::RESNET50, c),
            Self::Resnet101(c) => Family::ResNet(resnet::RESNET101, c),
            Self::Resnet152(c) => Family::ResNet(resnet::RESNET152, c),
            Self::Resnet50x2(c) => {
                let width = c.width.saturating_mul(2);
                Family::ResNet(resnet::RESNET50, ResNetConfig { width, ..c })
            }
            Self::ConvnextTiny(c) => Family::ConvNext(convnext::TINY, c),
            Self::ConvnextSmall(c) => Family::ConvNext(convnext::SMALL, c),
            Self::ConvnextBase(c) => Family::ConvNext(convnext::BASE, c),
            Self::ConvnextLarge(c) => Family::ConvNext(convnext::LARGE, c),
            Self::Convnextv2Atto(c) => Family::ConvNext(convnext::V2_ATTO, c),
            Self::Convnextv2Femto(c) => Family::ConvNext(convnext::V2_FEMTO, c),
            Self::Convnextv2Pico(c) => Family::ConvNext(convnext::V2_PICO, c),
            Self::Convnextv2Nano(c) => Family::ConvNext(convnext::V2_NANO, c),
            Self::Convnextv2Tiny(c) => Family::ConvNext(convnext::TINY.v2(), c),
            Self::Convnextv2Small(c) => Family::ConvNext(convnext::SMALL.v2(), c),
            Self::Convnextv2Base(c) => Family::ConvNext(convnext::BASE.v2(), c),
            Self::Convnextv2Large(c) => Family::ConvNext(convnext::LARGE.v2(), c),
            Self::SwinTiny(c) => Family::Swin(swin::TINY, c),
            Self::SwinSmall(c) => Family::Swin(swin::SMALL, c),
            Self::SwinBase(c) => Family::Swin(swin::BASE, c),
            Self::SwinLarge(c) => Family::Swin(swin::LARGE, c),
            Self::Swinv2Tiny(c) => Family::Swin(swin::TINY.v2(), c.into()),
            Self::Swinv2Small(c) => Family::Swin(swin::SMALL.v2(), c.into()),
            Self::Swinv2Base(c) => Family::Swin(swin::BASE.v2(), c.into()),
            Self::Swinv2Large(c) => Family::Swin(swin::LARGE.v2(), c.into()),
            Self::VitTiny(c) => Family::Vit(vit::TINY, c),
            Self::VitSmall(c) => Family::Vit(vit::SMALL, c),
            Self::VitBase(c) => Family::Vit(vit::BASE, c),
            Self::VitLarge(c) => Family::Vit(vit::LARGE, c),
            Self::VitHuge(c) => Family::Vit(vit::HUGE, c),
            Self::VitGiant(c) => Family::Vit(vit::GIANT, c),
            Self::VitSo400m(c) => Family::Vit(vit::SO400M, c),
        }
    }

    /// The options of a ViT.
    pub fn vit(&self) -> Option<VitConfig> {
        match self.family() {
            Family::Vit(_, config) => Some(config),
            _ => None,
        }
    }

    /// The size of a ViT, with the depth and width that its options ask for, and these.
    pub fn transformer(&self) -> Option<(vit::Shape, VitConfig)> {
        match self.family() {
            Family::Vit(shape, config) => Some((shape.with(&config), config)),
            _ => None,
        }
    }

    /// Convolutional networks run faster with channels last.
    pub fn is_convolutional(&self) -> bool {
        matches!(self.family(), Family::ResNet(..) | Family::ConvNext(..))
    }

    /// Channels of the narrowest convolution behind the first; a transformer has none.
    pub fn least_channels(&self) -> i64 {
        match self.family() {
            Family::ResNet(_, c) => c.width,
            Family::ConvNext(shape, _) => shape.stages[0].width,
            Family::Swin(..) | Family::Vit(..) => i64::MAX,
        }
    }

    /// Refuses sizes that cannot be built.
    pub fn check(&self) -> Result<()> {
        let found = match self.family() {
            Family::ResNet(_, c) if c.width < 1 => {
                Err(("width", format!("expected at least 1 channel, got {}", c.width)))
            }
            Family::Vit(_, c) => c.problem().map_or(Ok(()), Err),
            Family::ConvNext(_, c) => c.check(),
            Family::Swin(_, c) => c.check(),
            Family::ResNet(..) => Ok(()),
        };
        found.map_err(|(field, problem)| Error::Recipe {
            field: format!("backbone.{field}"),
            problem,
            hint: None,
        })
    }

    /// Refuses images of a size that does not go through, or that a ViT cannot see whole; `field` is where a recipe says
    /// the size.
    pub fn check_size(&self, field: &str, size: usize) -> Result<()> {
        let refuse = |problem: String, hint: String| {
            Err(Error::Recipe { field: field.into(), problem, hint: Some(hint) })
        };
        let size = i64::try_from(size).unwrap_or(i64::MAX / 2);
        let least = match self.family() {
            Family::ResNet(..) => 1,
            Family::ConvNext(_, c) => c.least_side(),
            Family::Swin(_, c) => c.patch,
            Family::Vit(_, VitConfig { patch, .. }) if size < 1 || size % patch != 0 => {
                let nearest = ((size + patch / 2) / patch).max(1) * patch;
                let problem =
                    format!("expected a multiple of the patch of {patch} pixels, got {size}");
                return refuse(problem, format!("{nearest} is the nearest"));
            }
            Family::Vit(_, c) => c.patch,
        };
        if size < least {
            let problem = format!("{} needs at least {least} pixels, got {size}", self.title());
            return refuse(problem, "a smaller `backbone.patch` takes smaller images".into());
        }
        Ok(())
    }

    /// Builds the backbone with fresh weights under `path`; torch's generator must have been seeded.
    pub fn build(&self, path: &nn::Path, channels: i64) -> Box<dyn Backbone> {
        match self.family() {
            Family::ResNet(shape, c) => Box::new(ResNet::new(path, shape, c, channels)),
            Family::ConvNext(shape, c) => Box::new(ConvNext::new(path, shape, c, channels)),
            Family::Swin(shape, c) => Box::new(Swin::new(path, shape, c, channels)),
            Family::Vit(shape, c) => Box::new(Vit::new(path, shape, c, channels)),
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
