//! Writes a made-up run and its page: `cargo run -p report --example synthetic -- FOLDER`.
//! For looking at the page while its style changes; the numbers mean nothing.

use std::error::Error;
use std::path::PathBuf;

#[path = "../tests/it/synthetic.rs"]
mod synthetic;

fn main() -> Result<(), Box<dyn Error>> {
    let folder = PathBuf::from(std::env::args_os().nth(1).ok_or("which folder?")?);
    std::fs::create_dir_all(&folder)?;
    synthetic::run(&folder)?;
    println!("{}", report::page::write(&folder)?.display());
    Ok(())
}
