use super::*;
use crate::source::{open, real_data};

const PICTURE: &str = "P5 2 1 255\nab";

/// A folder with a table and two pictures below `images`.
fn folder(name: &str, table: &str) -> (tempfile::TempDir, String) {
    let folder = tempfile::tempdir().expect("a folder");
    fs::create_dir(folder.path().join("images")).expect("made");
    for name in ["a.pgm", "b, c.pgm"] {
        fs::write(folder.path().join("images").join(name), PICTURE).expect("written");
    }
    let path = folder.path().join(name);
    fs::write(&path, table).expect("written");
    let uri = format!("{}:{}", name.rsplit('.').next().expect("an end"), path.display());
    (folder, uri)
}

fn refusal(uri: &str) -> SourceError {
    open(uri).err().expect("an error")
}

#[test]
fn a_quoted_table_gives_paths_labels_captions_and_groups() {
    let table = "\u{feff}group;Label;path;caption\r\np1;dog;images/a.pgm;\"says \"\"wuff\"\"\"\r\n\
                 p2;cat;\"images/b, c.pgm\";\"two\nlines; and more\"\r\np1;dog;images/missing.pgm;\r\n";
    let (_folder, uri) = folder("t.csv", table);
    let source = open(&uri).expect("a source");
    assert_eq!((source.len(), source.classes()), (3, &["cat".to_owned(), "dog".to_owned()][..]));
    assert_eq!((source.label(0), source.label(1)), (Some(1), Some(0)));
    assert_eq!(source.name(1), "images/b, c.pgm");
    let captions = |i| source.truth(i).expect("truth").captions;
    assert_eq!(captions(0), ["says \"wuff\""]);
    assert_eq!(captions(1), ["two\nlines; and more"]);
    assert!(captions(2).is_empty());
    assert_eq!(source.group(0), source.group(2));
    assert_ne!(source.group(0), source.group(1));
    assert_eq!(source.get(1).expect("a sample").image.width, 2);
    assert!(source.get(2).expect_err("no file").name.ends_with("missing.pgm"));
}

#[test]
fn json_lines_may_have_lists_of_captions_and_numbers() {
    let table = "{\"file_name\": \"a.pgm\", \"label\": 2, \"text\": [\"one\", \"two\"], \"split\": \"train\"}\n\n\
                 {\"file_name\": \"a.pgm\", \"label\": 0, \"split\": \"test\"}\n[1]\n{\"label\": 1}\n";
    let (_folder, uri) = folder("t.jsonl", table);
    let root = uri.trim_start_matches("jsonl:").replace("t.jsonl", "images");
    let source = open(&format!("{uri}?root={root}")).expect("a source");
    assert_eq!((source.len(), source.label(0), source.classes().len()), (2, Some(2), 3));
    assert_eq!(source.truth(0).expect("truth").captions, ["one", "two"]);
    let problems: Vec<String> = source.problems().iter().map(ToString::to_string).collect();
    assert!(
        problems[0].contains("line 4") && problems[1].contains("line 5: no path"),
        "{problems:?}"
    );
    assert_eq!(open(&format!("{uri}?root={root}&split=test")).expect("a source").len(), 1);
    let error = refusal(&format!("{uri}?root={root}&split=val"));
    assert!(error.problem.contains("`val` (there are: test, train)"), "{error}");
}

#[test]
fn columns_can_be_named_and_errors_name_those_there_are() {
    let (_folder, uri) = folder("t.csv", "id\tpicture\tkind\n1\timages/a.pgm\t7\n");
    let error = refusal(&uri);
    assert!(
        error.problem.contains("id, picture, kind")
            && error.hint.expect("a hint").contains("?path=")
    );
    let source = open(&format!("{uri}?path=picture&label=kind")).expect("a source");
    assert_eq!((source.len(), source.label(0), source.classes().len()), (1, Some(7), 8));
    assert_eq!(open(&format!("{uri}?path=picture&delimiter=tab")).expect("a source").len(), 1);
    assert!(open(&format!("{uri}?path=picture&delimiter=comma")).is_err());
}

#[test]
fn several_files_are_the_channels_of_one_image() {
    for (table, options) in [
        ("channel_0,channel_1,label\nimages/a.pgm,\"images/b, c.pgm\",1\nimages/a.pgm,1\n", ""),
        ("red,green,label\nimages/a.pgm,\"images/b, c.pgm\",1\n", "?channels=red,green"),
    ] {
        let (_folder, uri) = folder("t.csv", table);
        let source = open(&format!("{uri}{options}")).expect("a source");
        let sample = source.get(0).expect("a sample");
        assert_eq!((sample.image.channels, sample.image.as_u8()), (2, Some(&b"aabb"[..])));
        assert_eq!(sample.label, Some(1));
    }
    let (_folder, uri) = folder("t.csv", "red,green\nimages/a.pgm,x\n");
    assert!(refusal(&format!("{uri}?channels=red,blue")).problem.contains("`blue`"));
}

#[test]
fn the_fingerprint_follows_table_and_files() {
    let (folder, uri) = folder("t.csv", "path\nimages/a.pgm\n");
    let print = || open(&uri).expect("a source").fingerprint();
    let before = print();
    assert_eq!(before, print());
    fs::write(folder.path().join("images/a.pgm"), "longer than before").expect("written");
    assert_ne!(before, print());
}

#[test]
fn any_bytes_are_survived() {
    let texts: [&[u8]; 6] =
        [b"", b"\"", b"path\n\"a", b"path,path\n\xff\xfe,b\n", b"{\"path\":", b"\n{\"path\": 3}"];
    for text in texts {
        fuzz(text);
    }
}

#[test]
fn real_emoji_are_read_from_their_table() {
    let Some(path) = real_data("noto-emoji-128") else { return };
    let path = path.display();
    let uri = format!("csv:{path}/metadata.tsv?root={path}/png&label=category&caption=name");
    let source = open(&uri).expect("a source");
    assert_eq!((source.len(), source.classes().len(), source.problems().len()), (1609, 9, 0));
    for index in (0..source.len()).step_by(100) {
        let sample = source.get(index).expect("a sample");
        assert!(sample.image.width == 128 && !sample.truth.captions[0].is_empty());
    }
}
