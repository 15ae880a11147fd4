//! Weight files: torch's pickles against the numbers that torch wrote, files that lie, files that would run code.

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};

use pixels::plan::{Interpolation, Normalize, Preprocess};
use tch::{Device, Kind, Tensor, nn};
use vertebra::error::{Error, Result};
use vertebra::models::resnet::{ResNetConfig, Stem};
use vertebra::models::vit::{Pool, VitConfig};
use vertebra::models::weights::export::Export;
use vertebra::models::{BackboneConfig, Mode, named_variables, no_tap, weights};

use crate::root;

/// What a malicious file creates where it is unpickled.
const SENTINEL: &str = "pickle-was-run";

#[test]
fn pickles_hold_the_tensors_that_torch_wrote() {
    let files = [
        ("kinds-zip", "kinds"),
        ("kinds-legacy", "kinds"),
        ("protocol4-zip", "kinds"),
        ("protocol5-legacy", "kinds"),
        ("views-zip", "views"),
        ("views-legacy", "views"),
        ("views-deflated", "views"),
        ("checkpoint-zip", "checkpoint"),
        ("checkpoint-legacy", "checkpoint"),
        ("bare-zip", "bare"),
        ("bare-legacy", "bare"),
    ];
    for (file, wanted) in files {
        let (found, _) = weights::load(&recorded(&format!("{file}.pt"))).unwrap();
        let (wanted, _) = weights::load(&recorded(&format!("{wanted}.safetensors"))).unwrap();
        assert_same(&found, &wanted, file);
        let listed = weights::list(&recorded(&format!("{file}.pt"))).unwrap().tensors;
        let loaded = found.into_iter().map(|(name, it)| (name, (it.size(), it.kind()))).collect();
        assert_eq!(listed, loaded, "{file}");
    }
}

#[test]
fn what_is_no_tensor_is_named_and_dropped() {
    for layout in ["zip", "legacy"] {
        let file = recorded(&format!("checkpoint-{layout}.pt"));
        let dropped: BTreeMap<_, _> = weights::list(&file).unwrap().dropped.into_iter().collect();
        let expected = [
            ("args", "argparse.Namespace"),
            ("arch", "a text"),
            ("best", "numpy._core.multiarray.scalar"),
            ("epoch", "an integer"),
            ("seen", "a long integer"),
            ("seeds", "builtins.set"),
            ("size", "torch.Size"),
            ("optimizer.param_groups", "a list of 1"),
            ("queue.1.1", "a text"),
        ];
        let found: BTreeMap<_, _> =
            dropped.iter().map(|(name, what)| (name.as_str(), what.as_str())).collect();
        assert_eq!(found, BTreeMap::from(expected), "{layout}");
    }
}

#[test]
fn a_file_that_asks_for_a_call_is_refused_by_its_name() {
    let callables = [
        ("reduce", "posix.system"),
        ("eval", "builtins.eval"),
        ("hidden", "posix.system"),
        ("stack-global", "posix.system"),
        ("newobj", "subprocess.Popen"),
        ("newobj-ex", "subprocess.Popen"),
        ("build", "os.path"),
        ("inst", "os.system"),
        ("obj", "os.system"),
        ("through-list", "builtins.map"),
    ];
    for (name, wanted) in callables {
        let error = weights::load(&recorded(&format!("malicious-{name}.pt"))).unwrap_err();
        assert!(
            matches!(&error, Error::Unsafe { callable, .. } if callable == wanted),
            "{name}: {error}"
        );
        let told = error.to_string();
        assert!(told.contains(&format!("it asks to call `{wanted}`: such a file can run code")));
        assert!(error.hint().is_some_and(|hint| hint.contains("safetensors")));
    }
    for name in ["laughs", "laughs-of-dictionaries", "itself", "long-text", "long-bytes"] {
        let error = weights::load(&recorded(&format!("malicious-{name}.pt"))).unwrap_err();
        assert!(matches!(error, Error::Damaged { .. }), "{name}: {error}");
    }
    assert!(!Path::new(SENTINEL).exists());
}

/// Every shortening of a small file, and every byte of it changed: an error or tensors, and no panic.
#[test]
fn no_damage_to_a_small_file_is_a_panic() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("damaged");
    let names = [
        "bare.safetensors",
        "bare-zip.pt",
        "bare-legacy.pt",
        "views-legacy.pt",
        "views-deflated.pt",
        "malicious-stack-global.pt",
        "malicious-inst.pt",
    ];
    let mut opened = 0;
    for name in names {
        let whole = fs::read(recorded(name)).unwrap();
        for length in 0..whole.len() {
            fs::write(&path, &whole[..length]).unwrap();
            let cut = weights::load(&path);
            assert!(cut.is_err(), "{name} with {length} bytes");
        }
        for at in 0..whole.len() {
            let mut bytes = whole.clone();
            bytes[at] = bytes[at].wrapping_add([1, 0x80, 0x55, 0xFF][at % 4]);
            fs::write(&path, &bytes).unwrap();
            if let Ok((tensors, _)) = weights::load(&path) {
                opened += 1;
                for tensor in tensors.values() {
                    drop(tensor.contiguous());
                }
            }
        }
    }
    assert!(opened > 100, "changed numbers are numbers: {opened}");
    assert!(!Path::new(SENTINEL).exists());
}

#[test]
fn a_header_that_lies_is_an_error_that_says_so() {
    let entry = |name: &str, dtype: &str, shape: &str, offsets: &str| {
        format!(r#""{name}":{{"dtype":"{dtype}","shape":{shape},"data_offsets":{offsets}}}"#)
    };
    let a = entry("a", "F32", "[2]", "[0,8]");
    let cases = [
        (a.clone(), 7, "is to lie at bytes 0 to 8 of 7"),
        (a.clone(), 9, "its tensors end at byte"),
        (entry("a", "F32", "[3]", "[0,8]"), 8, "of shape [3] and Float has 8 bytes"),
        (entry("a", "F32", "[1]", "[0,8]"), 8, "has 8 bytes"),
        (entry("a", "F32", "[4294967296,4294967296]", "[0,8]"), 8, "impossible sizes"),
        (entry("a", "F32", "[18446744073709551615]", "[0,8]"), 8, "impossible sizes"),
        (entry("a", "F32", "[2]", "[8,0]"), 8, "is to lie at bytes 8 to 0"),
        (format!("{a},{}", entry("b", "F32", "[2]", "[4,12]")), 12, "overlap"),
        (format!("{a},{}", entry("b", "F32", "[2]", "[12,20]")), 20, "leave a hole"),
        (entry("a", "F8_E4M3", "[8]", "[0,8]"), 8, "is F8_E4M3, which is not read"),
        (r#""a":3"#.into(), 0, "entry `a` is wrong"),
    ];
    for (header, data, wanted) in cases {
        let header = format!("{{{header}}}");
        let error = safetensors(header.len() as u64, &header, data).unwrap_err().to_string();
        assert!(error.contains(wanted), "{header}: {error}");
    }
    let error = safetensors(1 << 20, "{}", 0).unwrap_err().to_string();
    assert!(error.contains("is to have 1048576 bytes"), "{error}");
    let error = safetensors(u64::MAX, "{}        ", 0).unwrap_err().to_string();
    assert!(error.contains("neither a safetensors file"), "{error}");
}

#[test]
fn every_kind_that_is_read_is_written_the_same() {
    let folder = tempfile::tempdir().unwrap();
    let (first, _) = weights::load(&recorded("kinds.safetensors")).unwrap();
    let path = folder.path().join("whatever.bin");
    weights::save(&path, &first, &BTreeMap::new()).unwrap();
    assert_same(&weights::load(&path).unwrap().0, &first, "kinds");
    assert_eq!(first.values().map(Tensor::kind).collect::<Vec<_>>().len(), 13);
}

#[test]
fn a_list_of_files_is_read_as_one_and_must_be_true() {
    let folder = tempfile::tempdir().unwrap();
    let tensor = |value: f64| Tensor::full([2], value, (Kind::Float, Device::Cpu));
    for (name, tensors) in [("1", [("a", 1.0), ("b", 2.0)]), ("2", [("c", 3.0), ("d", 4.0)])] {
        let tensors = tensors.map(|(name, value)| (name.to_string(), tensor(value)));
        let path = folder.path().join(format!("{name}.safetensors"));
        weights::save(&path, &tensors.into(), &BTreeMap::new()).unwrap();
    }
    let index = folder.path().join("model.safetensors.index.json");
    let read = |map: &str| {
        fs::write(&index, format!("{{\"metadata\": {{}}, \"weight_map\": {{{map}}}}}")).unwrap();
        weights::load(&index)
    };
    let whole =
        r#""a":"1.safetensors","b":"1.safetensors","c":"2.safetensors","d":"2.safetensors""#;
    let (tensors, _) = read(whole).unwrap();
    let sums: Vec<f64> =
        tensors.values().map(|it| it.sum(Kind::Double).double_value(&[])).collect();
    assert_eq!(sums, [2.0, 4.0, 6.0, 8.0]);
    let refused = |map: &str| read(map).unwrap_err().to_string();
    assert!(refused(r#""a":"2.safetensors""#).contains("`a` is not in `2.safetensors`"));
    assert!(refused(r#""a":"../1.safetensors""#).contains("is no file beside it"));
    assert!(refused(r#""a":"3.safetensors""#).contains("cannot read"));
}

#[test]
fn an_export_comes_back_to_the_bit_and_says_how_images_are_prepared() {
    let folder = tempfile::tempdir().unwrap();
    for (spec, out) in exported_specs().iter().zip(["resnet", "vit"]) {
        let (_store, variables) = random(spec);
        let out = folder.path().join(out);
        let file = spec.export(&variables).safetensors(&out, &BTreeMap::new()).unwrap();
        assert_eq!(file, out.join("model.safetensors"));
        assert_same(&weights::load(&file).unwrap().0, &variables, spec.backbone.name());
        let config = fs::read_to_string(out.join("config.json")).unwrap();
        let config: serde_json::Value = serde_json::from_str(&config).unwrap();
        assert_eq!(config["num_classes"], 0);
        let prepared = &config["pretrained_cfg"];
        assert_eq!(prepared["input_size"], serde_json::json!([3, 32, 32]));
        assert_eq!(prepared["interpolation"], "bicubic");
        assert_eq!(prepared["mean"], serde_json::json!([0.485, 0.456, 0.406]));
        let share = prepared["crop_pct"].as_f64().unwrap();
        assert_eq!((32.0 / share).floor(), 37.0, "timm's arithmetic gives the resized side");
        let vit = out.ends_with("vit");
        assert_eq!(config["num_features"], if vit { 192 } else { 512 });
        assert_eq!(config["architecture"], if vit { "vit_tiny_patch16_224" } else { "resnet18" });
        if vit {
            let arguments = serde_json::json!({
                "in_chans": 3, "global_pool": "avg", "fc_norm": false, "img_size": 32, "patch_size": 8
            });
            assert_eq!(config["model_args"], arguments);
        }
    }
}

#[test]
fn what_timm_cannot_build_has_no_architecture() {
    let small = ResNetConfig { stem: Stem::Small, ..ResNetConfig::default() };
    let narrow = ResNetConfig { width: 32, ..ResNetConfig::default() };
    let variables = BTreeMap::new();
    for config in [small, narrow] {
        let spec =
            Spec { backbone: BackboneConfig::Resnet18(config), ..exported_specs()[0].clone() };
        assert_eq!(spec.export(&variables).config(512).get("architecture"), None);
    }
}

#[test]
fn a_traced_module_gives_the_features_of_the_backbone_for_any_number_of_images() {
    let _alone = crate::alone();
    let folder = tempfile::tempdir().unwrap();
    for (spec, name) in exported_specs().iter().zip(["resnet.pt", "vit.pt"]) {
        let store = nn::VarStore::new(Device::Cpu);
        let backbone = spec.backbone.build(&store.root(), 3);
        let variables = named_variables(&store);
        let file = spec.export(&variables).torchscript(&folder.path().join(name)).unwrap();
        let module = tch::CModule::load(&file).unwrap();
        for count in [1, 2, 5] {
            let images = Tensor::randn([count, 3, 32, 32], (Kind::Float, Device::Cpu));
            let wanted = tch::no_grad(|| backbone.forward(&images, Mode::Eval, &mut no_tap).pooled);
            let found = module.forward_ts(&[&images]).unwrap();
            // The same kernels in the same order; a fused one may round otherwise.
            assert!(crate::distance(&found, &wanted) < 1e-5, "{name}, {count} images");
        }
        let error = weights::load(&file).unwrap_err().to_string();
        assert!(error.contains("TorchScript program"), "{error}");
    }
}

/// A backbone and how its images are prepared.
#[derive(Clone)]
struct Spec {
    backbone: BackboneConfig,
    preprocess: Preprocess,
}

impl Spec {
    fn export<'a>(&'a self, variables: &'a BTreeMap<String, Tensor>) -> Export<'a> {
        Export { backbone: &self.backbone, channels: 3, preprocess: &self.preprocess, variables }
    }
}

fn exported_specs() -> [Spec; 2] {
    let preprocess = Preprocess {
        resize: 37,
        crop: 32,
        interpolation: Interpolation::Bicubic,
        normalize: Normalize::imagenet(),
    };
    let vit = VitConfig { image: 32, patch: 8, pool: Pool::Mean, ..VitConfig::default() };
    [BackboneConfig::Resnet18(ResNetConfig::default()), BackboneConfig::VitTiny(vit)]
        .map(|backbone| Spec { backbone, preprocess: preprocess.clone() })
}

fn random(spec: &Spec) -> (nn::VarStore, BTreeMap<String, Tensor>) {
    let store = nn::VarStore::new(Device::Cpu);
    spec.backbone.build(&store.root(), 3);
    let variables = named_variables(&store);
    (store, variables)
}

fn recorded(name: &str) -> PathBuf {
    root().join("fixtures/pickles").join(name)
}

/// Reads a safetensors file of a header and `data` zeros.
fn safetensors(length: u64, header: &str, data: usize) -> Result<usize> {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("file");
    let bytes = [&length.to_le_bytes(), header.as_bytes(), &vec![0; data]].concat();
    fs::write(&path, bytes).unwrap();
    weights::load(&path).map(|(tensors, _)| tensors.len())
}

/// Equal to the bit, kinds and shapes included.
#[track_caller]
fn assert_same(found: &BTreeMap<String, Tensor>, wanted: &BTreeMap<String, Tensor>, what: &str) {
    let names = |tensors: &BTreeMap<String, Tensor>| tensors.keys().cloned().collect::<Vec<_>>();
    assert_eq!(names(found), names(wanted), "{what}");
    for (name, wanted) in wanted {
        let found = &found[name];
        let same = found.kind() == wanted.kind() && found.equal(wanted);
        assert!(same && found.size() == wanted.size(), "{what}: {name}: {found:?}, {wanted:?}");
    }
}
