//! Micro-batches save memory and change nothing else.

use std::collections::BTreeMap;

use tch::{Kind, Tensor};
use vertebra::methods::{Batch, Loss, Method};
use vertebra::pretrain::backward;
use vertebra::training::collective::Alone;

use crate::tiny::fits;
use crate::{CPU, alone, build, distance, largest, tiny_backbones, tiny_methods, two_views};

/// Products of matrices with other numbers of rows sum in another order: f32 rounds each sum to 6e-8, and twelve blocks
/// with their backward pass add up.
const ANOTHER_ORDER: f64 = 1e-5;

#[test]
fn micro_batches_give_the_gradient_of_the_whole_batch() {
    let _alone = alone();
    let [_, vit, _] = tiny_backbones();
    for config in tiny_methods() {
        let views = two_views();
        let (wanted_loss, wanted) = gradients(build(&config, &vit, 1).as_mut(), &views, 1);
        let largest_of_all = wanted.values().map(largest).fold(0.0, f64::max);
        for pieces in [2, 4] {
            let what = format!("{} in {pieces} pieces", config.title());
            let (loss, found) = gradients(build(&config, &vit, 1).as_mut(), &views, pieces);
            assert!(distance(&loss.total, &wanted_loss.total) < ANOTHER_ORDER, "{what}");
            for (name, gradient) in &wanted {
                let off = largest(&(&found[name] - gradient));
                // Some gradients are 0 but for rounding (a bias before batch norm): those are held to the largest of all.
                let allowed = ANOTHER_ORDER * largest(gradient).max(1e-2 * largest_of_all);
                assert!(off <= allowed, "{what}: `{name}` is off by {off:e}, allowed {allowed:e}");
            }
        }
    }
}

#[test]
fn micro_batches_give_the_parts_and_the_health_of_the_whole_batch() {
    let _alone = alone();
    let [_, vit, _] = tiny_backbones();
    for config in tiny_methods() {
        let views = two_views();
        let (wanted, _) = gradients(build(&config, &vit, 1).as_mut(), &views, 1);
        let (found, _) = gradients(build(&config, &vit, 1).as_mut(), &views, 4);
        for ((name, part), (_, wanted)) in found.parts.iter().zip(&wanted.parts) {
            assert!(
                (part - wanted).abs().double_value(&[]) < 1e-4 * wanted_scale(wanted),
                "{name}"
            );
        }
        assert_eq!(found.representation.size(), wanted.representation.size());
        assert!(distance(&found.representation, &wanted.representation) < ANOTHER_ORDER);
        assert_eq!(found.embedding.size(), wanted.embedding.size());
    }
}

/// Two views move running statistics twice, each by a tenth: r → 0.9 (0.9 r + 0.1 m₁) + 0.1 m₂, with the means m of
/// the whole batch. The first layer's means are those of the batch however it is cut.
#[test]
fn running_statistics_move_once_per_step() {
    let _alone = alone();
    let [resnet, ..] = tiny_backbones();
    for config in tiny_methods().into_iter().filter(|config| fits(config, &resnet)) {
        let views = two_views();
        let moved = |pieces: usize| {
            let mut method = build(&config, &resnet, 1);
            gradients(method.as_mut(), &views, pieces);
            method.variables()
        };
        let whole = moved(1);
        for pieces in [2, 4] {
            let cut = moved(pieces);
            let first = "backbone.bn1.running_mean";
            assert!(distance(&cut[first], &whole[first]) < ANOTHER_ORDER, "{pieces} pieces");
            // After two moves 0.81 of the initial variance of 1 is left, and the batch adds to it.
            for (name, variance) in cut.iter().filter(|(name, _)| name.ends_with("running_var")) {
                let least = variance.min().double_value(&[]);
                assert!(least > 0.8, "{name}: {least} after {pieces} pieces");
            }
        }
    }
}

#[test]
fn statistics_of_the_projector_move_as_without_pieces() {
    let _alone = alone();
    let [_, vit, _] = tiny_backbones();
    let config = &tiny_methods()[0];
    let views = two_views();
    let statistics = |pieces: usize| -> BTreeMap<String, Tensor> {
        let mut method = build(config, &vit, 1);
        gradients(method.as_mut(), &views, pieces);
        let parameters = method.parameters();
        let variables = method.variables().into_iter();
        variables.filter(|(name, _)| !parameters.contains_key(name)).collect()
    };
    let whole = statistics(1);
    assert!(!whole.is_empty(), "the projector has batch norm");
    for (name, found) in statistics(2) {
        // A transformer has no statistics: these saw the whole batch both times.
        assert!(distance(&found, &whole[&name]) < ANOTHER_ORDER, "{name}");
    }
}

/// The loss of one step and the gradients it leaves.
fn gradients(
    method: &mut dyn Method,
    views: &Batch,
    pieces: usize,
) -> (Loss, BTreeMap<String, Tensor>) {
    let loss = backward(method, views, pieces, &Alone, &CPU).unwrap();
    let gradients = method.parameters().into_iter().map(|(name, p)| (name, p.grad())).collect();
    (loss, gradients)
}

fn wanted_scale(part: &Tensor) -> f64 {
    part.to_kind(Kind::Double).abs().double_value(&[]).max(1e-2)
}
