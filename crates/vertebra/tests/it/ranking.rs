//! Retrieval, clustering and the numbers without labels are those of scikit-learn, numpy and scipy, recorded by
//! `fixtures/record_evaluation_ranking.py`.

use std::collections::BTreeMap;

use report::record::Score;
use tch::{Kind, Tensor};
use vertebra::evaluation::clustering::kmeans::{Points, best_of, lloyd};
use vertebra::evaluation::clustering::{self, ClusteringConfig, Contingency, best_matching};
use vertebra::evaluation::label_free::{LabelFreeConfig, alignment, cka, lidar};
use vertebra::evaluation::retrieval::RetrievalConfig;
use vertebra::evaluation::{FeatureTable, label_free, retrieval};

use crate::fixture;

/// Relative, of numbers that both sides compute in f64 from the same f32 features.
const F64: f64 = 1e-6;
/// Of numbers of eigenvalues, which the two sides get by other decompositions.
const SPECTRAL: f64 = 1e-5;

type Tensors = BTreeMap<String, Tensor>;

#[test]
fn retrieval_is_that_of_scikit_learn() {
    let file = fixture("evaluation-ranking.safetensors");
    let table = table(&file, "retrieval");
    let outcome = retrieval::evaluate(&table, &table, "x", &RetrievalConfig::default()).unwrap();
    assert_eq!(outcome.scores.len(), 12);
    for score in &outcome.scores {
        let wanted = numbers(&file, &format!("retrieval.{}", score.metric));
        assert_eq!(score.samples, wanted.len());
        let mean = wanted.iter().sum::<f64>() / wanted.len() as f64;
        close(score.value, mean, F64, &score.metric);
    }
    for (query, wanted) in numbers(&file, "retrieval.map").into_iter().enumerate() {
        close(outcome.items[query], wanted, F64, &format!("query {query}"));
    }
    assert!(outcome.scores[0].setting.ends_with("2 of 60 queries left out: nothing relevant"));
}

#[test]
fn clusters_from_given_centres_are_those_of_scikit_learn() {
    let file = fixture("evaluation-ranking.safetensors");
    let x = &file["clustering.x"];
    let points = Points::new(x);
    let first = x.index_select(0, &file["clustering.first"]).to_kind(Kind::Double);
    let found = lloyd(&points, flat(&first), 300);
    assert!(found.converged);
    assert_eq!(found.assigned, labels(&file, "clustering.found"));
    close(found.inertia, number(&file, "clustering.inertia"), F64, "inertia");
    for (found, wanted) in found.centres.iter().zip(numbers(&file, "clustering.centres")) {
        close(*found, wanted, F64, "centre");
    }
    let best =
        best_of(&points, 5, &ClusteringConfig { restarts: 50, ..ClusteringConfig::default() });
    // The recorded one is the best of 200 runs to the very end: one of 50 that stop earlier is no better, and near.
    let least = number(&file, "clustering.best_inertia");
    assert!(best.inertia > least * (1.0 - F64));
    close(best.inertia, least, 0.01, "best inertia");
    let truth = labels(&file, "clustering.labels");
    agree(&file, "clustering", &truth, &found.assigned);
}

#[test]
fn large_partitions_agree_as_scikit_learn_has_it() {
    let file = fixture("evaluation-ranking.safetensors");
    let [truth, found] =
        ["truth", "found"].map(|name| labels(&file, &format!("partitions.{name}")));
    agree(&file, "partitions", &truth, &found);
}

#[test]
fn a_table_is_clustered_into_as_many_as_its_classes() {
    let file = fixture("evaluation-ranking.safetensors");
    let outcome =
        clustering::evaluate(&table(&file, "clustering"), "x", &ClusteringConfig::default())
            .unwrap();
    assert!(outcome.scores[0].setting.starts_with("K=5 inertia="));
    // Five groups that overlap a little.
    assert!(outcome.scores.iter().all(|score| score.value > 0.3), "{:?}", outcome.scores);
}

#[test]
fn spectra_are_those_of_singular_value_decompositions() {
    let file = fixture("evaluation-ranking.safetensors");
    for name in ["tall", "wide"] {
        let x = &file[&format!("{name}.x")];
        let table = unlabelled(x);
        let outcome = label_free::evaluate(&table, "x", &LabelFreeConfig::default()).unwrap();
        assert_eq!(outcome.scores.len(), 8);
        for Score { metric, value, .. } in &outcome.scores {
            let wanted = number(&file, &format!("{name}.{metric}"));
            let tolerance = if ["uniformity", "std_of_normalised"].contains(&metric.as_str()) {
                F64
            } else {
                SPECTRAL
            };
            close(*value, wanted, tolerance, &format!("{name} {metric}"));
        }
    }
}

#[test]
fn lidar_and_alignment_are_those_of_their_definitions() {
    let file = fixture("evaluation-ranking.safetensors");
    for name in ["lidar", "lidar_wide"] {
        let e = &file[&format!("{name}.e")];
        let wanted = number(&file, &format!("{name}.lidar"));
        close(lidar::lidar(e, lidar::DELTA).unwrap(), wanted, SPECTRAL, name);
        let found = alignment::alignment(&e.select(1, 0), &e.select(1, 1), 2.0).unwrap();
        let wanted = numbers(&file, &format!("{name}.alignment"));
        for (found, wanted) in found.iter().zip(wanted) {
            close(*found, wanted, F64, name);
        }
    }
}

#[test]
fn cka_without_gram_matrices_is_that_of_gram_matrices() {
    let file = fixture("evaluation-ranking.safetensors");
    let (x, y) = (&file["cka.x"], &file["cka.y"]);
    let both = cka::cka(&unlabelled(x), &unlabelled(y)).unwrap();
    close(both.biased, number(&file, "cka.biased"), F64, "biased");
    close(both.unbiased, number(&file, "cka.unbiased"), F64, "unbiased");
    close(cka::minibatch(x, y, 8).unwrap(), number(&file, "cka.minibatch"), F64, "batches");
}

/// Checks the accuracy, NMI, AMI and ARI of two partitions.
fn agree(file: &Tensors, name: &str, truth: &[u32], found: &[u32]) {
    let parts = |labels: &[u32]| *labels.iter().max().unwrap() as usize + 1;
    let items = || truth.iter().copied().zip(found.iter().copied());
    let table = Contingency::new(items(), parts(truth), parts(found));
    let names = best_matching(&table);
    let right = items().filter(|(truth, found)| names[*found as usize] == Some(*truth)).count();
    let accuracy = right as f64 / truth.len() as f64;
    let found = [accuracy, table.nmi(), table.ami(), table.ari()];
    for (found, metric) in found.into_iter().zip(["acc", "nmi", "ami", "ari"]) {
        let at = format!("{name}.{metric}");
        close(found, number(file, &at), F64, &at);
    }
}

fn table(file: &Tensors, name: &str) -> FeatureTable {
    let labels = labels(file, &format!("{name}.labels")).into_iter().map(Some).collect();
    FeatureTable { labels, ..unlabelled(&file[&format!("{name}.x")]) }
}

fn unlabelled(x: &Tensor) -> FeatureTable {
    let rows = x.size()[0] as usize;
    FeatureTable {
        x: x.shallow_clone(),
        labels: vec![None; rows],
        samples: (0..rows).collect(),
        groups: Vec::new(),
        skipped: Vec::new(),
        classes: Vec::new(),
    }
}

fn labels(file: &Tensors, name: &str) -> Vec<u32> {
    flat(&file[name]).into_iter().map(|label| label as u32).collect()
}

fn number(file: &Tensors, name: &str) -> f64 {
    file[name].double_value(&[])
}

fn numbers(file: &Tensors, name: &str) -> Vec<f64> {
    flat(&file[name])
}

fn flat(tensor: &Tensor) -> Vec<f64> {
    Vec::try_from(tensor.to_kind(Kind::Double).flatten(0, -1)).unwrap()
}

fn close(found: f64, wanted: f64, tolerance: f64, what: &str) {
    let apart = (found - wanted).abs();
    assert!(apart <= tolerance * wanted.abs().max(1e-9), "{what}: {found} is not {wanted}");
}
