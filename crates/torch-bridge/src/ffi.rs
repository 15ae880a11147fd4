//! The declarations of `bridge.cpp`, and the way from its errors to ours.

use std::ffi::{CStr, c_char, c_int};

use tch::Tensor;
use torch_sys::C_tensor;

/// The state of autocast before a region, as `bridge.cpp` lays it out.
#[repr(C)]
#[derive(Clone, Copy, Default)]
pub struct Autocast {
    enabled: bool,
    cached: bool,
    kind: c_int,
}

/// A convolution beyond its weights, as `bridge.cpp` lays it out.
#[repr(C)]
#[derive(Clone, Copy, Debug)]
pub struct Convolution {
    pub stride: i64,
    pub padding: i64,
    pub groups: i64,
}

/// An array of `n` tensor handles.
pub type Handles = *const *const C_tensor;

unsafe extern "C" {
    pub fn bridge_autocast_enter(cuda: bool, kind: c_int, before: *mut Autocast) -> *mut c_char;
    pub fn bridge_autocast_leave(cuda: bool, before: *const Autocast) -> *mut c_char;
    pub fn bridge_fused_adamw(
        params: Handles,
        grads: Handles,
        means: Handles,
        squares: Handles,
        steps: Handles,
        n: usize,
        lr: f64,
        beta1: f64,
        beta2: f64,
        weight_decay: f64,
        eps: f64,
    ) -> *mut c_char;
    pub fn bridge_fused_sgd(
        params: Handles,
        grads: Handles,
        velocities: Handles,
        n: usize,
        lr: f64,
        momentum: f64,
        weight_decay: f64,
        nesterov: bool,
    ) -> *mut c_char;
    pub fn bridge_norms(tensors: Handles, n: usize, out: *mut C_tensor) -> *mut c_char;
    pub fn bridge_add(tensors: Handles, others: Handles, n: usize, alpha: f64) -> *mut c_char;
    pub fn bridge_scale(tensors: Handles, n: usize, factors: *const C_tensor) -> *mut c_char;
    pub fn bridge_lerp(tensors: Handles, ends: Handles, n: usize, weight: f64) -> *mut c_char;
    pub fn bridge_clear_grads(tensors: Handles, n: usize) -> *mut c_char;
    pub fn bridge_cuda_has_bf16(index: c_int, out: *mut bool) -> *mut c_char;
    pub fn bridge_cuda_peak_bytes(index: c_int, out: *mut i64) -> *mut c_char;
    pub fn bridge_onednn(bf16: bool, out: *mut bool) -> *mut c_char;
    pub fn bridge_pack_convolution(
        weight: *const C_tensor,
        with: *const Convolution,
        images: *const C_tensor,
        out: *mut C_tensor,
    ) -> *mut c_char;
    pub fn bridge_convolution(
        images: *const C_tensor,
        weight: *const C_tensor,
        bias: *const C_tensor,
        with: *const Convolution,
        relu: bool,
        sum: *const C_tensor,
        out: *mut C_tensor,
    ) -> *mut c_char;
    pub fn bridge_pack_linear(
        weight: *const C_tensor,
        rows: i64,
        out: *mut C_tensor,
    ) -> *mut c_char;
    pub fn bridge_linear(
        rows: *const C_tensor,
        weight: *const C_tensor,
        bias: *const C_tensor,
        attribute: *const c_char,
        form: *const c_char,
        out: *mut C_tensor,
    ) -> *mut c_char;
}

/// Takes over the error string of a bridge call.
///
/// # Safety
/// `error` is null or came from the call just made, and is not used again.
pub unsafe fn outcome(error: *mut c_char) -> Result<(), String> {
    if error.is_null() {
        return Ok(());
    }
    // SAFETY: not null, so a NUL-terminated string made by `strdup`, which is ours to free.
    unsafe {
        let message = CStr::from_ptr(error).to_string_lossy().into_owned();
        libc::free(error.cast());
        Err(message)
    }
}

/// The handles of `tensors`; valid while those live.
pub fn handles(tensors: &[Tensor]) -> Vec<*const C_tensor> {
    tensors.iter().map(Tensor::as_ptr).collect()
}
