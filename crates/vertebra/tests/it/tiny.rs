//! Every method on the smallest networks, for tests that walk the enum.

use pixels::record::{JitterRecord, ViewRecord};
use tch::{Device, Kind, Tensor};
use vertebra::methods::{Batch, Context, Inputs, Method, MethodConfig, Progress, Views};
use vertebra::models::BackboneConfig;
use vertebra::models::convnext::ConvNextConfig;
use vertebra::models::dino_head::DinoHeadConfig;
use vertebra::models::heads::MlpConfig;
use vertebra::models::resnet::{ResNetConfig, Stem};
use vertebra::models::vit::predictor::PredictorConfig;
use vertebra::models::vit::{Pool, VitConfig};

pub const CPU: Context = Context { device: Device::Cpu, autocast: None, progress: HALFWAY };
/// The middle of a run, where every schedule has left its start.
pub const HALFWAY: Progress = Progress { seed: 3, step: 50, steps: 100, per_epoch: 10.0, batch: 8 };

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

/// Every method as published, but for the widths of its heads and the lengths of its queues.
pub fn tiny_methods() -> Vec<MethodConfig> {
    let mut methods = MethodConfig::all();
    methods.iter_mut().for_each(shrink);
    methods
}

fn shrink(method: &mut MethodConfig) {
    match method {
        MethodConfig::Vicreg(config) => narrow(&mut config.projector),
        MethodConfig::Simclr(config) => narrow(&mut config.projector),
        MethodConfig::Dcl(config) => narrow(&mut config.projector),
        MethodConfig::Spectral(config) => narrow(&mut config.projector),
        MethodConfig::Barlow(config) => narrow(&mut config.projector),
        MethodConfig::VicregExp(config) | MethodConfig::VicregCtr(config) => {
            narrow(&mut config.projector);
        }
        MethodConfig::Moco(config) => {
            config.queue = 32;
            narrow(&mut config.projector);
        }
        MethodConfig::MocoV3(config) => {
            narrow(&mut config.projector);
            narrow(&mut config.predictor);
        }
        MethodConfig::Nnclr(config) => {
            config.queue = 32;
            narrow(&mut config.projector);
            narrow(&mut config.predictor);
        }
        MethodConfig::Byol(config) => {
            narrow(&mut config.projector);
            narrow(&mut config.predictor);
        }
        MethodConfig::Simsiam(config) => {
            narrow(&mut config.projector);
            narrow(&mut config.predictor);
        }
        MethodConfig::WMse(config) => {
            // One group of all images, so that their order does not matter.
            config.group = 8;
            config.projector.widths = vec![24, 3];
        }
        MethodConfig::Swav(config) => {
            (config.prototypes, config.queue, config.queue_epoch) = (16, 12, 1.0);
            narrow(&mut config.projector);
        }
        MethodConfig::Dino(config) => few_prototypes(&mut config.projector),
        MethodConfig::Ibot(config) => few_prototypes(&mut config.projector),
        MethodConfig::Ijepa(config) => config.predictor = SHALLOW,
        MethodConfig::Iwm(config) => config.predictor = SHALLOW,
        MethodConfig::Mae(config) => {
            config.decoder = PredictorConfig { width: 24, depth: 1, heads: Some(2) };
        }
        MethodConfig::Simmim(config) => config.cell = 1,
        MethodConfig::Supervised(_) | MethodConfig::Data2vec(_) => {}
    }
}

/// A predictor with heads of 8 dimensions.
const SHALLOW: PredictorConfig = PredictorConfig { width: 24, depth: 1, heads: None };

fn narrow(head: &mut MlpConfig) {
    head.widths.fill(24);
}

fn few_prototypes(head: &mut DinoHeadConfig) {
    head.widths = vec![24, 24, 12];
    head.prototypes = 16;
}

/// Whether a method draws a mask for each image's place in the batch and for each view, so that their order matters.
pub fn is_masked(method: &MethodConfig) -> bool {
    matches!(
        method,
        MethodConfig::Ibot(_)
            | MethodConfig::Mae(_)
            | MethodConfig::Simmim(_)
            | MethodConfig::Data2vec(_)
            | MethodConfig::Ijepa(_)
            | MethodConfig::Iwm(_)
    )
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
    method.build(&inputs(method, backbone), seed, Device::Cpu)
}

/// Two views `[8, 3, 16, 16]` of the same images: alike, not equal.
pub fn two_views() -> Batch {
    tch::manual_seed(17);
    let images = Tensor::randn([8, 3, 16, 16], (Kind::Float, Device::Cpu));
    let views = (0..2).map(|_| &images + Tensor::randn_like(&images) * 0.3).collect();
    let mut records = vec![vec![ViewRecord::untouched([16, 16]); 8]; 2];
    for (image, record) in records[1].iter_mut().enumerate() {
        let brightness = 0.8 + 0.05 * image as f32;
        record.jitter = Some(JitterRecord { brightness, ..JitterRecord::NEUTRAL });
    }
    Batch { views, records, labels: (0..8).map(|image| Some(image % 3)).collect(), first: 0 }
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
    method.check(&inputs(method, backbone)).is_ok()
}

/// Two views of which nothing else is known, but where a method wants one, or wants them aligned.
fn inputs<'a>(method: &MethodConfig, backbone: &'a BackboneConfig) -> Inputs<'a> {
    let (all, aligned) = match method {
        MethodConfig::Ijepa(_) => (1, true),
        MethodConfig::Iwm(_) => (2, true),
        _ => (2, false),
    };
    Inputs { backbone, channels: 3, views: Views { large: all, all, aligned } }
}
