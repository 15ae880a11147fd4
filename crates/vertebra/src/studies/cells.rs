//! The runs of a study, one after another, whatever happens to the program in between.
//!
//! ```text
//! DIR/plan.toml
//! DIR/cells/NAME/         a run folder
//! DIR/cells/NAME.toml     its recipe
//! DIR/cells/NAME.lock     locked by the process that works on it
//! DIR/cells/NAME.failed   why it ended, where it failed; delete it to try again
//! ```

use std::collections::BTreeMap;
use std::fs::{self, File, OpenOptions, TryLockError};
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Instant;

use report::record::{self, JournalLine, RunInfo, Score};

use super::{Cell, Plan};
use crate::error::{Error, Result};
use crate::recipe::differences;
use crate::training::checkpoint;

/// A study and its folder.
#[derive(Clone, Debug)]
pub struct Study {
    folder: PathBuf,
    pub plan: Plan,
    pub cells: Vec<Cell>,
}

/// Where a run of a study stands.
#[derive(Clone, Debug, PartialEq)]
pub enum State {
    /// Its scores are written.
    Done,
    /// It ended by itself, for this reason.
    Failed(String),
    /// Not begun, or begun and stopped.
    Left,
}

/// What a finished run wrote.
#[derive(Clone, Debug)]
pub struct Record {
    pub cell: Cell,
    pub info: RunInfo,
    pub journal: Vec<JournalLine>,
    pub scores: Vec<Score>,
}

/// A run that is to be done now.
#[derive(Debug)]
pub struct Attempt<'a> {
    pub cell: &'a Cell,
    pub folder: PathBuf,
    /// The file with its recipe.
    pub recipe: PathBuf,
    /// Whether the folder holds a beginning to go on with.
    pub resume: bool,
    /// The claim: nobody else works on this run as long as this file is open anywhere.
    pub lock: File,
}

/// What happens, for whoever shows it.
#[derive(Debug)]
pub enum Event<'a> {
    /// `number` of `of` runs begins or goes on; `left` are still to be done, this one among them.
    Begin {
        cell: &'a Cell,
        number: usize,
        of: usize,
        left: usize,
        seconds_left: Option<f64>,
    },
    Done {
        cell: &'a Cell,
        seconds: f64,
        scores: &'a [Score],
    },
    Failed {
        cell: &'a Cell,
        reason: &'a str,
    },
}

/// How the runs of a study stand when a process ends its work.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Summary {
    pub done: usize,
    /// Names and reasons.
    pub failed: Vec<(String, String)>,
    /// Left to others that work on them, or stopped.
    pub left: usize,
}

impl Study {
    /// Begins the study of a plan in a folder, or goes on with it. A plan may gain runs; it is refused where one that it had
    /// would be another or be gone.
    pub fn begin(plan: Plan, folder: &Path) -> Result<Self> {
        let cells = plan.cells()?;
        let path = folder.join("plan.toml");
        if path.exists() {
            refuse_changes(&Plan::read(&path)?.cells()?, &cells, folder)?;
        }
        let runs = folder.join("cells");
        fs::create_dir_all(&runs).map_err(Error::file("create", &runs))?;
        record::write_atomically(&path, plan.to_toml().as_bytes())?;
        Ok(Self { folder: folder.into(), plan, cells })
    }

    /// The study in a folder.
    pub fn open(folder: &Path) -> Result<Self> {
        let path = folder.join("plan.toml");
        if !path.is_file() {
            return Err(Error::Usage {
                problem: format!("{}: there is no study", folder.display()),
                hint: Some("name the folder that `vertebra study run --out` was given".into()),
            });
        }
        let plan = Plan::read(&path)?;
        let cells = plan.cells()?;
        Ok(Self { folder: folder.into(), plan, cells })
    }

    pub fn folder(&self) -> &Path {
        &self.folder
    }

    /// A file or folder of a run: `NAME` and this ending.
    fn place(&self, cell: &Cell, ending: &str) -> PathBuf {
        self.folder.join("cells").join(format!("{}{ending}", cell.name))
    }

    pub fn state(&self, cell: &Cell) -> State {
        let run = self.place(cell, "");
        let info = record::read_json::<RunInfo>(&run.join("run.json"));
        // Scores are written whole, after the run is.
        if run.join("scores.jsonl").is_file() && info.is_ok_and(|info| info.state == "finished") {
            return State::Done;
        }
        match fs::read_to_string(self.place(cell, ".failed")) {
            Ok(reason) => State::Failed(reason.trim_end().into()),
            Err(_) => State::Left,
        }
    }

    /// What the finished runs wrote, in the plan's order.
    pub fn records(&self) -> Result<Vec<Record>> {
        let done = self.cells.iter().filter(|cell| self.state(cell) == State::Done);
        done.map(|cell| self.record(cell)).collect()
    }

    /// Runs that failed, and why.
    pub fn failures(&self) -> Vec<(Cell, String)> {
        let failed = self.cells.iter().filter_map(|cell| match self.state(cell) {
            State::Failed(reason) => Some((cell.clone(), reason)),
            _ => None,
        });
        failed.collect()
    }

    fn record(&self, cell: &Cell) -> Result<Record> {
        let run = self.place(cell, "");
        Ok(Record {
            cell: cell.clone(),
            info: record::read_json(&run.join("run.json"))?,
            journal: record::read_lines(&run.join("journal.jsonl"))?.values,
            scores: record::read_lines(&run.join("scores.jsonl"))?.values,
        })
    }

    /// Claims a run, `None` where another process has it. The file stays: to remove it would let two have one name.
    fn claim(&self, cell: &Cell) -> Result<Option<File>> {
        let path = self.place(cell, ".lock");
        let opened = OpenOptions::new().create(true).append(true).open(&path);
        let file = opened.map_err(Error::file("create", &path))?;
        match file.try_lock() {
            Ok(()) => Ok(Some(file)),
            Err(TryLockError::WouldBlock) => Ok(None),
            Err(TryLockError::Error(cause)) => Err(Error::File { action: "lock", path, cause }),
        }
    }

    /// Runs that are neither done nor failed.
    fn left(&self) -> usize {
        self.cells.iter().filter(|cell| self.state(cell) == State::Left).count()
    }

    /// Seconds that a run takes, from those that are done; `None` before the first.
    fn usual_seconds(&self) -> Option<f64> {
        let done = self.cells.iter().filter(|cell| self.state(cell) == State::Done);
        let infos = done.filter_map(|cell| {
            record::read_json::<RunInfo>(&self.place(cell, "").join("run.json")).ok()
        });
        let seconds: Vec<f64> = infos.map(|info| info.seconds).collect();
        (!seconds.is_empty()).then(|| seconds.iter().sum::<f64>() / seconds.len() as f64)
    }
}

/// Does what is left of a study, run by run. Several processes may do so at once. A run that fails is noted and does not
/// end the others; when `stop` is true after an attempt, what is unfinished is left for the next time.
///
/// `attempt` trains and scores in the folder that it is given, as `vertebra pretrain` does, from where an earlier attempt
/// stopped.
pub fn run(
    study: &Study,
    attempt: &mut dyn FnMut(Attempt) -> Result<()>,
    stop: &AtomicBool,
    tell: &mut dyn FnMut(Event),
) -> Result<Summary> {
    let mut took = Vec::new();
    for (index, cell) in study.cells.iter().enumerate() {
        if stop.load(Ordering::Relaxed) {
            break;
        }
        if study.state(cell) != State::Left {
            continue;
        }
        let Some(lock) = study.claim(cell)? else { continue };
        // Another process may have ended it between the two looks.
        if study.state(cell) != State::Left {
            continue;
        }
        let left = study.left();
        let mean = (!took.is_empty()).then(|| took.iter().sum::<f64>() / took.len() as f64);
        let seconds_left = mean.or_else(|| study.usual_seconds()).map(|mean| mean * left as f64);
        let (number, of) = (index + 1, study.cells.len());
        tell(Event::Begin { cell, number, of, left, seconds_left });
        let clock = Instant::now();
        let (folder, recipe) = (study.place(cell, ""), study.place(cell, ".toml"));
        record::write_atomically(&recipe, cell.recipe.to_toml().as_bytes())?;
        let resume = folder.join("recipe.toml").is_file();
        let ended = attempt(Attempt { cell, folder: folder.clone(), recipe, resume, lock });
        if study.state(cell) == State::Done {
            let seconds = clock.elapsed().as_secs_f64();
            took.push(seconds);
            tidy(&folder)?;
            tell(Event::Done { cell, seconds, scores: &study.record(cell)?.scores });
        } else if !stop.load(Ordering::Relaxed) {
            let reason = reason(&ended, &folder);
            record::write_atomically(&study.place(cell, ".failed"), reason.as_bytes())?;
            tell(Event::Failed { cell, reason: &reason });
        }
    }
    let failed = study.failures().into_iter().map(|(cell, reason)| (cell.name, reason)).collect();
    let done = study.cells.iter().filter(|cell| study.state(cell) == State::Done).count();
    Ok(Summary { done, failed, left: study.left() })
}

/// Why a run is not done: what it said, or what stands in its folder.
fn reason(ended: &Result<()>, folder: &Path) -> String {
    if let Err(error) = ended {
        return error.to_string();
    }
    let info = record::read_json::<RunInfo>(&folder.join("run.json"));
    let said = info.ok().and_then(|info| info.state.strip_prefix("failed: ").map(Into::into));
    said.unwrap_or_else(|| "it ended before its scores were written".into())
}

/// Of a finished run only the newest checkpoint is kept, and no cached features: they can be made again.
fn tidy(folder: &Path) -> Result<()> {
    let mut checkpoints = checkpoint::list(&folder.join("checkpoints"))?;
    checkpoints.pop();
    for path in checkpoints {
        fs::remove_file(&path).map_err(Error::file("remove", &path))?;
    }
    let features = folder.join("features");
    if features.is_dir() {
        fs::remove_dir_all(&features).map_err(Error::file("remove", &features))?;
    }
    Ok(())
}

/// Refuses a plan that would make another run of one that was planned before, or leave it out.
fn refuse_changes(before: &[Cell], now: &[Cell], folder: &Path) -> Result<()> {
    let now: BTreeMap<&str, &Cell> = now.iter().map(|cell| (cell.name.as_str(), cell)).collect();
    // The same difference in many runs is said once.
    let mut found: BTreeMap<String, Vec<&str>> = BTreeMap::new();
    for old in before {
        let changes = match now.get(old.name.as_str()) {
            Some(new) => differences(&old.recipe, &new.recipe),
            None => vec!["gone".into()],
        };
        for change in changes {
            found.entry(change).or_default().push(&old.name);
        }
    }
    if found.is_empty() {
        return Ok(());
    }
    let words = found.iter().map(|(change, cells)| match cells[..] {
        [cell] => format!("{change} in {cell}"),
        _ => format!("{change} in {} and {} more", cells[0], cells.len() - 1),
    });
    Err(Error::Usage {
        problem: format!(
            "{} holds the study of another plan ({})",
            folder.display(),
            words.collect::<Vec<_>>().join("; ")
        ),
        hint: Some("a plan may gain variants, seeds and points; else give another --out".into()),
    })
}

#[cfg(test)]
mod tests;
