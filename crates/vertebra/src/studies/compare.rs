//! What the pages of studies are made of: values by seed at a place of the plan, their differences, and lines along an axis or along
//! training.

use std::collections::BTreeMap;

use report::record::JournalLine;
use report::study::{Line, Plot, Point};

use super::table::{Row, Spread};
use super::{Axis, Plan, Record};

/// A place in the plan: a variant, and the axis and point at which it is not usual.
pub type Place<'a> = (&'a str, Option<(&'a str, &'a str)>);

/// A number of each run, by place and seed.
#[derive(Clone, Copy)]
pub struct Values<'a> {
    pub records: &'a [Record],
    pub value: &'a dyn Fn(&Record) -> Option<f64>,
}

impl Values<'_> {
    /// By seed.
    pub fn at(&self, (variant, moved): Place) -> BTreeMap<u64, f64> {
        let here = |record: &&Record| {
            let place = record.cell.moved.as_ref();
            record.cell.variant == variant
                && place.map(|(axis, point)| (axis.as_str(), point.as_str())) == moved
        };
        let found = self.records.iter().filter(here);
        found.filter_map(|record| Some((record.cell.seed, (self.value)(record)?))).collect()
    }

    /// a − b over the seeds that both have.
    pub fn difference(&self, a: Place, b: Place) -> Option<Spread> {
        let (a, b) = (self.at(a), self.at(b));
        let differences: Vec<f64> =
            a.iter().filter_map(|(seed, value)| Some(value - b.get(seed)?)).collect();
        Spread::of(&differences, None)
    }
}

/// A point of an axis; the usual one is where nothing is moved.
pub fn place<'a>(variant: &'a str, axis: &'a Axis, point: usize) -> Place<'a> {
    let point = axis.points[point].name.as_str();
    (variant, (point != axis.usual).then_some((axis.name.as_str(), point)))
}

/// `+1.2 ± 0.4`: a difference of shares in points of a hundred.
pub fn in_points(difference: Spread) -> String {
    let points = |share: f64| format!("{:.1}", share.abs() * 100.0);
    let sign = if difference.mean < 0.0 { "−" } else { "+" };
    let mean = points(difference.mean);
    match difference.interval {
        Some([low, high]) => format!("{sign}{mean} ± {}", points((high - low) / 2.0)),
        None => format!("{sign}{mean} (one seed)"),
    }
}

/// The figures of a claim, or that there are none.
pub fn or_nothing(numbers: Vec<String>) -> Vec<String> {
    if numbers.is_empty() { vec!["The runs that it is about are not done".into()] } else { numbers }
}

/// The points at which the other axes stay.
pub fn usual(plan: &Plan, axis: &Axis) -> String {
    let others = plan.axes.iter().filter(|other| other.name != axis.name);
    let words: Vec<String> = others.map(|it| format!("{} {}", it.name, it.usual)).collect();
    if words.is_empty() { "the base recipe".into() } else { words.join(", ") }
}

/// A line for each variant along an axis.
pub fn plot(
    plan: &Plan,
    axis: &Axis,
    rows: &[Row],
    title: &str,
    value: impl Fn(&Row) -> Option<Spread>,
) -> Plot {
    let lines = plan.variants.iter().map(|variant| {
        let points = axis.points.iter().enumerate().filter_map(|(x, point)| {
            let moved = (point.name != axis.usual).then(|| (axis.name.clone(), point.name.clone()));
            let row = rows.iter().find(|row| row.variant == variant.name && row.moved == moved)?;
            let spread = value(row)?;
            Some(Point { x: x as f64, y: spread.mean, interval: spread.interval })
        });
        Line { name: variant.name.clone(), points: points.collect() }
    });
    Plot {
        title: title.into(),
        x: axis.name.clone(),
        places: axis.points.iter().map(|point| point.name.clone()).collect(),
        lines: lines.collect(),
        ..Plot::default()
    }
}

/// A score of a row in per cent.
pub fn percent(row: &Row, key: &str) -> Option<Spread> {
    let it = row.scores.get(key)?.trained;
    let interval = it.interval.map(|bounds| bounds.map(|bound| bound * 100.0));
    Some(Spread { mean: it.mean * 100.0, interval, seeds: it.seeds })
}

/// A value of the journal over epochs at the usual points, mean over the runs that have it at that step.
pub fn along(records: &[Record], variant: &str, value: &str, name: &str) -> Line {
    let here = records.iter().filter(|it| it.cell.variant == variant && it.cell.moved.is_none());
    let mut steps: BTreeMap<u64, (f64, Vec<f64>)> = BTreeMap::new();
    for line in here.flat_map(|record| &record.journal) {
        let JournalLine { step, epoch, values, .. } = line;
        if let Some(found) = values.get(value).filter(|found| found.is_finite()) {
            steps.entry(*step).or_insert((*epoch, Vec::new())).1.push(*found);
        }
    }
    let points = steps.into_values().map(|(x, values)| {
        let y = values.iter().sum::<f64>() / values.len() as f64;
        Point { x, y, interval: None }
    });
    Line { name: name.into(), points: points.collect() }
}
