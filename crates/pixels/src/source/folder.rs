//! A folder of image files.

use std::collections::BTreeMap;
use std::ffi::OsStr;
use std::fs;
use std::io::Read;
use std::path::{Path, PathBuf};
use std::time::UNIX_EPOCH;

use super::uri::Uri;
use super::{EXTENSIONS, Fingerprint, Source, SourceError, Stored, image_extension};

/// Names of folders that hold the parts of a data set, and not classes.
const SPLITS: [&str; 6] = ["train", "training", "val", "valid", "validation", "test"];

/// The images of a folder and of its sub-folders, in the order of their paths. Links are followed; names that
/// begin with a dot are passed over.
///
/// When all images lie in sub-folders and there are two or more of these, the first-level folders are the
/// classes, in the order of their names; otherwise nothing is labelled.
pub struct Folder {
    root: PathBuf,
    files: Vec<File>,
    classes: Vec<String>,
    problems: Vec<SourceError>,
    fingerprint: String,
}

struct File {
    /// Relative to the root.
    path: PathBuf,
    label: Option<u32>,
}

impl Folder {
    /// Lists a folder. What cannot be looked at on the way is kept in [`Source::problems`]; an error when the
    /// folder itself cannot be read, when it holds no image, or when its sub-folders are splits.
    pub fn open(root: impl Into<PathBuf>) -> Result<Self, SourceError> {
        let root = root.into();
        let mut walk = Walk::of(&root);
        let top = fs::canonicalize(&root).map_err(|error| {
            unreadable(&root, &error)
                .hint("name the folder that holds the images (`--data FOLDER` when training)")
        })?;
        let entries = walk.entries(&root)?;
        walk.folder(entries, &mut vec![top]);
        let Walk { found, others, problems, fingerprint, .. } = walk;
        if found.is_empty() {
            return Err(no_image(&root, &others, &problems));
        }
        let names = first_level(&found);
        refuse_splits(&root, &names)?;
        let label = |path: &Path| {
            names.iter().position(|name| Some(*name) == first_folder(path)).map(|at| at as u32)
        };
        let files = found.iter().map(|path| File { label: label(path), path: path.clone() });
        let files = files.collect();
        let classes = names.iter().map(|name| name.to_string_lossy().into_owned()).collect();
        Ok(Self { files, classes, problems, fingerprint: fingerprint.text(), root })
    }

    pub(super) fn of_uri(uri: &mut Uri) -> Result<Self, SourceError> {
        match uri.text("split") {
            Some(split) => Self::open(uri.path.join(split)),
            None => Self::open(&uri.path),
        }
    }

    /// The path of a sample's file.
    pub fn path(&self, index: usize) -> PathBuf {
        self.root.join(&self.files[index].path)
    }
}

impl Source for Folder {
    fn len(&self) -> usize {
        self.files.len()
    }

    fn fetch(&self, index: usize, buffer: &mut Vec<u8>) -> Result<Stored, SourceError> {
        let path = self.path(index);
        read_into(&path, buffer).map_err(|error| unreadable(&path, &error))?;
        Ok(Stored::File)
    }

    fn label(&self, index: usize) -> Option<u32> {
        self.files[index].label
    }

    fn name(&self, index: usize) -> String {
        self.files[index].path.to_string_lossy().into_owned()
    }

    fn classes(&self) -> &[String] {
        &self.classes
    }

    fn fingerprint(&self) -> String {
        format!("folder {}", self.fingerprint)
    }

    fn problems(&self) -> &[SourceError] {
        &self.problems
    }
}

/// What a listing has found so far.
struct Walk<'a> {
    root: &'a Path,
    /// Images, relative to the root.
    found: Vec<PathBuf>,
    /// How many files there are of each extension that is no image's.
    others: BTreeMap<String, usize>,
    problems: Vec<SourceError>,
    fingerprint: Fingerprint,
}

impl<'a> Walk<'a> {
    fn of(root: &'a Path) -> Self {
        let (found, others, problems) = Default::default();
        Self { root, found, others, problems, fingerprint: Fingerprint::new() }
    }

    /// The entries of a folder in the order of their names.
    fn entries(&mut self, folder: &Path) -> Result<Vec<PathBuf>, SourceError> {
        let listing = fs::read_dir(folder).map_err(|error| unreadable(folder, &error))?;
        let mut entries = Vec::new();
        for entry in listing {
            match entry {
                Ok(entry) => entries.push(entry.path()),
                Err(error) => self.problems.push(unreadable(folder, &error)),
            }
        }
        entries.sort();
        Ok(entries)
    }

    /// `above` holds the real paths of the folders that lead here: a link to one of them is a loop.
    fn folder(&mut self, entries: Vec<PathBuf>, above: &mut Vec<PathBuf>) {
        for path in entries {
            if path.file_name().is_some_and(|name| name.as_encoded_bytes().starts_with(b".")) {
                continue;
            }
            if let Err(problem) = self.entry(&path, above) {
                self.problems.push(problem);
            }
        }
    }

    fn entry(&mut self, path: &Path, above: &mut Vec<PathBuf>) -> Result<(), SourceError> {
        let about = fs::metadata(path).map_err(|error| unreadable(path, &error))?;
        if about.is_dir() {
            let real = fs::canonicalize(path).map_err(|error| unreadable(path, &error))?;
            if above.contains(&real) {
                let problem = format!("a link leads back to {}", real.display());
                return Err(SourceError::new(path.to_string_lossy(), problem));
            }
            let entries = self.entries(path)?;
            above.push(real);
            self.folder(entries, above);
            above.pop();
        } else if about.is_file() && is_image(path) {
            let relative = path.strip_prefix(self.root).unwrap_or(path).to_owned();
            self.fingerprint.bytes(relative.as_os_str().as_encoded_bytes());
            self.fingerprint.file(&about);
            self.found.push(relative);
        } else {
            let extension = path.extension().map_or_else(
                || "no extension".to_owned(),
                |extension| format!(".{}", extension.to_string_lossy().to_lowercase()),
            );
            *self.others.entry(extension).or_default() += 1;
        }
        Ok(())
    }
}

/// The bytes of a file, in memory that is used again.
fn read_into(path: &Path, buffer: &mut Vec<u8>) -> std::io::Result<()> {
    buffer.clear();
    fs::File::open(path)?.read_to_end(buffer)?;
    Ok(())
}

fn is_image(path: &Path) -> bool {
    let extension = path.extension().and_then(OsStr::to_str).unwrap_or_default();
    image_extension(extension)
}

/// The first-level folder of a relative path, `None` for a file at the top.
fn first_folder(path: &Path) -> Option<&OsStr> {
    path.parent()?.iter().next()
}

/// The classes: the first-level folders in order, or nothing when these cannot be classes.
fn first_level(found: &[PathBuf]) -> Vec<&OsStr> {
    let Some(mut names) = found.iter().map(|path| first_folder(path)).collect::<Option<Vec<_>>>()
    else {
        return Vec::new();
    };
    names.dedup();
    if names.len() < 2 { Vec::new() } else { names }
}

fn refuse_splits(root: &Path, names: &[&OsStr]) -> Result<(), SourceError> {
    let is_split = |name: &&OsStr| SPLITS.iter().any(|split| name.eq_ignore_ascii_case(split));
    if names.is_empty() || !names.iter().all(is_split) {
        return Ok(());
    }
    let splits: Vec<_> = names.iter().map(|name| name.to_string_lossy()).collect();
    let problem = format!("holds the splits {}, not classes", splits.join(", "));
    let hint =
        format!("choose one, as in {} or ?split={}", root.join(names[0]).display(), splits[0]);
    Err(SourceError::new(root.to_string_lossy(), problem).hint(hint))
}

fn no_image(
    root: &Path,
    others: &BTreeMap<String, usize>,
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
    let hint = format!("files that end in {} are images", EXTENSIONS.join(", "));
    SourceError::new(root.to_string_lossy(), parts.join(", ")).hint(hint)
}

fn unreadable(path: &Path, error: &std::io::Error) -> SourceError {
    SourceError::new(path.to_string_lossy(), error.to_string())
}

impl Fingerprint {
    /// Size and time of a file.
    pub(super) fn file(&mut self, about: &fs::Metadata) {
        self.number(about.len());
        let time = about.modified().ok().and_then(|time| time.duration_since(UNIX_EPOCH).ok());
        self.number(time.map_or(0, |time| time.as_nanos() as u64));
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::source::open;

    /// A picture of two pixels, as a PPM file.
    const PICTURE: &[u8] = b"P6\n2 1\n255\nabcdef";

    fn folder_with(files: &[&str]) -> tempfile::TempDir {
        let folder = tempfile::tempdir().expect("a folder");
        for name in files {
            let path = folder.path().join(name);
            fs::create_dir_all(path.parent().expect("a parent")).expect("a folder");
            fs::write(path, PICTURE).expect("written");
        }
        folder
    }

    fn listing(folder: &Path) -> Vec<(String, Option<u32>)> {
        let source = Folder::open(folder).expect("a source");
        (0..source.len()).map(|i| (source.name(i), source.label(i))).collect()
    }

    fn refusal(folder: &Path) -> SourceError {
        Folder::open(folder).err().expect("an error")
    }

    #[test]
    fn first_level_folders_are_classes_in_the_order_of_their_names() {
        let folder = folder_with(&["b/x.png", "a/deep/er/y.PNG", "a/z.jpg", "a/.hidden.png"]);
        fs::write(folder.path().join("notes.txt"), "text").expect("written");
        let source = Folder::open(folder.path()).expect("a source");
        assert_eq!(source.classes(), ["a", "b"]);
        let expected = [("a/deep/er/y.PNG", 0), ("a/z.jpg", 0), ("b/x.png", 1)];
        assert_eq!(listing(folder.path()), expected.map(|(name, l)| (name.to_owned(), Some(l))));
        assert_eq!(source.get(0).expect("a sample").image.width, 2);
    }

    #[test]
    fn an_image_at_the_top_or_a_single_folder_means_no_labels() {
        for files in [&["a/x.png", "b/y.png", "z.png"][..], &["a/x.png", "a/y.png"]] {
            let folder = folder_with(files);
            assert!(listing(folder.path()).iter().all(|(_, label)| label.is_none()));
        }
    }

    #[test]
    fn an_empty_folder_says_what_it_holds() {
        let folder = tempfile::tempdir().expect("a folder");
        for name in ["a.txt", "b.TXT", "c.csv", "d"] {
            fs::write(folder.path().join(name), "text").expect("written");
        }
        let error = refusal(folder.path());
        assert!(error.problem.contains("4 files, of which .txt 2, .csv 1, no extension 1"));
        assert!(error.hint.expect("a hint").contains("jpg"));
    }

    #[test]
    fn splits_are_not_classes() {
        let folder = folder_with(&["train/a/x.png", "test/a/y.png", "test/b/y.png"]);
        let error = refusal(folder.path());
        assert!(error.problem.contains("test, train"));
        assert!(error.hint.expect("a hint").contains("split=test"));
        let uri = format!("folder:{}?split=test", folder.path().display());
        let test = open(&uri).expect("a source");
        assert_eq!((test.len(), test.classes()), (2, &["a".to_owned(), "b".to_owned()][..]));
    }

    #[test]
    fn errors_name_the_file() {
        let folder = folder_with(&["x.png"]);
        fs::write(folder.path().join("text.jpg"), "not an image").expect("written");
        fs::write(folder.path().join("empty.png"), "").expect("written");
        let source = Folder::open(folder.path()).expect("a source");
        for (index, name) in [(0, "empty.png"), (1, "text.jpg")] {
            let error = source.get(index).expect_err("an error");
            assert!(error.name.ends_with(name) && !error.problem.is_empty(), "{error}");
        }
        assert!(source.get(2).is_ok());
        let missing = refusal(&folder.path().join("missing"));
        assert!(missing.name.ends_with("missing"));
    }

    #[cfg(unix)]
    #[test]
    fn links_are_followed_and_loops_and_dead_ends_reported() {
        use std::os::unix::fs::symlink;
        let elsewhere = folder_with(&["y.png"]);
        let folder = folder_with(&["a/x.png"]);
        symlink(folder.path(), folder.path().join("a/up")).expect("a link");
        symlink(elsewhere.path(), folder.path().join("b")).expect("a link");
        symlink("nowhere.png", folder.path().join("a/dead.png")).expect("a link");
        let source = Folder::open(folder.path()).expect("a source");
        let names: Vec<String> = (0..source.len()).map(|i| source.name(i)).collect();
        assert_eq!(names, ["a/x.png", "b/y.png"]);
        let problems: Vec<String> = source.problems().iter().map(ToString::to_string).collect();
        assert_eq!(problems.len(), 2, "{problems:?}");
        assert!(problems[0].contains("dead.png") && problems[1].contains("leads back"));
    }

    #[cfg(target_os = "linux")]
    #[test]
    fn names_need_not_be_text() {
        use std::os::unix::ffi::OsStrExt;
        let folder = folder_with(&["a.png"]);
        let odd = folder.path().join(OsStr::from_bytes(b"\xff\xfe.png"));
        fs::copy(folder.path().join("a.png"), odd).expect("copied");
        let source = Folder::open(folder.path()).expect("a source");
        assert_eq!(source.name(1), "\u{fffd}\u{fffd}.png");
        assert!(source.get(1).is_ok());
    }

    #[test]
    fn the_fingerprint_follows_the_content() {
        let folder = folder_with(&["a.png", "b.png"]);
        let print = || Folder::open(folder.path()).expect("a source").fingerprint();
        let before = print();
        assert_eq!(before, print());
        fs::write(folder.path().join("a.png"), "another length").expect("written");
        assert_ne!(before, print());
    }
}
