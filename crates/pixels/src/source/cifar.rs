//! CIFAR-10 and CIFAR-100 in their binary form.

use std::fs;
use std::path::{Path, PathBuf};

use crate::image::Image;

use super::uri::Uri;
use super::{Fingerprint, Source, SourceError, Stored};

/// Height and width of every image.
const SIDE: usize = 32;
/// Bytes of an image: a red, a green and a blue plane.
const PIXELS: usize = 3 * SIDE * SIDE;

const CIFAR10: [&str; 10] =
    ["airplane", "automobile", "bird", "cat", "deer", "dog", "frog", "horse", "ship", "truck"];

/// Rows of CIFAR files, held in memory. CIFAR-10 has one byte of label before the pixels; CIFAR-100 (told by the
/// file names `train.bin` and `test.bin`) has two, of which the second, the fine one, is the label.
///
/// Class names come from `batches.meta.txt` or `fine_label_names.txt` beside the files; without it CIFAR-10's
/// are known and CIFAR-100's are numbers.
pub struct Cifar {
    rows: Vec<u8>,
    /// Bytes before the pixels: 1 or 2.
    labels: usize,
    classes: Vec<String>,
    fingerprint: String,
}

impl Cifar {
    /// The rows of some files of one kind, one after the other. An error when a length is no whole number of rows, or
    /// a label is out of range.
    pub fn open(files: &[PathBuf]) -> Result<Self, SourceError> {
        let fine = |path: &PathBuf| {
            path.file_name().is_some_and(|name| name == "train.bin" || name == "test.bin")
        };
        let labels = if files.iter().any(fine) { 2 } else { 1 };
        let mut cifar =
            Self { rows: Vec::new(), labels, classes: Vec::new(), fingerprint: String::new() };
        let mut fingerprint = Fingerprint::new();
        for path in files {
            let error = |problem| SourceError::new(path.to_string_lossy(), problem);
            let rows = fs::read(path).map_err(|e| error(e.to_string()))?;
            let about = fs::metadata(path).map_err(|e| error(e.to_string()))?;
            fingerprint.bytes(path.as_os_str().as_encoded_bytes());
            fingerprint.file(&about);
            cifar.check(&rows).map_err(error)?;
            cifar.rows.extend(rows);
        }
        let beside = files.first().and_then(|path| path.parent()).unwrap_or(Path::new("."));
        cifar.classes = class_names(beside, labels);
        cifar.fingerprint = format!("cifar {}", fingerprint.text());
        Ok(cifar)
    }

    /// A file, or the files of a split of a folder; the training split unless the URI says otherwise.
    pub(super) fn of_uri(uri: &mut Uri) -> Result<Self, SourceError> {
        let test = uri.choice("split", &["train", "test"])? == Some(1);
        if !uri.path.is_dir() {
            return Self::open(std::slice::from_ref(&uri.path));
        }
        let wanted: &[&str] = if test {
            &["test_batch.bin", "test.bin"]
        } else {
            &[
                "data_batch_1.bin",
                "data_batch_2.bin",
                "data_batch_3.bin",
                "data_batch_4.bin",
                "data_batch_5.bin",
                "train.bin",
            ]
        };
        let there = wanted.iter().map(|name| uri.path.join(name)).filter(|path| path.exists());
        let files: Vec<PathBuf> = there.collect();
        if files.is_empty() {
            let problem = format!("none of {} is here", wanted.join(", "));
            return Err(SourceError::new(uri.path.to_string_lossy(), problem)
                .hint("the binary version is wanted; for a folder of images write folder:PATH"));
        }
        Self::open(&files)
    }

    fn row_length(&self) -> usize {
        self.labels + PIXELS
    }

    fn check(&self, rows: &[u8]) -> Result<(), String> {
        let length = self.row_length();
        if rows.is_empty() || !rows.len().is_multiple_of(length) {
            return Err(format!(
                "rows of {length} bytes are wanted, and {} bytes are no whole number of them",
                rows.len()
            ));
        }
        let classes = if self.labels == 1 { 10 } else { 100 };
        let bad = rows.chunks_exact(length).position(|row| row[self.labels - 1] >= classes);
        match bad {
            Some(at) => {
                let label = rows[at * length + self.labels - 1];
                Err(format!("row {at} has the label {label}, where {classes} classes are known"))
            }
            None => Ok(()),
        }
    }

    fn row(&self, index: usize) -> &[u8] {
        &self.rows[index * self.row_length()..][..self.row_length()]
    }
}

impl Source for Cifar {
    fn len(&self) -> usize {
        self.rows.len() / self.row_length()
    }

    fn fetch(&self, index: usize, buffer: &mut Vec<u8>) -> Result<Stored, SourceError> {
        let planes = &self.row(index)[self.labels..];
        let pixel = |at| [0, 1, 2].map(|plane| planes[plane * SIDE * SIDE + at]);
        buffer.clear();
        buffer.extend((0..SIDE * SIDE).flat_map(pixel));
        Ok(Stored::Pixels(Image::from_u8(SIDE, SIDE, 3, std::mem::take(buffer))))
    }

    fn label(&self, index: usize) -> Option<u32> {
        Some(u32::from(self.row(index)[self.labels - 1]))
    }

    fn name(&self, index: usize) -> String {
        format!("#{index}")
    }

    fn classes(&self) -> &[String] {
        &self.classes
    }

    fn fingerprint(&self) -> String {
        self.fingerprint.clone()
    }
}

fn class_names(folder: &Path, labels: usize) -> Vec<String> {
    let (file, count) =
        if labels == 1 { ("batches.meta.txt", 10) } else { ("fine_label_names.txt", 100) };
    let text = fs::read_to_string(folder.join(file)).unwrap_or_default();
    let names: Vec<String> =
        text.lines().map(|line| line.trim().to_owned()).filter(|line| !line.is_empty()).collect();
    if names.len() == count {
        names
    } else if labels == 1 {
        CIFAR10.map(str::to_owned).to_vec()
    } else {
        (0..count).map(|number| number.to_string()).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::source::open;

    /// A row whose red is 1, green 2 and blue 3, but for the second pixel, whose red is 9.
    fn row(labels: &[u8]) -> Vec<u8> {
        let mut row = labels.to_vec();
        for plane in 1..=3 {
            row.extend(vec![plane; SIDE * SIDE]);
        }
        row[labels.len() + 1] = 9;
        row
    }

    #[test]
    fn planes_become_pixels_and_labels_names() {
        let folder = tempfile::tempdir().expect("a folder");
        fs::write(folder.path().join("data_batch_1.bin"), row(&[3])).expect("written");
        fs::write(folder.path().join("data_batch_2.bin"), row(&[9])).expect("written");
        fs::write(folder.path().join("test_batch.bin"), [row(&[0]), row(&[1])].concat())
            .expect("written");
        let uri = format!("cifar:{}", folder.path().display());
        let train = open(&uri).expect("a source");
        assert_eq!((train.len(), train.label(0), train.label(1)), (2, Some(3), Some(9)));
        assert_eq!(train.classes()[3], "cat");
        let image = train.get(0).expect("a sample").image;
        assert_eq!(image.as_u8().expect("8 bits")[..9], [1, 2, 3, 9, 2, 3, 1, 2, 3]);
        let test = open(&format!("{uri}?split=test")).expect("a source");
        assert_eq!((test.len(), test.label(1)), (2, Some(1)));
        assert_ne!(train.fingerprint(), test.fingerprint());
    }

    #[test]
    fn the_hundred_classes_are_the_second_byte() {
        let folder = tempfile::tempdir().expect("a folder");
        let path = folder.path().join("train.bin");
        fs::write(&path, row(&[19, 99])).expect("written");
        let source = open(&format!("cifar:{}", path.display())).expect("a source");
        assert_eq!((source.len(), source.label(0), source.classes().len()), (1, Some(99), 100));
    }

    #[test]
    fn damage_is_an_error_that_says_where() {
        let folder = tempfile::tempdir().expect("a folder");
        let path = folder.path().join("data_batch_1.bin");
        let problem = |bytes: &[u8]| {
            fs::write(&path, bytes).expect("written");
            Cifar::open(std::slice::from_ref(&path)).err().expect("an error").problem
        };
        assert!(problem(&row(&[3])[1..]).contains("rows of 3073 bytes are wanted, and 3072"));
        assert!(problem(&[row(&[3]), row(&[10])].concat()).contains("row 1 has the label 10"));
        assert!(problem(&[]).contains("0 bytes"));
    }

    #[test]
    fn the_real_sample_is_read() {
        let Some(path) = crate::source::real_data("cifar10-bin-sample") else { return };
        for split in ["train", "test"] {
            let source =
                open(&format!("cifar:{}?split={split}", path.display())).expect("a source");
            assert_eq!(source.len(), 500);
            for class in 0..10 {
                assert_eq!((0..500).filter(|i| source.label(*i) == Some(class)).count(), 50);
            }
        }
    }
}
