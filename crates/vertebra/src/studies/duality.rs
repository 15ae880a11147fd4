//! The duality of methods that push samples apart and methods that push dimensions apart (Garrido, Chen, Bardes, Najman,
//! LeCun, "On the duality between contrastive and non-contrastive self-supervised learning", ICLR 2023): a plan's runs beside
//! what is claimed of the two families.
//!
//! The plan's variants have a `family`; the first of each speaks for it. Its axes are `batch` and `dimension`, their points
//! from small to large. Accuracy is that of the linear probe, of k-NN where there is none.

use std::path::PathBuf;

use report::study::{Claim, Group, Line, Page, Plot, Verdict};

use super::compare::{Place, Values, along, in_points, or_nothing, percent, place, plot, usual};
use super::table::{Spread, Table, score, trained};
use super::{Family, Plan, Record, Study};
use crate::error::Result;

/// A difference below this is none: one point of accuracy.
const MARGIN: f64 = 0.01;

/// Writes `study.html` into the study's folder, from the runs that are finished. Gives its path.
pub fn write(study: &Study) -> Result<PathBuf> {
    let path = study.folder().join("study.html");
    let page = page(&study.plan, &study.records()?, &Table::of(study)?);
    report::study::write(&page, &path)?;
    Ok(path)
}

/// The page, from records.
pub fn page(plan: &Plan, records: &[Record], table: &Table) -> Page {
    let (columns, rows) = table.grid();
    let title = if plan.title.is_empty() { "Sample and dimension contrast" } else { &plan.title };
    Page {
        title: title.into(),
        about: "Methods that push samples apart beside methods that push dimensions apart, with the same images seen in \
                every run."
            .into(),
        claims: claims(plan, records),
        columns,
        rows,
        notes: table.notes(),
        groups: groups(plan, records),
    }
}

/// What is said of the two families, and whether it holds of these runs.
pub fn claims(plan: &Plan, records: &[Record]) -> Vec<Claim> {
    let values = Values { records, value: &accuracy };
    let accuracies = Accuracies { plan, records, values };
    let mut claims = Vec::new();
    for (family, axis, what) in [
        (Family::Sample, "batch", "large batches"),
        (Family::Dimension, "dimension", "large dimensions"),
    ] {
        claims.extend(accuracies.need(family, axis, what));
    }
    claims.extend(accuracies.gap());
    claims
}

/// Accuracy by variant, point and seed.
struct Accuracies<'a> {
    plan: &'a Plan,
    records: &'a [Record],
    values: Values<'a>,
}

impl<'a> Accuracies<'a> {
    /// The variants of a family, in the plan's order.
    fn of(&self, family: Family) -> impl Iterator<Item = &'a str> + use<'a> {
        let variants = self.plan.variants.iter().filter(move |it| it.family == Some(family));
        variants.map(|it| it.name.as_str())
    }

    /// "SimCLR needs large batches": it gains from the smallest point of an axis to the largest.
    fn need(&self, family: Family, axis: &str, what: &str) -> Option<Claim> {
        let first = self.of(family).next()?;
        let claim = format!("{first} needs {what}");
        let axis = self.plan.axes.iter().find(|it| it.name == axis && it.points.len() > 1)?;
        let ends = |variant| {
            let (large, small) = (axis.points.len() - 1, 0);
            self.values.difference(place(variant, axis, large), place(variant, axis, small))
        };
        let mut verdict = ends(first).map_or(Verdict::Undecided, needed);
        let (small, large) = (&axis.points[0].name, &axis.points[axis.points.len() - 1].name);
        // The other variants are the controls: what all need is no need of the one.
        let numbers = self.plan.variants.iter().filter_map(|variant| {
            let gain = in_points(ends(&variant.name)?);
            Some(format!("{}: {gain} points from {} {small} to {large}", variant.name, axis.name))
        });
        let mut numbers = or_nothing(numbers.collect());
        if self.learned_nothing(first) {
            verdict = Verdict::Undecided;
            numbers.push(format!("{first} is not surely better than untrained"));
        }
        Some(Claim { claim, verdict, numbers })
    }

    /// "The gap between the families is closed by projector and hyper-parameters."
    fn gap(&self) -> Option<Claim> {
        let (sample, dimension) =
            (self.of(Family::Sample).next()?, self.of(Family::Dimension).next()?);
        let claim =
            "The gap between the families is closed by projector and hyper-parameters".to_string();
        let usual = self.values.difference((dimension, None), (sample, None));
        let best = (self.best(Family::Dimension), self.best(Family::Sample));
        let tuned = best.0.zip(best.1).and_then(|(a, b)| self.values.difference(a, b));
        let mut numbers = Vec::new();
        if let Some(usual) = usual {
            numbers.push(format!(
                "{dimension} less {sample}, usual points: {} points",
                in_points(usual)
            ));
        }
        if let (Some(tuned), (Some(a), Some(b))) = (tuned, best) {
            let (a, b) = (in_words(a), in_words(b));
            numbers.push(format!("Best of each family, {a} less {b}: {} points", in_points(tuned)));
            numbers.push("The best were chosen by the same scores".into());
        }
        let mut verdict =
            usual.zip(tuned).map_or(Verdict::Undecided, |(usual, tuned)| closed(usual, tuned));
        for variant in [sample, dimension].into_iter().filter(|it| self.learned_nothing(it)) {
            verdict = Verdict::Undecided;
            numbers.push(format!("{variant} is not surely better than untrained"));
        }
        Some(Claim { claim, verdict, numbers: or_nothing(numbers) })
    }

    /// Whether k-NN says that a variant's usual runs are no better than without training: what does not learn shows no need.
    fn learned_nothing(&self, variant: &str) -> bool {
        let rows = trained(self.records);
        let usual = rows.iter().find(|row| row.variant == variant && row.moved.is_none());
        usual.is_some_and(|row| row.clears_random == Some(false))
    }

    /// Where a family has its highest mean, among the places that have all seeds.
    fn best(&self, family: Family) -> Option<Place<'a>> {
        let mut places = Vec::new();
        for variant in self.of(family) {
            places.push((variant, None));
            for axis in &self.plan.axes {
                places.extend((0..axis.points.len()).map(|point| place(variant, axis, point)));
            }
        }
        let mean = |place: &Place| {
            let values = self.values.at(*place);
            let whole = values.len() == self.plan.seeds.len();
            whole.then(|| values.values().sum::<f64>() / values.len() as f64)
        };
        let means = places.into_iter().filter_map(|place| Some((mean(&place)?, place)));
        means.max_by(|a, b| a.0.total_cmp(&b.0)).map(|(_, place)| place)
    }
}

/// A need is a surely positive gain that may be a point or more; it is denied where the gain surely is not.
fn needed(gain: Spread) -> Verdict {
    match gain.interval {
        Some([_, high]) if high < MARGIN => Verdict::DoesNotHold,
        Some([low, _]) if low > 0.0 => Verdict::Holds,
        _ => Verdict::Undecided,
    }
}

/// A gap that is surely there with the usual settings is closed where it surely is below a point with the best ones. Where
/// there was none, nothing can be said of its closing.
fn closed(usual: Spread, tuned: Spread) -> Verdict {
    let (Some([low, high]), Some([least, most])) = (usual.interval, tuned.interval) else {
        return Verdict::Undecided;
    };
    if low <= 0.0 && high >= 0.0 {
        Verdict::Undecided
    } else if least > -MARGIN && most < MARGIN {
        Verdict::Holds
    } else if (least > 0.0 || most < 0.0) && tuned.mean.abs() >= MARGIN {
        Verdict::DoesNotHold
    } else {
        Verdict::Undecided
    }
}

fn accuracy(record: &Record) -> Option<f64> {
    let top1 = |protocol| score(record, protocol, "top1", "trained").map(|score| score.value);
    top1("linear").or_else(|| top1("knn"))
}

fn in_words((variant, moved): Place) -> String {
    moved.map_or(variant.into(), |(axis, point)| format!("{variant} at {axis} {point}"))
}

fn groups(plan: &Plan, records: &[Record]) -> Vec<Group> {
    let rows = trained(records);
    let mut groups = Vec::new();
    for axis in plan.axes.iter().filter(|axis| axis.points.len() > 1) {
        groups.push(Group {
            title: format!("Against {}", axis.name),
            about: format!(
                "Means over seeds with 95 % intervals, which are cut where they would leave no room. Everything else is at its \
                 usual place ({}).",
                usual(plan, axis)
            ),
            plots: [
                plot(plan, axis, &rows, "Linear probe, %", |row| percent(row, "linear top1")),
                plot(plan, axis, &rows, "k-NN, %", |row| percent(row, "knn top1")),
                plot(plan, axis, &rows, "Effective rank of the representation", |row| row.representation_rank),
                plot(plan, axis, &rows, "Effective rank of the embedding", |row| row.embedding_rank),
            ]
            .into(),
        });
    }
    groups.push(Group {
        title: "Both criteria along training".into(),
        about: "Of each method's embedding at the usual points, mean over seeds, log₁₀: the squared cosine of two samples \
                (sample-contrastive), and the squared product of two dimensions over the batch (dimension-contrastive). Rows \
                have length 1. The paper's theorem says that the two sums differ only by the norms of rows and columns."
            .into(),
        plots: criteria(plan, records),
    });
    groups.push(Group {
        title: "Effective ranks along training".into(),
        about: "At the usual points, mean over seeds.".into(),
        plots: [("Representation", "representation_rank"), ("Embedding", "embedding_rank")]
            .map(|(title, name)| Plot {
                title: title.into(),
                x: "epoch".into(),
                lines: plan
                    .variants
                    .iter()
                    .map(|it| along(records, &it.name, name, &it.name))
                    .collect(),
                span: Some([0.0, 0.0]),
                ..Plot::default()
            })
            .into(),
    });
    groups
}

/// A plot for each variant with both criteria, over one range.
fn criteria(plan: &Plan, records: &[Record]) -> Vec<Plot> {
    let lines = |variant: &str| {
        ["sample", "dimension"].map(|what| {
            let mut line = along(records, variant, &format!("{what}_contrastive"), what);
            line.points.retain(|point| point.y > 0.0);
            line.points.iter_mut().for_each(|point| point.y = point.y.log10());
            line
        })
    };
    let drawn: Vec<_> = plan.variants.iter().map(|it| (&it.name, lines(&it.name))).collect();
    let ys = drawn.iter().flat_map(|(_, lines)| lines.iter().flat_map(|line| &line.points));
    let span = ys.fold(None, |span: Option<[f64; 2]>, point| {
        let [low, high] = span.unwrap_or([point.y; 2]);
        Some([low.min(point.y), high.max(point.y)])
    });
    let plot = |(name, lines): (&String, [Line; 2])| Plot {
        title: name.clone(),
        x: "epoch".into(),
        lines: lines.into(),
        span,
        ..Plot::default()
    };
    drawn.into_iter().map(plot).collect()
}

#[cfg(test)]
mod tests;
