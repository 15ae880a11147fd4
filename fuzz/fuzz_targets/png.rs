//! PNG files.

#![no_main]

use libfuzzer_sys::{Corpus, fuzz_target};

fuzz_target!(init: fuzz::forgive_dependencies(), |bytes: &[u8]| -> Corpus {
    if !(bytes.starts_with(b"\x89PNG\r\n\x1A\n")) {
        return Corpus::Reject;
    }
    fuzz::decoded(bytes);
    Corpus::Keep
});
