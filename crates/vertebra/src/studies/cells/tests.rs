//! Nothing trains here: an attempt writes what a run would.

use tempfile::{TempDir, tempdir};

use super::*;

const PLAN: &str = r#"
seeds = [0, 1]
axes = [{ name = "batch", usual = "16", points = [{ name = "8", set = ["batch=8"] }, { name = "16", set = [] }] }]
[[variants]]
name = "a"
[[variants]]
name = "b"
set = ["optimizer.lr=0.5"]
[base]
epochs = 1
batch = 16
data.train = "world:?size=32&count=64"
views = [{ count = 2, size = 32 }]
backbone = { name = "resnet18", stem = "small", width = 16 }
method = { name = "vicreg" }
optimizer = { name = "lars", lr = 0.3 }
"#;

fn plan(text: &str) -> Plan {
    Plan::parse(text, Path::new("")).unwrap()
}

fn study() -> (TempDir, Study) {
    let folder = tempdir().unwrap();
    let study = Study::begin(plan(PLAN), folder.path()).unwrap();
    (folder, study)
}

/// What a run leaves behind, in this state.
fn leave(attempt: &Attempt, state: &str, scored: bool) {
    fs::create_dir_all(attempt.folder.join("checkpoints")).unwrap();
    fs::copy(&attempt.recipe, attempt.folder.join("recipe.toml")).unwrap();
    for step in [1, 2] {
        fs::write(attempt.folder.join(format!("checkpoints/step-{step:08}.safetensors")), "")
            .unwrap();
    }
    let info = RunInfo { state: state.into(), seconds: 10.0, ..RunInfo::default() };
    record::write_json(&attempt.folder.join("run.json"), &info).unwrap();
    fs::write(attempt.folder.join("journal.jsonl"), "").unwrap();
    if scored {
        fs::write(attempt.folder.join("scores.jsonl"), "").unwrap();
    }
}

fn go(study: &Study, attempt: &mut dyn FnMut(Attempt) -> Result<()>) -> Summary {
    run(study, attempt, &AtomicBool::new(false), &mut |_| ()).unwrap()
}

#[test]
fn the_runs_are_the_variants_at_the_usual_point_and_along_each_axis() {
    let cells = plan(PLAN).cells().unwrap();
    let names: Vec<&str> = cells.iter().map(|cell| cell.name.as_str()).collect();
    assert_eq!(
        names,
        [
            "a-s0",
            "b-s0",
            "a-s1",
            "b-s1",
            "a-batch8-s0",
            "b-batch8-s0",
            "a-batch8-s1",
            "b-batch8-s1"
        ]
    );
    let what = |cell: &Cell| (cell.recipe.batch, cell.recipe.optimizer.lr(), cell.recipe.seed);
    assert_eq!(what(&cells[0]), (16, 0.3, 0));
    assert_eq!(what(&cells[7]), (8, 0.5, 1));
}

#[test]
fn a_finished_run_is_never_done_again_and_a_stopped_one_goes_on() {
    let (_folder, study) = study();
    let stop = AtomicBool::new(false);
    let mut seen = Vec::new();
    // The third is killed midway.
    let mut attempt = |attempt: Attempt| {
        seen.push((attempt.cell.name.clone(), attempt.resume));
        let last = seen.len() == 3;
        stop.store(last, Ordering::Relaxed);
        leave(&attempt, if last { "running" } else { "finished" }, !last);
        Ok(())
    };
    let summary = run(&study, &mut attempt, &stop, &mut |_| ()).unwrap();
    assert_eq!((summary.done, summary.failed.len(), summary.left), (2, 0, 6));
    let mut attempt = |attempt: Attempt| {
        seen.push((attempt.cell.name.clone(), attempt.resume));
        leave(&attempt, "finished", true);
        Ok(())
    };
    let summary = go(&study, &mut attempt);
    assert_eq!((summary.done, summary.left), (8, 0));
    assert_eq!(seen.len(), 9);
    assert_eq!(seen[3], ("a-s1".into(), true), "it goes on where it was");
    assert!(seen.iter().enumerate().all(|(i, (_, resume))| *resume == (i == 3)));
    let checkpoints = study.folder().join("cells/a-s0/checkpoints");
    assert_eq!(checkpoint::list(&checkpoints).unwrap().len(), 1, "the newest is kept");
}

/// Training that is finished without its scores is not a finished run.
#[test]
fn a_run_without_scores_is_left() {
    let (_folder, study) = study();
    let stop = AtomicBool::new(false);
    let mut attempt = |attempt: Attempt| {
        leave(&attempt, "finished", false);
        stop.store(true, Ordering::Relaxed);
        Ok(())
    };
    let summary = run(&study, &mut attempt, &stop, &mut |_| ()).unwrap();
    assert_eq!((summary.done, summary.left), (0, 8));
}

#[test]
fn a_run_that_fails_is_noted_with_its_reason_and_does_not_stop_the_others() {
    let (_folder, study) = study();
    let attempts = std::cell::Cell::new(0);
    let mut attempt = |attempt: Attempt| {
        attempts.set(attempts.get() + 1);
        match attempt.cell.name.as_str() {
            "a-s0" => {
                let problem = "the loss became NaN".into();
                return Err(Error::Usage { problem, hint: None });
            }
            "b-s0" => leave(&attempt, "failed: out of luck", false),
            _ => leave(&attempt, "finished", true),
        }
        Ok(())
    };
    let summary = go(&study, &mut attempt);
    let failed = [("a-s0", "the loss became NaN"), ("b-s0", "out of luck")];
    assert_eq!(summary.failed, failed.map(|(cell, reason)| (cell.into(), reason.into())));
    assert_eq!((summary.done, summary.left), (6, 0));
    assert_eq!(go(&study, &mut attempt), summary);
    assert_eq!(attempts.get(), 8, "neither is done again");
    fs::remove_file(study.folder().join("cells/a-s0.failed")).unwrap();
    go(&study, &mut attempt);
    assert_eq!(attempts.get(), 9, "unless the note is deleted");
}

#[test]
fn what_another_process_works_on_is_left_to_it() {
    let (_folder, study) = study();
    let claimed = study.claim(&study.cells[0]).unwrap().unwrap();
    let mut attempt = |attempt: Attempt| {
        assert_ne!(attempt.cell.name, "a-s0");
        leave(&attempt, "finished", true);
        Ok(())
    };
    let summary = go(&study, &mut attempt);
    assert_eq!((summary.done, summary.left), (7, 1));
    drop(claimed);
    assert!(study.claim(&study.cells[0]).unwrap().is_some());
}

#[test]
fn another_plan_is_refused_with_the_differences_and_a_larger_one_is_not() {
    let (folder, study) = study();
    let other = plan(&PLAN.replace("lr = 0.3", "lr = 0.4"));
    let refused = Study::begin(other, folder.path()).unwrap_err().to_string();
    assert!(refused.contains("optimizer.lr: 0.3 → 0.4 in a-s0 and 3 more"), "{refused}");
    let smaller = plan(&PLAN.replace("seeds = [0, 1]", "seeds = [0]"));
    let refused = Study::begin(smaller, folder.path()).unwrap_err().to_string();
    assert!(refused.contains("gone in a-s1 and 3 more"), "{refused}");
    assert_eq!(Study::open(folder.path()).unwrap().cells, study.cells, "nothing was changed");
    let larger = plan(&PLAN.replace("seeds = [0, 1]", "seeds = [0, 1, 2]"));
    assert_eq!(Study::begin(larger, folder.path()).unwrap().cells.len(), 12);
    assert_eq!(Study::open(folder.path()).unwrap().cells.len(), 12);
}

#[test]
fn a_plan_that_makes_no_sense_is_refused_before_anything_is_written() {
    let wrong = [
        ("seeds = [0, 1]", "seeds = []", "at least one"),
        ("seeds = [0, 1]", "seeds = [0, 0]", "one name"),
        ("name = \"b\"", "name = \"../b\"", "a folder will have this name"),
        ("usual = \"16\"", "usual = \"7\"", "none of its points"),
        ("optimizer.lr=0.5", "optimizer.lr=-1", "of b-s0"),
        ("optimizer.lr=0.5", "optimizer.rl=1", "rl"),
        ("seeds = [0, 1]", "seeds = [0, 1]\njobs = 2", "jobs"),
    ];
    let folder = tempdir().unwrap();
    for (from, to, words) in wrong {
        let text = PLAN.replace(from, to);
        let begun = Plan::parse(&text, Path::new(""))
            .and_then(|plan| Study::begin(plan, &folder.path().join("study")));
        let error = begun.unwrap_err().to_string();
        assert!(error.contains(words), "{to}: {error}");
    }
    assert!(!folder.path().join("study").exists());
}

#[test]
fn a_base_may_be_a_file_beside_the_plan() {
    let folder = tempdir().unwrap();
    let (head, base) = PLAN.split_once("[base]\n").unwrap();
    fs::write(folder.path().join("base.toml"), base).unwrap();
    let path = folder.path().join("plan.toml");
    fs::write(&path, format!("base = \"base.toml\"\n{head}")).unwrap();
    assert_eq!(Plan::read(&path).unwrap(), plan(PLAN));
}
