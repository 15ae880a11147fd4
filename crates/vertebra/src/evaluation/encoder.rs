//! Opening encoders: a run folder, a checkpoint, or weights from anywhere.

use std::collections::BTreeMap;
use std::path::Path;

use tch::{Device, Kind, Tensor, nn};

use super::Encoder;
use crate::error::{Error, Result};
use crate::models::weights::{self, nearest};
use crate::models::{BackboneConfig, Mode, layouts, named_variables, no_tap};
use crate::training::checkpoint::{Checkpoint, EncoderSpec};

/// Narrower convolutions are not packed: libtorch 2.11 has been seen to write beyond their memory.
const NARROWEST: i64 = 16;
/// The key under which `weights export` writes what the encoder is.
const SPEC: &str = "encoder";
/// Files of weights in a folder that Hugging Face or timm filled, the safest first.
const DOWNLOADED: [&str; 6] = [
    "model.safetensors",
    "model.safetensors.index.json",
    "open_clip_model.safetensors",
    "pytorch_model.bin",
    "open_clip_pytorch_model.bin",
    "weights.safetensors",
];

/// Opens what a person may call an encoder: a run folder (its newest checkpoint), a checkpoint, a file of weights in any
/// layout that [`layouts`] knows, or a folder with such a file and its `config.json`. `ARCH=FILE` names the architecture
/// that is expected, and says what a file may leave open (`openai_clip_vit_base=FILE`).
pub fn open(text: &str, device: Device, autocast: Option<Kind>) -> Result<(Encoder, EncoderSpec)> {
    let (arch, path) = match text.split_once('=') {
        Some((arch, file)) if !Path::new(text).exists() => (Some(arch), Path::new(file)),
        _ => (None, Path::new(text)),
    };
    if path.is_dir() {
        return match DOWNLOADED.iter().map(|name| path.join(name)).find(|file| file.is_file()) {
            Some(file) if !path.join("checkpoints").is_dir() => {
                from_file(arch, &file, device, autocast)
            }
            _ => open_run(path, device, autocast),
        };
    }
    if arch.is_none() && !path.exists() {
        return Err(Error::Usage {
            problem: format!(
                "{text}: expected a run folder, a checkpoint, a file of weights, or ARCH=FILE"
            ),
            hint: Some("for example `runs/demo` or `resnet50=weights.safetensors`".into()),
        });
    }
    from_file(arch, path, device, autocast)
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
            hint: Some(
                "give a run folder that `vertebra pretrain` made, or one with model.safetensors"
                    .into(),
            ),
        });
    };
    from_checkpoint(&checkpoint, &path, device, autocast)
}

/// An encoder with fresh weights from `seed`: the baseline that every score is read against.
pub fn random(spec: &EncoderSpec, seed: u64, device: Device, autocast: Option<Kind>) -> Encoder {
    tch::manual_seed(seed as i64);
    ready(build(spec, "random", device, autocast), spec)
}

/// An encoder with a copy of a method's weights, under the name `trained`.
pub fn from_variables(
    spec: &EncoderSpec,
    variables: &BTreeMap<String, Tensor>,
    origin: &Path,
    device: Device,
    autocast: Option<Kind>,
) -> Result<Encoder> {
    let encoder = build(spec, "trained", device, autocast);
    let weights: BTreeMap<String, Tensor> = variables
        .iter()
        .filter_map(|(name, tensor)| {
            Some((name.strip_prefix(spec.variables.as_str())?.to_string(), tensor.shallow_clone()))
        })
        .collect();
    weights::assign(origin, &weights, &encoder.variables)?;
    Ok(ready(encoder, spec))
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

/// `arch` is the architecture that a person named.
fn from_file(
    arch: Option<&str>,
    file: &Path,
    device: Device,
    autocast: Option<Kind>,
) -> Result<(Encoder, EncoderSpec)> {
    if let Some(arch) = arch {
        known(arch)?;
    }
    let (tensors, metadata) = weights::load(file)?;
    if arch.is_none() && Checkpoint::is_of(&metadata) {
        let checkpoint = Checkpoint::from_parts(file, tensors, &metadata)?;
        return from_checkpoint(&checkpoint, file, device, autocast);
    }
    if let (Some(text), None) = (metadata.get(SPEC), arch) {
        let spec = exported(file, text)?;
        let encoder = build(&spec, spec.backbone.name(), device, autocast);
        weights::assign(file, &tensors, &encoder.variables)?;
        return Ok((ready(encoder, &spec), spec));
    }
    let found = layouts::recognise(file, tensors, arch)?;
    let (backbone, channels) = (found.backbone, found.channels);
    let spec = EncoderSpec::new(backbone, channels, found.preprocess.clone());
    let encoder = build(&spec, arch.unwrap_or(backbone.name()), device, autocast);
    found.assign(file, &encoder.variables)?;
    Ok((ready(encoder, &spec), spec))
}

/// What `weights export` wrote of an encoder.
fn exported(file: &Path, text: &str) -> Result<EncoderSpec> {
    let damaged = |problem: String| Error::Damaged {
        what: "file of weights",
        path: file.into(),
        problem: format!("what it says of its encoder cannot be used ({problem})"),
    };
    let spec: EncoderSpec =
        serde_json::from_str(text).map_err(|error| damaged(error.to_string()))?;
    spec.backbone.check().map_err(|error| damaged(error.to_string()))?;
    spec.preprocess.check(spec.channels).map_err(|error| damaged(error.to_string()))?;
    Ok(spec)
}

/// Whether an architecture has this name, but for the words of CLIP before it.
fn known(arch: &str) -> Result<()> {
    let clip = arch.strip_prefix("openai_clip_").or(arch.strip_prefix("clip_"));
    let name = clip.unwrap_or(arch);
    let names = BackboneConfig::all().map(|backbone| backbone.name().to_string());
    if names.iter().any(|it| it == name) {
        return Ok(());
    }
    Err(Error::Usage {
        problem: format!("no architecture is called `{arch}`; there are {}", names.join(", ")),
        hint: nearest(name, names.iter()).map(|name| format!("did you mean `{name}`?")),
    })
}

/// An encoder that has its weights: its features get their name, and its backbone is prepared to be fast.
fn ready(mut encoder: Encoder, spec: &EncoderSpec) -> Encoder {
    encoder.weights_hash = identity(&spec.backbone, &encoder.variables);
    let kind = encoder.autocast.unwrap_or(Kind::Float);
    let wide = spec.backbone.least_channels() >= NARROWEST;
    if encoder.device == Device::Cpu && wide && torch_bridge::frozen::can_freeze(kind) {
        encoder.backbone.freeze(kind);
    }
    encoder
}

/// A hash of a network and its weights. Two networks of one set of weights differ by their options: which pooling, which GELU.
pub(crate) fn identity(backbone: &BackboneConfig, weights: &BTreeMap<String, Tensor>) -> String {
    let options = serde_json::to_string(backbone).expect("plain fields");
    format!("{}-{:08x}", weights::fingerprint(weights), crc32fast::hash(options.as_bytes()))
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
