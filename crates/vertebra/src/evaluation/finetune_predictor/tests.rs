use std::collections::BTreeMap;

use pixels::plan::{Interpolation, Normalize, Preprocess};
use pixels::source::open;
use tch::{Device, Kind, Tensor};

use super::*;
use crate::evaluation::{encoder, finetune};
use crate::models::vit::predictor::{Conditioning, PredictorSpec};
use crate::models::vit::{Pool, Positions, VitConfig};
use crate::models::{BackboneConfig, Mode};
use crate::training::checkpoint::{Checkpoint, Header};

const PATCHES: i64 = 4;

fn spec(conditioning: Conditioning) -> EncoderSpec {
    let vit = VitConfig {
        image: 16,
        patch: 8,
        depth: Some(1),
        width: Some(64),
        positions: Positions::Sincos,
        pool: Pool::Mean,
        class_token: false,
        ..VitConfig::default()
    };
    let preprocess = Preprocess {
        resize: 16,
        crop: 16,
        interpolation: Interpolation::Bilinear,
        normalize: Normalize::imagenet(),
    };
    let predictor = PredictorSpec {
        inputs: 64,
        outputs: 64,
        width: 32,
        depth: 1,
        heads: 2,
        conditioning,
        actions: 7,
    };
    EncoderSpec {
        predictor: Some(predictor),
        variables: "teacher.backbone.".into(),
        ..EncoderSpec::new(BackboneConfig::VitTiny(vit), 3, preprocess)
    }
}

/// Its predictor differs from that of every other seed.
fn world(spec: &EncoderSpec) -> WorldModel {
    let encoder = encoder::random(spec, 1, Device::Cpu, None);
    WorldModel::over(encoder, spec, 2).unwrap()
}

fn source(count: usize, split: &str) -> Arc<dyn Source> {
    open(&format!("world:?size=16&count={count}&split={split}")).unwrap()
}

/// One setting and two epochs.
fn quick() -> FinetunePredictorConfig {
    let finetune = FinetuneConfig {
        learning_rates: vec![1e-2],
        layer_decays: vec![1.0],
        epochs: 2,
        batch: 16,
        ..FinetuneConfig::default()
    };
    FinetunePredictorConfig { finetune, ..FinetunePredictorConfig::default() }
}

fn only(mode: TuningMode) -> FinetunePredictorConfig {
    FinetunePredictorConfig { modes: vec![mode], ..quick() }
}

fn run(
    world: &WorldModel,
    spec: &EncoderSpec,
    config: &FinetunePredictorConfig,
) -> Result<Vec<(TuningMode, Outcome)>> {
    let (train, test) = (source(48, "train"), source(20, "test"));
    evaluate(world, spec, &train, &test, config, &mut |_, _, _| {})
}

fn job<'a>(
    world: &'a WorldModel,
    spec: &'a EncoderSpec,
    mode: TuningMode,
    config: &'a FinetunePredictorConfig,
    together: bool,
) -> Job<'a> {
    Job { world, spec, mode, config, together }
}

fn images(n: i64) -> Tensor {
    tch::manual_seed(5);
    Tensor::randn([n, 3, 16, 16], (Kind::Float, Device::Cpu))
}

fn copies(variables: &BTreeMap<String, Tensor>) -> BTreeMap<String, Tensor> {
    variables.iter().map(|(name, it)| (name.clone(), it.detach().copy())).collect()
}

#[test]
fn whatever_learns_the_world_model_stays_bit_for_bit() {
    let spec = spec(Conditioning::Feature);
    let world = world(&spec);
    let (encoder, predictor) = (copies(&world.encoder.variables), copies(&world.variables));
    for head in [TuningHead::Linear, TuningHead::Attentive] {
        let found = run(&world, &spec, &FinetunePredictorConfig { head, ..quick() }).unwrap();
        let names: Vec<&str> = found.iter().map(|(_, it)| it.scores[0].protocol.as_str()).collect();
        let wanted = [
            "predictor_pretrained",
            "predictor_random",
            "predictor_encoder",
            "predictor_end_to_end",
        ];
        assert_eq!(names, wanted);
        for (mode, outcome) in found {
            assert_eq!(outcome.items.len(), 20, "{mode:?}");
            let setting = &outcome.scores[0].setting;
            assert_eq!(setting, "lr=0.01 ld=1, 48 images");
        }
    }
    let same = |now: &BTreeMap<String, Tensor>, before: &BTreeMap<String, Tensor>| {
        now.iter().all(|(name, variable)| variable.equal(&before[name]))
    };
    assert!(same(&world.encoder.variables, &encoder) && same(&world.variables, &predictor));
}

/// One step of Adam moves a number by its rate, whatever its gradient.
fn moved(mode: TuningMode) -> (BTreeMap<String, f64>, BTreeMap<String, f64>) {
    let spec = spec(Conditioning::Feature);
    let (world, mut config) = (world(&spec), quick());
    let tuning = &mut config.finetune;
    (tuning.warmup, tuning.weight_decay, tuning.epochs, tuning.batch) = (0.0, 0.0, 1, 48);
    let task = Supervised::new(&source(48, "train"), &source(8, "test")).unwrap();
    let job = job(&world, &spec, mode, &config, true);
    let learner = Learner::new(&job, &[task.classes], 0).unwrap();
    let before = (copies(&learner.encoder_and_heads()), copies(&learner.of_predictor()));
    let (setting, mut quiet) = (Setting { lr: 0.01, layer_decay: 1.0 }, |_, _, _| {});
    let mut epochs = Epochs::new(1, &mut quiet);
    assert!(learner.tune(&[task.train], setting, &config.finetune, 0, &mut epochs).unwrap());
    let change = |now: BTreeMap<String, Tensor>, before: &BTreeMap<String, Tensor>| {
        let by = |(name, now): (String, Tensor)| {
            let most = (now - &before[&name]).abs().max().double_value(&[]) / 0.01;
            (name, most)
        };
        now.into_iter().map(by).collect()
    };
    (change(learner.encoder_and_heads(), &before.0), change(learner.of_predictor(), &before.1))
}

#[test]
fn a_predictor_that_comes_trained_learns_at_a_tenth_of_the_rate_of_a_fresh_one() {
    // ε beside small gradients, and weights in f32.
    let close = |found: f64, wanted: f64| (found / wanted - 1.0).abs() < 0.01;
    let modes = [
        (TuningMode::Pretrained, 0.1, false),
        (TuningMode::Random, 1.0, false),
        (TuningMode::EndToEnd, 0.1, true),
    ];
    for (mode, rate, learns) in modes {
        let (above, predictor) = moved(mode);
        for (name, by) in &predictor {
            // A bias of keys drops out of the softmax, but those of queries and values share its tensor: all tensors move.
            let wanted = if name == "task.0" { 1.0 } else { rate };
            assert!(close(*by, wanted), "{mode:?}: {name} moved by {by} of the rate");
        }
        assert!(predictor.contains_key("blocks.0.attn.qkv.weight"), "{:?}", predictor.keys());
        assert!(close(above["classifier.0.weight"], 1.0), "{mode:?}");
        assert_eq!(above.keys().any(|name| !name.starts_with("classifier.")), learns);
        assert!(!learns || close(above["patch_embed.proj.weight"], 1.0), "{mode:?}");
    }
}

#[test]
fn the_whole_image_is_asked_for_with_nothing_to_do() {
    for conditioning in [Conditioning::None, Conditioning::Sequence, Conditioning::Feature] {
        let spec = spec(conditioning);
        let (world, config, images) = (world(&spec), quick(), images(3));
        let job = job(&world, &spec, TuningMode::Pretrained, &config, false);
        let learner = Learner::new(&job, &[8], 0).unwrap();
        let (said, pooled) = learner.features(0, &images, Mode::Train);
        assert_eq!(said.size(), [3, PATCHES, 64], "{conditioning:?}");
        assert_eq!(pooled.size(), [3, 64]);
        let nothing = Tensor::zeros([3, 7], (Kind::Float, Device::Cpu));
        let (context, places) = world.whole(&images).unwrap();
        let wanted = world.predict(&context, &places, Some(&nothing));
        // Of the trained predictor, and of no other.
        assert!(said.equal(&wanted), "{conditioning:?}");
        assert!(world.null_action(3).is_none_or(|action| action.equal(&nothing)));
        assert_eq!(world.null_action(3).is_none(), conditioning == Conditioning::None);
    }
}

#[test]
fn one_task_among_many_is_a_task_alone_up_to_the_one_token() {
    let spec = spec(Conditioning::Feature);
    let (world, config, images) = (world(&spec), quick(), images(3));
    let learner = |together| {
        let job = job(&world, &spec, TuningMode::Pretrained, &config, together);
        Learner::new(&job, &[8], 0).unwrap()
    };
    let (alone, together) = (learner(false), learner(true));
    let (mine, mut all) = (alone.of_predictor(), together.of_predictor());
    let token = all.remove("task.0").unwrap();
    assert_eq!(token.size(), [1, 1, 32]);
    assert_eq!(all.len(), mine.len());
    assert!(all.iter().all(|(name, it)| it.equal(&mine[name])));
    let heads = [&alone, &together].map(Learner::encoder_and_heads);
    assert!(heads[0].iter().all(|(name, it)| it.equal(&heads[1][name])));
    // A token of zeros is a place in the sequence and no more.
    let _ = tch::no_grad(|| token.shallow_clone().zero_());
    let (context, places) = world.whole(&images).unwrap();
    let zeros = Tensor::zeros([3, 1, 32], (Kind::Float, Device::Cpu));
    let wanted =
        world.predictor.forward(&context, &places, world.null_action(3).as_ref(), Some(&zeros));
    let found = together.features(0, &images, Mode::Train).0;
    assert!(
        found.equal(&wanted) && found.size() == alone.features(0, &images, Mode::Train).0.size()
    );
    assert!(!found.equal(&alone.features(0, &images, Mode::Train).0), "the token is read");
}

#[test]
fn the_encoder_alone_is_fine_tuning() {
    let spec = spec(Conditioning::None);
    let world = world(&spec);
    let config = only(TuningMode::Encoder);
    let [(mode, found)] = &run(&world, &spec, &config).unwrap()[..] else { panic!("one mode") };
    assert_eq!(*mode, TuningMode::Encoder);
    let (train, test) = (source(48, "train"), source(20, "test"));
    let quiet = &mut |_, _, _| {};
    let (wanted, _) =
        finetune::evaluate(&world.encoder, &spec, &train, &test, &config.finetune, quiet).unwrap();
    assert_eq!(found.items, wanted.items);
    assert_eq!(found.scores[0].setting, wanted.scores[0].setting);
}

#[test]
fn a_rate_is_chosen_and_a_layer_decay_where_an_encoder_learns() {
    let spec = spec(Conditioning::Sequence);
    let world = world(&spec);
    let mut config = quick();
    config.finetune.learning_rates = vec![1e30, 3e-3];
    config.finetune.layer_decays = vec![0.75, 1.0];
    let mut told: Vec<(usize, usize, f64)> = Vec::new();
    let (train, test) = (source(60, "train"), source(10, "test"));
    let found = evaluate(&world, &spec, &train, &test, &config, &mut |done, all, loss| {
        told.push((done, all, loss));
    })
    .unwrap();
    let setting = |at: usize| found[at].1.scores[0].setting.as_str();
    assert!(setting(0).starts_with("lr=0.003 ld=1 of 2, "), "{}", setting(0));
    assert!(
        setting(3).starts_with("lr=0.003 ") && setting(3).contains(" of 4, "),
        "{}",
        setting(3)
    );
    // Two settings or four, then the chosen one, two epochs each.
    assert_eq!(told.last().map(|&(done, all, _)| (done, all)), Some((32, 32)));
}

#[test]
fn with_every_mode_and_head_the_loss_falls() {
    let spec = spec(Conditioning::Feature);
    let world = world(&spec);
    for head in [TuningHead::Linear, TuningHead::Attentive] {
        let mut config = FinetunePredictorConfig { head, ..quick() };
        let tuning = &mut config.finetune;
        (tuning.epochs, tuning.crop, tuning.flip) = (6, [1.0, 1.0], 0.0);
        let mut losses = Vec::new();
        let (train, test) = (source(48, "train"), source(8, "test"));
        let tell = &mut |_, _, loss| losses.push(loss);
        evaluate(&world, &spec, &train, &test, &config, tell).unwrap();
        for (mode, losses) in TuningMode::ALL.iter().zip(losses.chunks(6)) {
            assert!(losses[5] < losses[0], "{mode:?} under {head:?}: {losses:?}");
        }
    }
}

#[test]
fn tasks_share_a_predictor_and_each_has_one_of_its_own_beside() {
    let spec = spec(Conditioning::Feature);
    let world = world(&spec);
    let task = |name: &str, count, seed: u64| NamedTask {
        name: name.into(),
        train: open(&format!("world:?size=16&count={count}&seed={seed}")).unwrap(),
        test: open(&format!("world:?size=16&count=12&seed={seed}&split=test")).unwrap(),
    };
    let tasks = [task("few", 20, 1), task("many", 40, 2)];
    let mut last = (0, 0);
    let found =
        multitask(&world, &spec, &tasks, &quick(), &mut |done, all, _| last = (done, all)).unwrap();
    assert_eq!(last, (6, 6));
    for (outcome, task) in found.iter().zip(&tasks) {
        assert_eq!(outcome.name, task.name);
        let (shared, own) = (&outcome.shared, &outcome.own);
        assert_eq!((shared.items.len(), own.items.len()), (12, 12));
        let names = [&shared.scores[0], &own.scores[0]].map(|it| it.protocol.as_str());
        assert_eq!(names, ["predictor_multitask", "predictor_pretrained"]);
        assert!(shared.scores.iter().chain(&own.scores).all(|it| it.task == task.name));
        // Its own is what it would be without the others.
        let quiet = &mut |_, _, _| {};
        let config = only(TuningMode::Pretrained);
        let alone = evaluate(&world, &spec, &task.train, &task.test, &config, quiet).unwrap();
        assert_eq!(alone[0].1.items, own.items);
    }
    let twice = [task("few", 20, 1), task("few", 40, 2)];
    for tasks in [&twice[..], &[]] {
        let error = multitask(&world, &spec, tasks, &quick(), &mut |_, _, _| {}).unwrap_err();
        assert!(error.to_string().contains("a name of its own"), "{error}");
    }
}

#[test]
fn a_run_with_a_predictor_opens_and_one_without_is_refused() {
    let spec = spec(Conditioning::Feature);
    let world = world(&spec);
    let folder = tempfile::tempdir().unwrap();
    let save = |spec: &EncoderSpec| {
        let named = |prefix: &str, variables: &BTreeMap<String, Tensor>| {
            let one =
                |(name, it): (&String, &Tensor)| (format!("{prefix}{name}"), it.shallow_clone());
            variables.iter().map(one).collect::<Vec<_>>()
        };
        let model = [
            named("teacher.backbone.", &world.encoder.variables),
            named("predictor.", &world.variables),
        ];
        let header =
            Header { format: Checkpoint::FORMAT, step: 1, seconds: 0.0, encoder: spec.clone() };
        let model = model.into_iter().flatten().collect();
        let checkpoint = Checkpoint { header, model, optimizer: BTreeMap::new() };
        checkpoint.save(&folder.path().join("checkpoints")).unwrap();
    };
    save(&spec);
    let (opened, found) = WorldModel::open_run(folder.path(), Device::Cpu, None).unwrap();
    assert_eq!(found, spec);
    let config = only(TuningMode::Pretrained);
    let items = |world: &WorldModel| run(world, &spec, &config).unwrap().remove(0).1.items;
    assert_eq!(items(&opened), items(&world));
    save(&EncoderSpec { predictor: None, ..spec.clone() });
    let error = WorldModel::open_run(folder.path(), Device::Cpu, None).err().unwrap().to_string();
    assert!(error.contains("has no predictor"), "{error}");
}

#[test]
fn settings_without_meaning_are_refused_and_those_of_fine_tuning_lie_beside() {
    let spec = spec(Conditioning::None);
    let world = world(&spec);
    for config in [
        FinetunePredictorConfig { modes: vec![], ..quick() },
        FinetunePredictorConfig { modes: vec![TuningMode::Random; 2], ..quick() },
        FinetunePredictorConfig { predictor_rate: 0.0, ..quick() },
        FinetunePredictorConfig { predictor_rate: f64::INFINITY, ..quick() },
    ] {
        let error = run(&world, &spec, &config).unwrap_err().to_string();
        assert!(error.starts_with("predictor: "), "{error}");
    }
    let parse = |text: &str| serde_json::from_str::<FinetunePredictorConfig>(text);
    assert_eq!(parse("{}").unwrap(), FinetunePredictorConfig::default());
    let some = parse(r#"{"modes": ["end_to_end"], "head": "attentive", "epochs": 3, "shots": 2}"#);
    let some = some.unwrap();
    assert_eq!((some.finetune.epochs, some.finetune.shots), (3, Some(2)));
    assert_eq!((some.modes, some.head), (vec![TuningMode::EndToEnd], TuningHead::Attentive));
    let error = parse(r#"{"epoch": 3}"#).unwrap_err().to_string();
    assert!(error.contains("epoch"), "{error}");
}
