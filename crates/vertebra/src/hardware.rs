//! What this machine is and what a run will use of it.

use std::fs;
use std::os::unix::process::CommandExt;

use serde::{Deserialize, Serialize};
use tch::{Cuda, Device, Kind};

use crate::error::{Error, Result};

/// The numbers networks compute in. Objectives, norms of losses and optimizer state are f32 in each.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Precision {
    /// bf16 where the hardware has it, else fp32.
    #[default]
    Auto,
    Bf16,
    Fp32,
}

/// Where to train.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum DeviceChoice {
    /// The first GPU if there is one, else the CPU.
    #[default]
    Auto,
    Cpu,
    Cuda,
}

/// Puts the process in order before libtorch is first asked for anything: threads that wait must sleep, and the CUDA half is
/// loaded where it lies beside libtorch.
///
/// libtorch's OpenMP threads spin while they wait, which takes the cores from the threads that make views (a factor of 2 to
/// 5 on two cores). `OMP_WAIT_POLICY` turns that off but is read when the library is loaded, so the program starts itself
/// again with it. A value that the person has set is left alone.
pub fn prepare_process() {
    const POLICY: &str = "OMP_WAIT_POLICY";
    if std::env::var_os(POLICY).is_none()
        && let Ok(program) = std::env::current_exe()
    {
        // Returns only on failure; then the program goes on, slower.
        let _ = std::process::Command::new(program)
            .args(std::env::args_os().skip(1))
            .env(POLICY, "passive")
            .exec();
    }
    if let Err(problem) = torch_bridge::load_cuda() {
        eprintln!("note: libtorch's CUDA half cannot be loaded, so the CPU is used: {problem}");
    }
}

/// Ends the process from any thread, while others compute.
pub fn exit_at_once(code: i32) -> ! {
    torch_bridge::exit_at_once(code)
}

/// Asks a program that this one started to save and stop, as Ctrl-C does.
pub fn interrupt(child: &std::process::Child) -> Result<()> {
    let id = rustix::process::Pid::from_child(child);
    rustix::process::kill_process(id, rustix::process::Signal::INT).map_err(|cause| Error::Usage {
        problem: format!("process {}: {cause}", child.id()),
        hint: None,
    })
}

/// The device of a run. Asking for a GPU where there is none is an error, not a slow surprise.
pub fn device(choice: DeviceChoice) -> Result<Device> {
    match choice {
        DeviceChoice::Cpu => Ok(Device::Cpu),
        DeviceChoice::Auto => Ok(Device::cuda_if_available()),
        DeviceChoice::Cuda if Cuda::is_available() => Ok(Device::Cuda(0)),
        DeviceChoice::Cuda => Err(Error::Usage {
            problem: "device = \"cuda\": no usable NVIDIA GPU was found".into(),
            hint: Some("`vertebra doctor` says what was looked for".into()),
        }),
    }
}

/// The kind of autocast, `None` for f32. `Auto` takes bf16 where the hardware computes in it.
pub fn autocast(precision: Precision, device: Device) -> Option<Kind> {
    match precision {
        Precision::Fp32 => None,
        Precision::Bf16 => Some(Kind::BFloat16),
        Precision::Auto => torch_bridge::has_bf16(device).then_some(Kind::BFloat16),
    }
}

pub fn precision_name(autocast: Option<Kind>) -> &'static str {
    if autocast.is_some() { "bf16" } else { "fp32" }
}

/// Cores this process may use.
pub fn cores() -> usize {
    std::thread::available_parallelism().map_or(1, usize::from)
}

/// Memory of the machine in GiB, 0 where it cannot be told.
pub fn memory_gib() -> f64 {
    let text = fs::read_to_string("/proc/meminfo").unwrap_or_default();
    let line = text.lines().find_map(|line| line.strip_prefix("MemTotal:"));
    let kib = line.and_then(|rest| rest.split_whitespace().next()?.parse::<f64>().ok());
    kib.unwrap_or(0.0) / (1024.0 * 1024.0)
}

/// The processor's name as the system tells it.
pub fn processor() -> String {
    let text = fs::read_to_string("/proc/cpuinfo").unwrap_or_default();
    let line = text.lines().find(|line| line.starts_with("model name"));
    let name = line.and_then(|line| line.split_once(':')).map(|(_, name)| name.trim().to_string());
    name.unwrap_or_else(|| std::env::consts::ARCH.into())
}

/// Processor, cores and memory in one line.
pub fn machine() -> String {
    format!("{}, {} cores, {:.0} GiB", processor(), cores(), memory_gib())
}

pub fn device_name(device: Device) -> String {
    match device {
        Device::Cuda(index) => format!("cuda:{index}"),
        _ => "cpu".into(),
    }
}

/// MiB that this process holds in memory now, 0 where it cannot be told.
pub fn memory_in_use_mb() -> f64 {
    let text = fs::read_to_string("/proc/self/status").unwrap_or_default();
    let line = text.lines().find_map(|line| line.strip_prefix("VmRSS:"));
    let kib = line.and_then(|rest| rest.split_whitespace().next()?.parse::<f64>().ok());
    kib.unwrap_or(0.0) / 1024.0
}

/// Processor time of all threads of this process so far, in seconds.
pub fn cpu_seconds() -> f64 {
    let text = fs::read_to_string("/proc/self/stat").unwrap_or_default();
    // Fields after the name, which may itself hold spaces: user and system time are the 12th and 13th.
    let fields = text.rsplit(')').next().unwrap_or_default().split_whitespace();
    let ticks: f64 = fields.skip(11).take(2).filter_map(|field| field.parse::<f64>().ok()).sum();
    // Linux counts in hundredths on every architecture that libtorch runs on.
    ticks / 100.0
}
