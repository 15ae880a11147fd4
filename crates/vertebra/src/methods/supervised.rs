//! The baseline with labels: a linear classifier behind the backbone, trained with it on the same views and the same budget as
//! the methods that it is compared with. Cross-entropy, averaged over the views and over the labelled images.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};
use tch::{Device, Kind, Reduction, Tensor};

use super::network::Network;
use super::{Batch, Context, Inputs, Loss, Method};
use crate::error::{Error, Result};
use crate::models::Backbone;
use crate::models::heads::MlpConfig;

/// Stands for an image without a label.
const NONE: i64 = -1;

/// How many classes there are.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Config {
    /// Labels are 0 to `classes` − 1.
    pub classes: i64,
}

impl Default for Config {
    fn default() -> Self {
        Self { classes: 10 }
    }
}

impl Config {
    pub fn check(&self, _inputs: &Inputs) -> Result<()> {
        if (2..=1_000_000).contains(&self.classes) {
            return Ok(());
        }
        Err(Error::Recipe {
            field: "method.classes".into(),
            problem: format!("expected 2 to 1000000, got {}", self.classes),
            hint: None,
        })
    }
}

/// A supervised run.
pub struct Supervised {
    classes: i64,
    network: Network,
}

impl Supervised {
    pub fn new(config: &Config, inputs: &Inputs, device: Device) -> Self {
        let classifier = MlpConfig { last_bias: true, ..MlpConfig::of(&[config.classes]) };
        Self { classes: config.classes, network: Network::new(inputs, &classifier, device) }
    }
}

impl Method for Supervised {
    fn embed(&self, batch: &Batch, context: &Context) -> Vec<Tensor> {
        let number = |label: &Option<u32>| label.map_or(NONE, i64::from);
        let labels: Vec<i64> = batch.labels.iter().map(number).collect();
        let mut embedded = self.network.represent(&batch.views, context);
        embedded.push(Tensor::from_slice(&labels).to_device(context.device));
        embedded
    }

    fn loss(&mut self, embedded: &[Tensor], context: &Context) -> Result<Loss> {
        let [views @ .., labels] = embedded else {
            return Err(Error::Shape {
                place: "supervised",
                wanted: "views and their labels",
                found: vec![],
            });
        };
        let largest = labels.max().int64_value(&[]);
        if largest == NONE || largest >= self.classes {
            return Err(Error::Usage {
                problem: format!(
                    "labels below {} are needed, got {}",
                    self.classes,
                    if largest == NONE {
                        "none in a whole batch".into()
                    } else {
                        largest.to_string()
                    }
                ),
                hint: Some(
                    "set `method.classes`, or train without labels by another method".into(),
                ),
            });
        }
        let logits = self.network.project(views, context);
        let entropy = |logits: &Tensor| {
            logits.cross_entropy_loss(labels, None::<&Tensor>, Reduction::Mean, NONE, 0.0)
        };
        let terms: Vec<Tensor> = logits.iter().map(entropy).collect();
        let total = Tensor::stack(&terms, 0).mean(None::<Kind>);
        let right = logits[0].argmax(1, false).eq_tensor(labels).to_kind(Kind::Float);
        let accuracy = right.sum(None::<Kind>) / labels.ne(NONE).sum(None::<Kind>);
        let parts = vec![("cross_entropy", total.detach()), ("accuracy", accuracy)];
        let (representation, embedding) = (views[0].detach(), views[0].detach());
        Ok(Loss { total, parts, representation, embedding })
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
}
