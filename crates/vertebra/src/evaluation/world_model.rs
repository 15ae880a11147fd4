//! A frozen world model: an encoder, and the predictor that was kept beside it (I-JEPA, image world models); and what is asked of it:
//! whether its predictor applies an action ([`retrieval`]), what its features keep of colours ([`recovery`]), and what it imagines, to
//! be looked at ([`imagined`]).

pub mod imagined;
pub mod recovery;
pub mod retrieval;

use std::collections::BTreeMap;
use std::path::Path;

use pixels::source::Source;
use serde::{Deserialize, Serialize};
use tch::{Device, Kind, Tensor, nn};

use super::{Encoder, Outcome, encoder};
use crate::data::Strengths;
use crate::error::{Error, Result};
use crate::models::vit::predictor::{Conditioning, Places, Predictor};
use crate::models::{Mode, named_variables, no_tap, weights};
use crate::objectives::reconstruction::layer_normed;
use crate::training::checkpoint::{Checkpoint, EncoderSpec};

/// What the names of the predictor's variables begin with, among those of a method.
const PREDICTOR: &str = "predictor.";

/// What is asked of a world model, of how many images.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct WorldConfig {
    /// Images whose versions are ranked. 64; a published number is over as many or more.
    pub images: usize,
    /// Versions of each image among which the right one is to be found: 256 (Garrido 2024).
    pub bank: usize,
    /// Versions of each image that are asked for, at most the bank. 64: intervals are over images, and further queries of an image say
    /// little that is new.
    pub queries: usize,
    /// Images of the regression on pairs, a fifth of them held out.
    pub pairs: usize,
    /// Jitters of each of these.
    pub settings: usize,
    /// Strengths of brightness, contrast, saturation and hue: those of the published jitter. It is always applied, in this order.
    pub jitter: Strengths,
    /// Smallest and largest standard deviation of the blurred source, in pixels.
    pub blur: [f64; 2],
    /// Names the images and their settings.
    pub seed: u64,
}

impl Default for WorldConfig {
    fn default() -> Self {
        Self {
            images: 64,
            bank: 256,
            queries: 64,
            pairs: 500,
            settings: 4,
            jitter: [0.4, 0.4, 0.2, 0.1],
            blur: [0.1, 2.0],
            seed: 0,
        }
    }
}

impl WorldConfig {
    /// Small enough to be asked while a run trains.
    pub fn quick(seed: u64) -> Self {
        Self { images: 16, bank: 64, queries: 16, pairs: 200, settings: 2, seed, ..Self::default() }
    }

    pub(crate) fn check(&self) -> Result<()> {
        let Self { images, bank, queries, settings, jitter, blur: [low, high], .. } = self;
        for (name, count) in [("images", images), ("queries", queries), ("settings", settings)] {
            expected(*count > 0, name, "1 or more", count)?;
        }
        expected(*bank > 1, "bank", "2 versions or more", bank)?;
        let finite = jitter.iter().all(|it| it.is_finite() && *it >= 0.0) && jitter[3] <= 0.5;
        let wanted = "four strengths of 0 or more, the last (hue) at most 0.5";
        expected(finite && *jitter != [0.0; 4], "jitter", wanted, format!("{jitter:?}"))?;
        let ordered = *low > 0.0 && low <= high && high.is_finite();
        let found = format!("[{low}, {high}]");
        expected(ordered, "blur", "two numbers above 0, the smaller one first", found)
    }

    fn in_words(&self) -> String {
        let [brightness, contrast, saturation, hue] = self.jitter;
        let queries = self.queries.min(self.bank);
        format!(
            "bank={} queries={queries} jitter={brightness},{contrast},{saturation},{hue}",
            self.bank
        )
    }
}

/// An encoder of patches and a predictor of what it would say of others.
pub struct WorldModel {
    pub encoder: Encoder,
    pub predictor: Predictor,
    /// The predictor's, without its prefix.
    pub variables: BTreeMap<String, Tensor>,
    /// Of the encoder, in pixels.
    patch: i64,
}

impl WorldModel {
    /// The newest checkpoint of a run of a world model.
    pub fn open_run(
        run: &Path,
        device: Device,
        autocast: Option<Kind>,
    ) -> Result<(Self, EncoderSpec)> {
        let (encoder, spec) = encoder::open_run(run, device, autocast)?;
        let Some((path, checkpoint, _)) = Checkpoint::newest(&run.join("checkpoints"))? else {
            return Err(no_predictor(&run.display().to_string()));
        };
        let model = Self::over(encoder, &spec, 0)?;
        model.take(&checkpoint.model, &path)?;
        Ok((model, spec))
    }

    /// What a person may call a world model: a run folder, or one of its checkpoints.
    pub fn open(path: &Path, device: Device, autocast: Option<Kind>) -> Result<Self> {
        if path.is_dir() {
            return Ok(Self::open_run(path, device, autocast)?.0);
        }
        let checkpoint = Checkpoint::load(path)?;
        let spec = &checkpoint.header.encoder;
        Self::from_variables(spec, &checkpoint.model, path, device, autocast)
    }

    /// With a copy of a method's weights.
    pub fn from_variables(
        spec: &EncoderSpec,
        variables: &BTreeMap<String, Tensor>,
        origin: &Path,
        device: Device,
        autocast: Option<Kind>,
    ) -> Result<Self> {
        let encoder = encoder::from_variables(spec, variables, origin, device, autocast)?;
        let model = Self::over(encoder, spec, 0)?;
        model.take(variables, origin)?;
        Ok(model)
    }

    /// With a fresh predictor from `seed` over an encoder. `spec` is the encoder's, and must tell of a predictor.
    pub fn over(encoder: Encoder, spec: &EncoderSpec, seed: u64) -> Result<Self> {
        let (Some(predictor), Some(vit)) = (spec.predictor, spec.backbone.vit()) else {
            return Err(no_predictor(&format!("the encoder `{}`", encoder.name)));
        };
        tch::manual_seed(seed as i64);
        let store = nn::VarStore::new(encoder.device);
        let predictor = Predictor::new(&store.root(), predictor);
        Ok(Self { encoder, predictor, variables: named_variables(&store), patch: vit.patch })
    }

    /// The encoder's tokens of whole images, those of a prefix first, `[n, prefix + T, D]` in f32, and the places of all patches, seen
    /// and asked for. `images`: `[n, C, S, S]`, normalised.
    pub fn whole(&self, images: &Tensor) -> Result<(Tensor, Places)> {
        Ok((self.encoder.tokens_of(images)?, self.places(images)))
    }

    /// The places of all patches of `images` `[n, C, S, S]`, seen and asked for.
    pub fn places(&self, images: &Tensor) -> Places {
        let grid = self.grid(images.size()[2]);
        let all = Tensor::arange(grid[0] * grid[1], (Kind::Int64, images.device()));
        let all = all.unsqueeze(0).expand([images.size()[0], -1], false);
        Places { grid, seen: all.shallow_clone(), asked: all }
    }

    /// Nothing to do, of `n` images: zeros `[n, A]`. `None` for a predictor that is told nothing.
    pub fn null_action(&self, n: i64) -> Option<Tensor> {
        let spec = self.predictor.spec();
        let told = spec.conditioning != Conditioning::None;
        told.then(|| Tensor::zeros([n, spec.actions], (Kind::Float, self.encoder.device)))
    }

    /// Rows and columns of the patches of a square image of `side` pixels.
    pub fn grid(&self, side: i64) -> [i64; 2] {
        [side / self.patch; 2]
    }

    /// The encoder's tokens of some patches alone, `[n, prefix + K, D]` in f32. `kept`: `[n, K]`.
    pub fn part(&self, images: &Tensor, kept: &Tensor) -> Result<Tensor> {
        let Encoder { device, autocast, backbone, name, .. } = &self.encoder;
        let features = tch::no_grad(|| {
            torch_bridge::autocast(*device, *autocast, || {
                backbone.forward_kept(images, kept, Mode::Eval, &mut no_tap)
            })
        });
        let tokens = features.and_then(|features| features.tokens).ok_or_else(|| Error::Usage {
            problem: format!("the encoder `{name}` cannot see a part of an image"),
            hint: Some("a predictor of patches needs a transformer of patches".into()),
        })?;
        Ok(tokens.to_kind(Kind::Float))
    }

    /// What the predictor is trained to say of all places of whole images, `[n, T, D]` in f32: the encoder's tokens after a layer norm
    /// without weights (ε = 1e-5), without those of a prefix.
    pub fn targets(&self, images: &Tensor) -> Result<Tensor> {
        let tokens = self.encoder.tokens_of(images)?;
        let prefix = self.encoder.backbone.prefix_tokens();
        Ok(layer_normed(&tokens.narrow(1, prefix, tokens.size()[1] - prefix)))
    }

    /// Fails where the predictor predicts something else than the encoder's tokens: pixels.
    pub(crate) fn expect_latents(&self) -> Result<()> {
        let (outputs, width) = (self.predictor.spec().outputs, self.encoder.backbone.width());
        if outputs == width {
            return Ok(());
        }
        Err(Error::Usage {
            problem: format!(
                "the predictor gives {outputs} numbers for a patch, and the encoder's tokens have {width}"
            ),
            hint: Some("a decoder of pixels imagines no features to be compared".into()),
        })
    }

    /// What the predictor says of the places asked for, `[n, M, outputs]` in f32. `context`: tokens of the encoder at the places seen,
    /// those of a prefix first; `action`: `[n, A]`. With a gradient where gradients are on.
    pub fn predict(&self, context: &Tensor, places: &Places, action: Option<&Tensor>) -> Tensor {
        let Encoder { device, autocast, .. } = self.encoder;
        torch_bridge::autocast(device, autocast, || {
            self.predictor.forward(context, places, action, None)
        })
        .to_kind(Kind::Float)
    }

    fn take(&self, variables: &BTreeMap<String, Tensor>, origin: &Path) -> Result<()> {
        let own = variables.iter().filter_map(|(name, tensor)| {
            Some((name.strip_prefix(PREDICTOR)?.to_string(), tensor.shallow_clone()))
        });
        weights::assign(origin, &own.collect(), &self.variables)
    }
}

/// What is to be known of an encoder and the predictor over it, if there is one: the scores of [`retrieval`], whose items these are,
/// and of [`recovery`].
pub fn evaluate(
    encoder: &Encoder,
    model: Option<&WorldModel>,
    source: &dyn Source,
    config: &WorldConfig,
) -> Result<Outcome> {
    let mut outcome = Outcome { items: Vec::new(), scores: Vec::new() };
    if let Some(model) = model {
        outcome = retrieval::evaluate(model, source, config)?;
    }
    outcome.scores.extend(recovery::evaluate(encoder, source, config)?.scores);
    Ok(outcome)
}

/// Refuses a setting that does not hold.
fn expected(holds: bool, name: &str, wanted: &str, found: impl std::fmt::Display) -> Result<()> {
    if holds {
        return Ok(());
    }
    Err(Error::Usage {
        problem: format!("world: {name}: expected {wanted}, got {found}"),
        hint: Some("leave the setting out to get its default".into()),
    })
}

fn no_predictor(what: &str) -> Error {
    Error::Usage {
        problem: format!("{what} has no predictor"),
        hint: Some("world models have one: give the folder of a run of `ijepa` or `iwm`".into()),
    }
}

/// A random world model over images of 16 pixels, 16 patches, and what it is built of.
#[cfg(test)]
pub(crate) fn tiny(conditioning: Conditioning) -> (WorldModel, EncoderSpec) {
    use pixels::plan::{Interpolation, Normalize, Preprocess};

    use crate::data::ACTIONS;
    use crate::models::BackboneConfig;
    use crate::models::vit::VitConfig;
    use crate::models::vit::predictor::{PredictorConfig, PredictorSpec};

    let (depth, width) = (Some(1), Some(64));
    let vit = VitConfig { image: 16, patch: 4, depth, width, ..VitConfig::default() };
    let (interpolation, normalize) = (Interpolation::Bicubic, Normalize::imagenet());
    let preprocess = Preprocess { resize: 16, crop: 16, interpolation, normalize };
    let mut spec = EncoderSpec::new(BackboneConfig::VitTiny(vit), 3, preprocess);
    let predictor = PredictorConfig { width: 32, depth: 1, heads: Some(1) }.over(64, 1);
    spec.predictor = Some(PredictorSpec { conditioning, actions: ACTIONS as i64, ..predictor });
    let encoder = encoder::random(&spec, 1, Device::Cpu, None);
    (WorldModel::over(encoder, &spec, 2).unwrap(), spec)
}
