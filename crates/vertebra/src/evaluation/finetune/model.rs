//! A copy of an encoder under a linear classifier, and what it says of images.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use tch::{Kind, Tensor};

use crate::error::Result;
use crate::evaluation::{Answers, Encoder, LabelledImages, answers, identity, linear_classifier};
use crate::models::{Mode, no_tap};
use crate::training::checkpoint::{Checkpoint, EncoderSpec, Header};

/// What fine-tuning made.
pub struct Tuned {
    /// The tuned copy, under the name `tuned`.
    pub encoder: Encoder,
    pub spec: EncoderSpec,
    /// `[K, D]` and `[K]`: logits are W·pooled + b.
    pub weight: Tensor,
    pub bias: Tensor,
    /// Names of the classes by label; empty where there are none.
    pub classes: Vec<String>,
    /// Optimizer steps, and the seconds they took.
    pub steps: u64,
    pub seconds: f64,
}

impl Tuned {
    /// The encoder before its first step, under a random classifier.
    pub(super) fn new(
        encoder: &Encoder,
        spec: &EncoderSpec,
        classes: usize,
        seed: u64,
    ) -> Result<Self> {
        let encoder = Encoder { name: "tuned".into(), ..encoder.copied(spec)? };
        let [weight, bias] =
            linear_classifier(classes, encoder.backbone.width(), seed, encoder.device);
        Ok(Self {
            weight,
            bias,
            encoder,
            spec: spec.clone(),
            classes: Vec::new(),
            steps: 0,
            seconds: 0.0,
        })
    }

    /// Writes `checkpoints/` in `folder`, which then opens as an encoder wherever a run folder does. The classifier is
    /// in it too, as `classifier.weight` and `classifier.bias`.
    pub fn save(&self, folder: &Path) -> Result<PathBuf> {
        let backbone = self.encoder.variables.iter();
        let mut model: BTreeMap<String, Tensor> = backbone
            .map(|(name, tensor)| (format!("backbone.{name}"), tensor.shallow_clone()))
            .collect();
        model.insert("classifier.weight".into(), self.weight.shallow_clone());
        model.insert("classifier.bias".into(), self.bias.shallow_clone());
        let header = Header {
            format: Checkpoint::FORMAT,
            step: self.steps,
            seconds: self.seconds,
            encoder: EncoderSpec::new(
                self.spec.backbone,
                self.spec.channels,
                self.spec.preprocess.clone(),
            ),
        };
        Checkpoint { header, model, optimizer: BTreeMap::new() }.save(&folder.join("checkpoints"))
    }

    /// Everything that learns, by name: the backbone's own names, and `classifier.weight` and `classifier.bias`.
    pub(super) fn parameters(&self) -> BTreeMap<String, Tensor> {
        let own = [("classifier.weight", &self.weight), ("classifier.bias", &self.bias)];
        let backbone = self.encoder.variables.iter().filter(|(_, tensor)| tensor.requires_grad());
        backbone
            .map(|(name, tensor)| (name.clone(), tensor))
            .chain(own.map(|(name, tensor)| (name.to_string(), tensor)))
            .map(|(name, tensor)| (name, tensor.shallow_clone()))
            .collect()
    }

    /// `[n, C, S, S]` → logits `[n, K]` in f32.
    pub(super) fn logits(&self, images: &Tensor, mode: Mode) -> Tensor {
        let Encoder { device, autocast, ref backbone, .. } = self.encoder;
        let logits = torch_bridge::autocast(device, autocast, || {
            let pooled = backbone.forward(images, mode, &mut no_tap).pooled;
            pooled.linear(&self.weight, Some(&self.bias))
        });
        logits.to_kind(Kind::Float)
    }

    /// What it says of all images that can be read, prepared as for a frozen encoder; `None` where that is not finite.
    pub(super) fn answers(&self, images: &LabelledImages, batch: usize) -> Result<Option<Answers>> {
        answers(&self.encoder, images, batch, &|images| self.logits(images, Mode::Eval))
    }

    /// After the last step: the fingerprint of the new weights.
    pub(super) fn settle(&mut self, steps: u64, seconds: f64) {
        self.encoder.weights_hash = identity(&self.spec.backbone, &self.encoder.variables);
        (self.steps, self.seconds) = (steps, seconds);
    }
}
