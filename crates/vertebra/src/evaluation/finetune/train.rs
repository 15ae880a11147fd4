//! One training run.

use std::fmt;
use std::time::Instant;

use pixels::draw::{Draw, Purpose};
use pixels::loader::{Loader, LoaderOptions, Share};
use pixels::numbers::Form;
use pixels::plan::{Blur, Crop, Jitter, ViewPlan, ViewSpec};
use pixels::source::picked;
use tch::{Kind, Tensor};

use super::model::Tuned;
use super::targets::{beta, cross_entropy, mixed, smoothed};
use super::{FinetuneConfig, usage};
use crate::data;
use crate::error::Result;
use crate::evaluation::{Encoder, Epochs, LabelledImages, label_tensor};
use crate::hardware;
use crate::models::Mode;
use crate::training::groups;
use crate::training::optim::{Adamw, Optimizer, OptimizerConfig};
use crate::training::{clip, schedule};

/// The largest norm of all gradients together.
const CLIP: f64 = 1.0;
/// Keeps the streams of mixup, one for each step, apart from that of the initial classifier.
const MIXUP: u64 = 1;

/// One point of a sweep.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) struct Setting {
    pub lr: f64,
    pub layer_decay: f64,
}

impl fmt::Display for Setting {
    fn fmt(&self, out: &mut fmt::Formatter) -> fmt::Result {
        write!(out, "lr={} ld={}", self.lr, self.layer_decay)
    }
}

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
    let plan = plan(&tuned.encoder, config)?;
    let (loader, form) = loader(&tuned.encoder, images, &plan, config, seed)?;
    let per_epoch = loader.batches_per_epoch();
    let steps = per_epoch * config.epochs as u64;
    let mut optimizer = optimizer(tuned, setting, config)?;
    let mut sum = 0.0;
    let mut losses = Vec::new();
    for batch in loader.batches(0..steps)? {
        let batch = batch?;
        let views = data::views_on(&batch, form, &plan, tuned.encoder.device);
        let labels: Vec<u32> = batch.labels.iter().flatten().copied().collect();
        let labels = label_tensor(&labels, tuned.encoder.device);
        let targets = smoothed(&labels, tuned.bias.size()[0] as usize, config.smoothing);
        let (views, targets) = if config.mixup > 0.0 {
            let draw = Draw { sample: batch.step, view: MIXUP, ..Draw::of_seed(seed) };
            let share = beta(config.mixup, &mut draw.stream(Purpose::Training));
            (mixed(&views[0], share), mixed(&targets, share))
        } else {
            (views[0].shallow_clone(), targets)
        };

        optimizer.zero_grad();
        let loss = cross_entropy(&tuned.logits(&views, Mode::Train), &targets);
        loss.backward();
        let _ = clip::clip_global(&optimizer.params(), CLIP);
        let done = batch.step as f64 / steps as f64;
        optimizer.step(setting.lr * schedule::warmup_cosine(done, config.warmup, 0.0));

        // Read once an epoch: to look at a loss makes a GPU wait.
        losses.push(loss.detach());
        if (batch.step + 1) % per_epoch == 0 {
            sum = Tensor::stack(&losses, 0).mean(Kind::Double).double_value(&[]);
            losses.clear();
            let over = if sum.is_finite() { 1 } else { config.epochs - batch.epoch as usize };
            epochs.over(over, sum);
            if !sum.is_finite() {
                break;
            }
        }
    }
    tuned.settle(steps, start.elapsed().as_secs_f64());
    Ok(sum.is_finite())
}

/// One random view of each image, of the size that the encoder is prepared for.
fn plan(encoder: &Encoder, config: &FinetuneConfig) -> Result<ViewPlan> {
    let FinetuneConfig { jitter: strength, flip, .. } = *config;
    let view = ViewSpec {
        count: 1,
        size: encoder.preprocess.crop,
        crop: Crop {
            scale: config.crop,
            interpolation: encoder.preprocess.interpolation,
            ..Crop::default()
        },
        flip,
        jitter: Jitter {
            probability: f64::from(u8::from(strength != 0.0)),
            brightness: strength,
            contrast: strength,
            saturation: strength,
            hue: 0.0,
            ..Jitter::default()
        },
        grayscale: 0.0,
        blur: Blur { probability: 0.0, ..Blur::default() },
        solarize: 0.0,
        ..ViewSpec::default()
    };
    let plan = ViewPlan { views: vec![view], normalize: encoder.preprocess.normalize.clone() };
    plan.check(encoder.channels)
        .map_err(|error| usage(&error.to_string(), "see `crop`, `flip` and `jitter`"))?;
    Ok(plan)
}

/// Whole batches, as large as `batch` or as all the images; those left over in an epoch are other ones each time.
fn loader(
    encoder: &Encoder,
    images: &LabelledImages,
    plan: &ViewPlan,
    config: &FinetuneConfig,
    seed: u64,
) -> Result<(Loader, Form)> {
    let Encoder { channels, device, autocast, channels_last, .. } = *encoder;
    let form = data::form(channels, device, autocast, channels_last, false);
    let options = LoaderOptions {
        seed,
        batch: config.batch.min(images.samples.len()),
        share: Share::ALL,
        workers: hardware::cores(),
        channels,
        strict: false,
        exact: false,
        form,
    };
    let source = picked(images.source.clone(), images.samples.clone());
    Ok((Loader::new(source, plan.clone(), options)?, form))
}

fn optimizer(tuned: &Tuned, setting: Setting, config: &FinetuneConfig) -> Result<Optimizer> {
    let parameters = tuned.parameters();
    let rules = groups::layered_rules(&parameters, setting.layer_decay);
    let groups = groups::assign(&parameters, &rules)?;
    let Setting { lr, .. } = setting;
    let weight_decay = config.weight_decay;
    let adamw = Adamw { lr, betas: [0.9, 0.999], weight_decay, ..Adamw::default() };
    Ok(Optimizer::new(OptimizerConfig::Adamw(adamw), groups))
}
