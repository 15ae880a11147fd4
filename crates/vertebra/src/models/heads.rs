//! Projectors and predictors: one multi-layer perceptron with a specification.

use serde::{Deserialize, Serialize};
use tch::{Tensor, nn};

use super::Mode;
use super::layers::{BatchNorm, Linear};

/// The layers of a head. VICReg's authors call it expander and write it `8192-8192-8192`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct MlpConfig {
    /// Width of each layer, the last one being the embedding's.
    pub widths: Vec<i64>,
    /// Batch norm after each hidden layer.
    pub hidden_norm: bool,
    /// A bias in the last layer. The official VICReg has none.
    pub last_bias: bool,
    /// Batch norm after the last layer, as in SimCLR's official code.
    pub last_norm: bool,
}

impl Default for MlpConfig {
    fn default() -> Self {
        Self {
            widths: vec![2048, 2048, 2048],
            hidden_norm: true,
            last_bias: false,
            last_norm: false,
        }
    }
}

/// Linear layers with batch norm and ReLU between them, numbered as PyTorch's `Sequential` numbers them.
#[derive(Debug)]
pub struct Mlp {
    layers: Vec<(Linear, Option<BatchNorm>)>,
}

impl Mlp {
    /// `inputs` is the width of the representation.
    pub fn new(path: &nn::Path, inputs: i64, config: &MlpConfig) -> Self {
        let mut layers = Vec::new();
        let (mut from, mut number) = (inputs, 0);
        for (i, &to) in config.widths.iter().enumerate() {
            let last = i + 1 == config.widths.len();
            let bias = if last { config.last_bias } else { true };
            let linear = Linear::new(&(path / number), from, to, bias);
            let normed = if last { config.last_norm } else { config.hidden_norm };
            let norm = normed.then(|| BatchNorm::new(&(path / (number + 1)), to, 1.0));
            number += if normed { 3 } else { 2 };
            layers.push((linear, norm));
            from = to;
        }
        Self { layers }
    }

    /// `[N, inputs]` → `[N, outputs]`.
    pub fn forward(&self, x: &Tensor, mode: Mode) -> Tensor {
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
