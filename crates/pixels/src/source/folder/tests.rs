use std::ffi::OsStr;

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

#[test]
fn labels_are_as_the_uri_wants_them() {
    let folder = folder_with(&["a/x.png", "z.png"]);
    let at = |options: &str| {
        let source =
            open(&format!("folder:{}{options}", folder.path().display())).expect("a source");
        ((0..2).map(|i| source.label(i)).collect::<Vec<_>>(), source.classes().to_vec())
    };
    assert_eq!(at(""), (vec![None, None], Vec::new()));
    assert_eq!(at("?labels=folders"), (vec![Some(0), None], vec!["a".to_owned()]));
    let splits = folder_with(&["train/x.png", "test/y.png"]);
    let uri = format!("folder:{}?labels=none", splits.path().display());
    assert_eq!(open(&uri).expect("a source").classes().len(), 0);
}

#[test]
fn the_order_is_that_of_the_paths_whatever_lies_between() {
    let folder = folder_with(&["b.png", "b/x.png", "a/y.png", "a.png", "b-c/z.png", "a/b/q.png"]);
    let names: Vec<String> = listing(folder.path()).into_iter().map(|(name, _)| name).collect();
    assert_eq!(names, ["a/b/q.png", "a/y.png", "a.png", "b/x.png", "b-c/z.png", "b.png"]);
}

#[test]
fn a_file_in_place_of_a_folder_is_refused_with_the_kinds_that_read_files() {
    let folder = folder_with(&["x.png"]);
    let error = refusal(&folder.path().join("x.png"));
    assert!(
        error.problem.contains("this is a file") && error.hint.expect("a hint").contains("tar:")
    );
}
