//! The program from outside: processes, their files, their words and their exit codes.

mod bad_images;
mod bad_input;
mod features;
mod full_disk;
mod predictor;
mod program;
mod resume;
mod study;
mod surface;

/// A file that is not declared above would be a test that never runs.
#[test]
fn every_file_here_is_part_of_the_tests() {
    let folder = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/it");
    for entry in std::fs::read_dir(folder).expect("the folder of this file") {
        let name = entry.expect("an entry").file_name().to_string_lossy().into_owned();
        let module = name.trim_end_matches(".rs");
        let declared = include_str!("main.rs").contains(&format!("mod {module};"));
        assert!(declared || module == "main", "{name} is not declared");
    }
}
