//! What the library promises, tested from outside: its shape, its numbers against published code, its contracts, its
//! runs.
#![allow(clippy::unwrap_used, reason = "a test may fail by panicking")]

mod accumulate;
mod budgets;
mod channels;
mod collapse;
mod contract;
mod contrastive;
mod distillation;
mod frozen;
mod latent;
mod layering;
mod layouts;
mod masked;
mod parity;
mod parity_contrastive;
mod parity_convswin;
mod parity_distillation;
mod parity_vit;
mod pretrain;
mod ranking;
mod recipe;
mod rotations;
mod tiny;
mod weight_files;
mod whole_step;

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use tch::Tensor;
use vertebra::error::Result;
use vertebra::models::weights;
use vertebra::pretrain::{Event, Job, Outcome, Watch, pretrain};
use vertebra::recipe::Recipe;
use vertebra::training::collective::Alone;

use tiny::{
    CPU, build, distance, is_masked, largest, pairs, tiny_backbones, tiny_methods, two_views,
};

/// Torch's generator belongs to the whole process: a test that seeds it holds this while it draws. And one thread is
/// enough for tensors this small, on which several only wait for each other.
fn alone() -> MutexGuard<'static, ()> {
    static GENERATOR: Mutex<()> = Mutex::new(());
    tch::set_num_threads(1);
    GENERATOR.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Trains in `folder`; asks for a stop when step `stop_after` is done.
fn trained(
    recipe: Recipe,
    folder: &Path,
    resume: bool,
    stop_after: Option<u64>,
) -> Result<Outcome> {
    let job = Job {
        recipe,
        folder: folder.into(),
        resume,
        command: "a test".into(),
        version: "0".into(),
        commit: "0".into(),
        collective: Arc::new(Alone),
    };
    let stop = AtomicBool::new(false);
    let mut tell = |event: Event| {
        if let Event::Step { step, .. } = event
            && Some(step) == stop_after
        {
            stop.store(true, Ordering::Relaxed);
        }
    };
    pretrain(&job, &mut Watch { tell: &mut tell, stop: &stop })
}

/// The repository's root.
fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../..").canonicalize().unwrap()
}

/// Every `.rs` file under a folder, in the order of their paths.
fn sources(folder: &Path) -> Vec<PathBuf> {
    let mut found = Vec::new();
    for entry in fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() {
            found.extend(sources(&path));
        } else if path.extension().is_some_and(|ending| ending == "rs") {
            found.push(path);
        }
    }
    found.sort();
    found
}

fn fixture(name: &str) -> BTreeMap<String, Tensor> {
    weights::load(&root().join("fixtures").join(name)).unwrap().0
}
