//! Puts libtorch 2.11 at `.libtorch/torch`, where cargo and the programs it builds find it.

use std::{
    env, fs, io,
    os::unix::fs::symlink,
    path::{Path, PathBuf},
    process::{Command, Stdio},
};

use crate::{failure::Failure, shell, wheels};

/// The series that the bindings are made for.
const SERIES: &str = "2.11.";
const VERSION: &str = "2.11.0";

/// Prints the folder of Python's torch without importing it.
const FIND_TORCH: &str = "import importlib.util as u; s = u.find_spec('torch'); \
     print(s.submodule_search_locations[0] if s and s.submodule_search_locations else '')";

/// Makes sure that libtorch is there: from LIBTORCH, from an installed PyTorch, or from the package index.
/// At once when it is there.
pub fn setup(root: &Path) -> Result<(), Failure> {
    let home = root.join(".libtorch");
    let torch = home.join("torch");
    require_compiler(root)?;
    if let Some(given) = given_by_user(&torch) {
        return use_given(&given, &torch);
    }
    let cuda = has_nvidia_driver(root);
    if is_complete(&torch, cuda) {
        return Ok(());
    }
    if let Some(found) = python_torch() {
        println!("using the PyTorch at {}", found.display());
        return link(&found, &torch);
    }
    fetch(root, &home, cuda)
}

/// LIBTORCH, unless it is the value that `.cargo/config.toml` gives.
fn given_by_user(torch: &Path) -> Option<PathBuf> {
    let given = PathBuf::from(env::var_os("LIBTORCH")?);
    (!given.as_os_str().is_empty() && given != torch).then_some(given)
}

fn use_given(given: &Path, torch: &Path) -> Result<(), Failure> {
    let version = version_of(given);
    if !is_libtorch(given) || version.as_ref().is_some_and(|found| !found.starts_with(SERIES)) {
        return Err(Failure::new(
            format!(
                "LIBTORCH={} holds {}, but libtorch {VERSION} is needed",
                given.display(),
                version.map_or("no libtorch of known version".into(), |v| format!("libtorch {v}")),
            ),
            "name a folder with include/ and lib/libtorch_cpu.so of that version, or unset LIBTORCH",
        ));
    }
    // A later build without the variable finds the same library, unless there is already one.
    if is_libtorch(torch) && !torch.is_symlink() { Ok(()) } else { link(given, torch) }
}

/// Whether nothing is left to do. A linked PyTorch is taken as it is.
fn is_complete(torch: &Path, cuda: bool) -> bool {
    let version_fits = version_of(torch).is_some_and(|found| found.starts_with(SERIES));
    let has_cuda = torch.join("lib/libtorch_cuda.so").exists();
    is_libtorch(torch) && version_fits && (!cuda || has_cuda || torch.is_symlink())
}

fn is_libtorch(folder: &Path) -> bool {
    folder.join("lib/libtorch_cpu.so").exists() && folder.join("include/torch").is_dir()
}

/// The version that a libtorch or a Python package says it is.
fn version_of(torch: &Path) -> Option<String> {
    if let Ok(text) = fs::read_to_string(torch.join("build-version")) {
        return Some(text.trim().to_string());
    }
    python_version(&fs::read_to_string(torch.join("version.py")).ok()?)
}

/// `2.11.0+cpu` in `__version__ = '2.11.0+cpu'`.
fn python_version(source: &str) -> Option<String> {
    let line = source.lines().find(|line| line.starts_with("__version__"))?;
    let quoted = line.split(['\'', '"']).nth(1)?;
    Some(quoted.to_string())
}

fn python_torch() -> Option<PathBuf> {
    let output = Command::new("python3")
        .args(["-c", FIND_TORCH])
        .stdin(Stdio::null())
        .stderr(Stdio::null())
        .output()
        .ok()?;
    let found = PathBuf::from(String::from_utf8(output.stdout).ok()?.trim());
    let fits = version_of(&found).is_some_and(|version| version.starts_with(SERIES));
    (fits && is_libtorch(&found)).then_some(found)
}

fn has_nvidia_driver(root: &Path) -> bool {
    Path::new("/proc/driver/nvidia/version").exists() || shell::succeeds(root, "nvidia-smi -L")
}

fn require_compiler(root: &Path) -> Result<(), Failure> {
    if env::var_os("CXX").is_some() || shell::succeeds(root, "c++ --version") {
        return Ok(());
    }
    let hint = "install one (Debian: apt install g++), or name yours in the variable CXX";
    Err(Failure::new("no C++ compiler found: `c++ --version` does not run", hint))
}

fn require_pip(root: &Path) -> Result<(), Failure> {
    if !shell::succeeds(root, "python3 --version") {
        let hint = "install it (Debian: apt install python3 python3-pip), or set LIBTORCH to an \
                    unpacked libtorch 2.11.0";
        return Err(Failure::new("no python3 found, and libtorch is fetched with pip", hint));
    }
    if !shell::succeeds(root, "python3 -m pip --version") {
        let hint = "install it (Debian: apt install python3-pip), or set LIBTORCH to an unpacked \
                    libtorch 2.11.0";
        return Err(Failure::new("python3 has no pip, and libtorch is fetched with it", hint));
    }
    Ok(())
}

/// Makes `torch` a link to `found`.
fn link(found: &Path, torch: &Path) -> Result<(), Failure> {
    let found = fs::canonicalize(found).map_err(|error| file_failure(found, &error))?;
    if fs::read_link(torch).is_ok_and(|there| there == found) {
        return Ok(());
    }
    let home = torch.parent().unwrap_or(torch);
    clear(torch)
        .and_then(|()| fs::create_dir_all(home))
        .and_then(|()| symlink(&found, torch))
        .map_err(|error| file_failure(torch, &error))
}

/// Downloads, checks and unpacks into `.libtorch.tmp`, which becomes `.libtorch` only when it is whole.
fn fetch(root: &Path, home: &Path, cuda: bool) -> Result<(), Failure> {
    if !cfg!(all(target_os = "linux", target_arch = "x86_64")) {
        let hint =
            "install PyTorch 2.11 for python3, or set LIBTORCH to an unpacked libtorch 2.11.0";
        return Err(Failure::new("libtorch is fetched only for Linux on x86-64", hint));
    }
    require_pip(root)?;
    let wanted: Vec<&wheels::Wheel> =
        wheels::CPU.iter().chain(wheels::CUDA.iter().take_while(|_| cuda)).collect();
    let why = if cuda { "an NVIDIA driver is here" } else { "no NVIDIA driver is here" };
    println!("setting up libtorch {VERSION} in {} ({why})", home.display());
    require_space(root, wheels::space(wanted.iter().copied()))?;

    let cache = root.join("target/wheels");
    let temporary = root.join(".libtorch.tmp");
    fs::create_dir_all(&cache).map_err(|error| file_failure(&cache, &error))?;
    // Two set-ups at once would unpack into one another.
    let lock =
        fs::File::create(cache.join("lock")).map_err(|error| file_failure(&cache, &error))?;
    lock.lock().map_err(|error| file_failure(&cache, &error))?;
    if is_complete(&home.join("torch"), cuda) {
        return Ok(());
    }
    clear(&temporary).map_err(|error| file_failure(&temporary, &error))?;
    for wheel in wanted {
        let path = wheels::download(wheel, &cache)?;
        wheels::unpack(wheel, &path, &temporary, cuda)?;
    }
    let torch = temporary.join("torch");
    fs::write(torch.join("build-version"), format!("{VERSION}\n"))
        .and_then(|()| clear(home))
        .and_then(|()| fs::rename(&temporary, home))
        .map_err(|error| file_failure(home, &error))?;
    wheels::forget(&cache);
    println!("libtorch {VERSION} is ready");
    Ok(())
}

/// Refuses to begin what the disk cannot hold. `megabytes` are what is needed.
fn require_space(root: &Path, megabytes: u64) -> Result<(), Failure> {
    let Ok(output) = shell::command(root, "df -Pm .").output() else { return Ok(()) };
    match free_megabytes(&String::from_utf8_lossy(&output.stdout)) {
        Some(free) if free < megabytes => Err(Failure::new(
            format!("{megabytes} MB of disk are needed here, {free} MB are free"),
            "free some, or set LIBTORCH to a libtorch 2.11.0 that is on another disk",
        )),
        _ => Ok(()),
    }
}

/// The fourth column of the last line of `df -Pm`.
fn free_megabytes(table: &str) -> Option<u64> {
    table.lines().last()?.split_whitespace().nth(3)?.parse().ok()
}

/// Removes a folder, a file or a link, whichever is there.
fn clear(path: &Path) -> io::Result<()> {
    match fs::symlink_metadata(path) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(()),
        Err(error) => Err(error),
        Ok(what) if what.is_dir() => fs::remove_dir_all(path),
        Ok(_) => fs::remove_file(path),
    }
}

fn file_failure(path: &Path, error: &io::Error) -> Failure {
    let hint = if error.kind() == io::ErrorKind::StorageFull {
        "free some disk space, then run the same command again"
    } else {
        "is the folder writable? remove .libtorch and .libtorch.tmp and run the same command again"
    };
    Failure::new(format!("{}: {error}", path.display()), hint)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_version_of_a_python_package_is_read_without_importing_it() {
        let source = "from typing import Optional\n\n__version__ = '2.11.0+cpu'\ndebug = False\n";
        assert_eq!(python_version(source).as_deref(), Some("2.11.0+cpu"));
    }

    #[test]
    fn free_space_is_the_fourth_column() {
        let table = "Filesystem 1048576-blocks Used Available Capacity Mounted on\n\
                     /dev/vda 257000 22000 69000 25% /\n";
        assert_eq!(free_megabytes(table), Some(69000));
    }

    #[test]
    fn a_folder_without_libraries_is_no_libtorch() {
        assert!(!is_complete(&env::temp_dir(), false));
    }
}
