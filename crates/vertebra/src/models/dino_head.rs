//! The head of DINO (Caron 2021, appendix C) and iBOT: an MLP, unit length, and prototypes.

use serde::{Deserialize, Serialize};
use tch::nn::{self, Init};
use tch::{Kind, Tensor};

use super::layers::Linear;
use super::{Head, Mode};
use crate::error::{Error, Result};

/// The layers of the head.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct DinoHeadConfig {
    /// Width of each layer of the MLP, the last one being the bottleneck's.
    pub widths: Vec<i64>,
    /// K, the number of prototypes; 65536 in DINO, 8192 in iBOT, 4096 for CIFAR in solo-learn.
    pub prototypes: i64,
    /// Keeps the prototypes at unit length. Without it their lengths are learned, which the authors found better for
    /// larger networks, and less stable.
    pub norm_last: bool,
}

impl Default for DinoHeadConfig {
    fn default() -> Self {
        Self { widths: vec![2048, 2048, 256], prototypes: 4096, norm_last: true }
    }
}

impl DinoHeadConfig {
    /// Refuses a head that cannot be built; `field` is its place in the recipe.
    pub fn check(&self, field: &str) -> Result<()> {
        let Self { widths, prototypes, .. } = self;
        let refuse = |name: &str, problem: String| {
            Err(Error::Recipe { field: format!("{field}.{name}"), problem, hint: None })
        };
        if widths.is_empty() || widths.iter().any(|&width| width < 1) {
            return refuse(
                "widths",
                format!("expected at least one width, all positive, got {widths:?}"),
            );
        }
        if !(2..=1 << 20).contains(prototypes) {
            return refuse("prototypes", format!("expected 2 to 1048576, got {prototypes}"));
        }
        Ok(())
    }
}

/// Linear layers with GELU between them, the result at unit length, and its products with K prototypes. Named as the
/// authors name it: `mlp.0`, `mlp.2`, …, `last_layer.weight_v` and, the prototypes' lengths, `last_layer.weight_g`.
#[derive(Debug)]
pub struct DinoHead {
    layers: Vec<Linear>,
    direction: Tensor,
    length: Tensor,
}

impl Head for DinoHead {
    type Config = DinoHeadConfig;

    /// Weights of the MLP are truncated normal with std 0.02, the prototypes of length 1.
    fn new(path: &nn::Path, inputs: i64, config: &DinoHeadConfig) -> Self {
        let mut from = inputs;
        let mut layers = Vec::new();
        for (i, &to) in config.widths.iter().enumerate() {
            layers.push(Linear::transformer(&(path / "mlp" / (2 * i)), from, to));
            from = to;
        }
        let last = path / "last_layer";
        let bound = 1.0 / (from as f64).sqrt();
        let init = Init::Uniform { lo: -bound, up: bound };
        let direction = last.var("weight_v", &[config.prototypes, from], init);
        let shape = [config.prototypes, 1];
        let length = if config.norm_last {
            last.ones_no_train("weight_g", &shape)
        } else {
            last.ones("weight_g", &shape)
        };
        Self { layers, direction, length }
    }

    /// `[…, inputs]` → logits `[…, K]`.
    fn forward(&self, x: &Tensor, _mode: Mode) -> Tensor {
        self.prototypes(&self.bottleneck(x))
    }
}

impl DinoHead {
    /// `[…, inputs]` → `[…, bottleneck]` of unit length, in f32.
    pub fn bottleneck(&self, x: &Tensor) -> Tensor {
        let mut x = x.shallow_clone();
        for (i, layer) in self.layers.iter().enumerate() {
            x = if i == 0 { layer.forward(&x) } else { layer.forward(&x.gelu("none")) };
        }
        unit(&x)
    }

    /// `[…, bottleneck]` → `[…, K]`. In f32, also under autocast: a teacher divides by 0.04 what bf16 rounds at 0.004.
    pub fn prototypes(&self, x: &Tensor) -> Tensor {
        let weight = unit(&self.direction) * &self.length;
        torch_bridge::autocast(x.device(), None, || x.linear(&weight, None::<&Tensor>))
    }
}

/// Unit length along the last dimension, in f32 or what is wider.
fn unit(x: &Tensor) -> Tensor {
    let x = if x.kind() == Kind::Double { x.shallow_clone() } else { x.to_kind(Kind::Float) };
    let length = x.norm_scalaropt_dim(2, [-1i64].as_slice(), true);
    x / length.clamp_min(1e-12)
}

#[cfg(test)]
mod tests {
    use super::*;
    use tch::Device;

    fn head(norm_last: bool) -> (nn::VarStore, DinoHead) {
        tch::manual_seed(1);
        let store = nn::VarStore::new(Device::Cpu);
        let config = DinoHeadConfig { widths: vec![16, 16, 8], prototypes: 12, norm_last };
        let head = DinoHead::new(&store.root(), 6, &config);
        (store, head)
    }

    #[test]
    fn logits_are_cosines_while_prototypes_have_unit_length() {
        let (store, head) = head(true);
        let x = Tensor::randn([4, 5, 6], (Kind::Float, Device::Cpu));
        let logits = head.forward(&x, Mode::Train);
        assert_eq!(logits.size(), [4, 5, 12]);
        assert!(logits.abs().max().double_value(&[]) <= 1.0 + 1e-6);
        let learned: Vec<String> = store
            .variables()
            .into_iter()
            .filter(|(name, variable)| name.starts_with("last_layer") && variable.requires_grad())
            .map(|(name, _)| name)
            .collect();
        assert_eq!(learned, ["last_layer.weight_v"]);
    }

    #[test]
    fn lengths_scale_logits_where_they_are_learned() {
        let (store, head) = head(false);
        let x = Tensor::randn([4, 6], (Kind::Float, Device::Cpu));
        let before = head.forward(&x, Mode::Train).detach();
        let mut length = store.variables().remove("last_layer.weight_g").unwrap();
        let _ = tch::no_grad(|| length.fill_(3.0));
        let off = (head.forward(&x, Mode::Train) - before * 3.0).abs().max();
        assert!(off.double_value(&[]) < 1e-6);
    }

    #[test]
    fn mixed_precision_leaves_the_last_layer_alone() {
        let (_, head) = head(true);
        let x = Tensor::randn([4, 6], (Kind::Float, Device::Cpu));
        let unit = head.bottleneck(&x);
        let wanted = head.prototypes(&unit);
        let found =
            torch_bridge::autocast(Device::Cpu, Some(Kind::BFloat16), || head.prototypes(&unit));
        assert!(found.equal(&wanted));
        let mixed = torch_bridge::autocast(Device::Cpu, Some(Kind::BFloat16), || {
            head.forward(&x, Mode::Train)
        });
        assert_eq!(mixed.kind(), Kind::Float);
    }
}
