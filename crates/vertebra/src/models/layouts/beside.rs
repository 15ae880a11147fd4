//! What lies beside a file of weights and says what shapes cannot: timm's `config.json`, Hugging Face's `config.json` and
//! `preprocessor_config.json`, open_clip's `open_clip_config.json`.

use std::fs;
use std::path::Path;

use pixels::plan::{Interpolation, Normalize, Preprocess};
use serde_json::Value;

use crate::error::{Error, Result};

/// All of it is optional.
#[derive(Debug, Default)]
pub struct Beside {
    pub preprocess: Option<Preprocess>,
    /// Whether CLIP's activation is the quick GELU.
    pub quick_gelu: Option<bool>,
    /// ε of a transformer's norms.
    pub epsilon: Option<f64>,
    /// Whether timm averages the patches' tokens.
    pub averages: Option<bool>,
    /// Positions along a side of a Swin's window.
    pub window: Option<i64>,
}

/// Reads what there is in the file's folder. A file that is there and no JSON is an error.
pub fn read(weights: &Path) -> Result<Beside> {
    let mut beside = Beside::default();
    if let Some(config) = json(weights, "config.json")? {
        if config.get("pretrained_cfg").is_some() || config.get("architecture").is_some() {
            timm(&config, &mut beside);
        } else {
            hugging_face(&config, &mut beside);
        }
    }
    if let Some(config) = json(weights, "open_clip_config.json")? {
        let quick = config["model_cfg"]["quick_gelu"].as_bool().unwrap_or(false);
        beside.quick_gelu = beside.quick_gelu.or(Some(quick));
        let size = square(&config["model_cfg"]["vision_cfg"]["image_size"]);
        let found = &config["preprocess_cfg"];
        beside.preprocess =
            beside.preprocess.take().or(preprocess(found, "mean", "std", size, size));
    }
    if let Some(config) = json(weights, "preprocessor_config.json")? {
        let (resize, crop) = sides(&config);
        beside.preprocess = preprocess(&config, "image_mean", "image_std", resize, crop);
    }
    Ok(beside)
}

fn json(weights: &Path, name: &str) -> Result<Option<Value>> {
    let path = weights.with_file_name(name);
    let text = match fs::read(&path) {
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(None),
        other => other.map_err(Error::file("read", &path))?,
    };
    let value = serde_json::from_slice(&text).map_err(|error| Error::Damaged {
        what: "description of weights",
        path,
        problem: error.to_string(),
    })?;
    Ok(Some(value))
}

fn timm(config: &Value, beside: &mut Beside) {
    // Older files have the entries of `pretrained_cfg` beside `architecture`.
    let found = config.get("pretrained_cfg").unwrap_or(config);
    let crop = found["input_size"].get(2).and_then(Value::as_u64).map(|side| side as usize);
    let share = found["crop_pct"].as_f64().filter(|share| *share > 0.0).unwrap_or(0.875);
    let resize = crop.map(|crop| (crop as f64 / share).floor() as usize);
    beside.preprocess = preprocess(found, "mean", "std", resize, crop);
    let pool = config.get("global_pool").or(found.get("global_pool")).and_then(Value::as_str);
    beside.averages = pool.map(|pool| pool == "avg");
    if let Some(name) = config["architecture"].as_str() {
        beside.quick_gelu = name.contains("clip").then(|| name.contains("quickgelu"));
        // `swinv2_tiny_window8_256`.
        beside.window = name.split('_').find_map(|word| word.strip_prefix("window")?.parse().ok());
    }
}

fn hugging_face(config: &Value, beside: &mut Beside) {
    // A model of two towers describes its image tower inside.
    let tower = config.get("vision_config").unwrap_or(config);
    beside.quick_gelu = tower["hidden_act"].as_str().map(|name| name == "quick_gelu");
    // The files of OpenAI's CLIP leave out what is the default.
    if beside.quick_gelu.is_none() && is_clip(config) {
        beside.quick_gelu = Some(true);
    }
    beside.epsilon = tower["layer_norm_eps"].as_f64();
}

fn is_clip(config: &Value) -> bool {
    config["model_type"].as_str().is_some_and(|kind| kind.starts_with("clip"))
}

/// Short side and crop of Hugging Face's image processors.
fn sides(config: &Value) -> (Option<usize>, Option<usize>) {
    let size = square(&config["size"]);
    let crops = config["do_center_crop"].as_bool().unwrap_or(config.get("crop_size").is_some());
    match (size, square(&config["crop_size"])) {
        (size, Some(crop)) if crops => (size.or(Some(crop)), Some(crop)),
        (size, _) => (size, size),
    }
}

/// A side, however it is written: `224`, `[3, 224, 224]` apart.
fn square(value: &Value) -> Option<usize> {
    let side = value
        .as_u64()
        .or_else(|| value["shortest_edge"].as_u64())
        .or_else(|| value["height"].as_u64())?;
    usize::try_from(side).ok()
}

/// Of a description that has a mean and a std of three channels and sizes; `None` of any other.
fn preprocess(
    config: &Value,
    mean: &str,
    std: &str,
    resize: Option<usize>,
    crop: Option<usize>,
) -> Option<Preprocess> {
    let numbers = |name: &str| -> Option<Vec<f32>> {
        config[name].as_array()?.iter().map(|it| it.as_f64().map(|it| it as f32)).collect()
    };
    // PIL's numbers of its filters.
    let bilinear = config["interpolation"].as_str() == Some("bilinear")
        || config["resample"].as_u64() == Some(2);
    let interpolation = if bilinear { Interpolation::Bilinear } else { Interpolation::Bicubic };
    let normalize = Normalize { mean: numbers(mean)?, std: numbers(std)? };
    let found = Preprocess { resize: resize?, crop: crop?, interpolation, normalize };
    found.check(found.normalize.mean.len()).ok()?;
    Some(found)
}
