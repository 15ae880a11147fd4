use pixels::draw::{Draw, Purpose};
use tch::{Device, Kind};

use super::sgd::Head;
use super::*;
use crate::evaluation::Labelled;

/// Three classes around three corners, with dimensions of very different scales.
fn corners(rows: usize, seed: u64) -> FeatureTable {
    let mut stream = Draw::of_seed(seed).stream(Purpose::World);
    let labels: Vec<u32> = (0..rows).map(|_| stream.below(3) as u32).collect();
    let scales = [1000.0, 1.0, 0.001, 1.0];
    let values: Vec<f32> = labels
        .iter()
        .flat_map(|&label| {
            let noise: Vec<f64> = (0..4).map(|_| stream.normal()).collect();
            (0..4).map(move |d| {
                let centre = if d == label as usize { 4.0 } else { 0.0 };
                ((noise[d] + centre) * scales[d]) as f32
            })
        })
        .collect();
    let x = Tensor::from_slice(&values).view([-1, 4]);
    FeatureTable::new(x, labels.into_iter().map(Some).collect(), Vec::new()).unwrap()
}

fn labelled(table: &FeatureTable) -> Labelled {
    let y = table.labels.iter().flatten().copied().collect();
    let samples = table.samples.clone();
    Labelled { x: table.x.shallow_clone(), y, groups: Vec::new(), samples }
}

fn quick() -> LinearConfig {
    LinearConfig { epochs: 30, batch: 64, ..LinearConfig::default() }
}

#[test]
fn the_gradient_is_that_of_the_cross_entropy() {
    tch::manual_seed(2);
    let x = Tensor::randn([5, 4], (Kind::Double, Device::Cpu));
    let labels = Tensor::from_slice(&[0i64, 2, 1, 2, 2]);
    let variable =
        |shape: &[i64]| Tensor::randn(shape, (Kind::Double, Device::Cpu)).set_requires_grad(true);
    let head = Head { weights: variable(&[6, 4]), bias: variable(&[6, 1]) };
    let loss = |setting: i64| {
        let logits = (head.weights.matmul(&x.tr()) + &head.bias).tr();
        logits.narrow(1, setting * 3, 3).log_softmax(-1, Kind::Double).nll_loss(&labels)
    };
    (loss(0) + loss(1)).backward();
    let found = tch::no_grad(|| head.gradient(&x, &labels, 3));
    // Rounding of f64.
    assert!(found.weights.allclose(&head.weights.grad(), 0.0, 1e-12, false));
    assert!(found.bias.allclose(&head.bias.grad(), 0.0, 1e-12, false));
}

#[test]
fn settings_trained_together_are_settings_trained_alone() {
    let rows = labelled(&corners(100, 1));
    let alone = Setting { lr: 0.1, weight_decay: 1e-2 };
    // The neighbour diverges at once: its rate is beyond f32.
    let wild = Setting { lr: 1e39, weight_decay: 0.0 };
    let found = |settings: &[Setting], index: usize| {
        fit(&rows, 3, settings, &quick()).log_probabilities(&rows.x).remove(index)
    };
    let (single, together) = (found(&[alone], 0), found(&[wild, alone], 1));
    // A matrix product of another width may sum in another order, step after step.
    assert!(together.allclose(&single, 1e-4, 1e-4, false));
    assert!(single.abs().max().double_value(&[]) > 1.0, "it has learned");
}

#[test]
fn one_step_is_the_schedules_first() {
    let rows = labelled(&corners(20, 1));
    let config = LinearConfig { epochs: 1, batch: 20, ..quick() };
    let moved = |lr: f64| {
        fit(&rows, 3, &[Setting { lr, weight_decay: 0.0 }], &config)
            .log_probabilities(&rows.x)
            .remove(0)
    };
    let still = moved(1e-30);
    // Small steps: a log-probability is curved in the rate, by its square.
    let (one, two) = (moved(0.001) - &still, moved(0.002) - &still);
    // The step is proportional to the rate: lr · 20 / 256, with the whole cosine.
    assert!(two.allclose(&(one * 2.0), 1e-2, 1e-6, false));
}

#[test]
fn separable_classes_are_told_apart_whatever_the_scale_of_a_dimension() {
    let (train, test) = (corners(300, 1), corners(200, 2));
    let outcome = evaluate(&train, &[("", &test)], "trained", &quick()).unwrap();
    let score = &outcome.scores[0];
    assert!(outcome.scores.iter().all(|score| score.metric != "top5"), "of three classes");
    assert_eq!((score.protocol.as_str(), score.metric.as_str()), ("linear", "top1"));
    assert_eq!(score.samples, 200);
    // The ideal rule errs where noise of deviation √2 crosses half of the distance 4√2 to one of two corners: 0.2 %
    // to each side; five errors of 200 would be rare.
    assert!(score.value > 0.97, "{}", score.value);
    assert!(score.setting.starts_with("lr=") && score.setting.contains(" wd=0 of 13"));
    let right = outcome.items.iter().sum::<f64>();
    assert_eq!(right / 200.0, score.value);
}

#[test]
fn the_same_seed_gives_the_same_numbers() {
    let (train, test) = (corners(60, 1), corners(60, 2));
    let config = LinearConfig { learning_rates: vec![0.01, 0.1], ..quick() };
    let run = || evaluate(&train, &[("", &test)], "x", &config).unwrap();
    let (one, two) = (run(), run());
    assert_eq!(one.items, two.items);
    assert_eq!(one.scores[0].setting, two.scores[0].setting);
}

#[test]
fn diverged_settings_are_not_chosen() {
    let (train, test) = (corners(60, 1), corners(60, 2));
    let config = LinearConfig { learning_rates: vec![0.1, 1e39], ..quick() };
    let outcome = evaluate(&train, &[("", &test)], "x", &config).unwrap();
    assert!(outcome.scores[0].setting.starts_with("lr=0.1 "), "{}", outcome.scores[0].setting);
    let config = LinearConfig { learning_rates: vec![1e39], ..quick() };
    let error = evaluate(&train, &[("", &test)], "x", &config).unwrap_err();
    assert!(error.to_string().contains("diverged"), "{error}");
}

#[test]
fn settings_without_meaning_and_a_test_on_train_are_refused() {
    let (train, test) = (corners(30, 1), corners(30, 2));
    for config in [
        LinearConfig { learning_rates: vec![], ..quick() },
        LinearConfig { learning_rates: vec![0.0], ..quick() },
        LinearConfig { weight_decays: vec![-1.0], ..quick() },
        LinearConfig { epochs: 0, ..quick() },
        LinearConfig { batch: 0, ..quick() },
    ] {
        assert!(evaluate(&train, &[("", &test)], "x", &config).is_err(), "{config:?}");
    }
    assert!(evaluate(&train, &[("", &train)], "x", &quick()).is_err());
}

#[test]
fn constant_features_give_the_commonest_class() {
    let same = |seed| {
        let x = Tensor::ones([60, 4], (Kind::Float, Device::Cpu));
        FeatureTable::new(x, corners(60, seed).labels, Vec::new()).unwrap()
    };
    let outcome = evaluate(&same(1), &[("", &same(2))], "x", &quick()).unwrap();
    // Near a third: a score, and no NaN.
    assert!(outcome.scores[0].value > 0.1 && outcome.scores[0].value < 0.6);
}
