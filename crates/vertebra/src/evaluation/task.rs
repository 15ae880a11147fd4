//! What a classifier is fitted on and judged on: labelled rows of several tables, whose classes have been matched.
//!
//! Classes are matched by name where both tables name theirs, by number elsewhere. A classifier knows the classes
//! that have training rows, in the training table's order, and no others: a test row of another class cannot be
//! answered rightly and counts as wrong.

use std::collections::{BTreeMap, BTreeSet};

use tch::{Kind, Tensor};

use super::{FeatureTable, Units};
use crate::error::{Error, Result};

/// A training table and its test tables.
pub(crate) struct Task {
    /// Labels are in `0..classes`, and each class has a row.
    pub train: Labelled,
    /// The first is the task's own, the others are shifted.
    pub tests: Vec<Test>,
    /// Two or more.
    pub classes: usize,
}

/// Rows with a label.
pub(crate) struct Labelled {
    /// `[N, D]`, finite.
    pub x: Tensor,
    /// N labels.
    pub y: Vec<u32>,
    /// N groups, or none where there are no groups.
    pub groups: Vec<Option<u64>>,
    /// Their N numbers in the source.
    pub samples: Vec<usize>,
}

/// A test table.
pub(crate) struct Test {
    /// Empty for the task's own.
    pub name: String,
    /// Labels from [`Task::classes`] on are classes without training rows.
    pub rows: Labelled,
    /// Whether it is the training table itself.
    pub is_train: bool,
    /// Which classes may be answered, for a shifted set whose classes are some of the training classes (as those of
    /// ImageNet-A and -R are); `None` where all may.
    pub answers: Option<Vec<bool>>,
    /// What a reader of its scores must know, as text.
    pub notes: Vec<String>,
}

impl Task {
    /// `tests` are names and tables. Fails where a table has no labels, holds a number that is not finite, or does
    /// not speak of the same features; where training has one class only; and where a test shares no class with it.
    pub(crate) fn new(train: &FeatureTable, tests: &[(&str, &FeatureTable)]) -> Result<Self> {
        if tests.is_empty() {
            return Err(usage(
                "there is no test table".into(),
                "give one table or more to be tested on",
            ));
        }
        let (mut rows, unlabelled) = labelled(train, "training")?;
        let seen: BTreeSet<u32> = rows.y.iter().copied().collect();
        if seen.len() < 2 {
            return Err(usage(
                "every training sample has the same label: there is nothing to tell apart".into(),
                "give a source with two classes or more",
            ));
        }
        let place: BTreeMap<u32, u32> =
            (0..).zip(&seen).map(|(place, &label)| (label, place)).collect();
        rows.y = rows.y.iter().map(|label| place[label]).collect();
        let known = Known { table: train, place };
        let mut task = Self { train: rows, tests: Vec::new(), classes: seen.len() };
        for (index, (name, table)) in tests.iter().enumerate() {
            let mut test = known.test(name, table, index > 0)?;
            if unlabelled > 0 {
                test.notes
                    .insert(0, format!("{unlabelled} training samples without labels left out"));
            }
            task.tests.push(test);
        }
        Ok(task)
    }

    /// Fails where a test table is the training table, for probes that are trained. `probe` is their name.
    pub(crate) fn refuse_own_training(&self, probe: &str) -> Result<()> {
        if self.tests.iter().any(|test| test.is_train) {
            return Err(usage(
                format!(
                    "{probe}: the training and the test table are the same: the probe would be judged on what it learned"
                ),
                "give another source as test",
            ));
        }
        Ok(())
    }
}

impl Test {
    /// The notes as the end of a setting: ` (2 test samples without labels left out; leave-one-out)`.
    pub(crate) fn notes(&self) -> String {
        if self.notes.is_empty() { String::new() } else { format!(" ({})", self.notes.join("; ")) }
    }
}

/// The classes that a classifier will know.
struct Known<'a> {
    table: &'a FeatureTable,
    /// The classifier's number of each training label.
    place: BTreeMap<u32, u32>,
}

impl Known<'_> {
    fn test(&self, name: &str, table: &FeatureTable, shifted: bool) -> Result<Test> {
        let role = if shifted { format!("`{name}`") } else { "test".into() };
        let (width, found) = (self.table.x.size()[1], table.x.size()[1]);
        if width != found {
            return Err(usage(
                format!("the training features are {width} wide and the {role} features {found}"),
                "extract both with the same encoder",
            ));
        }
        let (mut rows, unlabelled) = labelled(table, &role)?;
        let classes = self.place.len() as u32;
        let labels: BTreeSet<u32> = rows.y.iter().copied().collect();
        let place: BTreeMap<u32, u32> = labels
            .into_iter()
            .map(|label| (label, self.find(table, label).unwrap_or(classes + label)))
            .collect();
        if place.values().all(|&place| place >= classes) {
            return Err(usage(
                format!(
                    "the {role} source has no class of the training source: {} and {}",
                    abridged(&table.classes),
                    abridged(&self.table.classes)
                ),
                "give both sources class folders with the same names",
            ));
        }
        rows.y = rows.y.iter().map(|label| place[label]).collect();
        let answers = if shifted { self.answers(table) } else { None };
        let mut notes = Vec::new();
        if unlabelled > 0 {
            notes.push(format!("{unlabelled} test samples without labels left out"));
        }
        let unseen = rows.y.iter().filter(|&&place| place >= classes).count();
        if unseen > 0 {
            let count = place.values().filter(|&&place| place >= classes).count();
            notes.push(format!("{unseen} samples of {count} classes not in training"));
        }
        if let Some(answers) = &answers {
            let count = answers.iter().filter(|&&may| may).count();
            notes.push(format!("answers limited to its {count} classes"));
        }
        if let Units::Groups(groups) = Units::of(&rows.groups, rows.y.len()) {
            notes.push(format!("intervals over {} groups", groups.len()));
        }
        let is_train = self.table.is_same(table);
        Ok(Test { name: name.into(), rows, is_train, answers, notes })
    }

    /// The classifier's number of a class of `table`, by name where both have names.
    fn find(&self, table: &FeatureTable, label: u32) -> Option<u32> {
        let names = &self.table.classes;
        let own = if names.is_empty() || table.classes.is_empty() {
            label
        } else {
            let name = table.classes.get(label as usize)?;
            names.iter().position(|other| other == name)? as u32
        };
        self.place.get(&own).copied()
    }

    /// Which classes a shifted table's list of names leaves to answer; `None` where it names all of them, or none.
    fn answers(&self, table: &FeatureTable) -> Option<Vec<bool>> {
        if self.table.classes.is_empty() {
            return None;
        }
        let mut answers = vec![false; self.place.len()];
        for place in (0..table.classes.len() as u32).filter_map(|label| self.find(table, label)) {
            answers[place as usize] = true;
        }
        let left = answers.iter().filter(|&&may| may).count();
        // With one class alone every answer would be right.
        (left >= 2 && left < answers.len()).then_some(answers)
    }
}

/// The labelled rows, and how many others there are.
pub(crate) fn labelled(table: &FeatureTable, role: &str) -> Result<(Labelled, usize)> {
    let (rows, y): (Vec<i64>, Vec<u32>) = table
        .labels
        .iter()
        .enumerate()
        .filter_map(|(row, label)| label.map(|label| (row as i64, label)))
        .unzip();
    let all = table.labels.len();
    if y.is_empty() {
        return Err(usage(
            format!(
                "the {role} source has no labels ({all} samples), and this protocol needs them"
            ),
            "give a labelled source, such as a folder with one sub-folder per class",
        ));
    }
    let x = if y.len() == all {
        table.x.shallow_clone()
    } else {
        table.x.index_select(0, &Tensor::from_slice(&rows).to_device(table.x.device()))
    };
    let finite = x.isfinite().all_dim(1, false).sum(Kind::Int64).int64_value(&[]);
    let broken = y.len() - finite as usize;
    if broken > 0 {
        return Err(usage(
            format!("{broken} of the {} {role} rows hold features that are not finite", y.len()),
            "leave these rows out, or extract them with an encoder that is not damaged",
        ));
    }
    let groups = if table.groups.iter().any(Option::is_some) {
        rows.iter().map(|&row| table.groups[row as usize]).collect()
    } else {
        Vec::new()
    };
    let samples = rows.iter().map(|&row| table.samples[row as usize]).collect();
    let unlabelled = all - y.len();
    Ok((Labelled { x: x.to_kind(Kind::Float), y, groups, samples }, unlabelled))
}

fn abridged(names: &[String]) -> String {
    if names.is_empty() {
        return "classes without names".into();
    }
    let shown = names.iter().take(3).cloned().collect::<Vec<_>>().join(", ");
    if names.len() > 3 { format!("{shown}… ({} in all)", names.len()) } else { shown }
}

fn usage(problem: String, hint: &str) -> Error {
    Error::Usage { problem, hint: Some(hint.into()) }
}

#[cfg(test)]
mod tests;
