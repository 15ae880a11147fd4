//! A frozen world model: an encoder, and the predictor that was kept beside it (I-JEPA, image world models).

use std::collections::BTreeMap;
use std::path::Path;

use tch::{Device, Kind, Tensor, nn};

use super::{Encoder, encoder};
use crate::error::{Error, Result};
use crate::models::vit::predictor::{Conditioning, Places, Predictor};
use crate::models::{named_variables, weights};
use crate::training::checkpoint::{Checkpoint, EncoderSpec};

/// What the names of the predictor's variables begin with, among those of a method.
const PREDICTOR: &str = "predictor.";

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
        let grid = [images.size()[2] / self.patch, images.size()[3] / self.patch];
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

fn no_predictor(what: &str) -> Error {
    Error::Usage {
        problem: format!("{what} has no predictor"),
        hint: Some("world models have one: give the folder of a run of `ijepa` or `iwm`".into()),
    }
}
