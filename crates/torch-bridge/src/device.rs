//! Facts about the device, and the opening of libtorch's CUDA half.

use std::ffi::CString;
use std::path::{Path, PathBuf};

use tch::Device;

use crate::ffi;

/// Loads `libtorch_cuda.so` if it lies beside the `libtorch_cpu.so` in use; true when it is loaded.
/// A program is linked against the CPU half only, so that one build runs everywhere.
///
/// Must be called at the very start: libtorch remembers the first answer to any question about
/// CUDA. The library is never unloaded. Fails with the loader's words when the file is there but
/// one that it needs is not.
pub fn load_cuda() -> Result<bool, String> {
    let maps = std::fs::read_to_string("/proc/self/maps").unwrap_or_default();
    let Some(folder) = folder_of(&maps, "libtorch_cpu.so") else { return Ok(false) };
    let path = folder.join("libtorch_cuda.so");
    if !path.exists() {
        return Ok(false);
    }
    let name = CString::new(path.as_os_str().as_encoded_bytes())
        .map_err(|_| format!("{}: a path with a NUL byte", path.display()))?;
    // SAFETY: a NUL-terminated path. Its initialisers are libtorch's own, meant to run at any time
    // before the first CUDA call.
    let library = unsafe { libc::dlopen(name.as_ptr(), libc::RTLD_NOW | libc::RTLD_GLOBAL) };
    if library.is_null() {
        return Err(format!("{} cannot be loaded: {}", path.display(), loader_error()));
    }
    Ok(true)
}

/// Ends the process from any thread. An ordinary exit takes libtorch's globals away under the threads that still compute
/// with them, and dies of SIGSEGV.
pub fn exit_at_once(code: i32) -> ! {
    // SAFETY: `_exit` only ends the process; it runs no destructor and touches no memory.
    unsafe { libc::_exit(code) }
}

/// Whether the device computes in bf16 itself: a CPU with AVX512-BF16 (every one with AMX has it),
/// a CUDA card from compute capability 8.0 on.
pub fn has_bf16(device: Device) -> bool {
    match device {
        Device::Cpu => cpu_has_bf16(),
        Device::Cuda(index) => {
            let mut has = false;
            // SAFETY: `has` outlives the call, which only writes it.
            let asked =
                unsafe { ffi::outcome(ffi::bridge_cuda_has_bf16(index as i32, &raw mut has)) };
            asked.is_ok() && has
        }
        _ => false,
    }
}

/// The most memory held so far, in MiB: of the whole process on the CPU (resident), in tensors on a
/// CUDA card. `None` where it cannot be known.
pub fn peak_memory_mb(device: Device) -> Option<f64> {
    match device {
        Device::Cpu => resident_peak_kb(&std::fs::read_to_string("/proc/self/status").ok()?)
            .map(|kb| kb / 1024.),
        Device::Cuda(index) => {
            let mut bytes = 0;
            // SAFETY: `bytes` outlives the call, which only writes it.
            let asked =
                unsafe { ffi::outcome(ffi::bridge_cuda_peak_bytes(index as i32, &raw mut bytes)) };
            asked.ok().map(|()| bytes as f64 / 1024. / 1024.)
        }
        _ => None,
    }
}

/// Waits until the device has done what was asked of it. Nothing to do on the CPU.
pub fn synchronize(device: Device) {
    if let Device::Cuda(index) = device {
        tch::Cuda::synchronize(index as i64);
    }
}

#[cfg(target_arch = "x86_64")]
fn cpu_has_bf16() -> bool {
    std::arch::is_x86_feature_detected!("avx512bf16")
}

#[cfg(not(target_arch = "x86_64"))]
fn cpu_has_bf16() -> bool {
    false
}

/// The folder of a mapped file, from the text of `/proc/self/maps`: address, rights, offset,
/// device, inode, path.
fn folder_of(maps: &str, file: &str) -> Option<PathBuf> {
    maps.lines()
        .filter_map(|line| line.find('/').map(|start| Path::new(&line[start..])))
        .find(|path| path.file_name().is_some_and(|name| name == file))
        .and_then(Path::parent)
        .map(Path::to_owned)
}

fn resident_peak_kb(status: &str) -> Option<f64> {
    let line = status.lines().find_map(|line| line.strip_prefix("VmHWM:"))?;
    line.trim().strip_suffix("kB")?.trim().parse().ok()
}

fn loader_error() -> String {
    // SAFETY: `dlerror` returns null or a string that lives until the next loader call of this
    // thread; it is copied here.
    unsafe {
        let message = libc::dlerror();
        if message.is_null() {
            return "no reason given".into();
        }
        std::ffi::CStr::from_ptr(message).to_string_lossy().into_owned()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_folder_with_spaces_is_found_in_the_map() {
        let maps = "7f00-7f01 r--p 00000000 08:01 12  /usr/lib/libc.so.6\n\
                    7f02-7f03 r-xp 00001000 08:01 34  /my torch/lib/libtorch_cpu.so\n";
        let found = folder_of(maps, "libtorch_cpu.so");
        assert_eq!(found, Some(PathBuf::from("/my torch/lib")));
        assert_eq!(folder_of(maps, "libtorch_cuda.so"), None);
    }

    #[test]
    fn loading_cuda_tells_whether_the_library_is_there() {
        let maps = std::fs::read_to_string("/proc/self/maps").unwrap();
        let folder = folder_of(&maps, "libtorch_cpu.so").expect("the test is linked to libtorch");
        assert_eq!(load_cuda(), Ok(folder.join("libtorch_cuda.so").exists()));
    }

    #[test]
    fn the_peak_is_read_in_kilobytes() {
        assert_eq!(resident_peak_kb("VmPeak:\t 9 kB\nVmHWM:\t  2048 kB\n"), Some(2048.));
        assert_eq!(resident_peak_kb("nothing"), None);
        assert!(peak_memory_mb(Device::Cpu).is_some_and(|mb| mb > 1.));
    }

    #[test]
    fn a_card_that_is_not_there_has_no_figures() {
        if !tch::Cuda::is_available() {
            assert_eq!((has_bf16(Device::Cuda(0)), peak_memory_mb(Device::Cuda(0))), (false, None));
        }
    }
}
