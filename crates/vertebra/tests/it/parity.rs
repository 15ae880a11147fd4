//! The published code's numbers: recorded by `fixtures/record_losses.py` and `fixtures/record_models.py`.
//!
//! The other transformers are in `parity_vit`.

use std::collections::BTreeMap;
use std::path::Path;

use tch::{Device, Kind, Tensor, nn};
use vertebra::methods::vicreg;
use vertebra::models::resnet::{Block, ResNet, ResNetConfig, Shape, Stem};
use vertebra::models::vit::{self, Pool, Vit, VitConfig};
use vertebra::models::{Backbone, Mode, named_parameters, named_variables, no_tap, weights};
use vertebra::objectives::info_nce;

use crate::{alone, distance, fixture};

/// Both sides compute in f64; sums in another order differ in the last few of sixteen digits.
pub const F64: f64 = 1e-12;
/// The recording rounds f64 results to f32, which is wrong by up to 6e-8 of each number.
pub const STORED_AS_F32: f64 = 1e-7;

pub type Tensors = BTreeMap<String, Tensor>;

#[test]
fn vicreg_is_the_authors_own() {
    let file = fixture("vicreg-4e12602.safetensors");
    for case in ["case0", "case1", "case2"] {
        let [za, zb] = ["za", "zb"].map(|name| leaf(&file, &format!("{case}.{name}")));
        let (loss, parts) = vicreg::loss_of(&vicreg::Config::default(), &za, &zb).unwrap();
        assert!(distance(&loss, &file[&format!("{case}.loss")]) < F64, "{case}");
        assert_eq!(parts.len(), 3);
        for (name, part) in &parts {
            assert!(distance(part, &file[&format!("{case}.{name}")]) < F64, "{case} {name}");
        }
        loss.backward();
        for (name, z) in [("za", &za), ("zb", &zb)] {
            let wanted = &file[&format!("{case}.grad_{name}")];
            assert!(distance(&z.grad(), wanted) < STORED_AS_F32, "{case} {name}");
        }
    }
}

#[test]
fn nt_xent_is_that_of_solo_learn() {
    let file = fixture("simclr.safetensors");
    for case in ["case0", "case1", "case2"] {
        for temperature in [0.2, 0.5] {
            let [za, zb] = ["za", "zb"].map(|name| leaf(&file, &format!("{case}.{name}")));
            let loss = info_nce::nt_xent(&za, &zb, temperature);
            let at = format!("{case}.t{temperature}");
            assert!(distance(&loss, &file[&format!("{at}.loss")]) < F64, "{at}");
            loss.backward();
            for (name, z) in [("za", &za), ("zb", &zb)] {
                let wanted = &file[&format!("{at}.grad_{name}")];
                assert!(distance(&z.grad(), wanted) < STORED_AS_F32, "{at} {name}");
            }
        }
    }
}

#[test]
fn resnets_are_those_of_torchvision() {
    let file = fixture("resnet.safetensors");
    let basic = |stages| Shape { block: Block::Basic, stages };
    let bottleneck = |stages| Shape { block: Block::Bottleneck, stages };
    let cases = [
        ("resnet_basic", basic([2, 2, 2, 2]), Stem::Standard, 8),
        ("resnet_basic_small", basic([1, 1, 1, 1]), Stem::Small, 4),
        ("resnet_bottleneck", bottleneck([1, 2, 1, 1]), Stem::Standard, 8),
        ("resnet_bottleneck_small", bottleneck([1, 2, 1, 1]), Stem::Small, 4),
    ];
    for (name, shape, stem, width) in cases {
        let recorded = Recorded { file: &file, name };
        let config = ResNetConfig { stem, width, zero_init_residual: false };
        let (store, resnet) = recorded.model(|path| ResNet::new(path, shape, config, 3));
        resnet_in_evaluation(&recorded, &resnet, shape);
        resnet_in_training(&recorded, &resnet, &store);
    }
}

fn resnet_in_evaluation(recorded: &Recorded, resnet: &ResNet, shape: Shape) {
    let (taps, features) = tapped(resnet, &recorded.get("input"));
    recorded.agrees(&taps["stem"], "out.stem");
    for (stage, blocks) in (1..).zip(shape.stages) {
        let last = format!("layer{stage}.{}", blocks - 1);
        recorded.agrees(&taps[&last], &format!("out.layer{stage}"));
    }
    recorded.agrees(&taps["pooled"], "out.pooled");
    recorded.agrees(&features.pooled, "out.pooled");
    recorded.agrees(&features.map.unwrap(), "out.layer4");
}

fn resnet_in_training(recorded: &Recorded, resnet: &ResNet, store: &nn::VarStore) {
    let pooled = resnet.forward(&recorded.get("input"), Mode::Train, &mut no_tap).pooled;
    recorded.agrees(&pooled, "train.pooled");
    (pooled * recorded.get("train.direction")).sum(None::<Kind>).backward();
    let gradient = named_parameters(store)["conv1.weight"].grad();
    recorded.agrees(&gradient, "train.grad.conv1.weight");
    let variables = named_variables(store);
    for name in ["bn1.running_mean", "bn1.running_var"] {
        recorded.agrees(&variables[name], &format!("train.{name}"));
    }
}

#[test]
fn the_transformer_is_that_of_timm() {
    let file = fixture("vit.safetensors");
    let recorded = Recorded { file: &file, name: "vit_token" };
    let (store, vit) = recorded.transformer();
    let (taps, features) = tapped(&vit, &recorded.get("input"));
    recorded.agrees(&taps["stem"], "out.embedded");
    for block in ["blocks.0", "blocks.1", "blocks.2"] {
        recorded.agrees(&taps[block], &format!("out.{block}"));
    }
    recorded.agrees(&features.tokens.unwrap(), "out.tokens");
    recorded.agrees(&features.pooled, "out.pooled");
    (features.pooled * recorded.get("direction")).sum(None::<Kind>).backward();
    let gradient = named_parameters(&store)["patch_embed.proj.weight"].grad();
    recorded.agrees(&gradient, "grad.patch_embed.proj.weight");
}

#[test]
fn positions_of_a_larger_image_are_resampled_as_timm_does() {
    let file = fixture("vit.safetensors");
    let recorded = Recorded { file: &file, name: "vit_token" };
    let (store, vit) = recorded.transformer();
    // Patches of a black image are the bias alone, so what enters the first block shows the positions.
    let black = Tensor::zeros([1, 3, 48, 48], (Kind::Double, Device::Cpu));
    let (taps, _) = tapped(&vit, &black);
    let variables = named_variables(&store);
    let patches = variables["patch_embed.proj.bias"].expand([1, 36, -1], false);
    let found = &taps["stem"] - Tensor::cat(&[&variables["cls_token"], &patches], 1);
    // timm resamples in f32: six additions and as many products, each wrong by up to 6e-8.
    assert!(distance(&found, &recorded.get("pos_embed_6x6")) < 1e-6);
}

/// One model of a recording.
pub struct Recorded<'a> {
    pub file: &'a Tensors,
    pub name: &'a str,
}

impl Recorded<'_> {
    pub fn get(&self, name: &str) -> Tensor {
        self.file[&format!("{}.{name}", self.name)].to_kind(Kind::Double)
    }

    /// A model in f64 with the recorded weights.
    pub fn model<T>(&self, build: impl FnOnce(&nn::Path) -> T) -> (nn::VarStore, T) {
        let _alone = alone();
        let mut store = nn::VarStore::new(Device::Cpu);
        let model = build(&store.root());
        store.double();
        let prefix = format!("{}.weights.", self.name);
        let recorded: Tensors = self
            .file
            .iter()
            .filter_map(|(name, tensor)| {
                Some((name.strip_prefix(&prefix)?.to_string(), tensor.shallow_clone()))
            })
            .collect();
        weights::assign(Path::new(self.name), &recorded, &named_variables(&store)).unwrap();
        (store, model)
    }

    fn transformer(&self) -> (nn::VarStore, Vit) {
        let shape = vit::Shape { width: 48, depth: 3, heads: 3, mlp: 192 };
        let config = VitConfig { image: 32, patch: 8, pool: Pool::Class, ..VitConfig::default() };
        self.model(|path| Vit::new(path, shape, config, 3))
    }

    pub fn agrees(&self, found: &Tensor, name: &str) {
        assert_eq!(found.kind(), Kind::Double, "a tolerance for f64 needs f64");
        let distance = distance(found, &self.get(name));
        assert!(distance < STORED_AS_F32, "{} {name}: off by {distance:e}", self.name);
    }
}

/// Copies of what the taps saw in evaluation mode.
pub fn tapped(model: &dyn Backbone, images: &Tensor) -> (Tensors, vertebra::models::Features) {
    let mut taps = BTreeMap::new();
    let mut keep = |name: &str, tensor: &Tensor| {
        taps.insert(name.to_string(), tensor.detach().copy());
    };
    let features = model.forward(images, Mode::Eval, &mut keep);
    (taps, features)
}

/// A recorded embedding in f64 that gathers a gradient.
pub fn leaf(file: &Tensors, name: &str) -> Tensor {
    file[name].to_kind(Kind::Double).set_requires_grad(true)
}
