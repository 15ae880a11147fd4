//! The training curves: which values of the journal stand in which chart.

use std::collections::BTreeSet;

use maud::{Markup, html};

use crate::plot::{Chart, Series};
use crate::record::JournalLine;

/// Values of the journal that are not parts of the loss.
const HEALTH: [&str; 13] = [
    "grad_norm",
    "representation_std",
    "representation_rank",
    "embedding_std",
    "embedding_rank",
    "knn",
    "width",
    "sample_contrastive",
    "dimension_contrastive",
    "prototypes",
    "mrr",
    "mrr_chance",
    "r2_mean",
];

/// The section's charts, in groups under their own titles.
pub(crate) fn render(journal: &[JournalLine]) -> Markup {
    html! {
        div.charts.wide { (line("Loss", journal, |l| Some(l.loss)).render()) }
        (group("Parts of the loss", &parts(journal)))
        (group("Optimisation", &optimisation(journal)))
        (group("Health", &health(journal)))
        (group("World model", &world_model(journal)))
        (group("Speed", &speed(journal)))
    }
}

fn group(title: &str, charts: &[Chart]) -> Markup {
    let drawn: Vec<Markup> = charts.iter().map(Chart::render).collect();
    html! {
        @if drawn.iter().any(|chart| !chart.0.is_empty()) {
            h3 { (title) }
            div.charts { @for chart in drawn { (chart) } }
        }
    }
}

/// Each part has its own axis, for they differ by orders of magnitude.
fn parts(journal: &[JournalLine]) -> Vec<Chart> {
    let names: BTreeSet<&String> = journal.iter().flat_map(|line| line.values.keys()).collect();
    names
        .into_iter()
        .filter(|name| !HEALTH.contains(&name.as_str()))
        .map(|name| line(&spaced(name), journal, |l| l.values.get(name).copied()))
        .collect()
}

fn optimisation(journal: &[JournalLine]) -> Vec<Chart> {
    let rate = line("Learning rate", journal, |l| Some(l.lr));
    let norm = line("Norm of the gradient", journal, |l| l.values.get("grad_norm").copied());
    vec![Chart { from_zero: true, ..rate }, Chart { from_zero: true, ..norm }]
}

fn health(journal: &[JournalLine]) -> Vec<Chart> {
    let width = journal.iter().rev().find_map(|line| line.values.get("width")).copied();
    // Rows of length 1 that fill the sphere evenly have this standard deviation in each of `width` dimensions.
    let ideal =
        width.filter(|&d| d >= 1.0).map(|d| (1.0 / d.sqrt(), "1/√d, no collapse".to_owned()));
    let both = |title: &str, key: &str| Chart {
        title: title.into(),
        x: "step".into(),
        series: ["representation", "embedding"]
            .map(|what| series(what, journal, |l| l.values.get(&format!("{what}_{key}")).copied()))
            .into_iter()
            .filter(|series| !series.points.is_empty())
            .collect(),
        from_zero: true,
        ..Chart::default()
    };
    vec![
        Chart {
            reference: ideal,
            note: "Towards zero is collapse: all images get the same output.".into(),
            ..both("Standard deviation", "std")
        },
        Chart {
            note: "How many directions the outputs use (RankMe).".into(),
            ..both("Effective rank", "rank")
        },
        Chart {
            from_zero: true,
            note: "Mean squared cosine of two images' embeddings: how far samples are pushed apart.".into(),
            ..line("Sample-contrastive criterion", journal, |l| {
                l.values.get("sample_contrastive").copied()
            })
        },
        Chart {
            from_zero: true,
            note: "Mean squared product of two dimensions over the batch: how far dimensions are pushed apart.".into(),
            ..line("Dimension-contrastive criterion", journal, |l| {
                l.values.get("dimension_contrastive").copied()
            })
        },
        Chart {
            from_zero: true,
            note: "How many prototypes the last batch used; one is collapse.".into(),
            ..line("Prototypes in use", journal, |l| l.values.get("prototypes").copied())
        },
        Chart {
            note: "Top-1 of a k-NN on the representations, with labels.".into(),
            ..line("k-NN during training, %", journal, |l| l.values.get("knn").map(|v| v * 100.0))
        },
    ]
}

/// What a predictor knows of colours, along training.
fn world_model(journal: &[JournalLine]) -> Vec<Chart> {
    let chance = journal.iter().rev().find_map(|line| line.values.get("mrr_chance")).copied();
    vec![
        Chart {
            from_zero: true,
            reference: chance.map(|chance| (chance, "told nothing".to_owned())),
            note: "Whether the predictor applies a change of colour that it is told: 1 is always right.".into(),
            ..line("Mean reciprocal rank", journal, |l| l.values.get("mrr").copied())
        },
        Chart {
            note: "How well changes of colour can be read from the features, by a linear map: 1 is perfectly.".into(),
            ..line("R² of the colours", journal, |l| l.values.get("r2_mean").copied())
        },
    ]
}

fn speed(journal: &[JournalLine]) -> Vec<Chart> {
    vec![
        Chart {
            from_zero: true,
            note: "Source images, each of which gives several views.".into(),
            ..line("Throughput, images/s", journal, |l| Some(l.images_per_s))
        },
        Chart {
            from_zero: true,
            note: "Share of the time in which training waits for images.".into(),
            ..line("Data wait, %", journal, |l| Some(l.data_wait * 100.0))
        },
    ]
}

fn line(
    title: &str,
    journal: &[JournalLine],
    value: impl Fn(&JournalLine) -> Option<f64>,
) -> Chart {
    let series = vec![series(title, journal, value)];
    Chart { title: title.into(), x: "step".into(), series, ..Chart::default() }
}

fn series(
    name: &str,
    journal: &[JournalLine],
    value: impl Fn(&JournalLine) -> Option<f64>,
) -> Series {
    let points = journal.iter().filter_map(|line| Some([line.step as f64, value(line)?])).collect();
    Series { name: name.into(), points, ..Series::default() }
}

/// `covariance_loss` → `Covariance loss`.
fn spaced(name: &str) -> String {
    let spaced = name.replace(['_', '.'], " ");
    let mut letters = spaced.chars();
    letters.next().map_or(String::new(), |first| first.to_uppercase().chain(letters).collect())
}
