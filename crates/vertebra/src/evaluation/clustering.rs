//! Clustering: do the classes lie in groups that nobody pointed out? k-means on the features, compared with the labels.

mod agreement;
pub mod kmeans;
mod matching;

use std::time::Instant;

use report::record::Score;
use serde::{Deserialize, Serialize};

use super::{
    FeatureTable, Outcome, expect_finite, labelled, mean_score, normalise_rows, number_score,
};
use crate::error::{Error, Result};
pub use agreement::Contingency;
use kmeans::{Clusters, Points};
pub use matching::best_matching;

/// Changes whenever equal features could get another score.
pub const VERSION: u32 = 1;

/// How k-means is run.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct ClusteringConfig {
    /// How many clusters; `None` is the number of classes that the labels have, as all published numbers are.
    pub clusters: Option<usize>,
    /// Runs of k-means with seeds of their own, of which the one of the lowest inertia counts. 10 was scikit-learn's default
    /// for years, and is that of most published numbers.
    pub restarts: usize,
    /// Iterations of a run at most; scikit-learn's default.
    pub iterations: usize,
    /// Names the draws of the first centres.
    pub seed: u64,
}

impl Default for ClusteringConfig {
    fn default() -> Self {
        Self { clusters: None, restarts: 10, iterations: 300, seed: 0 }
    }
}

/// Clusters the labelled rows of `table`, each divided by its length (a row of zeros stays zero), and compares with the
/// labels:
///
/// - `acc`: the accuracy under the best one-to-one naming of the clusters (Hungarian method; clusters that are left over are
///   wrong). The items are its right answers.
/// - `nmi`, `ami`: mutual information over the arithmetic mean of the entropies, and the same adjusted for chance (Vinh
///   2010); 1 for equal partitions, `ami` about 0 for unrelated ones.
/// - `ari`: the adjusted Rand index (Hubert and Arabie 1985), which can be negative.
///
/// Intervals resample the images with the clusters fixed: they do not hold what another run of k-means would change.
pub fn evaluate(table: &FeatureTable, encoder: &str, config: &ClusteringConfig) -> Result<Outcome> {
    let start = Instant::now();
    let (rows, _) = labelled(table, "test")?;
    expect_finite(&rows.x, "test")?;
    let (truth, classes) = numbered(&rows.y);
    if classes < 2 {
        return Err(usage(
            "every sample has the same label: there is nothing to tell apart",
            "give a source with two classes or more",
        ));
    }
    let clusters = config.clusters.unwrap_or(classes);
    config.check(clusters, truth.len())?;
    let points = Points::new(&normalise_rows(&rows.x));
    let found = kmeans::best_of(&points, clusters, config);
    let (items, mut scores) = compared(&truth, classes, &found.assigned, clusters, encoder);
    let setting = setting(&found, clusters, config);
    for score in &mut scores {
        score.setting.clone_from(&setting);
        score.seconds = start.elapsed().as_secs_f64();
    }
    Ok(Outcome { items, scores })
}

fn setting(found: &Clusters, clusters: usize, config: &ClusteringConfig) -> String {
    let mut holds = vec![false; clusters];
    for &cluster in &found.assigned {
        holds[cluster as usize] = true;
    }
    let empty = match holds.iter().filter(|holds| !**holds).count() {
        0 => String::new(),
        empty => format!(", {empty} of them empty: too few different rows"),
    };
    let stopped = if found.converged {
        String::new()
    } else {
        format!(", not converged after {} iterations", found.iterations)
    };
    let (inertia, restarts) = (found.inertia, config.restarts);
    format!("K={clusters}{empty} inertia={inertia:.6} best of {restarts}{stopped}")
}

/// The right answers of the best naming, and all scores.
fn compared(
    truth: &[u32],
    classes: usize,
    assigned: &[u32],
    clusters: usize,
    encoder: &str,
) -> (Vec<f64>, Vec<Score>) {
    let n = truth.len();
    let pairs = (0..n).map(|item| (truth[item], assigned[item]));
    let whole = Contingency::new(pairs, classes, clusters);
    let names = best_matching(&whole);
    let right = |item: usize| names[assigned[item] as usize] == Some(truth[item]);
    let items: Vec<f64> = (0..n).map(|item| f64::from(u8::from(right(item)))).collect();
    let mut scores = vec![mean_score("clustering", VERSION, "acc", &items, encoder)];
    // Without intervals: a sample that is drawn twice agrees with itself, so that resampled tables agree more than the
    // table does, and the interval would not even hold the value.
    for (metric, value) in [("nmi", whole.nmi()), ("ami", whole.ami()), ("ari", whole.ari())] {
        scores.push(number_score("clustering", VERSION, metric, value, n, encoder));
    }
    (items, scores)
}

impl ClusteringConfig {
    fn check(&self, clusters: usize, rows: usize) -> Result<()> {
        let least = [self.restarts, self.iterations, clusters].into_iter().min();
        let problem = if least == Some(0) {
            format!(
                "clusters, restarts and iterations must be 1 or more, got {clusters}, {} and {}",
                self.restarts, self.iterations
            )
        } else if clusters > rows {
            format!("{clusters} clusters need as many labelled images, got {rows}")
        } else {
            return Ok(());
        };
        Err(usage(&problem, "leave the settings out to get one cluster for each class"))
    }
}

/// Labels as 0, 1, 2… without gaps, in the order of the labels, and how many there are.
fn numbered(labels: &[u32]) -> (Vec<u32>, usize) {
    let mut known = labels.to_vec();
    known.sort_unstable();
    known.dedup();
    let number = |label: &u32| known.partition_point(|other| other < label) as u32;
    (labels.iter().map(number).collect(), known.len())
}

fn usage(problem: &str, hint: &str) -> Error {
    Error::Usage { problem: format!("clustering: {problem}"), hint: Some(hint.into()) }
}

#[cfg(test)]
mod tests {
    use tch::Tensor;

    use super::*;

    fn table(rows: &[[f32; 2]], labels: &[u32]) -> FeatureTable {
        FeatureTable {
            x: Tensor::from_slice(&rows.concat()).view([-1, 2]),
            labels: labels.iter().map(|&label| Some(label)).collect(),
            samples: (0..rows.len()).collect(),
            groups: Vec::new(),
            skipped: Vec::new(),
            classes: Vec::new(),
        }
    }

    /// Three directions, of lengths that do not matter.
    const ROWS: [[f32; 2]; 7] =
        [[1.0, 0.1], [9.0, 0.0], [0.1, 2.0], [0.0, 0.3], [-1.0, 0.0], [-5.0, 0.1], [-2.0, -0.1]];

    #[test]
    fn groups_that_are_the_classes_have_perfect_scores() {
        let labels = [7, 7, 2, 2, 4, 4, 4];
        let outcome = evaluate(&table(&ROWS, &labels), "x", &ClusteringConfig::default()).unwrap();
        assert_eq!(outcome.items, [1.0; 7]);
        let metrics: Vec<_> = outcome.scores.iter().map(|it| it.metric.as_str()).collect();
        assert_eq!(metrics, ["acc", "nmi", "ami", "ari"]);
        for score in &outcome.scores {
            // Logarithms of f64.
            assert!((score.value - 1.0).abs() < 1e-12, "{score:?}");
            assert!(score.setting.starts_with("K=3 inertia=0.0"), "{}", score.setting);
            assert!(score.setting.ends_with("best of 10"), "{}", score.setting);
            assert_eq!(score.interval.is_some(), score.metric == "acc");
            assert_eq!(score.samples, 7);
        }
    }

    #[test]
    fn clusters_beyond_the_classes_cannot_be_named() {
        let config = ClusteringConfig { clusters: Some(3), ..ClusteringConfig::default() };
        let outcome = evaluate(&table(&ROWS, &[0, 0, 1, 1, 1, 1, 1]), "x", &config).unwrap();
        // The larger group of class 1 has its name, the smaller has none.
        assert_eq!(outcome.items, [1.0, 1.0, 0.0, 0.0, 1.0, 1.0, 1.0]);
    }

    #[test]
    fn the_interval_holds_its_value_and_runs_repeat() {
        let rows: Vec<[f32; 2]> = (0..60).map(|i| [(i as f32).sin(), (i as f32).cos()]).collect();
        let labels: Vec<u32> = (0..60).map(|i| u32::from((i as f64).sin() > 0.4)).collect();
        let outcome = evaluate(&table(&rows, &labels), "x", &ClusteringConfig::default()).unwrap();
        let score = &outcome.scores[0];
        let [low, high] = score.interval.unwrap();
        assert!(low < score.value && score.value < high, "{score:?}");
        let again = evaluate(&table(&rows, &labels), "x", &ClusteringConfig::default()).unwrap();
        assert_eq!(again.items, outcome.items);
        assert_eq!(again.scores[2].value, outcome.scores[2].value);
    }

    #[test]
    fn input_without_clusters_is_refused() {
        let refused = |table: &FeatureTable, config: &ClusteringConfig| {
            evaluate(table, "x", config).unwrap_err().to_string()
        };
        let default = ClusteringConfig::default();
        assert!(refused(&table(&ROWS[..2], &[3, 3]), &default).contains("the same label"));
        assert!(refused(&table(&[], &[]), &default).contains("has no labels (0 samples)"));
        let broken = table(&[[f32::NAN, 0.0], [0.0, 1.0]], &[0, 1]);
        assert!(refused(&broken, &default).contains("not finite"));
        let eight = ClusteringConfig { clusters: Some(8), ..default.clone() };
        let labels = [0, 0, 1, 1, 1, 1, 1];
        assert!(refused(&table(&ROWS, &labels), &eight).contains("8 clusters need as many"));
        let none = ClusteringConfig { restarts: 0, ..default };
        assert!(refused(&table(&ROWS, &labels), &none).contains("must be 1 or more"));
    }

    #[test]
    fn fewer_different_rows_than_clusters_leave_clusters_empty() {
        let table = table(&[[1.0, 0.0], [2.0, 0.0], [0.0, 0.0]], &[0, 1, 2]);
        let outcome = evaluate(&table, "x", &ClusteringConfig::default()).unwrap();
        assert_eq!(outcome.items.iter().sum::<f64>(), 2.0);
        let setting = &outcome.scores[0].setting;
        assert!(setting.starts_with("K=3, 1 of them empty: too few different rows"), "{setting}");
    }
}
