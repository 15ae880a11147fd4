//! Run paths, shared by the build scripts of the crates whose programs and tests link to libtorch.

use std::env;

/// Writes into each program where libtorch is, so that nobody has to export LD_LIBRARY_PATH: where it was at
/// build time (torch-sys says so to the crates that depend on it directly), then relative to the program,
/// for a checkout that was moved and for an installed `bin` beside `lib`.
pub fn emit() {
    println!("cargo:rerun-if-changed=build.rs");
    println!("cargo:rerun-if-changed=../run_paths.rs");
    let built_with = env::var("DEP_TCH_LIBTORCH_LIB").ok();
    let beside = [
        "$ORIGIN/../../.libtorch/torch/lib",    // target/release/vertebra
        "$ORIGIN/../../../.libtorch/torch/lib", // target/debug/deps/...
        "$ORIGIN/../lib",
    ];
    for path in built_with.iter().map(String::as_str).chain(beside) {
        println!("cargo:rustc-link-arg=-Wl,-rpath,{path}");
    }
}
