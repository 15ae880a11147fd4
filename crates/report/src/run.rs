//! What a run folder holds, read with patience: a file that is missing or damaged is a note, not a failure.

use std::collections::BTreeMap;
use std::fs;
use std::path::Path;

use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};

use crate::ReportError;
use crate::record::{self, Gallery, JournalLine, RunInfo, Score};

/// Everything of a run that the page shows.
#[derive(Clone, Debug, Default)]
pub struct Run {
    /// The folder's name.
    pub name: String,
    pub info: Option<RunInfo>,
    /// By step, ascending. Where a resumed run went over steps again, the later line stands.
    pub journal: Vec<JournalLine>,
    pub scores: Vec<Score>,
    pub gallery: Option<Gallery>,
    /// The resolved recipe, TOML as text.
    pub recipe: Option<String>,
    pub skipped: Vec<Skipped>,
    /// Sentences on what could not be read.
    pub notes: Vec<String>,
}

/// An image that could not be used, a line of `skipped.jsonl`.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Skipped {
    /// The file, or the sample's name in its source.
    pub name: String,
    pub problem: String,
}

impl Run {
    /// Reads what is there of `recipe.toml`, `journal.jsonl`, `scores.jsonl`, `run.json`, `gallery.json` and
    /// `skipped.jsonl`. Fails only when `folder` is no folder.
    pub fn read(folder: &Path) -> Result<Self, ReportError> {
        if !folder.is_dir() {
            return Err(ReportError::NoFolder { path: folder.to_owned() });
        }
        let mut notes = Vec::new();
        let journal: Vec<JournalLine> = lines(folder, "journal.jsonl", &mut notes);
        let by_step: BTreeMap<u64, JournalLine> =
            journal.into_iter().map(|line| (line.step, line)).collect();
        let full = folder.canonicalize().unwrap_or_else(|_| folder.to_owned());
        Ok(Self {
            name: full.file_name().unwrap_or_default().to_string_lossy().into_owned(),
            info: object(folder, "run.json", &mut notes),
            journal: by_step.into_values().collect(),
            scores: lines(folder, "scores.jsonl", &mut notes),
            gallery: object(folder, "gallery.json", &mut notes),
            recipe: fs::read(folder.join("recipe.toml"))
                .ok()
                .map(|bytes| String::from_utf8_lossy(&bytes).into_owned()),
            skipped: lines(folder, "skipped.jsonl", &mut notes),
            notes,
        })
    }
}

fn lines<T: DeserializeOwned>(folder: &Path, name: &str, notes: &mut Vec<String>) -> Vec<T> {
    match record::read_lines(&folder.join(name)) {
        Ok(record::Lines { values, dropped }) => {
            if dropped > 0 {
                let what = if dropped == 1 { "line was" } else { "lines were" };
                notes.push(format!("{dropped} {what} unreadable in {name} and left out."));
            }
            values
        }
        Err(error) => {
            note_unless_missing(&error, notes);
            Vec::new()
        }
    }
}

fn object<T: DeserializeOwned>(folder: &Path, name: &str, notes: &mut Vec<String>) -> Option<T> {
    record::read_json(&folder.join(name)).map_err(|error| note_unless_missing(&error, notes)).ok()
}

/// The section of a missing file says so itself.
fn note_unless_missing(error: &ReportError, notes: &mut Vec<String>) {
    let missing = matches!(error, ReportError::File { cause, .. }
        if cause.kind() == std::io::ErrorKind::NotFound);
    if !missing {
        notes.push(format!("{error}."));
    }
}
