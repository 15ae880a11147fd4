//! Pretraining: the loop, printed as one page.

mod accumulate;
mod folder;
mod health;
mod setup;

pub use accumulate::backward;
pub use folder::RunFolder;
pub use setup::Job;

use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use pixels::loader::Batch;
use report::record::{JournalLine, RunInfo};
use tch::{Device, Kind, Tensor};

use self::setup::Run;
use crate::data;
use crate::error::{Error, Result};
use crate::evaluation::{WorldModel, encoder};
use crate::methods::{self, Loss};
use crate::recipe::Recipe;
use crate::training::checkpoint::{Checkpoint, Header};
use crate::training::{clip, schedule};

/// What happens during a run, for whoever shows it.
#[derive(Debug)]
pub enum Event<'a> {
    /// Training begins or goes on after this step, of so many.
    Begin {
        step: u64,
        steps: u64,
        info: &'a RunInfo,
    },
    /// A step is done; `seconds_left` at the present speed.
    Step {
        step: u64,
        steps: u64,
        seconds_left: f64,
    },
    /// A line of the journal was written.
    Line(&'a JournalLine),
    /// An image could not be read; it is listed in the run folder.
    Skipped {
        name: &'a str,
        problem: &'a str,
    },
    Saved(&'a Path),
    /// Something that a person should know.
    Note(&'a str),
}

/// Who watches a run, and may end it.
pub struct Watch<'a> {
    pub tell: &'a mut dyn FnMut(Event),
    /// When it becomes true, the run saves after the present step and ends.
    pub stop: &'a AtomicBool,
}

/// How a run ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Outcome {
    Finished,
    /// Stopped on request, saved, can be resumed.
    Interrupted,
}

/// Trains to the end of the recipe, or until it is told to stop. A killed run goes on with `resume`, and on a CPU
/// its losses equal those of a run that was never killed, bit for bit.
pub fn pretrain(job: &Job, watch: &mut Watch) -> Result<Outcome> {
    let mut run = Run::begin(job, watch)?;
    let trained = train(&mut run, watch);
    // Of this part of the run and of those before it.
    let peak = torch_bridge::peak_memory_mb(run.device);
    run.info.peak_memory_mb = run.info.peak_memory_mb.into_iter().chain(peak).reduce(f64::max);
    run.info.state = match &trained {
        Ok(Outcome::Finished) => "finished".into(),
        Ok(Outcome::Interrupted) => "interrupted".into(),
        Err(error) => format!("failed: {error}"),
    };
    let noted = run.write_info();
    // Where both failed, as on a full disk, what ended the training is what to tell.
    let outcome = trained?;
    noted.map(|()| outcome)
}

fn train(run: &mut Run, watch: &mut Watch) -> Result<Outcome> {
    let recipe = run.recipe.clone();
    let plan = recipe.plan();
    let (first, steps) = (run.begun.step, run.steps);
    let mut meter = Meter::new(first);
    let mut batches = run.loader.batches(first..steps)?;
    for step in first + 1..=steps {
        // Data.
        let Some(batch) = batches.next() else { break };
        let batch = batch?;
        list_skipped(run, &batch, watch)?;
        let batch = methods::Batch {
            views: data::views_on(&batch, run.form, &plan, run.device),
            first: run.collective.rank() * batch.samples.len(),
            records: batch.records,
            labels: batch.labels,
        };
        let stopping = run.collective.any(watch.stop.load(Ordering::Relaxed))?;
        let saving = step == steps || stopping || step % run.save_every == 0;
        let logging = step == steps || step == 1 || step % recipe.log_every == 0;

        // Forward and backward. Reading the loss makes a GPU wait, so there it is read only when it is needed.
        let context = run.context(step - 1);
        run.optimizer.zero_grad();
        let (method, collective) = (run.method.as_mut(), run.collective.as_ref());
        let loss = backward(method, &batch, recipe.accumulate, collective, &context)?;
        if saving || logging || run.device == Device::Cpu {
            refuse_non_finite(&loss, step, run.proven.as_deref())?;
            run.proven.clone_from(&run.saved);
        }

        // Step. The schedule counts the steps done before this one, as VICReg's code does.
        let done = context.progress.done();
        let lr = run.optimizer.peak_lr * schedule::warmup_cosine(done, run.warmup, recipe.final_lr);
        let decay = recipe.optimizer.weight_decay();
        run.optimizer.weight_decay =
            schedule::cosine(decay, recipe.final_weight_decay.unwrap_or(decay), done);
        run.method.before_step(&context);
        let norm = clipped(&recipe, &run.optimizer.params(), logging);
        run.optimizer.step(lr);
        run.method.after_step(&context)?;

        // Journal and checkpoint.
        if logging && run.folder.keeps() {
            let (images_per_s, data_wait) = meter.read(step, recipe.batch, batches.waited());
            let line = journal_line(run, step, lr, &loss, norm.as_ref(), watch)?;
            let line = JournalLine { images_per_s, data_wait, ..line };
            run.folder.log(&line)?;
            (watch.tell)(Event::Line(&line));
        }
        if saving && run.folder.keeps() {
            save(run, step, watch)?;
        }
        let seconds_left = run.seconds_left(step);
        (watch.tell)(Event::Step { step, steps, seconds_left });
        if stopping && step < steps {
            return Ok(Outcome::Interrupted);
        }
    }
    Ok(Outcome::Finished)
}

/// Clips the gradients as the recipe says; their norm before, where it was computed or `wanted`.
fn clipped(recipe: &Recipe, params: &[Tensor], wanted: bool) -> Option<Tensor> {
    match (recipe.clip, recipe.clip_each) {
        (Some(limit), _) => Some(clip::clip_global(params, limit)),
        (None, Some(limit)) => Some(clip::clip_each(params, limit)),
        (None, None) => wanted.then(|| clip::global_norm(params)),
    }
}

/// Lists what could not be read, each image once.
fn list_skipped(run: &mut Run, batch: &Batch, watch: &mut Watch) -> Result<()> {
    for image in &batch.skipped {
        if run.folder.skip(&image.name, &image.problem)? {
            (watch.tell)(Event::Skipped { name: &image.name, problem: &image.problem });
        }
    }
    Ok(())
}

/// The record of a step, with health; the figures of speed are left at 0.
fn journal_line(
    run: &mut Run,
    step: u64,
    lr: f64,
    loss: &Loss,
    norm: Option<&Tensor>,
    watch: &mut Watch,
) -> Result<JournalLine> {
    let (mut values, advice) = health::of_batch(run.method.as_ref(), loss);
    // Before the warm-up is over, embeddings are still what the initial weights make of them.
    let warm = step as f64 > run.warmup * run.steps as f64 && step > 1;
    for advice in advice.into_iter().filter(|_| warm) {
        // Once of each kind: `complete collapse: …` with other figures says nothing new.
        let kind = |advice: &str| advice.split(':').next().map(String::from);
        if !run.info.advice.iter().any(|earlier| kind(earlier) == kind(&advice)) {
            (watch.tell)(Event::Note(&advice));
            run.info.advice.push(advice);
        }
    }
    values.extend(loss.parts.iter().map(|(name, part)| ((*name).into(), scalar(part))));
    values.extend(norm.map(|norm| ("grad_norm".into(), scalar(norm))));
    let every = run.knn_every;
    if step == run.steps || step / every > (step.saturating_sub(run.recipe.log_every)) / every {
        values.extend(knowledge(run, step, watch)?);
    }
    Ok(JournalLine {
        step,
        epoch: step as f64 / run.loader.batches_per_epoch() as f64,
        loss: scalar(&loss.total),
        lr,
        images_per_s: 0.0,
        data_wait: 0.0,
        values,
    })
}

/// What the encoder knows at this step: its k-NN, where there are labels, and what a predictor knows of colours.
fn knowledge(run: &Run, step: u64, watch: &mut Watch) -> Result<Vec<(String, f64)>> {
    let (variables, origin) = (run.method.variables(), run.folder.path());
    let (spec, seed) = (&run.spec, run.recipe.seed);
    let mut values = Vec::new();
    let encoder = encoder::from_variables(spec, &variables, origin, run.device, run.autocast)?;
    // To look at a run must not end it. Diverged weights end it at the next loss, which says more.
    let mut note = |what: &str, error: Error| {
        (watch.tell)(Event::Note(&format!("no {what} at step {step}: {error}")));
    };
    match health::knn_of(&encoder, &run.source, seed) {
        Ok(top1) => values.extend(top1.map(|top1| ("knn".into(), top1))),
        Err(error) => note("k-NN", error),
    }
    // Colour is defined for three channels.
    if spec.predictor.is_some() && spec.channels == 3 {
        let model = WorldModel::from_variables(spec, &variables, origin, run.device, run.autocast)?;
        match health::world_of(&model, run.source.as_ref(), seed) {
            Ok(found) => values.extend(found),
            Err(error) => note("mean reciprocal rank", error),
        }
    }
    Ok(values)
}

fn save(run: &mut Run, step: u64, watch: &mut Watch) -> Result<()> {
    run.info.seconds = run.seconds();
    let header = Header {
        format: Checkpoint::FORMAT,
        step,
        seconds: run.info.seconds,
        encoder: run.spec.clone(),
    };
    let (model, optimizer) = (run.method.variables(), run.optimizer.state());
    let path = run.folder.save(&Checkpoint { header, model, optimizer })?;
    (watch.tell)(Event::Saved(&path));
    run.saved = Some(path);
    run.write_info()
}

fn refuse_non_finite(loss: &Loss, step: u64, last_good: Option<&Path>) -> Result<()> {
    match health::first_bad(loss) {
        None => Ok(()),
        Some((term, value)) => {
            let last_good = last_good.map(PathBuf::from);
            Err(Error::NonFinite { step, term, value, last_good })
        }
    }
}

fn scalar(tensor: &Tensor) -> f64 {
    tensor.to_kind(Kind::Double).double_value(&[])
}

/// Speed since the last line of the journal.
struct Meter {
    since: Instant,
    step: u64,
    waited: Duration,
}

impl Meter {
    fn new(step: u64) -> Self {
        Self { since: Instant::now(), step, waited: Duration::ZERO }
    }

    /// Images per second, and the share of the time spent waiting for data.
    fn read(&mut self, step: u64, batch: usize, waited: Duration) -> (f64, f64) {
        let seconds = self.since.elapsed().as_secs_f64().max(1e-9);
        let images = (step - self.step) as f64 * batch as f64;
        let share = waited.saturating_sub(self.waited).as_secs_f64() / seconds;
        *self = Self { since: Instant::now(), step, waited };
        (images / seconds, share.min(1.0))
    }
}
