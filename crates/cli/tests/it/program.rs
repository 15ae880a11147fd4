//! The program as a process, and what it leaves behind.

use std::ffi::OsStr;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Output, Stdio};
use std::time::{Duration, Instant};

use serde_json::{Map, Value};
use tempfile::TempDir;

/// A run of 24 steps in a second or two, with a checkpoint after every second step.
const TINY: &str = r#"
epochs = 6
batch = 16
log_every = 1
checkpoint_every = 0.5
device = "cpu"
precision = "fp32"

[data]
train = "world:?size=32&count=64"

[evaluation]
skip = true

[[views]]
count = 2
size = 32

[backbone]
name = "resnet18"
stem = "small"
width = 4

[method]
name = "vicreg"
projector.widths = [32, 32]

[optimizer]
name = "lars"
lr = 0.3
"#;

/// How a process ended and what it said.
#[derive(Debug)]
pub struct Said {
    /// `None` when a signal ended it.
    pub code: Option<i32>,
    pub out: String,
    pub err: String,
}

/// A folder with a recipe for tiny runs in it, and room for these.
pub struct Desk {
    folder: TempDir,
}

/// The program with these arguments. On one thread, for speed beside other tests; features that belong to no run are
/// kept apart from the user's.
pub fn vertebra<S: AsRef<OsStr>>(arguments: impl IntoIterator<Item = S>) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_vertebra"));
    let cache = Path::new(env!("CARGO_TARGET_TMPDIR"));
    command.args(arguments).env("OMP_NUM_THREADS", "1").env("XDG_CACHE_HOME", cache);
    command
}

/// Runs a command to its end. No input and no state of the machine may make it panic.
pub fn said(command: &mut Command) -> Said {
    let Output { status, stdout, stderr } = command.output().expect("the program starts");
    let text = |bytes: Vec<u8>| String::from_utf8_lossy(&bytes).into_owned();
    let said = Said { code: status.code(), out: text(stdout), err: text(stderr) };
    assert!(!said.err.contains("panicked"), "{command:?} panicked: {}", said.err);
    said
}

impl Said {
    /// It worked.
    #[track_caller]
    pub fn done(self) -> Self {
        assert_eq!(self.code, Some(0), "{}", self.err);
        self
    }

    /// It failed with this exit code, and its error holds these words.
    #[track_caller]
    pub fn refused(self, code: i32, words: &[&str]) -> Self {
        assert_eq!(self.code, Some(code), "{}", self.err);
        assert!(self.err.contains("error: "), "{}", self.err);
        for word in words {
            assert!(self.err.contains(word), "no `{word}` in: {}", self.err);
        }
        self
    }

    /// The one JSON value on standard output.
    #[track_caller]
    pub fn json(&self) -> Value {
        serde_json::from_str(&self.out)
            .unwrap_or_else(|error| panic!("not one JSON value ({error}): {}", self.out))
    }
}

impl Desk {
    pub fn new() -> Self {
        let folder = tempfile::tempdir().expect("a folder");
        fs::write(folder.path().join("tiny.toml"), TINY).expect("written");
        Self { folder }
    }

    pub fn path(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    /// A new file with this content, in folders that are made for it.
    pub fn file(&self, name: &str, content: impl AsRef<[u8]>) -> PathBuf {
        let path = self.path(name);
        fs::create_dir_all(path.parent().expect("within the desk")).expect("a folder");
        fs::write(&path, content).expect("written");
        path
    }

    /// `pretrain tiny.toml --out NAME`, with every `key=value` as a setting and all else as it is.
    pub fn pretrain(&self, name: &str, more: &[&str]) -> Command {
        let mut command = vertebra(["pretrain"]);
        command.arg(self.path("tiny.toml")).arg("--out").arg(self.path(name));
        for word in more {
            if word.contains('=') && !word.contains(':') && !word.contains('/') {
                command.arg("--set");
            }
            command.arg(word);
        }
        command
    }

    /// Goes on with a run as a person would: with `--resume` when the run is there, from its beginning when the
    /// process was gone before it wrote anything.
    pub fn go_on(&self, name: &str) -> Command {
        if !self.path(name).join("recipe.toml").exists() {
            return self.pretrain(name, &[]);
        }
        let mut command = vertebra(["pretrain", "--resume", "--out"]);
        command.arg(self.path(name));
        command
    }

    /// A finished run.
    #[track_caller]
    pub fn finished(&self, name: &str, more: &[&str]) -> PathBuf {
        said(&mut self.pretrain(name, more)).done();
        self.path(name)
    }
}

/// The lines of a JSON-lines file; every one must be whole.
#[track_caller]
pub fn lines(path: &Path) -> Vec<Map<String, Value>> {
    let text =
        fs::read_to_string(path).unwrap_or_else(|error| panic!("{}: {error}", path.display()));
    text.lines().map(|line| serde_json::from_str(line).expect("an object")).collect()
}

/// The journal without what the clock says: every number in it is a number of the training.
#[track_caller]
pub fn numbers(run: &Path) -> Vec<Map<String, Value>> {
    let mut journal = lines(&run.join("journal.jsonl"));
    for line in &mut journal {
        assert!(line.remove("images_per_s").is_some() && line.remove("data_wait").is_some());
    }
    journal
}

/// `run.json`.
#[track_caller]
pub fn info(run: &Path) -> Value {
    let text = fs::read(run.join("run.json")).expect("run.json is there");
    serde_json::from_slice(&text).expect("run.json is whole")
}

/// The checkpoints of a run, oldest first: none of them may be damaged.
#[track_caller]
pub fn loadable_checkpoints(run: &Path) -> Vec<PathBuf> {
    let found = vertebra::training::checkpoint::list(&run.join("checkpoints")).expect("a list");
    for path in &found {
        if let Err(error) = vertebra::training::checkpoint::Checkpoint::load(path) {
            panic!("{error}");
        }
    }
    found
}

/// Names of files of a run that are not finished: `.NAME.PID.tmp`.
pub fn temporaries(run: &Path) -> Vec<String> {
    let names = |folder: PathBuf| {
        let entries = fs::read_dir(folder).into_iter().flatten().flatten();
        entries.map(|entry| entry.file_name().to_string_lossy().into_owned())
    };
    let all = ["", "checkpoints", "features"].into_iter().flat_map(|it| names(run.join(it)));
    all.filter(|name| name.starts_with('.')).collect()
}

/// Starts a command that nobody listens to.
pub fn start(command: &mut Command) -> Child {
    command.stdout(Stdio::null()).stderr(Stdio::null()).spawn().expect("the program starts")
}

/// Looks again every millisecond; a minute is for machines that do much else.
#[track_caller]
pub fn wait_until(mut so: impl FnMut() -> bool) {
    let start = Instant::now();
    while !so() {
        assert!(start.elapsed() < Duration::from_mins(1), "waited for a minute");
        std::thread::sleep(Duration::from_millis(1));
    }
}
