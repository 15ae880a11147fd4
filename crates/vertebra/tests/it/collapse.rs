//! Methods with the piece taken away that keeps them from collapse: the run says which collapse it is, and first of all what to
//! put back.

use report::record::{self, JournalLine, RunInfo};
use tempfile::tempdir;
use vertebra::recipe::RawRecipe;

use crate::{alone, trained};

/// 32 steps on 256 small images. Small enough for seconds, long enough for what the papers see within epochs.
const RECIPE: &str = r#"
epochs = 8
batch = 64
warmup_epochs = 1
log_every = 4
checkpoint_every = 100
precision = "fp32"
device = "cpu"
workers = 1
data.train = "world:?size=32&count=256"
views = [{ count = 2, size = 16 }]
backbone = { name = "resnet18", stem = "small", width = 4 }
"#;

/// The loss of VICReg without its variance term is least where all embeddings are equal. (Batch norm in the projector
/// would hold them apart for the length of a test.)
#[test]
fn vicreg_without_its_variance_term_collapses_and_the_run_says_so() {
    let of = |variance: f64| {
        ended(&format!(
            "method = {{ name = \"vicreg\", variance = {variance:?}, \
             projector = {{ widths = [32, 32, 32], hidden_norm = false }} }}\n\
             optimizer = {{ name = \"adamw\", lr = 8e-3 }}"
        ))
    };
    says(&of(0.0), "complete collapse", "a larger weight of the variance term");
    assert_apart(&of(25.0), 32.0);
}

/// Figure 2 of SimSiam's paper.
#[test]
fn simsiam_without_its_stop_gradient_collapses_and_the_run_says_so() {
    let of = |stop_gradient: bool| {
        ended(&format!(
            "method = {{ name = \"simsiam\", stop_gradient = {stop_gradient}, \
             projector.widths = [32, 32, 32], predictor.widths = [16, 32] }}\n\
             optimizer = {{ name = \"sgd\", lr = 0.4 }}"
        ))
    };
    says(&of(false), "complete collapse", "the stop-gradient (`method.stop_gradient = true`)");
    assert_apart(&of(true), 32.0);
}

/// Table 5b of BYOL's paper.
#[test]
fn byol_without_its_predictor_collapses_and_the_run_says_so() {
    let of = |predictor: &str| {
        ended(&format!(
            "method = {{ name = \"byol\", momentum = 0.9, projector.widths = [128, 64], \
             predictor.widths = {predictor} }}\n\
             optimizer = {{ name = \"sgd\", lr = 0.2 }}"
        ))
    };
    says(&of("[]"), "complete collapse", "a predictor (`method.predictor.widths`)");
    assert_apart(&of("[128, 64]"), 64.0);
}

/// Figure 7 of DINO's paper: sharpening alone lets one prototype win all images.
#[test]
fn dino_without_its_centre_gives_all_images_to_one_prototype_and_the_run_says_so() {
    let of = |centering: bool| {
        ended(&format!(
            "clip_each = 1.0\n\
             method = {{ name = \"dino\", centering = {centering}, momentum = 0.9, frozen_epochs = 0.0, \
             projector = {{ widths = [256, 256, 32], prototypes = 32 }}, teacher_temperature = 0.04 }}\n\
             optimizer = {{ name = \"adamw\", lr = 1e-3 }}"
        ))
    };
    let (info, last) = of(false);
    says(&(info, last.clone()), "prototype collapse", "the centre (`method.centering = true`)");
    assert!(last.values["prototypes"] < 1.5, "{:?}", last.values);
    let (_, last) = of(true);
    assert!(last.values["prototypes"] > 2.5, "{:?}", last.values);
}

type Ended = (RunInfo, JournalLine);

/// What a run with this method and optimizer leaves: its record and the last line of its journal.
fn ended(rest: &str) -> Ended {
    let _alone = alone();
    let folder = tempdir().unwrap();
    // Keys before tables: what `rest` sets may be either.
    let recipe = RawRecipe::parse(&format!("{rest}\n{RECIPE}"), &[]).unwrap().check().unwrap();
    trained(recipe, folder.path(), false, None).unwrap();
    let journal = record::read_lines::<JournalLine>(&folder.path().join("journal.jsonl")).unwrap();
    let info = record::read_json(&folder.path().join("run.json")).unwrap();
    (info, journal.values.last().unwrap().clone())
}

/// The run told of this collapse, once, and of this knob before all others.
fn says((info, last): &Ended, kind: &str, knob: &str) {
    let told: Vec<&String> = info.advice.iter().filter(|advice| advice.starts_with(kind)).collect();
    assert_eq!(told.len(), 1, "{:?} {:?}", info.advice, last.values);
    let first = format!("try, in this order: {knob}");
    assert!(told[0].contains(&first), "{}", told[0]);
}

/// Embeddings of this width keep a good part of the spread 1/√d of directions that are all different.
fn assert_apart((_, last): &Ended, width: f64) {
    let (found, healthy) = (last.values["embedding_std"], 1.0 / width.sqrt());
    assert!(found > 0.5 * healthy, "{found} of {healthy}");
}
