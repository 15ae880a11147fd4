//! JPEG files, decoded whole.

#![no_main]

use libfuzzer_sys::{Corpus, fuzz_target};

fuzz_target!(init: fuzz::forgive_dependencies(), |bytes: &[u8]| -> Corpus {
    if !bytes.starts_with(&[0xFF, 0xD8, 0xFF]) {
        return Corpus::Reject;
    }
    fuzz::decoded(bytes);
    Corpus::Keep
});
