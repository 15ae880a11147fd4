//! What the runs of a study found, as one table: means over seeds with their intervals.

use std::collections::{BTreeMap, BTreeSet};

use report::record::{JournalLine, Unit};
use serde::Serialize;

use super::{Cell, Record, Study};
use crate::error::Result;
use crate::evaluation::statistics::over_seeds;

/// The columns of a world model; its other scores are in the runs' reports.
const OF_WORLD: [&str; 3] = ["world mrr", "world mrr_chance", "world r2_mean"];

/// A number of several seeds.
#[derive(Clone, Copy, Debug, PartialEq, Serialize)]
pub struct Spread {
    pub mean: f64,
    /// 95 %: Student's t over seeds; of one seed, what its test samples say, if they say something.
    pub interval: Option<[f64; 2]>,
    pub seeds: usize,
}

/// A score of a variant.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Judged {
    pub trained: Spread,
    /// The same networks before training.
    pub random: Option<Spread>,
    /// Trained less random, seed by seed.
    pub gain: Option<Spread>,
    pub unit: Unit,
}

/// The runs of one variant at one place.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Row {
    pub variant: String,
    /// Axis and point, where it is not the usual one.
    pub moved: Option<(String, String)>,
    pub seeds: Vec<u64>,
    /// By protocol and metric: `knn top1`.
    pub scores: BTreeMap<String, Judged>,
    /// Effective ranks of the last step's batch (RankMe).
    pub representation_rank: Option<Spread>,
    pub embedding_rank: Option<Spread>,
    /// Of training: the median over a run's journal, then over runs.
    pub images_per_s: f64,
    /// The largest of any run.
    pub peak_memory_mb: Option<f64>,
    /// Of training; the median run.
    pub seconds: f64,
    /// False where k-NN is not surely better than without training; absent without k-NN.
    pub clears_random: Option<bool>,
}

/// The table of a study.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Table {
    pub title: String,
    /// The untrained networks, then a row for each variant and point.
    pub rows: Vec<Row>,
    /// Runs that failed, and why.
    pub failed: Vec<(String, String)>,
    /// Runs that are still to be done.
    pub left: usize,
    pub commits: BTreeSet<String>,
    pub machines: BTreeSet<String>,
}

impl Table {
    /// From the records of the runs that are finished.
    pub fn of(study: &Study) -> Result<Self> {
        let records = study.records()?;
        let failed: Vec<_> =
            study.failures().into_iter().map(|(cell, reason)| (cell.name, reason)).collect();
        let mut rows = untrained(&records);
        rows.extend(trained(&records));
        Ok(Self {
            title: study.plan.title.clone(),
            rows,
            left: study.cells.len() - records.len() - failed.len(),
            failed,
            commits: records.iter().map(|it| it.info.commit.clone()).collect(),
            machines: records.iter().map(|it| it.info.machine.clone()).collect(),
        })
    }

    /// As GitHub reads it, with what belongs under it.
    pub fn markdown(&self) -> String {
        let (columns, rows) = self.grid();
        let mut text = format!("| {} |\n|{}\n", columns.join(" | "), "---|".repeat(columns.len()));
        for row in rows {
            text += &format!("| {} |\n", row.join(" | "));
        }
        text + "\n" + &self.notes().join("\n\n") + "\n"
    }

    /// The heads of the columns, and the rows, in words.
    pub fn grid(&self) -> (Vec<String>, Vec<Vec<String>>) {
        let shown = self.shown();
        let mut columns = vec![String::new()];
        columns.extend(shown.iter().map(|key| in_words(key)));
        let fixed = ["over untrained", "rank y", "rank z", "images/s", "peak MB", "s", "seeds"];
        columns.extend(fixed.map(Into::into));
        (columns, self.rows.iter().map(|row| row.cells(&shown)).collect())
    }

    /// The scores that have a column: top-1 where a protocol has it, else all that it has.
    fn shown(&self) -> Vec<String> {
        let keys: BTreeSet<&String> = self.rows.iter().flat_map(|row| row.scores.keys()).collect();
        let protocol = |key: &str| key.split(' ').next().unwrap_or_default().to_string();
        let has_top1 =
            |key: &str| keys.iter().any(|other| **other == format!("{} top1", protocol(key)));
        let of_world = |key: &str| key.starts_with("world ") && !OF_WORLD.contains(&key);
        let shown =
            keys.iter().filter(|key| key.ends_with(" top1") || !(has_top1(key) || of_world(key)));
        shown.map(ToString::to_string).collect()
    }

    /// Sentences that belong under the table.
    pub fn notes(&self) -> Vec<String> {
        let several = self.rows.iter().any(|row| row.seeds.len() > 1);
        let spread = if several {
            "± is half of the 95 % interval of the mean over seeds (Student's t)"
        } else {
            "Brackets are the 95 % interval over test images: one seed says nothing of the spread between runs"
        };
        let mut notes = vec![format!(
            "Shares in per cent; \"over untrained\" is k-NN's gain in points. {spread}. Rank y and z: effective rank (RankMe) of the representation and of the embedding of \
             the last batch."
        )];
        if self.rows.iter().any(|row| row.clears_random == Some(false)) {
            notes.push("† k-NN is not surely better than that of the untrained network.".into());
        }
        for (cell, reason) in &self.failed {
            notes.push(format!("{cell} failed: {reason}."));
        }
        if self.left > 0 {
            notes.push(format!("{} runs are not done yet.", self.left));
        }
        for (what, all) in [("Commit", &self.commits), ("Machine", &self.machines)] {
            let all: Vec<&str> = all.iter().map(String::as_str).collect();
            notes.push(format!("{what}: {}.", all.join("; ")));
        }
        notes
    }
}

impl Row {
    /// `vicreg`, or `vicreg, batch 64`, with a dagger where it is not surely better than untrained.
    pub fn name(&self) -> String {
        let place = self.moved.as_ref().map(|(axis, point)| format!(", {axis} {point}"));
        let dagger = if self.clears_random == Some(false) { " †" } else { "" };
        format!("{}{}{dagger}", self.variant, place.unwrap_or_default())
    }

    fn cells(&self, shown: &[String]) -> Vec<String> {
        let number = |value: f64| Unit::Number.in_words(value);
        let dash = || "–".to_string();
        let mut cells = vec![self.name()];
        cells.extend(shown.iter().map(|key| {
            self.scores.get(key).map_or_else(dash, |judged| judged.trained.in_words(judged.unit))
        }));
        let gain = self.scores.get("knn top1").and_then(|knn| Some((knn.gain?, knn.unit)));
        cells.push(gain.map_or_else(dash, |(gain, unit)| signed(gain, unit)));
        let ranks = [self.representation_rank, self.embedding_rank];
        cells.extend(ranks.map(|it| it.map_or_else(dash, Spread::to_a_tenth)));
        // An untrained network was not trained: no speed, no time.
        let figures = [Some(self.images_per_s), self.peak_memory_mb, Some(self.seconds)];
        cells.extend(figures.map(|it| it.filter(|v| *v > 0.0).map_or_else(dash, number)));
        cells.push(self.seeds.len().to_string());
        cells
    }
}

impl Spread {
    /// Of values of several seeds; `single` is the interval of a lone one.
    pub fn of(values: &[f64], single: Option<[f64; 2]>) -> Option<Self> {
        match (over_seeds(values), values) {
            (Some(it), _) => Some(Self {
                mean: it.mean,
                interval: Some([it.mean - it.half, it.mean + it.half]),
                seeds: values.len(),
            }),
            (None, [mean]) => Some(Self { mean: *mean, interval: single, seeds: 1 }),
            (None, _) => None,
        }
    }

    /// `46.8 ± 1.4`; of one seed `46.8 [45.1, 48.2]`.
    pub fn in_words(&self, unit: Unit) -> String {
        let words = |value| unit.in_words(value);
        match self.interval {
            Some([low, high]) if self.seeds == 1 => {
                format!("{} [{}, {}]", words(self.mean), words(low), words(high))
            }
            Some([low, high]) => format!("{} ± {}", words(self.mean), words((high - low) / 2.0)),
            None => words(self.mean),
        }
    }

    /// `35.0 ± 1.2`.
    fn to_a_tenth(self) -> String {
        let half = self.interval.map(|[low, high]| format!(" ± {:.1}", (high - low) / 2.0));
        format!("{:.1}{}", self.mean, half.unwrap_or_default())
    }
}

fn signed(gain: Spread, unit: Unit) -> String {
    let sign = if gain.mean < 0.0 { "−" } else { "+" };
    let size = Spread { mean: gain.mean.abs(), interval: None, ..gain }.in_words(unit);
    let half = gain.interval.map(|[low, high]| unit.in_words((high - low) / 2.0));
    half.map_or_else(|| format!("{sign}{size}"), |half| format!("{sign}{size} ± {half}"))
}

/// `knn top1` → `k-NN`, `linear top5` → `linear top-5`.
fn in_words(key: &str) -> String {
    key.replace("knn", "k-NN").replace(" top1", "").replace("top", "top-")
}

/// A row for each variant and point, in the order in which they come.
pub fn trained(records: &[Record]) -> Vec<Row> {
    let mut groups: Vec<Vec<&Record>> = Vec::new();
    let place = |cell: &Cell| (cell.variant.clone(), cell.moved.clone());
    for record in records {
        match groups.iter_mut().find(|group| place(&group[0].cell) == place(&record.cell)) {
            Some(group) => group.push(record),
            None => groups.push(vec![record]),
        }
    }
    groups.iter().map(|group| row(group)).collect()
}

fn row(group: &[&Record]) -> Row {
    let scores = judged(group);
    let last = |name: &str| {
        let values: Vec<f64> = group.iter().filter_map(|it| at_end(&it.journal, name)).collect();
        Spread::of(&values, None)
    };
    let speeds = group.iter().map(|it| median(it.journal.iter().map(|line| line.images_per_s)));
    let peaks = group.iter().filter_map(|it| it.info.peak_memory_mb);
    Row {
        variant: group[0].cell.variant.clone(),
        moved: group[0].cell.moved.clone(),
        seeds: group.iter().map(|it| it.cell.seed).collect(),
        representation_rank: last("representation_rank"),
        embedding_rank: last("embedding_rank"),
        images_per_s: median(speeds),
        peak_memory_mb: peaks.reduce(f64::max),
        seconds: median(group.iter().map(|it| it.info.seconds)),
        clears_random: scores.get("knn top1").and_then(clears_random),
        scores,
    }
}

/// Every score of the representation on the task's own test images.
fn judged(group: &[&Record]) -> BTreeMap<String, Judged> {
    let keys: BTreeSet<(&str, &str)> = group
        .iter()
        .flat_map(|it| &it.scores)
        .filter(|score| is_plain(score))
        .map(|score| (score.protocol.as_str(), score.metric.as_str()))
        .collect();
    let mut found = BTreeMap::new();
    for (protocol, metric) in keys {
        let of = |record: &Record, encoder: &str| score(record, protocol, metric, encoder).cloned();
        let scores: Vec<_> = group.iter().filter_map(|it| of(it, "trained")).collect();
        let values: Vec<f64> = scores.iter().map(|score| score.value).collect();
        let Some(trained) = Spread::of(&values, scores.first().and_then(|it| it.interval)) else {
            continue;
        };
        let untrained: Vec<_> = group.iter().filter_map(|it| of(it, "random")).collect();
        let random: Vec<f64> = untrained.iter().map(|score| score.value).collect();
        let gains: Vec<f64> = group
            .iter()
            .filter_map(|it| Some(of(it, "trained")?.value - of(it, "random")?.value))
            .collect();
        let judged = Judged {
            trained,
            random: Spread::of(&random, untrained.first().and_then(|it| it.interval)),
            gain: Spread::of(&gains, None),
            unit: scores[0].unit,
        };
        found.insert(format!("{protocol} {metric}"), judged);
    }
    found
}

/// The latest score of that name, of the representation, on the task's own images.
pub fn score<'a>(
    record: &'a Record,
    protocol: &str,
    metric: &str,
    encoder: &str,
) -> Option<&'a report::record::Score> {
    let named = |it: &&report::record::Score| {
        (it.protocol.as_str(), it.metric.as_str(), it.encoder.as_str())
            == (protocol, metric, encoder)
    };
    record.scores.iter().rev().filter(|score| is_plain(score)).find(named)
}

/// Whether a score is of the representation, on the own images of the recipe's own task.
fn is_plain(score: &report::record::Score) -> bool {
    score.layer.is_empty() && score.test.is_empty() && score.task.is_empty()
}

/// Over seeds: whether the interval of the gain lies above zero. Of one seed: whether the intervals are apart.
fn clears_random(knn: &Judged) -> Option<bool> {
    let gain = knn.gain?;
    match gain.interval {
        Some([low, _]) => Some(low > 0.0),
        None => Some(knn.trained.interval?[0] > knn.random?.interval?[1]),
    }
}

/// The untrained networks: a row for each backbone, over the seeds that any variant had.
fn untrained(records: &[Record]) -> Vec<Row> {
    let mut groups: Vec<Vec<&Record>> = Vec::new();
    for record in records {
        let backbone = record.cell.recipe.backbone;
        match groups.iter_mut().find(|group| group[0].cell.recipe.backbone == backbone) {
            Some(group) if group.iter().any(|it| it.cell.seed == record.cell.seed) => {}
            Some(group) => group.push(record),
            None => groups.push(vec![record]),
        }
    }
    let several = groups.len() > 1;
    groups
        .iter()
        .map(|group| {
            let backbone = group[0].cell.recipe.backbone.title();
            let scores = judged(group).into_iter().filter_map(|(key, judged)| {
                let trained = judged.random?;
                Some((key, Judged { trained, random: None, gain: None, unit: judged.unit }))
            });
            Row {
                variant: if several { format!("untrained {backbone}") } else { "untrained".into() },
                moved: None,
                seeds: group.iter().map(|it| it.cell.seed).collect(),
                scores: scores.collect(),
                representation_rank: None,
                embedding_rank: None,
                images_per_s: 0.0,
                peak_memory_mb: None,
                seconds: 0.0,
                clears_random: None,
            }
        })
        .collect()
}

/// The last finite value of that name in a journal.
fn at_end(journal: &[JournalLine], name: &str) -> Option<f64> {
    let values = journal.iter().rev().filter_map(|line| line.values.get(name).copied());
    values.into_iter().find(|value| value.is_finite())
}

/// 0 without a value.
fn median(values: impl Iterator<Item = f64>) -> f64 {
    let mut values: Vec<f64> = values.filter(|value| value.is_finite()).collect();
    values.sort_by(f64::total_cmp);
    match values.len() {
        0 => 0.0,
        n if n % 2 == 1 => values[n / 2],
        n => f64::midpoint(values[n / 2 - 1], values[n / 2]),
    }
}

#[cfg(test)]
mod tests;
