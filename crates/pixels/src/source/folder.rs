//! A folder of image files.

mod walk;

use std::fs;
use std::io::Read;
use std::path::{Path, PathBuf};
use std::sync::{Arc, OnceLock};
use std::time::UNIX_EPOCH;

use super::channels::Channels;
use super::uri::Uri;
use super::{EXTENSIONS, Fingerprint, Source, SourceError, Stored};

pub(super) use walk::{Files, Listing, list, list_ending};

/// Names of folders that hold the parts of a data set, and not classes.
const SPLITS: [&str; 6] = ["train", "training", "val", "valid", "validation", "test"];

/// The label of a folder whose images have none.
const NONE: u32 = u32::MAX;

/// The images of a folder and of its sub-folders, in the order of their paths. Links are followed; names that
/// begin with a dot are passed over.
///
/// Listing a million files takes a few seconds and 40 MB: no file is looked at, only the folders' lists of names.
pub struct Folder {
    root: PathBuf,
    files: Files,
    /// Of each folder of `files`.
    labels: Vec<u32>,
    classes: Vec<String>,
    problems: Vec<SourceError>,
    /// Made when it is first asked for, because it looks at every file.
    fingerprint: OnceLock<String>,
}

/// What is taken for the class of an image in a folder.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum FolderLabels {
    /// When all images lie in sub-folders and there are two or more of these, the first-level folders are the classes,
    /// in the order of their names; otherwise nothing is labelled. First-level folders that are all named like splits
    /// are refused.
    #[default]
    Auto,
    /// The first-level folders, whatever they are; an image at the top has no label.
    Folders,
    /// Nothing.
    None,
}

impl Folder {
    /// Lists a folder. What cannot be looked at on the way is kept in [`Source::problems`]; an error when the
    /// folder itself cannot be read, when it holds no image, or when its sub-folders are splits.
    pub fn open(root: impl Into<PathBuf>) -> Result<Self, SourceError> {
        Self::labelled(root, FolderLabels::default())
    }

    /// Like [`Folder::open`], with another idea of the classes.
    pub fn labelled(root: impl Into<PathBuf>, wanted: FolderLabels) -> Result<Self, SourceError> {
        let root = root.into();
        let Listing { files, others, problems } = list(&root)?;
        if files.len() == 0 {
            return Err(no_image(&root, &others, &problems));
        }
        let (labels, classes) = classes(&root, &files, wanted)?;
        Ok(Self { root, files, labels, classes, problems, fingerprint: OnceLock::new() })
    }

    pub(super) fn of_uri(uri: &mut Uri) -> Result<Arc<dyn Source>, SourceError> {
        let split = uri.text("split");
        let labels = match uri.choice("labels", &["none", "folders"])? {
            Some(0) => FolderLabels::None,
            Some(_) => FolderLabels::Folders,
            None => FolderLabels::Auto,
        };
        let channels = uri.list("channels")?;
        let root = split.map_or_else(|| uri.path.clone(), |split| uri.path.join(split));
        let folder = Self::labelled(root, labels)?;
        match channels {
            Some(suffixes) => Ok(Arc::new(Channels::of_folder(folder, &suffixes)?)),
            None => Ok(Arc::new(folder)),
        }
    }

    /// The path of a sample's file.
    pub fn path(&self, index: usize) -> PathBuf {
        self.root.join(self.files.path(index))
    }

    pub(super) fn root(&self) -> &Path {
        &self.root
    }

    /// What was found unusable, to be listed elsewhere.
    pub(super) fn take_problems(&mut self) -> Vec<SourceError> {
        std::mem::take(&mut self.problems)
    }

    pub(super) fn files(&self) -> &Files {
        &self.files
    }
}

impl Source for Folder {
    fn len(&self) -> usize {
        self.files.len()
    }

    fn fetch(&self, index: usize, buffer: &mut Vec<u8>) -> Result<Stored, SourceError> {
        read_into(&self.path(index), buffer)?;
        Ok(Stored::File)
    }

    fn label(&self, index: usize) -> Option<u32> {
        self.labels.get(self.files.folder(index)).copied().filter(|label| *label != NONE)
    }

    fn name(&self, index: usize) -> String {
        self.files.path(index).to_string_lossy().into_owned()
    }

    fn classes(&self) -> &[String] {
        &self.classes
    }

    fn fingerprint(&self) -> String {
        let text = self.fingerprint.get_or_init(|| {
            let mut fingerprint = Fingerprint::new();
            for index in 0..self.files.len() {
                let path = self.files.path(index);
                fingerprint.bytes(path.as_os_str().as_encoded_bytes());
                fingerprint.file_at(&self.root.join(path));
            }
            format!("folder {}", fingerprint.text())
        });
        text.clone()
    }

    fn problems(&self) -> &[SourceError] {
        &self.problems
    }
}

/// The bytes of a file, in memory that is used again.
pub(super) fn read_into(path: &Path, buffer: &mut Vec<u8>) -> Result<(), SourceError> {
    buffer.clear();
    let read = fs::File::open(path).and_then(|mut file| file.read_to_end(buffer));
    read.map(drop).map_err(|error| unreadable(path, &error))
}

/// The label of each folder, and the names of the classes.
fn classes(
    root: &Path,
    files: &Files,
    wanted: FolderLabels,
) -> Result<(Vec<u32>, Vec<String>), SourceError> {
    let firsts: Vec<Option<&[u8]>> = files.folders().map(first_folder).collect();
    let mut names: Vec<&[u8]> = firsts.iter().copied().flatten().collect();
    names.sort_unstable();
    names.dedup();
    let labelled = match wanted {
        FolderLabels::None => false,
        FolderLabels::Folders => true,
        FolderLabels::Auto => names.len() > 1 && firsts.iter().all(Option::is_some),
    };
    if !labelled {
        return Ok((Vec::new(), Vec::new()));
    }
    let text = |name: &[u8]| String::from_utf8_lossy(name).into_owned();
    let texts: Vec<String> = names.iter().map(|name| text(name)).collect();
    if wanted == FolderLabels::Auto {
        refuse_splits(root, &texts)?;
    }
    let label = |first: Option<&[u8]>| {
        first.and_then(|name| names.binary_search(&name).ok()).map_or(NONE, |at| at as u32)
    };
    Ok((firsts.iter().copied().map(label).collect(), texts))
}

/// The first-level folder of a relative path of a folder, `None` for the top itself.
fn first_folder(folder: &[u8]) -> Option<&[u8]> {
    folder.split(|byte| *byte == b'/').next().filter(|first| !first.is_empty())
}

fn refuse_splits(root: &Path, names: &[String]) -> Result<(), SourceError> {
    let is_split = |name: &String| SPLITS.iter().any(|split| name.eq_ignore_ascii_case(split));
    if !names.iter().all(is_split) {
        return Ok(());
    }
    let problem = format!("holds the splits {}, not classes", names.join(", "));
    let example = root.join(&names[0]);
    let hint = format!(
        "choose one, as in {} or ?split={}; ?labels=none takes all of them, without labels",
        example.display(),
        names[0]
    );
    Err(SourceError::new(root.to_string_lossy(), problem).hint(hint))
}

fn no_image(
    root: &Path,
    others: &std::collections::BTreeMap<String, usize>,
    problems: &[SourceError],
) -> SourceError {
    let mut kinds: Vec<(&String, &usize)> = others.iter().collect();
    kinds.sort_by_key(|(_, count)| std::cmp::Reverse(**count));
    let shown: Vec<String> =
        kinds.iter().take(3).map(|(name, count)| format!("{name} {count}")).collect();
    let mut parts = vec![format!("no image found: {} files", others.values().sum::<usize>())];
    if !shown.is_empty() {
        parts.push(format!("of which {}", shown.join(", ")));
    }
    if let Some(first) = problems.first() {
        parts.push(format!("and {} could not be looked at ({first})", problems.len()));
    }
    let hint = if others.contains_key(".tar") {
        format!("for tar shards write tar:{}", root.display())
    } else {
        format!("files that end in {} are images", EXTENSIONS.join(", "))
    };
    SourceError::new(root.to_string_lossy(), parts.join(", ")).hint(hint)
}

pub(super) fn unreadable(path: &Path, error: &std::io::Error) -> SourceError {
    SourceError::new(path.to_string_lossy(), error.to_string())
}

impl Fingerprint {
    /// Size and time of a file.
    pub(super) fn file(&mut self, about: &fs::Metadata) {
        self.number(about.len());
        let time = about.modified().ok().and_then(|time| time.duration_since(UNIX_EPOCH).ok());
        self.number(time.map_or(0, |time| time.as_nanos() as u64));
    }

    /// Size and time of the file at a path; a file that cannot be looked at counts as empty.
    pub(super) fn file_at(&mut self, path: &Path) {
        match fs::metadata(path) {
            Ok(about) => self.file(&about),
            Err(_) => self.number(0),
        }
    }
}

#[cfg(test)]
mod tests;
