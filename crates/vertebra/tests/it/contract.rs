//! What every method promises on every kind of backbone, and what a checkpoint does.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;

use tch::{Device, Kind, Tensor, nn};
use tempfile::tempdir;
use vertebra::error::Error;
use vertebra::methods::{Batch, Context, Method};
use vertebra::models::resnet::{ResNetConfig, Stem};
use vertebra::models::vit::{Pool, VitConfig};
use vertebra::models::{BackboneConfig, Mode, named_variables, no_tap, weights};
use vertebra::training::checkpoint::{Checkpoint, EncoderSpec, Header};
use vertebra::training::groups;
use vertebra::training::optim::{Optimizer, OptimizerConfig};

use crate::{
    CPU, alone, build, distance, is_masked, largest, pairs, tiny_backbones, tiny_methods, two_views,
};

/// Sums of f32 in another order: each rounds to 6e-8, and a handful of layers add up.
const ANOTHER_ORDER: f64 = 1e-5;

#[test]
fn backbones_give_what_they_promise() {
    let _alone = alone();
    let narrow = ResNetConfig { stem: Stem::Standard, width: 4, zero_init_residual: true };
    let mean = VitConfig { image: 16, patch: 8, pool: Pool::Mean, ..VitConfig::default() };
    let more = [BackboneConfig::Resnet50(narrow), BackboneConfig::VitTiny(mean)];
    for config in tiny_backbones().into_iter().chain(more) {
        tch::manual_seed(1);
        let store = nn::VarStore::new(Device::Cpu);
        let backbone = config.build(&store.root(), 3);
        // Also of a size that a transformer's positions were not made for.
        for side in [16, 24] {
            let images = Tensor::randn([2, 3, side, side], (Kind::Float, Device::Cpu));
            let mut seen = Vec::new();
            let mut note = |name: &str, _: &Tensor| seen.push(name.to_string());
            let features = backbone.forward(&images, Mode::Train, &mut note);
            let what = format!("{} at {side} pixels", config.name());
            assert_eq!(features.pooled.size(), [2, backbone.width()], "{what}");
            assert_eq!(features.map.is_some(), config.is_convolutional(), "{what}");
            assert_eq!(features.tokens.is_some(), !config.is_convolutional(), "{what}");
            assert_eq!(seen.first().map(String::as_str), Some("stem"), "{what}");
            assert_eq!(seen.last().map(String::as_str), Some("pooled"), "{what}");
            let distinct: BTreeSet<&String> = seen.iter().collect();
            assert_eq!(distinct.len(), seen.len(), "{what}: two taps of one name");
        }
    }
}

#[test]
fn a_frozen_backbone_learns_nothing_and_sees_each_image_alone() {
    let _alone = alone();
    for config in tiny_backbones() {
        tch::manual_seed(1);
        let store = nn::VarStore::new(Device::Cpu);
        let backbone = config.build(&store.root(), 3);
        let images = Tensor::randn([4, 3, 16, 16], (Kind::Float, Device::Cpu));
        let pooled = |images: &Tensor| backbone.forward(images, Mode::Eval, &mut no_tap).pooled;
        let before = weights::fingerprint(&named_variables(&store));
        let together = pooled(&images);
        let first = pooled(&images.narrow(0, 0, 1));
        assert!(distance(&first, &together.narrow(0, 0, 1)) < ANOTHER_ORDER, "{}", config.name());
        assert_eq!(weights::fingerprint(&named_variables(&store)), before, "{}", config.name());
    }
}

#[test]
fn losses_are_finite_and_every_parameter_gets_a_gradient() {
    let _alone = alone();
    for (what, method, backbone) in pairs() {
        let mut method = build(&method, &backbone, 1);
        let embedded = method.embed(&two_views(), &CPU);
        let loss = method.loss(&embedded, &CPU).unwrap();
        assert!(loss.total.size().is_empty(), "{what}: the loss is a scalar");
        assert!(value(&loss.total).is_finite(), "{what}");
        assert!(!loss.parts.is_empty(), "{what}");
        for (name, part) in &loss.parts {
            assert!(!name.is_empty() && value(part).is_finite(), "{what}: {name}");
        }
        assert_eq!(loss.representation.size()[0], 8, "{what}");
        assert_eq!(loss.embedding.size()[0], 8, "{what}");
        loss.total.backward();
        for (name, parameter) in method.parameters() {
            let gradient = parameter.grad();
            assert!(gradient.defined(), "{what}: `{name}` has no gradient");
            assert!(largest(&gradient).is_finite(), "{what}: the gradient of `{name}`");
        }
    }
}

#[test]
fn the_backbone_is_named_and_parameters_are_variables() {
    let _alone = alone();
    for (what, method, backbone) in pairs() {
        let method = build(&method, &backbone, 1);
        let (parameters, variables) = (method.parameters(), method.variables());
        assert!(parameters.keys().all(|name| variables.contains_key(name)), "{what}");
        assert!(parameters.keys().any(|name| name.starts_with("backbone.")), "{what}");
        assert!(parameters.values().all(Tensor::requires_grad), "{what}");
    }
}

#[test]
fn weights_that_went_through_a_file_give_the_same_loss() {
    let _alone = alone();
    let folder = tempdir().unwrap();
    for (what, config, backbone) in pairs() {
        let views = two_views();
        let file = folder.path().join("weights.safetensors");
        let mut first = build(&config, &backbone, 1);
        weights::save(&file, &first.variables(), &BTreeMap::new()).unwrap();
        let mut second = build(&config, &backbone, 2);
        let wanted = loss_of(first.as_mut(), &views);
        assert_ne!(wanted, loss_of(second.as_mut(), &views), "{what}: seeds differ");
        let (loaded, _) = weights::load(&file).unwrap();
        weights::assign(&file, &loaded, &second.variables()).unwrap();
        assert_eq!(wanted, loss_of(second.as_mut(), &views), "{what}");
    }
}

#[test]
fn the_order_of_a_batch_and_of_its_views_changes_nothing() {
    let _alone = alone();
    for (what, config, backbone) in pairs() {
        if is_masked(&config) {
            continue;
        }
        let views = two_views();
        let mut method = build(&config, &backbone, 1);
        let wanted = loss_of(method.as_mut(), &views);
        let order = [3i64, 7, 0, 5, 1, 6, 2, 4];
        let rows = Tensor::from_slice(&order);
        let permuted = Batch {
            views: views.views.iter().map(|view| view.index_select(0, &rows)).collect(),
            labels: order.iter().map(|&image| views.labels[image as usize]).collect(),
            records: views.records.clone(),
            first: 0,
        };
        let mut swapped = views.narrow(0, 8);
        swapped.views.reverse();
        for (how, other) in [("permuted", &permuted), ("swapped", &swapped)] {
            let found = loss_of(method.as_mut(), other);
            let off = (found - wanted).abs() / wanted.abs();
            assert!(off < ANOTHER_ORDER, "{what}, {how}: {found} instead of {wanted}");
        }
    }
}

/// What a queue, a centre or a teacher learns waits for the end of the step, and is learned once.
#[test]
fn a_loss_asked_for_twice_is_the_same_and_the_step_ends_once() {
    let _alone = alone();
    for (what, config, backbone) in pairs() {
        let views = two_views();
        let mut method = build(&config, &backbone, 1);
        let embedded = method.embed(&views, &CPU);
        // Running statistics move with every forward pass, as they do everywhere.
        let state = |method: &dyn Method| -> Vec<(String, Tensor)> {
            let parameters = method.parameters();
            let variables = method
                .variables()
                .into_iter()
                .filter(|(name, _)| !parameters.contains_key(name) && !name.contains("running_"));
            variables.map(|(name, tensor)| (name, tensor.copy())).collect()
        };
        let before = state(method.as_ref());
        let first = value(&method.loss(&embedded, &CPU).unwrap().total);
        let second = value(&method.loss(&embedded, &CPU).unwrap().total);
        assert_eq!(first, second, "{what}");
        let after = state(method.as_ref());
        assert!(before.iter().zip(&after).all(|((_, a), (_, b))| a.equal(b)), "{what}");
        method.after_step(&CPU).unwrap();
        let once = state(method.as_ref());
        method.after_step(&CPU).unwrap();
        let twice = state(method.as_ref());
        for ((name, once), (_, twice)) in once.iter().zip(&twice) {
            assert!(once.equal(twice), "{what}: `{name}` moved without a loss");
        }
    }
}

/// Networks compute in bfloat16, objectives in f32. A number of 8 bits is wrong by up to 0.4 %, layers add up, and a low temperature
/// multiplies what is left of it; the losses of some methods are differences of such numbers, so they are held to their scale
/// at a distance, 1.
#[test]
fn bfloat16_changes_a_loss_by_little() {
    let _alone = alone();
    let bf16 = Context { autocast: Some(Kind::BFloat16), ..CPU };
    for (what, config, backbone) in pairs() {
        let views = two_views();
        let wanted = loss_of(build(&config, &backbone, 1).as_mut(), &views);
        let mut method = build(&config, &backbone, 1);
        let embedded = method.embed(&views, &bf16);
        let loss = method.loss(&embedded, &bf16).unwrap();
        assert_eq!(loss.total.kind(), Kind::Float, "{what}: the objective is computed in f32");
        let off = (value(&loss.total) - wanted).abs() / wanted.abs().max(1.0);
        assert!(off < 0.05, "{what}: {off}");
    }
}

#[test]
fn one_seed_gives_one_set_of_weights() {
    let _alone = alone();
    for (what, config, backbone) in pairs() {
        let print = |seed| weights::fingerprint(&build(&config, &backbone, seed).variables());
        assert_eq!(print(5), print(5), "{what}");
        assert_ne!(print(5), print(6), "{what}");
    }
}

#[test]
fn a_checkpoint_comes_back_bit_for_bit() {
    let _alone = alone();
    let folder = tempdir().unwrap();
    let saved = trained(3);
    let path = saved.save(folder.path()).unwrap();
    let loaded = Checkpoint::load(&path).unwrap();
    assert_eq!(loaded.header, saved.header);
    assert!(!saved.optimizer.is_empty(), "momentum is part of a checkpoint");
    for (wanted, found) in [(&saved.model, &loaded.model), (&saved.optimizer, &loaded.optimizer)] {
        assert!(wanted.keys().eq(found.keys()));
        for (name, tensor) in wanted {
            assert!(tensor.equal(&found[name]), "{name}");
        }
    }
}

#[test]
fn only_the_newest_two_checkpoints_are_kept() {
    let _alone = alone();
    let folder = tempdir().unwrap();
    let names: Vec<String> = (1..=4)
        .map(|step| {
            let path = trained(step).save(folder.path()).unwrap();
            path.file_name().unwrap().to_string_lossy().into_owned()
        })
        .collect();
    let mut left: Vec<String> = fs::read_dir(folder.path())
        .unwrap()
        .map(|entry| entry.unwrap().file_name().to_string_lossy().into_owned())
        .collect();
    left.sort();
    assert_eq!(left, names[2..]);
}

#[test]
fn a_damaged_checkpoint_is_refused_and_the_one_before_is_used() {
    let _alone = alone();
    let folder = tempdir().unwrap();
    let older = trained(1).save(folder.path()).unwrap();
    let newer = trained(2).save(folder.path()).unwrap();
    let whole = fs::read(&newer).unwrap();
    for (what, bytes) in damages(&whole) {
        fs::write(&newer, bytes).unwrap();
        let refused = Checkpoint::load(&newer);
        assert!(
            matches!(&refused, Err(Error::Damaged { what: "checkpoint", path, .. }) if *path == newer),
            "{what}: {refused:?}"
        );
        assert!(refused.unwrap_err().hint().is_some(), "{what}: nothing says what to do");
        let (path, checkpoint, damaged) = Checkpoint::newest(folder.path()).unwrap().unwrap();
        assert_eq!((path.as_path(), checkpoint.header.step), (older.as_path(), 1), "{what}");
        assert_eq!(damaged.len(), 1, "{what}");
    }
    fs::write(&older, b"").unwrap();
    assert!(matches!(Checkpoint::newest(folder.path()), Err(Error::Damaged { .. })));
}

#[test]
fn no_folder_and_an_empty_folder_have_no_checkpoint() {
    let folder = tempdir().unwrap();
    assert!(Checkpoint::newest(folder.path()).unwrap().is_none());
    assert!(Checkpoint::newest(&folder.path().join("absent")).unwrap().is_none());
}

/// What can happen to a file.
fn damages(whole: &[u8]) -> Vec<(&'static str, Vec<u8>)> {
    let flipped = |at: usize| {
        let mut bytes = whole.to_vec();
        bytes[at] ^= 0x10;
        bytes
    };
    vec![
        ("truncated in the tensors", whole[..whole.len() - 7].to_vec()),
        ("truncated in the header", whole[..40].to_vec()),
        ("empty", Vec::new()),
        ("a flipped bit in the last tensor", flipped(whole.len() - 3)),
        ("a flipped bit in the middle", flipped(whole.len() / 2)),
        ("a flipped bit in the header", flipped(9)),
        ("a flipped bit in the header's length", flipped(6)),
    ]
}

/// A checkpoint of a tiny run after one real step, called step `step`.
fn trained(step: u64) -> Checkpoint {
    let [backbone, ..] = tiny_backbones();
    let mut method = build(&tiny_methods()[0], &backbone, 1);
    let groups = groups::assign(&method.parameters(), &groups::standard_rules()).unwrap();
    let config: OptimizerConfig = toml::from_str("name = \"lars\"").unwrap();
    let mut optimizer = Optimizer::new(config, groups);
    let embedded = method.embed(&two_views(), &CPU);
    method.loss(&embedded, &CPU).unwrap().total.backward();
    optimizer.step(0.1);
    let header = Header { format: Checkpoint::FORMAT, step, seconds: 1.5, encoder: spec(backbone) };
    Checkpoint { header, model: method.variables(), optimizer: optimizer.state() }
}

fn spec(backbone: BackboneConfig) -> EncoderSpec {
    let preprocess = pixels::plan::Preprocess {
        resize: 16,
        crop: 16,
        interpolation: pixels::plan::Interpolation::Bicubic,
        normalize: pixels::plan::Normalize::imagenet(),
    };
    EncoderSpec::new(backbone, 3, preprocess)
}

fn loss_of(method: &mut dyn Method, views: &Batch) -> f64 {
    let embedded = method.embed(views, &CPU);
    value(&method.loss(&embedded, &CPU).unwrap().total)
}

fn value(scalar: &Tensor) -> f64 {
    scalar.to_kind(Kind::Double).double_value(&[])
}
