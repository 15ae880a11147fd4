//! What a shifted test costs.

use std::collections::BTreeMap;

use report::record::Score;
use tch::Tensor;

use super::{Answers, Sheet, right};
use crate::evaluation::{RESAMPLES, Test, Units, bootstrap_units, independent_difference, mean_of};

/// `gap`: the accuracy on the task's own test minus that on the shifted one. Where the shifted test's classes are some
/// of the training classes, both are of those classes, and both answer with no others: else the shift would be
/// confused with the easier question. The samples are others, so that each side is resampled by itself.
pub(super) fn gap(sheet: &Sheet, shifted: &Answers, own: &Test, probabilities: &Tensor) -> Score {
    let limit = sheet.test.answers.as_deref();
    let all = right(probabilities, &own.rows.y, limit);
    let asked = |row: &usize| {
        let label = own.rows.y[*row] as usize;
        limit.is_none_or(|limit| limit.get(label).copied().unwrap_or(false))
    };
    let rows: Vec<usize> = (0..all.len()).filter(asked).collect();
    let clean: Vec<f64> = rows.iter().map(|&row| all[row]).collect();
    let groups: Vec<_> =
        rows.iter().map(|&row| own.rows.groups.get(row).copied().flatten()).collect();
    let units = Units::of(&groups, rows.len());
    let (value, interval) =
        independent_difference((&clean, &units), (&shifted.right, &sheet.units), RESAMPLES, 0);
    let mut score = sheet.plain("gap", value);
    // No sample of these classes in the task's own test: no gap.
    score.interval = (!clean.is_empty()).then_some(interval);
    let from = format!(", from {} clean samples", clean.len());
    score.setting.push_str(&from);
    score
}

/// `corruption_error`, where two tests or more are named `corruption/severity` (`fog/3`): the mean over corruptions of
/// the mean error over severities. It is the mean corruption error of Hendrycks 2019 without the division by AlexNet's
/// errors, which are known for ImageNet only. It has an interval where all these tests are of the same samples: each
/// sample is then resampled with all its corruptions.
pub(super) fn corruption_error(sheet: &Sheet, tests: &[(&Test, Vec<f64>)]) -> Option<Score> {
    let mut corruptions: BTreeMap<&str, Vec<&(&Test, Vec<f64>)>> = BTreeMap::new();
    for entry in tests {
        let named = entry.0.name.rsplit_once('/');
        if let Some((corruption, _)) = named.filter(|(_, severity)| severity.parse::<u32>().is_ok())
        {
            corruptions.entry(corruption).or_default().push(entry);
        }
    }
    let found: Vec<_> = corruptions.values().flatten().collect();
    if found.len() < 2 {
        return None;
    }
    let labels = &found[0].0.rows.y;
    let mean = |list: &mut dyn Iterator<Item = f64>, n: usize| list.sum::<f64>() / n as f64;
    let error = |of: &dyn Fn(&[f64]) -> f64| {
        let severities = |tests: &Vec<&(&Test, Vec<f64>)>| {
            mean(&mut tests.iter().map(|test| 1.0 - of(&test.1)), tests.len())
        };
        mean(&mut corruptions.values().map(severities), corruptions.len())
    };
    let value = error(&|right: &[f64]| mean(&mut right.iter().copied(), right.len()));
    let mut score = sheet.plain("corruption_error", value);
    if found.iter().all(|(test, _)| test.rows.y == *labels) {
        let items: Vec<f64> = (0..labels.len()).map(|row| error(&|right| right[row])).collect();
        let units = Units::of(&found[0].0.rows.groups, items.len());
        score.interval =
            Some(bootstrap_units(&units, RESAMPLES, 0, |chosen| mean_of(&items, chosen)));
    }
    score.samples = labels.len();
    let (kinds, tests) = (corruptions.len(), found.len());
    let of = format!(", {kinds} corruptions in {tests} tests");
    score.setting.push_str(&of);
    Some(score)
}
