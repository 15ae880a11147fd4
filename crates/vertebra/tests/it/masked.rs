//! MAE, SimMIM and data2vec: their losses as plain PyTorch has them (`fixtures/record_masked.py`), and what the methods do with them.

use report::record::{self, JournalLine, RunInfo};
use tch::{Device, Kind, Tensor};
use tempfile::tempdir;
use vertebra::error::Error;
use vertebra::methods::mask::{self, Filled};
use vertebra::methods::{Batch, Inputs, Method, MethodConfig, Views, data2vec, mae, simmim};
use vertebra::models::vit::predictor::PredictorConfig;
use vertebra::models::vit::{Pool, Positions, VitConfig};
use vertebra::models::{BackboneConfig, Mode, no_tap};
use vertebra::objectives::reconstruction;
use vertebra::recipe::RawRecipe;

use crate::parity::Tensors;
use crate::{CPU, alone, build, distance, fixture, largest, tiny_backbones, trained, two_views};

/// Both sides compute in f64; sums in another order differ in the last few of sixteen digits.
const F64: f64 = 1e-12;
/// The recording rounds f64 results to f32, which is wrong by up to 6e-8 of each number.
const STORED_AS_F32: f64 = 1e-7;
/// f32 throughout: sums of some hundred numbers in another order.
const F32: f64 = 1e-5;

#[test]
fn the_loss_of_mae_is_its_formula_in_pytorch() {
    let file = fixture("masked.safetensors");
    let patches = reconstruction::patchify(&exact(&file, "images"), 4);
    let target = reconstruction::normalized_patches(&patches);
    agrees(&file, "mae.target", &target, STORED_AS_F32);
    for (name, target) in [("plain_loss", &patches), ("loss", &target)] {
        let prediction = leaf(&file, "mae.prediction");
        let errors = reconstruction::squared_errors(&prediction, target);
        let [errors, hidden] = over_hidden(&file, &errors);
        let loss = errors / hidden;
        agrees(&file, &format!("mae.{name}"), &loss, F64);
        if name == "loss" {
            loss.backward();
            agrees(&file, "mae.grad_prediction", &prediction.grad(), STORED_AS_F32);
        }
    }
}

#[test]
fn the_loss_of_simmim_is_its_formula_in_pytorch() {
    let file = fixture("masked.safetensors");
    let prediction = leaf(&file, "simmim.prediction");
    let [prediction_patches, target] =
        [&prediction, &exact(&file, "images")].map(|images| reconstruction::patchify(images, 4));
    let errors = reconstruction::absolute_errors(&prediction_patches, &target);
    let [errors, hidden] = over_hidden(&file, &errors);
    let loss = reconstruction::mean_over_pixels(&errors, &hidden, 4, 3);
    agrees(&file, "simmim.loss", &loss, F64);
    loss.backward();
    agrees(&file, "simmim.grad_prediction", &prediction.grad(), STORED_AS_F32);
}

#[test]
fn the_loss_of_data2vec_is_its_formula_in_pytorch() {
    let file = fixture("masked.safetensors");
    let blocks = exact(&file, "data2vec.blocks").unbind(0);
    let target = reconstruction::mean_of_blocks(&blocks);
    agrees(&file, "data2vec.target", &target, STORED_AS_F32);
    let prediction = leaf(&file, "data2vec.prediction");
    let errors = reconstruction::smooth_l1_errors(&prediction, &target, 2.0);
    let [errors, hidden] = over_hidden(&file, &errors);
    let loss = errors / hidden;
    agrees(&file, "data2vec.loss", &loss, F64);
    loss.backward();
    agrees(&file, "data2vec.grad_prediction", &prediction.grad(), STORED_AS_F32);
}

/// Each patch of these images is full of its own number, and a decoder whose last layer is 0 predicts 0: the loss is the mean square of
/// the numbers of the patches that are hidden, wherever the mask put them.
#[test]
fn mae_and_simmim_are_asked_for_the_patches_that_are_hidden() {
    let _alone = alone();
    let numbers = Tensor::arange(8 * 16, (Kind::Float, Device::Cpu)).view([8, 16, 1]) * 0.1;
    let patches = numbers.expand([8, 16, 48], false).contiguous();
    let batch = of(reconstruction::unpatchify(&patches, [4, 4], 4));
    let mean_of = |hidden: &dyn Fn(pixels::draw::Draw) -> Vec<i64>, power: i32| {
        let mut values = Vec::new();
        for image in 0..8 {
            let places = hidden(mask::address(CPU.progress, image, 0));
            values.extend(
                places.iter().map(|place| (0.1 * (16 * image as i64 + place) as f64).powi(power)),
            );
        }
        values.iter().sum::<f64>() / values.len() as f64
    };

    let config = mae::Config { norm_pix: false, ..small_mae() };
    let mut method = build(&MethodConfig::Mae(config), &vit(4), 1);
    silence(method.as_ref(), "decoder.proj.");
    let wanted = mean_of(&|at| mask::random::split(16, 0.75, at).1, 2);
    let found = loss_of(method.as_mut(), &batch);
    assert!((found / wanted - 1.0).abs() < F32, "{found} instead of {wanted}");

    let mut method = build(&MethodConfig::Simmim(simmim::Config::default()), &vit(4), 1);
    silence(method.as_ref(), "decoder.");
    let cells = |at| mask::cells::hidden([4, 4], 2, 0.6, at);
    let places = |at| (0..16).filter(|&place| cells(at)[place as usize]).collect::<Vec<i64>>();
    let wanted = mean_of(&places, 1);
    let found = loss_of(method.as_mut(), &batch);
    assert!((found / wanted - 1.0).abs() < F32, "{found} instead of {wanted}");
}

#[test]
fn flat_patches_have_nothing_to_predict_where_pixels_are_normalised() {
    let _alone = alone();
    let mut method = build(&MethodConfig::Mae(small_mae()), &vit(4), 1);
    silence(method.as_ref(), "decoder.proj.");
    let flat = Tensor::full([8, 3, 16, 16], 0.3, (Kind::Float, Device::Cpu));
    // What rounding of the mean leaves, over the root of ε.
    assert!(loss_of(method.as_mut(), &of(flat)) < 1e-6);
    let noise = Tensor::randn([8, 3, 16, 16], (Kind::Float, Device::Cpu));
    let found = loss_of(method.as_mut(), &of(noise));
    assert!((found - 47.0 / 48.0).abs() < F32, "{found}");
}

/// Where β is far above all errors the loss is e² / 2β, and the mean square of what is normalised is 1.
#[test]
fn data2vec_is_asked_for_normalised_tokens_of_the_teacher() {
    let _alone = alone();
    let config = data2vec::Config { beta: 1e3, ..data2vec::Config::default() };
    let mut method = build(&MethodConfig::Data2vec(config), &vit(4), 1);
    silence(method.as_ref(), "predictor.");
    let found = loss_of(method.as_mut(), &two_views()) * 2e3;
    // The second norm's ε of 1e-5 beside a variance near 1.
    assert!((found - 1.0).abs() < 1e-3, "{found}");
}

#[test]
fn the_teacher_of_data2vec_sees_all_patches_and_follows() {
    let _alone = alone();
    let method = build(&MethodConfig::Data2vec(data2vec::Config::default()), &vit(4), 1);
    assert_eq!(method.encoder(), "teacher.backbone.");
    // The embedding is the mean of the targets, which no mask enters: another place in the batch changes the errors alone.
    let batch = two_views();
    let here = method.embed(&batch, &CPU);
    let elsewhere = method.embed(&Batch { first: 100, ..batch }, &CPU);
    assert!(here[3].equal(&elsewhere[3]));
    assert!(distance(&here[0], &elsewhere[0]) > 1e-4);
    assert!(distance(&here[2], &elsewhere[2]) > 1e-4);

    let mut method = method;
    let name = "blocks.0.attn.qkv.weight";
    let teacher = method.variables()[&format!("teacher.backbone.{name}")].copy();
    let student = method.variables()[&format!("backbone.{name}")].shallow_clone();
    let _ = tch::no_grad(|| student.shallow_clone().g_add_scalar_(1.0));
    method.after_step(&CPU).unwrap();
    // Halfway between 0.999 and 0.9998: 0.9994.
    let moved = &method.variables()[&format!("teacher.backbone.{name}")] - teacher;
    let off = largest(&(moved - 6e-4));
    // One f32 addition to numbers of a tenth.
    assert!(off < 2e-8, "{off:e}");
}

/// Xavier's bounds: √(6 / (768 + 192)) … of the patches' projection as a matrix.
#[test]
fn mae_begins_as_its_authors_do() {
    let _alone = alone();
    let backbone = BackboneConfig::VitTiny(VitConfig {
        image: 32,
        patch: 16,
        positions: Positions::Sincos,
        depth: Some(1),
        ..VitConfig::default()
    });
    let method = build(&MethodConfig::Mae(small_mae()), &backbone, 1);
    let variables = method.variables();
    for (name, inputs, outputs) in [
        ("backbone.patch_embed.proj.weight", 768.0, 192.0),
        ("backbone.blocks.0.attn.qkv.weight", 192.0, 576.0),
        ("decoder.proj.weight", 24.0, 768.0),
    ] {
        let bound = f64::sqrt(6.0 / (inputs + outputs));
        let found = largest(&variables[name]);
        assert!((0.99 * bound..=bound * (1.0 + 1e-6)).contains(&found), "{name}: {found}");
    }
    let spread = variables["backbone.cls_token"].std(true).double_value(&[]);
    // Of 192 numbers, four standard errors.
    assert!((spread / 0.02 - 1.0).abs() < 0.21, "{spread}");
    assert!(!method.parameters().contains_key("backbone.pos_embed"));
}

#[test]
fn what_cannot_be_filled_in_is_refused_with_its_field() {
    let [resnet, _, convnext] = tiny_backbones();
    let tiny = |change: fn(&mut VitConfig)| {
        let mut config = VitConfig { image: 16, patch: 4, ..VitConfig::default() };
        change(&mut config);
        BackboneConfig::VitTiny(config)
    };
    let headed = tiny(|config| config.projection = Some(8));
    let attentive = tiny(|config| (config.pool, config.class_token) = (Pool::Attention, false));
    let methods: [(&str, MethodConfig); 3] = [
        ("MAE", MethodConfig::Mae(mae::Config::default())),
        ("SimMIM", MethodConfig::Simmim(simmim::Config::default())),
        ("data2vec", MethodConfig::Data2vec(data2vec::Config::default())),
    ];
    for (title, method) in &methods {
        for backbone in [&resnet, &convnext, &headed, &attentive] {
            let refused = method.check(&inputs(backbone)).unwrap_err();
            assert!(refused.to_string().contains(title), "{refused}");
            assert!(refused.hint().is_some());
        }
        assert!(method.check(&inputs(&vit(4))).is_ok(), "{title}");
        let mean = tiny(|config| (config.pool, config.class_token) = (Pool::Mean, false));
        assert!(method.check(&inputs(&mean)).is_ok(), "{title}");
    }
    let wrong = [
        ("name = \"mae\"\nmask_ratio = 1.0", "method.mask_ratio"),
        ("name = \"mae\"\ndecoder.width = 30", "method.decoder"),
        ("name = \"simmim\"\nmask_ratio = 0.0", "method.mask_ratio"),
        ("name = \"simmim\"\ncell = 0", "method.cell"),
        ("name = \"data2vec\"\nmask_ratio = nan", "method.mask_ratio"),
        ("name = \"data2vec\"\ntop_blocks = 13", "method.top_blocks"),
        ("name = \"data2vec\"\nbeta = 0.0", "method.beta"),
        ("name = \"data2vec\"\nfinal_momentum = 1.1", "method.final_momentum"),
        ("name = \"data2vec\"\nmomentum_epochs = 0.0", "method.momentum_epochs"),
    ];
    for (text, wanted) in wrong {
        let method: MethodConfig = toml::from_str(text).unwrap();
        match method.check(&inputs(&vit(4))) {
            Err(Error::Recipe { field, .. }) => assert_eq!(field, wanted, "{text}"),
            other => panic!("{text}: {other:?}"),
        }
    }
}

/// Grids of one patch, of one row, and ones whose sides no cell divides.
#[test]
fn the_smallest_grids_are_embedded_without_a_panic() {
    let _alone = alone();
    for (side, rows) in [(16, 16), (8, 16), (8, 24)] {
        let images = Tensor::randn([3, 3, rows, side], (Kind::Float, Device::Cpu));
        for config in [
            MethodConfig::Mae(small_mae()),
            MethodConfig::Simmim(simmim::Config { cell: 2, ..simmim::Config::default() }),
            MethodConfig::Data2vec(data2vec::Config::default()),
        ] {
            let mut method = build(&config, &vit(8), 1);
            let found = loss_of(method.as_mut(), &of(images.shallow_clone()));
            assert!(found.is_finite() && found >= 0.0, "{}", config.title());
        }
        let backbone = vit(8);
        let features = build(&MethodConfig::Simmim(simmim::Config::default()), &backbone, 1);
        let seen = features.backbone().forward(&images, Mode::Train, &mut no_tap);
        assert_eq!(mask::patches(features.backbone(), &seen).size()[1], rows * side / 64);
    }
}

/// 40 steps on 256 small images.
#[test]
fn short_runs_of_all_three_learn_and_raise_no_alarm() {
    let _alone = alone();
    let mut wrong = Vec::new();
    for (method, part) in [
        ("name = \"mae\", decoder = { width = 64, depth = 1, heads = 2 }", "pixels"),
        ("name = \"simmim\"", "pixels"),
        ("name = \"data2vec\", top_blocks = 1, momentum = 0.9, final_momentum = 0.99", "tokens"),
    ] {
        let folder = tempdir().unwrap();
        let text = format!("method = {{ {method} }}\n{RUN}");
        let recipe = RawRecipe::parse(&text, &[]).unwrap().check().unwrap();
        trained(recipe, folder.path(), false, None).unwrap();
        let journal = folder.path().join("journal.jsonl");
        let journal = record::read_lines::<JournalLine>(&journal).unwrap().values;
        let info: RunInfo = record::read_json(&folder.path().join("run.json")).unwrap();
        let (first, last) = (&journal[0], &journal[journal.len() - 1]);
        eprintln!("{method}: {} to {}, {:?} {:?}", first.loss, last.loss, last.values, info.advice);
        let learned = last.loss < 0.95 * first.loss && last.values.contains_key(part);
        if !learned || !info.advice.is_empty() {
            wrong.push(method);
        }
    }
    assert!(wrong.is_empty(), "{wrong:?}");
}

const RUN: &str = r#"
epochs = 10
batch = 64
warmup_epochs = 1
log_every = 4
checkpoint_every = 100
precision = "fp32"
device = "cpu"
workers = 1
data.train = "world:?size=32&count=256"
views = [{ count = 1, size = 16, jitter.probability = 0.0, grayscale = 0.0, blur.probability = 0.0, solarize = 0.0 }]
backbone = { name = "vit_tiny", image = 16, patch = 4, depth = 2, width = 64, pool = "mean", positions = "sincos" }
optimizer = { name = "adamw", lr = 8e-3, betas = [0.9, 0.95] }
"#;

/// ViT-Ti for images of 16 pixels.
fn vit(patch: i64) -> BackboneConfig {
    BackboneConfig::VitTiny(VitConfig { image: 16, patch, ..VitConfig::default() })
}

fn small_mae() -> mae::Config {
    let decoder = PredictorConfig { width: 24, depth: 1, heads: Some(2) };
    mae::Config { decoder, ..mae::Config::default() }
}

fn inputs(backbone: &BackboneConfig) -> Inputs<'_> {
    Inputs { backbone, channels: 3, views: Views { large: 1, all: 1, aligned: true } }
}

/// One view of each of these images.
fn of(images: Tensor) -> Batch {
    let size = images.size()[0] as usize;
    let record = pixels::record::ViewRecord::untouched([16, 16]);
    let records = vec![vec![record; size]];
    Batch { views: vec![images], records, labels: vec![None; size], first: 0 }
}

/// Makes a layer's weights 0, so that it says 0 whatever it is told.
fn silence(method: &dyn Method, prefix: &str) {
    let mut silenced = 0;
    tch::no_grad(|| {
        for (_, mut parameter) in
            method.parameters().into_iter().filter(|(name, _)| name.starts_with(prefix))
        {
            let _ = parameter.zero_();
            silenced += 1;
        }
    });
    assert_eq!(silenced, 2, "weight and bias of {prefix}");
}

fn loss_of(method: &mut dyn Method, batch: &Batch) -> f64 {
    let embedded = method.embed(batch, &CPU);
    method.loss(&embedded, &CPU).unwrap().total.double_value(&[])
}

/// The errors of all patches over those that the recorded mask hides: their sum and their number.
fn over_hidden(file: &Tensors, errors: &Tensor) -> [Tensor; 2] {
    let mask = exact(file, "mask");
    let filled = Filled::masked(errors, &mask, &mask, &mask);
    mask::totals(&[filled.errors, filled.hidden])
}

fn agrees(file: &Tensors, name: &str, found: &Tensor, tolerance: f64) {
    assert_eq!(found.kind(), Kind::Double, "a tolerance for f64 needs f64");
    let off = distance(found, &file[name]);
    assert!(off < tolerance, "{name}: off by {off:e}");
}

fn exact(file: &Tensors, name: &str) -> Tensor {
    file[name].to_kind(Kind::Double)
}

/// The same, gathering a gradient.
fn leaf(file: &Tensors, name: &str) -> Tensor {
    exact(file, name).set_requires_grad(true)
}
