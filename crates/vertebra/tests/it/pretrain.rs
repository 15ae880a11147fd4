//! Whole runs, small ones: what they leave behind, and that an interrupted run loses nothing.

use std::fs;
use std::path::{Path, PathBuf};

use pixels::encode::encode_png;
use report::record::{self, JournalLine, RunInfo};
use serde_json::Value;
use tempfile::{TempDir, tempdir};
use vertebra::error::{Error, Result};
use vertebra::pretrain::Outcome;
use vertebra::recipe::RawRecipe;
use vertebra::training::checkpoint::{self, Checkpoint};

use crate::{alone, trained};

/// Eight steps, a checkpoint after every second one.
const RECIPE: &str = r#"
epochs = 2
batch = 16
warmup_epochs = 0.5
log_every = 1
checkpoint_every = 0.5
precision = "fp32"
device = "cpu"
workers = 2
data.train = "world:?size=32&count=64"
views = [{ count = 2, size = 16 }]
backbone = { name = "resnet18", stem = "small", width = 4 }
method = { name = "vicreg", projector.widths = [32, 32, 32] }
optimizer = { name = "lars" }
"#;

#[test]
fn a_run_finishes_and_leaves_its_records() {
    let _alone = alone();
    let folder = tempdir().unwrap();
    assert_eq!(train(folder.path(), &[]).unwrap(), Outcome::Finished);
    let journal = journal(folder.path());
    assert_eq!(journal.iter().map(|line| line.step).collect::<Vec<_>>(), [1, 2, 3, 4, 5, 6, 7, 8]);
    let last = journal.last().unwrap();
    assert_eq!(last.epoch, 2.0);
    let names = ["invariance", "variance", "covariance", "grad_norm", "knn"];
    let health = [
        "representation_std",
        "representation_rank",
        "embedding_std",
        "embedding_rank",
        "sample_contrastive",
        "dimension_contrastive",
    ];
    for name in names.iter().chain(&health) {
        assert!(last.values.get(*name).is_some_and(|value| value.is_finite()), "{name}");
    }
    let began = RawRecipe::read(&folder.path().join("recipe.toml"), &[]).unwrap();
    assert_eq!(began, RawRecipe::parse(RECIPE, &[]).unwrap());
    let info: RunInfo = record::read_json(&folder.path().join("run.json")).unwrap();
    assert_eq!((info.state.as_str(), info.steps, info.images), ("finished", 8, 64));
    assert_eq!(checkpoints(folder.path()), ["step-00000006", "step-00000008"]);
}

#[test]
fn equal_runs_are_equal_and_another_seed_is_another_run() {
    let _alone = alone();
    let first = finished(&[]);
    assert_eq!(numbers(first.path()), numbers(finished(&[]).path()));
    // Threads must not reach a number.
    let settings = ["workers=1"];
    assert_eq!(numbers(first.path()), numbers(finished(&settings).path()));
    let other = finished(&["seed=1"]);
    let (a, b) = (numbers(first.path()), numbers(other.path()));
    assert!(a.iter().zip(&b).all(|(a, b)| a["loss"] != b["loss"]));
}

#[test]
fn an_interrupted_run_goes_on_bit_for_bit() {
    let _alone = alone();
    for optimizer in ["lars", "adamw"] {
        let settings = [format!("optimizer.name={optimizer}")];
        let settings: Vec<&str> = settings.iter().map(String::as_str).collect();
        let whole = finished(&settings);
        let folder = tempdir().unwrap();
        // The stop is seen in the step after the one that asks for it, and that step is still done.
        let ended = run(folder.path(), &settings, false, Some(2)).unwrap();
        assert_eq!(ended, Outcome::Interrupted);
        let info: RunInfo = record::read_json(&folder.path().join("run.json")).unwrap();
        assert_eq!(info.state, "interrupted");
        assert_eq!(checkpoints(folder.path()), ["step-00000002", "step-00000003"]);
        assert_eq!(run(folder.path(), &settings, true, Some(5)).unwrap(), Outcome::Interrupted);
        assert_eq!(run(folder.path(), &settings, true, None).unwrap(), Outcome::Finished);
        assert_eq!(numbers(folder.path()), numbers(whole.path()), "{optimizer}");
        assert_eq!(weights(folder.path()), weights(whole.path()), "{optimizer}");
    }
}

/// A kill leaves a journal that is ahead of the checkpoint, with half a line, and perhaps half a checkpoint.
#[test]
fn a_killed_run_goes_on_from_its_last_whole_checkpoint() {
    let _alone = alone();
    let whole = finished(&[]);
    let folder = tempdir().unwrap();
    run(folder.path(), &[], false, Some(4)).unwrap();
    let newest = folder.path().join("checkpoints/step-00000005.safetensors");
    let bytes = fs::read(&newest).unwrap();
    fs::write(&newest, &bytes[..bytes.len() / 2]).unwrap();
    let path = folder.path().join("journal.jsonl");
    let torn = fs::read_to_string(&path).unwrap() + "{\"step\":6,\"lo";
    fs::write(&path, torn).unwrap();
    assert_eq!(run(folder.path(), &[], true, None).unwrap(), Outcome::Finished);
    assert_eq!(numbers(folder.path()), numbers(whole.path()));
}

#[test]
fn a_run_is_not_overwritten() {
    let _alone = alone();
    let folder = finished(&[]);
    let before = numbers(folder.path());
    let refused = train(folder.path(), &[]).unwrap_err();
    assert!(refused.hint().is_some_and(|hint| hint.contains("--resume")), "{refused}");
    assert_eq!(numbers(folder.path()), before);
}

#[test]
fn another_recipe_cannot_take_up_a_run() {
    let _alone = alone();
    let folder = tempdir().unwrap();
    run(folder.path(), &[], false, Some(1)).unwrap();
    let refused = run(folder.path(), &["optimizer.lr=0.7"], true, None).unwrap_err().to_string();
    assert!(refused.contains("optimizer.lr: 0.3 → 0.7"), "{refused}");
}

#[test]
fn a_loss_that_is_no_number_stops_the_run_with_its_last_good_checkpoint() {
    let _alone = alone();
    let folder = tempdir().unwrap();
    let settings =
        ["optimizer.lr=1e30", "optimizer.name=sgd", "warmup_epochs=1", "checkpoint_every=0.25"];
    let error = train(folder.path(), &settings).unwrap_err();
    let Error::NonFinite { step, term, last_good, value } = &error else { panic!("{error}") };
    // The rate of the first step is 0, the second destroys the weights, the third sees it.
    assert_eq!((*step, value.is_finite()), (3, false), "{term}");
    let wanted = folder.path().join("checkpoints/step-00000001.safetensors");
    assert_eq!(last_good.as_ref(), Some(&wanted));
    assert!(wanted.exists(), "what is named is there");
    assert!(error.hint().unwrap().contains("step-00000001"));
    let info: RunInfo = record::read_json(&folder.path().join("run.json")).unwrap();
    assert!(info.state.starts_with("failed: "), "{}", info.state);
}

#[test]
fn an_unreadable_image_is_listed_once_and_the_run_goes_on() {
    let _alone = alone();
    let images = pictures(31);
    fs::write(images.path().join("broken.png"), b"no picture").unwrap();
    let data = format!("data.train=folder:{}", images.path().display());
    let folder = tempdir().unwrap();
    assert_eq!(train(folder.path(), &[&data]).unwrap(), Outcome::Finished);
    let lines = record::read_lines::<Value>(&folder.path().join("skipped.jsonl")).unwrap().values;
    assert_eq!(lines.len(), 1);
    assert_eq!(lines[0]["name"], "broken.png");
    assert!(lines[0]["problem"].as_str().is_some_and(|problem| !problem.is_empty()));
    let info: RunInfo = record::read_json(&folder.path().join("run.json")).unwrap();
    assert_eq!(info.skipped, 1);

    let strict = tempdir().unwrap();
    let refused = train(strict.path(), &[&data, "data.strict=true"]).unwrap_err();
    assert!(refused.to_string().contains("broken.png"), "{refused}");
}

#[test]
fn a_source_smaller_than_a_batch_is_refused_before_anything_is_written() {
    let folder = tempdir().unwrap();
    let out = folder.path().join("run");
    let refused = train(&out, &["data.train=world:?count=15"]).unwrap_err();
    assert!(matches!(refused, Error::Source(_)), "{refused}");
    assert!(!out.exists());
}

fn train(folder: &Path, settings: &[&str]) -> Result<Outcome> {
    run(folder, settings, false, None)
}

/// A run in a folder of its own, to its end.
fn finished(settings: &[&str]) -> TempDir {
    let folder = tempdir().unwrap();
    assert_eq!(train(folder.path(), settings).unwrap(), Outcome::Finished);
    folder
}

/// Trains; asks for a stop when step `stop_after` is done.
fn run(folder: &Path, settings: &[&str], resume: bool, stop_after: Option<u64>) -> Result<Outcome> {
    let settings: Vec<String> = settings.iter().map(ToString::to_string).collect();
    trained(RawRecipe::parse(RECIPE, &settings)?.check()?, folder, resume, stop_after)
}

fn journal(folder: &Path) -> Vec<JournalLine> {
    record::read_lines(&folder.join("journal.jsonl")).unwrap().values
}

/// The journal without what a clock says, number for number as it is written.
fn numbers(folder: &Path) -> Vec<Value> {
    let path = folder.join("journal.jsonl");
    let mut lines = record::read_lines::<Value>(&path).unwrap().values;
    for line in &mut lines {
        let line = line.as_object_mut().unwrap();
        assert!(line.remove("images_per_s").is_some() && line.remove("data_wait").is_some());
    }
    lines
}

/// The fingerprint of the last checkpoint's tensors, the optimizer's too.
fn weights(folder: &Path) -> [String; 2] {
    let (_, newest, _) = Checkpoint::newest(&folder.join("checkpoints")).unwrap().unwrap();
    [&newest.model, &newest.optimizer].map(vertebra::models::weights::fingerprint)
}

fn checkpoints(folder: &Path) -> Vec<String> {
    let stem = |path: PathBuf| path.file_stem().unwrap().to_string_lossy().into_owned();
    checkpoint::list(&folder.join("checkpoints")).unwrap().into_iter().map(stem).collect()
}

/// A folder of small pictures without classes.
fn pictures(count: usize) -> TempDir {
    let folder = tempdir().unwrap();
    let world = pixels::source::open(&format!("world:?size=24&count={count}")).unwrap();
    for index in 0..count {
        let png = encode_png(&world.get(index).unwrap().image);
        fs::write(folder.path().join(format!("{index:02}.png")), png).unwrap();
    }
    folder
}
