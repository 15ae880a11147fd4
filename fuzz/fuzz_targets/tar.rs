//! Tar shards, and the indexes that lie beside them.

#![no_main]

use libfuzzer_sys::fuzz_target;
use pixels::source::fuzz::tar;

fuzz_target!(init: fuzz::forgive_dependencies(), |bytes: &[u8]| tar(bytes));
