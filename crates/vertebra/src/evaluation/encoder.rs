//! Opening encoders: a run folder, a checkpoint, or `ARCH=FILE`.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use pixels::plan::{Interpolation, Normalize, Preprocess};
use tch::{Device, Kind, Tensor, nn};

use super::Encoder;
use crate::error::{Error, Result};
use crate::models::weights::{self, nearest};
use crate::models::{BackboneConfig, Mode, named_variables, no_tap};
use crate::training::checkpoint::{Checkpoint, EncoderSpec};

/// The prefix of the backbone's variables inside a method.
const BACKBONE: &str = "backbone.";
/// Classifiers in published files, which no backbone here has: torchvision's and timm's names.
const CLASSIFIERS: &[&str] = &["fc.", "head."];

/// Opens what a person may call an encoder: a run folder (its newest checkpoint), a checkpoint file, or
/// `ARCH=FILE` with the weights of a named architecture (`resnet50=weights.safetensors`).
pub fn open(text: &str, device: Device, autocast: Option<Kind>) -> Result<(Encoder, EncoderSpec)> {
    let path = Path::new(text);
    if path.is_dir() {
        return open_run(path, device, autocast);
    }
    if path.is_file() {
        return from_checkpoint(&Checkpoint::load(path)?, path, device, autocast);
    }
    let Some((name, file)) = text.split_once('=') else {
        return Err(Error::Usage {
            problem: format!("{text}: expected a run folder, a checkpoint, or ARCH=FILE"),
            hint: Some("for example `runs/demo` or `resnet50=weights.safetensors`".into()),
        });
    };
    from_weights(name, &PathBuf::from(file), device, autocast)
}

/// Opens the newest checkpoint of a run folder.
pub fn open_run(
    run: &Path,
    device: Device,
    autocast: Option<Kind>,
) -> Result<(Encoder, EncoderSpec)> {
    let folder = run.join("checkpoints");
    let Some((path, checkpoint, _)) = Checkpoint::newest(&folder)? else {
        return Err(Error::Usage {
            problem: format!("{}: a folder without checkpoints is no encoder", run.display()),
            hint: Some("give a run folder that `vertebra pretrain` made".into()),
        });
    };
    from_checkpoint(&checkpoint, &path, device, autocast)
}

/// An encoder with fresh weights from `seed`: the baseline that every score is read against.
pub fn random(spec: &EncoderSpec, seed: u64, device: Device, autocast: Option<Kind>) -> Encoder {
    tch::manual_seed(seed as i64);
    build(spec, "random", device, autocast)
}

/// An encoder with a copy of a method's weights, under the name `trained`.
pub fn from_variables(
    spec: &EncoderSpec,
    variables: &BTreeMap<String, Tensor>,
    origin: &Path,
    device: Device,
    autocast: Option<Kind>,
) -> Result<Encoder> {
    let mut encoder = build(spec, "trained", device, autocast);
    let weights: BTreeMap<String, Tensor> = variables
        .iter()
        .filter_map(|(name, tensor)| {
            Some((name.strip_prefix(BACKBONE)?.to_string(), tensor.shallow_clone()))
        })
        .collect();
    weights::assign(origin, &weights, &encoder.variables)?;
    encoder.weights_hash = weights::fingerprint(&encoder.variables);
    Ok(encoder)
}

impl Encoder {
    /// The same encoder with its own copy of the weights. `spec` is that of this encoder.
    pub fn copied(&self, spec: &EncoderSpec) -> Result<Self> {
        let copy = build(spec, &self.name, self.device, self.autocast);
        weights::assign(Path::new(&self.name), &self.variables, &copy.variables)?;
        Ok(Self { weights_hash: self.weights_hash.clone(), ..copy })
    }

    /// What the frozen backbone says of each place of an image, `[n, T, D]` in f32: the tokens of a transformer, class
    /// token included, or the positions of the last feature map, row by row. `images`: `[n, C, S, S]`, normalised.
    ///
    /// Fails where the backbone has neither, and where a number is not finite.
    pub(crate) fn tokens_of(&self, images: &Tensor) -> Result<Tensor> {
        let features = tch::no_grad(|| {
            torch_bridge::autocast(self.device, self.autocast, || {
                self.backbone.forward(images, Mode::Eval, &mut no_tap)
            })
        });
        let tokens = match (features.tokens, features.map) {
            (Some(tokens), _) => tokens,
            (None, Some(map)) => map.flatten(2, 3).transpose(1, 2),
            (None, None) => {
                return Err(Error::Usage {
                    problem: format!("the encoder `{}` gives neither tokens nor a map", self.name),
                    hint: Some("judge it by a protocol that needs one vector per image".into()),
                });
            }
        };
        let tokens = tokens.to_kind(Kind::Float);
        if tokens.isfinite().all().int64_value(&[]) == 1 {
            return Ok(tokens);
        }
        Err(Error::Usage {
            problem: format!("the encoder `{}` gives tokens that are not finite", self.name),
            hint: Some(
                "its weights are damaged or its training diverged: use another checkpoint".into(),
            ),
        })
    }
}

fn from_checkpoint(
    checkpoint: &Checkpoint,
    origin: &Path,
    device: Device,
    autocast: Option<Kind>,
) -> Result<(Encoder, EncoderSpec)> {
    let spec = checkpoint.header.encoder.clone();
    let encoder = from_variables(&spec, &checkpoint.model, origin, device, autocast)?;
    Ok((encoder, spec))
}

fn from_weights(
    name: &str,
    file: &Path,
    device: Device,
    autocast: Option<Kind>,
) -> Result<(Encoder, EncoderSpec)> {
    let all = BackboneConfig::all();
    let Some(backbone) = all.into_iter().find(|backbone| backbone.name() == name) else {
        let names = all.map(|backbone| backbone.name().to_string());
        return Err(Error::Usage {
            problem: format!("no architecture is called `{name}`; there are {}", names.join(", ")),
            hint: nearest(name, names.iter()).map(|name| format!("did you mean `{name}`?")),
        });
    };
    let preprocess = Preprocess {
        resize: 256,
        crop: 224,
        interpolation: Interpolation::Bicubic,
        normalize: Normalize::imagenet(),
    };
    let spec = EncoderSpec { backbone, channels: 3, preprocess };
    let (tensors, _) = weights::load(file)?;
    let weights: BTreeMap<String, Tensor> = tensors
        .into_iter()
        .filter(|(name, _)| !CLASSIFIERS.iter().any(|prefix| name.starts_with(prefix)))
        .collect();
    let mut encoder = build(&spec, name, device, autocast);
    weights::assign(file, &weights, &encoder.variables)?;
    encoder.weights_hash = weights::fingerprint(&encoder.variables);
    Ok((encoder, spec))
}

fn build(spec: &EncoderSpec, name: &str, device: Device, autocast: Option<Kind>) -> Encoder {
    let store = nn::VarStore::new(device);
    let backbone = spec.backbone.build(&store.root(), spec.channels as i64);
    let variables = named_variables(&store);
    Encoder {
        name: name.into(),
        backbone,
        preprocess: spec.preprocess.clone(),
        channels: spec.channels,
        channels_last: spec.backbone.is_convolutional(),
        device,
        autocast,
        weights_hash: weights::fingerprint(&variables),
        variables,
    }
}
