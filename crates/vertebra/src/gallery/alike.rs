//! The images most alike to others, as a list and as a page.

use pixels::source::Source;
use report::alike::Alike;
use report::record::{NeighbourRow, Picture};
use serde::Serialize;

use super::picture_of;
use crate::evaluation::{FeatureTable, neighbours};

/// Queries that are shown on the page.
const QUERIES: usize = 100;

/// A query and its nearest images, nearest first.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Answer {
    /// The name in its source.
    pub query: String,
    /// Class name, where there is one.
    pub label: Option<String>,
    pub neighbours: Vec<Hit>,
    #[serde(skip)]
    sample: usize,
}

/// A neighbour.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Hit {
    pub name: String,
    pub label: Option<String>,
    /// Cosine of the angle, −1 to 1.
    pub similarity: f32,
    #[serde(skip)]
    sample: usize,
}

/// A source and its features.
#[derive(Clone, Copy)]
pub struct Described<'a> {
    pub source: &'a dyn Source,
    pub features: &'a FeatureTable,
}

/// The `k` nearest images within `within` of each query. Where both are the same features of the same samples, no image is
/// its own neighbour.
pub fn answers(queries: Described, within: Described, k: usize) -> Vec<Answer> {
    let same = queries.source.fingerprint() == within.source.fingerprint()
        && queries.features.is_same(within.features);
    let found = if same {
        let rows: Vec<usize> = (0..queries.features.samples.len()).collect();
        neighbours::of_rows(&within.features.x, &rows, k)
    } else {
        neighbours::between(&queries.features.x, &within.features.x, k)
    };
    let answer = |(&sample, near): (&usize, Vec<neighbours::Neighbour>)| {
        let hit = |near: neighbours::Neighbour| {
            let sample = within.features.samples[near.row];
            let (name, label) = named(within.source, sample);
            Hit { name, label, similarity: near.similarity, sample }
        };
        let (query, label) = named(queries.source, sample);
        Answer { query, label, neighbours: near.into_iter().map(hit).collect(), sample }
    };
    queries.features.samples.iter().zip(found).map(answer).collect()
}

/// The page of these answers; pictures that can no longer be read are left out.
pub fn page(
    title: &str,
    facts: Vec<String>,
    answers: &[Answer],
    queries: &dyn Source,
    within: &dyn Source,
) -> Alike {
    let show = |source: &dyn Source, sample: usize| -> Option<Picture> {
        Some(picture_of(source, sample, source.get(sample).ok()?))
    };
    let row = |answer: &Answer| {
        let neighbours = answer.neighbours.iter().filter_map(|hit| {
            let picture = show(within, hit.sample)?;
            let caption = format!("{:.3} · {}", hit.similarity, picture.caption);
            Some(Picture { caption, ..picture })
        });
        let neighbours = neighbours.collect();
        Some(NeighbourRow { query: show(queries, answer.sample)?, neighbours })
    };
    let shown = answers.len().min(QUERIES);
    Alike {
        title: title.into(),
        facts,
        rows: answers[..shown].iter().filter_map(row).collect(),
        more: answers.len() - shown,
        skipped: Vec::new(),
    }
}

fn named(source: &dyn Source, sample: usize) -> (String, Option<String>) {
    let label = source.label(sample).map(|label| {
        source.classes().get(label as usize).cloned().unwrap_or_else(|| format!("class {label}"))
    });
    (source.name(sample), label)
}
