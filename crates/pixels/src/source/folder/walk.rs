//! Listing the image files below a folder.

use std::collections::BTreeMap;
use std::ffi::{OsStr, OsString};
use std::fs::{self, DirEntry};
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};

use super::super::names::Names;
use super::super::{SourceError, image_extension};
use super::unreadable;

/// What is below a folder.
#[derive(Default)]
pub(in crate::source) struct Listing {
    pub(in crate::source) files: Files,
    /// How many files there are of each extension that is no image's.
    pub(in crate::source) others: BTreeMap<String, usize>,
    pub(in crate::source) problems: Vec<SourceError>,
}

/// Paths relative to a root, the folder of each kept once.
#[derive(Default)]
pub(in crate::source) struct Files {
    folders: Names,
    names: Names,
    /// Of each name, which of the folders.
    places: Vec<u32>,
}

/// Lists the files that are named like images, folders and files in the order of their names. An error when the root
/// itself cannot be read.
pub(in crate::source) fn list(root: &Path) -> Result<Listing, SourceError> {
    walk(root, &image_extension)
}

/// The same for files with other extensions.
pub(in crate::source) fn list_ending(
    root: &Path,
    extensions: &[&str],
) -> Result<Listing, SourceError> {
    walk(root, &|extension| extensions.iter().any(|known| known.eq_ignore_ascii_case(extension)))
}

fn walk(root: &Path, wanted: &dyn Fn(&str) -> bool) -> Result<Listing, SourceError> {
    let top = fs::canonicalize(root).map_err(|error| {
        unreadable(root, &error)
            .hint("name the folder that holds the images (`--data FOLDER` when training)")
    })?;
    let mut walk = Walk { root, wanted, listing: Listing::default(), above: vec![top] };
    if root.is_file() {
        let problem = "a folder is wanted, this is a file";
        return Err(SourceError::new(root.to_string_lossy(), problem).hint(
            "say what it is, as in tar:FILE, csv:FILE, jsonl:FILE, coco:FILE or parquet:FILE",
        ));
    }
    let entries = walk.entries(root)?;
    walk.folder(Path::new(""), entries);
    Ok(walk.listing)
}

impl Files {
    pub(in crate::source) fn len(&self) -> usize {
        self.names.len()
    }

    /// Relative to the root.
    pub(in crate::source) fn path(&self, index: usize) -> PathBuf {
        let folder = OsStr::from_bytes(self.folders.get(self.folder(index)));
        Path::new(folder).join(OsStr::from_bytes(self.name(index)))
    }

    /// The last part of the path.
    pub(in crate::source) fn name(&self, index: usize) -> &[u8] {
        self.names.get(index)
    }

    /// The number of the folder that holds the file.
    pub(in crate::source) fn folder(&self, index: usize) -> usize {
        self.places[index] as usize
    }

    /// The folders that hold files, relative to the root, by their numbers; the root itself is empty.
    pub(in crate::source) fn folders(&self) -> impl Iterator<Item = &[u8]> {
        self.folders.iter()
    }
}

struct Walk<'a> {
    root: &'a Path,
    /// Whether files with an extension are listed.
    wanted: &'a dyn Fn(&str) -> bool,
    listing: Listing,
    /// The real paths of the folders that lead here: a link to one of them is a loop.
    above: Vec<PathBuf>,
}

/// An entry of a folder, as its list of names has it.
struct Found {
    name: OsString,
    kind: Kind,
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Kind {
    Folder,
    File,
    /// A link, or what the file system does not say: it has to be looked at.
    Unknown,
    /// A device, a socket, a pipe.
    Other,
}

impl Kind {
    fn of(entry: &DirEntry) -> Self {
        match entry.file_type() {
            Ok(kind) if kind.is_file() => Self::File,
            Ok(kind) if kind.is_dir() => Self::Folder,
            Ok(kind) if kind.is_symlink() => Self::Unknown,
            Ok(_) => Self::Other,
            Err(_) => Self::Unknown,
        }
    }
}

impl Walk<'_> {
    /// The entries of a folder in the order of their names, but for those that begin with a dot.
    fn entries(&mut self, folder: &Path) -> Result<Vec<Found>, SourceError> {
        let listing = fs::read_dir(folder).map_err(|error| unreadable(folder, &error))?;
        let mut entries = Vec::new();
        for entry in listing {
            match entry {
                Ok(entry) => {
                    let found = Found { name: entry.file_name(), kind: Kind::of(&entry) };
                    if !found.name.as_bytes().starts_with(b".") {
                        entries.push(found);
                    }
                }
                Err(error) => self.listing.problems.push(unreadable(folder, &error)),
            }
        }
        entries.sort_unstable_by(|a, b| a.name.cmp(&b.name));
        Ok(entries)
    }

    /// Takes the entries of a folder, whose path is relative to the root.
    fn folder(&mut self, folder: &Path, entries: Vec<Found>) {
        // The folder's number, once it has a file.
        let mut number = None;
        for Found { name, kind } in entries {
            if let Err(problem) = self.entry(folder, &name, kind, &mut number) {
                self.listing.problems.push(problem);
            }
        }
    }

    fn entry(
        &mut self,
        folder: &Path,
        name: &OsStr,
        kind: Kind,
        number: &mut Option<u32>,
    ) -> Result<(), SourceError> {
        let path = || self.root.join(folder).join(name);
        let linked = kind == Kind::Unknown;
        let kind = if linked {
            let about = fs::metadata(path()).map_err(|error| unreadable(&path(), &error))?;
            match (about.is_dir(), about.is_file()) {
                (true, _) => Kind::Folder,
                (_, true) => Kind::File,
                _ => Kind::Other,
            }
        } else {
            kind
        };
        if kind == Kind::Folder {
            let path = path();
            return self.enter(&path, &folder.join(name), name, linked);
        }
        let extension = Path::new(name).extension();
        if kind == Kind::File && extension.and_then(OsStr::to_str).is_some_and(self.wanted) {
            let Listing { files, .. } = &mut self.listing;
            let number = *number.get_or_insert_with(|| {
                files.folders.push(folder.as_os_str().as_bytes());
                files.folders.len() as u32 - 1
            });
            files.names.push(name.as_bytes());
            files.places.push(number);
        } else {
            let extension = extension.map_or_else(
                || "no extension".to_owned(),
                |extension| format!(".{}", extension.to_string_lossy().to_lowercase()),
            );
            *self.listing.others.entry(extension).or_default() += 1;
        }
        Ok(())
    }

    fn enter(
        &mut self,
        path: &Path,
        relative: &Path,
        name: &OsStr,
        linked: bool,
    ) -> Result<(), SourceError> {
        let real = match self.above.last() {
            Some(parent) if !linked => parent.join(name),
            _ => fs::canonicalize(path).map_err(|error| unreadable(path, &error))?,
        };
        if self.above.contains(&real) {
            let problem = format!("a link leads back to {}", real.display());
            return Err(SourceError::new(path.to_string_lossy(), problem));
        }
        let entries = self.entries(path)?;
        self.above.push(real);
        self.folder(relative, entries);
        self.above.pop();
        Ok(())
    }
}
