//! Parquet files with images.

#![no_main]

use libfuzzer_sys::fuzz_target;
use pixels::source::fuzz::parquet;

fuzz_target!(init: fuzz::forgive_dependencies(), |bytes: &[u8]| parquet(bytes));
