//! Run paths, and the commit that the program was built from.

#[path = "../run_paths.rs"]
mod run_paths;

fn main() {
    run_paths::emit();
    println!("cargo:rerun-if-changed=../../.git/HEAD");
    println!("cargo:rerun-if-changed=../../.git/refs/heads");
    let described = std::process::Command::new("git")
        .args(["describe", "--always", "--dirty", "--abbrev=12"])
        .output();
    let commit = described.ok().filter(|git| git.status.success());
    let commit =
        commit.map_or("unknown".into(), |git| String::from_utf8_lossy(&git.stdout).into_owned());
    println!("cargo:rustc-env=VERTEBRA_COMMIT={}", commit.trim());
}
