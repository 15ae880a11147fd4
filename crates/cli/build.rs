#[path = "../run_paths.rs"]
mod run_paths;

fn main() {
    run_paths::emit();
}
