use std::fs;
use std::path::Path;

use super::*;
use crate::source::open;

fn fixture(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../../fixtures").join(name)
}

fn reds(source: &dyn Source) -> Vec<Option<u8>> {
    let red = |index| source.get(index).ok().map(|s| s.image.as_u8().expect("8 bits")[0]);
    (0..source.len()).map(red).collect()
}

#[test]
fn images_labels_names_and_captions_of_hugging_face_are_read() {
    let source =
        open(&format!("parquet:{}", fixture("images-hf.parquet").display())).expect("a source");
    assert_eq!(source.classes(), ["cat", "dog", "cow"]);
    let labels: Vec<_> = (0..7).map(|i| source.label(i)).collect();
    assert_eq!(labels, [Some(0), Some(1), Some(2), None, None, Some(1), Some(1)]);
    assert_eq!(reds(&*source), [Some(0), Some(10), Some(20), Some(30), Some(40), None, None]);
    let captions = |i| source.truth(i).expect("truth").captions;
    assert_eq!((captions(0), captions(1)), (vec!["picture 0".to_owned()], Vec::new()));
    assert_eq!(source.name(4), "images-hf#4");
    assert!(source.get(5).expect_err("no bytes").problem.contains("no bytes"));
}

#[test]
fn plain_columns_and_names_of_classes_are_read() {
    let source =
        open(&format!("parquet:{}", fixture("images-plain.parquet").display())).expect("a source");
    assert_eq!(source.classes(), ["a", "b", "c"]);
    assert_eq!(source.label(1), Some(0));
    assert_eq!(reds(&*source), [Some(0), Some(10), Some(20), Some(30)]);
}

#[test]
fn several_files_are_one_source_and_others_problems() {
    let folder = tempfile::tempdir().expect("a folder");
    let copy =
        |from: &str, to: &str| fs::copy(fixture(from), folder.path().join(to)).expect("copied");
    copy("images-hf.parquet", "train-0.parquet");
    copy("images-hf.parquet", "train-1.parquet");
    copy("images-plain.parquet", "train-2.parquet");
    fs::write(folder.path().join("train-3.parquet"), "PAR1 no PAR1").expect("written");
    let uri = format!("parquet:{}", folder.path().display());
    let source = open(&format!("{uri}?split=train")).expect("a source");
    assert_eq!((source.len(), source.problems().len()), (14, 2));
    assert_eq!((source.name(8), reds(&*source)[8]), ("train-1#1".into(), Some(10)));
    std::thread::scope(|scope| {
        for _ in 0..4 {
            scope.spawn(|| assert_eq!(reds(&*source)[..5], reds(&*source)[7..12]));
        }
    });
    assert!(open(&format!("{uri}/train-3.parquet")).is_err());
    let error = open(&format!("{uri}/train-0.parquet?image=picture")).err().expect("an error");
    assert!(error.problem.contains("only text, image.bytes, image.path, label"), "{error}");
}

#[test]
fn damage_is_survived() {
    for name in ["images-hf.parquet", "images-plain.parquet"] {
        let whole = fs::read(fixture(name)).expect("read");
        for cut in (0..whole.len()).step_by(97) {
            fuzz(&whole[..cut]);
        }
        // The footer says where everything is.
        for at in (0..whole.len()).rev().step_by(13) {
            let mut bytes = whole.clone();
            bytes[at] ^= 0x55;
            fuzz(&bytes);
        }
    }
}
