//! Set-up, checks and the demonstration: `cargo xtask`. Depends on nothing else of the workspace.

mod checks;
mod demo;
mod failure;
mod setup;
mod shell;
mod wheels;

use std::{env, path::Path, process::ExitCode};

use failure::Failure;

const HELP: &str = "\
cargo xtask setup   put libtorch 2.11 where cargo finds it (at once when it is there)
cargo xtask demo    set up, build, pretrain and probe an encoder, leave runs/demo/report.html
cargo xtask check   formatting and lints
cargo xtask test    set up, then formatting, lints, documentation, licences and every test
";

fn main() -> ExitCode {
    let words: Vec<String> = env::args().skip(1).collect();
    let words: Vec<&str> = words.iter().map(String::as_str).collect();
    let task: fn(&Path) -> Result<(), Failure> = match words[..] {
        [] | ["help" | "-h" | "--help"] => {
            print!("{HELP}");
            return ExitCode::SUCCESS;
        }
        ["setup"] => setup::setup,
        ["demo"] => demo::demo,
        ["check"] => checks::check,
        ["test"] => checks::test,
        _ => {
            eprint!("error: no task `{}`; there are:\n\n{HELP}", words.join(" "));
            return ExitCode::from(2);
        }
    };
    match task(&root()) {
        Ok(()) => ExitCode::SUCCESS,
        Err(failure) => {
            eprintln!("{failure}");
            ExitCode::FAILURE
        }
    }
}

/// The repository's root, wherever the task was called from.
fn root() -> std::path::PathBuf {
    let manifest = Path::new(env!("CARGO_MANIFEST_DIR"));
    manifest.parent().unwrap_or(manifest).to_path_buf()
}
