//! The small unsafe door to libtorch: what `tch` lacks, and nothing else.
//!
//! [`autocast`] with a number format, on the CPU too; optimizer steps on whole lists of tensors
//! ([`steps`]); layers of a network whose weights will not change again ([`frozen`]); libtorch's
//! CUDA half opened at run time, and a few figures about the device ([`device`]).
//!
//! Like `tch`'s own operators, the functions panic when libtorch refuses its arguments (shapes that
//! differ, tensors on two devices): that is a mistake in the calling code, never in a person's
//! data.
#![expect(unsafe_code, reason = "this crate is the door to C++, so that no other crate needs one")]

mod autocast;
pub mod device;
mod ffi;
pub mod frozen;
pub mod steps;

pub use autocast::autocast;
pub use device::{exit_at_once, has_bf16, load_cuda, peak_memory_mb, synchronize};
