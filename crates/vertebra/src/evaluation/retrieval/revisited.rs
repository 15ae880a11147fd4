//! Revisited Oxford and Paris (Radenović 2018): landmarks, with three difficulties of the same queries.
//!
//! The published ground truth is a pickle, which cannot be read without running what it holds. Convert it once, in Python:
//!
//! ```text
//! import json, pickle
//! gnd = pickle.load(open("gnd_roxford5k.pkl", "rb"))
//! json.dump({"queries": [{"name": name, "bbx": list(map(float, q["bbx"])),
//!     **{key: [gnd["imlist"][i] for i in q[key]] for key in ("easy", "hard", "junk")}}
//!     for name, q in zip(gnd["qimlist"], gnd["gnd"])]}, open("gnd_roxford5k.json", "w"))
//! ```
//!
//! The benchmark shows the encoder the query's box (`bbx`) alone. Cropping is left to the source: give query images that
//! are cropped already, under their names.

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;
use std::time::Instant;

use pixels::source::Source;
use report::record::{Score, read_json};
use serde::{Deserialize, Serialize};
use tch::Tensor;

use super::ranking::{self, Wanted, ranks};
use super::{VERSION, usage};
use crate::error::Result;
use crate::evaluation::{FeatureTable, Outcome, expect_finite, mean_score, normalise_rows};

/// The k of mP@k in the paper.
const CUTOFFS: [usize; 3] = [1, 5, 10];

/// Which images of the gallery show each query's landmark.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct GroundTruth {
    pub queries: Vec<Truth>,
}

/// The lists of one query, by the names of the images.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Truth {
    pub name: String,
    /// Left, top, right and bottom of the query in its image, in pixels.
    #[serde(default)]
    pub bbx: Option<[f64; 4]>,
    pub easy: Vec<String>,
    pub hard: Vec<String>,
    /// Neither right nor wrong.
    pub junk: Vec<String>,
}

/// Which of a query's images are looked for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Difficulty {
    /// The easy ones; the hard are ignored, as junk always is.
    Easy,
    /// The easy and the hard.
    Medium,
    /// The hard ones; the easy are ignored.
    Hard,
}

/// The features of a source and the names of their rows.
pub struct Named<'a> {
    pub table: &'a FeatureTable,
    pub names: Vec<String>,
}

/// One query's lists as rows of the gallery.
#[derive(Clone, Debug, Default)]
pub struct Lists {
    pub easy: Vec<usize>,
    pub hard: Vec<usize>,
    pub junk: Vec<usize>,
}

impl GroundTruth {
    /// Reads a ground truth as JSON: see the head of this file.
    pub fn load(path: &Path) -> Result<Self> {
        Ok(read_json(path)?)
    }
}

impl<'a> Named<'a> {
    /// `table` holds the features of `source`.
    pub fn new(table: &'a FeatureTable, source: &dyn Source) -> Self {
        Self { table, names: table.samples.iter().map(|&sample| source.name(sample)).collect() }
    }
}

/// The rows of a side by whole name and by the name without folders and ending; `None` for one that two rows share.
struct Places<'a> {
    rows: BTreeMap<&'a str, Option<usize>>,
    role: &'static str,
    count: usize,
}

impl<'a> Places<'a> {
    fn new(side: &'a Named, role: &'static str) -> Self {
        let mut rows = BTreeMap::new();
        for (row, name) in side.names.iter().enumerate() {
            let stem = Path::new(name).file_stem().and_then(|stem| stem.to_str());
            for name in [Some(name.as_str()), stem].into_iter().flatten() {
                let place = rows.entry(name).or_insert(Some(row));
                *place = place.filter(|known| *known == row);
            }
        }
        Self { rows, role, count: side.names.len() }
    }

    fn row(&self, name: &str) -> Result<usize> {
        let Self { rows, role, count } = self;
        match rows.get(name) {
            Some(Some(row)) => Ok(*row),
            Some(None) => Err(usage(
                &format!("two images of the {role} are called `{name}`"),
                "leave one out: the ground truth finds images by their names",
            )),
            None => Err(usage(
                &format!(
                    "`{name}` of the ground truth is not among the {count} readable images of the {role}"
                ),
                "give the benchmark's own images, under their own names",
            )),
        }
    }

    /// The rows of several, ascending, each once.
    fn rows(&self, names: &[String]) -> Result<Vec<usize>> {
        let rows: BTreeSet<usize> =
            names.iter().map(|name| self.row(name)).collect::<Result<_>>()?;
        Ok(rows.into_iter().collect())
    }
}

impl Lists {
    /// What is looked for, and what is taken out of the ranking.
    pub fn wanted(&self, difficulty: Difficulty) -> Wanted {
        let Self { easy, hard, junk } = self;
        match difficulty {
            Difficulty::Easy => {
                Wanted { relevant: easy.clone(), ignored: [&junk[..], hard].concat() }
            }
            Difficulty::Medium => {
                Wanted { relevant: [&easy[..], hard].concat(), ignored: junk.clone() }
            }
            Difficulty::Hard => {
                Wanted { relevant: hard.clone(), ignored: [&junk[..], easy].concat() }
            }
        }
    }
}

/// Ranks the gallery for each query of the ground truth by cosine similarity. The scores are
/// `map_trapezoid_medium` (the items are its queries), the same of `hard` and `easy`, and `mp@k` of each for k = 1, 5, 10. Images are
/// found by name, with or without folders and ending; labels do not matter. A query without an image of a difficulty is no
/// part of its mean.
pub fn evaluate(
    gallery: &Named,
    queries: &Named,
    truth: &GroundTruth,
    encoder: &str,
) -> Result<Outcome> {
    let start = Instant::now();
    expect_finite(&gallery.table.x, "gallery's")?;
    expect_finite(&queries.table.x, "queries'")?;
    let (width, found) = (gallery.table.x.size()[1], queries.table.x.size()[1]);
    if width != found {
        return Err(usage(
            &format!("the gallery's features are {width} wide and the queries' {found}"),
            "extract both with the same encoder",
        ));
    }
    let (asked, lists) = matched(gallery, queries, truth)?;
    let x = [queries, gallery].map(|side| normalise_rows(&side.table.x));
    let asked = Tensor::from_slice(&asked).to_device(x[0].device());
    let asked = x[0].index_select(0, &asked);
    let mut outcome = Outcome { items: Vec::new(), scores: Vec::new() };
    for difficulty in [Difficulty::Medium, Difficulty::Hard, Difficulty::Easy] {
        let wanted = |query: usize| lists[query].wanted(difficulty);
        let judged: Vec<usize> =
            (0..lists.len()).filter(|&query| !wanted(query).relevant.is_empty()).collect();
        if judged.is_empty() {
            continue;
        }
        let found = ranks(&asked, &x[1], &judged, wanted);
        let (items, scores) = scores_of(&found, difficulty, encoder);
        if outcome.scores.is_empty() {
            outcome.items = items;
        }
        outcome.scores.extend(scores);
    }
    for score in &mut outcome.scores {
        score.setting = format!(
            "gallery={}, {} of {} queries",
            gallery.names.len(),
            score.samples,
            lists.len()
        );
        score.seconds = start.elapsed().as_secs_f64();
    }
    Ok(outcome)
}

/// The average precisions of one difficulty, and all its scores.
fn scores_of(
    found: &[Vec<usize>],
    difficulty: Difficulty,
    encoder: &str,
) -> (Vec<f64>, Vec<Score>) {
    let name = match difficulty {
        Difficulty::Easy => "easy",
        Difficulty::Medium => "medium",
        Difficulty::Hard => "hard",
    };
    let score = |metric: &str, items: &[f64]| {
        mean_score("revisited", VERSION, &format!("{metric}_{name}"), items, encoder)
    };
    let precisions: Vec<f64> = found.iter().map(|ranks| ranking::trapezoid(ranks)).collect();
    let mut scores = vec![score("map_trapezoid", &precisions)];
    for k in CUTOFFS {
        let shares = found.iter().map(|ranks| ranking::precision_before_the_last(ranks, k));
        scores.push(score(&format!("mp@{k}"), &shares.collect::<Vec<_>>()));
    }
    (precisions, scores)
}

/// The row of each query, and its lists as rows of the gallery.
fn matched(
    gallery: &Named,
    queries: &Named,
    truth: &GroundTruth,
) -> Result<(Vec<i64>, Vec<Lists>)> {
    if truth.queries.iter().all(|query| query.easy.is_empty() && query.hard.is_empty()) {
        return Err(usage(
            &format!(
                "none of the {} queries of the ground truth has an image to find",
                truth.queries.len()
            ),
            "convert the benchmark's file again, as the documentation says",
        ));
    }
    let images = Places::new(gallery, "gallery");
    let asked = Places::new(queries, "queries");
    let (mut rows, mut lists) = (Vec::new(), Vec::new());
    for query in &truth.queries {
        rows.push(asked.row(&query.name)? as i64);
        let [easy, hard, junk] = [&query.easy, &query.hard, &query.junk].map(|it| images.rows(it));
        let (easy, hard, junk) = (easy?, hard?, junk?);
        let all = easy.iter().chain(&hard).chain(&junk);
        if all.collect::<BTreeSet<_>>().len() < easy.len() + hard.len() + junk.len() {
            return Err(usage(
                &format!("an image is in two lists of the query `{}`", query.name),
                "each image is easy, hard or junk",
            ));
        }
        lists.push(Lists { easy, hard, junk });
    }
    Ok((rows, lists))
}

#[cfg(test)]
mod tests;
