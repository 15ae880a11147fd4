//! What scripts read: files, keys, exit codes. Keys may be added and never renamed.

use std::collections::BTreeSet;
use std::fs;
use std::path::Path;

use serde_json::{Map, Value};

use crate::program::{Desk, info, lines, said, vertebra};

/// A short run whose encoder is judged at its end.
const JUDGED: [&str; 3] = ["epochs=1", "evaluation.skip=false", "evaluation.linear.epochs=2"];

const SCORE: [&str; 8] =
    ["encoder", "interval", "metric", "protocol", "samples", "seconds", "value", "version"];

#[test]
fn a_whole_run_leaves_every_record_under_its_name() {
    let desk = Desk::new();
    let run = desk.finished("run", &JUDGED);
    let journal = lines(&run.join("journal.jsonl"));
    assert_eq!(journal.len(), 4);
    let keys = [
        "step",
        "epoch",
        "loss",
        "lr",
        "images_per_s",
        "data_wait",
        "grad_norm",
        "invariance",
        "variance",
        "covariance",
        "representation_std",
        "representation_rank",
        "embedding_std",
        "embedding_rank",
    ];
    for (number, line) in journal.iter().enumerate() {
        has_keys(line, &keys);
        assert_eq!(line["step"], number + 1);
        assert!(line.values().all(Value::is_number), "{line:?}");
        assert!(within(&line["data_wait"], 0.0, 1.0) && within(&line["lr"], 0.0, 100.0));
    }
    assert!(within(&journal[3]["knn"], 0.0, 1.0), "the last line knows the online k-NN");
    let info = info(&run);
    has_keys(
        info.as_object().expect("an object"),
        &[
            "command",
            "title",
            "version",
            "commit",
            "machine",
            "device",
            "precision",
            "parameters",
            "images",
            "skipped",
            "seconds",
            "started",
            "steps",
            "state",
            "advice",
        ],
    );
    assert_eq!((&info["state"], &info["steps"]), (&"finished".into(), &4.into()));
    let scores = lines(&run.join("scores.jsonl"));
    let who: BTreeSet<_> =
        scores.iter().map(|it| (text(it, "protocol"), text(it, "encoder"))).collect();
    for wanted in
        [("knn", "trained"), ("knn", "random"), ("linear", "trained"), ("linear", "random")]
    {
        assert!(who.contains(&(wanted.0.into(), wanted.1.into())), "{wanted:?} in {who:?}");
    }
    scores.iter().for_each(sensible_score);
    for file in ["recipe.toml", "gallery.json"] {
        assert!(run.join(file).exists(), "{file}");
    }
    whole_page(&run);
    let again = said(vertebra(["report"]).arg(&run)).done();
    assert_eq!(again.out.trim(), run.join("report.html").to_string_lossy());
}

#[test]
fn a_recipe_of_a_run_gives_the_run_again() {
    let desk = Desk::new();
    let run = desk.finished("run", &["epochs=0.5"]);
    let mut command = vertebra(["pretrain"]);
    let again = desk.path("again");
    said(command.arg(run.join("recipe.toml")).arg("--out").arg(&again)).done();
    assert_eq!(crate::program::numbers(&again), crate::program::numbers(&run));
    assert_eq!(
        fs::read(run.join("recipe.toml")).expect("a recipe"),
        fs::read(again.join("recipe.toml")).expect("a recipe")
    );
}

#[test]
fn events_of_a_run_are_json_lines() {
    let desk = Desk::new();
    let events = said(&mut desk.pretrain("run", &["--json", "epochs=0.5"])).done();
    let events: Vec<Map<String, Value>> =
        events.out.lines().map(|line| serde_json::from_str(line).expect("JSON")).collect();
    let kinds: Vec<&str> = events.iter().flat_map(Map::keys).map(String::as_str).collect();
    assert_eq!(kinds, ["begin", "line", "line", "saved"]);
    has_keys(events[1]["line"].as_object().expect("an object"), &["step", "loss"]);
}

#[test]
fn probes_print_scores_of_the_trained_and_the_random_encoder() {
    let desk = Desk::new();
    let run = desk.finished("run", &["epochs=0.5"]);
    for protocol in ["knn", "linear", "logistic", "low_shot"] {
        let name = protocol.replace('_', "-");
        let mut command = vertebra(["probe", &name, "--json", "--train"]);
        command.args(["world:?size=32&count=48", "--test", "world:?size=32&count=24&seed=1"]);
        let printed = said(command.arg(&run)).done().json();
        let scores = printed["scores"].as_array().expect("a list");
        let encoders: BTreeSet<_> =
            scores.iter().map(|it| text(it.as_object().expect("an object"), "encoder")).collect();
        assert_eq!(encoders, BTreeSet::from(["random".to_owned(), "trained".to_owned()]));
        for score in scores {
            let score = score.as_object().expect("an object");
            sensible_score(score);
            assert_eq!(score["protocol"], protocol);
            assert_eq!(score["samples"], 24);
        }
    }
}

#[test]
fn speeds_are_one_json_object() {
    let desk = Desk::new();
    let bench = |words: &[&str]| {
        let mut command = vertebra(["bench"]);
        command.args(words).arg("--json").arg(desk.path("tiny.toml"));
        said(&mut command).done().json().as_object().expect("an object").clone()
    };
    let step = bench(&["step", "--steps", "2", "--warmup", "1"]);
    has_keys(&step, &["images_per_s", "ms_per_step", "precision", "device", "peak_memory_mb"]);
    assert!(within(&step["images_per_s"], 1e-3, 1e9) && within(&step["ms_per_step"], 1e-3, 1e9));
    assert_eq!((&step["precision"], &step["device"]), (&"fp32".into(), &"cpu".into()));
    let views = bench(&["views", "--seconds", "0.3"]);
    has_keys(&views, &["images_per_s", "views_per_s", "cpu_ms_per_image"]);
    // Two views of each image.
    let ratio = number(&views, "views_per_s") / number(&views, "images_per_s");
    assert!((ratio - 2.0).abs() < 1e-9, "{ratio}");
}

#[test]
fn objectives_are_measured_one_by_one() {
    let bench = |words: &[&str]| {
        let mut command = vertebra(["bench", "loss", "--json", "--repeats", "1"]);
        let out = said(command.args(words)).done().out;
        let object = |line| serde_json::from_str::<Map<String, Value>>(line).expect("an object");
        out.lines().map(object).collect::<Vec<_>>()
    };
    let speeds = bench(&["--n", "8", "--d", "4,32"]);
    assert_eq!(speeds.len(), 6);
    let plain = bench(&["--n", "8", "--d", "32", "--loss", "vicreg,barlow", "--plain"]);
    for (short, plain) in [(&speeds[1], &plain[0]), (&speeds[3], &plain[1])] {
        has_keys(
            short,
            &["objective", "n", "d", "plain", "ms", "memory_mb", "loss", "device", "threads"],
        );
        assert_eq!((&short["objective"], &short["d"]), (&plain["objective"], &plain["d"]));
        // f32 in another order.
        assert!((number(short, "loss") / number(plain, "loss") - 1.0).abs() < 1e-5);
    }
}

#[test]
fn features_are_an_array_that_numpy_reads_with_a_line_for_each_row() {
    let desk = Desk::new();
    let run = desk.finished("run", &["epochs=0.5"]);
    let [world, out] = [desk.path("world"), desk.path("features.npy")];
    said(vertebra(["data", "world", "world:?size=32&count=12", "--out"]).arg(&world)).done();
    desk.file("world/broken.png", "no picture");
    said(vertebra(["embed", "--out"]).arg(&out).arg(&run).arg(&world)).done();
    let file = fs::read(&out).expect("an array");
    assert_eq!(&file[..6], b"\x93NUMPY");
    let header = usize::from(u16::from_le_bytes([file[8], file[9]]));
    let words = String::from_utf8_lossy(&file[10..10 + header]).into_owned();
    // ResNet-18 of width 4 has 8 · 4 features.
    let words = words.replace(' ', "");
    for word in ["'descr':'<f4'", "'shape':(12,32", "'fortran_order':False"] {
        assert!(words.contains(word), "no {word} in {words}");
    }
    assert_eq!(file.len(), 10 + header + 12 * 32 * 4);
    let rows = lines(&out.with_extension("jsonl"));
    assert_eq!(rows.len(), 12);
    for row in &rows {
        has_keys(row, &["name", "label", "class"]);
        assert!(world.join(text(row, "name")).exists());
    }
}

#[test]
fn exported_weights_are_listed_with_their_names() {
    let desk = Desk::new();
    let run = desk.finished("run", &["epochs=0.5"]);
    let out = desk.path("weights.safetensors");
    said(vertebra(["weights", "export", "--out"]).arg(&out).arg(&run)).done();
    let listed = said(vertebra(["weights", "inspect"]).arg(&out)).done().out;
    for name in ["conv1.weight  [4, 3, 3, 3]  Float", "layer4.1.bn2.running_var", "encoder = {"] {
        assert!(listed.contains(name), "no {name} in {listed}");
    }
    assert!(!listed.contains("projector"));
    let bytes = fs::read(&out).expect("a file");
    assert!(vertebra::models::weights::load(&out).is_ok_and(|(tensors, _)| tensors.len() > 60));
    assert!(bytes.len() < 300_000, "optimizer state is left out");
    assert!(desk.path("config.json").exists(), "the preprocessing lies beside the weights");
    let folder = desk.path("traced");
    let mut command = vertebra(["weights", "export", "--format", "torchscript", "--out"]);
    said(command.arg(&folder).arg(&run)).done();
    assert!(folder.join("model.pt").exists() && folder.join("config.json").exists());
}

#[test]
fn a_pickle_is_listed_with_what_is_left_out_and_one_that_would_run_code_is_refused() {
    let recorded = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../fixtures/pickles");
    let listed =
        said(vertebra(["weights", "inspect"]).arg(recorded.join("checkpoint-zip.pt"))).done();
    assert!(listed.out.contains("state_dict.module.0.weight  [2, 1, 3, 3]  Float\n"));
    assert!(listed.err.contains("left out: args  argparse.Namespace\n"), "{}", listed.err);
    let mut command = vertebra(["weights", "inspect"]);
    said(command.arg(recorded.join("malicious-reduce.pt")))
        .refused(1, &["it asks to call `posix.system`", "can run code"]);
}

#[test]
fn data_can_be_looked_at() {
    let desk = Desk::new();
    let world = "world:?size=32&count=20";
    let found = said(&mut vertebra(["data", "inspect", "--json", world])).done().json();
    has_keys(
        found.as_object().expect("an object"),
        &["images", "broken", "sizes", "forms", "classes"],
    );
    assert_eq!(found["sizes"]["32 × 32"], 20);
    let out = desk.path("world");
    said(vertebra(["data", "world", world, "--out"]).arg(&out)).done();
    let written = said(vertebra(["data", "inspect", "--json"]).arg(&out)).done().json();
    assert_eq!((&written["images"], &written["classes"]), (&found["images"], &found["classes"]));
    assert!(said(&mut vertebra(["data", "inspect", world])).done().out.starts_with("20 images, 0"));
}

#[test]
fn copies_are_named_within_a_source_and_between_two() {
    let desk = Desk::new();
    let (a, b) = (desk.path("a"), desk.path("b"));
    for (out, uri) in [(&a, "world:?size=32&count=12"), (&b, "world:?size=32&count=4&seed=2")] {
        said(vertebra(["data", "world", uri, "--out"]).arg(out)).done();
    }
    let some = |folder: &Path| {
        let class = fs::read_dir(folder).expect("a folder").next().expect("a class").expect("one");
        fs::read_dir(class.path()).expect("a class").next().expect("an image").expect("one").path()
    };
    let (first, class) = (some(&a), some(&a).parent().expect("a folder").to_owned());
    fs::copy(&first, class.join("copy.png")).expect("copied");
    let other = some(&b).parent().expect("a folder").join("leak.png");
    fs::copy(&first, other).expect("copied");
    let sheet = desk.path("sheet.html");
    let mut command = vertebra(["data", "inspect", "--json"]);
    command.arg(&a).arg("--against").arg(&b).arg("--sheet").arg(&sheet);
    let found = said(&mut command).done().json();
    has_keys(
        found.as_object().expect("an object"),
        &["conversions", "channels", "duplicates", "near_duplicates", "against"],
    );
    let members = found["duplicates"][0]["members"].as_array().expect("a group");
    assert_eq!((members.len(), &found["duplicates"][0]["conflict"]), (2, &false.into()));
    assert_eq!((&found["against"]["equal"], &found["against"]["images"]), (&1.into(), &5.into()));
    let page = fs::read_to_string(sheet).expect("the sheet");
    for word in ["copy.png", "leak.png", "In both, equal", "data:image/png", "13 images"] {
        assert!(page.contains(word), "no {word}");
    }
    assert!(!page.contains("src=\"http") && page.trim_end().ends_with("</html>"));
    let text = said(vertebra(["data", "inspect"]).arg(&a)).done().out;
    assert!(text.contains("copy.png") && text.contains("equal to the bit: 1 groups"), "{text}");
}

#[test]
fn statistics_are_printed_as_a_recipe_has_them() {
    let world = "world:?size=32&count=20";
    let found = said(&mut vertebra(["data", "stats", "--json", world])).done().json();
    has_keys(found.as_object().expect("an object"), &["images", "skipped", "pixels", "channels"]);
    assert_eq!(found["channels"].as_array().map(Vec::len), Some(3));
    let text = said(&mut vertebra(["data", "stats", world])).done().out;
    let numbers = |of: &str| {
        let numbers = found["channels"].as_array().expect("a list").iter();
        let shown = numbers.map(|it| format!("{:.6}", it[of].as_f64().expect("a number")));
        format!("{of} = [{}]", shown.collect::<Vec<_>>().join(", "))
    };
    assert!(
        text.contains(&format!("[normalize]\n{}\n{}\n", numbers("mean"), numbers("std"))),
        "{text}"
    );
    let five = ["data", "stats", "--channels", "5", world];
    said(&mut vertebra(five)).refused(1, &["5 channels are wanted, 3 found", "--channels 3"]);
}

#[test]
fn the_machine_can_be_examined() {
    let facts = said(&mut vertebra(["doctor", "--quick", "--json"])).done().json();
    has_keys(
        facts.as_object().expect("an object"),
        &["processor", "cores", "memory", "device", "precision", "libtorch"],
    );
    assert!(said(&mut vertebra(["doctor", "--quick"])).done().out.contains("processor"));
}

#[test]
fn every_command_explains_itself() {
    let version = said(&mut vertebra(["--version"])).done().out;
    assert_eq!(version.trim(), format!("vertebra {}", env!("CARGO_PKG_VERSION")));
    let commands = [
        "",
        "pretrain",
        "probe",
        "embed",
        "neighbours",
        "report",
        "data",
        "data inspect",
        "data stats",
        "data world",
        "weights",
        "weights export",
        "weights inspect",
        "bench",
        "bench step",
        "bench views",
        "bench knn",
        "bench loss",
        "doctor",
    ];
    for words in commands {
        let help = said(vertebra(words.split_whitespace()).arg("--help")).done().out;
        assert!(help.contains(format!("Usage: vertebra {words}").trim_end()), "{words}: {help}");
    }
}

#[track_caller]
fn has_keys(found: &Map<String, Value>, wanted: &[&str]) {
    for key in wanted {
        assert!(found.contains_key(*key), "no `{key}` in {found:?}");
    }
}

#[track_caller]
fn sensible_score(score: &Map<String, Value>) {
    has_keys(score, &SCORE);
    let value = number(score, "value");
    let most = if score.contains_key("unit") { f64::INFINITY } else { 1.0 };
    assert!(0.0 <= value && value <= most, "{score:?}");
    // Some numbers cannot be resampled, such as a calibration error.
    if let Some(interval) = score["interval"].as_array() {
        let bounds: Vec<f64> = interval.iter().filter_map(Value::as_f64).collect();
        let [low, high] = bounds[..] else { panic!("{score:?}") };
        assert!(0.0 <= low && low <= value && value <= high && high <= most, "{score:?}");
    }
    assert!(number(score, "seconds") >= 0.0 && number(score, "samples") >= 1.0);
}

/// The report is one file with its sections, and asks the network for nothing.
#[track_caller]
fn whole_page(run: &Path) {
    let page = fs::read_to_string(run.join("report.html")).expect("the report");
    assert!(page.len() > 10 * 1024, "{} bytes", page.len());
    assert!(page.starts_with("<!DOCTYPE html>") && page.trim_end().ends_with("</html>"));
    for word in
        ["VICReg", "resnet18", "knn", "linear", "trained", "random", "<svg", "data:image/png"]
    {
        assert!(page.contains(word), "no {word} in the report");
    }
    assert!(!page.contains("src=\"http") && !page.contains("href=\"http"));
}

fn text(object: &Map<String, Value>, key: &str) -> String {
    object[key].as_str().expect("text").to_owned()
}

fn number(object: &Map<String, Value>, key: &str) -> f64 {
    object[key].as_f64().expect("a number")
}

fn within(value: &Value, low: f64, high: f64) -> bool {
    value.as_f64().is_some_and(|value| (low..=high).contains(&value))
}
