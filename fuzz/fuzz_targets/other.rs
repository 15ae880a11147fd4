//! BMP, GIF and PNM files.

#![no_main]

use libfuzzer_sys::{Corpus, fuzz_target};

fuzz_target!(init: fuzz::forgive_dependencies(), |bytes: &[u8]| -> Corpus {
    if !(matches!(bytes, [b'B', b'M', ..] | [b'G', b'I', b'F', ..] | [b'P', ..])) {
        return Corpus::Reject;
    }
    fuzz::decoded(bytes);
    Corpus::Keep
});
