//! Wrong calls, wrong recipes, folders that are not what they should be: each is an error that says what to do.
//! Exit code 2 is a wrong call or recipe, 1 work that failed.

use std::fs;

use crate::program::{Desk, info, said, vertebra};

#[test]
fn a_recipe_that_makes_no_sense_is_refused_by_name() {
    let desk = Desk::new();
    let cases: [(&str, &[&str]); 9] = [
        ("bathc=8", &["`bathc`", "hint: did you mean `batch`?"]),
        ("optimizer.momentun=0.9", &["optimizer", "`momentun`", "did you mean `momentum`?"]),
        ("batch=ten", &["batch", "\"ten\""]),
        ("views.0.size=big", &["views", "size", "\"big\""]),
        ("batch=1", &["batch", "at least 2"]),
        ("epochs=0", &["epochs", "more than 0"]),
        ("backbone.name=resnet17", &["`resnet17`", "did you mean `resnet18`?"]),
        ("method.name=vicrag", &["`vicrag`", "did you mean `vicreg`?"]),
        ("warmup_epochs=6", &["warmup_epochs", "hint: "]),
    ];
    for (setting, words) in cases {
        said(&mut desk.pretrain("run", &[setting])).refused(2, words);
        assert!(!desk.path("run").exists(), "{setting} left a folder");
    }
    said(&mut desk.pretrain("run", &["--set", "batch"])).refused(2, &["key=value", "hint: "]);
    said(&mut desk.pretrain("run", &["views.7.size=8"])).refused(2, &["`7`", "1 entries"]);
}

#[test]
fn a_wrong_recipe_file_is_refused_with_the_line() {
    let desk = Desk::new();
    let tiny = fs::read_to_string(desk.path("tiny.toml")).expect("a recipe");
    let cases = [
        (tiny.replace("batch = 16", "batch = \"many\""), "line 3"),
        (tiny.replace("[backbone]", "[backbone"), "line "),
        (tiny.replace("batch = 16", ""), "`batch`"),
        ("\u{fffd}\u{0}".into(), "line 1"),
        (String::new(), "missing field"),
    ];
    for (text, word) in cases {
        let path = desk.file("wrong.toml", text);
        let mut command = vertebra(["pretrain", "--out"]);
        said(command.arg(desk.path("run")).arg(path)).refused(2, &["recipe: ", word]);
    }
    let binary = desk.file("binary.toml", b"\xff\xfe\x00");
    said(vertebra(["pretrain"]).arg(binary)).refused(1, &["binary.toml", "UTF-8"]);
    said(vertebra(["pretrain"]).arg(desk.path("none.toml"))).refused(1, &["none.toml"]);
    said(vertebra(["pretrain"]).arg(desk.path(""))).refused(1, &["cannot read"]);
}

#[test]
fn a_source_that_cannot_be_trained_on_is_refused() {
    let desk = Desk::new();
    desk.file("empty/notes.txt", "no image");
    desk.file("one/only.bmp", "whatever it holds");
    for number in 0..20 {
        desk.file(&format!("broken/{number}.png"), "no picture");
    }
    let path = |name: &str| desk.path(name).to_str().expect("text").to_owned();
    let cases: [(&str, &[&str]); 8] = [
        (&path("missing"), &["missing"]),
        (&path("empty"), &["no image found", ".txt 1", "hint: "]),
        (&path("one"), &["batch of 16", "1 samples", "hint: "]),
        (&path("broken"), &["none of 20 samples can be read", ".png: "]),
        ("s3:bucket", &["`s3`", "hint: known kinds"]),
        ("world:?sise=64", &["`sise`", "hint: known options"]),
        ("world:?size=32&count=15", &["batch of 16", "15 samples", "between 2 and 15"]),
        ("cifar:/nowhere", &["/nowhere"]),
    ];
    for (uri, words) in cases {
        said(&mut desk.pretrain("run", &["--data", uri])).refused(1, words);
    }
    let state = info(&desk.path("run"))["state"].as_str().expect("text").to_owned();
    assert!(state.starts_with("failed: "), "the run that began says how it ended: {state}");
}

#[test]
fn a_run_is_never_begun_over_another_nor_resumed_where_there_is_none() {
    let desk = Desk::new();
    let run = desk.finished("run", &["epochs=0.5"]);
    let journal = fs::read(run.join("journal.jsonl")).expect("a journal");
    said(&mut desk.pretrain("run", &[])).refused(2, &["a run is already there", "--resume"]);
    assert_eq!(fs::read(run.join("journal.jsonl")).expect("a journal"), journal);
    let changed = ["--resume", "epochs=0.5", "seed=1"];
    said(&mut desk.pretrain("run", &changed)).refused(2, &["seed: 0 → 1", "hint: "]);
    let other = ["pretrain", "--resume", "--data", "world:?size=32&count=80", "--out"];
    said(vertebra(other).arg(&run)).refused(2, &["data.train", "count=80"]);
    let none = ["no run to go on with", "hint: "];
    said(&mut desk.pretrain("none", &["--resume"])).refused(2, &none);
    said(vertebra(["pretrain", "--resume", "--out"]).arg(desk.path("none"))).refused(2, &none);
    desk.file("notes/notes.txt", "a folder, not a run");
    said(vertebra(["pretrain", "--resume", "--out"]).arg(desk.path("notes"))).refused(2, &none);
    assert!(!desk.path("none").exists());
    said(&mut vertebra(["pretrain", "--resume"])).refused(2, &["needs the run folder"]);
    desk.file("file", "a file is in the way");
    said(&mut desk.pretrain("file", &[])).refused(1, &["file"]);
}

#[test]
fn an_encoder_that_cannot_be_opened_is_refused() {
    let desk = Desk::new();
    let junk = desk.file("junk.safetensors", "junk");
    let empty = desk.file("folder/none.txt", "").parent().expect("a folder").to_owned();
    let junk = junk.to_str().expect("text");
    let embed = |encoder: &str| {
        let mut command = vertebra(["embed", encoder, "world:?size=16&count=4", "--out"]);
        said(command.arg(desk.path("f.npy")))
    };
    embed("nowhere").refused(2, &["nowhere", "ARCH=FILE", "hint: "]);
    embed(junk).refused(1, &["junk.safetensors", "not a usable weight file"]);
    embed(empty.to_str().expect("text")).refused(2, &["without checkpoints", "hint: "]);
    embed(&format!("resnet17={junk}")).refused(2, &["`resnet17`", "did you mean `resnet18`?"]);
    embed(&format!("resnet18={junk}")).refused(1, &["junk.safetensors"]);
    embed("resnet18=nowhere").refused(1, &["cannot read nowhere"]);
    said(&mut vertebra(["weights", "inspect", junk])).refused(1, &["junk.safetensors"]);
    said(&mut vertebra(["report", "nowhere"])).refused(1, &["nowhere", "hint: "]);
    assert!(!desk.path("f.npy").exists());
}

#[test]
fn a_file_that_cannot_be_written_is_named() {
    let desk = Desk::new();
    let run = desk.finished("run", &["epochs=0.5"]);
    let [features, weights] = ["no/such/f.npy", "no/such/w.safetensors"].map(|it| desk.path(it));
    let mut embed = vertebra(["embed", "--out"]);
    embed.arg(&features).arg(&run).arg("world:?size=32&count=4");
    said(&mut embed).refused(1, &["cannot write", "no/such/f.npy"]);
    let mut export = vertebra(["weights", "export", "--out"]);
    said(export.arg(&weights).arg(&run)).refused(1, &["cannot write", "no/such/w.safetensors"]);
    let mut embed = vertebra(["embed", "--out", "features.txt"]);
    said(embed.arg(&run).arg("world:?size=32&count=4")).refused(2, &[".npy", "hint: "]);
}

#[test]
fn probes_without_labels_or_with_other_images_are_refused() {
    let desk = Desk::new();
    let run = desk.finished("run", &["epochs=0.5"]);
    let grey = pixels::image::Image::from_u8(8, 8, 1, vec![9; 64]);
    for name in ["a.png", "b.png", "c.png"] {
        desk.file(&format!("plain/{name}"), pixels::encode::encode_png(&grey));
    }
    let plain = desk.path("plain");
    let probe = |k: &str| {
        let mut command = vertebra(["probe", "knn", "--no-random", "--k", k]);
        command.arg(&run).arg("--train").arg(&plain).arg("--test").arg(&plain);
        said(&mut command)
    };
    probe("3").refused(2, &["no labels", "hint: "]);
    let mut command = vertebra(["probe", "guess"]);
    said(command.arg(&run).args(["--train", "world:", "--test", "world:"]))
        .refused(2, &["invalid value 'guess'", "knn"]);
}

#[test]
fn a_wrong_call_says_how_to_call() {
    for words in [&[][..], &["pretran"], &["pretrain"], &["bench", "step"], &["embed", "x"]] {
        let said = said(&mut vertebra(words));
        assert_eq!(said.code, Some(2), "{words:?}");
        assert!(said.err.contains("Usage: vertebra"), "{words:?}: {}", said.err);
    }
}
