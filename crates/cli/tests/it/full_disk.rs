//! A disk that is full while a checkpoint is written costs that checkpoint and nothing else.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use crate::program::{
    Desk, info, loadable_checkpoints, numbers, said, start, temporaries, vertebra, wait_until,
};

#[test]
fn a_checkpoint_that_finds_no_room_ends_the_run_and_spoils_nothing() {
    let desk = Desk::new();
    let whole = desk.finished("whole", &[]);
    let run = desk.path("run");
    begin(&desk, "run");
    // Files of more than 128 KiB cannot be written: less than a checkpoint, more than everything else. The
    // signal that comes with it is ignored, so that the write fails as it does on a full disk.
    let mut limited = Command::new("sh");
    limited.args(["-c", "trap '' XFSZ; ulimit -f 256; exec \"$0\" \"$@\""]);
    limited.arg(env!("CARGO_BIN_EXE_vertebra")).args(["pretrain", "--resume", "--out"]);
    let refused = said(limited.arg(&run).env("OMP_NUM_THREADS", "1"));
    refused.refused(1, &["cannot write", "/checkpoints/step-", "hint: make room"]);
    spoilt_nothing(&run);
    said(&mut desk.go_on("run")).done();
    assert_eq!(numbers(&run), numbers(&whole));
    assert_eq!(info(&run)["state"], "finished");
}

#[test]
fn a_run_on_a_full_disk_goes_on_when_there_is_room() {
    let desk = Desk::new();
    let whole = desk.finished("whole", &[]);
    let checkpoint = loadable_checkpoints(&whole).pop().expect("a checkpoint");
    let size = fs::metadata(checkpoint).expect("its size").len();
    // Room for two checkpoints and a half: the third, written beside those, finds none.
    let Some(disk) = Disk::of(desk.path("disk"), size * 5 / 2) else {
        eprintln!("not checked: this user may not mount a small disk");
        return;
    };
    said(&mut desk.pretrain("disk/run", &[])).refused(1, &["cannot write", "/checkpoints/step-"]);
    let run = desk.path("disk/run");
    spoilt_nothing(&run);
    let state = info(&run)["state"].as_str().expect("text").to_owned();
    assert!(state.starts_with("failed: cannot write"), "{state}");
    disk.resize(size * 20);
    said(vertebra(["pretrain", "--resume", "--out"]).arg(&run)).done();
    assert_eq!(numbers(&run), numbers(&whole));
}

/// Starts a run and kills it when it has a checkpoint.
fn begin(desk: &Desk, name: &str) {
    let checkpoints = desk.path(name).join("checkpoints");
    let mut child = start(&mut desk.pretrain(name, &[]));
    wait_until(|| {
        vertebra::training::checkpoint::list(&checkpoints).is_ok_and(|it| !it.is_empty())
    });
    child.kill().expect("a child can be killed");
    child.wait().expect("it ends");
}

#[track_caller]
fn spoilt_nothing(run: &Path) {
    assert!(!loadable_checkpoints(run).is_empty(), "the checkpoint before is there");
    assert!(temporaries(run).is_empty(), "{:?}", temporaries(run));
}

/// A small file system in memory, taken away when it is dropped.
struct Disk {
    at: PathBuf,
}

impl Disk {
    /// `None` where this user may not mount one.
    fn of(at: PathBuf, bytes: u64) -> Option<Self> {
        fs::create_dir(&at).expect("a folder");
        let mut mount = Command::new("mount");
        mount.args(["-t", "tmpfs", "-o", &format!("size={bytes}"), "tmpfs"]).arg(&at);
        let mounted = mount.stderr(Stdio::null()).status().is_ok_and(|status| status.success());
        mounted.then_some(Self { at })
    }

    fn resize(&self, bytes: u64) {
        let mut mount = Command::new("mount");
        mount.args(["-o", &format!("remount,size={bytes}")]).arg(&self.at);
        assert!(mount.status().expect("mount is there").success());
    }
}

impl Drop for Disk {
    fn drop(&mut self) {
        // A failure leaves a small mount behind and says nothing of the program.
        let _ = Command::new("umount").arg(&self.at).status();
    }
}
