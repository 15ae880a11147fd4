//! Retrieval: is what is most alike of the same class? Nothing is trained.
//!
//! Several metrics of this field share a name. Here `recall@k` is the share of the relevant images among the first k, and
//! `hit@k` whether one of them is among the first k ("R@k" of metric learning, "recall@k" of most papers on it); `map` is
//! the standard average precision, and `map_trapezoid` that of the Oxford and Paris benchmarks.

pub mod ranking;
pub mod revisited;

use std::time::Instant;

use serde::{Deserialize, Serialize};

use super::{FeatureTable, Outcome, Task, mean_score, normalise_rows};
use crate::error::{Error, Result};
use ranking::{Wanted, ranks};

/// Changes whenever equal features could get another score.
pub const VERSION: u32 = 1;

/// What is measured.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct RetrievalConfig {
    /// The k of `hit@k`, `recall@k` and `precision@k`. 1, 5 and 10 in "Battle of the Backbones" (Goldblum 2023).
    pub cutoffs: Vec<usize>,
}

impl Default for RetrievalConfig {
    fn default() -> Self {
        Self { cutoffs: vec![1, 5, 10] }
    }
}

/// Ranks the labelled rows of `gallery` by their cosine similarity to each labelled row of `queries`; relevant are those
/// with the query's label. Where both are the same table (the same features of the same samples), no row is ranked for
/// itself: leave-one-out.
///
/// The first score is `map`, and the items are each query's average precision. A query without a relevant image (alone in
/// its class) is left out and counted in the setting. Of equally similar images the lower row of the gallery comes first;
/// a row of zeros has the similarity 0 to every other.
pub fn evaluate(
    gallery: &FeatureTable,
    queries: &FeatureTable,
    encoder: &str,
    config: &RetrievalConfig,
) -> Result<Outcome> {
    let start = Instant::now();
    config.check()?;
    let task = Task::new(gallery, &[("", queries)])?;
    let asked = &task.tests[0].rows;
    let leave_one_out = gallery.is_same(queries);
    let mut members = vec![Vec::new(); task.classes];
    for (row, &label) in task.train.y.iter().enumerate() {
        members[label as usize].push(row);
    }
    let classes = &asked.y;
    let wanted = |query: usize| {
        let members = members.get(classes[query] as usize).map_or(&[][..], Vec::as_slice);
        let itself = leave_one_out.then_some(query);
        let relevant = members.iter().copied().filter(|&row| Some(row) != itself).collect();
        Wanted { relevant, ignored: itself.into_iter().collect() }
    };
    let all = asked.y.len();
    let judged: Vec<usize> = (0..all).filter(|&query| !wanted(query).relevant.is_empty()).collect();
    if judged.is_empty() {
        return Err(usage(
            &format!("no image of the gallery has the class of any of the {all} queries"),
            "give a gallery with the classes of the queries, or a source with two images or more of a class",
        ));
    }
    let (queries, gallery) = (normalise_rows(&asked.x), normalise_rows(&task.train.x));
    let found = ranks(&queries, &gallery, &judged, wanted);
    let apart = if leave_one_out { " (leave-one-out)" } else { "" };
    let skipped = match all - judged.len() {
        0 => String::new(),
        skipped => format!(", {skipped} of {all} queries left out: nothing relevant"),
    };
    let setting = format!("gallery={}{apart}{skipped}", task.train.y.len());
    Ok(outcome(&found, &config.cutoffs, encoder, &setting, start))
}

/// All metrics of the ranks of each query's relevant images.
fn outcome(
    found: &[Vec<usize>],
    cutoffs: &[usize],
    encoder: &str,
    setting: &str,
    start: Instant,
) -> Outcome {
    let each = |metric: &dyn Fn(&[usize]) -> f64| found.iter().map(|ranks| metric(ranks)).collect();
    let mut metrics: Vec<(String, Vec<f64>)> = vec![
        ("map".into(), each(&ranking::average_precision)),
        ("map_trapezoid".into(), each(&ranking::trapezoid)),
        ("mrr".into(), each(&ranking::reciprocal_rank)),
    ];
    for &k in cutoffs {
        metrics.push((format!("hit@{k}"), each(&|ranks| ranking::hit_at(ranks, k))));
        metrics.push((format!("recall@{k}"), each(&|ranks| ranking::recall_at(ranks, k))));
        metrics.push((format!("precision@{k}"), each(&|ranks| ranking::precision_at(ranks, k))));
    }
    let mut scores: Vec<_> = metrics
        .iter()
        .map(|(metric, items)| mean_score("retrieval", VERSION, metric, items, encoder))
        .collect();
    for score in &mut scores {
        score.setting = setting.into();
        score.seconds = start.elapsed().as_secs_f64();
    }
    Outcome { items: metrics.swap_remove(0).1, scores }
}

impl RetrievalConfig {
    fn check(&self) -> Result<()> {
        if self.cutoffs.contains(&0) {
            return Err(usage(
                &format!("cutoffs must be 1 or more, got {:?}", self.cutoffs),
                "the default is [1, 5, 10]",
            ));
        }
        Ok(())
    }
}

fn usage(problem: &str, hint: &str) -> Error {
    Error::Usage { problem: format!("retrieval: {problem}"), hint: Some(hint.into()) }
}

#[cfg(test)]
mod tests {
    use super::*;
    use tch::Tensor;

    fn table(rows: &[[f32; 2]], labels: &[Option<u32>]) -> FeatureTable {
        FeatureTable {
            x: Tensor::from_slice(&rows.concat()).view([-1, 2]),
            labels: labels.to_vec(),
            samples: (0..rows.len()).collect(),
            groups: Vec::new(),
            skipped: Vec::new(),
            classes: Vec::new(),
        }
    }

    fn value(outcome: &Outcome, metric: &str) -> f64 {
        outcome.scores.iter().find(|score| score.metric == metric).unwrap().value
    }

    #[test]
    fn no_image_finds_itself() {
        let rows = [[1.0, 0.0], [1.0, 0.1], [1.0, 0.3], [0.0, 1.0]];
        let labels = [Some(0), Some(1), Some(0), Some(1)];
        let (table, again) = (table(&rows, &labels), table(&rows, &labels));
        for queries in [&table, &again] {
            let outcome = evaluate(&table, queries, "x", &RetrievalConfig::default()).unwrap();
            // In each ranking of three, the other of the class is at 2, 3, 2, 2.
            assert_eq!(outcome.items, [0.5, 1.0 / 3.0, 0.5, 0.5]);
            assert_eq!(value(&outcome, "hit@1"), 0.0);
            assert_eq!(value(&outcome, "hit@5"), 1.0);
            // A cutoff past the end of the ranking still divides by itself.
            assert_eq!(value(&outcome, "precision@5"), 0.2);
            assert_eq!(outcome.scores[0].setting, "gallery=4 (leave-one-out)");
        }
    }

    #[test]
    fn queries_alone_in_their_class_are_counted_and_unlabelled_rows_left_out() {
        let rows = [[1.0, 0.0], [1.0, 0.1], [0.5, 0.5], [0.0, 1.0]];
        let table = table(&rows, &[Some(0), Some(0), None, Some(7)]);
        let outcome = evaluate(&table, &table, "x", &RetrievalConfig::default()).unwrap();
        assert_eq!(outcome.items, [1.0, 1.0]);
        let setting = &outcome.scores[0].setting;
        assert_eq!(setting, "gallery=3 (leave-one-out), 1 of 3 queries left out: nothing relevant");
        assert_eq!(outcome.scores[0].samples, 2);
    }

    #[test]
    fn a_gallery_of_its_own_is_ranked_whole() {
        let gallery = table(&[[0.0, 1.0], [1.0, 0.0], [1.0, 0.2]], &[Some(0), Some(1), Some(1)]);
        let queries = table(&[[1.0, 0.1], [0.1, 1.0]], &[Some(1), Some(1)]);
        let outcome = evaluate(&gallery, &queries, "x", &RetrievalConfig::default()).unwrap();
        // 1, 1, 0 and 0, 1, 1.
        assert_eq!(outcome.items, [1.0, f64::midpoint(0.5, 2.0 / 3.0)]);
        assert_eq!(value(&outcome, "recall@1"), 0.25);
        assert_eq!(value(&outcome, "mrr"), 0.75);
    }

    #[test]
    fn input_without_a_ranking_is_refused() {
        let default = RetrievalConfig::default();
        let rows = [[1.0, 0.0], [0.0, 1.0]];
        let refused = |table: &FeatureTable, config: &RetrievalConfig| {
            evaluate(table, table, "x", config).unwrap_err().to_string()
        };
        let alone = table(&rows, &[Some(0), Some(1)]);
        assert!(refused(&alone, &default).contains("of any of the 2 queries"));
        let one_class = table(&rows, &[Some(0), Some(0)]);
        assert!(refused(&one_class, &default).contains("the same label"));
        assert!(refused(&table(&[], &[]), &default).contains("has no labels"));
        let broken = table(&[[f32::NAN, 0.0], [0.0, 1.0]], &[Some(0), Some(1)]);
        assert!(refused(&broken, &default).contains("not finite"));
        let zero = RetrievalConfig { cutoffs: vec![0] };
        assert!(refused(&alone, &zero).contains("1 or more, got [0]"));
    }

    #[test]
    fn rows_of_zeros_are_ranked_between_alike_and_opposite() {
        let rows = [[1.0, 0.0], [0.0, 0.0], [-1.0, 0.0], [1.0, 0.0]];
        let table = table(&rows, &[Some(0), Some(0), Some(1), Some(1)]);
        let outcome = evaluate(&table, &table, "x", &RetrievalConfig::default()).unwrap();
        // The zeros see three equals, in the order of their rows.
        assert_eq!(outcome.items, [0.5, 1.0, 1.0 / 3.0, 1.0 / 3.0]);
    }
}
