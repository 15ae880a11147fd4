use tch::Kind;

use super::*;
use crate::evaluation::retrieval::ranking::{precision_before_the_last, ranks_in, trapezoid};

const RANKINGS: [[usize; 10]; 2] = [[3, 7, 0, 5, 9, 1, 2, 4, 6, 8], [8, 2, 6, 0, 4, 1, 3, 5, 7, 9]];

fn lists() -> [Lists; 2] {
    [
        Lists { easy: vec![0, 5], hard: vec![9], junk: vec![3, 1] },
        Lists { easy: vec![6], hard: vec![2, 7], junk: vec![8] },
    ]
}

/// Similarities that give a ranking.
fn similarities(ranking: &[usize]) -> Vec<f32> {
    let mut found = vec![0.0; ranking.len()];
    for (place, &row) in ranking.iter().enumerate() {
        found[row] = 1.0 - place as f32 / 10.0;
    }
    found
}

#[test]
fn the_rules_have_their_published_values() {
    let wanted = [
        (Difficulty::Easy, [0.416_667, 1.0], [0.5, 0.833_333, 0.833_333]),
        (Difficulty::Medium, [0.513_889, 0.776_786], [0.5, 0.575, 0.5625]),
        (Difficulty::Hard, [0.25, 0.613_095], [0.5, 0.35, 0.392_857]),
    ];
    for (difficulty, precisions, shares) in wanted {
        let found: Vec<Vec<usize>> = RANKINGS
            .iter()
            .zip(lists())
            .map(|(ranking, lists)| ranks_in(&similarities(ranking), &lists.wanted(difficulty)))
            .collect();
        // Six printed decimals.
        for (ranks, wanted) in found.iter().zip(precisions) {
            assert!((trapezoid(ranks) - wanted).abs() < 5e-7, "{difficulty:?} {ranks:?}");
        }
        for (k, wanted) in CUTOFFS.into_iter().zip(shares) {
            let mean =
                found.iter().map(|ranks| precision_before_the_last(ranks, k)).sum::<f64>() / 2.0;
            assert!((mean - wanted).abs() < 5e-7, "{difficulty:?} mP@{k}");
        }
    }
}

fn table(x: Tensor) -> FeatureTable {
    let rows = x.size()[0] as usize;
    FeatureTable {
        x,
        labels: vec![None; rows],
        samples: (0..rows).collect(),
        groups: Vec::new(),
        skipped: Vec::new(),
        classes: Vec::new(),
    }
}

/// A gallery around a circle, and two queries that see it in the order of their rankings.
fn world() -> (FeatureTable, FeatureTable) {
    // Coordinates 0 and 1 are the similarities to the queries, the third makes the length one.
    let columns: Vec<f32> = RANKINGS
        .iter()
        .flat_map(|ranking| similarities(ranking).into_iter().map(|s| s * 0.7))
        .collect();
    let x = Tensor::from_slice(&columns).view([2, 10]).tr();
    let squares = x.square().sum_dim_intlist([1i64].as_slice(), true, Kind::Float);
    let rest = (Tensor::ones_like(&squares) - squares).sqrt();
    let queries = Tensor::from_slice(&[1.0f32, 0.0, 0.0, 0.0, 1.0, 0.0]).view([2, 3]);
    (table(Tensor::cat(&[x, rest], 1)), table(queries))
}

fn truth() -> GroundTruth {
    let names = |rows: Vec<usize>| rows.iter().map(|row| format!("image_{row}")).collect();
    let queries = lists().into_iter().enumerate().map(|(index, lists)| Truth {
        name: format!("query_{index}"),
        bbx: None,
        easy: names(lists.easy),
        hard: names(lists.hard),
        junk: names(lists.junk),
    });
    GroundTruth { queries: queries.collect() }
}

fn named<'a>(table: &'a FeatureTable, kind: &str) -> Named<'a> {
    let names = (0..table.samples.len()).map(|row| format!("jpg/{kind}_{row}.jpg")).collect();
    Named { table, names }
}

#[test]
fn a_benchmark_is_scored_by_the_names_of_its_images() {
    let (gallery, queries) = world();
    let text = serde_json::to_string(&truth()).unwrap();
    let truth: GroundTruth = serde_json::from_str(&text).unwrap();
    let outcome =
        evaluate(&named(&gallery, "image"), &named(&queries, "query"), &truth, "x").unwrap();
    let metrics: Vec<&str> = outcome.scores.iter().map(|it| it.metric.as_str()).collect();
    let each = ["medium", "hard", "easy"].map(|name| {
        ["map_trapezoid", "mp@1", "mp@5", "mp@10"].map(|metric| format!("{metric}_{name}"))
    });
    assert_eq!(metrics, each.concat());
    let wanted = [0.645_337, 0.431_548, 0.708_333];
    for (score, wanted) in outcome.scores.iter().step_by(4).zip(wanted) {
        // Six printed decimals.
        assert!((score.value - wanted).abs() < 5e-7, "{score:?}");
        assert_eq!(score.setting, "gallery=10, 2 of 2 queries");
    }
    assert_eq!(outcome.items.len(), 2);
}

#[test]
fn queries_without_an_image_of_a_difficulty_are_no_part_of_its_mean() {
    let (gallery, queries) = world();
    let mut truth = truth();
    truth.queries[0].hard.clear();
    let outcome =
        evaluate(&named(&gallery, "image"), &named(&queries, "query"), &truth, "x").unwrap();
    let hard = outcome.scores.iter().find(|score| score.metric == "map_trapezoid_hard").unwrap();
    assert_eq!((hard.samples, hard.setting.as_str()), (1, "gallery=10, 1 of 2 queries"));
    assert!((hard.value - 0.613_095).abs() < 5e-7);
}

#[test]
fn a_ground_truth_that_does_not_fit_is_refused() {
    let (gallery, queries) = world();
    let refused = |truth: &GroundTruth, gallery: &Named| {
        let error = evaluate(gallery, &named(&queries, "query"), truth, "x").unwrap_err();
        assert!(error.hint().is_some());
        error.to_string()
    };
    let images = named(&gallery, "image");
    let mut missing = truth();
    missing.queries[1].easy.push("image_77".into());
    assert!(
        refused(&missing, &images)
            .contains("`image_77` of the ground truth is not among the 10 readable")
    );
    let mut twice = named(&gallery, "image");
    twice.names[4] = "png/image_0.png".into();
    assert!(refused(&truth(), &twice).contains("two images of the gallery are called `image_0`"));
    let mut both = truth();
    both.queries[0].junk.push("image_0".into());
    assert!(refused(&both, &images).contains("in two lists of the query `query_0`"));
    assert!(refused(&GroundTruth { queries: Vec::new() }, &images).contains("none of the 0"));
    assert!(serde_json::from_str::<GroundTruth>(r#"{"queries": [{"name": "a"}]}"#).is_err());
}
