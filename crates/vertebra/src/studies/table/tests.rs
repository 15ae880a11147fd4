use std::path::Path;

use report::record::{RunInfo, Score};

use super::*;
use crate::studies::Plan;

const PLAN: &str = r#"
seeds = [0, 1, 2]
variants = [{ name = "a" }, { name = "b" }]
[base]
epochs = 1
batch = 16
data.train = "world:"
views = [{ count = 2, size = 32 }]
backbone = { name = "resnet18", stem = "small", width = 16 }
method = { name = "vicreg" }
optimizer = { name = "lars", lr = 0.3 }
"#;

fn score(protocol: &str, encoder: &str, value: f64) -> Score {
    Score {
        protocol: protocol.into(),
        version: 1,
        metric: "top1".into(),
        value,
        interval: Some([value - 0.05, value + 0.05]),
        samples: 100,
        encoder: encoder.into(),
        seconds: 1.0,
        setting: String::new(),
        unit: Unit::Share,
        layer: String::new(),
        test: String::new(),
        task: String::new(),
    }
}

/// A run of `a` or `b`: k-NN trained and random, and the speeds of its journal.
fn record(variant: &str, seed: u64, knn: [f64; 2], speeds: &[f64]) -> Record {
    let cells = Plan::parse(PLAN, Path::new("")).unwrap().cells().unwrap();
    let cell = cells.into_iter().find(|it| it.variant == variant && it.seed == seed).unwrap();
    let journal = speeds.iter().enumerate().map(|(i, &images_per_s)| JournalLine {
        step: i as u64 + 1,
        epoch: 1.0,
        loss: 1.0,
        lr: 0.1,
        images_per_s,
        data_wait: 0.0,
        values: [("embedding_rank".to_string(), 10.0 * seed as f64 + i as f64)].into(),
    });
    let info = RunInfo {
        commit: "abc".into(),
        machine: "a machine".into(),
        seconds: 60.0 + seed as f64,
        peak_memory_mb: Some(500.0 + seed as f64),
        ..RunInfo::default()
    };
    let scores = vec![score("knn", "trained", knn[0]), score("knn", "random", knn[1])];
    Record { cell, info, journal: journal.collect(), scores }
}

fn close(found: f64, wanted: f64) {
    // Sums of a few doubles, and Student's t to seven figures.
    assert!((found - wanted).abs() < 1e-7, "{found} is not {wanted}");
}

#[test]
fn the_figures_are_those_of_a_calculation_by_hand() {
    let records = [
        record("a", 0, [0.40, 0.30], &[1.0, 100.0, 110.0]),
        record("a", 1, [0.44, 0.31], &[1.0, 120.0, 130.0]),
        record("a", 2, [0.48, 0.32], &[1.0, 140.0, 150.0]),
    ];
    let rows = trained(&records);
    let [row] = &rows[..] else { panic!("{rows:?}") };
    assert_eq!((row.variant.as_str(), &row.seeds[..]), ("a", &[0, 1, 2][..]));
    let knn = &row.scores["knn top1"];
    // Mean 0.44, standard deviation 0.04; t(2) = 4.302653; half = 4.302653 · 0.04 / √3 = 0.0993655.
    close(knn.trained.mean, 0.44);
    close(knn.trained.interval.unwrap()[1], 0.44 + 0.099_365_5);
    // Gains 0.10, 0.13, 0.16: mean 0.13, half = 4.302653 · 0.03 / √3 = 0.0745241.
    let gain = knn.gain.unwrap();
    close(gain.mean, 0.13);
    close(gain.interval.unwrap()[0], 0.13 - 0.074_524_1);
    assert_eq!(row.clears_random, Some(true));
    // Medians 100, 120, 140 of the runs; their median.
    close(row.images_per_s, 120.0);
    close(row.embedding_rank.unwrap().mean, 12.0);
    assert_eq!((row.seconds, row.peak_memory_mb), (61.0, Some(502.0)));
    assert_eq!(row.representation_rank, None);
}

#[test]
fn a_variant_whose_gain_may_be_chance_has_a_dagger() {
    // Gains 0.01, 0.09, 0.02: mean 0.04, half = 4.302653 · 0.0435890 / √3 = 0.1082802.
    let several = [[0.31, 0.30], [0.40, 0.31], [0.34, 0.32]];
    let records: Vec<_> =
        (0..3).map(|seed| record("a", seed, several[seed as usize], &[1.0])).collect();
    assert_eq!(trained(&records)[0].name(), "a †");
    // Of one seed, by the intervals over its test images: ±0.05 each.
    for (knn, clears) in [([0.41, 0.30], true), ([0.39, 0.30], false)] {
        let rows = trained(&[record("b", 0, knn, &[1.0])]);
        assert_eq!(rows[0].clears_random, Some(clears));
        close(rows[0].scores["knn top1"].trained.interval.unwrap()[0], knn[0] - 0.05);
    }
}

#[test]
fn the_table_shows_the_untrained_network_once_and_every_variant() {
    let records = [
        record("a", 0, [0.40, 0.30], &[100.0]),
        record("b", 0, [0.50, 0.30], &[200.0]),
        record("a", 1, [0.42, 0.32], &[100.0]),
        record("b", 1, [0.52, 0.32], &[200.0]),
    ];
    let mut rows = untrained(&records);
    rows.extend(trained(&records));
    let names: Vec<String> = rows.iter().map(Row::name).collect();
    assert_eq!(names, ["untrained", "a", "b"]);
    let failed = vec![("c-s0".into(), "the loss became NaN".into())];
    let table = Table {
        title: "t".into(),
        rows,
        failed,
        left: 1,
        commits: ["abc".into()].into(),
        machines: ["a machine".into()].into(),
    };
    let text = table.markdown();
    // Half = 12.706205 · 0.0141421 / √2 = 0.127 for each; gains are 0.1 and 0.2, twice each.
    assert!(text.contains("| untrained | 31.0 ± 12.7 | – | – | – | – | – | – | 2 |"), "{text}");
    assert!(
        text.contains(
            "| a | 41.0 ± 12.7 | +10.0 ± 0.0 | – | 5.0 ± 63.5 | 100.0 | 501.0 | 60.50 | 2 |"
        ),
        "{text}"
    );
    for words in ["c-s0 failed: the loss became NaN.", "1 runs are not done", "Commit: abc."] {
        assert!(text.contains(words), "{words}: {text}");
    }
}
