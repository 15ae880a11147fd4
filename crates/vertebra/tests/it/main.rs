//! What the library promises, tested from outside: its shape, its numbers against published code, its contracts, its
//! runs.
#![allow(clippy::unwrap_used, reason = "a test may fail by panicking")]

mod accumulate;
mod budgets;
mod channels;
mod contract;
mod frozen;
mod layering;
mod layouts;
mod parity;
mod parity_contrastive;
mod parity_convswin;
mod parity_vit;
mod pretrain;
mod ranking;
mod recipe;
mod weight_files;

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Mutex, MutexGuard, PoisonError};

use tch::{Device, Kind, Tensor};
use vertebra::error::Result;
use vertebra::methods::{Context, Method, MethodConfig, simclr, vicreg};
use vertebra::models::convnext::ConvNextConfig;
use vertebra::models::heads::MlpConfig;
use vertebra::models::resnet::{ResNetConfig, Stem};
use vertebra::models::vit::{Pool, VitConfig};
use vertebra::models::{BackboneConfig, weights};
use vertebra::pretrain::{Event, Job, Outcome, Watch, pretrain};
use vertebra::recipe::Recipe;
use vertebra::training::collective::Alone;

/// Torch's generator belongs to the whole process: a test that seeds it holds this while it draws. And one thread is
/// enough for tensors this small, on which several only wait for each other.
fn alone() -> MutexGuard<'static, ()> {
    static GENERATOR: Mutex<()> = Mutex::new(());
    tch::set_num_threads(1);
    GENERATOR.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Trains in `folder`; asks for a stop when step `stop_after` is done.
fn trained(
    recipe: Recipe,
    folder: &Path,
    resume: bool,
    stop_after: Option<u64>,
) -> Result<Outcome> {
    let job = Job {
        recipe,
        folder: folder.into(),
        resume,
        command: "a test".into(),
        version: "0".into(),
        commit: "0".into(),
    };
    let stop = AtomicBool::new(false);
    let mut tell = |event: Event| {
        if let Event::Step { step, .. } = event
            && Some(step) == stop_after
        {
            stop.store(true, Ordering::Relaxed);
        }
    };
    pretrain(&job, &mut Watch { tell: &mut tell, stop: &stop })
}

/// The repository's root.
fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../..").canonicalize().unwrap()
}

/// Every `.rs` file under a folder, in the order of their paths.
fn sources(folder: &Path) -> Vec<PathBuf> {
    let mut found = Vec::new();
    for entry in fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() {
            found.extend(sources(&path));
        } else if path.extension().is_some_and(|ending| ending == "rs") {
            found.push(path);
        }
    }
    found.sort();
    found
}

fn fixture(name: &str) -> BTreeMap<String, Tensor> {
    weights::load(&root().join("fixtures").join(name)).unwrap().0
}

const CPU: Context = Context { collective: &Alone, device: Device::Cpu, autocast: None };

/// The smallest backbones of three families, for images of 16 pixels.
fn tiny_backbones() -> [BackboneConfig; 3] {
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
fn tiny_methods() -> Vec<MethodConfig> {
    let narrow = |head: MlpConfig| {
        let widths = head.widths.iter().map(|_| 24).collect();
        MlpConfig { widths, ..head }
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
        })
        .collect()
}

/// Every tiny method on every tiny backbone: `(what, config, backbone)`.
fn pairs() -> Vec<(String, MethodConfig, BackboneConfig)> {
    tiny_methods()
        .into_iter()
        .flat_map(|method| tiny_backbones().map(|backbone| (method.clone(), backbone)))
        .map(|(method, backbone)| {
            (format!("{} on {}", method.title(), backbone.name()), method, backbone)
        })
        .collect()
}

fn build(method: &MethodConfig, backbone: &BackboneConfig, seed: u64) -> Box<dyn Method> {
    method.build(backbone, 3, seed, Device::Cpu)
}

/// Two views `[8, 3, 16, 16]` of the same images: alike, not equal.
fn two_views() -> Vec<Tensor> {
    tch::manual_seed(17);
    let images = Tensor::randn([8, 3, 16, 16], (Kind::Float, Device::Cpu));
    (0..2).map(|_| &images + Tensor::randn_like(&images) * 0.3).collect()
}

/// The largest absolute difference, as a share of the largest wanted number.
fn distance(found: &Tensor, wanted: &Tensor) -> f64 {
    assert_eq!(found.size(), wanted.size());
    let (found, wanted) = (found.detach().to_kind(Kind::Double), wanted.to_kind(Kind::Double));
    largest(&(found - &wanted)) / largest(&wanted)
}

fn largest(tensor: &Tensor) -> f64 {
    tensor.detach().abs().max().double_value(&[])
}
