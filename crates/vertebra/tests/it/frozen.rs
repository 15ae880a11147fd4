//! Frozen backbones: the same features, computed faster.

use tch::{Device, Kind, Tensor, nn};
use torch_bridge::frozen::can_freeze;
use vertebra::models::resnet::{ResNetConfig, Stem};
use vertebra::models::vit::VitConfig;
use vertebra::models::{BackboneConfig, Mode, named_variables, no_tap};

use crate::alone;

/// Two networks of modest width, at their usual and at another size.
fn backbones() -> [(BackboneConfig, [i64; 2]); 3] {
    let resnet = ResNetConfig { stem: Stem::Standard, width: 16, zero_init_residual: false };
    let vit = VitConfig { image: 32, patch: 8, ..VitConfig::default() };
    [
        (BackboneConfig::Resnet18(resnet), [64, 48]),
        (BackboneConfig::Resnet50(resnet), [64, 48]),
        (BackboneConfig::VitTiny(vit), [32, 48]),
    ]
}

/// Numbers of a trained network's kind: scales, shifts and running statistics that are not 0 and 1.
fn perturb(store: &nn::VarStore) {
    tch::no_grad(|| {
        for (name, variable) in named_variables(store) {
            let mut variable = variable;
            let noise = Tensor::randn_like(&variable) * 0.1;
            if name.ends_with("running_var") {
                let _ = variable.g_mul_(&noise.exp());
            } else {
                let _ = variable.g_add_(&noise);
            }
        }
    });
}

#[test]
fn freezing_changes_the_features_by_rounding_only() {
    let _alone = alone();
    // f32: sums in another order through fifty layers. bf16: eight bits, which the plain network rounds to more often
    // than the frozen one, so the two are compared as loosely as bf16 is with f32.
    for (kind, tolerance) in [(Kind::Float, 1e-4), (Kind::BFloat16, 0.06)] {
        if !can_freeze(kind) {
            println!("skipped: no oneDNN in {kind:?} on this machine");
            continue;
        }
        for (config, sizes) in backbones() {
            for size in sizes {
                let distance = distance(&config, size, kind);
                assert!(distance < tolerance, "{} {size} {kind:?}: {distance}", config.name());
            }
        }
    }
}

/// How far frozen features are from plain ones, as a share of the largest.
fn distance(config: &BackboneConfig, size: i64, kind: Kind) -> f64 {
    tch::manual_seed(3);
    let store = nn::VarStore::new(Device::Cpu);
    let mut backbone = config.build(&store.root(), 3);
    perturb(&store);
    let images = Tensor::randn([4, 3, size, size], (Kind::Float, Device::Cpu));
    tch::no_grad(|| {
        let plain = backbone.forward(&images, Mode::Eval, &mut no_tap).pooled;
        backbone.freeze(kind);
        let frozen = backbone.forward(&images, Mode::Eval, &mut no_tap).pooled;
        let difference = (frozen.to_kind(Kind::Float) - &plain).abs().max();
        difference.double_value(&[]) / plain.abs().max().double_value(&[])
    })
}
