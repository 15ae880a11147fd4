//! The page of nearest images: whole, in order, safe.

use report::alike::{Alike, render, write};
use report::record::{NeighbourRow, Picture};

fn picture(caption: &str, label: Option<&str>) -> Picture {
    Picture { png: "iVBORw0KGgo=".into(), caption: caption.into(), label: label.map(Into::into) }
}

fn alike() -> Alike {
    let neighbours = vec![
        picture("0.981 · cat/7.png", Some("cat")),
        picture("0.532 · dog/<b>.png", Some("dog")),
    ];
    Alike {
        title: "query.jpg".into(),
        facts: vec!["resnet18".into(), "2400 images".into()],
        rows: vec![NeighbourRow { query: picture("query.jpg", Some("cat")), neighbours }],
        more: 3,
        skipped: (0..51).map(|n| (format!("broken-{n}.png"), "cut short".into())).collect(),
    }
}

#[test]
fn queries_neighbours_and_what_cannot_be_read_are_on_the_page() {
    let page = render(&alike());
    let words = [
        "query.jpg",
        "2400 images",
        "0.981 · cat/7.png",
        "0.532",
        "1 of 2",
        "And 3 more queries.",
        "broken-49.png",
        "And 1 more.",
    ];
    for word in words {
        assert!(page.contains(word), "no `{word}`");
    }
    let places = ["0.981", "0.532"].map(|word| page.find(word).unwrap());
    assert!(places.is_sorted());
    assert!(!page.contains("dog/<b>.png"), "names are escaped");
    assert!(!page.contains("broken-50.png"), "the list has an end");
    assert!(!page.contains("http://") && !page.contains("https://") && !page.contains("<script"));
}

#[test]
fn a_page_without_rows_says_so_and_is_written_whole() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("page.html");
    write(&Alike::default(), &path).unwrap();
    let page = std::fs::read_to_string(path).unwrap();
    assert!(page.contains("No query could be read.") && page.ends_with("</html>"));
}
