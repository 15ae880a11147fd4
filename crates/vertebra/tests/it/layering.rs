//! Arrows only point down.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::Path;

use crate::{root, sources};

/// The floors of `vertebra`, from the bottom. A module uses those of lower floors and itself, nothing beside or above.
const FLOORS: [&[&str]; 11] = [
    &["error"],
    &["data", "hardware"],
    &["models"],
    &["objectives"],
    &["training"],
    &["evaluation"],
    &["methods"],
    &["recipe"],
    &["gallery", "pretrain"],
    &["scoring", "embed", "bench"],
    &["doctor", "studies"],
];

/// Files that others of their folder are made of. All others know their folder's `mod.rs` and no sibling.
const PARTS: [&str; 8] = [
    "models/layers",
    "evaluation/encoder",
    "evaluation/world_model",
    "methods/mask",
    "methods/network",
    "methods/queue",
    "training/groups",
    "studies/table",
];

#[test]
fn every_floor_uses_only_the_floors_below() {
    let heights = heights();
    let mut wrong = Vec::new();
    for (module, file, used) in uses() {
        for other in used.iter().filter(|other| **other != module) {
            let height = heights.get(other.as_str());
            if height.is_none_or(|height| *height >= heights[module.as_str()]) {
                wrong.push(format!("{file}: `{module}` uses `{other}`"));
            }
        }
    }
    assert!(wrong.is_empty(), "arrows that do not point down:\n{}", wrong.join("\n"));
}

#[test]
fn siblings_do_not_know_each_other() {
    let mut wrong = Vec::new();
    for (module, file, _) in uses() {
        let folder = library().join(&module);
        if Path::new(&file).parent() != Some(Path::new(&module)) || file.ends_with("mod.rs") {
            continue;
        }
        let code = code(&library().join(&file));
        let mut used = names_after(&code, "super::");
        used.extend(names_after(&code, &format!("crate::{module}::")));
        used.retain(|name| folder.join(format!("{name}.rs")).exists());
        used.retain(|name| !PARTS.contains(&format!("{module}/{name}").as_str()));
        wrong.extend(used.iter().map(|name| format!("{file} uses `{name}`")));
    }
    assert!(wrong.is_empty(), "siblings that know each other:\n{}", wrong.join("\n"));
}

#[test]
fn objectives_know_nothing_but_tensors_and_errors() {
    for (module, file, used) in uses() {
        if module == "objectives" {
            let foreign: Vec<_> = used
                .iter()
                .filter(|name| !["error", "objectives"].contains(&name.as_str()))
                .collect();
            assert!(foreign.is_empty(), "{file} uses {foreign:?}");
        }
    }
    let known = ["tch", "std", "crate", "super", "self"];
    for path in sources(&library().join("objectives")) {
        for line in code(&path).lines().filter_map(|line| line.trim().strip_prefix("use ")) {
            let first = line.split("::").next().unwrap_or_default();
            assert!(known.contains(&first), "{}: use {line}", path.display());
        }
    }
}

/// The table above and the text that people read.
#[test]
fn the_floors_are_those_of_the_documentation() {
    let text = fs::read_to_string(library().join("lib.rs")).unwrap();
    let block = text.split("```").nth(1).unwrap();
    let written: Vec<BTreeSet<&str>> = block
        .lines()
        .filter_map(|line| line.strip_prefix("//! "))
        .filter(|line| !line.is_empty())
        .map(|line| {
            let names = line.split("  ").next().unwrap_or_default();
            names.split(", ").map(str::trim).collect()
        })
        .collect();
    let declared: Vec<BTreeSet<&str>> =
        FLOORS.iter().rev().map(|floor| floor.iter().copied().collect()).collect();
    assert_eq!(written, declared);
    let modules: BTreeSet<&str> =
        text.lines().filter_map(|line| line.strip_prefix("pub mod ")?.strip_suffix(';')).collect();
    let placed: BTreeSet<&str> = FLOORS.iter().flat_map(|floor| floor.iter().copied()).collect();
    assert_eq!(modules, placed, "every module stands on one floor");
}

#[test]
fn pixels_and_report_are_without_torch() {
    for name in ["pixels", "report"] {
        let found: Vec<String> = dependencies(name)
            .into_iter()
            .filter(|name| {
                ["tch", "torch-sys", "torch-bridge", "vertebra"].contains(&name.as_str())
            })
            .collect();
        assert!(found.is_empty(), "{name} depends on {found:?}");
    }
}

#[test]
fn the_program_has_no_tensors_of_its_own() {
    assert!(!dependencies("cli").contains("tch"));
    for path in sources(&root().join("crates/cli/src")) {
        let code = code(&path);
        for name in ["tch", "torch_sys"] {
            let used = names_after(&code, &format!("{name}::"));
            assert!(used.is_empty(), "{} uses {name}", path.display());
        }
    }
}

#[test]
fn every_file_of_these_tests_is_declared() {
    let folder = root().join("crates/vertebra/tests/it");
    let main = fs::read_to_string(folder.join("main.rs")).unwrap();
    for path in sources(&folder) {
        let name = path.file_stem().unwrap().to_string_lossy().into_owned();
        let declared = main.lines().any(|line| line == format!("mod {name};"));
        assert!(name == "main" || declared, "`mod {name};` is missing in main.rs: it never runs");
    }
}

/// The test of the tests: what the scanner must see.
#[test]
fn nested_imports_and_paths_in_code_are_seen_and_comments_are_not() {
    let code = without_comments(
        "use crate::{data, evaluation::{knn, linear}, models as m}; // crate::bench\n\
         /// [`crate::doctor`]\nfn f() { crate::recipe::f() }",
    );
    let seen: Vec<String> = names_after(&code, "crate::").into_iter().collect();
    assert_eq!(seen, ["data", "evaluation", "models", "recipe"]);
}

fn library() -> std::path::PathBuf {
    root().join("crates/vertebra/src")
}

/// Each module's height, 0 at the bottom.
fn heights() -> BTreeMap<&'static str, usize> {
    let floors = FLOORS.iter().enumerate();
    floors.flat_map(|(height, floor)| floor.iter().map(move |module| (*module, height))).collect()
}

/// For each source file but `lib.rs`: its module, its path, and the modules that it uses.
fn uses() -> Vec<(String, String, BTreeSet<String>)> {
    let library = library();
    let used = |path: &Path| {
        let inside = path.strip_prefix(&library).ok()?;
        let module = inside.components().next()?.as_os_str().to_string_lossy().into_owned();
        let module = module.trim_end_matches(".rs").to_string();
        let used = names_after(&code(path), "crate::");
        (module != "lib").then(|| (module, inside.display().to_string(), used))
    };
    let found: Vec<_> = sources(&library).iter().filter_map(|path| used(path)).collect();
    assert!(found.len() > 30, "the sources were not found");
    found
}

fn code(path: &Path) -> String {
    without_comments(&fs::read_to_string(path).unwrap())
}

fn without_comments(text: &str) -> String {
    let code = |line: &str| line.split("//").next().unwrap_or_default().to_string() + "\n";
    text.lines().map(code).collect()
}

/// The first name of every path that begins with `prefix`; of a list in braces, the first name of each entry.
fn names_after(code: &str, prefix: &str) -> BTreeSet<String> {
    let mut names = BTreeSet::new();
    for (at, _) in code.match_indices(prefix) {
        let inside_a_word = code[..at].ends_with(|c: char| c.is_alphanumeric() || c == '_');
        if inside_a_word {
            continue;
        }
        let rest = &code[at + prefix.len()..];
        if let Some(list) = rest.strip_prefix('{') {
            names.extend(entries(list).iter().map(|entry| first_name(entry)));
        } else {
            names.insert(first_name(rest));
        }
    }
    names
}

/// The entries of a list up to its closing brace.
fn entries(list: &str) -> Vec<String> {
    let (mut depth, mut found) = (1, vec![String::new()]);
    for c in list.chars() {
        match c {
            '{' => depth += 1,
            '}' => depth -= 1,
            _ => {}
        }
        match (c, depth) {
            (_, 0) => break,
            (',', 1) => found.push(String::new()),
            _ => found.last_mut().unwrap().push(c),
        }
    }
    found.retain(|entry| !entry.trim().is_empty());
    found
}

fn first_name(path: &str) -> String {
    path.trim_start().chars().take_while(|c| c.is_alphanumeric() || *c == '_').collect()
}

/// The crates that a crate depends on, for whatever purpose.
fn dependencies(name: &str) -> BTreeSet<String> {
    let text = fs::read_to_string(root().join("crates").join(name).join("Cargo.toml")).unwrap();
    let manifest: toml::Table = text.parse().unwrap();
    ["dependencies", "dev-dependencies", "build-dependencies"]
        .iter()
        .filter_map(|table| manifest.get(*table)?.as_table())
        .flat_map(|table| table.keys().cloned())
        .collect()
}
