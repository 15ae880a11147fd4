//! Recipes: what is refused, what is changed, what comes back.

use std::fs;

use vertebra::error::Error;
use vertebra::recipe::{Precision, RawRecipe, differences};
use vertebra::studies::Plan;

use crate::root;

const RECIPE: &str = r#"
epochs = 2
batch = 16

[data]
train = "world:?size=32&count=64"

[[views]]
count = 2
size = 32

[backbone]
name = "resnet18"
stem = "small"

[method]
name = "vicreg"

[optimizer]
name = "lars"
"#;

#[test]
fn an_unknown_field_is_refused_and_the_nearest_named() {
    let wrong = [
        ("batch = 16", "bacth = 16", "batch"),
        ("size = 32", "sizes = 32", "size"),
        ("stem = \"small\"", "stemm = \"small\"", "stem"),
        ("train =", "trian =", "train"),
        ("name = \"vicreg\"", "name = \"vicregg\"", "vicreg"),
        ("name = \"lars\"", "name = \"lars\"\nmomentm = 0.9", "momentum"),
    ];
    for (right, wrong, nearest) in wrong {
        let text = RECIPE.replacen(right, wrong, 1);
        assert_ne!(text, RECIPE);
        let error = RawRecipe::parse(&text, &[]).unwrap_err();
        assert!(matches!(error, Error::Recipe { .. }), "{wrong}: {error}");
        let hint = error.hint().unwrap_or_default();
        assert!(hint.contains(&format!("`{nearest}`")), "{wrong}: {error}; hint: {hint}");
    }
}

#[test]
fn a_refusal_says_where() {
    let text = RECIPE.replacen("batch = 16", "bacth = 16", 1);
    let error = RawRecipe::parse(&text, &[]).unwrap_err().to_string();
    assert!(error.contains("line 3") && error.contains("bacth"), "{error}");
}

#[test]
fn what_is_not_toml_is_refused() {
    for text in ["epochs = ", "[data", "\u{0}", "epochs = 1\nepochs = 2"] {
        assert!(matches!(RawRecipe::parse(text, &[]), Err(Error::Recipe { .. })), "{text:?}");
    }
}

#[test]
fn every_recipe_of_the_repository_can_train() {
    let mut count = 0;
    let folders =
        ["recipes", "recipes/paper"].map(|folder| fs::read_dir(root().join(folder)).unwrap());
    for entry in folders.into_iter().flatten() {
        let path = entry.unwrap().path();
        if path.extension().is_some_and(|ending| ending == "toml") {
            let recipe = RawRecipe::read(&path, &[]).and_then(RawRecipe::check);
            assert!(recipe.is_ok(), "{}: {}", path.display(), recipe.unwrap_err());
            count += 1;
        }
    }
    assert!(count > 0);
}

#[test]
fn every_plan_of_the_repository_has_runs_that_can_train() {
    let mut count = 0;
    for entry in fs::read_dir(root().join("recipes/studies")).unwrap() {
        let path = entry.unwrap().path();
        let cells = Plan::read(&path).and_then(|plan| plan.cells());
        assert!(cells.is_ok_and(|cells| !cells.is_empty()), "{}", path.display());
        count += 1;
    }
    assert!(count > 0);
}

#[test]
fn settings_change_what_the_file_says() {
    let raw = parse(&[
        "views.0.size=64",
        "optimizer.lr=0.1",
        "precision=fp32",
        "evaluation.knn.k=5",
        "method.projector.widths=[8, 8]",
        "data.train=folder:pictures",
    ]);
    assert_eq!(raw.views[0].size, 64);
    assert_eq!(raw.optimizer.lr(), 0.1);
    assert_eq!(raw.precision, Precision::Fp32);
    assert_eq!(raw.evaluation.knn.k, 5);
    assert_eq!(raw.data.train, "folder:pictures");
    assert!(raw.check().is_ok());
}

#[test]
fn a_setting_that_leads_nowhere_is_refused() {
    let wrong = [
        "views.1.size=64",
        "views.first.size=64",
        "batch.size=4",
        "batch",
        "bacth=4",
        "optimizer.lrr=0.1",
        "batch=many",
        "precision=fp64",
        "=4",
        "views=4",
    ];
    for setting in wrong {
        let refused = RawRecipe::parse(RECIPE, &[setting.to_string()]);
        assert!(refused.is_err(), "{setting} was taken");
    }
}

#[test]
fn recipes_that_cannot_train_are_refused_with_their_field() {
    let wrong = [
        ("accumulate=3", "accumulate"),
        ("accumulate=0", "accumulate"),
        ("batch=1", "batch"),
        ("epochs=0", "epochs"),
        ("epochs=nan", "epochs"),
        ("epochs=inf", "epochs"),
        ("warmup_epochs=2", "warmup_epochs"),
        ("warmup_epochs=nan", "warmup_epochs"),
        ("final_lr=2", "final_lr"),
        ("log_every=0", "log_every"),
        ("checkpoint_every=0", "checkpoint_every"),
        ("clip=0", "clip"),
        ("clip=nan", "clip"),
        ("views.0.count=1", "views"),
        ("views.0.count=1", "views"),
        ("views.0.flip=2", "views.0.flip"),
        ("views.0.jitter.hue=0.6", "views.0.jitter.hue"),
        ("data.channels=1", "views.0.jitter.probability"),
        ("backbone.width=0", "backbone.width"),
        ("backbone={name=\"vit_tiny\",patch=15}", "backbone.patch"),
        ("backbone={name=\"vit_tiny\",image=28,patch=7}", "views.0.size"),
        ("method.projector.widths=[]", "method.projector.widths"),
        ("optimizer.lr=-1", "optimizer.lr"),
        ("optimizer.momentum=1", "optimizer.momentum"),
    ];
    for (setting, wanted) in wrong {
        match parse(&[setting]).check() {
            Err(Error::Recipe { field, .. }) => assert_eq!(field, wanted, "{setting}"),
            other => panic!("{setting}: {other:?}"),
        }
    }
}

#[test]
fn networks_that_cannot_be_built_or_fed_are_refused_with_their_field() {
    let wrong = [
        ("name = \"convnext_tiny\"", "views.0.size"),
        ("name = \"convnext_tiny\"\npatch = 0", "backbone.patch"),
        ("name = \"convnextv2_atto\"\npatch = 33", "backbone.patch"),
        ("name = \"swin_tiny\"\nimage = 30", "backbone.patch"),
        ("name = \"swin_tiny\"\nwindow = 0", "backbone.window"),
        ("name = \"swinv2_tiny\"\nwindow = 65", "backbone.window"),
        ("name = \"swinv2_tiny\"\nimage = 64\npatch = 64", "views.0.size"),
        ("name = \"vit_tiny\"\nimage = 64\npatch = 64", "views.0.size"),
    ];
    for (backbone, wanted) in wrong {
        match with_backbone(backbone).check() {
            Err(Error::Recipe { field, .. }) => assert_eq!(field, wanted, "{backbone}"),
            other => panic!("{backbone}: {other:?}"),
        }
    }
    for fits in ["name = \"convnext_tiny\"\npatch = 2", "name = \"swin_tiny\"\nimage = 32"] {
        assert!(with_backbone(fits).check().is_ok(), "{fits}");
    }
}

/// The recipe above on views of 28 pixels and another backbone.
fn with_backbone(backbone: &str) -> RawRecipe {
    let text = RECIPE.replacen("size = 32", "size = 28", 1);
    let text = text.replacen("name = \"resnet18\"\nstem = \"small\"", backbone, 1);
    RawRecipe::parse(&text, &[]).unwrap()
}

#[test]
fn a_recipe_written_out_is_the_same_recipe() {
    let changes: [&[&str]; 4] = [
        &[],
        &["clip=1.0", "optimizer.name=adamw", "seed=7"],
        &["method.name=simclr", "backbone.name=resnet50"],
        &["evaluation.test=world:?split=test", "views.0.crop.scale=[0.2, 1.0]"],
    ];
    for settings in changes {
        let raw = parse(settings);
        let again = RawRecipe::parse(&raw.to_toml(), &[]).unwrap();
        assert_eq!(again, raw, "{settings:?}");
        assert_eq!(again.to_toml(), raw.to_toml());
    }
}

#[test]
fn the_largest_seed_survives_a_file() {
    // TOML's integers are signed: a seed that cannot be written must be refused, not lost.
    let raw = parse(&["seed=9223372036854775807"]);
    assert_eq!(RawRecipe::parse(&raw.to_toml(), &[]).unwrap().seed, raw.seed);
    assert!(RawRecipe::parse(RECIPE, &["seed=9223372036854775808".into()]).is_err());
    assert!(RawRecipe::parse(RECIPE, &["seed=-1".into()]).is_err());
}

#[test]
fn differences_are_named_with_both_values() {
    let (a, b) = (parse(&[]), parse(&["batch=32", "views.0.size=48", "clip=1.5"]));
    assert!(differences(&a, &a).is_empty());
    let found = differences(&a, &b);
    assert_eq!(found, ["batch: 16 → 32", "views.0.size: 32 → 48", "clip: absent → 1.5"]);
    assert_eq!(differences(&b, &a)[1], "clip: 1.5 → absent");
}

fn parse(settings: &[&str]) -> RawRecipe {
    let settings: Vec<String> = settings.iter().map(ToString::to_string).collect();
    RawRecipe::parse(RECIPE, &settings).unwrap()
}

#[test]
fn further_tasks_are_read_and_have_names_of_their_own() {
    let recipe = |names: [&str; 2]| {
        let task = |name: &str| {
            format!("\n[[evaluation.also]]\nname = \"{name}\"\ntrain = \"a\"\ntest = \"b\"\n")
        };
        let text =
            format!("{RECIPE}\n[evaluation]\nattentive = true\n{}", names.map(task).concat());
        RawRecipe::parse(&text, &[]).unwrap().check()
    };
    let good = recipe(["colour", "shape"]).unwrap();
    assert!(good.evaluation.attentive && good.evaluation.also[1].name == "shape");
    let again = RawRecipe::parse(&good.to_toml(), &[]).unwrap();
    assert_eq!(again, *good);
    for (names, problem) in [(["a", "a"], "two tasks named `a`"), (["a", ""], "expected a name")] {
        let error = recipe(names).unwrap_err().to_string();
        assert!(error.contains("evaluation.also.1.name") && error.contains(problem), "{error}");
    }
}
