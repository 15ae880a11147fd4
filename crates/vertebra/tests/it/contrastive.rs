//! What contrastive methods do beyond the contract of all methods: queues, teachers, more than two views, refusals.

use tch::{Device, Kind, Tensor};
use vertebra::error::Error;
use vertebra::methods::{Inputs, Method, MethodConfig, Views, barlow, dcl, moco, moco_v3, nnclr};
use vertebra::models::heads::MlpConfig;
use vertebra::training::groups;

use crate::{CPU, alone, build, largest, tiny_backbones, tiny_methods, two_views};

/// f32 rounds to 6e-8, and a row is a few sums.
const ROUNDED: f64 = 1e-6;

#[test]
fn queues_learn_the_keys_of_a_step_when_it_is_done() {
    let _alone = alone();
    let [_, vit, _] = tiny_backbones();
    for (config, names) in
        [(tiny("MoCo v2"), &["queue.0", "queue.1"][..]), (tiny("NNCLR"), &["queue"])]
    {
        let mut method = build(&config, &vit, 1);
        let rows = |method: &dyn Method, name: &str| method.variables()[name].copy();
        let before: Vec<Tensor> = names.iter().map(|name| rows(method.as_ref(), name)).collect();
        step(method.as_mut());
        for (name, before) in names.iter().zip(&before) {
            assert!(
                rows(method.as_ref(), name).equal(before),
                "{name} moved before the step was done"
            );
        }
        method.after_step(&CPU).unwrap();
        for (name, before) in names.iter().zip(&before) {
            let after = rows(method.as_ref(), name);
            // Step 50 of a queue of four batches of eight writes the third batch.
            let moved = (&after - before).abs().amax([1i64].as_slice(), false).gt(0.0);
            let places = moved.nonzero().flatten(0, 1);
            assert!(
                places.equal(&Tensor::arange_start(16, 24, (Kind::Int64, Device::Cpu))),
                "{name}"
            );
            let lengths = after.square().sum_dim_intlist([1i64].as_slice(), false, Kind::Float);
            assert!(largest(&(lengths - 1.0)) < ROUNDED, "{name}: rows of unit length");
        }
    }
}

#[test]
fn each_view_has_its_own_queue_or_the_first_view_alone() {
    let _alone = alone();
    let [_, vit, _] = tiny_backbones();
    let mut symmetric = build(&tiny("MoCo v2"), &vit, 1);
    let variables = symmetric.variables();
    assert!(variables["queue.0"].equal(&variables["queue.1"]), "a fresh method has one view only");
    step(symmetric.as_mut());
    symmetric.after_step(&CPU).unwrap();
    let variables = symmetric.variables();
    assert!(!variables["queue.0"].equal(&variables["queue.1"]));
    let MethodConfig::Moco(config) = tiny("MoCo v2") else { panic!("MoCo is MoCo") };
    let one = MethodConfig::Moco(moco::Config { symmetric: false, ..config });
    let mut method = build(&one, &vit, 1);
    assert!(!method.variables().contains_key("queue.1"));
    // One query and one key.
    assert_eq!(method.embed(&two_views(), &CPU).len(), 2);
    assert!(step(method.as_mut()).is_finite());
}

#[test]
fn a_teacher_follows_its_student_by_the_momentum_of_the_moment() {
    let _alone = alone();
    let [_, vit, _] = tiny_backbones();
    // Halfway from 0.99 to 1 on half a cosine, and 0.999 throughout.
    for (title, momentum) in [("MoCo v3", 0.995), ("MoCo v2", 0.999)] {
        let mut method = build(&tiny(title), &vit, 1);
        let name = "projector.0.weight";
        let (student, teacher) = (
            method.parameters()[name].shallow_clone(),
            method.variables()[&format!("teacher.{name}")].shallow_clone(),
        );
        let before = teacher.copy();
        assert!(student.equal(&teacher), "{title}: they begin equal");
        let _ = tch::no_grad(|| student.shallow_clone().fill_(1.0));
        method.after_step(&CPU).unwrap();
        let wanted = before * momentum + (1.0 - momentum);
        assert!(largest(&(teacher - wanted)) < ROUNDED, "{title}");
        let parameters = method.parameters();
        assert!(
            parameters
                .keys()
                .all(|name| !name.starts_with("teacher") && !name.starts_with("queue"))
        );
    }
}

#[test]
fn a_queue_that_the_batch_does_not_divide_is_refused() {
    let _alone = alone();
    let [_, vit, _] = tiny_backbones();
    let odd = |config| match config {
        MethodConfig::Moco(config) => MethodConfig::Moco(moco::Config { queue: 20, ..config }),
        MethodConfig::Nnclr(config) => MethodConfig::Nnclr(nnclr::Config { queue: 20, ..config }),
        other => other,
    };
    for title in ["MoCo v2", "NNCLR"] {
        let mut method = build(&odd(tiny(title)), &vit, 1);
        let embedded = method.embed(&two_views(), &CPU);
        let refused = method.loss(&embedded, &CPU).unwrap_err();
        assert!(refused.to_string().contains("20 with a batch of 8"), "{title}: {refused}");
        assert!(refused.hint().is_some_and(|hint| hint.contains("16")), "{title}");
    }
}

/// Two large views and a small crop: every method trains all of its parameters on them.
#[test]
fn small_crops_join_in() {
    let _alone = alone();
    let [resnet, ..] = tiny_backbones();
    let inputs = Inputs {
        backbone: &resnet,
        channels: 3,
        views: Views { large: 2, all: 3, aligned: false },
    };
    for title in CONTRASTIVE {
        let mut method = tiny(title).build(&inputs, 1, Device::Cpu);
        let mut batch = two_views();
        batch.views.push(batch.views[0].narrow(2, 4, 8).narrow(3, 4, 8).copy());
        let embedded = method.embed(&batch, &CPU);
        let loss = method.loss(&embedded, &CPU).unwrap();
        assert!(loss.total.double_value(&[]).is_finite(), "{title}");
        loss.total.backward();
        for (name, parameter) in method.parameters() {
            assert!(parameter.grad().defined(), "{title}: `{name}` has no gradient");
        }
        method.after_step(&CPU).unwrap();
    }
}

/// MoCo v3's loss is the sum of both directions, each times 2τ: four times τ times their mean.
#[test]
fn the_journal_has_the_unweighted_contrast() {
    let _alone = alone();
    let [_, vit, _] = tiny_backbones();
    let mut method = build(&tiny("MoCo v3"), &vit, 1);
    let embedded = method.embed(&two_views(), &CPU);
    let loss = method.loss(&embedded, &CPU).unwrap();
    let contrast = loss.parts[0].1.double_value(&[]);
    assert!((loss.total.double_value(&[]) - 4.0 * 0.2 * contrast).abs() < ROUNDED * contrast);
}

#[test]
fn weights_of_pairs_change_the_loss() {
    let _alone = alone();
    let [_, vit, _] = tiny_backbones();
    let MethodConfig::Dcl(config) = tiny("DCL") else { panic!("DCL is DCL") };
    let weighted = MethodConfig::Dcl(dcl::Config { weighted: true, ..config });
    let [plain, weighted] =
        [tiny("DCL"), weighted].map(|config| step(build(&config, &vit, 1).as_mut()));
    assert!((plain - weighted).abs() > 1e-4, "{plain} {weighted}");
}

#[test]
fn biases_of_barlow_twins_may_have_a_rate_of_their_own() {
    let _alone = alone();
    let [_, vit, _] = tiny_backbones();
    let MethodConfig::Barlow(config) = tiny("Barlow Twins") else { panic!("Barlow is Barlow") };
    let slow = MethodConfig::Barlow(barlow::Config { bias_lr_scale: 0.024, ..config });
    let method = build(&slow, &vit, 1);
    let groups = groups::assign(&method.parameters(), &method.rules()).unwrap();
    let rates: Vec<(f64, bool)> = groups.iter().map(|it| (it.lr_scale, it.adapt)).collect();
    assert_eq!(rates, [(0.024, false), (1.0, true)]);
    assert!(groups[0].params.iter().all(|parameter| parameter.dim() <= 1));
}

#[test]
fn options_that_cannot_be_trained_with_are_refused_with_their_field() {
    let [_, vit, _] = tiny_backbones();
    let inputs =
        Inputs { backbone: &vit, channels: 3, views: Views { large: 2, all: 2, aligned: false } };
    let other_width = || MlpConfig::of(&[24, 25]);
    let moco = moco::Config::default;
    let v3 = moco_v3::Config::default;
    let wrong = [
        (MethodConfig::Moco(moco::Config { temperature: 0.0, ..moco() }), "method.temperature"),
        (MethodConfig::Moco(moco::Config { queue: 0, ..moco() }), "method.queue"),
        (MethodConfig::Moco(moco::Config { momentum: 1.5, ..moco() }), "method.momentum"),
        (
            MethodConfig::MocoV3(moco_v3::Config { final_momentum: f64::NAN, ..v3() }),
            "method.final_momentum",
        ),
        (
            MethodConfig::MocoV3(moco_v3::Config { predictor: other_width(), ..v3() }),
            "method.predictor.widths",
        ),
        (
            MethodConfig::Nnclr(nnclr::Config {
                predictor: other_width(),
                ..nnclr::Config::default()
            }),
            "method.predictor.widths",
        ),
        (
            MethodConfig::Barlow(barlow::Config { lambda: -1.0, ..barlow::Config::default() }),
            "method.lambda",
        ),
    ];
    for (config, wanted) in wrong {
        match config.check(&inputs) {
            Err(Error::Recipe { field, .. }) => assert_eq!(field, wanted, "{}", config.title()),
            other => panic!("{wanted}: {other:?}"),
        }
    }
    let alone = Inputs { views: Views { large: 1, all: 1, aligned: false }, ..inputs };
    for title in CONTRASTIVE {
        assert!(tiny(title).check(&inputs).is_ok(), "{title}");
        assert!(tiny(title).check(&alone).is_err(), "{title} compares views");
    }
}

const CONTRASTIVE: [&str; 10] = [
    "VICReg",
    "SimCLR",
    "DCL",
    "Spectral contrastive",
    "Barlow Twins",
    "MoCo v2",
    "MoCo v3",
    "NNCLR",
    "VICReg-exp",
    "VICReg-ctr",
];

fn tiny(title: &str) -> MethodConfig {
    tiny_methods().into_iter().find(|method| method.title() == title).unwrap()
}

/// Loss and gradients of one step, without its end → the loss.
fn step(method: &mut dyn Method) -> f64 {
    let embedded = method.embed(&two_views(), &CPU);
    let loss = method.loss(&embedded, &CPU).unwrap();
    loss.total.backward();
    loss.total.double_value(&[])
}
