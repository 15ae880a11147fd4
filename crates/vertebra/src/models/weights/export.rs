//! Encoders for other programs: safetensors that timm opens, or a traced TorchScript module, each with a
//! `config.json` beside it, so that the preprocessing travels with the weights.

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};

use pixels::plan::{Interpolation, Preprocess};
use serde_json::{Value, json};
use tch::{CModule, Device, Kind, Tensor, nn};

use super::{assign, save};
use crate::error::{Error, Result};
use crate::models::resnet::{ResNetConfig, Stem};
use crate::models::vit::Pool;
use crate::models::{BackboneConfig, Mode, named_variables, no_tap};

/// What is exported: an encoder, without the device it is on.
#[derive(Clone, Copy, Debug)]
pub struct Export<'a> {
    pub backbone: &'a BackboneConfig,
    /// Channels of the images.
    pub channels: i64,
    pub preprocess: &'a Preprocess,
    /// The backbone's variables under its own names.
    pub variables: &'a BTreeMap<String, Tensor>,
}

impl Export<'_> {
    /// Writes the weights under torchvision's or timm's names, and [`Self::config`] beside them. `out` is the file where
    /// its name ends in `.safetensors`, else a folder that gets `model.safetensors`: such a folder is what
    /// `timm.create_model("local-dir:FOLDER", pretrained=True)` opens. Returns the file's path.
    pub fn safetensors(&self, out: &Path, metadata: &BTreeMap<String, String>) -> Result<PathBuf> {
        let path = file_in(out, "safetensors")?;
        save(&path, self.variables, metadata)?;
        self.write_config(&path)?;
        Ok(path)
    }

    /// Writes a TorchScript module, f32 in evaluation mode, that turns normalised images `[N, C, S, S]` (S is the crop of
    /// the preprocessing, N any) into features `[N, D]`, and [`Self::config`] beside it. `out` is the file where its name
    /// ends in `.pt`, else a folder that gets `model.pt`. Returns the file's path.
    ///
    /// The module is the trace of one forward: weights are its constants, and sizes other than S are not promised.
    pub fn torchscript(&self, out: &Path) -> Result<PathBuf> {
        let path = file_in(out, "pt")?;
        let module = self.traced(&path)?;
        // The whole module or none, as everywhere: torch writes to a name beside it.
        let temporary = path.with_extension("pt.tmp");
        module.save(&temporary)?;
        fs::rename(&temporary, &path).map_err(Error::file("write", &path))?;
        self.write_config(&path)?;
        Ok(path)
    }

    /// timm's `config.json`: the architecture with its arguments, and the preprocessing as `pretrained_cfg`. Without
    /// `architecture` where timm has none that is the same, see [`Self::timm`].
    pub fn config(&self, width: i64) -> Value {
        let Preprocess { crop, interpolation, normalize, .. } = self.preprocess;
        let convolutional = self.backbone.is_convolutional();
        let mut config = json!({
            "num_classes": 0,
            "num_features": width,
            "global_pool": self.pool(),
            "pretrained_cfg": {
                "tag": "vertebra",
                "num_classes": 0,
                "input_size": [self.channels, crop, crop],
                "fixed_input_size": !convolutional,
                "interpolation": match interpolation {
                    Interpolation::Bilinear => "bilinear",
                    Interpolation::Bicubic => "bicubic",
                },
                "crop_pct": self.crop_share(),
                "crop_mode": "center",
                "mean": as_written(&normalize.mean),
                "std": as_written(&normalize.std),
                "first_conv": if convolutional { "conv1" } else { "patch_embed.proj" },
                "classifier": if convolutional { "fc" } else { "head" },
            },
        });
        if let Some((architecture, arguments)) = self.timm() {
            config["architecture"] = architecture.into();
            config["model_args"] = arguments;
        }
        config
    }

    /// timm's name and arguments for the same network. `None` where timm has no such network: a ResNet with the stem for
    /// small images, or of another width than 64.
    pub fn timm(&self) -> Option<(&'static str, Value)> {
        let published = |it: &ResNetConfig| {
            it.stem == Stem::Standard && it.width == ResNetConfig::default().width
        };
        let (name, vit) = match self.backbone {
            BackboneConfig::Resnet18(it) if published(it) => ("resnet18", None),
            BackboneConfig::Resnet34(it) if published(it) => ("resnet34", None),
            BackboneConfig::Resnet50(it) if published(it) => ("resnet50", None),
            BackboneConfig::VitTiny(it) => ("vit_tiny_patch16_224", Some(it)),
            BackboneConfig::VitSmall(it) => ("vit_small_patch16_224", Some(it)),
            BackboneConfig::VitBase(it) => ("vit_base_patch16_224", Some(it)),
            _ => return None,
        };
        let mut arguments = json!({ "in_chans": self.channels, "global_pool": self.pool() });
        if let Some(vit) = vit {
            arguments["img_size"] = vit.image.into();
            arguments["patch_size"] = vit.patch.into();
            // Tokens are normalised and then averaged, which is not timm's default for averages.
            arguments["fc_norm"] = false.into();
            if vit.image != self.preprocess.crop as i64 {
                arguments["dynamic_img_size"] = true.into();
            }
        }
        Some((name, arguments))
    }

    /// How features are pooled, in timm's words.
    fn pool(&self) -> &'static str {
        match self.backbone {
            BackboneConfig::VitTiny(it)
            | BackboneConfig::VitSmall(it)
            | BackboneConfig::VitBase(it)
                if it.pool == Pool::Class =>
            {
                "token"
            }
            _ => "avg",
        }
    }

    /// The crop as a share of the resized side. timm divides and rounds down, so a share that would fall one pixel
    /// short is made a little smaller.
    fn crop_share(&self) -> f64 {
        let (crop, resize) = (self.preprocess.crop as f64, self.preprocess.resize as f64);
        let share = crop / resize;
        if (crop / share).floor() < resize { crop / (resize + 0.25) } else { share }
    }

    fn write_config(&self, path: &Path) -> Result<()> {
        let width = self.rebuilt(path)?.1;
        let text = serde_json::to_string_pretty(&self.config(width)).unwrap_or_default();
        Ok(report::record::write_atomically(&path.with_file_name("config.json"), text.as_bytes())?)
    }

    /// The backbone on the CPU with these weights, which no gradient flows to, and its width.
    fn rebuilt(&self, path: &Path) -> Result<(Box<dyn crate::models::Backbone>, i64)> {
        let mut store = nn::VarStore::new(Device::Cpu);
        let backbone = self.backbone.build(&store.root(), self.channels);
        store.freeze();
        assign(path, self.variables, &named_variables(&store))?;
        let width = backbone.width();
        Ok((backbone, width))
    }

    fn traced(&self, path: &Path) -> Result<CModule> {
        let (backbone, _) = self.rebuilt(path)?;
        let size = self.preprocess.crop as i64;
        // Two images, so that no size of one is taken for a dimension to be spread.
        let images = Tensor::zeros([2, self.channels, size, size], (Kind::Float, Device::Cpu));
        let mut forward =
            |inputs: &[Tensor]| vec![backbone.forward(&inputs[0], Mode::Eval, &mut no_tap).pooled];
        tch::no_grad(|| {
            Ok(CModule::create_by_tracing("Encoder", "forward", &[images], &mut forward)?)
        })
    }
}

/// 0.485 and not the 0.48500001430511475 that an f32 of it is as an f64.
fn as_written(numbers: &[f32]) -> Vec<f64> {
    numbers.iter().map(|it| it.to_string().parse().unwrap_or(f64::from(*it))).collect()
}

/// `out` itself where it ends in `.ENDING`, else `model.ENDING` in the folder `out`, which is made.
fn file_in(out: &Path, ending: &str) -> Result<PathBuf> {
    if out.extension().is_some_and(|it| it == ending) {
        return Ok(out.into());
    }
    fs::create_dir_all(out).map_err(Error::file("create", out))?;
    Ok(out.join(format!("model.{ending}")))
}
