//! A study as a process: killed in its middle, it goes on; what is finished stays as it is.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use crate::program::{Desk, info, numbers, said, start, vertebra, wait_until};

const PLAN: &str = r#"
seeds = [0, 1]
base = "tiny.toml"
set = ["epochs=12"]
[[variants]]
name = "vicreg"
[[variants]]
name = "diverges"
set = ['optimizer={ name = "sgd", lr = 1e30 }']
"#;

fn study(desk: &Desk) -> Command {
    let mut command = vertebra(["study", "run"]);
    command.arg(desk.path("plan.toml")).arg("--out").arg(desk.path("study"));
    command
}

#[test]
fn a_killed_study_goes_on_without_doing_a_finished_run_again() {
    let desk = Desk::new();
    desk.file("plan.toml", PLAN);
    let cell = |name: &str| -> PathBuf { desk.path("study/cells").join(name) };
    let mut first = start(&mut study(&desk));
    wait_until(|| cell("vicreg-s1").join("journal.jsonl").exists());
    first.kill().expect("a child can be killed");
    first.wait().expect("it ends");
    let finished = changed(&cell("vicreg-s0/journal.jsonl"));
    // The run's own process notices, saves and lets go of its claim.
    wait_until(|| free(&cell("vicreg-s1.lock")));
    assert_ne!(info(&cell("vicreg-s1"))["state"], "running");
    let again = said(&mut study(&desk)).done();
    assert!(!again.err.contains("vicreg-s0"), "{}", again.err);
    assert_eq!(changed(&cell("vicreg-s0/journal.jsonl")), finished);
    assert!(again.err.contains("diverges-s0 failed: the loss became"), "{}", again.err);
    assert_eq!(numbers(&cell("vicreg-s1")).len(), 48, "every step once");
    assert!(info(&cell("vicreg-s1"))["peak_memory_mb"].as_f64().is_some_and(|mb| mb > 1.0));

    let mut table = vertebra(["study", "table"]);
    let text = said(table.arg(desk.path("study"))).done().out;
    assert!(text.contains("| vicreg |") && text.contains("diverges-s1 failed"), "{text}");
    let json = said(table.arg("--json")).done().json();
    assert_eq!(json["rows"].as_array().map(Vec::len), Some(2));
}

#[test]
fn a_study_that_is_not_there_is_an_error_with_a_hint() {
    let desk = Desk::new();
    let mut table = vertebra(["study", "table"]);
    let refused = said(table.arg(desk.path("nothing"))).refused(2, &["there is no study", "--out"]);
    assert!(!refused.err.is_empty());
}

fn changed(path: &Path) -> std::time::SystemTime {
    fs::metadata(path).and_then(|about| about.modified()).expect("the file is there")
}

fn free(lock: &Path) -> bool {
    fs::File::open(lock).is_ok_and(|file| file.try_lock().is_ok())
}
