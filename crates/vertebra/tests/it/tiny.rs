//! Every method on the smallest networks, for tests that walk the enum.

use tch::{Device, Kind, Tensor};
use vertebra::methods::{
    Batch, Context, Inputs, Method, MethodConfig, Progress, Views, barlow, byol, dcl, dino,
    duality, ibot, moco, moco_v3, nnclr, simclr, simsiam, spectral, swav, vicreg, w_mse,
};
use vertebra::models::BackboneConfig;
use vertebra::models::convnext::ConvNextConfig;
use vertebra::models::dino_head::DinoHeadConfig;
use vertebra::models::heads::MlpConfig;
use vertebra::models::resnet::{ResNetConfig, Stem};
use vertebra::models::vit::{Pool, VitConfig};

pub const CPU: Context = Context { device: Device::Cpu, autocast: None, progress: HALFWAY };
/// The middle of a run, where every schedule has left its start.
pub const HALFWAY: Progress = Progress { seed: 3, step: 50, steps: 100, per_epoch: 10.0 };

/// The smallest backbones of three families, for images of 16 pixels.
pub fn tiny_backbones() -> [BackboneConfig; 3] {
    let resnet = ResNetConfig { stem: Stem::Small, width: 4, zero_init_residual: false };
    let vit = VitConfig { image: 16, patch: 8, pool: Pool::Class, ..VitConfig::default() };
    let convnext = ConvNextConfig { patch: 2 };
    [
        BackboneConfig::Resnet18(resnet),
        BackboneConfig::VitTiny(vit),
        BackboneConfig::Convnextv2Atto(convnext),
    ]
}

/// Every method as published, but for the widths of its head.
pub fn tiny_methods() -> Vec<MethodConfig> {
    let narrow = |head: MlpConfig| {
        let widths = head.widths.iter().map(|_| 24).collect();
        MlpConfig { widths, ..head }
    };
    let prototypes = |head: &DinoHeadConfig| DinoHeadConfig {
        widths: vec![24, 24, 12],
        prototypes: 16,
        ..head.clone()
    };
    MethodConfig::all()
        .into_iter()
        .map(|method| match method {
            MethodConfig::Vicreg(config) => MethodConfig::Vicreg(vicreg::Config {
                projector: narrow(config.projector.clone()),
                ..config
            }),
            MethodConfig::Simclr(config) => MethodConfig::Simclr(simclr::Config {
                projector: narrow(config.projector.clone()),
                ..config
            }),
            MethodConfig::Byol(config) => MethodConfig::Byol(byol::Config {
                projector: narrow(config.projector.clone()),
                predictor: narrow(config.predictor.clone()),
                ..config
            }),
            MethodConfig::Simsiam(config) => MethodConfig::Simsiam(simsiam::Config {
                projector: narrow(config.projector.clone()),
                predictor: narrow(config.predictor.clone()),
                ..config
            }),
            // One group of all images, so that their order does not matter.
            MethodConfig::WMse(config) => MethodConfig::WMse(w_mse::Config {
                projector: MlpConfig { widths: vec![24, 3], ..config.projector.clone() },
                group: 8,
                ..config
            }),
            MethodConfig::Swav(config) => MethodConfig::Swav(swav::Config {
                projector: narrow(config.projector.clone()),
                prototypes: 16,
                queue: 12,
                queue_epoch: 1.0,
                ..config
            }),
            MethodConfig::Dino(config) => MethodConfig::Dino(dino::Config {
                projector: prototypes(&config.projector),
                ..config
            }),
            MethodConfig::Ibot(config) => MethodConfig::Ibot(ibot::Config {
                projector: prototypes(&config.projector),
                ..config
            }),
            MethodConfig::Dcl(config) => MethodConfig::Dcl(dcl::Config {
                projector: narrow(config.projector.clone()),
                ..config
            }),
            MethodConfig::Spectral(config) => MethodConfig::Spectral(spectral::Config {
                projector: narrow(config.projector.clone()),
                ..config
            }),
            MethodConfig::Barlow(config) => MethodConfig::Barlow(barlow::Config {
                projector: narrow(config.projector.clone()),
                ..config
            }),
            MethodConfig::Moco(config) => MethodConfig::Moco(moco::Config {
                queue: 32,
                projector: narrow(config.projector.clone()),
                ..config
            }),
            MethodConfig::MocoV3(config) => MethodConfig::MocoV3(moco_v3::Config {
                projector: narrow(config.projector.clone()),
                predictor: narrow(config.predictor.clone()),
                ..config
            }),
            MethodConfig::Nnclr(config) => MethodConfig::Nnclr(nnclr::Config {
                queue: 32,
                projector: narrow(config.projector.clone()),
                predictor: narrow(config.predictor.clone()),
                ..config
            }),
            MethodConfig::VicregExp(config) => MethodConfig::VicregExp(duality::Config {
                projector: narrow(config.projector.clone()),
                ..config
            }),
            MethodConfig::VicregCtr(config) => MethodConfig::VicregCtr(duality::Config {
                projector: narrow(config.projector.clone()),
                ..config
            }),
            MethodConfig::Supervised(config) => MethodConfig::Supervised(config),
        })
        .collect()
}

/// Every tiny method on every tiny backbone: `(what, config, backbone)`.
pub fn pairs() -> Vec<(String, MethodConfig, BackboneConfig)> {
    tiny_methods()
        .into_iter()
        .flat_map(|method| tiny_backbones().map(|backbone| (method.clone(), backbone)))
        .filter(|(method, backbone)| fits(method, backbone))
        .map(|(method, backbone)| {
            (format!("{} on {}", method.title(), backbone.name()), method, backbone)
        })
        .collect()
}

pub fn build(method: &MethodConfig, backbone: &BackboneConfig, seed: u64) -> Box<dyn Method> {
    method.build(&inputs(backbone), seed, Device::Cpu)
}

/// Two views `[8, 3, 16, 16]` of the same images: alike, not equal.
pub fn two_views() -> Batch {
    tch::manual_seed(17);
    let images = Tensor::randn([8, 3, 16, 16], (Kind::Float, Device::Cpu));
    let views = (0..2).map(|_| &images + Tensor::randn_like(&images) * 0.3).collect();
    Batch { views, labels: (0..8).map(|image| Some(image % 3)).collect(), first: 0 }
}

/// The largest absolute difference, as a share of the largest wanted number.
pub fn distance(found: &Tensor, wanted: &Tensor) -> f64 {
    assert_eq!(found.size(), wanted.size());
    let (found, wanted) = (found.detach().to_kind(Kind::Double), wanted.to_kind(Kind::Double));
    largest(&(found - &wanted)) / largest(&wanted)
}

pub fn largest(tensor: &Tensor) -> f64 {
    tensor.detach().abs().max().double_value(&[])
}

/// Whether a method can be trained on a backbone.
pub fn fits(method: &MethodConfig, backbone: &BackboneConfig) -> bool {
    method.check(&inputs(backbone)).is_ok()
}

fn inputs(backbone: &BackboneConfig) -> Inputs<'_> {
    Inputs { backbone, channels: 3, views: Views { large: 2, all: 2 } }
}
