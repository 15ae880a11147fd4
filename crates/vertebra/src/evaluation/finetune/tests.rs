use std::collections::BTreeMap;

use pixels::draw::{Draw, Purpose};
use pixels::image::Image;
use pixels::plan::{Interpolation, Normalize, Preprocess};
use pixels::source::{SourceError, Stored, picked};
use tch::{Device, Kind, Tensor};

use super::*;
use crate::evaluation::tuning::subset;
use crate::evaluation::{encoder, identity};
use crate::models::resnet::{ResNetConfig, Stem};
use crate::models::vit::{Pool, VitConfig};
use crate::models::{BackboneConfig, Mode, no_tap};
use crate::training::groups;

/// Noise of two kinds: class 0 is dark and class 1 is bright.
struct Lights {
    count: usize,
    seed: u64,
}

impl Source for Lights {
    fn len(&self) -> usize {
        self.count
    }

    fn fetch(&self, index: usize, _buffer: &mut Vec<u8>) -> Result<Stored, SourceError> {
        let draw = Draw { sample: index as u64, ..Draw::of_seed(self.seed) };
        let mut stream = draw.stream(Purpose::World);
        let least = 100 * (index % 2) as u8;
        let pixels = (0..8 * 8 * 3).map(|_| least + stream.below(150) as u8).collect();
        Ok(Stored::Pixels(Image::from_u8(8, 8, 3, pixels)))
    }

    fn label(&self, index: usize) -> Option<u32> {
        Some(index as u32 % 2)
    }

    fn name(&self, index: usize) -> String {
        format!("#{index}")
    }

    fn classes(&self) -> &[String] {
        &[]
    }

    fn fingerprint(&self) -> String {
        format!("{} of {}", self.count, self.seed)
    }
}

fn lights(count: usize, seed: u64) -> Arc<dyn Source> {
    Arc::new(Lights { count, seed })
}

fn spec(backbone: BackboneConfig) -> EncoderSpec {
    let preprocess = Preprocess {
        resize: 8,
        crop: 8,
        interpolation: Interpolation::Bilinear,
        normalize: Normalize::imagenet(),
    };
    EncoderSpec::new(backbone, 3, preprocess)
}

fn resnet() -> EncoderSpec {
    spec(BackboneConfig::Resnet18(ResNetConfig {
        stem: Stem::Small,
        width: 4,
        zero_init_residual: false,
    }))
}

fn vit() -> EncoderSpec {
    spec(BackboneConfig::VitTiny(VitConfig {
        image: 8,
        patch: 4,
        pool: Pool::Mean,
        ..VitConfig::default()
    }))
}

/// One setting that learns fast.
fn quick() -> FinetuneConfig {
    FinetuneConfig {
        learning_rates: vec![6e-3],
        layer_decays: vec![1.0],
        epochs: 4,
        batch: 16,
        ..FinetuneConfig::default()
    }
}

fn run(config: &FinetuneConfig, train: &Arc<dyn Source>) -> Result<(Outcome, Tuned)> {
    let spec = resnet();
    let encoder = encoder::random(&spec, 1, Device::Cpu, None);
    evaluate(&encoder, &spec, train, &lights(30, 2), config, &mut |_, _, _| {})
}

fn copies(variables: &BTreeMap<String, Tensor>) -> BTreeMap<String, Tensor> {
    variables.iter().map(|(name, it)| (name.clone(), it.detach().copy())).collect()
}

#[test]
fn the_copy_learns_and_the_encoder_stays_bit_for_bit() {
    let spec = resnet();
    let encoder = encoder::random(&spec, 1, Device::Cpu, None);
    let before = copies(&encoder.variables);
    let mut told = Vec::new();
    let (outcome, tuned) = evaluate(
        &encoder,
        &spec,
        &lights(64, 1),
        &lights(30, 2),
        &quick(),
        &mut |done, all, loss| {
            told.push((done, all, loss));
        },
    )
    .unwrap();
    let [score] = &outcome.scores[..] else { panic!("two classes and one seed have one score") };
    assert_eq!((score.protocol.as_str(), score.metric.as_str()), ("finetune", "top1"));
    assert_eq!(score.encoder, "random");
    // Dark and bright do not overlap by much: every network that learns at all tells them apart.
    assert!(score.value > 0.9, "{}", score.value);
    assert_eq!(score.setting, "lr=0.006 ld=1, 64 images");
    let counts: Vec<_> = told.iter().map(|&(done, all, _)| (done, all)).collect();
    assert_eq!(counts, [(1, 4), (2, 4), (3, 4), (4, 4)]);
    assert!(told[3].2 < told[0].2, "the loss falls");
    for (name, variable) in &encoder.variables {
        assert!(variable.equal(&before[name]), "{name}");
        assert!(!tuned.encoder.variables[name].equal(&before[name]), "{name} has not moved");
    }
    assert_ne!(tuned.encoder.weights_hash, encoder.weights_hash);
    let identity = identity(&tuned.spec.backbone, &tuned.encoder.variables);
    assert_eq!(tuned.encoder.weights_hash, identity);
    assert_eq!(tuned.steps, 16);
}

#[test]
fn what_was_tuned_opens_as_an_encoder() {
    let (_, tuned) = run(&FinetuneConfig { epochs: 1, ..quick() }, &lights(32, 1)).unwrap();
    let folder = tempfile::tempdir().unwrap();
    let path = tuned.save(folder.path()).unwrap();
    assert!(path.is_file());
    let place = folder.path().to_string_lossy();
    let (opened, spec) = encoder::open(&place, Device::Cpu, None).unwrap();
    assert_eq!(spec, resnet());
    assert_eq!(opened.weights_hash, tuned.encoder.weights_hash);
    let images = Tensor::randn([2, 3, 8, 8], (Kind::Float, Device::Cpu));
    let pooled = |it: &Encoder| it.backbone.forward(&images, Mode::Eval, &mut no_tap).pooled;
    assert!(pooled(&opened).equal(&pooled(&tuned.encoder)));
}

#[test]
fn each_layer_moves_at_the_rate_of_its_depth() {
    let spec = vit();
    let encoder = encoder::random(&spec, 1, Device::Cpu, None);
    let task = Supervised::new(&lights(8, 1), &lights(8, 2)).unwrap();
    let config = FinetuneConfig { warmup: 0.0, weight_decay: 0.0, epochs: 1, ..quick() };
    let mut tuned = Tuned::new(&encoder, &spec, 2, 0).unwrap();
    let before = copies(&tuned.parameters());
    let mut quiet = |_: usize, _: usize, _: f64| {};
    let setting = Setting { lr: 0.01, layer_decay: 0.65 };
    tune(&mut tuned, &task.train, setting, &config, 0, &mut Epochs::new(1, &mut quiet)).unwrap();
    // One step of Adam moves a number by the rate, whatever its gradient.
    let moved = |name: &str| {
        let change = &tuned.parameters()[name] - &before[name];
        change.abs().max().double_value(&[]) / 0.01
    };
    // `.65, 12 blocks` of the reference, to eight decimals.
    let published = [
        0.003_697_21,
        0.005_688_01,
        0.008_750_78,
        0.013_462_74,
        0.020_711_91,
        0.031_864_48,
        0.049_022_28,
        0.075_418_89,
        0.116_029_06,
        0.178_506_25,
        0.274_625,
        0.4225,
        0.65,
        1.0,
    ];
    // ε beside small gradients, and weights in f32.
    let close = |found: f64, wanted: f64, name: &str| {
        assert!((found / wanted - 1.0).abs() < 0.01, "{name}: {found} is not {wanted}");
    };
    close(moved("patch_embed.proj.weight"), published[0], "patch");
    close(moved("pos_embed"), published[0], "positions");
    for block in 0..12 {
        let name = format!("blocks.{block}.mlp.fc2.weight");
        close(moved(&name), published[block + 1], &name);
    }
    close(moved("norm.bias"), 1.0, "norm");
    close(moved("classifier.weight"), 1.0, "classifier");
}

#[test]
fn the_first_step_of_a_warm_up_moves_nothing_but_statistics() {
    let config = FinetuneConfig { epochs: 1, batch: 64, warmup: 0.5, ..quick() };
    let (_, tuned) = run(&config, &lights(6, 1)).unwrap();
    let encoder = encoder::random(&resnet(), 1, Device::Cpu, None);
    for (name, variable) in &tuned.encoder.variables {
        let moved = !variable.equal(&encoder.variables[name]);
        assert_eq!(moved, name.contains("running"), "{name}");
    }
}

#[test]
fn networks_that_compute_in_bfloat16_learn_too() {
    let (spec, config) = (resnet(), FinetuneConfig { mixup: 0.5, ..quick() });
    let encoder = encoder::random(&spec, 1, Device::Cpu, Some(Kind::BFloat16));
    let (train, test) = (lights(48, 1), lights(30, 2));
    let (outcome, tuned) =
        evaluate(&encoder, &spec, &train, &test, &config, &mut |_, _, _| {}).unwrap();
    assert!(outcome.scores[0].value > 0.8, "{}", outcome.scores[0].value);
    assert!(tuned.encoder.variables.values().all(|it| it.kind() == Kind::Float));
    assert_eq!(tuned.encoder.autocast, Some(Kind::BFloat16));
}

#[test]
fn every_parameter_of_both_families_has_a_group() {
    for spec in [resnet(), vit()] {
        let encoder = encoder::random(&spec, 1, Device::Cpu, None);
        let parameters = Tuned::new(&encoder, &spec, 3, 0).unwrap().parameters();
        let rules = groups::layered_rules(&parameters, 0.5);
        let groups = groups::assign(&parameters, &rules).unwrap();
        let claimed: usize = groups.iter().map(|group| group.names.len()).sum();
        assert_eq!(claimed, parameters.len());
        let lowest = groups.iter().map(|group| group.lr_scale).fold(1.0, f64::min);
        let layers = if parameters.contains_key("cls_token") { 13 } else { 5 };
        assert_eq!(lowest, 0.5f64.powi(layers));
        let running = parameters.keys().any(|name| name.contains("running"));
        assert!(!running, "statistics are not learned by gradient");
    }
}

#[test]
fn the_sweep_leaves_out_what_diverges() {
    let config = FinetuneConfig { learning_rates: vec![1e30, 6e-3], epochs: 2, ..quick() };
    let mut last = (0, 0);
    let spec = resnet();
    let encoder = encoder::random(&spec, 1, Device::Cpu, None);
    let (outcome, _) =
        evaluate(&encoder, &spec, &lights(40, 1), &lights(30, 2), &config, &mut |done, all, _| {
            last = (done, all);
        })
        .unwrap();
    let setting = &outcome.scores[0].setting;
    assert!(setting.starts_with("lr=0.006 ld=1 of 2, "), "{setting}");
    assert_eq!(last, (6, 6), "epochs that are left out count as over");
    for learning_rates in [vec![1e30], vec![1e30, 1e31]] {
        let error = run(&FinetuneConfig { learning_rates, ..config.clone() }, &lights(40, 1));
        let error = error.err().unwrap().to_string();
        assert!(error.contains("diverged with lr="), "{error}");
    }
}

#[test]
fn the_same_seed_gives_the_same_numbers_and_seeds_are_averaged() {
    let config = FinetuneConfig { epochs: 2, mixup: 0.8, jitter: 0.4, ..quick() };
    let (train, many) = (lights(40, 1), FinetuneConfig { seeds: vec![3, 4, 5], ..config.clone() });
    let (one, first) = run(&FinetuneConfig { seeds: vec![3], ..config.clone() }, &train).unwrap();
    let (all, again) = run(&many, &train).unwrap();
    assert_eq!(one.items, all.items, "the first seed's");
    assert!(first.weight.equal(&again.weight) && first.steps == again.steps);
    let [_, mean] = &all.scores[..] else { panic!("several seeds have a mean") };
    assert_eq!(mean.metric, "top1_over_seeds");
    assert!(mean.setting.contains("3 seeds"), "{}", mean.setting);
    let [low, high] = mean.interval.unwrap();
    assert!(low <= mean.value && mean.value <= high);
    let other = run(&FinetuneConfig { seeds: vec![4], ..config }, &train).unwrap().1;
    assert!(!other.weight.equal(&first.weight));
}

#[test]
fn few_labels_are_drawn_class_by_class() {
    let task = Supervised::new(&lights(41, 1), &lights(8, 2)).unwrap();
    let drawn = |config: FinetuneConfig, seed| {
        let part = subset(&task.train, &config, seed);
        let ones = part.labels.iter().filter(|&&label| label == 1).count();
        assert!(part.samples.is_sorted());
        (part.samples.len() - ones, ones, part.samples)
    };
    let few = |shots| FinetuneConfig { shots: Some(shots), ..quick() };
    let (zeros, ones, samples) = drawn(few(3), 0);
    assert_eq!((zeros, ones), (3, 3));
    assert_eq!(drawn(few(3), 0).2, samples);
    assert_ne!(drawn(few(3), 1).2, samples);
    let (zeros, ones, _) = drawn(few(100), 0);
    assert_eq!((zeros, ones), (21, 20));
    let share = |share| FinetuneConfig { fraction: Some(share), ..quick() };
    let (zeros, ones, _) = drawn(share(0.25), 0);
    assert_eq!((zeros, ones), (5, 5));
    let (zeros, ones, _) = drawn(share(1e-6), 0);
    assert_eq!((zeros, ones), (1, 1));
    let (outcome, _) = run(&few(4), &lights(40, 1)).unwrap();
    assert!(outcome.scores[0].setting.ends_with(", 8 images"));
}

#[test]
fn few_images_make_a_small_batch_and_fewer_are_refused() {
    let config = FinetuneConfig { epochs: 1, batch: 64, ..quick() };
    let (_, tuned) = run(&config, &lights(6, 1)).unwrap();
    assert_eq!(tuned.steps, 1);
    let error = run(&config, &lights(1, 1)).err().unwrap().to_string();
    assert!(error.contains("two labelled images or more"), "{error}");
}

#[test]
fn a_class_that_only_the_test_has_is_never_answered() {
    let spec = resnet();
    let encoder = encoder::random(&spec, 1, Device::Cpu, None);
    let dark = picked(lights(40, 1), (0..40).step_by(2).collect());
    let (outcome, tuned) =
        evaluate(&encoder, &spec, &dark, &lights(10, 2), &quick(), &mut |_, _, _| {}).unwrap();
    assert_eq!(tuned.bias.size(), [2]);
    let bright: f64 = outcome.items.iter().skip(1).step_by(2).sum();
    assert_eq!(bright, 0.0);
    let error = evaluate(
        &encoder,
        &spec,
        &dark,
        &picked(lights(10, 2), vec![0, 2]),
        &quick(),
        &mut |_, _, _| {},
    );
    assert!(error.err().unwrap().to_string().contains("the same label"));
}

#[test]
fn settings_without_meaning_are_refused() {
    for config in [
        FinetuneConfig { learning_rates: vec![], ..quick() },
        FinetuneConfig { learning_rates: vec![-1.0], ..quick() },
        FinetuneConfig { layer_decays: vec![1.5], ..quick() },
        FinetuneConfig { weight_decay: f64::NAN, ..quick() },
        FinetuneConfig { epochs: 0, ..quick() },
        FinetuneConfig { batch: 1, ..quick() },
        FinetuneConfig { warmup: 1.0, ..quick() },
        FinetuneConfig { smoothing: -0.1, ..quick() },
        FinetuneConfig { mixup: 0.01, ..quick() },
        FinetuneConfig { crop: [0.5, 2.0], ..quick() },
        FinetuneConfig { flip: 2.0, ..quick() },
        FinetuneConfig { jitter: -1.0, ..quick() },
        FinetuneConfig { shots: Some(0), ..quick() },
        FinetuneConfig { fraction: Some(0.0), ..quick() },
        FinetuneConfig { shots: Some(1), fraction: Some(0.5), ..quick() },
        FinetuneConfig { seeds: vec![], ..quick() },
    ] {
        let error = run(&config, &lights(20, 1)).err().unwrap().to_string();
        assert!(error.starts_with("finetune: "), "{error}");
    }
    let parse = |text: &str| serde_json::from_str::<FinetuneConfig>(text);
    assert_eq!(parse("{}").unwrap(), FinetuneConfig::default());
    assert!(parse(r#"{"layer_decay": 0.5}"#).is_err());
}
