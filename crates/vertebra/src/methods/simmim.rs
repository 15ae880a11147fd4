//! SimMIM (Xie et al., CVPR 2022): squares of patches become a mask token, the encoder sees all tokens, and one linear layer says what
//! the pixels of the hidden ones are.
//!
//! L = Σ |x̂ − x| over the hidden pixels and their channels, divided by (hidden pixels + 1e-5) and by the channels, as the authors' code
//! has it; x is the normalised image. Of the paper's two encoders ours is the ViT; Swin has no tokens to hide here. The authors' ViT has
//! relative positions, which ours has not, and layer scale, which is the backbone's option.
//!
//! With more than one view each is an image of its own, and the loss the mean over all pixels of all.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};
use tch::{Device, Kind, Tensor};

use super::mask::{self, Filled};
use super::network::Network;
use super::{Batch, Context, Inputs, Loss, Method, expect};
use crate::error::Result;
use crate::models::heads::MlpConfig;
use crate::models::layers::{Linear, truncated_normal};
use crate::models::{Backbone, Mode, no_tap};
use crate::objectives::reconstruction;

/// Masks.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Config {
    /// The share of the squares that is hidden, rounded up to whole ones; 0.6 in the paper.
    pub mask_ratio: f64,
    /// Patches along a side of a square: 2 in the paper, for squares of 32 pixels and patches of 16.
    pub cell: usize,
}

impl Default for Config {
    /// The authors'.
    fn default() -> Self {
        Self { mask_ratio: 0.6, cell: 2 }
    }
}

impl Config {
    pub fn check(&self, inputs: &Inputs) -> Result<()> {
        mask::transformer("SimMIM", inputs)?;
        let share = 0.0 < self.mask_ratio && self.mask_ratio <= 1.0;
        expect("method.mask_ratio", share, "a share above 0, at most 1", self.mask_ratio)?;
        let fits = (1..=1024).contains(&self.cell);
        expect("method.cell", fits, "1 to 1024 patches", self.cell)
    }
}

/// A run of SimMIM.
pub struct Simmim {
    config: Config,
    patch: i64,
    channels: i64,
    network: Network,
    /// What stands in the place of a hidden patch, `[D]`.
    mask_token: Tensor,
    /// From a token to the pixels of its patch.
    decoder: Linear,
}

impl Simmim {
    pub fn new(config: &Config, inputs: &Inputs, device: Device) -> Self {
        let network = Network::new(inputs, &MlpConfig::of(&[]), device);
        let (shape, vit) = inputs.backbone.transformer().expect("a checked backbone is a ViT");
        let path = network.root();
        let mut mask_token = path.zeros("mask_token", &[shape.width]);
        truncated_normal(&mut mask_token, 0.02);
        let outputs = vit.patch * vit.patch * inputs.channels;
        let decoder = Linear::transformer(&(&path / "decoder"), shape.width, outputs);
        let channels = inputs.channels;
        Self { config: config.clone(), patch: vit.patch, channels, mask_token, decoder, network }
    }

    fn fill(&self, batch: &Batch, view: usize, context: &Context) -> Filled {
        let Config { mask_ratio, cell } = self.config;
        let images = &batch.views[view];
        let grid = mask::grid(images, self.patch);
        let mask = mask::of_batch(batch, view, context.progress, |at| {
            mask::cells::hidden(grid, cell, mask_ratio, at)
        });
        let backbone = self.network.backbone.as_ref();
        let (features, prediction) = context.autocast(|| {
            let features = backbone
                .forward_masked(images, &mask, &self.mask_token, Mode::Train, &mut no_tap)
                .expect("a checked backbone has patches");
            let prediction = self.decoder.forward(&mask::patches(backbone, &features));
            (features, prediction.to_kind(Kind::Float))
        });
        let target = reconstruction::patchify(images, self.patch);
        let errors = reconstruction::absolute_errors(&prediction, &target);
        let embedding = prediction.mean_dim([1i64].as_slice(), false, None::<Kind>);
        Filled::masked(&errors, &mask, &features.pooled, &embedding)
    }
}

impl Method for Simmim {
    /// For each image the sum of its errors, the number of its hidden patches, its representation by what is seen of it, and the mean
    /// of what was predicted.
    fn embed(&self, batch: &Batch, context: &Context) -> Vec<Tensor> {
        mask::embedded(batch, |view| self.fill(batch, view, context))
    }

    fn loss(&mut self, embedded: &[Tensor], _context: &Context) -> Result<Loss> {
        let [errors, hidden] = mask::totals(embedded);
        let total = reconstruction::mean_over_pixels(&errors, &hidden, self.patch, self.channels);
        Ok(mask::loss("pixels", total, embedded))
    }

    fn variables(&self) -> BTreeMap<String, Tensor> {
        self.network.variables()
    }

    fn parameters(&self) -> BTreeMap<String, Tensor> {
        self.network.parameters()
    }

    fn backbone(&self) -> &dyn Backbone {
        self.network.backbone.as_ref()
    }

    fn can_collapse(&self) -> bool {
        false
    }
}
