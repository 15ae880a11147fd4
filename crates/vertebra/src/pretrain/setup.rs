//! Everything a run needs before its first step, and where an earlier part of it stopped.

use std::path::PathBuf;
use std::sync::Arc;
use std::time::{Instant, SystemTime, UNIX_EPOCH};

use pixels::loader::{Loader, LoaderOptions, Share};
use pixels::numbers::Form;
use pixels::source::{Source, SourceError};
use pixels::stats;
use report::record::RunInfo;
use tch::{Device, Kind, Tensor};

use super::{Event, RunFolder, Watch};
use crate::data;
use crate::error::{Error, Result};
use crate::hardware;
use crate::methods::{Context, Method, Progress};
use crate::models::weights;
use crate::recipe::{Finish, RawRecipe, Recipe, Statistics};
use crate::training::checkpoint::{Checkpoint, EncoderSpec};
use crate::training::collective::Collective;
use crate::training::groups;
use crate::training::optim::Optimizer;

/// Images whose channels are measured where a recipe gives no statistics: the error of a mean is then 1 % of the spread
/// between images.
const MEASURED: usize = 10_000;
/// How often the online k-NN runs over a whole run.
const KNN_TIMES: u64 = 10;

/// What to train, where, and what the record says of it.
#[derive(Clone, Debug)]
pub struct Job {
    pub recipe: Recipe,
    pub folder: PathBuf,
    /// Go on with the run in `folder` instead of beginning one.
    pub resume: bool,
    /// The command as typed, and the program's version and commit.
    pub command: String,
    pub version: String,
    pub commit: String,
    /// The processes that train together. All see one file system.
    pub collective: Arc<dyn Collective>,
}

/// A run that is ready for its next step.
pub(super) struct Run {
    pub recipe: Recipe,
    pub collective: Arc<dyn Collective>,
    pub device: Device,
    pub autocast: Option<Kind>,
    pub source: Arc<dyn Source>,
    pub loader: Loader,
    /// How the loader writes images.
    pub form: Form,
    pub method: Box<dyn Method>,
    pub optimizer: Optimizer,
    pub spec: EncoderSpec,
    pub folder: RunFolder,
    pub info: RunInfo,
    /// Steps of the whole run.
    pub steps: u64,
    pub begun: Begun,
    /// The newest checkpoint.
    pub saved: Option<PathBuf>,
    /// The newest checkpoint whose weights have given a finite loss since.
    pub proven: Option<PathBuf>,
    /// Share of the run in which the learning rate rises.
    pub warmup: f64,
    pub save_every: u64,
    pub knn_every: u64,
    clock: Instant,
}

/// Where an earlier part of the run stopped; all zero for a new run.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Begun {
    pub step: u64,
    pub seconds: f64,
}

impl Run {
    pub fn begin(job: &Job, watch: &mut Watch) -> Result<Self> {
        let recipe = &job.recipe;
        let device = hardware::device(recipe.device)?;
        let autocast = hardware::autocast(recipe.precision, device);
        let source = pixels::source::open(&recipe.data.train)?;
        refuse_problems_if_strict(source.as_ref(), recipe.data.strict)?;
        let recipe = with_statistics(job, source.as_ref(), watch)?;
        let geometry_only = recipe.data.finish == Finish::Device;
        let last = recipe.backbone.is_convolutional();
        let form = data::form(recipe.data.channels, device, autocast, last, geometry_only);
        let collective = job.collective.clone();
        let options = loader_options(&recipe, form, collective.as_ref())?;
        let loader = Loader::new(source.clone(), recipe.plan(), options)?;
        let per_epoch = loader.batches_per_epoch() as f64;
        let steps = ((recipe.epochs * per_epoch).round() as u64).max(1);
        let mut method = recipe.method.build(&recipe.inputs()?, recipe.seed, device);
        let groups = groups::assign(&method.parameters(), &method.rules())?;
        let mut optimizer = Optimizer::new(recipe.optimizer.clone(), groups);
        optimizer.peak_lr = recipe.optimizer.peak_lr(recipe.batch);
        let mut begun = Begun::default();
        let mut saved = None;
        let mut folder = open_folder(job, &recipe)?;
        if job.resume {
            if let Some((path, checkpoint)) = newest(&folder, watch)? {
                weights::assign(&path, &checkpoint.model, &method.variables())?;
                optimizer.load(&checkpoint.optimizer)?;
                begun = Begun { step: checkpoint.header.step, seconds: checkpoint.header.seconds };
                saved = Some(path);
            }
            same_on_all(collective.as_ref(), begun.step)?;
            folder.rewind_journal(begun.step)?;
        }
        for it in source.problems() {
            if folder.skip(&it.name, &it.problem)? {
                (watch.tell)(Event::Skipped { name: &it.name, problem: &it.problem });
            }
        }
        let info =
            describe(job, source.as_ref(), method.as_mut(), device, autocast, steps, &folder);
        folder.write_info(&info)?;
        (watch.tell)(Event::Begin { step: begun.step, steps, info: &info });
        let spec = encoder_of(&recipe, method.as_ref());
        Ok(Self {
            warmup: recipe.warmup_epochs / recipe.epochs,
            save_every: ((recipe.checkpoint_every * per_epoch).round() as u64).max(1),
            knn_every: (steps / KNN_TIMES).max(1),
            clock: Instant::now(),
            recipe,
            collective,
            device,
            autocast,
            source,
            loader,
            form,
            method,
            optimizer,
            spec,
            folder,
            info,
            steps,
            begun,
            saved,
            proven: None,
        })
    }

    /// For the step after `step` steps.
    pub fn context(&self, step: u64) -> Context {
        let per_epoch = self.loader.batches_per_epoch() as f64;
        let (seed, batch) = (self.recipe.seed, self.recipe.batch);
        let progress = Progress { seed, step, steps: self.steps, per_epoch, batch };
        Context { device: self.device, autocast: self.autocast, progress }
    }

    /// Seconds of training, over all parts of the run.
    pub fn seconds(&self) -> f64 {
        self.begun.seconds + self.clock.elapsed().as_secs_f64()
    }

    /// At the speed of this part of the run.
    pub fn seconds_left(&self, step: u64) -> f64 {
        let pace = self.clock.elapsed().as_secs_f64() / (step - self.begun.step).max(1) as f64;
        pace * (self.steps - step) as f64
    }

    pub fn write_info(&mut self) -> Result<()> {
        self.info.seconds = self.seconds();
        self.info.skipped = self.folder.skipped() as u64;
        self.folder.write_info(&self.info)
    }
}

/// What remains of a method after training, for whoever opens a checkpoint.
fn encoder_of(recipe: &Recipe, method: &dyn Method) -> EncoderSpec {
    EncoderSpec {
        backbone: recipe.backbone,
        channels: recipe.data.channels,
        preprocess: recipe.preprocess(),
        variables: method.encoder().into(),
        predictor: method.predictor(),
    }
}

/// With `strict`, what could not be looked at while the source was listed ends the run, as an unreadable image does.
fn refuse_problems_if_strict(source: &dyn Source, strict: bool) -> Result<()> {
    match source.problems().first() {
        Some(first) if strict => Err(SourceError::new(&first.name, &first.problem)
            .hint("without `strict`, what cannot be read is passed over and listed")
            .into()),
        _ => Ok(()),
    }
}

/// The recipe with numbers for what it wants measured: those that the run began with, or those of the images now.
fn with_statistics(job: &Job, source: &dyn Source, watch: &mut Watch) -> Result<Recipe> {
    let recipe = &job.recipe;
    if recipe.normalize != Statistics::Measured {
        return Ok(recipe.clone());
    }
    let own = job.folder.join("recipe.toml");
    if job.resume
        && let Statistics::Given(began) = RawRecipe::read(&own, &[])?.normalize
    {
        return recipe.normalized_by(began);
    }
    (watch.tell)(Event::Note("measuring the channels of the training images"));
    let measured =
        stats::measure(source, recipe.data.channels, Some(MEASURED), workers(recipe), &|| ())?;
    let normalize = measured.normalize()?;
    (watch.tell)(Event::Note(&format!(
        "{} images measured: mean {:.5?}, std {:.5?}",
        measured.images, normalize.mean, normalize.std
    )));
    recipe.normalized_by(normalize)
}

/// The run's folder: the first rank makes it, then the others look.
fn open_folder(job: &Job, recipe: &Recipe) -> Result<RunFolder> {
    let folder = match (job.collective.rank(), job.resume) {
        (0, true) => Some(RunFolder::resume(&job.folder, recipe)?),
        (0, false) => Some(RunFolder::create(&job.folder, recipe)?),
        _ => None,
    };
    job.collective.any(false)?;
    folder.map_or_else(|| RunFolder::follow(&job.folder), Ok)
}

/// Ranks that took up different checkpoints would wait for each other for ever.
fn same_on_all(collective: &dyn Collective, step: u64) -> Result<()> {
    let steps = collective.gather(&Tensor::from_slice(&[step as i64]))?;
    let (least, most) = (steps.min().int64_value(&[]), steps.max().int64_value(&[]));
    if least == most {
        return Ok(());
    }
    Err(Error::Usage {
        problem: format!("the processes found checkpoints of different steps, {least} and {most}"),
        hint: Some("all of them must see the run folder at the same path".into()),
    })
}

fn loader_options(
    recipe: &Recipe,
    form: Form,
    collective: &dyn Collective,
) -> Result<LoaderOptions> {
    let (rank, ranks) = (collective.rank(), collective.ranks());
    if !recipe.batch.is_multiple_of(ranks * recipe.accumulate) {
        return Err(Error::Usage {
            problem: format!(
                "a batch of {} cannot be divided among {ranks} processes with {} micro-batches each",
                recipe.batch, recipe.accumulate
            ),
            hint: Some("choose a `batch` that is a multiple of both".into()),
        });
    }
    Ok(LoaderOptions {
        seed: recipe.seed,
        batch: recipe.batch,
        share: Share { rank, ranks },
        workers: workers(recipe),
        channels: recipe.data.channels,
        strict: recipe.data.strict,
        exact: recipe.data.exact,
        form,
    })
}

fn workers(recipe: &Recipe) -> usize {
    if recipe.workers == 0 { hardware::cores() } else { recipe.workers }
}

/// The newest checkpoint that can be read; damaged newer ones are told of.
fn newest(folder: &RunFolder, watch: &mut Watch) -> Result<Option<(PathBuf, Checkpoint)>> {
    let Some((path, checkpoint, damaged)) = Checkpoint::newest(&folder.checkpoints())? else {
        (watch.tell)(Event::Note("no checkpoint yet: the run starts again from its beginning"));
        return Ok(None);
    };
    for error in damaged {
        (watch.tell)(Event::Note(&format!("{error}; going on from the checkpoint before")));
    }
    Ok(Some((path, checkpoint)))
}

fn describe(
    job: &Job,
    source: &dyn Source,
    method: &mut dyn Method,
    device: Device,
    autocast: Option<Kind>,
    steps: u64,
    folder: &RunFolder,
) -> RunInfo {
    let recipe = &job.recipe;
    let earlier = folder.read_info().filter(|_| job.resume).unwrap_or_default();
    let now = SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |since| since.as_secs());
    RunInfo {
        command: job.command.clone(),
        title: format!(
            "{}, {} on {}",
            recipe.method.title(),
            recipe.backbone.title(),
            source_title(&recipe.data.train)
        ),
        version: job.version.clone(),
        commit: job.commit.clone(),
        machine: hardware::machine(),
        device: hardware::device_name(device),
        precision: hardware::precision_name(autocast).into(),
        parameters: method.parameters().values().map(|p| p.numel() as u64).sum(),
        images: source.len() as u64,
        skipped: folder.skipped() as u64,
        started: if earlier.started > 0 { earlier.started } else { now },
        steps,
        ranks: job.collective.ranks() as u64,
        state: "running".into(),
        ..earlier
    }
}

/// A source without its options, for a heading: `world`, `photographs`, `cifar10/train`.
fn source_title(uri: &str) -> &str {
    let place = uri.split('?').next().unwrap_or(uri);
    place.strip_prefix("folder:").unwrap_or(place).trim_end_matches(':')
}
