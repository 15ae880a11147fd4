//! What methods with a teacher, a queue or prototypes promise beyond the contract.

use tch::{Device, Kind, Tensor};
use vertebra::methods::{Batch, Context, Inputs, Method, MethodConfig, Progress, Views};
use vertebra::models::BackboneConfig;

use crate::tiny::{CPU, HALFWAY};
use crate::{alone, build, distance, largest, tiny_backbones, tiny_methods, two_views};

const CROPS: Views = Views { large: 2, all: 4, aligned: false };

#[test]
fn small_crops_are_the_students_and_count() {
    let _alone = alone();
    let [_, vit, _] = tiny_backbones();
    for config in self_distilled() {
        let inputs = Inputs { backbone: &vit, channels: 3, views: CROPS };
        let mut method = config.build(&inputs, 1, Device::Cpu);
        let batch = multi_crop(0.0);
        let wanted = loss_of(method.as_mut(), &batch);
        assert!(wanted.is_finite(), "{}", config.title());
        // Other small crops, the same targets.
        let other = loss_of(method.as_mut(), &multi_crop(1.0));
        assert!((other - wanted).abs() > 1e-6, "{}: {other} {wanted}", config.title());
        let embedded = method.embed(&batch, &CPU);
        method.loss(&embedded, &CPU).unwrap().total.backward();
        method.before_step(&CPU);
        method.after_step(&CPU).unwrap();
    }
}

#[test]
fn prototypes_are_frozen_at_the_start_and_free_afterwards() {
    let _alone = alone();
    let [_, vit, _] = tiny_backbones();
    for (config, frozen) in with_prototypes() {
        for (step, defined) in [(0, false), (50, true)] {
            let context = Context { progress: Progress { step, ..HALFWAY }, ..CPU };
            let mut method = build(&config, &vit, 1);
            let embedded = method.embed(&two_views(), &context);
            method.loss(&embedded, &context).unwrap().total.backward();
            method.before_step(&context);
            for (name, parameter) in method.parameters() {
                let wanted = defined || !name.starts_with(frozen);
                let what = format!("{}: `{name}` at step {step}", config.title());
                assert_eq!(parameter.grad().defined(), wanted, "{what}");
            }
        }
    }
}

#[test]
fn centres_move_by_a_tenth_and_queues_hold_the_newest_first() {
    let _alone = alone();
    let [_, vit, _] = tiny_backbones();
    for (config, _) in with_prototypes() {
        let mut method = build(&config, &vit, 1);
        let embedded = method.embed(&two_views(), &CPU);
        let z = method.loss(&embedded, &CPU).unwrap().embedding;
        method.after_step(&CPU).unwrap();
        let variables = method.variables();
        if let MethodConfig::Swav(_) = config {
            let queue = &variables["queue"];
            assert_eq!(queue.size(), [2, 12, 24]);
            assert!(queue.get(0).narrow(0, 0, 8).equal(&z), "the first view's embeddings");
            assert_eq!(largest(&queue.narrow(1, 8, 4)), 0.0);
            let lengths =
                variables["prototypes.weight"].norm_scalaropt_dim(2, [1i64].as_slice(), false);
            // Rounding of f32.
            assert!(largest(&(lengths - 1.0)) < 1e-6);
        } else {
            // At the start the teacher is the student: the centre is a tenth of the mean of both views' logits, of which
            // the student's first view (of iBOT, with patches hidden) is one half.
            let half = z.mean_dim([0i64].as_slice(), false, Kind::Float) * 0.05;
            let found = &variables["centre"];
            assert!(largest(found) > 0.0);
            assert!(distance(found, &(half * 2.0)) < 0.5, "{}", config.title());
        }
    }
}

#[test]
fn ibot_wants_a_transformer_with_a_class_token() {
    let [resnet, vit, convnext] = tiny_backbones();
    let ibot = tiny_methods().into_iter().find(|config| config.title() == "iBOT").unwrap();
    let check = |backbone: &BackboneConfig| {
        ibot.check(&Inputs {
            backbone,
            channels: 3,
            views: Views { large: 2, all: 2, aligned: false },
        })
    };
    assert!(check(&vit).is_ok());
    for other in [resnet, convnext] {
        let refused = check(&other).unwrap_err();
        assert!(refused.to_string().contains(other.title()), "{refused}");
        assert!(refused.hint().unwrap().contains("\"dino\" takes any backbone"));
    }
}

#[test]
fn options_that_cannot_be_trained_with_are_refused_with_their_field() {
    let [_, vit, _] = tiny_backbones();
    for (method, field) in [
        ("name = \"byol\"\nmomentum = 1.5", "method.momentum"),
        ("name = \"byol\"\npredictor.widths = [8, 3]", "method.predictor.widths"),
        ("name = \"simsiam\"\npredictor.widths = [8, 3]", "method.predictor.widths"),
        ("name = \"w_mse\"\ngroup = 64", "method.group"),
        ("name = \"w_mse\"\npartitions = 0", "method.partitions"),
        ("name = \"swav\"\niterations = 0", "method.iterations"),
        ("name = \"swav\"\nepsilon = nan", "method.epsilon"),
        ("name = \"swav\"\nqueue = -1", "method.queue"),
        ("name = \"dino\"\nteacher_temperature = 0.0", "method.teacher_temperature"),
        ("name = \"dino\"\nprojector.prototypes = 1", "method.projector.prototypes"),
        ("name = \"dino\"\nprojector.widths = []", "method.projector.widths"),
        ("name = \"ibot\"\nmask_ratio = [0.5, 0.1]", "method.mask_ratio"),
        ("name = \"ibot\"\nmask_probability = 2.0", "method.mask_probability"),
    ] {
        let config: MethodConfig = toml::from_str(method).unwrap();
        let views = Views { large: 2, all: 2, aligned: false };
        let refused = config.check(&Inputs { backbone: &vit, channels: 3, views }).unwrap_err();
        let message = refused.to_string();
        assert!(message.starts_with(&format!("recipe: {field}: expected")), "{method}: {message}");
    }
}

/// A batch that does not divide is refused at the first step, with what to do.
#[test]
fn groups_to_whiten_must_divide_the_batch() {
    let _alone = alone();
    let [_, vit, _] = tiny_backbones();
    let config: MethodConfig =
        toml::from_str("name = \"w_mse\"\ngroup = 6\nprojector.widths = [24, 3]").unwrap();
    let mut method = build(&config, &vit, 1);
    let embedded = method.embed(&two_views(), &CPU);
    let refused = method.loss(&embedded, &CPU).unwrap_err();
    assert!(refused.to_string().contains("a batch of 8 does not divide into groups of 6"));
    assert!(refused.hint().is_some());
}

fn self_distilled() -> Vec<MethodConfig> {
    let names = ["BYOL", "SimSiam", "SwAV", "DINO", "iBOT"];
    tiny_methods().into_iter().filter(|config| names.contains(&config.title())).collect()
}

/// The methods with prototypes, and where the names of those begin.
fn with_prototypes() -> Vec<(MethodConfig, &'static str)> {
    let start = |config: &MethodConfig| match config.title() {
        "SwAV" => Some("prototypes."),
        "DINO" | "iBOT" => Some("projector.last_layer."),
        _ => None,
    };
    tiny_methods()
        .into_iter()
        .filter_map(|config| {
            let start = start(&config)?;
            Some((config, start))
        })
        .collect()
}

/// The two views of [`two_views`], and two small crops moved by `shift`.
fn multi_crop(shift: f64) -> Batch {
    let mut batch = two_views();
    let small = Tensor::randn([8, 3, 8, 8], (Kind::Float, Device::Cpu));
    let waves = Tensor::arange(8, (Kind::Float, Device::Cpu)).sin() * shift;
    batch.views.extend([&small + &waves, &small - &waves]);
    batch
}

fn loss_of(method: &mut dyn Method, batch: &Batch) -> f64 {
    let embedded = method.embed(batch, &CPU);
    method.loss(&embedded, &CPU).unwrap().total.double_value(&[])
}
