//! CIFAR's binary files. The first byte says whether they are CIFAR-10's or CIFAR-100's, and whether they are filled up
//! to whole rows, which mutations alone would hardly find.

#![no_main]

use std::fs;
use std::sync::LazyLock;

use libfuzzer_sys::fuzz_target;
use pixels::source::Cifar;
use tempfile::TempDir;

static FOLDER: LazyLock<TempDir> =
    LazyLock::new(|| tempfile::tempdir().expect("a folder for files"));

fuzz_target!(|bytes: &[u8]| {
    let Some((&first, rows)) = bytes.split_first() else { return };
    let (name, length) =
        if first & 1 == 0 { ("data_batch_1.bin", 3073) } else { ("train.bin", 3074) };
    let mut rows = rows.to_vec();
    if first & 2 == 0 {
        rows.resize(rows.len().next_multiple_of(length), 0);
    }
    let path = FOLDER.path().join(name);
    fs::write(&path, rows).expect("written");
    if let Ok(source) = Cifar::open(&[path]) {
        fuzz::every_sample(&source);
    }
});
