//! Everything that must hold before a change goes in.

use std::{fs, path::Path, process::Command};

use crate::{
    failure::Failure,
    setup::setup,
    shell::{command, last_step, step, succeeds},
};

/// A ceiling on the crates that a build may need, the workspace's own included.
const MOST_PACKAGES: usize = 250;

/// Formatting and lints.
pub fn check(root: &Path) -> Result<(), Failure> {
    setup(root)?;
    step(
        "format",
        &mut command(root, "cargo fmt --all --check -- --color never"),
        "`cargo fmt --all` puts it right (missing? rustup component add rustfmt)",
    )?;
    step(
        "lints",
        &mut command(root, "cargo clippy --workspace --all-targets -- -D warnings"),
        "each message above says what to do (missing? rustup component add clippy)",
    )
}

/// Formatting, lints, documentation, dependencies, then every test. Stops at the first failure.
pub fn test(root: &Path) -> Result<(), Failure> {
    check(root)?;
    step(
        "documentation",
        command(root, "cargo doc --no-deps --workspace").env("RUSTDOCFLAGS", "-D warnings"),
        "each message above says what to do",
    )?;
    count_packages(root)?;
    if succeeds(root, "cargo deny --version") {
        // The list of advisories comes from the network; no test may need that.
        let mut deny = command(root, "cargo deny check licenses bans sources");
        step("licences", &mut deny, "deny.toml says what is allowed, and why")?;
    } else {
        println!("--- licences: skipped, cargo-deny is not installed");
    }
    step(
        "tests of features",
        &mut command(root, "cargo test --package pixels --features parquet --lib parquet"),
        "the failed tests are named above",
    )?;
    ranks(root)?;
    last_step("tests", &mut tests(root), "the failed tests are named above")
}

/// Two processes against one, where MPI is installed.
fn ranks(root: &Path) -> Result<(), Failure> {
    if !succeeds(root, "mpirun --version") || !succeeds(root, "mpicc --version") {
        println!(
            "--- two ranks: skipped, MPI is not installed (Debian: libopenmpi-dev openmpi-bin libclang-dev)"
        );
        return Ok(());
    }
    let test = "cargo test --package vertebra --features mpi --test ranks";
    step(
        "two ranks: build",
        &mut command(root, &format!("{test} --no-run")),
        "the messages above say what is missing",
    )?;
    let mut run = command(root, &format!("mpirun -n 2 {test}"));
    // Open MPI refuses to start as root, as a container does, and on fewer cores than ranks, unless it is told to.
    for variable in [
        "OMPI_ALLOW_RUN_AS_ROOT",
        "OMPI_ALLOW_RUN_AS_ROOT_CONFIRM",
        "OMPI_MCA_rmaps_base_oversubscribe",
    ] {
        run.env(variable, "1");
    }
    step("two ranks", &mut run, "two ranks must give what one gives; the difference is named above")
}

fn tests(root: &Path) -> Command {
    if succeeds(root, "cargo nextest --version") {
        command(root, "cargo nextest run --workspace")
    } else {
        command(root, "cargo test --workspace")
    }
}

fn count_packages(root: &Path) -> Result<(), Failure> {
    let path = root.join("Cargo.lock");
    let lock = fs::read_to_string(&path)
        .map_err(|error| Failure::new(format!("{}: {error}", path.display()), ""))?;
    let count = packages(&lock);
    if count > MOST_PACKAGES {
        return Err(Failure::new(
            format!("Cargo.lock holds {count} packages, at most {MOST_PACKAGES} are allowed"),
            "do without the new dependency, or put it behind a feature of a lighter crate",
        ));
    }
    println!("--- dependencies: {count} packages of at most {MOST_PACKAGES}");
    Ok(())
}

fn packages(lock: &str) -> usize {
    lock.lines().filter(|line| *line == "[[package]]").count()
}

#[cfg(test)]
mod tests {
    #[test]
    fn each_package_of_a_lock_file_counts_once() {
        let lock = "version = 4\n\n[[package]]\nname = \"a\"\n\n[[package]]\nname = \"b\"\n";
        assert_eq!(super::packages(lock), 2);
    }
}
