//! TIFF files, classic and with 64-bit offsets, of both byte orders.

#![no_main]

use libfuzzer_sys::{Corpus, fuzz_target};

fuzz_target!(init: fuzz::forgive_dependencies(), |bytes: &[u8]| -> Corpus {
    if !(bytes.starts_with(b"II") || bytes.starts_with(b"MM")) {
        return Corpus::Reject;
    }
    fuzz::decoded(bytes);
    Corpus::Keep
});
