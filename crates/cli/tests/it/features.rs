//! Features as files, extractions that were killed, and the search for alike images.

use std::fs;
use std::path::{Path, PathBuf};

use serde_json::Value;

use crate::program::{Desk, lines, said, start, vertebra, wait_until};

/// The files of a run's cached features, by name.
fn cached(run: &Path) -> Vec<(String, PathBuf)> {
    let entries = |folder: &Path| {
        fs::read_dir(folder).into_iter().flatten().flatten().map(|entry| entry.path())
    };
    let mut files: Vec<_> = entries(&run.join("features"))
        .flat_map(|folder| entries(&folder).collect::<Vec<_>>())
        .map(|path| (path.file_name().expect("a name").to_string_lossy().into_owned(), path))
        .collect();
    files.sort();
    files
}

fn bytes(run: &Path) -> Vec<(String, Vec<u8>)> {
    let read = |(name, path): (String, PathBuf)| (name, fs::read(path).expect("a file"));
    cached(run).into_iter().map(read).collect()
}

#[test]
fn a_killed_extraction_goes_on_and_equals_one_that_was_not() {
    let desk = Desk::new();
    let run = desk.finished("run", &["epochs=0.5"]);
    // Those of the run's own pictures.
    fs::remove_dir_all(run.join("features")).expect("removed");
    let embed = |out: &Path| {
        let mut command = vertebra(["embed", "--device", "cpu", "--layers", "layer2.0,pooled"]);
        command.arg(&run).arg("world:?size=32&count=8000").arg("--out").arg(out);
        command
    };
    let [out, again] = [desk.path("killed.npy"), desk.path("whole.npy")];
    let mut child = start(&mut embed(&out));
    wait_until(|| cached(&run).iter().any(|(name, _)| name == "pooled.json"));
    child.kill().expect("a child can be killed");
    child.wait().expect("it ends");
    let of = |out: &Path, layer: &str| out.with_extension(format!("{layer}.npy"));
    assert!(!of(&out, "pooled").exists(), "it ended before it was killed");
    let journal = || {
        let path = cached(&run).into_iter().find(|(name, _)| name == "pooled.json");
        let text = fs::read(path.expect("a journal").1).expect("a file");
        let journal: Value = serde_json::from_slice(&text).expect("whole");
        journal["parts"].as_array().expect("a list").len()
    };
    assert!((1..8).contains(&journal()), "{} parts of 8", journal());
    said(&mut embed(&out)).done();
    assert_eq!(journal(), 8);
    let gone_on = bytes(&run);
    fs::remove_dir_all(run.join("features")).expect("removed");
    said(&mut embed(&again)).done();
    let whole = bytes(&run);
    let names: Vec<&str> = whole.iter().map(|(name, _)| name.as_str()).collect();
    assert_eq!(names, ["layer2.0.f32", "layer2.0.json", "pooled.f32", "pooled.json"]);
    assert!(gone_on == whole);
    for layer in ["layer2.0", "pooled"] {
        let [a, b] = [&out, &again].map(|out| fs::read(of(out, layer)).expect("an array"));
        assert!(a == b, "{layer}");
    }
    assert_eq!(lines(&out.with_extension("jsonl")).len(), 8000);
}

#[test]
fn a_layer_that_is_not_there_and_a_format_that_this_build_lacks_are_refused() {
    let desk = Desk::new();
    let run = desk.finished("run", &["epochs=0.5"]);
    let embed = |layers: &str, out: &str| {
        let mut command = vertebra(["embed", "--layers", layers, "--out", out]);
        said(command.arg(&run).arg("world:?size=32&count=4"))
    };
    embed("layer1.9", "x.npy").refused(2, &["no layer `layer1.9`", "did you mean `layer1."]);
    if !cfg!(feature = "parquet") {
        embed("all", "x.parquet").refused(2, &["parquet", "--features parquet"]);
    }
}

#[test]
fn the_images_most_alike_are_listed_and_shown() {
    let desk = Desk::new();
    let run = desk.finished("run", &["epochs=0.5"]);
    let (world, page) = (desk.path("world"), desk.path("page.html"));
    said(vertebra(["data", "world", "world:?size=32&count=12", "--out"]).arg(&world)).done();
    let rows = said(vertebra(["embed", "--out"]).arg(desk.path("x.npy")).arg(&run).arg(&world));
    rows.done();
    let name = lines(&desk.path("x.jsonl"))[5]["name"].as_str().expect("a name").to_owned();
    desk.file("world/broken.png", "no picture");
    let neighbours = |query: &Path, more: &[&str]| {
        let mut command = vertebra(["neighbours", "--k", "3"]);
        command.arg(&run).arg(query).arg("--in").arg(&world).args(more);
        said(&mut command).done()
    };
    // An image of the source itself is found first.
    let file = world.join(&name);
    let found = neighbours(&file, &["--json", "--out", page.to_str().expect("text")]).json();
    let first = &found["queries"][0]["neighbours"][0];
    assert_eq!(first["name"], name.as_str());
    assert!(first["similarity"].as_f64().expect("a number") > 0.999);
    assert_eq!(found["queries"][0]["neighbours"].as_array().expect("a list").len(), 3);
    assert_eq!(found["skipped"][0][0], "broken.png");
    let html = fs::read_to_string(&page).expect("a page");
    assert!(html.contains(&name) && html.contains("broken.png"));
    assert_eq!(html.matches("data:image/png;base64").count(), 4);
    // Among themselves, none is its own neighbour.
    let found = neighbours(&world, &["--json"]).json();
    let queries = found["queries"].as_array().expect("a list");
    assert_eq!(queries.len(), 12);
    for query in queries {
        let near = query["neighbours"].as_array().expect("a list");
        assert!(near.len() == 3 && near.iter().all(|it| it["name"] != query["query"]), "{query}");
    }
    let table = neighbours(&file, &[]);
    assert_eq!(table.out.lines().count(), 4, "{}", table.out);
    assert!(table.err.contains("1 image could not be read"), "{}", table.err);
}
