use pixels::draw::{Draw, Purpose};
use tch::Device;

use super::sgd::Head;
use super::*;

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
    FeatureTable {
        x: Tensor::from_slice(&values).view([-1, 4]),
        labels: labels.into_iter().map(Some).collect(),
        samples: (0..rows).collect(),
        skipped: Vec::new(),
        classes: Vec::new(),
    }
}

fn labelled(table: &FeatureTable) -> Labelled {
    Labelled { x: table.x.shallow_clone(), y: table.labels.iter().flatten().copied().collect() }
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
    let logits = |settings: &[Setting], index: i64| {
        let mut logits = Vec::new();
        fit(&rows, 3, settings, &quick())
            .for_each_logits(&rows, |part, _| logits.push(part.select(0, index)));
        Tensor::cat(&logits, 1)
    };
    let (single, together) = (logits(&[alone], 0), logits(&[wild, alone], 1));
    // A matrix product of another width may sum in another order, step after step.
    assert!(together.allclose(&single, 1e-4, 1e-4, false));
    assert!(single.abs().max().double_value(&[]) > 1.0, "it has learned");
}

#[test]
fn one_step_is_the_schedules_first() {
    let rows = labelled(&corners(20, 1));
    let config = LinearConfig { epochs: 1, batch: 20, ..quick() };
    let bias = |lr: f64| {
        let mut bias = 0.0;
        fit(&rows, 3, &[Setting { lr, weight_decay: 0.0 }], &config)
            .for_each_logits(&rows, |logits, _| bias = logits.mean(Kind::Double).double_value(&[]));
        bias
    };
    // Standardised features and gradients of a softmax both sum to zero over the rows and the classes, so the mean
    // logit never moves, whatever the rate.
    assert!((bias(0.1) - bias(1.0)).abs() < 1e-6);
    let moved = |config: &LinearConfig, lr: f64| {
        let mut first = Tensor::new();
        fit(&rows, 3, &[Setting { lr, weight_decay: 0.0 }], config)
            .for_each_logits(&rows, |logits, _| first = logits.copy());
        first
    };
    let still = moved(&config, 1e-30);
    let (one, two) = (moved(&config, 0.1) - &still, moved(&config, 0.2) - &still);
    // The step is proportional to the rate: lr · 20 / 256, with the whole cosine.
    assert!(two.allclose(&(one * 2.0), 1e-3, 1e-6, false));
}

#[test]
fn separable_classes_are_told_apart_whatever_the_scale_of_a_dimension() {
    let (train, test) = (corners(300, 1), corners(200, 2));
    let outcome = evaluate(&train, &test, "trained", &quick()).unwrap();
    let [score] = &outcome.scores[..] else { panic!("three classes have no top-5") };
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
    let run = || evaluate(&train, &test, "x", &config).unwrap();
    let (one, two) = (run(), run());
    assert_eq!(one.items, two.items);
    assert_eq!(one.scores[0].setting, two.scores[0].setting);
}

#[test]
fn diverged_settings_are_not_chosen() {
    let (train, test) = (corners(60, 1), corners(60, 2));
    let config = LinearConfig { learning_rates: vec![0.1, 1e39], ..quick() };
    let outcome = evaluate(&train, &test, "x", &config).unwrap();
    assert!(outcome.scores[0].setting.starts_with("lr=0.1 "), "{}", outcome.scores[0].setting);
    let config = LinearConfig { learning_rates: vec![1e39], ..quick() };
    let error = evaluate(&train, &test, "x", &config).unwrap_err();
    assert!(error.to_string().contains("diverged"), "{error}");
}

#[test]
fn top5_counts_the_right_class_among_the_first_five() {
    let mut train = corners(60, 1);
    train.classes = (0..7).map(|class| class.to_string()).collect();
    let outcome = evaluate(&train, &corners(60, 2), "x", &quick()).unwrap();
    let [first, fifth] = &outcome.scores[..] else { panic!("seven classes have a top-5") };
    assert_eq!(fifth.metric, "top5");
    assert!(fifth.value >= first.value && fifth.value == 1.0);
}

#[test]
fn every_class_gives_its_share_to_the_held_out_rows() {
    let labels: Vec<u32> = (0..400).map(|row| u32::from(row % 4 == 0)).collect();
    let (learned, held) = split(&labels, 5);
    let of_class_one = held.iter().filter(|&&row| labels[row] == 1).count();
    assert_eq!((learned.len(), held.len(), of_class_one), (360, 40, 10));
    let mut all = [learned, held.clone()].concat();
    all.sort_unstable();
    assert!(all.into_iter().eq(0..400));
    assert_eq!(held, split(&labels, 5).1);
    assert_ne!(held, split(&labels, 6).1);
}

#[test]
fn small_tables_hold_out_one_row_and_the_smallest_is_refused() {
    assert_eq!(split(&[0, 1], 0).1.len(), 1);
    assert_eq!(split(&[0; 9], 0).1.len(), 1);
    let error = evaluate(&corners(1, 1), &corners(30, 2), "x", &quick()).unwrap_err();
    assert!(error.to_string().contains("two labelled training images"), "{error}");
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
        assert!(evaluate(&train, &test, "x", &config).is_err(), "{config:?}");
    }
    assert!(evaluate(&train, &train, "x", &quick()).is_err());
}

#[test]
fn constant_features_give_the_commonest_class() {
    let same = |seed| FeatureTable {
        x: Tensor::ones([60, 4], (Kind::Float, Device::Cpu)),
        ..corners(60, seed)
    };
    let outcome = evaluate(&same(1), &same(2), "x", &quick()).unwrap();
    // Near a third: a score, and no NaN.
    assert!(outcome.scores[0].value > 0.1 && outcome.scores[0].value < 0.6);
}
