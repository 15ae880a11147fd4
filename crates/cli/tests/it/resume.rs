//! A run that was stopped, however it was stopped, goes on with the same numbers.

use std::fs;
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use pixels::draw::{Draw, Purpose};
use serde_json::json;
use vertebra::training::checkpoint::Checkpoint;

use crate::program::{
    Desk, Said, info, lines, loadable_checkpoints, numbers, said, start, temporaries, vertebra,
    wait_until,
};

#[test]
fn a_run_killed_at_any_moment_goes_on_with_the_same_numbers() {
    let desk = Desk::new();
    let start = Instant::now();
    let whole = desk.finished("whole", &[]);
    let duration = start.elapsed();
    assert_eq!(numbers(&whole).len(), 24);
    let mut midway = 0;
    for number in 0..10 {
        let mut moments = Draw { sample: number, ..Draw::of_seed(1) }.stream(Purpose::Training);
        let name = format!("killed-{number}");
        let run = desk.path(&name);
        // Every second run is killed twice.
        for _ in 0..=number % 2 {
            let moment = duration.mul_f64(moments.uniform());
            kill_after(moment, &mut desk.go_on(&name));
            nothing_half_written_is_left(&run);
        }
        let resumed = said(&mut desk.go_on(&name)).done();
        midway += usize::from(resumed.err.contains(", from step"));
        same_run(&whole, &run);
    }
    assert!(midway > 0, "no run was killed in its middle");
}

#[test]
fn a_run_killed_while_it_writes_a_checkpoint_keeps_the_one_before() {
    let desk = Desk::new();
    // Checkpoints of 25 MB, so that writing one takes a while.
    let large = ["backbone.width=32", "epochs=1", "checkpoint_every=0.25"];
    let whole = desk.finished("whole", &large);
    let run = desk.path("run");
    let mut child = start(&mut desk.pretrain("run", &large));
    let files = || fs::read_dir(run.join("checkpoints")).map_or(0, Iterator::count);
    wait_until(|| files() >= 2);
    child.kill().expect("a child can be killed");
    child.wait().expect("it ends");
    nothing_half_written_is_left(&run);
    let resumed = said(&mut desk.go_on("run")).done();
    assert!(resumed.err.contains(", from step"), "{}", resumed.err);
    same_run(&whole, &run);
}

#[test]
fn ctrl_c_saves_and_says_how_to_go_on() {
    let desk = Desk::new();
    // Two threads share the sums here; their order may not depend on where a run was taken up again.
    let whole = desk.path("whole");
    said(desk.pretrain("whole", &[]).env("OMP_NUM_THREADS", "2")).done();
    let run = desk.path("run");
    let mut command = desk.pretrain("run", &[]);
    command.env("OMP_NUM_THREADS", "2").stdout(Stdio::piped()).stderr(Stdio::piped());
    let child = command.spawn().expect("the program starts");
    let journal = run.join("journal.jsonl");
    wait_until(|| fs::read_to_string(&journal).is_ok_and(|text| text.lines().count() >= 3));
    press_ctrl_c(&child);
    let output = child.wait_with_output().expect("it ends");
    let err = String::from_utf8_lossy(&output.stderr).into_owned();
    let out = String::new();
    let stopped = Said { code: output.status.code(), out, err }.done();
    let way_on = format!("go on with: vertebra pretrain --resume --out {}", run.display());
    assert!(stopped.err.contains(&way_on), "{}", stopped.err);
    assert_eq!(info(&run)["state"], "interrupted");
    let logged = numbers(&run);
    assert!(logged.len() < 24, "the run ended before the interruption");
    let newest = loadable_checkpoints(&run).pop().expect("it saved");
    let step = Checkpoint::load(&newest).expect("whole").header.step;
    assert_eq!(logged.last().expect("a line")["step"], json!(step));
    let resume =
        vertebra(["pretrain", "--resume", "--out"]).arg(&run).env("OMP_NUM_THREADS", "2").output();
    assert!(resume.expect("the program starts").status.success());
    same_run(&whole, &run);
}

#[test]
fn ctrl_c_while_the_encoder_is_judged_ends_at_once_and_it_is_judged_later() {
    let desk = Desk::new();
    let run = desk.path("run");
    // So many epochs of the linear probe last longer than anyone waits.
    let long = ["epochs=0.5", "evaluation.skip=false", "evaluation.linear.epochs=1000000"];
    let mut child = start(&mut desk.pretrain("run", &long));
    let is_trained =
        || fs::read_to_string(run.join("run.json")).is_ok_and(|it| it.contains("finished"));
    wait_until(|| is_trained() && run.join("features").exists());
    press_ctrl_c(&child);
    let ended = child.wait().expect("it ends");
    assert_eq!(ended.code(), Some(130), "{ended}");
    assert!(!run.join("scores.jsonl").exists());
    let recipe = fs::read_to_string(run.join("recipe.toml")).expect("a recipe");
    fs::write(run.join("recipe.toml"), recipe.replace("1000000", "1")).expect("written");
    said(&mut desk.go_on("run")).done();
    assert!(!lines(&run.join("scores.jsonl")).is_empty());
}

#[test]
fn a_finished_run_can_be_resumed_and_stays_as_it_is() {
    let desk = Desk::new();
    let run = desk.finished("run", &["epochs=1"]);
    let before = numbers(&run);
    said(vertebra(["pretrain", "--resume", "--out"]).arg(&run)).done();
    assert_eq!(numbers(&run), before);
    assert_eq!(info(&run)["state"], "finished");
}

#[test]
fn a_damaged_checkpoint_is_passed_over_with_a_note_and_costs_no_number() {
    let desk = Desk::new();
    let whole = desk.finished("whole", &[]);
    let run = desk.path("run");
    interrupt_between(&desk, "run");
    let checkpoints = loadable_checkpoints(&run);
    let [.., older, newest] = checkpoints.as_slice() else { panic!("too few: {checkpoints:?}") };
    let before = Checkpoint::load(older).expect("whole");
    damage(newest);
    let resumed = said(&mut desk.go_on("run")).done();
    let name = newest.file_name().expect("a name").to_string_lossy();
    assert!(resumed.err.contains("note: ") && resumed.err.contains(&*name), "{}", resumed.err);
    let step = before.header.step;
    assert!(resumed.err.contains(&format!("from step {step}")), "{}", resumed.err);
    same_run(&whole, &run);
}

#[test]
fn a_run_whose_checkpoints_are_all_damaged_says_so_and_keeps_its_files() {
    let desk = Desk::new();
    let run = desk.finished("run", &["epochs=2"]);
    let checkpoints = loadable_checkpoints(&run);
    for path in &checkpoints {
        damage(path);
    }
    let name = checkpoints.last().expect("some").file_name().expect("a name").to_string_lossy();
    said(&mut desk.go_on("run")).refused(1, &[&name, "not a usable checkpoint", "hint: "]);
    assert!(checkpoints.iter().all(|path| path.exists()));
    assert_eq!(numbers(&run).len(), 8);
}

/// Starts a command, and ends it with SIGKILL after some time.
fn kill_after(moment: Duration, command: &mut Command) {
    let mut child = start(command);
    std::thread::sleep(moment);
    child.kill().expect("a child can be killed");
    child.wait().expect("it ends");
}

fn press_ctrl_c(child: &Child) {
    let interrupt = Command::new("kill").args(["-INT", &child.id().to_string()]).status();
    assert!(interrupt.expect("kill is there").success());
}

/// Stops a run in its middle, with two checkpoints and more to do.
fn interrupt_between(desk: &Desk, name: &str) {
    let checkpoints = desk.path(name).join("checkpoints");
    let mut child = start(&mut desk.pretrain(name, &[]));
    wait_until(|| vertebra::training::checkpoint::list(&checkpoints).is_ok_and(|it| it.len() == 2));
    child.kill().expect("a child can be killed");
    child.wait().expect("it ends");
}

/// Whatever has its final name is whole.
fn nothing_half_written_is_left(run: &Path) {
    loadable_checkpoints(run);
    if run.join("run.json").exists() {
        info(run);
    }
}

/// Both runs are finished, with the same journal and the same last weights and optimizer state.
#[track_caller]
fn same_run(whole: &Path, run: &Path) {
    assert_eq!(numbers(run), numbers(whole));
    assert_eq!(info(run)["state"], "finished");
    assert_eq!(last_checksum(run), last_checksum(whole));
    assert!(temporaries(run).is_empty(), "{:?}", temporaries(run));
    assert!(run.join("report.html").exists());
}

/// The checksum over all tensors of the newest checkpoint.
#[track_caller]
fn last_checksum(run: &Path) -> String {
    let path = loadable_checkpoints(run).pop().expect("a checkpoint");
    let (_, metadata) = vertebra::models::weights::load(&path).expect("whole");
    metadata["checksum"].clone()
}

/// Cuts a file to half of its length.
fn damage(path: &Path) {
    let bytes = fs::read(path).expect("a file");
    fs::write(path, &bytes[..bytes.len() / 2]).expect("written");
}
