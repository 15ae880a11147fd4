//! IDX files, plain or gzip: images, and after a marker their labels. Sources read files, so files they become.

#![no_main]

use std::fs;
use std::sync::LazyLock;

use libfuzzer_sys::fuzz_target;
use pixels::source::Idx;
use tempfile::TempDir;

static FOLDER: LazyLock<TempDir> =
    LazyLock::new(|| tempfile::tempdir().expect("a folder for files"));
const LABELS: &[u8] = b"labels:";

fuzz_target!(|bytes: &[u8]| {
    let (images, labels) = (FOLDER.path().join("x-images"), FOLDER.path().join("x-labels"));
    let marker = bytes.windows(LABELS.len()).position(|window| window == LABELS);
    fs::write(&images, &bytes[..marker.unwrap_or(bytes.len())]).expect("written");
    match marker {
        Some(at) => fs::write(&labels, &bytes[at + LABELS.len()..]).expect("written"),
        None => drop(fs::remove_file(&labels)),
    }
    if let Ok(source) = Idx::open(&images) {
        fuzz::every_sample(&source);
    }
});
