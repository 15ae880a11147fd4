//! World models on the smallest networks: what is seen, what is told, and what learns.

use std::collections::BTreeMap;

use tch::{Device, Kind, Tensor, nn};
use vertebra::methods::mask::blocks::{Multiblock, Numbers, block_size};
use vertebra::methods::{Batch, Method, MethodConfig};
use vertebra::models::vit::predictor::{
    Conditioning, Places, Predictor, PredictorConfig, PredictorSpec,
};
use vertebra::models::vit::{Pool, Positions, VitConfig};
use vertebra::models::{BackboneConfig, Mode, named_parameters, named_variables, no_tap};

use crate::{CPU, alone, build, distance, fixture, largest, tiny_methods, two_views};

/// f32 in another order.
const ANOTHER_ORDER: f64 = 1e-5;

/// 4 × 4 patches of images of 16 pixels, one block of 64 dimensions.
fn vit() -> BackboneConfig {
    BackboneConfig::VitTiny(VitConfig {
        image: 16,
        patch: 4,
        depth: Some(1),
        width: Some(64),
        positions: Positions::Sincos,
        class_token: false,
        pool: Pool::Mean,
        ..VitConfig::default()
    })
}

fn places(rows: &[&[i64]]) -> Tensor {
    Tensor::from_slice(&rows.concat()).view([rows.len() as i64, -1])
}

#[test]
fn all_patches_kept_are_the_whole_image_and_others_have_no_gradient() {
    let _alone = alone();
    tch::manual_seed(1);
    let store = nn::VarStore::new(Device::Cpu);
    let backbone = vit().build(&store.root(), 3);
    let images = Tensor::randn([2, 3, 16, 16], (Kind::Float, Device::Cpu)).set_requires_grad(true);
    let whole = backbone.forward(&images, Mode::Train, &mut no_tap);
    let all: Vec<i64> = (0..16).collect();
    let kept =
        |rows: &Tensor| backbone.forward_kept(&images, rows, Mode::Train, &mut no_tap).unwrap();
    let same = kept(&places(&[&all, &all]));
    assert!(distance(&same.tokens.unwrap(), &whole.tokens.unwrap()) < ANOTHER_ORDER);
    assert!(distance(&same.pooled, &whole.pooled) < ANOTHER_ORDER);
    let some = kept(&places(&[&[0, 5, 10], &[3, 4, 15]])).tokens.unwrap();
    assert_eq!(some.size(), [2, 3, 64]);
    (some.get(0) * Tensor::randn_like(&some.get(0))).sum(Kind::Float).backward();
    let gradient = images.grad();
    let of_patch = |patch: i64| {
        let (row, column) = (patch / 4 * 4, patch % 4 * 4);
        largest(&gradient.get(0).narrow(1, row, 4).narrow(2, column, 4))
    };
    for patch in 0..16 {
        assert_eq!(of_patch(patch) > 0.0, [0, 5, 10].contains(&patch), "patch {patch}");
    }
    assert_eq!(largest(&gradient.get(1)), 0.0);
}

#[test]
fn positions_of_sines_do_not_learn() {
    let _alone = alone();
    let store = nn::VarStore::new(Device::Cpu);
    let _backbone = vit().build(&store.root(), 3);
    assert!(named_variables(&store).contains_key("pos_embed"));
    assert!(!named_parameters(&store).contains_key("pos_embed"));
}

/// A predictor of 64 dimensions, with its variables.
fn predictor(conditioning: Conditioning) -> (BTreeMap<String, Tensor>, Predictor) {
    tch::manual_seed(2);
    let store = nn::VarStore::new(Device::Cpu);
    let spec = PredictorConfig { width: 24, depth: 2, heads: None }.over(64, 2);
    let predictor =
        Predictor::new(&store.root(), PredictorSpec { conditioning, actions: 7, ..spec });
    (named_variables(&store), predictor)
}

fn randn(shape: &[i64]) -> Tensor {
    Tensor::randn(shape, (Kind::Float, Device::Cpu))
}

const HOWS: [Conditioning; 3] = [Conditioning::None, Conditioning::Sequence, Conditioning::Feature];

#[test]
fn answers_come_in_the_order_of_the_questions() {
    let _alone = alone();
    for how in HOWS {
        let (_, predictor) = predictor(how);
        let (context, action) = (randn(&[2, 3, 64]), randn(&[2, 7]));
        let seen = places(&[&[0, 5, 10], &[3, 4, 15]]);
        let ask = |asked: Tensor| {
            let places = Places { grid: [4, 4], seen: seen.shallow_clone(), asked };
            predictor.forward(&context, &places, Some(&action), None)
        };
        let answers = ask(places(&[&[1, 2, 7], &[0, 8, 9]]));
        assert_eq!(answers.size(), [2, 3, 64], "{how:?}");
        let turned = ask(places(&[&[7, 1, 2], &[9, 0, 8]]));
        assert!(distance(&turned, &answers.roll([1], [1])) < ANOTHER_ORDER, "{how:?}");
    }
}

#[test]
fn only_a_predictor_that_is_told_hears_the_action() {
    let _alone = alone();
    for how in HOWS {
        let (variables, predictor) = predictor(how);
        let context = randn(&[2, 3, 64]);
        let place = || Places {
            grid: [4, 4],
            seen: places(&[&[0, 5, 10], &[3, 4, 15]]),
            asked: places(&[&[1, 2], &[0, 8]]),
        };
        let told = |action: &Tensor| predictor.forward(&context, &place(), Some(action), None);
        let (one, other) = (randn(&[2, 7]), randn(&[2, 7]));
        let apart = largest(&(told(&one) - told(&other)));
        assert_eq!(apart > 0.0, how != Conditioning::None, "{how:?}: {apart}");
        if how == Conditioning::Feature {
            // Without the weights that read the action, nothing is heard.
            let weight = &variables["action.0.weight"];
            let _ = tch::no_grad(|| weight.narrow(1, 24, 7).zero_());
            assert_eq!(largest(&(told(&one) - told(&other))), 0.0);
        }
    }
}

/// Of I-JEPA and IWM, tiny.
fn world_models() -> impl Iterator<Item = MethodConfig> {
    let fits =
        |method: &MethodConfig| matches!(method, MethodConfig::Ijepa(_) | MethodConfig::Iwm(_));
    tiny_methods().into_iter().filter(fits)
}

fn loss_of(method: &mut dyn Method, batch: &Batch) -> Tensor {
    let embedded = method.embed(batch, &CPU);
    method.loss(&embedded, &CPU).unwrap().total
}

#[test]
fn the_teacher_begins_as_the_student_has_no_gradient_and_follows_by_its_momentum() {
    let _alone = alone();
    for config in world_models() {
        let mut method = build(&config, &vit(), 1);
        let what = config.title();
        assert_eq!(method.encoder(), "teacher.backbone.");
        let variables = method.variables();
        let of = |name: &str| &variables[name];
        let teacher = "teacher.backbone.blocks.0.attn.qkv.weight";
        let student = &teacher["teacher.".len()..];
        assert_eq!(of(teacher), of(student), "{what}");
        loss_of(method.as_mut(), &two_views()).backward();
        assert!(of(student).grad().defined() && !of(teacher).requires_grad(), "{what}");
        let before = of(teacher).copy();
        let _ = tch::no_grad(|| of(student).shallow_clone().g_add_scalar_(1.0));
        method.after_step(&CPU).unwrap();
        // Half of the run is done: 0.998 of 0.996 to 1.
        let moved = of(teacher) - before;
        assert!(largest(&(moved - 0.002)) < 1e-6, "{what}");
    }
}

#[test]
fn saying_nothing_costs_what_normalised_targets_hold() {
    let _alone = alone();
    for config in world_models() {
        let mut method = build(&config, &vit(), 1);
        let variables = method.variables();
        for name in ["predictor.proj.weight", "predictor.proj.bias"] {
            let _ = tch::no_grad(|| variables[name].shallow_clone().zero_());
        }
        let loss = loss_of(method.as_mut(), &two_views()).double_value(&[]);
        match config {
            // var / (var + 1e-5), the variance of a token being about 1.
            MethodConfig::Iwm(_) => assert!((loss - 1.0).abs() < 1e-3, "{loss}"),
            // 0.4247 for normal numbers, which these 64 of a token nearly are.
            _ => assert!((0.39..0.46).contains(&loss), "{loss}"),
        }
    }
}

#[test]
fn what_was_done_to_the_views_reaches_the_loss() {
    let _alone = alone();
    for how in HOWS {
        let Some(MethodConfig::Iwm(config)) = world_models().last() else { unreachable!() };
        let config =
            MethodConfig::Iwm(vertebra::methods::iwm::Config { conditioning: how, ..config });
        let mut method = build(&config, &vit(), 1);
        let mut batch = two_views();
        let told = loss_of(method.as_mut(), &batch).double_value(&[]);
        batch.records[1] = batch.records[0].clone();
        let other = loss_of(method.as_mut(), &batch).double_value(&[]);
        assert_eq!(told != other, how != Conditioning::None, "{how:?}");
    }
}

/// Numbers that were drawn elsewhere, in their order.
struct Drawn {
    uniform: std::vec::IntoIter<f64>,
    integer: std::vec::IntoIter<i64>,
}

impl Numbers for Drawn {
    fn uniform(&mut self) -> f64 {
        self.uniform.next().unwrap()
    }

    fn below(&mut self, n: usize) -> usize {
        let number = self.integer.next().unwrap() as usize;
        assert!(number < n, "{number} of {n}");
        number
    }
}

#[test]
fn the_official_sampler_of_ijepa_is_reproduced_from_its_random_numbers() {
    let recorded = fixture("multiblock-52c1ae9.safetensors");
    let integers = |tensor: &Tensor| Vec::<i64>::try_from(tensor.to_kind(Kind::Int64)).unwrap();
    for (side, least_context) in [(16, 10), (14, 10), (8, 4)] {
        let config = Multiblock { least_context, official: true, ..Multiblock::default() };
        for batch in 0..2 {
            let of = |what: &str| &recorded[&format!("{side}.{batch}.{what}")];
            let mut drawn = Drawn {
                uniform: Vec::<f64>::try_from(of("uniform")).unwrap().into_iter(),
                integer: integers(of("integer")).into_iter(),
            };
            let target =
                block_size([side; 2], config.target_scale, config.target_aspect, true, &mut drawn);
            let context = block_size([side; 2], config.context_scale, [1.0; 2], true, &mut drawn);
            for image in 0..8 {
                let (mut seen, asked) = config.image([side; 2], target, context, &mut drawn);
                let wanted = integers(&of("seen").get(image));
                seen.truncate(wanted.len());
                assert_eq!(seen, wanted, "{side}, batch {batch}, image {image}");
                for (block, places) in asked.iter().enumerate() {
                    assert_eq!(*places, integers(&of("asked").get(block as i64).get(image)));
                }
            }
            assert!(drawn.uniform.next().is_none() && drawn.integer.next().is_none());
        }
    }
}
