//! Training a network on random views of labelled images, and its answers to others.

use pixels::draw::{Draw, Purpose};
use pixels::loader::{Batch, Loader, LoaderOptions, Share, prepared};
use pixels::numbers::Form;
use pixels::plan::{Blur, Crop, Jitter, ViewPlan, ViewSpec};
use pixels::source::picked;
use tch::{Device, Kind, Tensor};

use super::targets::{beta, cross_entropy, mixed, smoothed};
use super::{FinetuneConfig, usage};
use crate::data;
use crate::error::Result;
use crate::evaluation::{Answers, Encoder, Epochs, LabelledImages, label_tensor};
use crate::hardware;
use crate::training::groups::Group;
use crate::training::optim::{Adamw, Optimizer, OptimizerConfig};
use crate::training::{clip, schedule};

/// The largest norm of all gradients together.
const CLIP: f64 = 1.0;
/// Keeps the streams of mixup, one for each step, apart from that of the initial classifier. Later tasks have the next ones.
const MIXUP: u64 = 1;
/// Standard deviation of a linear classifier's initial weights, as in the linear probe; its bias starts at 0.
const INITIAL_STD: f64 = 0.01;

/// What learns.
pub(crate) struct Training<'a> {
    /// Images are made as it takes them.
    pub encoder: &'a Encoder,
    pub optimizer: Optimizer,
    /// The highest rate.
    pub lr: f64,
    pub seed: u64,
    /// The number of a task and images `[n, C, S, S]` of it → logits `[n, K]` in f32.
    pub logits: &'a dyn Fn(usize, &Tensor) -> Tensor,
}

/// Trains on the images of each task, which has so many classes: a batch of each in every step, and the mean of the tasks' mean
/// losses. An epoch is one of the task with the most batches; the others go round more often.
///
/// False where the loss of an epoch is no longer finite; the rest of the run is then left out. And the number of steps.
pub(crate) fn train(
    training: Training,
    tasks: &[(&LabelledImages, usize)],
    config: &FinetuneConfig,
    epochs: &mut Epochs,
) -> Result<(bool, u64)> {
    let Training { encoder, mut optimizer, lr, seed, logits } = training;
    let plan = plan(encoder, config)?;
    let mut loaders = Vec::new();
    for (images, _) in tasks {
        loaders.push(loader(encoder, images, &plan, config, seed)?);
    }
    let per_epoch = loaders.iter().map(|(it, _)| it.batches_per_epoch()).max().unwrap_or(0);
    let steps = per_epoch * config.epochs as u64;
    let mut batches = Vec::new();
    for (loader, form) in &loaders {
        batches.push((loader.batches(0..steps)?, *form));
    }
    let mut sum = 0.0;
    let mut losses = Vec::new();
    for step in 0..steps {
        let mut means = Vec::new();
        for (task, (batches, form)) in batches.iter_mut().enumerate() {
            let Some(batch) = batches.next() else { continue };
            let batch = batch?;
            let views = data::views_on(&batch, *form, &plan, encoder.device).remove(0);
            let shown = Shown { batch: &batch, views, task, classes: tasks[task].1 };
            let (views, targets) = shown.mixed(config, seed, encoder.device);
            means.push(cross_entropy(&logits(task, &views), &targets));
        }
        optimizer.zero_grad();
        let loss = Tensor::stack(&means, 0).mean(Kind::Float);
        loss.backward();
        let _ = clip::clip_global(&optimizer.params(), CLIP);
        let done = step as f64 / steps as f64;
        optimizer.step(lr * schedule::warmup_cosine(done, config.warmup, 0.0));

        // Read once an epoch: to look at a loss makes a GPU wait.
        losses.push(loss.detach());
        if (step + 1) % per_epoch == 0 {
            sum = Tensor::stack(&losses, 0).mean(Kind::Double).double_value(&[]);
            losses.clear();
            let over =
                if sum.is_finite() { 1 } else { config.epochs - (step / per_epoch) as usize };
            epochs.over(over, sum);
            if !sum.is_finite() {
                break;
            }
        }
    }
    Ok((sum.is_finite(), steps))
}

/// A batch of a task.
struct Shown<'a> {
    batch: &'a Batch,
    views: Tensor,
    task: usize,
    classes: usize,
}

impl Shown<'_> {
    /// The views, and what is to be answered `[n, K]`, both mixed where that is asked for.
    fn mixed(self, config: &FinetuneConfig, seed: u64, device: Device) -> (Tensor, Tensor) {
        let labels: Vec<u32> = self.batch.labels.iter().flatten().copied().collect();
        let labels = label_tensor(&labels, device);
        let targets = smoothed(&labels, self.classes, config.smoothing);
        if config.mixup == 0.0 {
            return (self.views, targets);
        }
        let view = MIXUP + self.task as u64;
        let draw = Draw { sample: self.batch.step, view, ..Draw::of_seed(seed) };
        let share = beta(config.mixup, &mut draw.stream(Purpose::Training));
        (mixed(&self.views, share), mixed(&targets, share))
    }
}

/// What a network says of all images that can be read, prepared as for a frozen encoder; `None` where that is not finite.
/// `logits`: images `[n, C, S, S]` → `[n, K]` in f32.
pub(crate) fn answers(
    encoder: &Encoder,
    images: &LabelledImages,
    batch: usize,
    logits: &dyn Fn(&Tensor) -> Tensor,
) -> Result<Option<Answers>> {
    let (source, samples) = (images.source.clone(), images.samples.clone());
    let ways = encoder.ways(batch, hardware::cores(), None);
    let batches = prepared(source, Some(samples), &encoder.preprocess, ways)?;
    let (mut answers, mut labels) = (Vec::new(), Vec::<u32>::new());
    let mut first_skipped = None;
    for made in batches {
        let mut made = made?;
        let skipped = std::mem::take(&mut made.skipped);
        first_skipped = first_skipped.or(skipped.into_iter().next());
        if made.samples.is_empty() {
            continue;
        }
        let images = encoder.images_of(&made);
        let logits = tch::no_grad(|| logits(&images));
        answers.push(logits.log_softmax(-1, Kind::Float).to_device(Device::Cpu));
        labels.extend(made.labels.into_iter().flatten());
    }
    if answers.is_empty() {
        let problem = first_skipped
            .map_or(String::new(), |it| format!("; the first, {}: {}", it.name, it.problem));
        return Err(usage(
            &format!("none of the labelled images could be read{problem}"),
            "check that these are images, and that they may be read",
        ));
    }
    let log_probabilities = Tensor::cat(&answers, 0);
    let sound = log_probabilities.isfinite().all().int64_value(&[]) == 1;
    Ok(sound.then(|| Answers { log_probabilities, labels: label_tensor(&labels, Device::Cpu) }))
}

/// The optimizer of fine-tuning.
pub(crate) fn adamw(groups: Vec<Group>, lr: f64, config: &FinetuneConfig) -> Optimizer {
    let weight_decay = config.weight_decay;
    let adamw = Adamw { lr, betas: [0.9, 0.999], weight_decay, ..Adamw::default() };
    Optimizer::new(OptimizerConfig::Adamw(adamw), groups)
}

/// The weight `[K, D]` and the bias `[K]` of a classifier that has not learned yet.
pub(crate) fn linear_classifier(
    classes: usize,
    width: i64,
    seed: u64,
    device: Device,
) -> [Tensor; 2] {
    let classes = classes as i64;
    let mut stream = Draw::of_seed(seed).stream(Purpose::Training);
    let values: Vec<f32> =
        (0..classes * width).map(|_| (stream.normal() * INITIAL_STD) as f32).collect();
    let weight = Tensor::from_slice(&values).view([classes, width]);
    let bias = Tensor::zeros([classes], (Kind::Float, Device::Cpu));
    [weight, bias].map(|tensor| tensor.to_device(device).set_requires_grad(true))
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
