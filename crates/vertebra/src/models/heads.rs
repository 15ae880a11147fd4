//! Projectors and predictors: one multi-layer perceptron with a specification.

use serde::{Deserialize, Serialize};
use tch::{Tensor, nn};

use super::Mode;
use super::layers::{BatchNorm, Linear};
use crate::error::{Error, Result};

/// What comes behind a backbone, or behind another head.
pub trait Head: Sized + Send {
    type Config;

    /// `inputs` is the width of what it reads.
    fn new(path: &nn::Path, inputs: i64, config: &Self::Config) -> Self;

    /// `[N, inputs]` → `[N, outputs]`.
    fn forward(&self, x: &Tensor, mode: Mode) -> Tensor;
}

/// The layers of a head. VICReg's authors call it expander and write it `8192-8192-8192`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
#[expect(clippy::struct_excessive_bools, reason = "each is a layer that a paper has or has not")]
pub struct MlpConfig {
    /// Width of each layer, the last one being the embedding's.
    pub widths: Vec<i64>,
    /// Batch norm after each hidden layer.
    pub hidden_norm: bool,
    /// A bias in each hidden layer. Barlow Twins, SimSiam and MoCo v3 have none: the batch norm behind takes it away.
    pub hidden_bias: bool,
    /// A bias in the last layer. The official VICReg has none.
    pub last_bias: bool,
    /// Batch norm after the last layer, as in SimCLR's official code.
    pub last_norm: bool,
    /// Whether that norm has a scale and a shift. SimSiam's and MoCo v3's have none.
    pub last_affine: bool,
}

impl Default for MlpConfig {
    fn default() -> Self {
        Self {
            widths: vec![2048, 2048, 2048],
            hidden_norm: true,
            hidden_bias: true,
            last_bias: false,
            last_norm: false,
            last_affine: true,
        }
    }
}

impl MlpConfig {
    /// Layers of these widths, otherwise as by default.
    pub fn of(widths: &[i64]) -> Self {
        Self { widths: widths.to_vec(), ..Self::default() }
    }

    /// Refuses a head without layers; `field` is its place in the recipe.
    pub fn check(&self, field: &str) -> Result<()> {
        if !self.widths.is_empty() && self.widths.iter().all(|&width| width > 0) {
            return Ok(());
        }
        Err(Error::Recipe {
            field: format!("{field}.widths"),
            problem: format!("expected at least one width, all positive, got {:?}", self.widths),
            hint: None,
        })
    }

    /// The width of the output. A checked head has one.
    pub fn outputs(&self) -> i64 {
        self.widths.last().copied().unwrap_or(0)
    }
}

/// Linear layers with batch norm and ReLU between them, numbered as PyTorch's `Sequential` numbers them.
#[derive(Debug)]
pub struct Mlp {
    layers: Vec<(Linear, Option<BatchNorm>)>,
}

impl Head for Mlp {
    type Config = MlpConfig;

    fn new(path: &nn::Path, inputs: i64, config: &MlpConfig) -> Self {
        let mut layers = Vec::new();
        let (mut from, mut number) = (inputs, 0);
        for (i, &to) in config.widths.iter().enumerate() {
            let last = i + 1 == config.widths.len();
            let bias = if last { config.last_bias } else { config.hidden_bias };
            let linear = Linear::new(&(path / number), from, to, bias);
            let normed = if last { config.last_norm } else { config.hidden_norm };
            let norm = normed.then(|| {
                let path = path / (number + 1);
                let plain = last && !config.last_affine;
                if plain { BatchNorm::plain(&path, to) } else { BatchNorm::new(&path, to, 1.0) }
            });
            number += if normed { 3 } else { 2 };
            layers.push((linear, norm));
            from = to;
        }
        Self { layers }
    }

    fn forward(&self, x: &Tensor, mode: Mode) -> Tensor {
        let mut x = x.shallow_clone();
        for (i, (linear, norm)) in self.layers.iter().enumerate() {
            x = linear.forward(&x);
            if let Some(norm) = norm {
                x = norm.forward(&x, mode);
            }
            if i + 1 < self.layers.len() {
                x = x.relu();
            }
        }
        x
    }
}
