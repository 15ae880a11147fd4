//! Tar files under construction.

use std::fs::{self, File};
use std::io::{self, BufWriter, Write};
use std::path::{Path, PathBuf};

use crate::source::{BLOCK, CLASSES, SourceError, write_index};

/// More data than a size field of eleven octal digits can say.
const MOST_BYTES: usize = 1 << 33;

/// The shards of a pack, under temporary names until all are complete. Dropped unfinished, they are removed.
pub(super) struct Shards {
    out: PathBuf,
    limit: Option<u64>,
    /// What each shard begins with.
    opening: Vec<u8>,
    current: Option<Open>,
    /// Complete ones: the temporary name and the real one.
    complete: Vec<[PathBuf; 2]>,
    bytes: u64,
}

struct Open {
    file: BufWriter<File>,
    /// The temporary name and the real one.
    names: [PathBuf; 2],
    bytes: u64,
    samples: usize,
}

impl Shards {
    /// An error when a file is in the way.
    pub(super) fn create(
        out: &Path,
        limit: Option<u64>,
        classes: &[String],
    ) -> Result<Self, SourceError> {
        let mut opening = Vec::new();
        if !classes.is_empty() {
            let names = serde_json::to_vec(classes).expect("texts are always JSON");
            entry(&mut opening, CLASSES, &names).map_err(|error| failed(out, &error))?;
        }
        if let Some(folder) = out.parent().filter(|folder| !folder.as_os_str().is_empty()) {
            fs::create_dir_all(folder).map_err(|error| failed(folder, &error))?;
        }
        let (current, complete) = (None, Vec::new());
        let shards = Self { out: out.to_owned(), limit, opening, current, complete, bytes: 0 };
        free(&shards.name(0))?;
        Ok(shards)
    }

    /// Adds a sample: its entries, named by its number.
    pub(super) fn add(
        &mut self,
        index: usize,
        entries: &[(&'static str, Vec<u8>)],
    ) -> Result<(), SourceError> {
        let mut bytes = Vec::new();
        for (extension, data) in entries {
            entry(&mut bytes, &format!("{index:08}.{extension}"), data)
                .map_err(|error| failed(&self.out, &error))?;
        }
        let full = |open: &Open| {
            let size = open.bytes + bytes.len() as u64 + 2 * BLOCK;
            open.samples > 0 && self.limit.is_some_and(|limit| size > limit)
        };
        if self.current.as_ref().is_some_and(full) {
            self.close()?;
        }
        let mut open = match self.current.take() {
            Some(open) => open,
            None => self.begin()?,
        };
        let written = open.file.write_all(&bytes);
        open.bytes += bytes.len() as u64;
        open.samples += 1;
        let path = open.names[0].clone();
        self.current = Some(open);
        written.map_err(|error| failed(&path, &error))
    }

    /// The shards under their names with their indices beside them, and their size in all.
    pub(super) fn finish(mut self) -> Result<(Vec<PathBuf>, u64), SourceError> {
        self.close()?;
        let mut paths = Vec::new();
        for [partial, path] in &self.complete {
            let named = fs::rename(partial, path);
            paths.push(path.clone());
            if let Err(error) = named.and_then(|()| write_index(path)) {
                // Some shards of many would look like a smaller data set. The others go with `self`.
                for path in paths {
                    drop(fs::remove_file(path));
                }
                return Err(failed(path, &error));
            }
        }
        self.complete.clear();
        if let Some(folder) = self.out.parent().and_then(|folder| File::open(folder).ok()) {
            // Makes the new names last; some file systems cannot, and need not.
            drop(folder.sync_all());
        }
        Ok((paths, self.bytes))
    }

    fn begin(&self) -> Result<Open, SourceError> {
        let path = self.name(self.complete.len());
        free(&path)?;
        let mut partial = path.clone().into_os_string();
        partial.push(".partial");
        let names = [PathBuf::from(partial), path];
        let error = |error: io::Error| failed(&names[0], &error);
        let mut file = BufWriter::new(File::create(&names[0]).map_err(error)?);
        file.write_all(&self.opening).map_err(error)?;
        Ok(Open { file, names, bytes: self.opening.len() as u64, samples: 0 })
    }

    fn close(&mut self) -> Result<(), SourceError> {
        let Some(Open { mut file, names, bytes, .. }) = self.current.take() else { return Ok(()) };
        let end = [0; 2 * BLOCK as usize];
        let written = file.write_all(&end).and_then(|()| file.flush());
        let written = written.and_then(|()| file.get_ref().sync_all());
        let result = written.map_err(|error| failed(&names[0], &error));
        self.complete.push(names);
        self.bytes += bytes + 2 * BLOCK;
        result
    }

    fn name(&self, number: usize) -> PathBuf {
        if self.limit.is_none() {
            return self.out.clone();
        }
        let stem = match self.out.extension() {
            Some(end) if end.eq_ignore_ascii_case("tar") => self.out.file_stem(),
            _ => self.out.file_name(),
        };
        let mut name = stem.unwrap_or_default().to_owned();
        name.push(format!("-{number:06}.tar"));
        self.out.with_file_name(name)
    }
}

impl Drop for Shards {
    fn drop(&mut self) {
        let open = self.current.take().map(|open| open.names);
        for [partial, _] in self.complete.drain(..).chain(open) {
            // What remains is named `.partial` and harms nothing.
            drop(fs::remove_file(partial));
        }
    }
}

/// Refuses a name that is taken.
fn free(path: &Path) -> Result<(), SourceError> {
    if !path.exists() {
        return Ok(());
    }
    let problem = "this file is already there, and files are not overwritten";
    Err(SourceError::new(path.to_string_lossy(), problem)
        .hint("remove it with its like, or choose another name"))
}

/// A header and its data, padded to whole blocks. Owner, time and rights are the same everywhere.
fn entry(out: &mut Vec<u8>, name: &str, data: &[u8]) -> io::Result<()> {
    if data.len() >= MOST_BYTES || name.len() > 100 {
        return Err(io::Error::other(format!("{name} has {} bytes, too many", data.len())));
    }
    let mut header = [0; BLOCK as usize];
    let mut put =
        |at: usize, text: &str| header[at..at + text.len()].copy_from_slice(text.as_bytes());
    put(0, name);
    put(100, "0000644");
    put(108, "0000000");
    put(116, "0000000");
    put(124, &format!("{:011o}", data.len()));
    put(136, "00000000000");
    put(148, "        ");
    put(156, "0");
    put(257, "ustar\x0000");
    let sum: u32 = header.iter().map(|byte| u32::from(*byte)).sum();
    header[148..156].copy_from_slice(format!("{sum:06o}\0 ").as_bytes());
    out.extend_from_slice(&header);
    out.extend_from_slice(data);
    out.resize(out.len().next_multiple_of(BLOCK as usize), 0);
    Ok(())
}

fn failed(path: &Path, error: &io::Error) -> SourceError {
    SourceError::new(path.to_string_lossy(), format!("cannot be written: {error}"))
}
