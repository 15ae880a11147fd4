//! Tables that name image files: CSV with a header row, and JSON lines.

mod rows;

use std::fs;
use std::path::{Path, PathBuf};
use std::sync::OnceLock;

use rows::{Columns, Row, Unreadable};

use super::channels::read_stack;
use super::folder::{read_into, unreadable};
use super::labels::{Labels, Written};
use super::names::Names;
use super::uri::Uri;
use super::{Fingerprint, Source, SourceError, Stored, Truth};

/// The images that a table names, in the order of its rows.
///
/// Columns are found by their names: `path`, `file`, `image`, `filename` or `file_name`; `label`, `class` or `target`
/// (whole numbers, or names of classes, which are numbered in their order); `caption` or `text` (in JSON also a
/// list of texts); `group`; `split`. Paths are relative to the table's folder. With columns `channel_0`, `channel_1`, ...
/// instead of a path, the files of a row are the single channels of one image.
///
/// No file is looked at before it is read. A row that cannot be used is left out and listed as a problem.
pub struct Table {
    path: PathBuf,
    root: PathBuf,
    /// `channels` of them for each sample.
    paths: Names,
    channels: usize,
    labels: Labels,
    captions: Names,
    /// How many captions there are up to and with a sample; empty where there are none at all.
    caption_ends: Vec<usize>,
    /// Empty where there are none at all.
    groups: Vec<Option<u64>>,
    problems: Vec<SourceError>,
    fingerprint: OnceLock<String>,
}

/// How a table is written.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Form {
    Csv,
    JsonLines,
}

impl Table {
    pub(super) fn of_uri(uri: &mut Uri, form: Form) -> Result<Self, SourceError> {
        let mut named = |option, known: &[&str]| match uri.text(option) {
            Some(name) => vec![name],
            None => known.iter().map(ToString::to_string).collect(),
        };
        let path = named("path", &["path", "file", "image", "filename", "file_name"]);
        let label = named("label", &["label", "class", "target"]);
        let caption = named("caption", &["caption", "text"]);
        let group = named("group", &["group"]);
        let split = uri.text("split");
        let root = uri.text("root").map(PathBuf::from);
        let delimiter = match form {
            Form::Csv => delimiter(uri)?,
            Form::JsonLines => None,
        };
        let channels = uri.list("channels")?;
        let columns =
            Columns { path, label, caption, group, split: vec!["split".to_owned()], channels };
        let beside = || uri.path.parent().map(Path::to_owned).unwrap_or_default();
        let root = root.unwrap_or_else(beside);
        let bytes = fs::read(&uri.path).map_err(|error| unreadable(&uri.path, &error))?;
        let mut listing = Listing { split, ..Listing::default() };
        let mut take = |line: u64, row: Result<Row, String>| listing.add(&uri.path, line, row);
        match form {
            Form::Csv => rows::csv(&bytes, delimiter, &columns, &mut take)
                .map_err(|Unreadable { problem, hint }| table_error(&uri.path, problem, hint))?,
            Form::JsonLines => rows::jsonl(&bytes, &columns, &mut take),
        }
        listing.finish(&uri.path, root, &columns)
    }

    fn files(&self, index: usize) -> impl Iterator<Item = PathBuf> {
        let first = index * self.channels;
        (first..first + self.channels).map(|at| self.root.join(self.paths.text(at)))
    }
}

impl Source for Table {
    fn len(&self) -> usize {
        self.paths.len() / self.channels
    }

    fn fetch(&self, index: usize, buffer: &mut Vec<u8>) -> Result<Stored, SourceError> {
        if self.channels > 1 {
            return read_stack(&self.name(index), self.files(index), buffer).map(Stored::Pixels);
        }
        read_into(&self.root.join(self.paths.text(index)), buffer)?;
        Ok(Stored::File)
    }

    fn truth(&self, index: usize) -> Result<Truth, SourceError> {
        let mut truth = Truth { group: self.group(index), ..Truth::default() };
        if let Some(end) = self.caption_ends.get(index) {
            let start = index.checked_sub(1).map_or(0, |before| self.caption_ends[before]);
            truth.captions = (start..*end).map(|at| self.captions.text(at)).collect();
        }
        Ok(truth)
    }

    fn label(&self, index: usize) -> Option<u32> {
        self.labels.get(index)
    }

    fn name(&self, index: usize) -> String {
        self.paths.text(index * self.channels)
    }

    fn group(&self, index: usize) -> Option<u64> {
        self.groups.get(index).copied().flatten()
    }

    fn classes(&self) -> &[String] {
        self.labels.classes()
    }

    fn fingerprint(&self) -> String {
        let text = self.fingerprint.get_or_init(|| {
            let mut fingerprint = Fingerprint::new();
            fingerprint.bytes(self.path.as_os_str().as_encoded_bytes());
            fingerprint.file_at(&self.path);
            for index in 0..self.len() {
                fingerprint.bytes(self.name(index).as_bytes());
                for path in self.files(index) {
                    fingerprint.file_at(&path);
                }
            }
            format!("table {}", fingerprint.text())
        });
        text.clone()
    }

    fn problems(&self) -> &[SourceError] {
        &self.problems
    }
}

/// A table while its rows are read.
#[derive(Default)]
struct Listing {
    /// The split that is wanted.
    split: Option<String>,
    /// Those that there are, with their rows counted.
    splits: std::collections::BTreeMap<String, usize>,
    paths: Names,
    channels: usize,
    labels: Written,
    captions: Names,
    caption_ends: Vec<usize>,
    groups: Vec<Option<u64>>,
    problems: Vec<SourceError>,
}

impl Listing {
    fn add(&mut self, table: &Path, line: u64, row: Result<Row, String>) {
        let name = || format!("{}, line {line}", table.display());
        let row = match row {
            Ok(row) => row,
            Err(problem) => return self.problems.push(SourceError::new(name(), problem)),
        };
        if let Some(split) = &row.split {
            *self.splits.entry(split.clone()).or_default() += 1;
        }
        if self.split.is_some() && row.split != self.split {
            return;
        }
        let channels = if self.channels == 0 { row.paths.len() } else { self.channels };
        if row.paths.len() != channels {
            let problem = format!("{channels} files are wanted, {} found", row.paths.len());
            return self.problems.push(SourceError::new(name(), problem));
        }
        self.channels = channels;
        for path in &row.paths {
            self.paths.push(path.as_bytes());
        }
        self.labels.push(row.label.as_deref());
        for caption in &row.captions {
            self.captions.push(caption.as_bytes());
        }
        self.caption_ends.push(self.captions.len());
        self.groups.push(row.group.as_deref().map(group_number));
    }

    fn finish(self, table: &Path, root: PathBuf, columns: &Columns) -> Result<Table, SourceError> {
        if self.paths.len() == 0 {
            let split = self.split.map(|split| {
                let known: Vec<&str> = self.splits.keys().map(String::as_str).collect();
                format!(" in the split `{split}` (there are: {})", known.join(", "))
            });
            let also =
                self.problems.first().map_or_else(String::new, |first| format!(" ({first})"));
            let problem = format!("no usable row{}{also}", split.unwrap_or_default());
            let hint = format!("a column of paths is named {}", columns.path.join(" or "));
            return Err(table_error(table, problem, hint));
        }
        let no_captions = self.captions.len() == 0;
        let no_groups = self.groups.iter().all(Option::is_none);
        Ok(Table {
            path: table.to_owned(),
            root,
            paths: self.paths,
            channels: self.channels.max(1),
            labels: self.labels.finish(&[]),
            captions: self.captions,
            caption_ends: if no_captions { Vec::new() } else { self.caption_ends },
            groups: if no_groups { Vec::new() } else { self.groups },
            problems: self.problems,
            fingerprint: OnceLock::new(),
        })
    }
}

/// The number of a group that is named by a text: itself, or a hash.
pub(super) fn group_number(text: &str) -> u64 {
    text.parse().unwrap_or_else(|_| {
        let mut hash = Fingerprint::new();
        hash.bytes(text.as_bytes());
        hash.0
    })
}

fn delimiter(uri: &mut Uri) -> Result<Option<u8>, SourceError> {
    let word = uri.choice("delimiter", &["comma", "semicolon", "tab", ",", ";"])?;
    Ok(word.map(|at| b",;\t,;"[at]))
}

fn table_error(table: &Path, problem: String, hint: String) -> SourceError {
    let error = SourceError::new(table.to_string_lossy(), problem);
    if hint.is_empty() { error } else { error.hint(hint) }
}

/// For fuzzing: reads the bytes as a table of either form.
pub(super) fn fuzz(bytes: &[u8]) {
    let names = |names: &[&str]| names.iter().map(ToString::to_string).collect::<Vec<String>>();
    let columns = Columns {
        path: names(&["path"]),
        label: names(&["label"]),
        caption: names(&["caption"]),
        group: names(&["group"]),
        split: names(&["split"]),
        channels: None,
    };
    let mut listing = Listing::default();
    let mut take = |line: u64, row: Result<Row, String>| listing.add(Path::new("t"), line, row);
    drop(rows::csv(bytes, None, &columns, &mut take));
    rows::jsonl(bytes, &columns, &mut take);
    drop(listing.finish(Path::new("t"), PathBuf::new(), &columns));
}

#[cfg(test)]
mod tests;
