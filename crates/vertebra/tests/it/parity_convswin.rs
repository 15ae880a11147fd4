//! timm's numbers for ConvNeXt and Swin: recorded by `fixtures/record_convswin.py`.

use std::collections::BTreeMap;
use std::path::Path;

use tch::{Device, Kind, Tensor, nn};
use tempfile::tempdir;
use vertebra::error::Error;
use vertebra::evaluation::encoder;
use vertebra::models::convnext::{self, ConvNext, ConvNextConfig};
use vertebra::models::swin::{self, Swin, SwinConfig};
use vertebra::models::{
    Backbone, BackboneConfig, Mode, named_parameters, named_variables, no_tap, weights,
};

use crate::{alone, distance, fixture};

/// The recording rounds f64 results to f32, which is wrong by up to 6e-8 of each number.
const STORED_AS_F32: f64 = 1e-7;

type Tensors = BTreeMap<String, Tensor>;

#[test]
fn convnexts_are_those_of_timm() {
    let file = fixture("convnext.safetensors");
    let small = convnext::Shape::v1([1, 1, 2, 1], 4);
    let widths = [4, 8, 12, 16];
    let stages = std::array::from_fn(|i| convnext::Stage { width: widths[i], ..small.stages[i] });
    let v1 = convnext::Shape { stages, ..small };
    let conv = convnext::Shape { conv_mlp: true, ..v1.v2() };
    let cases = [
        ("convnext", v1, 4, "stages.1.downsample.1.weight"),
        ("convnextv2", v1.v2(), 4, "stages.1.downsample.1.weight"),
        ("convnextv2_conv", conv, 1, "stem.0.weight"),
    ];
    for (name, shape, patch, parameter) in cases {
        let recorded = Recorded { file: &file, name };
        let config = ConvNextConfig { patch };
        let (store, model) = recorded.model(|path| ConvNext::new(path, shape, config, 3));
        let last =
            ["stages.0.blocks.0", "stages.1.blocks.0", "stages.2.blocks.1", "stages.3.blocks.0"];
        recorded.compare(&model, "", &last);
        recorded.compare_gradient(&model, &store, parameter);
    }
}

#[test]
fn swins_are_those_of_timm_at_any_size() {
    const STAGES: &[swin::Stage] =
        &[swin::Stage { blocks: 2, heads: 1 }, swin::Stage { blocks: 2, heads: 2 }];
    let file = fixture("swin.safetensors");
    let shape = swin::Shape::v1(8, STAGES);
    let table = "layers.0.blocks.1.attn.relative_position_bias_table";
    let mlp = "layers.0.blocks.1.attn.cpb_mlp.2.weight";
    for (name, shape, parameter) in [("swin", shape, table), ("swinv2", shape.v2(), mlp)] {
        let recorded = Recorded { file: &file, name };
        let config = SwinConfig { image: 20, patch: 4, window: 4 };
        let (store, model) = recorded.model(|path| Swin::new(path, shape, config, 3));
        let last = ["layers.0.blocks.1", "layers.1.blocks.1"];
        recorded.compare(&model, "", &last);
        recorded.compare(&model, "other.", &last);
        recorded.compare_gradient(&model, &store, parameter);
    }
}

/// Those of a few sizes that are quickly built, as timm counts them without a classifier.
#[test]
fn networks_have_as_many_parameters_as_in_timm() {
    let counts = [
        ("resnet101", 42_500_160),
        ("convnext_tiny", 27_820_128),
        ("convnextv2_atto", 3_387_400),
        ("convnextv2_femto", 4_848_240),
        ("convnextv2_pico", 8_553_280),
        ("convnextv2_nano", 14_982_800),
        ("swin_tiny", 27_519_354),
        ("swinv2_tiny", 27_578_154),
    ];
    let _alone = alone();
    for (name, wanted) in counts {
        let config =
            BackboneConfig::all().into_iter().find(|config| config.name() == name).unwrap();
        let store = nn::VarStore::new(Device::Cpu);
        let _backbone = config.build(&store.root(), 3);
        let found: usize = named_parameters(&store).values().map(Tensor::numel).sum();
        assert_eq!(found, wanted, "{name}");
    }
}

/// timm's files end in a classifier, under the same prefix as ConvNeXt's last norm.
#[test]
fn a_published_file_opens_without_its_classifier() {
    let folder = tempdir().unwrap();
    let file = folder.path().join("weights.safetensors");
    let _alone = alone();
    let store = nn::VarStore::new(Device::Cpu);
    let config = BackboneConfig::Convnextv2Atto(ConvNextConfig::default());
    let _backbone = config.build(&store.root(), 3);
    let wanted = weights::fingerprint(&named_variables(&store));
    let mut published = named_variables(&store);
    published.insert("head.fc.weight".into(), ones(&[10, 320]));
    published.insert("head.fc.bias".into(), ones(&[10]));
    weights::save(&file, &published, &BTreeMap::new()).unwrap();
    let text = format!("convnextv2_atto={}", file.display());
    let (encoder, _) = encoder::open(&text, Device::Cpu, None).unwrap();
    assert_eq!(weights::fingerprint(&encoder.variables), wanted);
}

#[test]
fn constants_that_a_file_holds_are_passed_over_and_other_tensors_are_not() {
    let assigned = |name: &str| {
        let file = BTreeMap::from([(name.to_string(), ones(&[4, 4]))]);
        weights::assign(Path::new("file"), &file, &BTreeMap::new())
    };
    for end in ["attn_mask", "attn.relative_position_index", "attn.relative_coords_table"] {
        assert!(assigned(&format!("layers.0.blocks.1.{end}")).is_ok(), "{end}");
    }
    let other = assigned("layers.0.blocks.1.attn.relative_position_bias_table");
    assert!(matches!(other, Err(Error::UnclaimedTensor { .. })), "{other:?}");
}

fn ones(size: &[i64]) -> Tensor {
    Tensor::ones(size, (Kind::Float, Device::Cpu))
}

/// One model of a recording.
struct Recorded<'a> {
    file: &'a Tensors,
    name: &'a str,
}

impl Recorded<'_> {
    fn get(&self, name: &str) -> Tensor {
        self.file[&format!("{}.{name}", self.name)].to_kind(Kind::Double)
    }

    /// A model in f64 with the recorded weights.
    fn model<T>(&self, build: impl FnOnce(&nn::Path) -> T) -> (nn::VarStore, T) {
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

    /// Of the images under `which`: the stem, each stage at its `last` block, the map and the pooled features.
    fn compare(&self, model: &dyn Backbone, which: &str, last: &[&str]) {
        let mut taps = Vec::new();
        let mut keep =
            |name: &str, seen: &Tensor| taps.push((name.to_string(), seen.detach().copy()));
        let images = self.get(&format!("{which}input"));
        let features = model.forward(&images, Mode::Eval, &mut keep);
        let stage = |name: &str| name.split(".blocks").next().unwrap_or_default().to_string();
        let mut wanted = vec!["stem"];
        wanted.extend(last);
        wanted.push("pooled");
        for (name, seen) in taps.iter().filter(|(name, _)| wanted.contains(&name.as_str())) {
            self.agrees(seen, &format!("{which}out.{}", stage(name)));
        }
        let order: Vec<&str> = taps.iter().map(|(name, _)| name.as_str()).collect();
        let found: Vec<&str> = order.into_iter().filter(|name| wanted.contains(name)).collect();
        assert_eq!(found, wanted, "{}: taps in forward order", self.name);
        self.agrees(&features.map.unwrap(), &format!("{which}out.map"));
        self.agrees(&features.pooled, &format!("{which}out.pooled"));
        assert!(features.tokens.is_none());
        assert_eq!(features.pooled.size(), [2, model.width()]);
    }

    fn compare_gradient(&self, model: &dyn Backbone, store: &nn::VarStore, parameter: &str) {
        let pooled = model.forward(&self.get("input"), Mode::Train, &mut no_tap).pooled;
        (pooled * self.get("direction")).sum(None::<Kind>).backward();
        let gradient = named_parameters(store)[parameter].grad();
        self.agrees(&gradient, &format!("grad.{parameter}"));
    }

    fn agrees(&self, found: &Tensor, name: &str) {
        assert_eq!(found.kind(), Kind::Double, "a tolerance for f64 needs f64");
        let distance = distance(found, &self.get(name));
        assert!(distance < STORED_AS_F32, "{} {name}: off by {distance:e}", self.name);
    }
}
