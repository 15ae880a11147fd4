use serde_json::Value;
use tch::Device;

use super::*;
use crate::evaluation::recorded;

/// Convergence of both sides: scikit-learn's gradient was below 1e-10 too.
const LIMITS: Limits = Limits { tolerance: 1e-10, iterations: 10_000 };

fn tensor(list: &Value) -> Tensor {
    let rows: Vec<Vec<f64>> = serde_json::from_value(list.clone()).unwrap();
    Tensor::from_slice(&rows.concat()).view([rows.len() as i64, -1])
}

fn labels(part: &Value) -> Vec<u32> {
    serde_json::from_value(part["y"].clone()).unwrap()
}

fn problem(x: Tensor, y: &[u32], classes: i64) -> Problem {
    let labels = label_tensor(y, Device::Cpu).unsqueeze(0);
    Problem { x, labels, classes, standard: None }
}

fn off(found: &Tensor, wanted: &Tensor) -> f64 {
    (found - wanted).abs().max().double_value(&[])
}

/// rows × columns of sin(0.7 i + 1.3 j + 0.1 i j).
fn waves(rows: i64, columns: i64) -> Tensor {
    let values: Vec<f64> = (0..rows * columns)
        .map(|place| ((place / columns) as f64, (place % columns) as f64))
        .map(|(i, j)| (0.7 * i + 1.3 * j + 0.1 * i * j).sin())
        .collect();
    Tensor::from_slice(&values).view([rows, columns])
}

#[test]
fn coefficients_and_objective_have_their_published_values() {
    let y: Vec<u32> = (0..12).map(|row| row % 3).collect();
    let problem = problem(waves(12, 3), &y, 3);
    let cases = [
        (0.316, [-0.086_774_04, 0.108_116_43, 0.042_827_02], 4.125_456_03),
        (1.0, [-0.130_049_54, 0.184_356_78, 0.066_661_71], 12.975_145_10),
        (100.0, [-0.147_267_37, 0.286_453_47, 0.112_026_83], 1_288.829_517_56),
    ];
    for (c, first_row, objective) in cases {
        let (found, minimum) = problem.solve(c, None, LIMITS);
        assert!(minimum.converged);
        let (weights, bias) = parts(&found.parameters, 3);
        // Eight decimals are printed; the weights are as near as the square root of the objective's rounding.
        assert!(off(&weights.get(0), &Tensor::from_slice(&first_row)) < 1e-6, "C={c}");
        assert!((minimum.value * c * 12.0 - objective).abs() < 1e-8, "C={c}");
        // From zeros the biases move within the plane of zero sum.
        assert!(bias.sum(Kind::Double).double_value(&[]).abs() < 1e-9);
    }
}

#[test]
fn five_classes_and_two_are_those_of_scikit_learn() {
    let file = recorded();
    let (x, y) = (tensor(&file["train"]["x"]), labels(&file["train"]));
    let (tests, wanted) = (tensor(&file["test"]["x"]), labels(&file["test"]));
    let of_two = |x: &Tensor, y: &[u32]| {
        let rows: Vec<i64> = (0..y.len()).filter(|&row| y[row] < 2).map(|row| row as i64).collect();
        let y: Vec<u32> = rows.iter().map(|&row| y[row as usize]).collect();
        (x.index_select(0, &Tensor::from_slice(&rows)), y)
    };
    for (name, classes, (x, y), (tests, wanted)) in [
        ("logistic", 5, (x.shallow_clone(), y.clone()), (tests.shallow_clone(), wanted.clone())),
        ("binary", 2, of_two(&x, &y), of_two(&tests, &wanted)),
    ] {
        let problem = problem(x, &y, classes);
        let mut last: Option<Logistic> = None;
        for case in file[name].as_array().unwrap() {
            let c = case["c"].as_f64().unwrap();
            let (found, minimum) = problem.solve(c, last.as_ref(), LIMITS);
            let objective = minimum.value * c * y.len() as f64;
            let ratio = objective / case["objective"].as_f64().unwrap();
            assert!((ratio - 1.0).abs() < 1e-9, "{name} C={c}: {ratio}");
            let (weights, bias) = parts(&found.parameters, 16);
            // Where two classes are divided exactly the minimum is flat: at C = 100 scikit-learn's L-BFGS ends 2e-6 of
            // the largest weight away from its own Newton method.
            let (wanted_weights, largest) = (tensor(&case["weights"]), weights.abs().max());
            let near = 1e-5 * largest.double_value(&[]);
            assert!(off(&weights, &wanted_weights) < near, "{name} C={c}");
            let biases: Vec<f64> = serde_json::from_value(case["bias"].clone()).unwrap();
            assert!(off(&bias.view(-1), &Tensor::from_slice(&biases)) < near, "{name} C={c}");
            let found_log = found.log_probabilities(&tests);
            let shown = found_log.narrow(0, 0, 8).exp();
            // f32 log-probabilities; of two classes, the flat minimum.
            assert!(off(&shown, &tensor(&case["probabilities"])) < 1e-5, "{name} C={c}");
            let accuracy = Trial::of(&found_log, &wanted).accuracy;
            assert!((accuracy - case["accuracy"].as_f64().unwrap()).abs() < 1e-12, "{name} C={c}");
            last = Some(found);
        }
    }
}

#[test]
fn single_precision_ends_near_the_same_minimum() {
    let file = recorded();
    let (x, y) = (tensor(&file["train"]["x"]).to_kind(Kind::Float), labels(&file["train"]));
    let problem = problem(x, &y, 5);
    for case in file["logistic"].as_array().unwrap() {
        let c = case["c"].as_f64().unwrap();
        let (_, minimum) = problem.solve(c, None, Limits { tolerance: 1e-5, iterations: 1000 });
        let ratio = minimum.value * c * 300.0 / case["objective"].as_f64().unwrap();
        // f32 rounds each row's loss by 6e-8 of it; the search stops where a step gains 1e-7.
        assert!(minimum.converged && (ratio - 1.0).abs() < 5e-6, "C={c}: {ratio}");
    }
}

#[test]
fn the_gradient_is_that_of_the_value() {
    for classes in [2, 3] {
        tch::manual_seed(4);
        let y = [0, 1, 1, classes as u32 - 1, 0];
        let problem = problem(Tensor::randn([5, 4], (Kind::Double, Device::Cpu)), &y, classes);
        let size = if classes == 2 { 5 } else { 15 };
        let at = Tensor::randn([size], (Kind::Double, Device::Cpu));
        let (_, gradient) = problem.value_and_gradient(&at, 0.3);
        for place in 0..size {
            let moved = |by: f64| {
                let to = at.copy();
                let _ = to.get(place).g_add_scalar_(by);
                problem.value_and_gradient(&to, 0.3).0
            };
            let slope = (moved(1e-5) - moved(-1e-5)) / 2e-5;
            // A central difference errs by its step squared and by rounding over its step.
            assert!((slope - gradient.double_value(&[place])).abs() < 1e-8);
        }
    }
}

fn table(part: &Value) -> FeatureTable {
    let labels = labels(part).into_iter().map(Some).collect();
    FeatureTable::new(tensor(&part["x"]), labels, Vec::new()).unwrap()
}

#[test]
fn c_is_chosen_on_held_out_rows_and_said() {
    let file = recorded();
    let (train, test) = (table(&file["train"]), table(&file["test"]));
    let config = LogisticConfig { cs: vec![1.0, 0.01, 100.0, 0.1], ..LogisticConfig::default() };
    let outcome = evaluate(&train, &[("", &test)], "x", &config).unwrap();
    let setting = &outcome.scores[0].setting;
    assert!(setting.starts_with("C=") && setting.contains(" raw features of 4, "), "{setting}");
    // scikit-learn has 0.717 to 0.758 over this range.
    assert!((0.7..0.78).contains(&outcome.scores[0].value), "{}", outcome.scores[0].value);
    let one = LogisticConfig { cs: vec![1.0], ..LogisticConfig::default() };
    let outcome = evaluate(&train, &[("", &test)], "x", &one).unwrap();
    assert_eq!(outcome.scores[0].setting, "C=1 raw features");
    assert!((outcome.scores[0].value - 0.725).abs() < 1e-12);
    let few = LogisticConfig { iterations: 2, ..one };
    let outcome = evaluate(&train, &[("", &test)], "x", &few).unwrap();
    assert!(outcome.scores[0].setting.ends_with("not converged in 2 steps"));
}

#[test]
fn standardised_features_forget_their_scale() {
    let file = recorded();
    let scaled = |part: &Value| {
        let scales = Tensor::logspace(-4.0, 4.0, 16, 10.0, (Kind::Float, Device::Cpu));
        let table = table(part);
        FeatureTable::new(&table.x * scales + 3.0, table.labels, Vec::new()).unwrap()
    };
    let config = LogisticConfig { cs: vec![1.0], standardise: true, ..LogisticConfig::default() };
    let run = |train: FeatureTable, test: FeatureTable| {
        evaluate(&train, &[("", &test)], "x", &config).unwrap()
    };
    let plain = run(table(&file["train"]), table(&file["test"]));
    let far = run(scaled(&file["train"]), scaled(&file["test"]));
    // The offset rounds the small dimensions; an answer at the border may turn.
    assert!((plain.scores[0].value - far.scores[0].value).abs() < 0.03);
    assert_eq!(plain.scores[0].setting, "C=1 standardised features");
}

#[test]
fn settings_without_meaning_and_a_test_on_train_are_refused() {
    let file = recorded();
    let (train, test) = (table(&file["train"]), table(&file["test"]));
    let default = LogisticConfig::default;
    for config in [
        LogisticConfig { cs: vec![], ..default() },
        LogisticConfig { cs: vec![0.0], ..default() },
        LogisticConfig { tolerance: f64::NAN, ..default() },
        LogisticConfig { iterations: 0, ..default() },
    ] {
        assert!(evaluate(&train, &[("", &test)], "x", &config).is_err(), "{config:?}");
    }
    let error = evaluate(&train, &[("", &train)], "x", &default()).unwrap_err();
    assert!(error.to_string().contains("logistic: the training and the test table"), "{error}");
}
