//! A whole run folder from formulas.

use std::collections::BTreeMap;
use std::f64::consts::PI;
use std::fs;
use std::path::Path;

use report::record::{
    EmbeddingMap, Gallery, Imagination, JournalLine, NeighbourRow, Picture, RunInfo, Score, Unit,
    ViewRow, append, write_json,
};
use report::{ReportError, Skipped};

/// 24 × 24 pixels: an amber disc on slate, and a blue square on sand. Made by hand.
pub const PNGS: [&str; 2] = [
    concat!(
        "iVBORw0KGgoAAAANSUhEUgAAABgAAAAYCAIAAABvFaqvAAAARklEQVR42mOw84qhCmIYmQY9W6CBhkg2CNMIgsYxkGoKLrMY",
        "yDAFq1m0MYh4UzDNGjVooAwafOmImlmEmpmWmsXIaJmNjAAHaqU/d/LzWAAAAABJRU5ErkJggg==",
    ),
    concat!(
        "iVBORw0KGgoAAAANSUhEUgAAABgAAAAYCAIAAABvFaqvAAAAJ0lEQVR42mN4dG0fVRDDqEEkG2QURSwaNWjUoFGDhpdBoyUk",
        "DQ0CAEsHpA2woSWLAAAAAElFTkSuQmCC",
    ),
];
pub const CLASSES: [&str; 12] = [
    "disc",
    "square",
    "triangle",
    "ring",
    "cross",
    "star",
    "hexagon",
    "crescent",
    "arrow",
    "heart",
    "spiral",
    "<b>&\"wave\"</b>",
];

/// Fills `folder` with every file that a run leaves.
pub fn run(folder: &Path) -> Result<(), ReportError> {
    for step in (5..=2000).step_by(5) {
        append(&folder.join("journal.jsonl"), &journal_line(step))?;
    }
    for score in scores() {
        append(&folder.join("scores.jsonl"), &score)?;
    }
    for i in 0..3 {
        let skipped =
            Skipped { name: format!("birds/{i:03}.jpg"), problem: "the file ends early".into() };
        append(&folder.join("skipped.jsonl"), &skipped)?;
    }
    write_json(&folder.join("run.json"), &info())?;
    write_json(&folder.join("gallery.json"), &gallery())?;
    let recipe = "seed = 1\nepochs = 40\n\n[method]\nname = \"vicreg\"\n\n[method.weights]\ninvariance = 25.0\n";
    let path = folder.join("recipe.toml");
    fs::write(&path, recipe).map_err(|cause| ReportError::File { action: "write", path, cause })
}

/// Noise in [-1, 1] that is the same everywhere.
fn noise(i: u64) -> f64 {
    let hashed = (i + 1).wrapping_mul(0x9E37_79B9_7F4A_7C15);
    let hashed = (hashed ^ (hashed >> 29)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
    (hashed >> 11) as f64 / (1u64 << 52) as f64 - 1.0
}

fn journal_line(step: u64) -> JournalLine {
    let done = step as f64 / 2000.0;
    let fall = (-4.0 * done).exp();
    let mut values = BTreeMap::from([
        ("invariance".into(), 0.2 + 0.5 * fall + 0.04 * noise(step)),
        ("variance".into(), 0.15 + 0.7 * fall + 0.03 * noise(step + 1)),
        ("covariance".into(), 2.0 + 6.0 * done * fall + 0.2 * noise(step + 2)),
        ("grad_norm".into(), 1.0 + 3.0 * fall + 0.3 * noise(step + 3)),
    ]);
    if step.is_multiple_of(100) {
        values.append(&mut BTreeMap::from([
            ("representation_std".into(), 0.03 + 0.008 * done),
            ("representation_rank".into(), 60.0 + 160.0 * done.sqrt()),
            ("embedding_std".into(), 0.018 + 0.024 * done.sqrt()),
            ("embedding_rank".into(), 40.0 + 90.0 * done),
            ("knn".into(), 0.37 + 0.25 * (1.0 - fall)),
            ("width".into(), 512.0),
        ]));
    }
    JournalLine {
        step,
        epoch: done * 40.0,
        loss: 25.0 * (0.35 + 1.2 * fall) + 1.5 * noise(step + 4),
        lr: if done < 0.1 { done * 3e-3 } else { 1.5e-4 * (1.0 + (PI * (done - 0.1) / 0.9).cos()) },
        images_per_s: 840.0 + 30.0 * noise(step + 5),
        data_wait: 0.03 + 0.02 * noise(step + 6).abs(),
        values,
    }
}

fn scores() -> Vec<Score> {
    let score = |protocol: &str, encoder: &str, value: f64, setting: &str| Score {
        protocol: protocol.into(),
        version: 1,
        metric: "top1".into(),
        value,
        interval: Some([value - 0.033, value + 0.033]),
        samples: 1000,
        encoder: encoder.into(),
        seconds: 12.0,
        setting: setting.into(),
        unit: Unit::Share,
        layer: String::new(),
        test: String::new(),
        task: String::new(),
    };
    vec![
        score("knn", "trained", 0.613, "k=20 T=0.07"),
        score("knn", "random", 0.372, "k=20 T=0.07"),
        score("linear", "trained", 0.684, "lr=0.3 wd=0"),
        score("linear", "random", 0.391, "lr=1 wd=0"),
    ]
}

fn info() -> RunInfo {
    RunInfo {
        command: "vertebra pretrain recipes/vicreg-r18-world.toml --out runs/demo --set epochs=40"
            .into(),
        title: "VICReg, ResNet-18 on world:shapes".into(),
        version: "0.1.0".into(),
        commit: "1a2b3c4d5e6f708192a3b4c5d6e7f8091a2b3c4d".into(),
        machine: "AMD EPYC, 2 cores, 8 GiB".into(),
        device: "cpu".into(),
        precision: "bf16".into(),
        parameters: 11_689_512,
        images: 6400,
        skipped: 3,
        seconds: 214.0,
        peak_memory_mb: Some(812.0),
        started: 1_780_000_000,
        steps: 2000,
        ranks: 1,
        state: "finished".into(),
        advice: vec![
            "The effective rank of the embedding is 130 of 512: raise the covariance weight."
                .into(),
        ],
    }
}

fn picture(i: usize, caption: String, class: usize) -> Picture {
    Picture { png: PNGS[i % 2].into(), caption, label: Some(CLASSES[class].into()) }
}

fn gallery() -> Gallery {
    let views = (0..3)
        .map(|i| ViewRow {
            source: picture(i, format!("world/{i:05}"), i),
            views: (0..8)
                .map(|v| {
                    picture(i, format!("crop 12,{v} 41×38, flip, brightness 1.{v}, blur σ 0.8"), i)
                })
                .collect(),
        })
        .collect();
    let neighbours = (0..3)
        .map(|i| NeighbourRow {
            query: picture(i, format!("world/{i:05}"), i),
            neighbours: (0..8)
                .map(|n| picture(i + n / 6, format!("{:.2}", 0.98 - 0.03 * n as f64), i + n / 6))
                .collect(),
        })
        .collect();
    let points = (0..1200u64)
        .map(|i| {
            let angle = (i % 12) as f64 / 12.0 * 2.0 * PI;
            [
                (3.0 * angle.cos() + noise(2 * i)) as f32,
                (2.0 * angle.sin() + noise(2 * i + 1)) as f32,
            ]
        })
        .collect();
    let map = EmbeddingMap {
        title: "PCA, 31 % + 12 % of the variance".into(),
        points,
        labels: (0..1200).map(|i| i % 12).collect(),
        classes: CLASSES.map(String::from).into(),
    };
    Gallery { views, neighbours, map: Some(map), imagination: Imagination::default() }
}
