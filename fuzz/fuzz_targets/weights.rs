//! Weight files: safetensors, torch's zip archives and its older files. The readers know no torch, so they are compiled
//! here alone; `vertebra` itself would bring libtorch.

#![no_main]
#![allow(dead_code)]

#[path = "../../crates/vertebra/src/models/weights/formats/mod.rs"]
mod formats;

use std::io::Cursor;

use libfuzzer_sys::fuzz_target;

/// The readers promise at most 16 times the file and a megabyte.
const MOST: u64 = 16 * 65_536 + (1 << 20);

fuzz_target!(|bytes: &[u8]| {
    let mut file = Cursor::new(bytes);
    let Ok(contents) = formats::open(&mut file) else { return };
    let mut sum = 0;
    for storage in &contents.storages {
        sum += storage.bytes;
        if let Ok(numbers) = storage.read(&mut file, 0..storage.bytes) {
            assert_eq!(numbers.len() as u64, storage.bytes);
        }
    }
    assert!(sum <= MOST, "{sum} bytes of storages from {}", bytes.len());
    for (name, view) in &contents.tensors {
        let span = view.span().expect("a tensor of possible sizes");
        assert!(span.end <= contents.storages[view.storage].bytes, "`{name}` leaves its storage");
        assert!(view.bytes().is_some_and(|bytes| bytes <= MOST), "`{name}` is endless");
    }
});
