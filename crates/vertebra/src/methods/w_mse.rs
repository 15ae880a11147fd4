//! W-MSE (Ermolov et al., ICML 2021): whiten embeddings, then pull the views of an image together.
//!
//! L = mean over pairs of views and over partitions of 2 − 2 cos(w_a, w_b), with w whitened within groups of the batch that
//! are drawn anew at every step, the same for all views. Gradients go through both views and through the statistics, as in
//! the authors' code (solo-learn's stops that of one view). Whitened embeddings cannot collapse.

use std::collections::BTreeMap;

use pixels::draw::{Draw, Purpose};
use serde::{Deserialize, Serialize};
use tch::{Device, Kind, Tensor};

use super::network::{Network, mean_over_pairs};
use super::{Batch, Context, Inputs, Loss, Method, Progress, Views, expect};
use crate::error::{Error, Result};
use crate::models::Backbone;
use crate::models::heads::MlpConfig;
use crate::objectives::health::Symptom;
use crate::objectives::{expect_pair, regression, whitening};

/// Projector and groups.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Config {
    pub projector: MlpConfig,
    /// Images that are whitened together: more than the embedding is wide, and a divisor of the batch. 128 for width 64 in
    /// the paper and in solo-learn, 256 for 128.
    pub group: i64,
    /// Partitions into groups that one step averages over; 1 by default in the authors' code, 4 in its runs with groups of
    /// 128.
    pub partitions: u32,
}

impl Default for Config {
    /// The head of the paper and of solo-learn's CIFAR recipes: 1024-64.
    fn default() -> Self {
        let projector = MlpConfig { last_bias: true, ..MlpConfig::of(&[1024, 64]) };
        Self { projector, group: 128, partitions: 1 }
    }
}

impl Config {
    pub fn check(&self, inputs: &Inputs) -> Result<()> {
        self.projector.check("method.projector")?;
        let wanted = format!("more than the {} dimensions to whiten", self.projector.outputs());
        expect("method.group", self.group > self.projector.outputs(), &wanted, self.group)?;
        expect("method.partitions", self.partitions > 0, "at least 1", self.partitions)?;
        inputs.expect_views()
    }
}

/// A run of W-MSE.
pub struct WMse {
    config: Config,
    network: Network,
    views: Views,
}

impl WMse {
    pub fn new(config: &Config, inputs: &Inputs, device: Device) -> Self {
        let network = Network::new(inputs, &config.projector, device);
        Self { config: config.clone(), network, views: inputs.views }
    }

    /// Each view's rows in a random order, whitened in groups.
    fn whitened(&self, z: &[Tensor], progress: Progress, partition: u32) -> Vec<Tensor> {
        let (n, d) = (z[0].size()[0], z[0].size()[1]);
        let at = Draw {
            seed: progress.seed,
            epoch: progress.step,
            sample: u64::from(partition),
            view: 0,
        };
        let order = at.stream(Purpose::Partition).permutation(n as usize);
        let order: Vec<i64> = order.into_iter().map(|row| row as i64).collect();
        let order = Tensor::from_slice(&order).to_device(z[0].device());
        let groups = [-1, self.config.group, d];
        z.iter()
            .map(|z| whitening::whiten(&z.index_select(0, &order).view(groups)).view([n, d]))
            .collect()
    }
}

impl Method for WMse {
    fn embed(&self, batch: &Batch, context: &Context) -> Vec<Tensor> {
        self.network.represent(&batch.views, context)
    }

    fn loss(&mut self, embedded: &[Tensor], context: &Context) -> Result<Loss> {
        let z = self.network.project(embedded, context);
        let (n, _) = expect_pair("w_mse", &z[0], &z[1])?;
        if n % self.config.group != 0 {
            return Err(Error::Recipe {
                field: "method.group".into(),
                problem: format!(
                    "a batch of {n} does not divide into groups of {}",
                    self.config.group
                ),
                hint: Some("let `batch` be a multiple of `method.group`".into()),
            });
        }
        let distances = (0..self.config.partitions)
            .map(|partition| {
                let white = self.whitened(&z, context.progress, partition);
                let pair =
                    |a: &Tensor, b: &Tensor| Ok((regression::squared_distance(a, b), Vec::new()));
                mean_over_pairs(self.views, &white, pair).map(|(distance, _)| distance)
            })
            .collect::<Result<Vec<Tensor>>>()?;
        let total = Tensor::stack(&distances, 0).mean(Kind::Float);
        let parts = vec![("distance", total.detach())];
        let (representation, embedding) = (embedded[0].detach(), z[0].detach());
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

    fn knob(&self, _symptom: Symptom) -> Option<&'static str> {
        Some("larger groups to whiten (`method.group`)")
    }
}
