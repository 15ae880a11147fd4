use std::collections::BTreeMap;

use pixels::plan::{Interpolation, Normalize, Preprocess};

use super::*;
use crate::models::{Backbone, Features, Mode, Tap};

/// Means of the channels, or nothing.
struct Means(f64);

impl Backbone for Means {
    fn forward(&self, images: &Tensor, _: Mode, _: &mut Tap) -> Features {
        let pooled = images.mean_dim([2i64, 3].as_slice(), false, Kind::Float) * self.0;
        Features { pooled, map: None, tokens: None }
    }

    fn width(&self) -> i64 {
        3
    }
}

fn encoder(gain: f64) -> Encoder {
    let (interpolation, normalize) = (Interpolation::Bilinear, Normalize::imagenet());
    Encoder {
        name: "means".into(),
        backbone: Box::new(Means(gain)),
        variables: BTreeMap::new(),
        preprocess: Preprocess { resize: 16, crop: 16, interpolation, normalize },
        channels: 3,
        device: Device::Cpu,
        channels_last: false,
        autocast: None,
        weights_hash: String::new(),
    }
}

fn found(encoder: &Encoder, config: &WorldConfig) -> BTreeMap<String, f64> {
    let source = pixels::source::open("world:?size=16&count=60").unwrap();
    let outcome = evaluate(encoder, source.as_ref(), config).unwrap();
    outcome.scores.into_iter().map(|score| (score.metric, score.value)).collect()
}

#[test]
fn what_is_in_the_features_is_found_and_what_is_not_is_not() {
    let config = WorldConfig { pairs: 60, ..WorldConfig::default() };
    let seen = found(&encoder(1.0), &config);
    let names: Vec<&str> = seen.keys().map(String::as_str).collect();
    let wanted = ["r2_brightness", "r2_contrast", "r2_hue", "r2_mean", "r2_saturation"];
    assert_eq!(names, wanted);
    // The mean of an image changes with its brightness, and with no other parameter as much.
    assert!(seen["r2_brightness"] > 0.6, "{seen:?}");
    assert!(seen["r2_hue"] < seen["r2_brightness"], "{seen:?}");
    let mean = ["brightness", "contrast", "saturation", "hue"]
        .map(|name| seen[&format!("r2_{name}")])
        .iter()
        .sum::<f64>()
        / 4.0;
    assert!((seen["r2_mean"] - mean).abs() < 1e-12);
    // Collapsed features predict the mean of other images, which is never better than their own.
    assert!(found(&encoder(0.0), &config).values().all(|&r2| r2 <= 0.0));
}

#[test]
fn a_parameter_that_is_not_drawn_is_left_out() {
    let config = WorldConfig { pairs: 20, jitter: [0.4, 0.0, 0.0, 0.0], ..WorldConfig::default() };
    let seen = found(&encoder(1.0), &config);
    assert_eq!(seen.keys().map(String::as_str).collect::<Vec<_>>(), ["r2_brightness", "r2_mean"]);
    // Only brightness changes the means: what is left is the rounding of samples, and samples that are cut at 255.
    assert!(seen["r2_mean"] > 0.8, "{seen:?}");
}

#[test]
fn the_coefficient_of_determination_is_that_of_the_sheet() {
    let wanted = [vec![1.0, 3.0, 5.0], vec![2.0, 4.0, 9.0]];
    let found = [vec![1.1, 2.5, 5.2], vec![1.8, 4.4, 8.1]];
    let each = |place: usize| determination(&wanted[place], &found[place], &[0, 1, 2]);
    // scikit-learn's uniform average.
    assert!((f64::midpoint(each(0), each(1)) - 0.961_826_92).abs() < 1e-8);
}

#[test]
fn rows_and_columns_give_the_same_ridge_and_linear_data_are_recovered() {
    tch::manual_seed(4);
    let random = |n: i64, d: i64| Tensor::randn([n, d], (Kind::Double, Device::Cpu));
    let (x, weights) = (random(40, 6), random(6, 2));
    let y = x.matmul(&weights) + 3.0;
    let missed = (Ridge::fit(&x, &y, 1e-12).predict(&x) - &y).abs().max().double_value(&[]);
    assert!(missed < 1e-9, "{missed}");
    // The same problem with more columns than rows: its rows' Gram matrix, against the columns' solved here.
    let (x, y) = (random(5, 9), random(5, 2));
    let ridge = Ridge::fit(&x, &y, 0.1);
    let z = (&x - &ridge.middle) / &ridge.scale;
    let gram = z.tr().matmul(&z) + Tensor::eye(9, (Kind::Double, Device::Cpu)) * 0.5;
    let direct = Tensor::linalg_solve(&gram, &z.tr().matmul(&(&y - &ridge.constant)), true);
    assert!((direct - ridge.weights).abs().max().double_value(&[]) < 1e-12);
}

#[test]
fn too_few_images_are_refused() {
    let source = pixels::source::open("world:?size=16&count=6").unwrap();
    let error = evaluate(&encoder(1.0), source.as_ref(), &WorldConfig::default()).unwrap_err();
    assert!(error.to_string().contains("pairs: expected 10 readable images or more, got 6"));
}
