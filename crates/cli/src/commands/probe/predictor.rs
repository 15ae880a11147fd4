//! `probe predictor`: a world model's predictor, fine-tuned beside its controls, or for several tasks at once.

use std::path::Path;

use report::record::Score;
use serde_json::{Map, Value, json};
use vertebra::error::Error;
use vertebra::evaluation::finetune_predictor::{self, NamedTask};
use vertebra::evaluation::statistics::Comparison;
use vertebra::evaluation::{FinetunePredictorConfig, Layers, Outcome, WorldModel};
use vertebra::hardware;
use vertebra::training::checkpoint::EncoderSpec;

use super::{Probe, parsed, usage};
use crate::show::{Progress, Screen};

/// What the command prints.
struct Found {
    scores: Vec<Score>,
    /// As those of other protocols.
    comparisons: Vec<Value>,
}

pub(super) fn run(probe: &Probe, settings: &Map<String, Value>) -> anyhow::Result<()> {
    refuse_options(probe, settings)?;
    let config: FinetunePredictorConfig = parsed(settings, None)?;
    let screen = Screen::quiet(probe.json);
    let (world, spec) = open(probe)?;
    let bar = Progress::over(0);
    let mut progress = |done: usize, all: usize, loss: f64| bar.epoch(done, all, loss);
    let found = if probe.tasks.is_empty() {
        let task = probe.task()?;
        screen.say(&format!("training on {} images", task.train.len()));
        modes(&finetune_predictor::evaluate(
            &world,
            &spec,
            &task.train,
            &task.test,
            &config,
            &mut progress,
        )?)
    } else {
        let tasks = tasks(&probe.tasks)?;
        screen.say(&format!("training on {} tasks, together and one by one", tasks.len()));
        let found = finetune_predictor::multitask(&world, &spec, &tasks, &config, &mut progress)?;
        let mut sheet = Found { scores: Vec::new(), comparisons: Vec::new() };
        for task in found {
            let place = format!("{}: ", task.name);
            let sides = [("one predictor for all", &task.shared), ("one of its own", &task.own)];
            sheet.comparisons.extend(compared(&place, sides));
            sheet.scores.extend(task.shared.scores);
            sheet.scores.extend(task.own.scores);
        }
        sheet
    };
    bar.end();
    if probe.json {
        println!("{}", json!({ "scores": found.scores, "comparisons": found.comparisons }));
        return Ok(());
    }
    screen.scores(&found.scores);
    for comparison in &found.comparisons {
        println!("{}", comparison["words"].as_str().unwrap_or(""));
    }
    Ok(())
}

/// The first mode beside each other one.
fn modes(found: &[(finetune_predictor::TuningMode, Outcome)]) -> Found {
    let scores = found.iter().flat_map(|(_, outcome)| outcome.scores.clone()).collect();
    let mut comparisons = Vec::new();
    if let Some(((first, one), others)) = found.split_first() {
        for (mode, other) in others {
            comparisons.extend(compared("", [(first.name(), one), (mode.name(), other)]));
        }
    }
    Found { scores, comparisons }
}

/// Two outcomes on the same images, in pairs.
fn compared(place: &str, [(a, one), (b, other)]: [(&str, &Outcome); 2]) -> Option<Value> {
    let found = Comparison::paired(&one.items, &other.items, &[])?;
    Some(json!({
        "a": a, "b": b, "metric": "top1", "task": one.scores.first().map(|score| &score.task),
        "difference": found.difference, "interval": found.interval, "p": found.p, "tie": found.tie,
        "words": format!("{place}{}", found.in_words(a, b)),
    }))
}

fn open(probe: &Probe) -> anyhow::Result<(WorldModel, EncoderSpec)> {
    let [run] = &probe.encoders[..] else {
        return Err(usage(
            format!("predictor tunes one world model, got {}", probe.encoders.len()),
            "give the folder of one run",
        ));
    };
    let device = hardware::device(probe.compute.device)?;
    let autocast = hardware::autocast(probe.compute.precision, device);
    Ok(WorldModel::open_run(Path::new(run), device, autocast)?)
}

/// NAME TRAIN TEST, one after the other.
fn tasks(words: &[String]) -> anyhow::Result<Vec<NamedTask>> {
    let open = |uri: &str| pixels::source::open(uri).map_err(Error::from);
    let mut tasks = Vec::new();
    for task in words.chunks_exact(3) {
        tasks.push(NamedTask {
            name: task[0].clone(),
            train: open(&task[1])?,
            test: open(&task[2])?,
        });
    }
    Ok(tasks)
}

fn refuse_options(probe: &Probe, settings: &Map<String, Value>) -> anyhow::Result<()> {
    let shifted = !probe.shift.is_empty() || probe.corruptions.is_some();
    if shifted || probe.layers != Layers::Pooled || probe.save.is_some() || probe.only_random {
        return Err(usage(
            "predictor knows no --shift, --corruptions, --layers, --save and --only-random".into(),
            "the protocols of features know the first three, and finetune the others; a fresh predictor is one of the \
             modes",
        ));
    }
    if !probe.tasks.is_empty() && settings.contains_key("modes") {
        return Err(usage(
            "modes are for one task: several share the trained predictor over the frozen encoder"
                .into(),
            "leave out --set modes, or give --train and --test",
        ));
    }
    Ok(())
}
