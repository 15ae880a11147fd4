//! The wheels that libtorch comes in: where pip finds them, and what they must be.

use std::{
    ffi::OsStr,
    fs,
    io::{IsTerminal, stdout},
    path::{Path, PathBuf},
    process::{Command, Stdio},
};

use crate::failure::Failure;

/// A file of the package index. Sizes in MB.
pub struct Wheel {
    requirement: &'static str,
    file: &'static str,
    sha256: &'static str,
    megabytes: u64,
}

/// What a program that computes on the CPU links to and loads.
pub const CPU: [Wheel; 3] = [
    wheel(
        "torch==2.11.0",
        "torch-2.11.0-cp311-cp311-manylinux_2_28_x86_64.whl",
        "7aa2f9bbc6d4595ba72138026b2074be1233186150e9292865e04b7a63b8c67a",
        531,
    ),
    wheel(
        "nvidia-cuda-runtime==13.0.96",
        "nvidia_cuda_runtime-13.0.96-py3-none-manylinux2014_x86_64.manylinux_2_17_x86_64.whl",
        "7f82250d7782aa23b6cfe765ecc7db554bd3c2870c43f3d1821f1d18aebf0548",
        3,
    ),
    wheel(
        "nvidia-cuda-cupti==13.0.85",
        "nvidia_cuda_cupti-13.0.85-py3-none-manylinux_2_25_x86_64.whl",
        "4eb01c08e859bf924d222250d2e8f8b8ff6d3db4721288cf35d14252a4d933c8",
        11,
    ),
];

/// What it loads besides where there is an NVIDIA card.
pub const CUDA: [Wheel; 13] = [
    wheel(
        "nvidia-cublas==13.1.0.3",
        "nvidia_cublas-13.1.0.3-py3-none-manylinux_2_27_x86_64.whl",
        "ee8722c1f0145ab246bccb9e452153b5e0515fd094c3678df50b2a0888b8b171",
        423,
    ),
    wheel(
        "nvidia-cuda-nvrtc==13.0.88",
        "nvidia_cuda_nvrtc-13.0.88-py3-none-manylinux2010_x86_64.manylinux_2_12_x86_64.whl",
        "ad9b6d2ead2435f11cbb6868809d2adeeee302e9bb94bcf0539c7a40d80e8575",
        90,
    ),
    wheel(
        "nvidia-cudnn-cu13==9.19.0.56",
        "nvidia_cudnn_cu13-9.19.0.56-py3-none-manylinux_2_27_x86_64.whl",
        "d20e1734305e9d68889a96e3f35094d733ff1f83932ebe462753973e53a572bf",
        366,
    ),
    wheel(
        "nvidia-cufft==12.0.0.61",
        "nvidia_cufft-12.0.0.61-py3-none-manylinux2014_x86_64.manylinux_2_17_x86_64.whl",
        "6c44f692dce8fd5ffd3e3df134b6cdb9c2f72d99cf40b62c32dde45eea9ddad3",
        214,
    ),
    wheel(
        "nvidia-cufile==1.15.1.6",
        "nvidia_cufile-1.15.1.6-py3-none-manylinux2014_x86_64.manylinux_2_17_x86_64.whl",
        "08a3ecefae5a01c7f5117351c64f17c7c62efa5fffdbe24fc7d298da19cd0b44",
        2,
    ),
    wheel(
        "nvidia-curand==10.4.0.35",
        "nvidia_curand-10.4.0.35-py3-none-manylinux_2_27_x86_64.whl",
        "1aee33a5da6e1db083fe2b90082def8915f30f3248d5896bcec36a579d941bfc",
        60,
    ),
    wheel(
        "nvidia-cusolver==12.0.4.66",
        "nvidia_cusolver-12.0.4.66-py3-none-manylinux_2_27_x86_64.whl",
        "0a759da5dea5c0ea10fd307de75cdeb59e7ea4fcb8add0924859b944babf1112",
        201,
    ),
    wheel(
        "nvidia-cusparse==12.6.3.3",
        "nvidia_cusparse-12.6.3.3-py3-none-manylinux2014_x86_64.manylinux_2_17_x86_64.whl",
        "2b3c89c88d01ee0e477cb7f82ef60a11a4bcd57b6b87c33f789350b59759360b",
        146,
    ),
    wheel(
        "nvidia-cusparselt-cu13==0.8.0",
        "nvidia_cusparselt_cu13-0.8.0-py3-none-manylinux2014_x86_64.whl",
        "25e30a8a7323935d4ad0340b95a0b69926eee755767e8e0b1cf8dd85b197d3fd",
        170,
    ),
    wheel(
        "nvidia-nccl-cu13==2.28.9",
        "nvidia_nccl_cu13-2.28.9-py3-none-manylinux_2_18_x86_64.whl",
        "e4553a30f34195f3fa1da02a6da3d6337d28f2003943aa0a3d247bbc25fefc42",
        197,
    ),
    wheel(
        "nvidia-nvjitlink==13.0.88",
        "nvidia_nvjitlink-13.0.88-py3-none-manylinux2010_x86_64.manylinux_2_12_x86_64.whl",
        "13a74f429e23b921c1109976abefacc69835f2f433ebd323d3946e11d804e47b",
        41,
    ),
    wheel(
        "nvidia-nvshmem-cu13==3.4.5",
        "nvidia_nvshmem_cu13-3.4.5-py3-none-manylinux2014_x86_64.manylinux_2_17_x86_64.whl",
        "290f0a2ee94c9f3687a02502f3b9299a9f9fe826e6d0287ee18482e78d495b80",
        61,
    ),
    wheel(
        "nvidia-nvtx==13.0.85",
        "nvidia_nvtx-13.0.85-py3-none-manylinux1_x86_64.manylinux_2_5_x86_64.whl",
        "4936d1d6780fbe68db454f5e72a42ff64d1fd6397df9f363ae786930fd5c1cd4",
        1,
    ),
];

/// Tags of the wheels above, so that any version of Python and pip fetches the same files.
const TAGS: &str = "--python-version 3.11 --implementation cp --abi cp311 --abi none \
     --platform manylinux_2_28_x86_64 --platform manylinux_2_27_x86_64 \
     --platform manylinux_2_25_x86_64 --platform manylinux_2_18_x86_64 \
     --platform manylinux_2_17_x86_64 --platform manylinux2014_x86_64 \
     --platform manylinux_2_12_x86_64 --platform manylinux2010_x86_64 \
     --platform manylinux_2_5_x86_64 --platform manylinux1_x86_64";

const UNPACK: &str = include_str!("unpack.py");

/// Space that downloading and unpacking takes, in MB: unpacked files are at most twice the wheel.
pub fn space<'a>(wheels: impl IntoIterator<Item = &'a Wheel>) -> u64 {
    wheels.into_iter().map(|wheel| 3 * wheel.megabytes).sum()
}

/// Downloads the wheel into `cache`, unless an earlier attempt has left it there, and returns its path.
pub fn download(wheel: &Wheel, cache: &Path) -> Result<PathBuf, Failure> {
    let path = cache.join(wheel.file);
    if path.exists() {
        return Ok(path);
    }
    println!("downloading {} ({} MB)", wheel.requirement, wheel.megabytes);
    let mut pip = Command::new("python3");
    pip.args(["-m", "pip", "download", "--no-deps", "--only-binary=:all:", "--no-cache-dir"])
        .args(["--disable-pip-version-check", "--retries", "3", "--timeout", "30"])
        .args(TAGS.split_whitespace())
        .arg("--dest")
        .arg(cache)
        .arg(wheel.requirement)
        // pip's own temporary copy stays beside the wheels: /tmp may be small, or memory.
        .env("TMPDIR", cache);
    if !stdout().is_terminal() {
        pip.arg("--quiet");
    }
    run(&mut pip, &format!("cannot download {}", wheel.requirement))?;
    if path.exists() {
        return Ok(path);
    }
    Err(Failure::new(
        format!("pip fetched another file for {} than {}", wheel.requirement, wheel.file),
        "a mirror that renames files cannot be used; set LIBTORCH to an unpacked libtorch 2.11.0",
    ))
}

/// Checks the wheel's sha256 and unpacks what is needed of it into `target`.
pub fn unpack(wheel: &Wheel, path: &Path, target: &Path, cuda: bool) -> Result<(), Failure> {
    println!("unpacking {}", wheel.requirement);
    let flavour = if cuda { "cuda" } else { "cpu" };
    let words: [&OsStr; 4] =
        [path.as_os_str(), wheel.sha256.as_ref(), target.as_os_str(), flavour.as_ref()];
    let mut python = Command::new("python3");
    python.args(["-c", UNPACK]).args(words);
    run(&mut python, &format!("cannot use {}", wheel.requirement))
}

/// Removes the wheels and what pip has left.
pub fn forget(cache: &Path) {
    // They only take space: a failure here is not the set-up's.
    let _ = fs::remove_dir_all(cache);
}

const fn wheel(
    requirement: &'static str,
    file: &'static str,
    sha256: &'static str,
    megabytes: u64,
) -> Wheel {
    Wheel { requirement, file, sha256, megabytes }
}

fn run(command: &mut Command, failed: &str) -> Result<(), Failure> {
    let output = command
        .stdin(Stdio::null())
        .stdout(Stdio::inherit())
        .stderr(Stdio::piped())
        .spawn()
        .and_then(std::process::Child::wait_with_output)
        .map_err(|error| Failure::new(format!("{failed}: {error}"), "is python3 installed?"))?;
    if output.status.success() {
        return Ok(());
    }
    let told = String::from_utf8_lossy(&output.stderr);
    Err(Failure::new(format!("{failed}: {}", told.trim()), advice(&told)))
}

/// What to do about what pip or the unpacking said.
fn advice(told: &str) -> &'static str {
    if told.contains("No space left") {
        "free some disk space, then run the same command again; finished downloads are kept"
    } else if told.contains("checksum mismatch") {
        "run the same command again; when it happens twice, something between you and the package \
         index alters files"
    } else if told.contains("No module named pip") {
        "install pip (Debian: apt install python3-pip)"
    } else {
        "check the network and the settings of pip (proxy, index), then run the same command again; \
         finished downloads are kept. Without a network, set LIBTORCH to an unpacked libtorch 2.11.0"
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_wheel_is_the_one_that_its_requirement_names() {
        for wheel in CPU.iter().chain(&CUDA) {
            let stem = wheel.requirement.replace("==", "#").replace('-', "_").replace('#', "-");
            assert!(wheel.file.starts_with(&format!("{stem}-")), "{}", wheel.file);
            assert_eq!(wheel.sha256.len(), 64, "{}", wheel.file);
        }
    }

    #[test]
    fn a_wheel_with_another_checksum_is_refused_and_deleted() {
        if !crate::shell::succeeds(Path::new("."), "python3 --version") {
            println!("skipped: no python3");
            return;
        }
        let folder = std::env::temp_dir().join(format!("vertebra-wheel-{}", std::process::id()));
        fs::create_dir_all(&folder).expect("temporary folder");
        let path = folder.join("damaged.whl");
        fs::write(&path, "not the wheel").expect("write");
        let failure = unpack(&CPU[0], &path, &folder, false).expect_err("refused").to_string();
        assert!(failure.contains("checksum mismatch"), "{failure}");
        assert!(!path.exists());
        fs::remove_dir_all(&folder).expect("clean up");
    }

    #[test]
    fn a_full_disk_gets_its_own_advice() {
        assert!(advice("OSError: [Errno 28] No space left on device").contains("disk space"));
    }
}
