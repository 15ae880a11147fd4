//! Parquet files of images, as Hugging Face publishes data sets.

mod cache;
mod columns;
mod piecewise;

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::PathBuf;
use std::sync::Arc;

use ::parquet::errors::Result as ParquetResult;
use ::parquet::file::reader::{FileReader, SerializedFileReader};

use cache::{Cache, Group};
use columns::{Columns, Wanted};
use piecewise::Piecewise;

use super::labels::{Labels, Written};
use super::shards;
use super::tar::Handles;
use super::uri::Uri;
use super::{Fingerprint, Source, SourceError, Stored, Truth};

/// The images of parquet files, in the order of the files and of their rows.
///
/// An image is a column of bytes, or of a struct with `bytes`; a label a column of whole numbers, whose names the
/// metadata of Hugging Face may hold, or of names. Columns are found by their names (`image`; `label`, `fine_label`,
/// `class`; `text`, `caption`) unless the URI names them.
///
/// A parquet file is made to be read in large pieces: to get at one image, the images of its row group (often 100 or
/// 1000) are read and unpacked. The groups used last are kept, up to 512 MB, so reading in order is as fast as it can
/// be, and reading at random is fast for what fits; for more, pack the data set into tar shards once.
pub struct Parquet {
    files: Vec<File>,
    columns: Columns,
    groups: Vec<GroupAt>,
    count: usize,
    labels: Labels,
    cache: Cache,
    problems: Vec<SourceError>,
    fingerprint: String,
}

struct File {
    path: PathBuf,
    reader: Box<dyn FileReader>,
}

/// A row group among all.
struct GroupAt {
    file: usize,
    /// Its number in the file, and of its first row there.
    number: usize,
    row: usize,
    /// The number of its first sample in the source.
    first: usize,
}

impl Parquet {
    pub(super) fn of_uri(uri: &mut Uri) -> Result<Self, SourceError> {
        let split = uri.text("split");
        let wanted = Wanted {
            image: uri.text("image"),
            label: uri.text("label"),
            caption: uri.text("caption"),
        };
        Self::open(&shards::expand(&uri.path, "parquet", split.as_deref())?, &wanted)
    }

    /// The columns of all files are those of the first. A file that cannot be read, or has other columns, is a problem;
    /// an error when none can.
    fn open(paths: &[PathBuf], wanted: &Wanted) -> Result<Self, SourceError> {
        let handles = Arc::new(Handles::new(paths));
        let mut listing = Listing::default();
        for (number, path) in paths.iter().enumerate() {
            listing.fingerprint.bytes(path.as_os_str().as_encoded_bytes());
            listing.fingerprint.file_at(path);
            let added = Piecewise::open(&handles, number)
                .map_err(|error| error.to_string())
                .and_then(|file| {
                    let size = file.size();
                    let reader = guarded(|| SerializedFileReader::new(file))?;
                    listing.add(path.clone(), Box::new(reader), size, wanted)
                });
            if let Err(problem) = added {
                listing.problems.push(SourceError::new(path.to_string_lossy(), problem));
            }
        }
        listing.finish()
    }

    /// The row group of a sample, and its row there.
    fn place(&self, index: usize) -> (&GroupAt, usize) {
        let group = &self.groups[self.groups.partition_point(|group| group.first <= index) - 1];
        (group, index - group.first)
    }

    fn group(&self, index: usize) -> Result<Arc<Group>, SourceError> {
        let (at, _) = self.place(index);
        let file = &self.files[at.file];
        let load = || {
            guarded(|| {
                let reader = file.reader.get_row_group(at.number)?;
                let images = self.columns.images(&*reader)?;
                Ok(Group::new(images, self.columns.captions(&*reader)?))
            })
        };
        self.cache.get(at.first, load).map_err(|problem| {
            let problem = format!("row group {}: {problem}", at.number);
            SourceError::new(file.path.to_string_lossy(), problem)
        })
    }
}

impl Source for Parquet {
    fn len(&self) -> usize {
        self.count
    }

    fn fetch(&self, index: usize, buffer: &mut Vec<u8>) -> Result<Stored, SourceError> {
        let group = self.group(index)?;
        let (_, row) = self.place(index);
        let bytes = group.image(row).ok_or_else(|| {
            SourceError::new(self.name(index), "this row holds no bytes of an image")
        })?;
        buffer.clear();
        buffer.extend_from_slice(bytes);
        Ok(Stored::File)
    }

    fn truth(&self, index: usize) -> Result<Truth, SourceError> {
        if self.columns.caption.is_none() {
            return Ok(Truth::default());
        }
        let (_, row) = self.place(index);
        let captions = self.group(index)?.caption(row).into_iter().collect();
        Ok(Truth { captions, ..Truth::default() })
    }

    fn label(&self, index: usize) -> Option<u32> {
        self.labels.get(index)
    }

    fn name(&self, index: usize) -> String {
        let (group, row) = self.place(index);
        let file = self.files[group.file].path.file_stem().unwrap_or_default().to_string_lossy();
        format!("{file}#{}", group.row + row)
    }

    fn classes(&self) -> &[String] {
        self.labels.classes()
    }

    fn fingerprint(&self) -> String {
        self.fingerprint.clone()
    }

    fn problems(&self) -> &[SourceError] {
        &self.problems
    }
}

/// Files while they are listed.
#[derive(Default)]
struct Listing {
    files: Vec<File>,
    columns: Option<Columns>,
    groups: Vec<GroupAt>,
    count: usize,
    labels: Written,
    problems: Vec<SourceError>,
    fingerprint: Fingerprint,
}

impl Listing {
    /// Adds a file of so many bytes.
    fn add(
        &mut self,
        path: PathBuf,
        reader: Box<dyn FileReader>,
        size: u64,
        wanted: &Wanted,
    ) -> Result<(), String> {
        let columns = guarded(|| Ok(Columns::of(reader.metadata(), wanted)))??;
        if self.columns.as_ref().is_some_and(|known| !known.same(&columns)) {
            return Err("the columns are not those of the first file".into());
        }
        let groups = reader.metadata().row_groups();
        let claimed = groups
            .iter()
            .try_fold(0u64, |sum, group| sum.checked_add(u64::try_from(group.num_rows()).ok()?));
        // A row takes a bit or more, for it may be nothing.
        let claimed = claimed.filter(|rows| *rows <= size.saturating_mul(8));
        claimed.ok_or_else(|| format!("more rows are claimed than {size} bytes can hold"))?;
        let mut labels = Vec::new();
        let mut row = 0;
        let mut added = Vec::new();
        for (number, group) in groups.iter().enumerate() {
            let rows = group.num_rows() as usize;
            labels.extend(guarded(|| {
                let group = reader.get_row_group(number)?;
                columns.labels(&*group, rows)
            })?);
            let first = self.count + row;
            added.push(GroupAt { file: self.files.len(), number, row, first });
            row += rows;
        }
        for label in labels {
            self.labels.push(label.as_deref());
        }
        self.count += row;
        // An empty group has no sample of its own to be found by.
        self.groups.extend(added);
        self.columns.get_or_insert(columns);
        self.files.push(File { path, reader });
        Ok(())
    }

    fn finish(self) -> Result<Parquet, SourceError> {
        let Self { files, columns, groups, count, labels, problems, fingerprint } = self;
        let Some(columns) = columns.filter(|_| count > 0) else {
            let none = || SourceError::new("parquet:", "these files hold no row");
            return Err(problems.into_iter().next().unwrap_or_else(none));
        };
        let labels = labels.finish(&columns.classes);
        let fingerprint = format!("parquet {} {}", columns.text(), fingerprint.text());
        let cache = Cache::default();
        Ok(Parquet { files, columns, groups, count, labels, cache, problems, fingerprint })
    }
}

/// What the library says, as text; it is known to panic on some damaged files.
fn guarded<T>(work: impl FnOnce() -> ParquetResult<T>) -> Result<T, String> {
    catch_unwind(AssertUnwindSafe(work))
        .unwrap_or_else(|_| Err(::parquet::errors::ParquetError::General("damaged".into())))
        .map_err(|error| error.to_string())
}

/// For fuzzing: opens the bytes as a file and reads all rows.
pub(super) fn fuzz(bytes: &[u8]) {
    let wanted = Wanted { image: None, label: None, caption: None };
    let content = bytes::Bytes::copy_from_slice(bytes);
    let Ok(reader) = guarded(|| SerializedFileReader::new(content)) else { return };
    let mut listing = Listing::default();
    let size = bytes.len() as u64;
    drop(listing.add(PathBuf::from("x"), Box::new(reader), size, &wanted));
    let Ok(source) = listing.finish() else { return };
    let mut buffer = Vec::new();
    for index in 0..source.len().min(1000) {
        drop(source.fetch(index, &mut buffer));
        drop(source.truth(index));
    }
}

#[cfg(test)]
mod tests;
