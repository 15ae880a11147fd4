use std::time::Instant;

use serde_json::Value;

use super::*;
use crate::evaluation::{FeatureTable, recorded};

fn table(labels: &[u32], classes: &[&str]) -> FeatureTable {
    let x = Tensor::arange(labels.len() as i64, (Kind::Float, Device::Cpu)).view([-1, 1]);
    let labels = labels.iter().copied().map(Some).collect();
    FeatureTable::new(x, labels, classes.iter().map(ToString::to_string).collect()).unwrap()
}

fn log<R: AsRef<[f64]>>(rows: &[R]) -> Tensor {
    let values = rows.iter().flat_map(AsRef::as_ref);
    let values: Vec<f32> = values.map(|p| p.ln() as f32).collect();
    Tensor::from_slice(&values).view([rows.len() as i64, -1])
}

/// Judges what `predict` says of tests by their names.
fn judged(
    train: &FeatureTable,
    tests: &[(&str, &FeatureTable)],
    predict: impl Fn(&Test) -> Tensor,
) -> Outcome {
    let task = Task::new(train, tests).unwrap();
    let fitted = Fitted { predict: Box::new(predict), held: None, setting: "s".into() };
    judge(&task, &fitted, Origin { protocol: "p", version: 3, encoder: "e", start: Instant::now() })
}

fn find<'a>(outcome: &'a Outcome, metric: &str, test: &str) -> &'a Score {
    outcome.scores.iter().find(|score| score.metric == metric && score.test == test).unwrap()
}

#[test]
fn calibration_errors_have_their_published_values() {
    let confidence = [0.97, 0.93, 0.86, 0.81, 0.74, 0.69, 0.64, 0.58, 0.53, 0.47, 0.42, 0.38];
    let right = [1.0, 1.0, 1.0, 0.0, 1.0, 1.0, 0.0, 1.0, 0.0, 1.0, 0.0, 0.0];
    for (bins, ece, mce) in [(10, 0.163_333_33, 0.38), (15, 0.266_666_67, 0.64), (5, 0.085, 0.38)] {
        let found = calibration_error(&confidence, &right, bins);
        // Eight decimals are printed.
        assert!((found.0 - ece).abs() < 1e-8 && (found.1 - mce).abs() < 1e-8, "{bins}: {found:?}");
    }
    assert!((equal_mass_error(&confidence, &right, 4) - 0.125).abs() < 1e-12);
    // A bin holds its upper border, and the first one 0.
    assert_eq!(calibration_error(&[0.5, 0.6, 0.0], &[1.0, 0.0, 0.0], 2).1, 0.6);
    assert!(calibration_error(&[], &[], 15).0.is_nan());
}

#[test]
fn scores_of_a_classifier_are_those_of_scikit_learn_and_numpy() {
    let file = recorded();
    let part = |name: &str| {
        let rows: Vec<Vec<f32>> = serde_json::from_value(file[name]["x"].clone()).unwrap();
        let labels: Vec<u32> = serde_json::from_value(file[name]["y"].clone()).unwrap();
        let x = Tensor::from_slice(&rows.concat()).view([rows.len() as i64, -1]);
        FeatureTable::new(x, labels.into_iter().map(Some).collect(), Vec::new()).unwrap()
    };
    let classifier = |c: usize| {
        let case = &file["logistic"][c];
        let weights: Vec<Vec<f64>> = serde_json::from_value(case["weights"].clone()).unwrap();
        let bias: Vec<f64> = serde_json::from_value(case["bias"].clone()).unwrap();
        let weights = Tensor::from_slice(&weights.concat()).view([5, 16]);
        (weights, Tensor::from_slice(&bias))
    };
    let answer = |(weights, bias): &(Tensor, Tensor), test: &Test| {
        let logits = test.rows.x.to_kind(Kind::Double).matmul(&weights.tr()) + bias;
        logits.log_softmax(1, None).to_kind(Kind::Float)
    };
    let (train, test) = (part("train"), part("test"));
    let one = classifier(2);
    let outcome = judged(&train, &[("", &test)], |test| answer(&one, test));
    for (metric, wanted) in file["judged"].as_object().unwrap() {
        let found = find(&outcome, metric, "").value;
        // f32 log-probabilities.
        assert!(
            (found - wanted.as_f64().unwrap()).abs() < 1e-6,
            "{metric}: {found} is not {wanted}"
        );
    }
    let weak = classifier(3);
    let task = Task::new(&train, &[("", &test)]).unwrap();
    let found = answer(&weak, &task.tests[0]);
    let labels = &task.tests[0].rows.y;
    let number = |value: &Value| value.as_f64().unwrap();
    let wanted = &file["temperature"];
    // Both searches end within 1e-8 of a flat minimum; f32 logits move it.
    let t = temperature(&found, labels);
    assert!((t - number(&wanted["value"])).abs() < 1e-5, "{t}");
    let held = Some((found.shallow_clone(), labels.clone()));
    let fitted = Fitted { predict: Box::new(|_| found.shallow_clone()), held, setting: "s".into() };
    let origin = Origin { protocol: "p", version: 1, encoder: "e", start: Instant::now() };
    let outcome = judge(&task, &fitted, origin);
    let scaled = find(&outcome, "nll_scaled", "");
    assert!((scaled.value - number(&wanted["nll"])).abs() < 1e-6);
    assert_eq!(scaled.setting, "s, scaled by T=1.356 of 120 held-out rows");
    assert!((find(&outcome, "nll", "").value - number(&wanted["nll_before"])).abs() < 1e-6);
}

#[test]
fn recall_is_averaged_over_the_classes_of_the_test() {
    // Eight of class 0 with seven right, two of class 1 with one right, and a third class that is not asked about.
    let labels = [0, 0, 0, 0, 0, 0, 0, 0, 1, 1];
    let answers = [0, 0, 0, 0, 0, 0, 0, 2, 1, 0];
    let rows: Vec<Vec<f64>> = answers
        .iter()
        .map(|&answer| (0..3).map(|class| if class == answer { 0.8 } else { 0.1 }).collect())
        .collect();
    let outcome = judged(&table(&[0, 1, 2], &[]), &[("", &table(&labels, &[]))], |_| log(&rows));
    assert_eq!(find(&outcome, "top1", "").value, 0.8);
    let score = find(&outcome, "mean_per_class", "");
    assert!((score.value - 0.6875).abs() < 1e-12, "{}", score.value);
    let [low, high] = score.interval.unwrap();
    assert!(low < score.value && score.value < high);
    assert_eq!((score.samples, score.setting.as_str()), (10, "s"));
}

#[test]
fn of_equal_answers_the_lower_class_is_the_first_and_the_last_of_five() {
    let same = log(&[[0.1, 0.18, 0.18, 0.18, 0.18, 0.18]; 3]);
    let answers = Answers::of(&same, &[1, 5, 0], None);
    assert_eq!(answers.right, [1.0, 0.0, 0.0]);
    // Five are equal: each is among five. The sixth is not.
    assert_eq!(answers.right_among_five(), [1.0, 1.0, 0.0]);
    // What got no vote is not among five because of its number.
    let one = log(&[[0.01, 0.95, 0.01, 0.01, 0.01, 0.01]]);
    assert_eq!(Answers::of(&one, &[0], None).right_among_five(), [0.0]);
}

#[test]
fn top5_is_for_more_than_five_classes() {
    let metrics = |classes: u32| {
        let all: Vec<u32> = (0..classes).collect();
        let outcome = judged(&table(&all, &[]), &[("", &table(&all, &[]))], |test| {
            Tensor::zeros(
                [test.rows.y.len() as i64, i64::from(classes)],
                (Kind::Float, Device::Cpu),
            )
            .log_softmax(1, None)
        });
        outcome.scores.into_iter().map(|score| score.metric).collect::<Vec<_>>()
    };
    assert!(!metrics(5).contains(&"top5".to_string()));
    assert!(metrics(6).contains(&"top5".to_string()));
}

#[test]
fn samples_of_unknown_classes_are_wrong_and_have_no_cross_entropy() {
    let train = table(&[0, 1], &["cat", "dog"]);
    let test = table(&[0, 1, 1], &["cat", "newt"]);
    let outcome = judged(&train, &[("", &test)], |_| log(&[[0.5, 0.5]; 3]));
    assert_eq!(outcome.items, [1.0, 0.0, 0.0]);
    let nll = find(&outcome, "nll", "");
    // ln 2 in f32, of the only cat.
    assert!((nll.value - std::f64::consts::LN_2).abs() < 1e-7 && nll.samples == 1);
    // (0.5² + 0.5²) for the cat, and 1 more for each newt.
    let brier = find(&outcome, "brier", "").value;
    assert!((brier - (0.5 + 1.5 + 1.5) / 3.0).abs() < 1e-6, "{brier}");
    assert_eq!(nll.setting, "s (2 samples of 1 classes not in training)");
    assert_eq!(find(&outcome, "mean_per_class", "").value, 0.5);
}

#[test]
fn a_set_of_some_classes_is_answered_with_them_and_compared_with_them() {
    let train = table(&[0, 1, 2], &["cat", "dog", "emu"]);
    let own = table(&[0, 1, 2, 2], &["cat", "dog", "emu"]);
    let art = table(&[0, 1], &["emu", "cat"]);
    let clean = [[0.2, 0.5, 0.3], [0.2, 0.5, 0.3], [0.2, 0.5, 0.3], [0.6, 0.3, 0.1]];
    let shifted = [[0.2, 0.5, 0.3]; 2];
    let outcome = judged(&train, &[("", &own), ("art", &art)], |test| {
        if test.name.is_empty() { log(&clean) } else { log(&shifted) }
    });
    // The own test is answered with all classes: the dog alone is right.
    assert_eq!(outcome.items, [0.0, 1.0, 0.0, 0.0]);
    // Without dogs, all are taken for emus.
    let top1 = find(&outcome, "top1", "art");
    assert_eq!((top1.value, top1.samples), (0.5, 2));
    assert_eq!(top1.setting, "s (answers limited to its 2 classes)");
    // ln of 0.2 + 0.3 over 0.3 and 0.2, in f32.
    let nll = find(&outcome, "nll", "art").value;
    assert!((nll - f64::midpoint(f64::ln(0.5 / 0.3), f64::ln(0.5 / 0.2))).abs() < 1e-6, "{nll}");
    // Cats and emus of the own test, answered in the same way: one of three is right.
    let gap = find(&outcome, "gap", "art");
    assert!((gap.value - (1.0 / 3.0 - 0.5)).abs() < 1e-12, "{}", gap.value);
    assert!(gap.setting.ends_with(", from 3 clean samples"));
    assert!(gap.interval.unwrap()[0] < gap.value);
    assert!(outcome.scores.iter().all(|score| score.metric != "corruption_error"));
}

#[test]
fn the_corruption_error_counts_each_corruption_once() {
    let train = table(&[0, 1], &[]);
    let test = table(&[0, 0, 0, 0], &[]);
    // Errors: fog 1/4 and 3/4, blur 1/2. The sketch is no corruption.
    let wrong = BTreeMap::from([("", 0), ("fog/1", 1), ("fog/5", 3), ("blur/3", 2), ("sketch", 4)]);
    let tests: Vec<(&str, &FeatureTable)> =
        ["", "fog/1", "sketch", "blur/3", "fog/5"].iter().map(|&name| (name, &test)).collect();
    let answer = |test: &Test| {
        let row =
            |row: usize| if row < wrong[test.name.as_str()] { [0.1, 0.9] } else { [0.9, 0.1] };
        let rows: Vec<[f64; 2]> = (0..4).map(row).collect();
        log(&rows)
    };
    let outcome = judged(&train, &tests, answer);
    let score = find(&outcome, "corruption_error", "");
    assert!((score.value - 0.5).abs() < 1e-12, "{}", score.value);
    assert_eq!(score.setting, "s, 2 corruptions in 3 tests");
    let [low, high] = score.interval.unwrap();
    assert!(low < 0.5 && high > 0.5);
    assert_eq!(find(&outcome, "gap", "blur/3").value, 0.5);
    // Other samples: the mean stands, and nothing can be resampled together.
    let fewer = table(&[0, 0], &[]);
    let outcome = judged(&train, &[("", &test), ("fog/1", &test), ("fog/2", &fewer)], |test| {
        log(&[[0.9, 0.1]; 4]).narrow(0, 0, test.rows.y.len() as i64)
    });
    let score = find(&outcome, "corruption_error", "");
    assert_eq!((score.value, score.interval), (0.0, None));
}

#[test]
fn groups_are_resampled_whole() {
    let train = table(&[0, 1], &[]);
    let labels: Vec<u32> = (0..40).map(|row| u32::from(row < 20)).collect();
    let alone = table(&labels, &[]);
    let groups = (0..40).map(|row| Some(row / 10)).collect();
    let grouped = FeatureTable { groups, ..table(&labels, &[]) };
    let width = |test: &FeatureTable| {
        let outcome = judged(&train, &[("", test)], |_| log(&[[0.9, 0.1]; 40]));
        let score = find(&outcome, "top1", "");
        assert_eq!(score.value, 0.5);
        let [low, high] = score.interval.unwrap();
        (high - low, score.setting.clone())
    };
    let (of_items, of_groups) = (width(&alone), width(&grouped));
    // Four groups of equal answers are as good as four samples, not forty.
    assert!(of_groups.0 > 2.0 * of_items.0, "{of_groups:?} {of_items:?}");
    assert_eq!(of_groups.1, "s (intervals over 4 groups)");
}
