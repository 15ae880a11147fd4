//! Probes trained side by side, one for each learning rate, on the same batches.

use std::collections::BTreeMap;

use pixels::draw::{Draw, Purpose};
use tch::{Device, Kind, Tensor};

use super::block::{Probe, Probes};
use super::tokens::Tokens;
use super::{AttentiveConfig, diverged};
use crate::error::Result;
use crate::evaluation::{Answers, Epochs, Tally, Trial};
use crate::training::groups::{self, Group};
use crate::training::optim::{Adamw, Optimizer, OptimizerConfig};
use crate::training::{clip, schedule};

/// The weight decay at the end, the authors' default.
const FINAL_DECAY: f64 = 1e-6;
/// The largest norm of a probe's gradients.
const CLIP: f64 = 1.0;

/// Trains a probe for each learning rate. All have the same initial weights and see the same batches, and none touches
/// another, not even by diverging.
pub(super) fn fit(
    tokens: &Tokens,
    rows: &[usize],
    classes: usize,
    rates: &[f64],
    config: &AttentiveConfig,
    epochs: &mut Epochs,
) -> Result<Probes> {
    let probes = Probes::random(rates.len(), tokens.width(), classes, config.seed, tokens.device());
    let peak = rates.iter().copied().fold(0.0, f64::max);
    let mut optimizer = optimizer(&probes, rates, peak, config)?;
    // Batches of equal size, so that no step is left with a handful of images.
    let parts = rows.len().div_ceil(config.batch);
    let steps = (config.epochs * parts) as f64;
    for epoch in 0..config.epochs {
        let draw = Draw { epoch: epoch as u64, ..Draw::of_seed(config.seed) };
        let order = draw.stream(Purpose::Order).permutation(rows.len());
        let order: Vec<usize> = order.into_iter().map(|place| rows[place]).collect();
        let mut losses = Vec::new();
        let mut step = epoch * parts;
        tokens.for_each(&order, rows.len().div_ceil(parts), &mut |tokens, labels| {
            let done = step as f64 / steps;
            optimizer.weight_decay = schedule::cosine(config.weight_decay, FINAL_DECAY, done);
            losses.push(advance(&probes, &mut optimizer, tokens, labels));
            optimizer.step(peak * schedule::warmup_cosine(done, 0.0, 0.0));
            step += 1;
            Ok(())
        })?;
        epochs.over(1, lowest(&losses));
    }
    Ok(probes)
}

/// How each probe does on the images `rows`.
pub(super) fn judge(
    probes: &Probes,
    tokens: &Tokens,
    rows: &[usize],
    config: &AttentiveConfig,
) -> Result<Vec<Trial>> {
    let mut tallies: Vec<Tally> = probes.each.iter().map(|_| Tally::default()).collect();
    tokens.for_each(rows, config.batch, &mut |tokens, labels| {
        let logits = tch::no_grad(|| probes.logits(tokens));
        tallies.iter_mut().zip(&logits).for_each(|(tally, logits)| tally.add(logits, labels));
        Ok(())
    })?;
    Ok(tallies.iter().map(Tally::trial).collect())
}

/// What the only probe says of all images that can be read.
pub(super) fn answer(
    probes: &Probes,
    tokens: &Tokens,
    config: &AttentiveConfig,
) -> Result<Answers> {
    let (mut answers, mut labels) = (Vec::new(), Vec::new());
    let all: Vec<usize> = (0..tokens.images().samples.len()).collect();
    tokens.for_each(&all, config.batch, &mut |tokens, these| {
        let logits = tch::no_grad(|| probes.logits(tokens));
        answers.push(logits[0].log_softmax(-1, Kind::Float).to_device(Device::Cpu));
        labels.push(these.to_device(Device::Cpu));
        Ok(())
    })?;
    let log_probabilities = Tensor::cat(&answers, 0);
    if log_probabilities.isfinite().all().int64_value(&[]) == 0 {
        return Err(diverged(&config.learning_rates));
    }
    Ok(Answers { log_probabilities, labels: Tensor::cat(&labels, 0) })
}

/// The gradients of a batch, clipped probe by probe. Returns the losses, `[S]`, without waiting for the device.
fn advance(probes: &Probes, optimizer: &mut Optimizer, tokens: &Tensor, labels: &Tensor) -> Tensor {
    optimizer.zero_grad();
    let loss = |logits: &Tensor| logits.log_softmax(-1, Kind::Float).nll_loss(labels);
    let losses: Vec<Tensor> = probes.logits(tokens).iter().map(loss).collect();
    let losses = Tensor::stack(&losses, 0);
    losses.sum(Kind::Float).backward();
    for probe in &probes.each {
        let _ = clip::clip_global(&parameters(probe), CLIP);
    }
    losses.detach()
}

fn optimizer(
    probes: &Probes,
    rates: &[f64],
    peak: f64,
    config: &AttentiveConfig,
) -> Result<Optimizer> {
    let mut all: Vec<Group> = Vec::new();
    for (index, (probe, lr)) in probes.each.iter().zip(rates).enumerate() {
        let named: BTreeMap<String, Tensor> = probe
            .named()
            .into_iter()
            .map(|(name, tensor)| (format!("{index}.{name}"), tensor.shallow_clone()))
            .collect();
        let groups = groups::assign(&named, &groups::standard_rules())?;
        all.extend(groups.into_iter().map(|group| Group { lr_scale: lr / peak, ..group }));
    }
    let weight_decay = config.weight_decay;
    let adamw = Adamw { lr: peak, betas: [0.9, 0.999], weight_decay, ..Adamw::default() };
    Ok(Optimizer::new(OptimizerConfig::Adamw(adamw), all))
}

fn parameters(probe: &Probe) -> Vec<Tensor> {
    probe.named().into_iter().map(|(_, tensor)| tensor.shallow_clone()).collect()
}

/// The mean loss of the probe that does best; NaN where all have diverged.
fn lowest(losses: &[Tensor]) -> f64 {
    let Some(first) = losses.first() else { return f64::NAN };
    let means = Tensor::stack(losses, 0).mean_dim([0i64].as_slice(), false, Kind::Double);
    (0..first.size()[0])
        .map(|probe| means.double_value(&[probe]))
        .filter(|loss| loss.is_finite())
        .reduce(f64::min)
        .unwrap_or(f64::NAN)
}
