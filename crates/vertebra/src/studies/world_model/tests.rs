use std::path::Path;

use report::record::{RunInfo, Score, Unit};

use super::*;

const PLAN: &str = include_str!("../../../../../recipes/studies/world-model.toml");

fn plan() -> Plan {
    Plan::parse(PLAN, Path::new("")).unwrap()
}

fn score(protocol: &str, metric: &str, task: &str, value: f64) -> Score {
    Score {
        protocol: protocol.into(),
        version: 1,
        metric: metric.into(),
        value,
        interval: None,
        samples: 100,
        encoder: "trained".into(),
        seconds: 1.0,
        setting: String::new(),
        unit: Unit::Share,
        layer: String::new(),
        test: String::new(),
        task: task.into(),
    }
}

/// Every run of the plan with the MRR that the function gives to (variant, point), a linear probe of shapes that falls with it and with
/// being told, and one of colours that gains by being told; all spread by 0, +0.001 and −0.001 over the seeds.
fn records(mrr: impl Fn(&str, &str) -> f64) -> Vec<Record> {
    let cells = plan().cells().unwrap();
    let record = |cell: super::super::Cell| {
        let shift = [0.0, 0.001, -0.001][cell.seed as usize];
        let point = cell.moved.as_ref().map_or("", |(_, point)| point.as_str());
        let mrr = mrr(&cell.variant, point) + shift;
        let told = f64::from(u8::from(cell.variant != UNTOLD));
        let scores = vec![
            score("world", "mrr", "", mrr),
            score("world", "mrr_chance", "", 0.0239),
            score("linear", "top1", "", 0.7 - 0.2 * mrr - 0.1 * told + shift),
            score("linear", "top1", "colour", 0.4 + 0.2 * told + 3.0 * shift),
        ];
        Record { cell, info: RunInfo::default(), journal: Vec::new(), scores }
    };
    cells.into_iter().map(record).collect()
}

fn verdicts(records: &[Record]) -> Vec<Verdict> {
    claims(&plan(), records).into_iter().map(|claim| claim.verdict).collect()
}

#[test]
fn the_paper_is_found_right_by_runs_that_agree_with_it() {
    let found = verdicts(&records(|variant, point| match (variant, point) {
        ("none", _) => 0.0239,
        (_, "jitter") => 0.2,
        (_, "1") => 0.3,
        _ => 0.5,
    }));
    assert_eq!(found, [Verdict::Holds; 5]);
}

#[test]
fn the_paper_is_found_wrong_by_runs_that_contradict_it() {
    let mut records = records(|variant, point| match (variant, point) {
        (_, "jitter") => 0.3,
        (_, "1") => 0.4,
        ("feature", _) => 0.0239,
        _ => 0.2,
    });
    for record in &mut records {
        for score in record.scores.iter_mut().filter(|it| it.protocol == "linear") {
            score.value = 1.0 - score.value;
        }
    }
    assert_eq!(verdicts(&records), [Verdict::DoesNotHold; 5]);
}

#[test]
fn nothing_is_decided_without_runs() {
    assert!(verdicts(&[]).iter().all(|verdict| *verdict == Verdict::Undecided));
}

#[test]
fn correlation_is_that_of_pearson() {
    let found = |pairs: &[[f64; 2]]| correlation(pairs).unwrap();
    assert!((found(&[[0.0, 1.0], [1.0, 3.0], [2.0, 5.0]]) - 1.0).abs() < 1e-12);
    // By hand: products −2, squares 2 and 14/3.
    let pairs = [[0.0, 3.0], [1.0, 0.0], [2.0, 1.0]];
    assert!((found(&pairs) + 2.0 / (2.0f64 * 14.0 / 3.0).sqrt()).abs() < 1e-12);
    assert_eq!(correlation(&[[0.0, 1.0], [1.0, 3.0]]), None);
    assert_eq!(correlation(&[[1.0, 1.0], [1.0, 3.0], [1.0, 2.0]]), None);
}
