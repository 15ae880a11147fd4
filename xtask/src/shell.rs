//! Commands of other programs, run from the repository's root.

use std::{
    path::Path,
    process::{Command, Stdio},
    time::Instant,
};

use crate::failure::Failure;

/// A command that will run in `root`; `line` is split at spaces.
pub fn command(root: &Path, line: &str) -> Command {
    let mut words = line.split_whitespace();
    let mut command = Command::new(words.next().unwrap_or_default());
    command.args(words).current_dir(root);
    command
}

/// Whether `line` can be run and succeeds; its output is not shown.
pub fn succeeds(root: &Path, line: &str) -> bool {
    command(root, line)
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .status()
        .is_ok_and(|status| status.success())
}

/// Runs a named step, its output shown, and prints the time it took.
pub fn step(name: &str, command: &mut Command, hint: &str) -> Result<(), Failure> {
    let start = Instant::now();
    last_step(name, command, hint)?;
    println!("--- {name}: done in {:.1} s", start.elapsed().as_secs_f64());
    Ok(())
}

/// The same, without a closing line: the command's own is the last one.
pub fn last_step(name: &str, command: &mut Command, hint: &str) -> Result<(), Failure> {
    println!("--- {name}: {}", shown(command));
    let status = command.status().map_err(|error| {
        Failure::new(format!("{name}: cannot run `{}`: {error}", shown(command)), hint)
    })?;
    if status.success() {
        return Ok(());
    }
    Err(Failure::new(format!("{name}: `{}` failed ({status})", shown(command)), hint))
}

/// The command as one would type it.
fn shown(command: &Command) -> String {
    let words = std::iter::once(command.get_program()).chain(command.get_args());
    words.map(|word| word.to_string_lossy().into_owned()).collect::<Vec<_>>().join(" ")
}
