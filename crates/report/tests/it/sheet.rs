//! The contact sheet: whole, in order, safe.

use report::record::Picture;
use report::sheet::{Class, Sheet, Table, Twins, render, write};

fn picture(caption: &str, label: Option<&str>) -> Picture {
    Picture { png: "iVBORw0KGgo=".into(), caption: caption.into(), label: label.map(Into::into) }
}

fn sheet() -> Sheet {
    let class = |name: &str| Class {
        name: name.into(),
        images: 1200,
        pictures: vec![picture(&format!("{name}/1.png"), None)],
    };
    Sheet {
        title: "pets".into(),
        facts: vec!["2400 images".into()],
        warnings: vec!["Files that cannot be read: 201".into()],
        classes: vec![class("cat"), class("dog")],
        more_classes: 7,
        groups: vec![Twins {
            title: "Equal".into(),
            conflict: true,
            pictures: vec![picture("cat/1.png", Some("cat")), picture("dog/9.png", Some("dog"))],
            more: 3,
        }],
        more_groups: 5,
        tables: vec![Table {
            title: "3 channels in 2400 images".into(),
            columns: vec!["mean".into()],
            rows: vec![("channel 1".into(), vec![0.25])],
        }],
        broken: (0..201).map(|n| (format!("broken-{n}.png"), "cut short".into())).collect(),
    }
}

#[test]
fn everything_that_was_found_is_on_the_page() {
    let page = render(&sheet());
    let words = [
        "pets",
        "2400 images",
        "cat · 1,200",
        "And 7 more classes.",
        "different labels",
        "dog/9.png",
        "And 3 more.",
        "And 5 more groups.",
        "0.2500",
        "broken-199.png",
        "And 1 more.",
    ];
    for word in words {
        assert!(page.contains(word), "no `{word}`");
    }
    assert!(!page.contains("broken-200.png"), "the list has an end");
    let places = ["id=\"pictures\"", "id=\"twins\"", "id=\"channels\"", "id=\"broken\""];
    let found: Vec<usize> = places.iter().map(|id| page.find(id).expect(id)).collect();
    assert!(found.is_sorted(), "{found:?}");
}

#[test]
fn what_is_not_there_is_not_listed() {
    let page = render(&Sheet { title: "empty".into(), ..Sheet::default() });
    for id in ["twins", "channels", "broken"] {
        assert!(
            !page.contains(&format!("#{id}")) && !page.contains(&format!("id=\"{id}\"")),
            "{id}"
        );
    }
}

#[test]
fn names_cannot_become_markup() {
    let evil = "<script>alert(1)</script>";
    let mut sheet = sheet();
    sheet.title = evil.into();
    sheet.classes[0].name = evil.into();
    sheet.broken[0] = (evil.into(), evil.into());
    sheet.groups[0].pictures[0] = picture(evil, Some(evil));
    assert!(!render(&sheet).contains("<script>"));
}

#[test]
fn a_sheet_is_written_where_it_is_wanted_or_the_error_names_the_place() {
    let folder = tempfile::tempdir().expect("a folder");
    let path = folder.path().join("sheet.html");
    write(&sheet(), &path).expect("written");
    assert_eq!(std::fs::read_to_string(path).expect("a page"), render(&sheet()));
    let error = write(&sheet(), &folder.path().join("nowhere/sheet.html")).expect_err("no folder");
    assert!(error.to_string().contains("nowhere"), "{error}");
}
