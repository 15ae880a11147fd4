//! The optimizers: LARS, AdamW and SGD, with their state as named tensors.
//!
//! Two programs mean different arithmetic by one name, so each variant is spelt out: formulas stand
//! beside the configs. g is a gradient, p a parameter, γ the rate of this step, λ the weight decay,
//! μ the momentum, η the trust coefficient.

use std::collections::BTreeMap;
use std::path::PathBuf;

use serde::{Deserialize, Serialize};
use tch::{Kind, Tensor};
use torch_bridge::steps;

use super::groups::Group;
use crate::error::{Error, Result};

/// Which optimizer, and its numbers. In a recipe: `name = "lars"` and the fields of [`Lars`].
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(tag = "name", rename_all = "snake_case")]
pub enum OptimizerConfig {
    Lars(Lars),
    Adamw(Adamw),
    Sgd(Sgd),
}

/// Layer-wise adaptive rates, You 2017: momentum on gradients scaled to the norm of their weights.
/// Groups that do not adapt get plain momentum.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Lars {
    /// Base rate for a batch of 256. Default 0.3, SimCLR's and BYOL's order of size.
    pub lr: f64,
    /// μ, default 0.9, as in all the papers.
    pub momentum: f64,
    /// λ, default 1e-6: VICReg, Barlow Twins, BYOL, MoCo-v3.
    pub weight_decay: f64,
    /// η. Default by variant: 0.001 for the authors' (VICReg), 0.02 for Bolts' (solo-learn's
    /// recipes).
    pub trust: Option<f64>,
    /// Default `bolts_clipped`, which needs the least care with small batches.
    pub variant: LarsVariant,
}

/// The three in use. With one trust coefficient the first two differ in the fifth digit after three
/// steps, the third in the third.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum LarsVariant {
    /// VICReg, Barlow Twins, MoCo-v3: u = g + λp, scaled by η‖p‖/‖u‖, or by 1 where a norm is 0.
    Authors,
    /// Lightning Bolts, lightly: u = (g + λp) · η‖p‖/(‖g‖ + λ‖p‖ + 1e-8), or g where a norm is 0.
    Bolts,
    /// solo-learn's `clip_lr`: the same with the factor over γ kept below 1, so that no rate
    /// exceeds γ.
    BoltsClipped,
}

/// AdamW, Loshchilov 2019: p ← p(1 − γλ), then Adam's step with ε outside the root.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Adamw {
    /// Base rate for a batch of 256. Default 1.5e-4: MAE and MoCo-v3 with ViT.
    pub lr: f64,
    /// β₁ and β₂, default 0.9 and 0.95, as in MAE's pre-training; 0.999 elsewhere.
    pub betas: [f64; 2],
    /// ε, default 1e-8.
    pub eps: f64,
    /// λ, default 0.05: MAE. It is multiplied by γ, so it goes down with the schedule.
    pub weight_decay: f64,
}

/// PyTorch's momentum: b ← μb + g + λp; p ← p − γb. The rate stays outside the buffer.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Sgd {
    /// Base rate for a batch of 256. Default 0.05: SimSiam.
    pub lr: f64,
    /// μ, default 0.9.
    pub momentum: f64,
    /// Step along g + λp + μb in place of b. Default false.
    pub nesterov: bool,
    /// λ, default 1e-4: SimSiam.
    pub weight_decay: f64,
}

impl Default for Lars {
    fn default() -> Self {
        let variant = LarsVariant::BoltsClipped;
        Self { lr: 0.3, momentum: 0.9, weight_decay: 1e-6, trust: None, variant }
    }
}

impl Default for Adamw {
    fn default() -> Self {
        Self { lr: 1.5e-4, betas: [0.9, 0.95], eps: 1e-8, weight_decay: 0.05 }
    }
}

impl Default for Sgd {
    fn default() -> Self {
        Self { lr: 0.05, momentum: 0.9, nesterov: false, weight_decay: 1e-4 }
    }
}

impl OptimizerConfig {
    /// The rate at the peak of the schedule: base · batch / 256. `batch` counts images over all
    /// ranks and micro-batches. The rule is the same for each optimizer; a recipe stated for
    /// another batch (DINOv2's, I-JEPA's) is converted to this one.
    pub fn peak_lr(&self, batch: usize) -> f64 {
        self.lr() * batch as f64 / 256.
    }

    /// The base rate, for a batch of 256.
    pub fn lr(&self) -> f64 {
        match self {
            Self::Lars(config) => config.lr,
            Self::Adamw(config) => config.lr,
            Self::Sgd(config) => config.lr,
        }
    }

    /// λ of the groups that decay.
    pub fn weight_decay(&self) -> f64 {
        match self {
            Self::Lars(config) => config.weight_decay,
            Self::Adamw(config) => config.weight_decay,
            Self::Sgd(config) => config.weight_decay,
        }
    }

    /// Refuses numbers with which no run can go well, naming the field.
    pub fn check(&self) -> Result<()> {
        at_least("lr", self.lr(), 0.)?;
        at_least("weight_decay", self.weight_decay(), 0.)?;
        match self {
            Self::Lars(config) => {
                below_one("momentum", config.momentum)?;
                at_least("trust", config.trust(), f64::MIN_POSITIVE)
            }
            Self::Adamw(config) => {
                config.betas.into_iter().try_for_each(|beta| below_one("betas", beta))?;
                at_least("eps", config.eps, f64::MIN_POSITIVE)
            }
            Self::Sgd(Sgd { nesterov: true, momentum: 0., .. }) => {
                Err(refused("nesterov", "needs a momentum above 0".into()))
            }
            Self::Sgd(config) => below_one("momentum", config.momentum),
        }
    }

    /// The kinds of state that each parameter has.
    fn slots(&self) -> &'static [&'static str] {
        match self {
            Self::Lars(_) | Self::Sgd(_) => &["velocity"],
            Self::Adamw(_) => &["exp_avg", "exp_avg_sq", "step"],
        }
    }
}

/// Groups of parameters, and what the optimizer remembers of each.
#[derive(Debug)]
pub struct Optimizer {
    /// λ of the groups that decay. Starts as the config's; a schedule may set it before a step.
    pub weight_decay: f64,
    /// The rate of groups whose rate is constant. Starts as the config's base rate; a run sets its peak.
    pub peak_lr: f64,
    config: OptimizerConfig,
    groups: Vec<Group>,
    /// For each group, for each slot of the config, a tensor for each parameter.
    memory: Vec<Vec<Vec<Tensor>>>,
}

impl Optimizer {
    /// Starts with nothing remembered. State has the kind and the device of its parameter; keep
    /// both f32.
    pub fn new(config: OptimizerConfig, groups: Vec<Group>) -> Self {
        let memory = groups
            .iter()
            .map(|group| {
                let fresh = |slot: &&str| group.params.iter().map(|p| blank(slot, p)).collect();
                config.slots().iter().map(fresh).collect()
            })
            .collect();
        let (weight_decay, peak_lr) = (config.weight_decay(), config.lr());
        Self { weight_decay, peak_lr, config, groups, memory }
    }

    /// One step at the rate `lr`, from the gradients that the parameters hold.
    ///
    /// A parameter whose gradient is undefined is left alone, its state too: a head that is frozen
    /// for an epoch. LARS uses the gradients as its scratch paper, so they are spent afterwards. On
    /// one machine with one number of threads, equal runs give equal bits on the CPU. The device is
    /// not waited for.
    pub fn step(&mut self, lr: f64) {
        for (group, memory) in self.groups.iter().zip(&self.memory) {
            let (live, grads): (Vec<usize>, Vec<Tensor>) = group
                .params
                .iter()
                .map(Tensor::grad)
                .enumerate()
                .filter(|(_, grad)| grad.defined())
                .unzip();
            let params = pick(&group.params, &live);
            let memory: Vec<_> = memory.iter().map(|slot| pick(slot, &live)).collect();
            let lr = if group.constant_lr { self.peak_lr } else { lr } * group.lr_scale;
            let weight_decay = self.weight_decay * group.decay;
            match &self.config {
                OptimizerConfig::Lars(config) if group.adapt => {
                    config.adapt(&params, &grads, lr, weight_decay);
                    steps::fused_sgd(&params, &grads, &memory[0], config.descent(lr, 0.));
                }
                OptimizerConfig::Lars(config) => {
                    steps::fused_sgd(&params, &grads, &memory[0], config.descent(lr, weight_decay));
                }
                OptimizerConfig::Sgd(config) => {
                    let Sgd { momentum, nesterov, .. } = *config;
                    let with = steps::Sgd { lr, momentum, weight_decay, nesterov };
                    steps::fused_sgd(&params, &grads, &memory[0], with);
                }
                OptimizerConfig::Adamw(config) => {
                    let Adamw { betas: [beta1, beta2], eps, .. } = *config;
                    let with = steps::Adamw { lr, beta1, beta2, weight_decay, eps };
                    steps::fused_adamw(&params, &grads, &memory[0], &memory[1], &memory[2], with);
                }
            }
        }
    }

    /// Drops all gradients: undefined, not zero.
    pub fn zero_grad(&mut self) {
        for group in &self.groups {
            steps::clear_grads(&group.params);
        }
    }

    /// The parameters, group by group: for [`clip`](super::clip) and for averaging gradients over
    /// ranks.
    pub fn params(&self) -> Vec<Tensor> {
        self.groups.iter().flat_map(|group| &group.params).map(Tensor::shallow_clone).collect()
    }

    /// Everything remembered, by name: `velocity.NAME`, or `exp_avg.NAME`, `exp_avg_sq.NAME` and
    /// `step.NAME`. The tensors share memory with the optimizer's own.
    pub fn state(&self) -> BTreeMap<String, Tensor> {
        let slots = self.config.slots();
        let mut state = BTreeMap::new();
        for (group, memory) in self.groups.iter().zip(&self.memory) {
            for (slot, tensors) in slots.iter().zip(memory) {
                for (name, tensor) in group.names.iter().zip(tensors) {
                    state.insert(format!("{slot}.{name}"), tensor.shallow_clone());
                }
            }
        }
        state
    }

    /// Takes back what [`state`](Self::state) gave, from any device. Fails, and changes nothing,
    /// when a tensor is missing, is too many, or has another shape.
    pub fn load(&mut self, saved: &BTreeMap<String, Tensor>) -> Result<()> {
        let path = || PathBuf::from("optimizer state");
        let own = self.state();
        if let Some(name) = saved.keys().find(|name| !own.contains_key(*name)) {
            let name = name.clone();
            return Err(Error::UnclaimedTensor { path: path(), name, nearest: None });
        }
        for (name, mine) in &own {
            let name = name.clone();
            let Some(theirs) = saved.get(&name) else {
                return Err(Error::MissingTensor { path: path(), name, nearest: None });
            };
            let (wanted, found) = (mine.size(), theirs.size());
            if wanted != found {
                return Err(Error::WrongShape { path: path(), name, wanted, found });
            }
        }
        tch::no_grad(|| {
            for (name, mut mine) in own {
                mine.copy_(&saved[&name]);
            }
        });
        Ok(())
    }
}

impl Lars {
    fn trust(&self) -> f64 {
        self.trust.unwrap_or(match self.variant {
            LarsVariant::Authors => 0.001,
            LarsVariant::Bolts | LarsVariant::BoltsClipped => 0.02,
        })
    }

    fn descent(&self, lr: f64, weight_decay: f64) -> steps::Sgd {
        steps::Sgd { lr, momentum: self.momentum, weight_decay, nesterov: false }
    }

    /// g ← (g + λp) · factor, in place. The factors stay on the device.
    fn adapt(&self, params: &[Tensor], grads: &[Tensor], lr: f64, weight_decay: f64) {
        if params.is_empty() {
            return;
        }
        let p = steps::norms(params);
        let factors = if self.variant == LarsVariant::Authors {
            steps::add_(grads, params, weight_decay);
            let u = steps::norms(grads);
            let usable = p.gt(0.).logical_and(&u.gt(0.));
            (&p * self.trust() / u).where_self(&usable, &p.ones_like())
        } else {
            let g = steps::norms(grads);
            steps::add_(grads, params, weight_decay);
            let mut factors = &p * self.trust() / (&g + &p * weight_decay + 1e-8);
            if self.variant == LarsVariant::BoltsClipped {
                factors = (factors / lr).clamp_max(1.);
            }
            // No decay where the gradient is 0 (u = 0 = g), no scaling where the weights are (u =
            // g).
            factors.where_self(&g.gt(0.), &p.zeros_like()).where_self(&p.gt(0.), &p.ones_like())
        };
        steps::scale_(grads, &factors);
    }
}

/// A fresh slot: steps are counted by an f32 scalar, exact to 16 million.
fn blank(slot: &str, param: &Tensor) -> Tensor {
    match slot {
        "step" => Tensor::zeros([], (Kind::Float, param.device())),
        _ => param.detach().zeros_like(),
    }
}

fn pick(tensors: &[Tensor], indices: &[usize]) -> Vec<Tensor> {
    indices.iter().map(|&index| tensors[index].shallow_clone()).collect()
}

fn at_least(field: &str, value: f64, least: f64) -> Result<()> {
    if value.is_finite() && value >= least {
        return Ok(());
    }
    let bound = if least > 0. { "above 0" } else { "0 or more" };
    Err(refused(field, format!("{value} is not a number {bound}")))
}

fn below_one(field: &str, value: f64) -> Result<()> {
    if (0. ..1.).contains(&value) {
        return Ok(());
    }
    Err(refused(field, format!("{value} is not in [0, 1)")))
}

fn refused(field: &str, problem: String) -> Error {
    Error::Recipe { field: format!("optimizer.{field}"), problem, hint: None }
}

#[cfg(test)]
#[path = "optim_tests.rs"]
mod tests;
