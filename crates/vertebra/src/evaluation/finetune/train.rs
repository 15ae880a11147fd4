//! One training run.

use std::time::Instant;

use super::model::Tuned;
use crate::error::Result;
use crate::evaluation::{Epochs, FinetuneConfig, LabelledImages, Setting, Training, adamw, train};
use crate::models::Mode;
use crate::training::groups;
use crate::training::optim::Optimizer;

/// Tunes on `images`. False where the loss of an epoch is no longer finite; the rest of the run is then left out.
pub(super) fn tune(
    tuned: &mut Tuned,
    images: &LabelledImages,
    setting: Setting,
    config: &FinetuneConfig,
    seed: u64,
    epochs: &mut Epochs,
) -> Result<bool> {
    let start = Instant::now();
    let training = Training {
        encoder: &tuned.encoder,
        optimizer: optimizer(tuned, setting, config)?,
        lr: setting.lr,
        seed,
        logits: &|_, views| tuned.logits(views, Mode::Train),
    };
    let task = (images, tuned.bias.size()[0] as usize);
    let (sound, steps) = train(training, &[task], config, epochs)?;
    tuned.settle(steps, start.elapsed().as_secs_f64());
    Ok(sound)
}

fn optimizer(tuned: &Tuned, setting: Setting, config: &FinetuneConfig) -> Result<Optimizer> {
    let parameters = tuned.parameters();
    let rules = groups::layered_rules(&parameters, setting.layer_decay);
    Ok(adamw(groups::assign(&parameters, &rules)?, setting.lr, config))
}
