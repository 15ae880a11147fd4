//! WebP files.

#![no_main]

use libfuzzer_sys::{Corpus, fuzz_target};

fuzz_target!(init: fuzz::forgive_dependencies(), |bytes: &[u8]| -> Corpus {
    if !(bytes.starts_with(b"RIFF") && bytes.get(8..12) == Some(b"WEBP")) {
        return Corpus::Reject;
    }
    fuzz::decoded(bytes);
    Corpus::Keep
});
