//! Image world models (Garrido et al. 2024): what makes a predictor apply an action, by the paper's three aspects: whether it is told,
//! how hard the change is, and how large the predictor is; and what it costs or gives the encoder.
//!
//! The variants of the plan differ in what the predictor is told; one of them, `none`, is told nothing. Its axes are `change` (from easy to
//! hard) and `depth` (from small to large). A run has the scores of `world` (mean reciprocal ranks), of linear and attentive probes; where its
//! labels are shapes and the recipe has the task `colour` beside them, these are compared.

use std::path::PathBuf;

use report::record::Score;
use report::study::{Claim, Group, Line, Page, Plot, Point, Verdict};

use super::compare::{Values, along, in_points, or_nothing, percent, place, plot, usual};
use super::table::{Spread, Table, trained};
use super::{Plan, Record, Study};
use crate::error::Result;

/// The variant that is told nothing.
const UNTOLD: &str = "none";

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
    let title = if plan.title.is_empty() { "Image world models" } else { &plan.title };
    Page {
        title: title.into(),
        about: "What makes a predictor apply the change that it is told, with the same images seen in every run.".into(),
        claims: claims(plan, records),
        columns,
        rows,
        notes: table.notes(),
        groups: groups(plan, records),
    }
}

/// What the paper says, and whether it holds of these runs.
pub fn claims(plan: &Plan, records: &[Record]) -> Vec<Claim> {
    let study = Aspects { plan, records };
    let mut claims = vec![study.telling()];
    claims.extend(study.gain("change", "Harder changes make the predictor apply what it is told"));
    claims.extend(study.gain("depth", "A deeper predictor applies better what it is told"));
    claims.extend(study.colour_and_shape());
    claims.push(study.against_probes());
    claims
}

struct Aspects<'a> {
    plan: &'a Plan,
    records: &'a [Record],
}

impl<'a> Aspects<'a> {
    /// The variants that are told the action, in the plan's order.
    fn told(&self) -> impl Iterator<Item = &'a str> + use<'a> {
        self.plan.variants.iter().map(|it| it.name.as_str()).filter(|name| *name != UNTOLD)
    }

    fn values<'b>(&'b self, value: &'b dyn Fn(&Record) -> Option<f64>) -> Values<'b> {
        Values { records: self.records, value }
    }

    /// Told, the predictor finds the right version; told nothing, it stays at chance.
    fn telling(&self) -> Claim {
        let above_chance =
            |record: &Record| Some(world(record, "mrr")? - world(record, "mrr_chance")?);
        let values = self.values(&above_chance);
        let above = |variant: &str| {
            let found: Vec<f64> = values.at((variant, None)).into_values().collect();
            Spread::of(&found, None)
        };
        let mut numbers = Vec::new();
        for variant in self.plan.variants.iter().map(|it| it.name.as_str()) {
            let Some(mrr) = self.mrr(variant) else { continue };
            let Some(excess) = above(variant) else { continue };
            let chance = mrr.mean - excess.mean;
            let half = mrr
                .interval
                .map_or(String::new(), |[low, high]| format!(" ± {:.3}", (high - low) / 2.0));
            numbers.push(format!("{variant}: MRR {:.3}{half}, by chance {chance:.3}", mrr.mean));
        }
        let told: Vec<Option<Spread>> = self.told().map(above).collect();
        let surely = |spread: &Option<Spread>, holds: fn([f64; 2]) -> bool| {
            spread.and_then(|it| it.interval).is_some_and(holds)
        };
        let untold = above(UNTOLD);
        let verdict = if told.iter().any(|it| surely(it, |[_, high]| high < CLOSE)) {
            Verdict::DoesNotHold
        } else if !told.is_empty()
            && told.iter().all(|it| surely(it, |[low, _]| low > CLOSE))
            && surely(&untold, |[_, high]| high < CLOSE)
        {
            Verdict::Holds
        } else {
            Verdict::Undecided
        };
        let claim =
            "A predictor that is told the action applies it; one that is not stays at chance";
        Claim { claim: claim.into(), verdict, numbers: or_nothing(numbers) }
    }

    fn mrr(&self, variant: &str) -> Option<Spread> {
        let mrr = |record: &Record| world(record, "mrr");
        let found: Vec<f64> = self.values(&mrr).at((variant, None)).into_values().collect();
        Spread::of(&found, None)
    }

    /// The first told variant's MRR grows from the first point of an axis to the last.
    fn gain(&self, axis: &str, claim: &str) -> Option<Claim> {
        let axis = self.plan.axes.iter().find(|it| it.name == axis && it.points.len() > 1)?;
        let last = axis.points.len() - 1;
        let mrr = |record: &Record| world(record, "mrr");
        let values = self.values(&mrr);
        let ends = |variant| values.difference(place(variant, axis, last), place(variant, axis, 0));
        let verdict = self.told().next().and_then(ends).map_or(Verdict::Undecided, positive);
        let numbers = self.plan.variants.iter().filter_map(|variant| {
            let gain = in_points(ends(&variant.name)?);
            let [first, last] = [&axis.points[0].name, &axis.points[last].name];
            Some(format!("{}: {gain} hundredths of MRR from {first} to {last}", variant.name))
        });
        Some(Claim { claim: claim.into(), verdict, numbers: or_nothing(numbers.collect()) })
    }

    /// "The equivariant encoder is better at colour, the invariant one at shape", by the linear probe.
    fn colour_and_shape(&self) -> Option<Claim> {
        let told = self.told().next()?;
        let difference = |task: &'static str| {
            let top1 = move |record: &Record| linear(record, task);
            self.values(&top1).difference((told, None), (UNTOLD, None))
        };
        let (colour, shape) = (difference("colour")?, difference("")?);
        let verdict = match (positive(colour), positive(shape)) {
            (Verdict::Holds, Verdict::DoesNotHold) => Verdict::Holds,
            (Verdict::DoesNotHold, _) | (_, Verdict::Holds) => Verdict::DoesNotHold,
            _ => Verdict::Undecided,
        };
        let numbers = [("colour", colour), ("shape", shape)].map(|(task, difference)| {
            format!("{told} less {UNTOLD} at {task}: {} points", in_points(difference))
        });
        let claim = "The equivariant encoder is better at colour, the invariant one at shape";
        Some(Claim { claim: claim.into(), verdict, numbers: numbers.into() })
    }

    /// Over all runs of a seed, MRR and the linear probe are correlated negatively.
    fn against_probes(&self) -> Claim {
        let mut seeds: Vec<u64> = self.records.iter().map(|it| it.cell.seed).collect();
        seeds.sort_unstable();
        seeds.dedup();
        let of = |seed: &u64| {
            let runs = self.records.iter().filter(|it| it.cell.seed == *seed);
            let pairs: Vec<[f64; 2]> =
                runs.filter_map(|it| Some([world(it, "mrr")?, linear(it, "")?])).collect();
            correlation(&pairs)
        };
        let found: Vec<f64> = seeds.iter().filter_map(of).collect();
        let spread = Spread::of(&found, None);
        let verdict = match spread.map(positive) {
            Some(Verdict::DoesNotHold) => Verdict::Holds,
            Some(Verdict::Holds) => Verdict::DoesNotHold,
            _ => Verdict::Undecided,
        };
        let numbers = spread.map(|it| {
            let half = it
                .interval
                .map_or(String::new(), |[low, high]| format!(" ± {:.2}", (high - low) / 2.0));
            format!("Correlation over the runs of a seed, mean over seeds: {:.2}{half}", it.mean)
        });
        let claim = "The better a predictor applies actions, the worse a linear probe does";
        Claim { claim: claim.into(), verdict, numbers: or_nothing(numbers.into_iter().collect()) }
    }
}

/// An MRR this near to chance is chance.
const CLOSE: f64 = 0.01;

/// Holds where the interval is above 0, does not where it is below.
fn positive(difference: Spread) -> Verdict {
    match difference.interval {
        Some([low, _]) if low > 0.0 => Verdict::Holds,
        Some([_, high]) if high < 0.0 => Verdict::DoesNotHold,
        _ => Verdict::Undecided,
    }
}

/// Pearson's r; `None` of fewer than three pairs, or where a side does not vary.
fn correlation(pairs: &[[f64; 2]]) -> Option<f64> {
    let n = pairs.len() as f64;
    let mean = [0, 1].map(|side| pairs.iter().map(|pair| pair[side]).sum::<f64>() / n);
    let product = |a: usize, b: usize| {
        pairs.iter().map(|pair| (pair[a] - mean[a]) * (pair[b] - mean[b])).sum::<f64>()
    };
    let spread = (product(0, 0) * product(1, 1)).sqrt();
    (pairs.len() > 2 && spread > 0.0).then(|| product(0, 1) / spread)
}

/// The latest score of the trained encoder.
fn found(record: &Record, fits: impl Fn(&Score) -> bool) -> Option<f64> {
    let trained =
        |it: &&Score| it.encoder == "trained" && it.layer.is_empty() && it.test.is_empty();
    record.scores.iter().rev().filter(trained).find(|score| fits(score)).map(|score| score.value)
}

fn world(record: &Record, metric: &str) -> Option<f64> {
    found(record, |it| it.protocol == "world" && it.metric == metric)
}

/// Top-1 of the linear probe; the empty task is the recipe's own.
fn linear(record: &Record, task: &str) -> Option<f64> {
    found(record, |it| it.protocol == "linear" && it.metric == "top1" && it.task == task)
}

fn groups(plan: &Plan, records: &[Record]) -> Vec<Group> {
    let rows = trained(records);
    let chance = records.iter().find_map(|record| world(record, "mrr_chance"));
    let chance = chance.map(|chance| (chance, "by chance".to_string()));
    let mut groups = Vec::new();
    for axis in plan.axes.iter().filter(|axis| axis.points.len() > 1) {
        let mrr =
            plot(plan, axis, &rows, "MRR", |row| row.scores.get("world mrr").map(|it| it.trained));
        groups.push(Group {
            title: format!("Against {}", axis.name),
            about: format!(
                "Means over seeds with 95 % intervals. Everything else is at its usual place ({}).",
                usual(plan, axis)
            ),
            plots: [
                Plot { reference: chance.clone(), ..mrr },
                plot(plan, axis, &rows, "Linear probe, %", |row| percent(row, "linear top1")),
                plot(plan, axis, &rows, "Attentive probe, %", |row| percent(row, "attentive top1")),
                plot(plan, axis, &rows, "R² of the change from both embeddings", |row| {
                    row.scores.get("world r2_mean").map(|it| it.trained)
                }),
            ]
            .into(),
        });
    }
    groups.push(Group {
        title: "Along training".into(),
        about: "At the usual points, mean over seeds; of smaller banks than at the end.".into(),
        plots: [("MRR", "mrr"), ("R² of the change", "r2_mean"), ("k-NN", "knn")]
            .map(|(title, name)| Plot {
                title: title.into(),
                x: "epoch".into(),
                lines: plan
                    .variants
                    .iter()
                    .map(|it| along(records, &it.name, name, &it.name))
                    .collect(),
                ..Plot::default()
            })
            .into(),
    });
    groups.push(Group {
        title: "What it costs and gives the encoder".into(),
        about: "Every run at its MRR: from invariant, left, to equivariant, right.".into(),
        plots: [("Linear probe, %", "linear"), ("Attentive probe, %", "attentive")]
            .map(|(title, protocol)| spectrum(plan, records, title, protocol))
            .into(),
    });
    groups
}

/// The accuracy of each run over its MRR, a line for each variant.
fn spectrum(plan: &Plan, records: &[Record], title: &str, protocol: &str) -> Plot {
    let lines = plan.variants.iter().map(|variant| {
        let runs = records.iter().filter(|it| it.cell.variant == variant.name);
        let mut points: Vec<Point> = runs
            .filter_map(|run| {
                let top1 = found(run, |it| {
                    it.protocol == protocol && it.metric == "top1" && it.task.is_empty()
                });
                Some(Point { x: world(run, "mrr")?, y: top1? * 100.0, interval: None })
            })
            .collect();
        points.sort_by(|a, b| a.x.total_cmp(&b.x));
        Line { name: variant.name.clone(), points }
    });
    Plot { title: title.into(), x: "MRR".into(), lines: lines.collect(), ..Plot::default() }
}

#[cfg(test)]
mod tests;
