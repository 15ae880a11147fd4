//! Files and functions stay short enough to be read.

use std::fs;
use std::path::{Path, PathBuf};

use crate::{root, sources};

const LINES_OF_A_FILE: usize = 600;
const LINES_OF_A_FUNCTION: usize = 70;

#[test]
fn no_file_is_longer_than_its_budget() {
    let long = |path: &PathBuf| {
        let lines = fs::read_to_string(path).unwrap().lines().count();
        (lines > LINES_OF_A_FILE).then(|| format!("{}: {lines} lines", path.display()))
    };
    let long: Vec<String> = workspace().iter().filter_map(long).collect();
    assert!(long.is_empty(), "at most {LINES_OF_A_FILE} lines:\n{}", long.join("\n"));
}

#[test]
fn no_function_is_longer_than_its_budget() {
    let mut long = Vec::new();
    for path in workspace() {
        for (name, lines) in functions(&fs::read_to_string(&path).unwrap()) {
            if lines > LINES_OF_A_FUNCTION {
                long.push(format!("{}: `{name}` has {lines} lines", path.display()));
            }
        }
    }
    assert!(long.is_empty(), "at most {LINES_OF_A_FUNCTION} lines:\n{}", long.join("\n"));
}

/// The test of the tests: what the scanner must see.
#[test]
fn a_function_is_counted_from_its_name_to_its_brace() {
    let text = "trait T {\n    fn none(&self);\n    fn one() {}\n}\npub(crate) const fn four(\n    \
                a: u8,\n) -> u8 {\n}\nfn outer() {\n    fn inner() {\n    }\n}\n";
    let found = functions(text);
    let found: Vec<(&str, usize)> = found.iter().map(|(name, n)| (name.as_str(), *n)).collect();
    assert_eq!(found, [("four", 4), ("outer", 4), ("inner", 2)]);
}

/// Every source file of the workspace, tests and build scripts included.
fn workspace() -> Vec<PathBuf> {
    let found: Vec<PathBuf> =
        ["crates", "xtask"].iter().flat_map(|folder| sources(&root().join(folder))).collect();
    assert!(found.iter().any(|path| path.ends_with(Path::new("vertebra/tests/it/budgets.rs"))));
    found
}

/// Name and lines of every function with a body of its own lines. The text is as rustfmt leaves it: a function ends at
/// the first closing brace of its own indentation.
fn functions(text: &str) -> Vec<(String, usize)> {
    let lines: Vec<&str> = text.lines().collect();
    let mut found = Vec::new();
    for (first, line) in lines.iter().enumerate() {
        let Some(name) = name(line) else { continue };
        let signature = lines[first..].iter().position(|line| line.ends_with([';', '{', '}']));
        let opened = signature.map(|offset| lines[first + offset]);
        if opened.is_none_or(|line| !line.ends_with('{')) {
            continue;
        }
        let indent = &line[..line.len() - line.trim_start().len()];
        let close = format!("{indent}}}");
        let length = lines[first..].iter().position(|line| *line == close);
        found.push((name.to_string(), length.expect("rustfmt has been here") + 1));
    }
    found
}

/// The name of the function that a line begins.
fn name(line: &str) -> Option<&str> {
    let mut rest = line.trim_start();
    for word in ["pub", "(crate)", "(super)", "const", "unsafe", "extern \"C\""] {
        rest = rest.strip_prefix(word).unwrap_or(rest).trim_start();
    }
    let name = rest.strip_prefix("fn ")?;
    name.split(['(', '<']).next()
}
