//! The published losses of prediction, whitening, assignment and distillation: recorded by
//! `fixtures/record_distillation.py`.

use tch::{Device, Kind, Tensor};
use vertebra::models::dino_head::{DinoHead, DinoHeadConfig};
use vertebra::models::heads::Head;
use vertebra::models::resnet::{ResNetConfig, Stem};
use vertebra::models::vit::{Pool, VitConfig};
use vertebra::models::{BackboneConfig, Mode, named_parameters, no_tap};
use vertebra::objectives::{assignment, distillation, regression, soft_cross_entropy, whitening};

use crate::parity::{Recorded, Tensors};
use crate::{alone, distance, fixture, largest};

/// Both sides compute in f64; sums in another order differ in the last few of sixteen digits.
const F64: f64 = 1e-12;
/// The recording rounds f64 results to f32, which is wrong by up to 6e-8 of each number.
const STORED_AS_F32: f64 = 1e-7;

fn file() -> Tensors {
    fixture("distillation.safetensors")
}

#[test]
fn byol_and_simsiam_are_those_of_solo_learn() {
    let file = file();
    type Loss = fn(&Tensor, &Tensor) -> Tensor;
    let losses: [(&str, Loss); 2] =
        [("byol", regression::squared_distance), ("simsiam", regression::negative_cosine)];
    for (name, loss_of) in losses {
        let p = leaf(&file, &format!("{name}.p"));
        let loss = loss_of(&p, &exact(&file, &format!("{name}.z")));
        agrees(&file, &format!("{name}.loss"), &loss, F64);
        loss.backward();
        agrees(&file, &format!("{name}.grad_p"), &p.grad(), STORED_AS_F32);
    }
}

#[test]
fn whitened_pairs_are_those_of_the_authors() {
    let file = file();
    let [za, zb] = ["za", "zb"].map(|name| leaf(&file, &format!("wmse.{name}")));
    let white = |z: &Tensor| whitening::whiten(&z.view([2, 16, 6])).view([32, 6]);
    let loss = regression::squared_distance(&white(&za), &white(&zb));
    agrees(&file, "wmse.loss", &loss, F64);
    loss.backward();
    agrees(&file, "wmse.grad_za", &za.grad(), STORED_AS_F32);
    agrees(&file, "wmse.grad_zb", &zb.grad(), STORED_AS_F32);
}

#[test]
fn codes_and_swapped_predictions_are_those_of_swav() {
    let file = file();
    let scores = [0, 1, 2].map(|crop| leaf(&file, &format!("swav.scores{crop}")));
    let mut terms = Vec::new();
    for assigned in 0..2 {
        let codes = assignment::sinkhorn(&scores[assigned], 0.05, 3);
        agrees(&file, &format!("swav.codes{assigned}"), &codes, STORED_AS_F32);
        let others = (0..3).filter(|&crop| crop != assigned);
        terms.extend(others.map(|crop| soft_cross_entropy(&codes, &scores[crop], 0.1)));
    }
    let loss = Tensor::stack(&terms, 0).mean(None::<Kind>);
    agrees(&file, "swav.loss", &loss, F64);
    loss.backward();
    for (crop, scores) in scores.iter().enumerate() {
        agrees(&file, &format!("swav.grad_scores{crop}"), &scores.grad(), STORED_AS_F32);
    }
}

#[test]
fn the_loss_and_the_centre_are_those_of_dino() {
    let file = file();
    let student = leaf(&file, "dino.student");
    let (teacher, centre) = (exact(&file, "dino.teacher"), exact(&file, "dino.centre"));
    let targets = distillation::teacher(&teacher, &centre, 0.05).chunk(2, 0);
    let loss = between_views(&targets, &student.chunk(4, 0));
    agrees(&file, "dino.loss", &loss, F64);
    loss.backward();
    agrees(&file, "dino.grad_student", &student.grad(), STORED_AS_F32);
    let moved = distillation::moved_centre(&centre, &teacher, 0.9);
    agrees(&file, "dino.centre_after", &moved, STORED_AS_F32);
}

#[test]
fn both_losses_and_both_centres_are_those_of_ibot() {
    let file = file();
    let get = |name: &str| exact(&file, &format!("ibot.{name}"));
    let [classes, patches, local] = ["student_class", "student_patch", "student_local"]
        .map(|name| leaf(&file, &format!("ibot.{name}")));
    let targets = distillation::teacher(&get("teacher_class"), &get("centre"), 0.05).chunk(2, 0);
    let class = between_views(&targets, &Tensor::cat(&[&classes, &local], 0).chunk(3, 0));
    agrees(&file, "ibot.cls", &class, F64);

    // Two crops of four images: rows and weights of the hidden patches of all, each crop's loss being a mean over images.
    let mask = get("masks").view([8, 9]);
    let rows = mask.flatten(0, 1).nonzero().squeeze_dim(1);
    let per_image = mask.sum_dim_intlist([1i64].as_slice(), true, None::<Kind>).clamp_min(1.0);
    let weights = (mask / per_image / 8.0).flatten(0, 1).index_select(0, &rows);
    let flat = |all: &Tensor| all.flatten(0, 1).index_select(0, &rows);
    let centre = get("patch_centre");
    let target = distillation::teacher(&flat(&get("teacher_patch")), &centre, 0.06);
    let patch = distillation::patch_cross_entropy(&target, &flat(&patches), &weights, 0.1);
    agrees(&file, "ibot.patch", &patch, F64);

    let loss = class + patch;
    agrees(&file, "ibot.loss", &loss, F64);
    loss.backward();
    for (name, leaf) in
        [("student_class", &classes), ("student_patch", &patches), ("student_local", &local)]
    {
        agrees(&file, &format!("ibot.grad_{name}"), &leaf.grad(), STORED_AS_F32);
    }
    let moved = distillation::moved_centre(&get("centre"), &get("teacher_class"), 0.9);
    agrees(&file, "ibot.centre_after", &moved, STORED_AS_F32);
    let moved = distillation::moved_centre(&centre, &get("teacher_patch"), 0.9);
    agrees(&file, "ibot.patch_centre_after", &moved, STORED_AS_F32);
}

#[test]
fn the_head_with_prototypes_is_that_of_dino() {
    let file = file();
    let recorded = Recorded { file: &file, name: "dino_head" };
    let config = DinoHeadConfig { widths: vec![12, 12, 5], prototypes: 10, norm_last: false };
    let (store, head) = recorded.model(|path| DinoHead::new(path, 8, &config));
    let out = head.forward(&recorded.get("input"), Mode::Train);
    recorded.agrees(&out, "out");
    (out * recorded.get("direction")).sum(None::<Kind>).backward();
    for (name, parameter) in named_parameters(&store) {
        recorded.agrees(&parameter.grad(), &format!("grad.{name}"));
    }
}

#[test]
fn a_hidden_patch_is_the_mask_token_wherever_it_lies() {
    let _alone = alone();
    tch::manual_seed(4);
    let config = VitConfig { image: 16, patch: 8, pool: Pool::Class, ..VitConfig::default() };
    let store = tch::nn::VarStore::new(Device::Cpu);
    let vit = BackboneConfig::VitTiny(config).build(&store.root(), 3);
    let images = Tensor::randn([2, 3, 16, 16], (Kind::Float, Device::Cpu));
    let token = Tensor::randn([192], (Kind::Float, Device::Cpu)).set_requires_grad(true);
    let masked = |images: &Tensor, mask: &[bool]| {
        let mask = Tensor::from_slice(mask).view([2, 4]);
        vit.forward_masked(images, &mask, &token, Mode::Train, &mut no_tap).unwrap()
    };
    let seen = vit.forward(&images, Mode::Train, &mut no_tap);
    let nothing = masked(&images, &[false; 8]);
    assert!(nothing.pooled.equal(&seen.pooled), "nothing hidden changes nothing");

    // The last patch of the second image: what is there does not matter any more, and the first image stays.
    let mut mask = [false; 8];
    mask[7] = true;
    let hidden = masked(&images, &mask);
    let painted = images.copy();
    let _ = painted.get(1).narrow(1, 8, 8).narrow(2, 8, 8).fill_(9.0);
    assert!(distance(&masked(&painted, &mask).pooled, &hidden.pooled) < F64);
    assert!(distance(&hidden.pooled.get(0), &seen.pooled.get(0)) < 1e-5);
    assert!(distance(&hidden.pooled.get(1), &seen.pooled.get(1)) > 1e-4);
    // One feature: after the last norm, all together have a constant sum.
    hidden.pooled.select(1, 0).sum(Kind::Float).backward();
    assert!(largest(&token.grad()) > 0.0);

    let resnet = ResNetConfig { stem: Stem::Small, width: 4, zero_init_residual: false };
    let resnet = BackboneConfig::Resnet18(resnet).build(&(store.root() / "other"), 3);
    let mask = Tensor::from_slice(&mask).view([2, 4]);
    assert!(resnet.forward_masked(&images, &mask, &token, Mode::Train, &mut no_tap).is_none());
}

/// The mean over (teacher's view, other view of the student) of the cross-entropy.
fn between_views(targets: &[Tensor], students: &[Tensor]) -> Tensor {
    let mut terms = Vec::new();
    for (own, target) in targets.iter().enumerate() {
        let others = students.iter().enumerate().filter(|(view, _)| *view != own);
        terms.extend(others.map(|(_, student)| soft_cross_entropy(target, student, 0.1)));
    }
    Tensor::stack(&terms, 0).mean(None::<Kind>)
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
