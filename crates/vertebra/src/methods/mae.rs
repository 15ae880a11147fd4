//! MAE (He et al., CVPR 2022): most patches are dropped, the encoder sees the rest, and a light transformer says what the pixels of the
//! dropped ones are.
//!
//! L = mean over the hidden patches of the batch of the mean over a patch's pixels of (x̂ − x)², where with `norm_pix` each patch x has been
//! given mean 0 and variance 1. As in the authors' code, matrices begin Xavier-uniform (the patches' projection as a matrix too, `qkv`
//! as one), the class token normal with deviation 0.02; their positions are sines and cosines, `positions = "sincos"`. The decoder is
//! asked for the hidden patches alone, where theirs says all and drops the seen ones: only the last layer can tell.
//!
//! With more than one view each is an image of its own, and the loss the mean over all (Hoffer 2020).

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};
use tch::{Device, Kind, Tensor};

use super::mask::{self, Filled};
use super::network::Network;
use super::{Batch, Context, Inputs, Loss, Method, expect};
use crate::error::Result;
use crate::models::heads::MlpConfig;
use crate::models::vit::gather;
use crate::models::vit::predictor::{Places, Predictor, PredictorConfig, PredictorSpec};
use crate::models::{Backbone, Mode, no_tap};
use crate::objectives::reconstruction;

/// Decoder and masks.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Config {
    /// 512 wide, 8 blocks, 16 heads in the paper.
    pub decoder: PredictorConfig,
    /// The share of the patches that is hidden; 0.75 in the paper.
    pub mask_ratio: f64,
    /// Whether the pixels of each patch are normalised before they are predicted: 0.5 % better in the paper.
    pub norm_pix: bool,
}

impl Default for Config {
    /// The authors'.
    fn default() -> Self {
        let decoder = PredictorConfig { width: 512, depth: 8, heads: Some(16) };
        Self { decoder, mask_ratio: 0.75, norm_pix: true }
    }
}

impl Config {
    pub fn check(&self, inputs: &Inputs) -> Result<()> {
        let (shape, vit) = mask::transformer("MAE", inputs)?;
        self.decoder.check("method.decoder", shape.heads)?;
        let share = 0.0 < self.mask_ratio && self.mask_ratio < 1.0;
        expect("method.mask_ratio", share, "a share between 0 and 1", self.mask_ratio)?;
        let one = vit.patch * vit.patch * inputs.channels == 1;
        let wanted = "false, for a patch of one number has no variance";
        expect("method.norm_pix", !(self.norm_pix && one), wanted, self.norm_pix)
    }
}

/// A run of MAE.
pub struct Mae {
    config: Config,
    patch: i64,
    network: Network,
    decoder: Predictor,
}

impl Mae {
    pub fn new(config: &Config, inputs: &Inputs, device: Device) -> Self {
        let network = Network::new(inputs, &MlpConfig::of(&[]), device);
        let (shape, vit) = inputs.backbone.transformer().expect("a checked backbone is a ViT");
        let outputs = vit.patch * vit.patch * inputs.channels;
        let spec = config.decoder.over(shape.width, shape.heads);
        let spec = PredictorSpec { outputs, ..spec };
        let decoder = Predictor::new(&(network.root() / "decoder"), spec);
        initialise(&network.parameters());
        Self { config: config.clone(), patch: vit.patch, network, decoder }
    }

    /// The places seen and hidden of a view of each image, `[N, K]` and `[N, M]`.
    fn split(&self, batch: &Batch, view: usize, context: &Context) -> [Tensor; 2] {
        let images = &batch.views[view];
        let [rows, columns] = mask::grid(images, self.patch);
        let (mut seen, mut hidden) = (Vec::new(), Vec::new());
        for place in batch.first..batch.first + batch.size() {
            let at = mask::address(context.progress, place, view);
            let (kept, others) = mask::random::split(rows * columns, self.config.mask_ratio, at);
            seen.extend(kept);
            hidden.extend(others);
        }
        [seen, hidden].map(|places| {
            let width = (places.len() / batch.size().max(1)) as i64;
            let places = Tensor::from_slice(&places).view([batch.size() as i64, width]);
            places.to_device(images.device())
        })
    }

    fn fill(&self, batch: &Batch, view: usize, context: &Context) -> Filled {
        let images = &batch.views[view];
        let [seen, asked] = self.split(batch, view, context);
        let grid = mask::grid(images, self.patch).map(|side| side as i64);
        let places = Places { grid, seen, asked };
        let backbone = self.network.backbone.as_ref();
        let (features, prediction) = context.autocast(|| {
            let features = backbone
                .forward_kept(images, &places.seen, Mode::Train, &mut no_tap)
                .expect("a checked backbone has patches");
            let tokens = features.tokens.as_ref().expect("a checked backbone has tokens");
            let prediction = self.decoder.forward(tokens, &places, None, None);
            (features, prediction.to_kind(Kind::Float))
        });
        let mut target = reconstruction::patchify(images, self.patch);
        if self.config.norm_pix {
            target = reconstruction::normalized_patches(&target);
        }
        let errors = reconstruction::squared_errors(&prediction, &gather(&target, &places.asked));
        let embedding = prediction.mean_dim([1i64].as_slice(), false, None::<Kind>);
        Filled::masked(&errors, &errors.ones_like(), &features.pooled, &embedding)
    }
}

/// The authors' initial weights: see the head of this file.
fn initialise(parameters: &BTreeMap<String, Tensor>) {
    tch::no_grad(|| {
        for (name, parameter) in parameters {
            let mut parameter = parameter.shallow_clone();
            if name.ends_with("cls_token") {
                let _ = parameter.normal_(0.0, 0.02);
            } else if name.ends_with(".weight") && parameter.dim() > 1 {
                let outputs = parameter.size()[0];
                let inputs = parameter.numel() as i64 / outputs;
                let bound = (6.0 / (inputs + outputs) as f64).sqrt();
                let _ = parameter.uniform_(-bound, bound);
            }
        }
    });
}

impl Method for Mae {
    /// For each image the sum of its errors, the number of its hidden patches, its representation by what is seen of it, and the mean
    /// of what was predicted.
    fn embed(&self, batch: &Batch, context: &Context) -> Vec<Tensor> {
        mask::embedded(batch, |view| self.fill(batch, view, context))
    }

    fn loss(&mut self, embedded: &[Tensor], _context: &Context) -> Result<Loss> {
        let [errors, hidden] = mask::totals(embedded);
        let total = errors / hidden.clamp_min(1.0);
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
