//! Compiles `src/bridge.cpp` against the libtorch that `torch-sys` found.

#[path = "../run_paths.rs"]
mod run_paths;

use std::env;
use std::path::Path;

fn main() {
    println!("cargo:rerun-if-changed=src/bridge.cpp");
    println!("cargo:rerun-if-env-changed=LIBTORCH_CXX11_ABI");
    // torch-sys declares `links = "tch"`, hence the name.
    let lib = env::var("DEP_TCH_LIBTORCH_LIB").expect("torch-sys tells where libtorch lies");
    let include = Path::new(&lib).with_file_name("include");
    let abi = env::var("LIBTORCH_CXX11_ABI").unwrap_or_else(|_| "1".into());
    cc::Build::new()
        .cpp(true)
        .std("c++17")
        // libtorch's own headers warn; ours is one file, read by a person.
        .warnings(false)
        .include(&include)
        .include(include.join("torch/csrc/api/include"))
        .define("_GLIBCXX_USE_CXX11_ABI", abi.as_str())
        .file("src/bridge.cpp")
        .compile("torch_bridge");
    run_paths::emit();
}
