use std::path::Path;

use report::record::{JournalLine, RunInfo, Score, Unit};

use super::*;

const PLAN: &str = r#"
seeds = [0, 1, 2]
variants = [{ name = "simclr", family = "sample" }, { name = "vicreg", family = "dimension" }]
[[axes]]
name = "batch"
usual = "64"
points = [{ name = "16", set = ["batch=16"] }, { name = "64", set = ["batch=64"] }]
[[axes]]
name = "dimension"
usual = "32"
points = [
  { name = "32", set = ["method.projector.widths=[32, 32]"] },
  { name = "64", set = ["method.projector.widths=[32, 64]"] },
]
[base]
epochs = 1
batch = 16
data.train = "world:"
views = [{ count = 2, size = 32 }]
backbone = { name = "resnet18", stem = "small", width = 16 }
method = { name = "vicreg" }
optimizer = { name = "lars", lr = 0.3 }
"#;

fn plan() -> Plan {
    Plan::parse(PLAN, Path::new("")).unwrap()
}

/// Every run of the plan with the accuracy that the function gives, spread by 0, +0.001 and −0.001 over the seeds.
fn records(accuracy: impl Fn(&str, &str) -> f64) -> Vec<Record> {
    let score = |value| Score {
        protocol: "linear".into(),
        version: 1,
        metric: "top1".into(),
        value,
        interval: None,
        samples: 100,
        encoder: "trained".into(),
        seconds: 1.0,
        setting: String::new(),
        unit: Unit::Share,
        layer: String::new(),
        test: String::new(),
        task: String::new(),
    };
    let line = |value: f64| JournalLine {
        step: 1,
        epoch: 1.0,
        loss: 1.0,
        lr: 1.0,
        images_per_s: 1.0,
        data_wait: 0.0,
        values: ["sample_contrastive", "dimension_contrastive", "embedding_rank"]
            .map(|name| (name.to_string(), value))
            .into(),
    };
    let cells = plan().cells().unwrap();
    let record = |cell: crate::studies::Cell| {
        let place =
            cell.moved.as_ref().map_or(String::new(), |(axis, point)| format!("{axis}{point}"));
        let seeds = [0.0, 0.001, -0.001];
        // The base differs from seed to seed by far more than any difference within one.
        let value =
            accuracy(&cell.variant, &place) + seeds[cell.seed as usize] + 0.1 * cell.seed as f64;
        Record {
            info: RunInfo::default(),
            journal: vec![line(0.1)],
            scores: vec![score(value)],
            cell,
        }
    };
    cells.into_iter().map(record).collect()
}

fn verdicts(accuracy: impl Fn(&str, &str) -> f64) -> Vec<Verdict> {
    claims(&plan(), &records(accuracy)).into_iter().map(|claim| claim.verdict).collect()
}

#[test]
fn a_need_holds_where_accuracy_rises_surely_and_not_where_it_does_not() {
    use Verdict::{DoesNotHold, Holds, Undecided};
    // SimCLR loses five points with the small batch, VICReg none with the small dimension.
    let found = verdicts(|variant, place| match (variant, place) {
        ("simclr", "batch16") => 0.55,
        _ => 0.60,
    });
    assert_eq!(found, [Holds, DoesNotHold, Undecided], "and there is no gap to close");
    let found = verdicts(|_, place| if place == "dimension64" { 0.65 } else { 0.60 });
    assert_eq!(found[..2], [DoesNotHold, Holds]);
    // Half a point is surely there and surely less than a point.
    let found = verdicts(|_, place| if place == "dimension64" { 0.605 } else { 0.60 });
    assert_eq!(found[1], DoesNotHold);
}

#[test]
fn a_gap_is_closed_where_the_best_of_each_family_are_equal() {
    use Verdict::{DoesNotHold, Holds};
    let gap = |variant: &str| if variant == "simclr" { 0.55 } else { 0.60 };
    let found = verdicts(|variant, place| match (variant, place) {
        ("simclr", "dimension64") => 0.60,
        _ => gap(variant),
    });
    assert_eq!(found[2], Holds);
    assert_eq!(verdicts(|variant, _| gap(variant))[2], DoesNotHold);
}

#[test]
fn noise_and_single_seeds_decide_nothing() {
    // Differences of +3, −3 and 0 points over the seeds: 0 ± 7.5.
    let mut noisy = records(|_, _| 0.6);
    for record in &mut noisy {
        let moved = record.cell.moved.is_some();
        let noise = if moved { [0.03, -0.03, 0.0][record.cell.seed as usize] } else { 0.0 };
        record.scores[0].value += noise;
    }
    let found = claims(&plan(), &noisy);
    assert!(found.iter().all(|claim| claim.verdict == Verdict::Undecided), "{found:?}");
    let single: Vec<Record> =
        records(|_, _| 0.6).into_iter().filter(|record| record.cell.seed == 0).collect();
    let found = claims(&plan(), &single);
    assert!(found.iter().all(|claim| claim.verdict == Verdict::Undecided), "{found:?}");
    assert!(claims(&plan(), &[]).iter().all(|claim| claim.numbers[0].contains("not done")));
}

#[test]
fn a_method_that_learned_nothing_decides_nothing() {
    let mut records = records(|_, place| if place == "batch16" { 0.55 } else { 0.60 });
    assert_eq!(claims(&plan(), &records)[0].verdict, Verdict::Holds);
    for record in &mut records {
        for encoder in ["trained", "random"] {
            let knn = Score {
                protocol: "knn".into(),
                encoder: encoder.into(),
                ..record.scores[0].clone()
            };
            record.scores.push(knn);
        }
    }
    let found = claims(&plan(), &records);
    assert!(found.iter().all(|claim| claim.verdict == Verdict::Undecided), "{found:?}");
    assert!(found[0].numbers.last().unwrap().contains("not surely better than untrained"));
}

#[test]
fn the_numbers_are_those_of_the_paired_differences() {
    // Differences 5.0, 5.1, 4.9 points over the seeds would need noise within a pair: here they are equal, ± 0.
    let mut records = records(|_, place| if place == "batch16" { 0.55 } else { 0.60 });
    for record in &mut records {
        if record.cell.moved.is_none() {
            record.scores[0].value += [0.0, 0.01, -0.01][record.cell.seed as usize];
        }
    }
    // 5, 6, 4 points: mean 5, half = 4.302653 · 1 / √3 = 2.484.
    let claims = claims(&plan(), &records);
    assert_eq!(claims[0].claim, "simclr needs large batches");
    assert_eq!(claims[0].numbers[0], "simclr: +5.0 ± 2.5 points from batch 16 to 64");
}

#[test]
fn the_page_shows_every_method_along_every_axis() {
    let records = records(|_, _| 0.6);
    let table = Table {
        title: "t".into(),
        rows: trained(&records),
        failed: Vec::new(),
        left: 0,
        commits: ["abc".into()].into(),
        machines: ["a machine".into()].into(),
    };
    let page = page(&plan(), &records, &table);
    let linear = &page.groups[0].plots[0];
    assert_eq!(linear.places, ["16", "64"]);
    assert!(linear.lines.iter().all(|line| line.points.len() == 2));
    let html = page.render();
    for words in ["does not hold here", "Against dimension", "Both criteria", "<table>"] {
        assert!(html.contains(words), "{words}");
    }
    assert!(!html.contains("NaN") && !html.contains("://"), "self-contained");
}
