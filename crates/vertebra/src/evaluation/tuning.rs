//! What protocols share that train a network on labelled images: the settings, the choice among them, one training
//! for each seed.

mod subset;
mod targets;
mod train;

use std::fmt;

use report::record::Score;
use serde::{Deserialize, Serialize};

use super::{
    Answers, LabelledImages, Origin, Outcome, SeedMean, Supervised, Trial, best, over_seeds, split,
};
use crate::error::{Error, Result};
pub(crate) use subset::subset;
pub(crate) use train::{Training, adamw, answers, linear_classifier, train};

/// The sweep, the schedule and the views. AdamW with β = (0.9, 0.999) and gradients clipped to a norm of 1 (ours; small
/// batches are noisy). Batch norms learn.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct FinetuneConfig {
    /// As they are, for any batch. The defaults are the Battle's for few labels and for whole data sets. Training from
    /// random weights wants more, 1e-3 to 4e-3.
    pub learning_rates: Vec<f64>,
    /// Each is tried with each learning rate; a layer's rate is lr times this for each layer above it. 0.65 as in MAE
    /// for ViT-B and the Battle's low-shot runs, 0.75 as in MAE for ViT-L and the Battle's full ones; 1 is one rate for
    /// all, for training from random weights.
    pub layer_decays: Vec<f64>,
    /// 0.05 as in both. Biases, norms and positions do not decay.
    pub weight_decay: f64,
    /// Ours, for small data sets; MAE and the Battle have 100.
    pub epochs: usize,
    /// The share of the run in which the rate rises: 5 of 100 epochs, as in both. A cosine to 0 follows.
    pub warmup: f64,
    /// Images per step, at most all of them. Ours, for small data sets; both have 1024.
    pub batch: usize,
    /// The share of a label that is dealt out to all classes: 0.1 as in both.
    pub smoothing: f64,
    /// α of mixup, 0 (off) or from 0.1 to 1; both have 0.8 for 100 epochs of ImageNet. Pairs are an image and its
    /// counterpart in the reversed batch, as in timm.
    pub mixup: f64,
    /// Smallest and largest share of the image's area in a view; 0.08 to 1 as in both.
    pub crop: [f64; 2],
    /// Probability of a horizontal flip: 0.5 as in both. 0 where left and right tell classes apart.
    pub flip: f64,
    /// Strength of random brightness, contrast and saturation, for images of three channels; the Battle has 0.4 in its
    /// place beside RandAugment.
    pub jitter: f64,
    /// Learn from so many images of each class only (all of a class that has fewer).
    pub shots: Option<usize>,
    /// Learn from this share of each class only, at least one image of each. Not together with `shots`.
    pub fraction: Option<f64>,
    /// Each decides the initial classifier, the views and their order, and the images of `shots` and `fraction`. The
    /// first also decides which images are held out, and its encoder is the one that is given back. With two or more,
    /// the mean over them is a score of its own.
    pub seeds: Vec<u64>,
}

impl Default for FinetuneConfig {
    fn default() -> Self {
        Self {
            learning_rates: vec![2.5e-4, 1e-3],
            layer_decays: vec![0.65, 0.75],
            weight_decay: 0.05,
            epochs: 20,
            warmup: 0.05,
            batch: 64,
            smoothing: 0.1,
            mixup: 0.0,
            crop: [0.08, 1.0],
            flip: 0.5,
            jitter: 0.0,
            shots: None,
            fraction: None,
            seeds: vec![0],
        }
    }
}

/// One point of a sweep.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) struct Setting {
    pub lr: f64,
    pub layer_decay: f64,
}

impl fmt::Display for Setting {
    fn fmt(&self, out: &mut fmt::Formatter) -> fmt::Result {
        write!(out, "lr={} ld={}", self.lr, self.layer_decay)
    }
}

/// Trains on the first images, task by task, with a setting and a seed, and answers the second. What was trained, and the
/// answers of each task; none where training diverged.
pub(crate) type Run<'a, T> = dyn FnMut(&[LabelledImages], &[&LabelledImages], Setting, u64) -> Result<(T, Option<Vec<Answers>>)>
    + 'a;

/// The outcome of each task, of the first seed, and what it made; with several seeds their mean too. Of several `settings`
/// the one is taken that does best on held-out training images, by the mean over the tasks.
pub(crate) fn judged<T>(
    tasks: &[Supervised],
    settings: &[Setting],
    config: &FinetuneConfig,
    origin: Origin,
    run: &mut Run<T>,
) -> Result<(Vec<Outcome>, T)> {
    let learned = |seed| -> Vec<LabelledImages> {
        tasks.iter().map(|task| subset(&task.train, config, seed)).collect()
    };
    let tests: Vec<&LabelledImages> = tasks.iter().map(|task| &task.test).collect();
    let (chosen, text) = choose(&learned(config.seeds[0]), settings, config.seeds[0], run)?;
    let mut top1 = vec![Vec::new(); tasks.len()];
    let mut first = None;
    for &seed in &config.seeds {
        let images = learned(seed);
        let (made, answers) = run(expect_enough(&images)?, &tests, chosen, seed)?;
        let answers = answers.ok_or_else(|| diverged(&[chosen]))?;
        let outcomes: Vec<Outcome> = answers
            .iter()
            .map(|it| it.outcome(origin.protocol, origin.version, origin.encoder))
            .collect();
        for (values, outcome) in top1.iter_mut().zip(&outcomes) {
            values.push(outcome.scores[0].value);
        }
        if first.is_none() {
            let counts: Vec<usize> = images.iter().map(|it| it.samples.len()).collect();
            first = Some((outcomes, made, counts));
        }
    }
    let (mut outcomes, made, counts) = first.ok_or_else(|| usage("no seed was given", DEFAULT))?;
    for ((outcome, values), count) in outcomes.iter_mut().zip(&top1).zip(counts) {
        outcome.scores.extend(score_over_seeds(values, &outcome.scores[0]));
        for score in &mut outcome.scores {
            score.setting.insert_str(0, &format!("{text}, {count} images"));
            score.seconds = origin.start.elapsed().as_secs_f64();
        }
    }
    Ok((outcomes, made))
}

/// The setting that does best on held-out training images, and how it was found, as text. A single one is not tried
/// first.
fn choose<T>(
    train: &[LabelledImages],
    settings: &[Setting],
    seed: u64,
    run: &mut Run<T>,
) -> Result<(Setting, String)> {
    if let [only] = settings[..] {
        return Ok((only, only.to_string()));
    }
    let (mut learned, mut held) = (Vec::new(), Vec::new());
    for images in train {
        let (these, those) = split(&images.labels, &images.groups(), seed);
        learned.push(images.pick(&these));
        held.push(images.pick(&those));
    }
    let held: Vec<&LabelledImages> = held.iter().collect();
    let mut trials = Vec::new();
    for setting in settings {
        let (_, answers) = run(expect_enough(&learned)?, &held, *setting, seed)?;
        trials.push(mean_trial(answers.as_deref()));
    }
    let best = best(&trials).ok_or_else(|| diverged(settings))?;
    let (count, accuracy) = (settings.len(), trials[best].accuracy);
    let text = format!("{} of {count}, {accuracy:.3} held out", settings[best]);
    Ok((settings[best], text))
}

/// The mean over tasks; that of none has diverged.
fn mean_trial(answers: Option<&[Answers]>) -> Trial {
    let Some(answers) = answers else { return Answers::trial(None) };
    let trials: Vec<Trial> = answers.iter().map(|it| Answers::trial(Some(it))).collect();
    let mean = |of: fn(&Trial) -> f64| trials.iter().map(of).sum::<f64>() / trials.len() as f64;
    Trial { accuracy: mean(|it| it.accuracy), loss: mean(|it| it.loss) }
}

fn expect_enough(train: &[LabelledImages]) -> Result<&[LabelledImages]> {
    if train.iter().any(|images| images.samples.len() < 2) {
        return Err(usage(
            "fine-tuning needs two labelled images or more to learn from, and a third where a setting is to be \
             chosen",
            "give a larger training source, more `shots`, or a single setting",
        ));
    }
    Ok(train)
}

impl FinetuneConfig {
    /// Each learning rate with each layer decay.
    pub(crate) fn settings(&self) -> Vec<Setting> {
        let decays = || self.layer_decays.iter().copied();
        let rates = self.learning_rates.iter();
        rates.flat_map(|&lr| decays().map(move |layer_decay| Setting { lr, layer_decay })).collect()
    }

    /// The epochs of all trainings that a choice among so many settings takes, and the judgement after it.
    pub(crate) fn epochs_of(&self, settings: usize) -> usize {
        let trials = if settings == 1 { 0 } else { settings };
        (trials + self.seeds.len()) * self.epochs
    }

    /// Refuses what has no meaning.
    pub(crate) fn check(&self) -> Result<()> {
        let positive = |value: &f64| value.is_finite() && *value > 0.0;
        let share = |value: f64| (0.0..1.0).contains(&value);
        let all = |values: &[f64], fits: &dyn Fn(&f64) -> bool| {
            !values.is_empty() && values.iter().all(fits)
        };
        let (rates, decays) = (&self.learning_rates, &self.layer_decays);
        let problem = if !all(rates, &positive) {
            format!("learning_rates must be numbers above 0, got {rates:?}")
        } else if !all(decays, &|it| positive(it) && *it <= 1.0) {
            format!("layer_decays must be numbers above 0 and at most 1, got {decays:?}")
        } else if !(self.weight_decay.is_finite() && self.weight_decay >= 0.0) {
            format!("weight_decay must be a number of 0 or more, got {}", self.weight_decay)
        } else if self.epochs == 0 || self.batch < 2 {
            let (epochs, batch) = (self.epochs, self.batch);
            format!("epochs must be 1 or more and batch 2 or more, got {epochs} and {batch}")
        } else if !share(self.warmup) || !share(self.smoothing) {
            let (warmup, smoothing) = (self.warmup, self.smoothing);
            format!("warmup and smoothing must be in [0, 1), got {warmup} and {smoothing}")
        } else if self.mixup != 0.0 && !(0.1..=1.0).contains(&self.mixup) {
            format!("mixup must be 0 or from 0.1 to 1, got {}", self.mixup)
        } else if self.seeds.is_empty() {
            "seeds must hold one number or more, got none".into()
        } else if self.shots.is_some() && self.fraction.is_some() {
            "shots and fraction are two ways to say one thing: give one".into()
        } else if self.shots == Some(0)
            || self.fraction.is_some_and(|it| !positive(&it) || it > 1.0)
        {
            let (shots, fraction) = (self.shots, self.fraction);
            format!(
                "shots must be 1 or more and fraction in (0, 1], got {shots:?} and {fraction:?}"
            )
        } else {
            return Ok(());
        };
        Err(usage(&problem, DEFAULT))
    }
}

const DEFAULT: &str = "leave the setting out to get its default";

fn diverged(settings: &[Setting]) -> Error {
    let tried: Vec<String> = settings.iter().map(ToString::to_string).collect();
    let problem = format!("training diverged with {}", tried.join(", with "));
    usage(&problem, "give lower learning_rates, or compute in fp32")
}

fn usage(problem: &str, hint: &str) -> Error {
    Error::Usage { problem: format!("finetune: {problem}"), hint: Some(hint.into()) }
}

/// The mean of what several seeds scored, with Student's interval, in the likeness of one seed's score: the metric gets
/// `_over_seeds` behind it. `None` for fewer than two.
fn score_over_seeds(values: &[f64], one: &Score) -> Option<Score> {
    let SeedMean { mean, std, half } = over_seeds(values)?;
    Some(Score {
        metric: format!("{}_over_seeds", one.metric),
        value: mean,
        interval: Some([(mean - half).max(0.0), (mean + half).min(1.0)]),
        setting: format!("{}, {} seeds of deviation {std:.4}", one.setting, values.len()),
        ..one.clone()
    })
}
