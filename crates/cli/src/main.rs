//! The program `vertebra`: parse, dispatch, print errors, exit code. No arithmetic.

mod commands;
mod show;

use std::process::ExitCode;

use clap::Parser;
use vertebra::error::Error;

/// Train, probe, compare and understand visual backbones, from images that nobody labelled.
#[derive(Parser)]
#[command(name = "vertebra", version, max_term_width = 100)]
struct Program {
    #[command(subcommand)]
    command: commands::Command,
}

fn main() -> ExitCode {
    let program = Program::parse();
    vertebra::hardware::prepare_process();
    match commands::run(program.command) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => report(&error),
    }
}

/// The error on one line, its hint on the next. 2 says that the call was wrong, 1 that the work failed.
fn report(error: &anyhow::Error) -> ExitCode {
    if is_broken_pipe(error) {
        return ExitCode::SUCCESS;
    }
    eprintln!("error: {error:#}");
    let ours = error.downcast_ref::<Error>();
    if let Some(hint) = ours.and_then(Error::hint) {
        eprintln!("hint: {hint}");
    }
    let misused = matches!(ours, Some(Error::Usage { .. } | Error::Recipe { .. }));
    ExitCode::from(if misused { 2 } else { 1 })
}

/// `vertebra ... | head` is not a failure.
fn is_broken_pipe(error: &anyhow::Error) -> bool {
    error
        .chain()
        .filter_map(|cause| cause.downcast_ref::<std::io::Error>())
        .any(|cause| cause.kind() == std::io::ErrorKind::BrokenPipe)
}
