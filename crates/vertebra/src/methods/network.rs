//! What methods are made of: a network (a backbone and heads behind it), and a teacher that follows it.

use std::collections::BTreeMap;

use tch::{Device, Kind, Tensor, nn};

use super::{Context, Inputs, Parts, Views};
use crate::error::Result;
use crate::models::heads::{Head, Mlp, MlpConfig};
use crate::models::{Backbone, Mode, named_parameters, named_variables, no_tap};
use crate::training::ema;

/// A backbone and a projector over one store of variables, named `backbone.…` and `projector.…`.
pub struct Network<H = Mlp> {
    store: nn::VarStore,
    pub backbone: Box<dyn Backbone>,
    pub projector: H,
}

impl<H: Head> Network<H> {
    /// With fresh weights from torch's generator.
    pub fn new(inputs: &Inputs, projector: &H::Config, device: Device) -> Self {
        let store = nn::VarStore::new(device);
        let backbone = inputs.backbone.build(&(store.root() / "backbone"), inputs.channels);
        let projector = H::new(&(store.root() / "projector"), backbone.width(), projector);
        Self { store, backbone, projector }
    }

    /// Another head over the same variables, named `name.…`: a predictor.
    pub fn head(&self, name: &str, inputs: i64, config: &MlpConfig) -> Mlp {
        Mlp::new(&(self.store.root() / name), inputs, config)
    }

    /// Where further variables of the method go.
    pub fn root(&self) -> nn::Path<'_> {
        self.store.root()
    }

    /// Each view through the backbone by itself, as the authors of VICReg do: batch norm never mixes views.
    pub fn represent(&self, views: &[Tensor], context: &Context) -> Vec<Tensor> {
        context.autocast(|| {
            let pooled = |view| self.backbone.forward(view, Mode::Train, &mut no_tap).pooled;
            views.iter().map(pooled).collect()
        })
    }

    /// Each representation through the projector, in f32.
    pub fn project(&self, representations: &[Tensor], context: &Context) -> Vec<Tensor> {
        apply(&self.projector, representations, context)
    }

    pub fn variables(&self) -> BTreeMap<String, Tensor> {
        named_variables(&self.store)
    }

    pub fn parameters(&self) -> BTreeMap<String, Tensor> {
        named_parameters(&self.store)
    }
}

/// Each `[N, D]` through a head by itself, in f32.
pub fn apply<H: Head>(head: &H, rows: &[Tensor], context: &Context) -> Vec<Tensor> {
    let outputs: Vec<Tensor> =
        context.autocast(|| rows.iter().map(|x| head.forward(x, Mode::Train)).collect());
    outputs.into_iter().map(|z| z.to_kind(Kind::Float)).collect()
}

/// A copy of a network that learns nothing by itself: it follows. Its batch norm uses the statistics of its own batches, as
/// BYOL's and DINO's teachers do.
pub struct Teacher<H = Mlp> {
    network: Network<H>,
}

impl<H: Head> Teacher<H> {
    /// Equal to `student`, whose predictor, if it has one, is left out. `inputs` and `projector` are the student's.
    pub fn of(
        student: &Network<H>,
        inputs: &Inputs,
        projector: &H::Config,
        device: Device,
    ) -> Result<Self> {
        let mut network = Network::new(inputs, projector, device);
        network.store.freeze();
        ema::copy(&network.variables(), &student.variables())?;
        Ok(Self { network })
    }

    /// See [`Network::represent`]; without gradient.
    pub fn represent(&self, views: &[Tensor], context: &Context) -> Vec<Tensor> {
        tch::no_grad(|| self.network.represent(views, context))
    }

    /// See [`Network::project`]; without gradient.
    pub fn project(&self, representations: &[Tensor], context: &Context) -> Vec<Tensor> {
        tch::no_grad(|| self.network.project(representations, context))
    }

    /// The backbone, for what `represent` does not give: tokens.
    pub fn backbone(&self) -> &dyn Backbone {
        self.network.backbone.as_ref()
    }

    pub fn projector(&self) -> &H {
        &self.network.projector
    }

    /// θ' ← τθ' + (1 − τ)θ for every parameter (see [`ema::follow`]); running statistics are the teacher's own.
    pub fn follow(&self, student: &Network<H>, momentum: f64) -> Result<()> {
        let learned = student.parameters();
        let mut own = self.network.variables();
        own.retain(|name, _| learned.contains_key(name));
        ema::follow(&own, &learned, momentum)
    }

    /// Under `teacher.…`, for a checkpoint.
    pub fn variables(&self) -> BTreeMap<String, Tensor> {
        let named = |(name, tensor)| (format!("teacher.{name}"), tensor);
        self.network.variables().into_iter().map(named).collect()
    }
}

/// A loss of two views and its unweighted parts, averaged over the pairs of `views`. `z[v]`: `[N, D]`.
pub fn mean_over_pairs(
    views: Views,
    z: &[Tensor],
    pair: impl Fn(&Tensor, &Tensor) -> Result<(Tensor, Parts)>,
) -> Result<(Tensor, Parts)> {
    let pairs = views.pairs();
    let mut losses = pairs.iter().map(|&(a, b)| pair(&z[a], &z[b]));
    let (mut total, mut parts) = losses.next().unwrap_or_else(|| pair(&z[0], &z[0]))?;
    for loss in losses {
        let (other, others) = loss?;
        total += other;
        parts.iter_mut().zip(others).for_each(|((_, sum), (_, part))| *sum += part);
    }
    let share = 1.0 / pairs.len().max(1) as f64;
    for (_, part) in &mut parts {
        *part *= share;
    }
    Ok((total * share, parts))
}

/// The mean over (target, other view) of `views` of a loss in one direction.
pub fn mean_over_directed(views: Views, term: impl Fn(usize, usize) -> Tensor) -> Tensor {
    let directed = views.directed();
    let terms: Vec<Tensor> = directed.iter().map(|&(target, view)| term(target, view)).collect();
    Tensor::stack(&terms, 0).mean(Kind::Float)
}
