//! The vision transformer of every published family, against the numbers that `fixtures/record_vit_family.py` recorded.

use std::collections::BTreeMap;

use tch::{Device, Kind, Tensor, nn};
use vertebra::models::vit::{Mlp, Pool, Shape, Vit, VitConfig};
use vertebra::models::{Backbone, BackboneConfig, Mode, named_parameters, no_tap};

use crate::parity::{Recorded, Tensors, tapped};
use crate::{alone, distance, fixture};

const SHAPE: Shape = Shape { width: 16, depth: 2, heads: 2, mlp: 64 };
/// timm resizes positions in f32: a handful of sums and products, each wrong by up to 6e-8.
const RESIZED_IN_F32: f64 = 1e-6;

fn plain() -> VitConfig {
    VitConfig { image: 16, patch: 4, ..VitConfig::default() }
}

fn clip() -> VitConfig {
    VitConfig { pre_norm: true, mlp: Mlp::QuickGelu, epsilon: 1e-5, ..plain() }
}

fn siglip() -> VitConfig {
    VitConfig { class_token: false, pool: Pool::Attention, mlp: Mlp::GeluTanh, ..plain() }
}

fn family() -> [(&'static str, VitConfig); 7] {
    let scaled = VitConfig { layer_scale: Some(1e-5), ..plain() };
    [
        ("registers", VitConfig { registers: 2, ..plain() }),
        ("dinov2_registers", VitConfig { registers: 4, prefix_positions: false, ..scaled }),
        ("dinov2_giant", VitConfig { mlp: Mlp::Swiglu, ..scaled }),
        ("mae", VitConfig { pool: Pool::MeanNorm, ..plain() }),
        ("ijepa", VitConfig { class_token: false, pool: Pool::Mean, ..plain() }),
        ("clip", VitConfig { projection: Some(12), ..clip() }),
        ("siglip", siglip()),
    ]
}

#[test]
fn every_family_is_that_of_timm() {
    let file = fixture("vit_family.safetensors");
    for (name, config) in family() {
        let recorded = Recorded { file: &file, name };
        let (_, vit) = recorded.model(|path| Vit::new(path, SHAPE, config, 3));
        every_stage_agrees(&recorded, &vit, config);
    }
}

/// The stages of a recording, from the tokens of the first block to one vector per image.
fn every_stage_agrees(recorded: &Recorded, vit: &Vit, config: VitConfig) {
    let (taps, features) = tapped(vit, &recorded.file["input"].to_kind(Kind::Double));
    let names: Vec<&String> = taps.keys().collect();
    assert_eq!(names, ["blocks.0", "blocks.1", "pooled", "stem"], "{}", recorded.name);
    recorded.agrees(&taps["stem"], "out.embedded");
    for block in ["blocks.0", "blocks.1"] {
        recorded.agrees(&taps[block], &format!("out.{block}"));
    }
    if recorded.file.contains_key(&format!("{}.out.tokens", recorded.name)) {
        recorded.agrees(&features.tokens.unwrap(), "out.tokens");
    }
    let pooled = if config.projection.is_some() { "out.projected" } else { "out.pooled" };
    recorded.agrees(&features.pooled, pooled);
    assert!(features.pooled.equal(&taps["pooled"]), "{}", recorded.name);
    assert_eq!(features.pooled.size(), [2, vit.width()], "{}", recorded.name);
}

#[test]
fn features_of_clip_are_taken_before_its_projection_unless_it_is_asked_for() {
    let mut file = fixture("vit_family.safetensors");
    file.remove("clip.weights.head.weight");
    let recorded = Recorded { file: &file, name: "clip" };
    let (_, vit) = recorded.model(|path| Vit::new(path, SHAPE, clip(), 3));
    every_stage_agrees(&recorded, &vit, clip());
}

#[test]
fn gradients_are_those_of_timm() {
    let file = fixture("vit_family.safetensors");
    for (name, config) in family() {
        let prefix = format!("{name}.grad.");
        let wanted = file.keys().filter_map(|key| key.strip_prefix(&prefix)).collect::<Vec<_>>();
        if wanted.is_empty() {
            continue;
        }
        let recorded = Recorded { file: &file, name };
        let (store, vit) = recorded.model(|path| Vit::new(path, SHAPE, config, 3));
        let images = file["input"].to_kind(Kind::Double);
        let pooled = vit.forward(&images, Mode::Train, &mut no_tap).pooled;
        (pooled * recorded.get("direction")).sum(None::<Kind>).backward();
        let parameters = named_parameters(&store);
        for parameter in wanted {
            recorded.agrees(&parameters[parameter].grad(), &format!("grad.{parameter}"));
        }
        for (parameter, tensor) in &parameters {
            assert!(tensor.grad().defined(), "{name}: `{parameter}` has no gradient");
        }
    }
}

#[test]
fn images_of_another_size_are_seen_as_timm_sees_them() {
    let file = fixture("vit_family.safetensors");
    for (name, config) in family() {
        // With registers that have no position, and without any token before the patches.
        if !["dinov2_registers", "ijepa"].contains(&name) {
            continue;
        }
        let recorded = Recorded { file: &file, name };
        let (_, vit) = recorded.model(|path| Vit::new(path, SHAPE, config, 3));
        for side in [24, 8] {
            let images = file[&format!("input.{side}")].to_kind(Kind::Double);
            let found = vit.forward(&images, Mode::Eval, &mut no_tap).pooled;
            let off = distance(&found, &recorded.get(&format!("out.{side}")));
            assert!(off < RESIZED_IN_F32, "{name} at {side} pixels: off by {off:e}");
        }
    }
}

#[test]
fn image_towers_of_other_libraries_are_the_same_network() {
    let mut file = fixture("vit_towers.safetensors");
    for name in ["hf_clip", "hf_siglip", "open_clip"] {
        let renamed = renamed(&file, name);
        file.extend(renamed);
    }
    let projected = VitConfig { projection: Some(12), ..clip() };
    for (name, config) in
        [("hf_clip", projected), ("open_clip", projected), ("hf_siglip", siglip())]
    {
        let renamed = format!("timm.{name}");
        file.extend(outputs(&file, name));
        let recorded = Recorded { file: &file, name: &renamed };
        let (_, vit) = recorded.model(|path| Vit::new(path, SHAPE, config, 3));
        every_stage_agrees(&recorded, &vit, config);
    }
}

/// What a model is recorded to give, for its renamed copy.
fn outputs(file: &Tensors, name: &str) -> Tensors {
    let prefix = format!("{name}.out.");
    file.iter()
        .filter_map(|(key, tensor)| {
            let key = key.strip_prefix(&prefix)?;
            Some((format!("timm.{name}.out.{key}"), tensor.shallow_clone()))
        })
        .collect()
}

/// Foreign weights under timm's names, as far as this test needs it.
fn renamed(file: &Tensors, name: &str) -> Tensors {
    const NAMES: [(&str, &str); 32] = [
        ("vision_model.embeddings.", ""),
        ("vision_model.encoder.layers.", "blocks."),
        ("vision_model.head.attention.out_proj", "attn_pool.proj"),
        ("vision_model.head.attention.in_proj_", "attn_pool.q+kv."),
        ("vision_model.head.layernorm", "attn_pool.norm"),
        ("vision_model.head.probe", "attn_pool.latent"),
        ("vision_model.head.", "attn_pool."),
        ("vision_model.", ""),
        ("visual_projection", "head"),
        ("patch_embedding", "patch_embed.proj"),
        ("position_embedding.weight", "pos_embed"),
        ("pre_layrnorm", "norm_pre"),
        ("post_layernorm", "norm"),
        ("layer_norm", "norm"),
        ("self_attn.out_proj", "attn.proj"),
        ("self_attn.q_proj", "attn.qkv.0"),
        ("self_attn.k_proj", "attn.qkv.1"),
        ("self_attn.v_proj", "attn.qkv.2"),
        ("visual.transformer.resblocks.", "blocks."),
        ("visual.", ""),
        ("conv1", "patch_embed.proj"),
        ("class_embedding", "cls_token"),
        ("positional_embedding", "pos_embed"),
        ("ln_pre", "norm_pre"),
        ("ln_post", "norm"),
        ("ln_", "norm"),
        ("attn.in_proj_", "attn.qkv."),
        ("attn.out_proj", "attn.proj"),
        ("mlp.c_fc", "mlp.fc1"),
        ("mlp.c_proj", "mlp.fc2"),
        ("attn_pool.attention", "attn_pool"),
        ("attn_pool.layernorm", "attn_pool.norm"),
    ];
    let prefix = format!("{name}.weights.");
    let mut parts: BTreeMap<String, Vec<Tensor>> = BTreeMap::new();
    for (key, tensor) in file {
        let Some(key) = key.strip_prefix(&prefix) else { continue };
        let key = NAMES.iter().fold(key.to_string(), |key, (from, to)| key.replacen(from, to, 1));
        let width = SHAPE.width;
        if let Some(kind) = key.strip_prefix("attn_pool.q+kv.") {
            let q = tensor.narrow(0, 0, width);
            parts.insert(format!("attn_pool.q.{kind}"), vec![q]);
            let kv = tensor.narrow(0, width, 2 * width);
            parts.insert(format!("attn_pool.kv.{kind}"), vec![kv]);
            continue;
        }
        // Of queries, keys and values, in this order whatever the order of their names.
        let third = [".0.weight", ".1.weight", ".2.weight", ".0.bias", ".1.bias", ".2.bias"];
        match third.iter().find(|ending| key.ends_with(&format!("attn.qkv{ending}"))) {
            Some(ending) => {
                let place: usize = ending[1..2].parse().unwrap();
                let whole = key.replace(ending, &ending[2..]);
                let slots = parts.entry(whole).or_insert_with(|| [0; 3].map(|_| Tensor::new()).into());
                slots[place] = tensor.shallow_clone();
            }
            None => drop(parts.insert(key, vec![tensor.shallow_clone()])),
        }
    }
    parts
        .into_iter()
        .map(|(key, parts)| {
            let tensor = Tensor::cat(&parts, 0);
            let tensor = match (key.as_str(), tensor.dim()) {
                ("pos_embed", 2) => tensor.unsqueeze(0),
                ("cls_token", 1) => tensor.reshape([1, 1, -1]),
                _ => tensor,
            };
            // open_clip multiplies by its projection from the right.
            let (key, tensor) =
                if key == "proj" { ("head.weight".into(), tensor.tr()) } else { (key, tensor) };
            (format!("timm.{name}.weights.{key}"), tensor)
        })
        .collect()
}

#[test]
fn a_tap_becomes_the_class_token_or_the_mean_of_the_patches() {
    let _alone = alone();
    let registers = VitConfig { registers: 3, ..plain() };
    let headless = VitConfig { class_token: false, pool: Pool::Mean, ..registers };
    for (config, prefix) in [(plain(), 1), (registers, 4), (headless, 3)] {
        let store = nn::VarStore::new(Device::Cpu);
        let vit = Vit::new(&store.root(), SHAPE, config, 3);
        assert_eq!(vit.prefix_tokens(), prefix);
        let images = Tensor::randn([2, 3, 16, 16], (Kind::Float, Device::Cpu));
        let (taps, features) = tapped(&vit, &images);
        let tokens = features.tokens.unwrap();
        assert_eq!(tokens.size()[1] - prefix, 16);
        // The pooling of this model, asked of its last tokens, is its own.
        assert!(distance(&vit.pool_tap(&tokens), &features.pooled) < 1e-6);
        assert!(vit.pool_tap(&taps["pooled"]).equal(&taps["pooled"]));
        assert_eq!(vit.pool_tap(&taps["stem"]).size(), [2, 16]);
    }
}

#[test]
fn what_cannot_be_built_is_refused_with_its_field() {
    let wrong = [
        ("patch", VitConfig { patch: 5, ..plain() }),
        ("patch", VitConfig { patch: 0, ..plain() }),
        ("pool", VitConfig { class_token: false, ..plain() }),
        ("registers", VitConfig { registers: -1, ..plain() }),
        ("layer_scale", VitConfig { layer_scale: Some(f64::NAN), ..plain() }),
        ("epsilon", VitConfig { epsilon: 0.0, ..plain() }),
        ("projection", VitConfig { projection: Some(0), ..plain() }),
    ];
    for (field, config) in wrong {
        let error = BackboneConfig::VitLarge(config).check().unwrap_err().to_string();
        assert!(error.contains(&format!("backbone.{field}")), "{error}");
    }
    for (name, config) in family() {
        assert!(config.problem().is_none(), "{name}");
    }
}

#[test]
fn an_image_that_ends_inside_a_patch_is_refused() {
    let dinov2 = VitConfig { image: 518, patch: 14, ..VitConfig::default() };
    let backbone = BackboneConfig::VitGiant(dinov2);
    backbone.check().unwrap();
    for size in [14, 224, 518] {
        backbone.check_size("views.0.size", size).unwrap();
    }
    for size in [0, 13, 225, usize::MAX] {
        let error = backbone.check_size("views.0.size", size).unwrap_err();
        assert!(error.to_string().contains("views.0.size"), "{error}");
    }
    let hint = backbone.check_size("views.0.size", 256).unwrap_err();
    assert_eq!(hint.hint().as_deref(), Some("252 is the nearest"));
}

#[test]
fn recipes_of_before_mean_what_they_meant_and_every_option_comes_back() {
    let old = r#"{"name": "vit_small", "image": 32, "patch": 8, "pool": "mean"}"#;
    let wanted = VitConfig { image: 32, patch: 8, pool: Pool::Mean, ..VitConfig::default() };
    let parsed: BackboneConfig = serde_json::from_str(old).unwrap();
    assert_eq!(parsed, BackboneConfig::VitSmall(wanted));
    for (name, config) in family() {
        let config = BackboneConfig::VitSo400m(config);
        let text = toml::to_string(&config).unwrap();
        assert_eq!(toml::from_str::<BackboneConfig>(&text).unwrap(), config, "{name}: {text}");
    }
}
