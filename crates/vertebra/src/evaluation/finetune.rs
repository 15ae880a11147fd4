//! Fine-tuning: the whole backbone and a linear classifier learn from labelled images, and the test images are looked
//! at once. It says how good a start an encoder is, where the probes say what is already in its features.
//!
//! The weights that learn are a copy; the encoder that was given stays as it is. From a random encoder the same is
//! ordinary supervised training, and what it made can be saved as an encoder. The recipe is that of MAE (He 2022) and
//! the Battle of the Backbones (Goldblum 2023), less what the models here have not (drop path) or small data sets do
//! not call for (RandAugment, CutMix, random erasing).
//!
//! A setting is chosen on a tenth of the training images; the encoder is then tuned again on all of them, once for
//! each seed.

mod model;
mod train;

use std::sync::Arc;
use std::time::Instant;

use pixels::source::Source;

use super::{
    Encoder, Epochs, FinetuneConfig, LabelledImages, Origin, Outcome, Setting, Supervised, judged,
};
use crate::error::Result;
use crate::training::checkpoint::EncoderSpec;
pub use model::Tuned;
use train::tune;

/// Changes whenever an equal encoder could get another score.
pub const VERSION: u32 = 1;

/// Top-1 accuracy on `test` and top-5 where there are more than five classes, of the first seed; with several seeds
/// `top1_over_seeds` too, their mean with Student's interval. And what the first seed made.
///
/// `spec` is the encoder's. Unlabelled images and those that cannot be read are left out. `progress` is told after each
/// epoch how many are over, of all the trainings together, and the mean loss.
pub fn evaluate(
    encoder: &Encoder,
    spec: &EncoderSpec,
    train: &Arc<dyn Source>,
    test: &Arc<dyn Source>,
    config: &FinetuneConfig,
    progress: &mut dyn FnMut(usize, usize, f64),
) -> Result<(Outcome, Tuned)> {
    let origin = Origin {
        protocol: "finetune",
        version: VERSION,
        encoder: &encoder.name,
        start: Instant::now(),
    };
    config.check()?;
    let task = Supervised::new(train, test)?;
    let (classes, names) = (task.classes, task.train.source.classes().to_vec());
    let settings = config.settings();
    let mut epochs = Epochs::new(config.epochs_of(settings.len()), progress);
    let mut run =
        |train: &[LabelledImages], test: &[&LabelledImages], setting: Setting, seed: u64| {
            let mut tuned = Tuned::new(encoder, spec, classes, seed)?;
            tuned.classes.clone_from(&names);
            let sound = tune(&mut tuned, &train[0], setting, config, seed, &mut epochs)?;
            let answers = if sound { tuned.answers(test[0], config.batch)? } else { None };
            Ok((tuned, answers.map(|it| vec![it])))
        };
    let (mut outcomes, tuned) = judged(&[task], &settings, config, origin, &mut run)?;
    Ok((outcomes.remove(0), tuned))
}

#[cfg(test)]
mod tests;
