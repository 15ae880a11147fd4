//! Weights in every layout that `fixtures/record_layouts.py` records, and files that are none of them.

use std::collections::BTreeMap;
use std::fs;
use std::path::Path;

use pixels::plan::{Interpolation, Normalize};
use serde::Deserialize;
use tch::{Device, Kind, Tensor, nn};
use vertebra::error::Error;
use vertebra::evaluation::encoder;
use vertebra::models::convnext::Version;
use vertebra::models::layouts::{Found, Imported, recognise, translate};
use vertebra::models::resnet::{ResNetConfig, Stem};
use vertebra::models::vit::{self, Mlp, Pool, Vit, VitConfig};
use vertebra::models::{Backbone, BackboneConfig, Mode, named_variables, no_tap, weights};

use crate::{alone, distance, fixture, root};

type Tensors = BTreeMap<String, Tensor>;

/// One layout of the recording.
#[derive(Deserialize)]
struct Layout {
    /// Shapes by the file's names.
    file: BTreeMap<String, Vec<i64>>,
    /// Shapes by our names, and the numbers along the first dimension, repetitions apart, when the file's tensors are
    /// filled with 1, 2, 3...
    ours: BTreeMap<String, (Vec<i64>, Vec<f64>)>,
}

fn layouts() -> BTreeMap<String, Layout> {
    let text = fs::read_to_string(root().join("fixtures/layouts.json")).unwrap();
    serde_json::from_str(&text).unwrap()
}

impl Layout {
    fn filled(&self) -> Tensors {
        let filled = |(i, (name, shape)): (usize, (&String, &Vec<i64>))| {
            let value = (i + 1) as f64;
            (name.clone(), Tensor::full(shape, value, (Kind::Float, Device::Cpu)))
        };
        self.file.iter().enumerate().map(filled).collect()
    }
}

fn along(tensor: &Tensor) -> Vec<f64> {
    let size = tensor.size();
    let rows = if size[0] == 1 {
        tensor.flatten(0, -1)
    } else {
        tensor.reshape([size[0], -1]).select(1, 0)
    };
    let mut numbers = Vec::<f64>::try_from(rows.to_kind(Kind::Double)).unwrap();
    numbers.dedup();
    numbers
}

#[test]
fn every_tensor_of_every_layout_gets_our_name_and_place() {
    for (name, layout) in layouts() {
        let file = layout.filled();
        let all: Vec<String> = file.keys().cloned().collect();
        let it = translate(Path::new(&name), file, Some(false)).unwrap();
        let ours: Vec<&String> = layout.ours.keys().collect();
        assert_eq!(it.tensors.keys().collect::<Vec<_>>(), ours, "{name}");
        for (ours, (shape, numbers)) in &layout.ours {
            assert_eq!(&it.tensors[ours].size(), shape, "{name}: `{ours}`");
            assert_eq!(&along(&it.tensors[ours]), numbers, "{name}: `{ours}`");
        }
        for (theirs, why) in &it.left_out {
            assert!(all.contains(theirs) && !why.is_empty(), "{name}: `{theirs}` left out");
        }
    }
}

#[test]
fn one_tensor_more_is_named_in_every_layout() {
    for (name, layout) in layouts() {
        let mut file = layout.filled();
        let it = translate(Path::new(&name), layout.filled(), Some(false)).unwrap();
        let extra = format!("{}strange.weight", it.under);
        file.insert(extra, Tensor::zeros([2], (Kind::Float, Device::Cpu)));
        let error = translate(Path::new(&name), file, Some(false)).unwrap_err();
        assert!(error.to_string().contains("strange.weight"), "{name}: {error}");
    }
}

#[test]
fn shapes_tell_the_options() {
    let found = |name: &str| {
        translate(Path::new(name), layouts()[name].filled(), Some(true)).unwrap().found
    };
    let vit = |name: &str| match found(name) {
        Found::Vit(vit) => vit,
        other => panic!("{name}: {other:?}"),
    };
    let plain = VitConfig { image: 16, patch: 4, ..VitConfig::default() };
    let scaled = VitConfig { layer_scale: Some(1e-5), ..plain };
    let registers = VitConfig { registers: 4, prefix_positions: false, ..scaled };
    let mean = VitConfig { class_token: false, pool: Pool::Mean, ..plain };
    let clip = VitConfig { pre_norm: true, epsilon: 1e-5, mlp: Mlp::QuickGelu, ..plain };
    let siglip =
        VitConfig { class_token: false, pool: Pool::Attention, mlp: Mlp::GeluTanh, ..plain };
    for (name, wanted) in [
        ("dino", plain),
        ("mae", plain),
        ("moco v3", plain),
        ("dinov2", scaled),
        ("dinov2 registers", registers),
        ("dinov2 checkpoint", registers),
        ("hf dinov2 registers", registers),
        ("ijepa", mean),
        ("timm fc_norm", VitConfig { pool: Pool::MeanNorm, ..plain }),
        ("open_clip", clip),
        ("hf clip tower", clip),
        ("timm siglip", siglip),
        ("hf siglip", siglip),
        ("hf vit", VitConfig { epsilon: 1e-12, ..plain }),
    ] {
        let found = vit(name);
        assert_eq!((found.width, found.depth, found.mlp, found.channels), (16, 2, 64, 3), "{name}");
        assert_eq!(found.config, wanted, "{name}");
    }
    let Found::Swin(swin) = found("swinv2") else { panic!("no Swin") };
    assert_eq!((swin.config.window, swin.second, swin.told), (4, true, true));
    assert_eq!(swin.stages, [(2, 1), (2, 2), (2, 2), (2, 4)]);
    let Found::ConvNext(convnext) = found("convnextv2") else { panic!("no ConvNeXt") };
    assert_eq!(convnext.shape.version, Version::V2);
    assert_eq!(
        convnext.shape.stages.map(|it| (it.blocks, it.width)),
        [(1, 4), (1, 8), (2, 16), (1, 32)]
    );
}

const SHAPE: vit::Shape = vit::Shape { width: 16, depth: 2, heads: 2, mlp: 64 };

/// The recorded numbers are rounded to f32, and so are the weights that make them here.
const F32: f64 = 1e-5;

fn pooled(it: &vertebra::models::layouts::Translated, images: &Tensor) -> Tensor {
    let Found::Vit(found) = &it.found else { panic!("no transformer") };
    let _alone = alone();
    let store = nn::VarStore::new(Device::Cpu);
    let vit = Vit::new(&store.root(), SHAPE, found.config, 3);
    weights::assign(Path::new("recorded"), &it.tensors, &named_variables(&store)).unwrap();
    tch::no_grad(|| vit.forward(images, Mode::Eval, &mut no_tap).pooled)
}

fn recorded(file: &Tensors, name: &str) -> Tensors {
    let prefix = format!("{name}.weights.");
    let keep = |(key, tensor): (&String, &Tensor)| {
        Some((key.strip_prefix(&prefix)?.to_string(), tensor.shallow_clone()))
    };
    file.iter().filter_map(keep).collect()
}

#[test]
fn towers_of_other_libraries_give_their_features() {
    let file = fixture("vit_towers.safetensors");
    for name in ["hf_clip", "hf_siglip", "open_clip"] {
        let it = translate(Path::new(name), recorded(&file, name), Some(true)).unwrap();
        let off = distance(&pooled(&it, &file["input"]), &file[&format!("{name}.out.pooled")]);
        assert!(off < F32, "{name}: off by {off:e}");
    }
}

/// DINOv2's own files have a position for the class token and none for the registers.
#[test]
fn the_position_of_a_class_token_before_registers_is_not_lost() {
    let file = fixture("vit_family.safetensors");
    let mut official = recorded(&file, "dinov2_registers");
    let position = Tensor::full([1, 1, 16], 0.25, (Kind::Float, Device::Cpu));
    let class = &official["cls_token"] - &position;
    let positions = Tensor::cat(&[&position, &official["pos_embed"]], 1);
    let registers = official.remove("reg_token").unwrap();
    official.insert("cls_token".into(), class);
    official.insert("pos_embed".into(), positions);
    official.insert("register_tokens".into(), registers);
    official.insert("mask_token".into(), Tensor::zeros([1, 16], (Kind::Float, Device::Cpu)));
    let it = translate(Path::new("dinov2"), official, None).unwrap();
    let off = distance(&pooled(&it, &file["input"]), &file["dinov2_registers.out.pooled"]);
    assert!(off < F32, "off by {off:e}");
}

fn variables(config: &BackboneConfig) -> Tensors {
    let _alone = alone();
    let store = nn::VarStore::new(Device::Cpu);
    let _backbone = config.build(&store.root(), 3);
    named_variables(&store)
}

fn of(config: &BackboneConfig, wanted: Option<&str>) -> Imported {
    let it = recognise(Path::new("no-folder/weights"), variables(config), wanted).unwrap();
    assert!(it.left_out.is_empty(), "{:?}", it.left_out);
    weights::assign(Path::new("again"), &it.tensors, &variables(config)).unwrap();
    it
}

#[test]
fn our_own_names_are_recognised_with_their_options() {
    let vit = VitConfig { image: 32, ..VitConfig::default() };
    let small = ResNetConfig { stem: Stem::Small, width: 8, ..ResNetConfig::default() };
    let named =
        |name: &str| BackboneConfig::all().into_iter().find(|it| it.name() == name).unwrap();
    for config in [
        BackboneConfig::VitTiny(vit),
        BackboneConfig::VitTiny(VitConfig {
            image: 48,
            registers: 4,
            layer_scale: Some(1e-5),
            ..vit
        }),
        BackboneConfig::VitTiny(VitConfig { class_token: false, pool: Pool::Mean, ..vit }),
        BackboneConfig::Resnet18(small),
        BackboneConfig::Resnet50(ResNetConfig { width: 16, ..ResNetConfig::default() }),
        named("convnextv2_atto"),
        named("swin_tiny"),
    ] {
        let name = config.name();
        assert_eq!(of(&config, None).backbone, config, "{name}");
        assert_eq!(of(&config, Some(name)).backbone, config, "{name}");
    }
    // Windows of the second version leave no trace: the size's name stands for those it was published with.
    let swin = named("swinv2_tiny");
    assert_eq!(of(&swin, Some("swinv2_tiny")).backbone, swin);
    let error = recognise(Path::new("no-folder/w"), variables(&swin), None).unwrap_err();
    assert!(error.to_string().contains("windows"), "{error}");
}

#[test]
fn matrices_stored_as_matrices_fit_the_networks_that_have_convolutions() {
    let atto = BackboneConfig::all().into_iter().find(|it| it.name() == "convnextv2_atto").unwrap();
    let mut file = variables(&atto);
    for (name, tensor) in &mut file {
        if name.ends_with("mlp.fc1.weight") || name.ends_with("mlp.fc2.weight") {
            *tensor = tensor.squeeze();
        }
    }
    let it = recognise(Path::new("no-folder/weights"), file, None).unwrap();
    weights::assign(Path::new("again"), &it.tensors, &variables(&atto)).unwrap();
}

#[test]
fn a_file_of_another_architecture_says_what_it_is() {
    let config = VitConfig { image: 32, ..VitConfig::default() };
    let file = || variables(&BackboneConfig::VitTiny(config));
    let error = recognise(Path::new("no-folder/w"), file(), Some("resnet50")).unwrap_err();
    let said = error.to_string();
    assert!(
        said.contains("this is a ViT-Ti/16 in timm's names") && said.ends_with("not a resnet50"),
        "{said}"
    );
    assert!(error.hint().unwrap().contains("vit_tiny=FILE"));
    let mut shallow = file();
    shallow.retain(|name, _| !name.starts_with("blocks.11."));
    let error = recognise(Path::new("no-folder/w"), shallow, None).unwrap_err();
    assert!(error.to_string().contains("11 blocks, 192 wide"), "{error}");
}

#[test]
fn what_is_missing_empty_or_of_another_shape_is_named_as_the_file_names_it() {
    let layouts = layouts();
    let failed = |name: &str, change: &dyn Fn(&mut Tensors)| {
        let mut file = layouts[name].filled();
        change(&mut file);
        translate(Path::new("w"), file, Some(false)).unwrap_err()
    };
    let key = "vision_model.encoder.layers.1.self_attn.k_proj.weight";
    let error = failed("hf clip", &|file| drop(file.remove(key)));
    assert!(matches!(&error, Error::MissingTensor { name, .. } if name == key), "{error}");
    let error =
        failed("open_clip", &|file| drop(file.remove("visual.positional_embedding").unwrap()));
    assert!(
        error.to_string().contains("CLIP") || error.to_string().contains("no layout"),
        "{error}"
    );
    let error = failed("hf siglip tower", &|file| {
        file.insert(
            "head.attention.in_proj_bias".into(),
            Tensor::zeros([47], (Kind::Float, Device::Cpu)),
        );
    });
    assert!(matches!(error, Error::WrongShape { .. }), "{error}");
    let error = failed("timm vit", &|file| {
        file.insert("pos_embed".into(), Tensor::zeros([1, 12, 16], (Kind::Float, Device::Cpu)));
    });
    assert!(error.to_string().contains("`pos_embed` has 12 positions"), "{error}");
    let error = failed("timm vit", &|file| {
        file.insert(
            "patch_embed.proj.weight".into(),
            Tensor::zeros([16, 3, 0, 0], (Kind::Float, Device::Cpu)),
        );
    });
    assert!(error.to_string().contains("is empty"), "{error}");
}

#[test]
fn what_a_network_misses_is_named_as_the_file_would_name_it() {
    let clip = VitConfig { image: 32, pre_norm: true, ..VitConfig::default() };
    let config = BackboneConfig::VitTiny(clip);
    // The file has our names under a prefix; one that its shapes are not read from is gone.
    let mut file: Tensors = variables(&config)
        .into_iter()
        .map(|(name, tensor)| (format!("state_dict.module.{name}"), tensor))
        .collect();
    file.retain(|name, _| name != "state_dict.module.norm_pre.bias");
    let it = recognise(Path::new("no-folder/w"), file, Some("clip_vit_tiny")).unwrap();
    let error = it.assign(Path::new("w"), &variables(&config)).unwrap_err();
    assert!(
        matches!(&error, Error::MissingTensor { name, .. } if name == "state_dict.module.norm_pre.bias"),
        "{error}"
    );
}

#[test]
fn files_of_nothing_and_of_anything_else_are_told() {
    let said = |file: Tensors| {
        let error = recognise(Path::new("no-folder/w"), file, None).unwrap_err();
        (error.to_string(), error.hint().unwrap_or_default())
    };
    assert!(said(Tensors::new()).0.contains("no weights"));
    let one = || Tensor::zeros([2, 3], (Kind::Float, Device::Cpu));
    let names = ["lstm.weight", "lstm.bias", "out.weight", "out.bias", "zeta"];
    let (problem, hint) = said(names.map(|name| (name.to_string(), one())).into());
    assert!(problem.contains("`lstm.weight` [2, 3]") && problem.contains("5 tensors"), "{problem}");
    assert!(hint.contains("open_clip") && hint.contains("torchvision"), "{hint}");
}

#[test]
fn clip_is_not_opened_before_its_activation_is_known() {
    let clip = VitConfig { image: 32, pre_norm: true, ..VitConfig::default() };
    let file = || variables(&BackboneConfig::VitTiny(clip));
    let error = recognise(Path::new("no-folder/w"), file(), None).unwrap_err();
    assert!(error.to_string().contains("activation"), "{error}");
    let opened = |name: &str| {
        let it = recognise(Path::new("no-folder/w"), file(), Some(name)).unwrap();
        match it.backbone {
            BackboneConfig::VitTiny(config) => (config.mlp, it.preprocess),
            other => panic!("{other:?}"),
        }
    };
    assert_eq!(opened("clip_vit_tiny").0, Mlp::Gelu);
    let (mlp, preprocess) = opened("openai_clip_vit_tiny");
    assert_eq!((mlp, preprocess.resize, preprocess.crop), (Mlp::QuickGelu, 32, 32));
    assert!((preprocess.normalize.mean[0] - 0.481_454_66).abs() < 1e-6);
}

#[test]
fn a_description_beside_the_file_decides_what_shapes_do_not() {
    let folder = tempfile::tempdir().unwrap();
    let weights = folder.path().join("model.safetensors");
    let clip = VitConfig { image: 32, pre_norm: true, ..VitConfig::default() };
    let read = || recognise(&weights, variables(&BackboneConfig::VitTiny(clip)), None).unwrap();
    let write = |name: &str, text: &str| fs::write(folder.path().join(name), text).unwrap();
    let mlp = |it: &Imported| match it.backbone {
        BackboneConfig::VitTiny(config) => (config.mlp, config.epsilon),
        _ => panic!("{it:?}"),
    };
    write(
        "config.json",
        r#"{"architecture": "vit_base_patch16_clip_quickgelu_224", "pretrained_cfg": {"input_size": [3, 224, 224],
            "mean": [0.1, 0.2, 0.3], "std": [0.5, 0.5, 0.5], "interpolation": "bilinear", "crop_pct": 0.9}}"#,
    );
    let it = read();
    assert_eq!(mlp(&it).0, Mlp::QuickGelu);
    assert_eq!((it.preprocess.resize, it.preprocess.crop), (248, 224));
    assert_eq!(it.preprocess.interpolation, Interpolation::Bilinear);
    assert_eq!(it.preprocess.normalize, Normalize { mean: vec![0.1, 0.2, 0.3], std: vec![0.5; 3] });
    write(
        "config.json",
        r#"{"model_type": "clip", "vision_config": {"hidden_act": "gelu", "layer_norm_eps": 1e-7}}"#,
    );
    write(
        "preprocessor_config.json",
        r#"{"size": {"shortest_edge": 256}, "crop_size": {"height": 240, "width": 240}, "do_center_crop": true,
            "resample": 3, "image_mean": [0.5, 0.5, 0.5], "image_std": [0.5, 0.5, 0.5]}"#,
    );
    let it = read();
    assert_eq!(mlp(&it), (Mlp::Gelu, 1e-7));
    assert_eq!((it.preprocess.resize, it.preprocess.crop), (256, 240));
    write("config.json", "{");
    let error = recognise(&weights, variables(&BackboneConfig::VitTiny(clip)), None).unwrap_err();
    assert!(matches!(error, Error::Damaged { .. }), "{error}");
}

#[test]
fn a_file_a_folder_and_a_named_file_open_the_same_encoder() {
    let folder = tempfile::tempdir().unwrap();
    let config = BackboneConfig::Resnet18(ResNetConfig { width: 8, ..ResNetConfig::default() });
    let mut file = variables(&config);
    file.insert("fc.weight".into(), Tensor::zeros([10, 64], (Kind::Float, Device::Cpu)));
    let path = folder.path().join("model.safetensors");
    weights::save(&path, &file, &BTreeMap::new()).unwrap();
    let text = path.display().to_string();
    let _alone = alone();
    let open = |text: &str| encoder::open(text, Device::Cpu, None).unwrap();
    let (alone, spec) = open(&text);
    assert_eq!((spec.backbone, spec.channels), (config, 3));
    for other in [format!("resnet18={text}"), folder.path().display().to_string()] {
        let (encoder, other_spec) = open(&other);
        assert_eq!(encoder.weights_hash, alone.weights_hash, "{other}");
        assert_eq!(other_spec, spec, "{other}");
    }
    let error = |text: &str| encoder::open(text, Device::Cpu, None).err().unwrap().to_string();
    assert!(error(&format!("vit_small={text}")).contains("this is a ResNet-18"));
    assert!(error(&format!("resnet5={text}")).contains("no architecture is called"));
}

/// DINO's checkpoint, with its dictionaries as dotted names.
#[test]
fn a_prefix_is_opened_to_the_teacher_of_a_training_checkpoint() {
    let config = BackboneConfig::Resnet18(ResNetConfig { width: 8, ..ResNetConfig::default() });
    let one = || Tensor::ones([3], (Kind::Float, Device::Cpu));
    let wanted = variables(&config);
    let mut file = Tensors::from([
        ("teacher.module.head.mlp.0.weight".to_string(), one()),
        ("dino_loss.center".to_string(), one()),
        ("optimizer.state.0.exp_avg".to_string(), one()),
    ]);
    for (name, tensor) in &wanted {
        file.insert(format!("teacher.module.backbone.{name}"), tensor.shallow_clone());
        file.insert(format!("student.module.backbone.{name}"), tensor + 1.0);
    }
    let it = recognise(Path::new("no-folder/w"), file, None).unwrap();
    assert_eq!((it.backbone, it.under.as_str()), (config, "teacher.module.backbone."));
    assert!(it.tensors.iter().all(|(name, tensor)| tensor.equal(&wanted[name])));
    assert_eq!(it.left_out.len(), 3 + wanted.len());
}
