//! Pascal VOC's annotations, and its masks.

#![no_main]

use libfuzzer_sys::fuzz_target;
use pixels::source::fuzz::voc;

fuzz_target!(init: fuzz::forgive_dependencies(), |bytes: &[u8]| voc(bytes));
