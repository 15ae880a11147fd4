//! Which activations of a backbone become features.

use std::str::FromStr;

use tch::{Kind, Tensor};

use super::Encoder;
use crate::error::{Error, Result};
use crate::models::{Mode, weights};

/// The name of the representation itself, the last layer.
pub const POOLED: &str = "pooled";

/// The layers that features are taken from.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub enum Layers {
    /// The representation, as every protocol reads it.
    #[default]
    Pooled,
    /// Every activation that the backbone offers, in forward order.
    All,
    /// These, in this order.
    Named(Vec<String>),
}

impl Layers {
    /// The layers' names. An error that names those most alike where the encoder has no such layer.
    pub(super) fn names(&self, encoder: &Encoder) -> Result<Vec<String>> {
        let Self::Named(wanted) = self else {
            return Ok(match self {
                Self::All => encoder.layers(),
                _ => vec![POOLED.into()],
            });
        };
        let known = encoder.layers();
        let mut names: Vec<String> = Vec::new();
        for name in wanted {
            if !known.contains(name) {
                return Err(unknown(name, &known));
            }
            if !names.contains(name) {
                names.push(name.clone());
            }
        }
        if names.is_empty() { Err(unknown("", &known)) } else { Ok(names) }
    }
}

impl FromStr for Layers {
    type Err = std::convert::Infallible;

    /// `pooled`, `all`, or names with commas between them.
    fn from_str(text: &str) -> std::result::Result<Self, Self::Err> {
        Ok(match text {
            POOLED => Self::Pooled,
            "all" => Self::All,
            names => Self::Named(names.split(',').map(|name| name.trim().to_string()).collect()),
        })
    }
}

impl Encoder {
    /// The names of all layers, in forward order: what the backbone offers for a black image.
    pub fn layers(&self) -> Vec<String> {
        let side = self.preprocess.crop as i64;
        let shape = [1, self.channels as i64, side, side];
        let image = Tensor::zeros(shape, (Kind::Float, self.device));
        let mut names: Vec<String> = Vec::new();
        tch::no_grad(|| {
            torch_bridge::autocast(self.device, self.autocast, || {
                let mut note = |name: &str, _: &Tensor| names.push(name.into());
                self.backbone.forward(&image, Mode::Eval, &mut note);
            });
        });
        if !names.iter().any(|name| name == POOLED) {
            names.push(POOLED.into());
        }
        names
    }
}

fn unknown(name: &str, known: &[String]) -> Error {
    let hint = match weights::nearest(name, known.iter()) {
        Some(nearest) => format!("did you mean `{nearest}`? There are {}", known.join(", ")),
        None => format!("there are {}", known.join(", ")),
    };
    Error::Usage { problem: format!("the encoder has no layer `{name}`"), hint: Some(hint) }
}
