//! Files of optical flow: .flo, .pfm and KITTI's PNG.

#![no_main]

use libfuzzer_sys::fuzz_target;
use pixels::source::fuzz::flow;

fuzz_target!(init: fuzz::forgive_dependencies(), |bytes: &[u8]| flow(bytes));
