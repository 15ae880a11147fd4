//! The run folder: recipe, journal, checkpoints, records. Everything is written atomically or line by line.

use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};

use report::Skipped;
use report::record::{self, JournalLine, RunInfo};

use crate::error::{Error, Result};
use crate::recipe::{RawRecipe, Recipe, differences};
use crate::training::checkpoint::{self, Checkpoint};

/// A folder that one run owns.
#[derive(Debug)]
pub struct RunFolder {
    path: PathBuf,
    /// Names of images already listed as skipped.
    skipped: BTreeSet<String>,
    /// Whether this process keeps the records. The other ranks of a run only list what they could not read.
    keeps: bool,
}

impl RunFolder {
    /// Begins a run in a new or empty folder, or in one whose run never took a step.
    pub fn create(path: &Path, recipe: &Recipe) -> Result<Self> {
        if !checkpoint::list(&path.join("checkpoints"))?.is_empty() {
            return Err(Error::Usage {
                problem: format!("{}: a run is already there", path.display()),
                hint: Some("add --resume to go on with it, or give another --out".into()),
            });
        }
        fs::create_dir_all(path).map_err(Error::file("create", path))?;
        remove_temporaries(path)?;
        for stale in ["journal.jsonl", "scores.jsonl", "skipped.jsonl"] {
            let stale = path.join(stale);
            if stale.exists() {
                fs::remove_file(&stale).map_err(Error::file("remove", &stale))?;
            }
        }
        let folder = Self { path: path.into(), skipped: BTreeSet::new(), keeps: true };
        record::write_atomically(&folder.recipe(), recipe.to_toml().as_bytes())?;
        Ok(folder)
    }

    /// Goes on with a run. The recipe must be the one that the run began with.
    pub fn resume(path: &Path, recipe: &Recipe) -> Result<Self> {
        let folder = Self { path: path.into(), skipped: BTreeSet::new(), keeps: true };
        let began = RawRecipe::read(&folder.recipe(), &[])?;
        let differences = differences(&began, recipe);
        if !differences.is_empty() {
            return Err(Error::Usage {
                problem: format!(
                    "{} was begun with another recipe ({})",
                    path.display(),
                    differences.join(", ")
                ),
                hint: Some(
                    "resume with the same recipe and settings, or give another --out".into(),
                ),
            });
        }
        remove_temporaries(path)?;
        Ok(Self { skipped: folder.listed()?, ..folder })
    }

    /// The folder of a run whose records another rank keeps.
    pub fn follow(path: &Path) -> Result<Self> {
        let folder = Self { path: path.into(), skipped: BTreeSet::new(), keeps: false };
        Ok(Self { skipped: folder.listed()?, ..folder })
    }

    /// The images that all ranks have listed as skipped.
    fn listed(&self) -> Result<BTreeSet<String>> {
        let skips = lines_of::<Skipped>(&self.path.join("skipped.jsonl"))?;
        Ok(skips.into_iter().map(|skip| skip.name).collect())
    }

    /// Whether this process keeps the records: journal, checkpoints, what the run says of itself.
    pub fn keeps(&self) -> bool {
        self.keeps
    }

    pub fn path(&self) -> &Path {
        &self.path
    }

    pub fn recipe(&self) -> PathBuf {
        self.path.join("recipe.toml")
    }

    pub fn checkpoints(&self) -> PathBuf {
        self.path.join("checkpoints")
    }

    /// Drops journal lines after `step`, and a torn last one: a run that goes on writes them again.
    pub fn rewind_journal(&self, step: u64) -> Result<()> {
        if !self.keeps {
            return Ok(());
        }
        let path = self.path.join("journal.jsonl");
        let kept: String = lines_of::<JournalLine>(&path)?
            .iter()
            .filter(|line| line.step <= step)
            .map(|line| serde_json::to_string(line).expect("numbers and names") + "\n")
            .collect();
        Ok(record::write_atomically(&path, kept.as_bytes())?)
    }

    pub fn log(&self, line: &JournalLine) -> Result<()> {
        Ok(record::append(&self.path.join("journal.jsonl"), line)?)
    }

    pub fn save(&self, checkpoint: &Checkpoint) -> Result<PathBuf> {
        checkpoint.save(&self.checkpoints())
    }

    /// Lists an image that could not be read; returns whether it is new.
    pub fn skip(&mut self, name: &str, problem: &str) -> Result<bool> {
        if !self.skipped.insert(name.into()) {
            return Ok(false);
        }
        let line = Skipped { name: name.into(), problem: problem.into() };
        record::append(&self.path.join("skipped.jsonl"), &line)?;
        Ok(true)
    }

    pub fn skipped(&self) -> usize {
        self.skipped.len()
    }

    pub fn write_info(&self, info: &RunInfo) -> Result<()> {
        if !self.keeps {
            return Ok(());
        }
        Ok(record::write_json(&self.path.join("run.json"), info)?)
    }

    /// What an earlier part of the run wrote about itself.
    pub fn read_info(&self) -> Option<RunInfo> {
        record::read_json(&self.path.join("run.json")).ok()
    }
}

/// The whole lines of a file; none where there is no file.
fn lines_of<T: serde::de::DeserializeOwned>(path: &Path) -> Result<Vec<T>> {
    if !path.exists() {
        return Ok(Vec::new());
    }
    Ok(record::read_lines::<T>(path)?.values)
}

/// Removes what a killed process left half written: `.NAME.PID.tmp` beside records, checkpoints and features.
fn remove_temporaries(run: &Path) -> Result<()> {
    for folder in [run.to_path_buf(), run.join("checkpoints"), run.join("features")] {
        let Ok(entries) = fs::read_dir(&folder) else { continue };
        for path in entries.filter_map(|entry| Some(entry.ok()?.path())) {
            let name = path.file_name().unwrap_or_default().as_encoded_bytes();
            if name.starts_with(b".") && name.ends_with(b".tmp") {
                fs::remove_file(&path).map_err(Error::file("remove", &path))?;
            }
        }
    }
    Ok(())
}
