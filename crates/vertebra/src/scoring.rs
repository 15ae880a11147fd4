//! Judging an encoder after pretraining: probes beside the random-initialisation baseline, and the run's pictures.

use std::path::Path;
use std::sync::Arc;

use pixels::corrupt::Corrupted;
use pixels::source::{Source, limited};
use report::record::{self, Score};

use crate::error::{Error, Result};
use crate::evaluation::views::ViewsConfig;
use crate::evaluation::{
    AttentiveConfig, Encoder, ExtractOptions, FeatureTable, Layers, Outcome, Protocol, WorldConfig,
    WorldModel, attentive, encoder, label_free, views, world_model,
};
use crate::gallery;
use crate::hardware;
use crate::recipe::Recipe;

/// What a run says of itself; `vertebra probe` says all that a protocol measures.
const SHOWN: &[&str] = &["top1", "top5"];
/// Images whose neighbours and map are shown where nothing is judged.
const PICTURED: usize = 5000;

/// Images for probes to learn from, and others to be tested on.
pub struct Task {
    pub train: Arc<dyn Source>,
    pub test: Arc<dyn Source>,
    /// Other test sets, by name.
    pub shifts: Vec<(String, Arc<dyn Source>)>,
    /// The test images are judged again with each of these, under the name `corruption/severity`.
    pub corruptions: Vec<Corrupted>,
}

/// What a protocol found at one layer of an encoder.
pub struct Judged {
    /// Empty for the representation.
    pub layer: String,
    pub outcome: Outcome,
    /// The groups of the outcome's items, or none.
    pub groups: Vec<Option<u64>>,
    /// Of the test images.
    pub features: Option<FeatureTable>,
}

/// Judges the encoder of a run with its recipe's probes, beside the same network before training; writes
/// `scores.jsonl` and `gallery.json`. Without labels there are pictures and no scores.
pub fn score_run(folder: &Path, recipe: &Recipe, tell: &mut dyn FnMut(&str)) -> Result<Vec<Score>> {
    let device = hardware::device(recipe.device)?;
    let autocast = hardware::autocast(recipe.precision, device);
    let (trained, spec) = encoder::open_run(folder, device, autocast)?;
    let task = task_of(recipe)?;
    let cache = folder.join("features");
    let labelled = !task.test.is_empty() && task.test.label(0).is_some();
    let judged = labelled && !recipe.evaluation.skip;
    // Pictures need no more than a few; probes are tested on all.
    let shown = if judged { task.test.clone() } else { limited(task.test.clone(), PICTURED)? };
    let test = features(&trained, &shown, &cache, tell)?;
    let mut scores = Vec::new();
    if !labelled {
        tell("the images have no labels: no probes, but see the pictures of the report");
    }
    if judged {
        let random = encoder::random(&spec, recipe.seed, device, autocast);
        for encoder in [&trained, &random] {
            scores.extend(probes(encoder, &task, "", recipe, &cache, tell)?);
            for also in &recipe.evaluation.also {
                let task = open_task(&also.train, &also.test)?;
                scores.extend(probes(encoder, &task, &also.name, recipe, &cache, tell)?);
            }
        }
    }
    // Colour is defined for three channels.
    let world = match spec.predictor {
        Some(_) if spec.channels == 3 => Some(WorldModel::open_run(folder, device, autocast)?.0),
        _ => None,
    };
    if let (Some(model), false) = (&world, recipe.evaluation.skip) {
        let random = encoder::random(&spec, recipe.seed, device, autocast);
        scores.extend(world_scores(model, &random, &task.test, recipe, tell)?);
    }
    let lines: String = scores
        .iter()
        .map(|score| serde_json::to_string(score).expect("plain fields") + "\n")
        .collect();
    record::write_atomically(&folder.join("scores.jsonl"), lines.as_bytes())?;
    let source = pixels::source::open(&recipe.data.train)?;
    let mut gallery = gallery::of_run(recipe, source.as_ref(), shown.as_ref(), &test);
    if let Some(model) = &world {
        tell("pictures of what the predictor imagines");
        match gallery::imagination(model, shown.as_ref()) {
            Ok(found) => gallery.imagination = found,
            // The scores are not lost for the want of a picture.
            Err(error) => tell(&format!("no pictures of what the predictor imagines: {error}")),
        }
    }
    record::write_json(&folder.join("gallery.json"), &gallery)?;
    Ok(scores)
}

/// The recipe's probes of an encoder on one task, which the scores name.
fn probes(
    encoder: &Encoder,
    task: &Task,
    name: &str,
    recipe: &Recipe,
    cache: &Path,
    tell: &mut dyn FnMut(&str),
) -> Result<Vec<Score>> {
    let place = if name.is_empty() { String::new() } else { format!(" on {name}") };
    let protocols = [
        Protocol::Knn(recipe.evaluation.knn.clone()),
        Protocol::Linear(recipe.evaluation.linear.clone()),
    ];
    let mut scores = Vec::new();
    for protocol in &protocols {
        tell(&format!("{} probe of the {} encoder{place}", protocol.name(), encoder.name));
        let found = judge(encoder, task, protocol, &Layers::Pooled, cache, &|_| ())?;
        scores.extend(found.into_iter().flat_map(|it| it.outcome.scores));
    }
    if recipe.evaluation.attentive {
        tell(&format!("attentive probe of the {} encoder{place}", encoder.name));
        let config = AttentiveConfig::default();
        let found =
            attentive::evaluate(encoder, &task.train, &task.test, &config, &mut |_, _, _| ())?;
        scores.extend(found.scores);
    }
    scores.retain(|score| SHOWN.contains(&score.metric.as_str()));
    for score in &mut scores {
        score.task = name.into();
    }
    Ok(scores)
}

/// What the predictor of a run knows, and what features keep of colours with and without training. Sources are blurred as in the run.
fn world_scores(
    model: &WorldModel,
    random: &Encoder,
    test: &Arc<dyn Source>,
    recipe: &Recipe,
    tell: &mut dyn FnMut(&str),
) -> Result<Vec<Score>> {
    let default = WorldConfig::default();
    let blur = recipe.views.first().map_or(default.blur, |view| view.blur.sigma);
    let config = WorldConfig { blur, ..default };
    if test.len() < 10 {
        tell("fewer than 10 test images: what the predictor knows is not measured");
        return Ok(Vec::new());
    }
    tell("what the predictor knows of colours");
    let found = world_model::evaluate(&model.encoder, Some(model), test.as_ref(), &config)?;
    let untrained = world_model::evaluate(random, None, test.as_ref(), &config)?;
    Ok([found.scores, untrained.scores].concat())
}

/// Judges an encoder with a protocol of features, at each layer asked for, from one pass over the images of each
/// source. Features are kept in `cache`; `progress` gets the images of `train` and `test` that are done.
pub fn judge(
    encoder: &Encoder,
    task: &Task,
    protocol: &Protocol,
    layers: &Layers,
    cache: &Path,
    progress: &dyn Fn(usize),
) -> Result<Vec<Judged>> {
    let tables = |source: &Arc<dyn Source>, before: usize, corruption: Option<Corrupted>| {
        let progress = |done, _| progress(before + done);
        let options =
            ExtractOptions { progress: &progress, corruption, ..ExtractOptions::default() };
        Ok::<_, Error>(encoder.extract_layers_cached(source, layers, cache, &options)?.0)
    };
    let train = tables(&task.train, 0, None)?;
    let test = tables(&task.test, task.train.len(), None)?;
    let mut shifts = Vec::new();
    for (name, source) in &task.shifts {
        shifts.push((name.clone(), tables(source, task.train.len(), None)?));
    }
    for &corrupted in &task.corruptions {
        let name = format!("{}/{}", corrupted.corruption(), corrupted.severity());
        shifts.push((name, tables(&task.test, task.train.len(), Some(corrupted))?));
    }
    let mut judged = Vec::new();
    for (index, (layer, test)) in test.into_iter().enumerate() {
        let mut tests = vec![("", &test)];
        tests.extend(shifts.iter().map(|(name, tables)| (name.as_str(), &tables[index].1)));
        let mut outcome = protocol.score(&train[index].1, &tests, &encoder.name)?;
        let layer = if *layers == Layers::Pooled { String::new() } else { layer };
        if let (Protocol::LabelFree(_), "") = (protocol, layer.as_str()) {
            outcome.scores.extend(of_views(encoder, &task.test)?);
        }
        for score in &mut outcome.scores {
            score.layer.clone_from(&layer);
        }
        let groups = groups(&test, outcome.items.len());
        judged.push(Judged { layer, outcome, groups, features: Some(test) });
    }
    Ok(judged)
}

/// LiDAR and alignment, which need several views of an image.
fn of_views(encoder: &Encoder, source: &Arc<dyn Source>) -> Result<Vec<Score>> {
    let found =
        views::extract(encoder, source, &ViewsConfig::default(), &ExtractOptions::default())?;
    Ok(label_free::of_views(&found.x, &encoder.name)?.scores)
}

/// The groups of the items of a test table, where each labelled row has one.
fn groups(test: &FeatureTable, items: usize) -> Vec<Option<u64>> {
    let labelled = test.labels.iter().zip(&test.groups).filter(|(label, _)| label.is_some());
    let groups: Vec<_> = labelled.map(|(_, group)| *group).collect();
    if groups.len() == items { groups } else { Vec::new() }
}

/// The features of a source, from the cache where they are there.
pub fn features(
    encoder: &Encoder,
    source: &Arc<dyn Source>,
    cache: &Path,
    tell: &mut dyn FnMut(&str),
) -> Result<FeatureTable> {
    tell(&format!("features of {} images with the {} encoder", source.len(), encoder.name));
    let (table, _) = encoder.extract_cached(source, cache, &ExtractOptions::default())?;
    if table.samples.is_empty() {
        return Err(Error::Usage {
            problem: "none of the images can be read".into(),
            hint: Some("`vertebra data inspect` lists what is wrong with each".into()),
        });
    }
    Ok(table)
}

/// Opens two labelled sources.
pub fn open_task(train: &str, test: &str) -> Result<Task> {
    let [train, test] = [pixels::source::open(train)?, pixels::source::open(test)?];
    Ok(Task { train, test, shifts: Vec::new(), corruptions: Vec::new() })
}

/// The recipe's labelled images. Where it names no test images, a fifth of the others is held out from the probes.
fn task_of(recipe: &Recipe) -> Result<Task> {
    let train = recipe.evaluation.train.as_ref().unwrap_or(&recipe.data.train);
    match &recipe.evaluation.test {
        Some(test) => open_task(train, test),
        None => open_task(&part(train, "0-0.8"), &part(train, "0.8-1")),
    }
}

/// A part of a source as a URI.
fn part(uri: &str, fraction: &str) -> String {
    let mark = if uri.contains('?') { '&' } else { '?' };
    format!("{uri}{mark}fraction={fraction}")
}
