use tch::{Device, Tensor};

use super::super::tiny;
use super::*;

fn world() -> std::sync::Arc<dyn Source> {
    pixels::source::open("world:?size=16&count=6").unwrap()
}

fn small() -> WorldConfig {
    WorldConfig { images: 3, bank: 20, queries: 20, ..WorldConfig::default() }
}

/// The mean reciprocal rank where item k is the true one of query k.
fn reciprocal(distances: &Tensor) -> f64 {
    let truth = Tensor::arange(distances.size()[0], (Kind::Int64, Device::Cpu));
    mean(&ranks(distances, &truth), |rank| 1.0 / rank)
}

fn random(shape: [i64; 3], seed: i64) -> Tensor {
    tch::manual_seed(seed);
    Tensor::randn(shape, (Kind::Float, Device::Cpu))
}

#[test]
fn chance_is_the_harmonic_number_over_the_bank() {
    // numpy: sum(1 / arange(1, n + 1)) / n, to the six digits of the sheet.
    assert!((chance(256) - 0.023_923).abs() < 5e-7, "{}", chance(256));
    assert!((chance(64) - 0.074_123).abs() < 5e-7, "{}", chance(64));
    assert_eq!(chance(1), 1.0);
}

#[test]
fn perfect_predictions_are_first_and_those_that_are_always_second_get_a_half() {
    let bank = random([9, 4, 8], 1);
    assert_eq!(reciprocal(&distances(&bank, &bank)), 1.0);
    // One other item is nearer than the true one.
    let second = Tensor::ones([9, 9], (Kind::Float, Device::Cpu)) * 3.0
        - Tensor::eye(9, (Kind::Float, Device::Cpu))
        - Tensor::eye(9, (Kind::Float, Device::Cpu)).roll([1i64].as_slice(), [1i64].as_slice()) * 2;
    assert_eq!(reciprocal(&second), 0.5);
}

#[test]
fn ties_count_half() {
    let distances = Tensor::from_slice(&[1.0f32, 1.0, 1.0, 0.5, 2.0]).view([1, 5]);
    let rank = |truth: i64| ranks(&distances, &Tensor::from_slice(&[truth]))[0];
    assert_eq!([0, 1, 2, 3, 4].map(rank), [3.0, 3.0, 3.0, 1.0, 5.0]);
}

#[test]
fn distances_are_means_over_tokens_of_squared_distances() {
    let (predicted, bank) = (random([3, 4, 8], 2), random([5, 4, 8], 3) + 10.0);
    let wanted = (predicted.unsqueeze(1) - bank.unsqueeze(0)).square();
    let wanted = wanted.sum_dim_intlist([3i64].as_slice(), false, Kind::Double).mean_dim(
        [2i64].as_slice(),
        false,
        Kind::Double,
    );
    // Single precision on sums of 32 squares of size 100 each.
    let apart = ((distances(&predicted, &bank) - &wanted) / wanted).abs().max();
    assert!(apart.double_value(&[]) < 1e-5);
}

#[test]
fn a_predictor_that_is_told_nothing_is_at_chance() {
    let (model, _) = tiny(Conditioning::None);
    let outcome = evaluate(&model, world().as_ref(), &small()).unwrap();
    // One answer to all queries: every rank once, for each image and each change of the source.
    for score in &outcome.scores {
        let wanted = match score.metric.as_str() {
            "hit@1" => 1.0 / 20.0,
            "hit@5" => 5.0 / 20.0,
            _ => chance(20),
        };
        assert!((score.value - wanted).abs() < 1e-12, "{} {}", score.metric, score.value);
    }
}

#[test]
fn a_predictor_that_is_told_answers_each_action_and_the_null_action_is_no_jitter() {
    for conditioning in [Conditioning::Sequence, Conditioning::Feature] {
        let (model, _) = tiny(conditioning);
        let canvas = Canvas::drawn(world().as_ref(), &model.encoder.preprocess, 1, 0).unwrap();
        let clean = canvas[0].untouched();
        let settings = canvas[0].settings([0.4, 0.4, 0.2, 0.1], 3, 0);
        let asked = [settings.as_slice(), std::slice::from_ref(&clean)].concat();
        let predicted = predictions(&model, &canvas[0], &clean, &asked).unwrap();
        assert_eq!(predicted.size(), [4, 16, 64]);
        let apart = (predicted.get(0) - predicted.get(1)).abs().max().double_value(&[]);
        assert!(apart > 1e-4, "{conditioning:?}: {apart}");
        let (tokens, places) =
            model.whole(&model.encoder.images(&[canvas[0].show(&clean)])).unwrap();
        let null = model.predict(&tokens, &places, model.null_action(1).as_ref());
        // Rounding of products in batches of another size.
        let apart = (predicted.get(3) - null.get(0)).abs().max().double_value(&[]);
        assert!(apart < 1e-5, "{conditioning:?}: {apart}");
    }
}

#[test]
fn targets_have_no_mean_and_unit_variance_in_each_token_and_no_prefix() {
    let (model, _) = tiny(Conditioning::Feature);
    let canvas = Canvas::drawn(world().as_ref(), &model.encoder.preprocess, 1, 0).unwrap();
    let settings = canvas[0].settings([0.4, 0.4, 0.2, 0.1], 5, 0);
    let bank = bank(&model, &canvas[0], &settings).unwrap();
    assert_eq!(bank.size(), [5, 16, 64]);
    let means = bank.mean_dim([2i64].as_slice(), false, Kind::Double).abs().max();
    let second = bank.square().mean_dim([2i64].as_slice(), false, Kind::Double);
    // Single precision; ε beside a variance of about 1.
    assert!(means.double_value(&[]) < 1e-5);
    assert!((second - 1.0).abs().max().double_value(&[]) < 1e-3);
}

#[test]
fn scores_say_what_they_are_and_are_the_same_each_time() {
    let (model, _) = tiny(Conditioning::Feature);
    let config = WorldConfig { queries: 4, ..small() };
    let outcome = evaluate(&model, world().as_ref(), &config).unwrap();
    let names: Vec<&str> = outcome.scores.iter().map(|score| score.metric.as_str()).collect();
    let wanted = ["mrr", "mrr_chance", "hit@1", "hit@5", "mrr_blur", "mrr_grey", "mrr_solarize"];
    assert_eq!(names, wanted);
    assert_eq!(outcome.items.len(), 3);
    assert_eq!(outcome.scores[0].setting, "bank=20 queries=4 jitter=0.4,0.4,0.2,0.1");
    assert!(outcome.scores[0].interval.is_some() && outcome.scores[1].interval.is_none());
    let alone = mrr(&model, world().as_ref(), &config).unwrap();
    assert_eq!(alone, outcome.scores[0].value);
}

#[test]
fn what_cannot_be_asked_is_refused_with_a_hint() {
    let (model, _) = tiny(Conditioning::Feature);
    let refused =
        |config: WorldConfig| evaluate(&model, world().as_ref(), &config).unwrap_err().to_string();
    let wrong = refused(WorldConfig { bank: 1, ..small() });
    assert!(wrong.contains("bank: expected 2 versions or more, got 1"), "{wrong}");
    let wrong = refused(WorldConfig { jitter: [0.0; 4], ..small() });
    assert!(wrong.contains("jitter: expected four strengths"), "{wrong}");
    let wrong = refused(WorldConfig { blur: [2.0, 1.0], ..small() });
    assert!(wrong.contains("blur: expected two numbers above 0"), "{wrong}");
}
