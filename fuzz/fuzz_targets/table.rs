//! Tables of images: CSV and JSON lines.

#![no_main]

use libfuzzer_sys::fuzz_target;
use pixels::source::fuzz::table;

fuzz_target!(init: fuzz::forgive_dependencies(), |bytes: &[u8]| table(bytes));
