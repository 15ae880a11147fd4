//! COCO's annotation files, with the masks that they describe.

#![no_main]

use libfuzzer_sys::fuzz_target;
use pixels::source::fuzz::coco;

fuzz_target!(init: fuzz::forgive_dependencies(), |bytes: &[u8]| coco(bytes));
