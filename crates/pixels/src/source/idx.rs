//! The IDX form of MNIST and its relatives, plain or gzip.

use std::fs;
use std::io::Read;
use std::path::{Path, PathBuf};

use flate2::read::MultiGzDecoder;

use crate::image::Image;

use super::uri::Uri;
use super::{Fingerprint, Source, SourceError, Stored};

/// More bytes than any file of this kind has; a header that asks for more is damaged.
const MOST_BYTES: usize = 16 << 30;

/// Grey images of one size and, where the file of labels lies beside theirs, labels; held in memory.
pub struct Idx {
    pixels: Vec<u8>,
    /// Height and width.
    size: [usize; 2],
    /// Empty when there are none.
    labels: Vec<u8>,
    classes: Vec<String>,
    fingerprint: String,
}

impl Idx {
    /// A file of images. Its labels are in the file whose name has `labels` for `images` and `idx1` for `idx3`.
    pub fn open(images: &Path) -> Result<Self, SourceError> {
        let (sizes, pixels) = read::<3>(images)?;
        let [count, height, width] = sizes;
        if count * height * width == 0 {
            return Err(error(images, format!("{count} images of {height} × {width} pixels")));
        }
        let mut fingerprint = Fingerprint::new();
        fingerprint.bytes(images.as_os_str().as_encoded_bytes());
        let about = fs::metadata(images).map_err(|e| error(images, e.to_string()))?;
        fingerprint.file(&about);
        let labels = match labels_beside(images) {
            Some(path) => {
                let ([found], labels) = read::<1>(&path)?;
                if found != count {
                    return Err(error(&path, format!("{found} labels for {count} images")));
                }
                fingerprint.bytes(&labels);
                labels
            }
            None => Vec::new(),
        };
        let classes = labels.iter().max().map_or(0, |last| usize::from(*last) + 1);
        let classes = (0..classes).map(|number| number.to_string()).collect();
        let fingerprint = format!("idx {}", fingerprint.text());
        Ok(Self { pixels, size: [height, width], labels, classes, fingerprint })
    }

    /// A file, or a folder's images of a split; the training split unless the URI says otherwise.
    pub(super) fn of_uri(uri: &mut Uri) -> Result<Self, SourceError> {
        let test = uri.choice("split", &["train", "test"])? == Some(1);
        if !uri.path.is_dir() {
            return Self::open(&uri.path);
        }
        let starts: &[&str] =
            if test { &["t10k-images", "test-images"] } else { &["train-images"] };
        let listing = fs::read_dir(&uri.path).map_err(|e| error(&uri.path, e.to_string()))?;
        let mut files: Vec<PathBuf> = listing.flatten().map(|entry| entry.path()).collect();
        files.retain(|path| {
            let name = path.file_name().unwrap_or_default().to_string_lossy();
            starts.iter().any(|start| name.starts_with(start))
        });
        files.sort();
        let first = files.first().ok_or_else(|| {
            error(&uri.path, format!("no file's name begins with {}", starts.join(" or ")))
        })?;
        Self::open(first)
    }
}

impl Source for Idx {
    fn len(&self) -> usize {
        self.pixels.len() / (self.size[0] * self.size[1])
    }

    fn fetch(&self, index: usize, buffer: &mut Vec<u8>) -> Result<Stored, SourceError> {
        let [height, width] = self.size;
        buffer.clear();
        buffer.extend_from_slice(&self.pixels[index * height * width..][..height * width]);
        Ok(Stored::Pixels(Image::from_u8(width, height, 1, std::mem::take(buffer))))
    }

    fn label(&self, index: usize) -> Option<u32> {
        self.labels.get(index).map(|label| u32::from(*label))
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

/// The sizes of an array of bytes with `N` dimensions, and the bytes.
fn read<const N: usize>(path: &Path) -> Result<([usize; N], Vec<u8>), SourceError> {
    let file = fs::read(path).map_err(|e| error(path, e.to_string()))?;
    let mut stream: Box<dyn Read> = if file.starts_with(&[0x1f, 0x8b]) {
        Box::new(MultiGzDecoder::new(&file[..]))
    } else {
        Box::new(&file[..])
    };
    let mut word = || {
        let mut bytes = [0; 4];
        stream.read_exact(&mut bytes).map_err(|_| error(path, "the header is cut short"))?;
        Ok::<_, SourceError>(u32::from_be_bytes(bytes))
    };
    let (magic, wanted) = (word()?, 0x0800 + N as u32);
    if magic != wanted {
        let problem = format!(
            "an array of bytes with {N} dimensions begins with {wanted:#010x}, found {magic:#010x}"
        );
        return Err(error(path, problem));
    }
    let mut sizes = [0; N];
    for size in &mut sizes {
        *size = word()? as usize;
    }
    let length = sizes.iter().try_fold(1usize, |product, size| product.checked_mul(*size));
    let length = length.filter(|length| *length <= MOST_BYTES);
    let length = length.ok_or_else(|| error(path, format!("sizes {sizes:?} are too large")))?;
    let mut bytes = Vec::new();
    let result = stream.take(length as u64).read_to_end(&mut bytes);
    result.map_err(|e| error(path, e.to_string()))?;
    if bytes.len() < length {
        let found = bytes.len();
        return Err(error(path, format!("cut short: {length} bytes announced, {found} found")));
    }
    Ok((sizes, bytes))
}

fn labels_beside(images: &Path) -> Option<PathBuf> {
    let name = images.file_name()?.to_str()?;
    let labels = name.replace("images", "labels").replace("idx3", "idx1");
    let plain = labels.strip_suffix(".gz").unwrap_or(&labels);
    let candidates = [labels.clone(), plain.to_owned(), format!("{plain}.gz")];
    let mut paths = candidates.into_iter().filter(|other| other != name);
    paths.find_map(|other| Some(images.with_file_name(other)).filter(|path| path.exists()))
}

fn error(path: &Path, problem: impl Into<String>) -> SourceError {
    SourceError::new(path.to_string_lossy(), problem)
}

#[cfg(test)]
mod tests {
    use std::io::Write;

    use super::*;
    use crate::source::open;

    fn array(sizes: &[u32], bytes: &[u8]) -> Vec<u8> {
        let mut file = vec![0, 0, 8, sizes.len() as u8];
        for size in sizes {
            file.extend(size.to_be_bytes());
        }
        file.extend(bytes);
        file
    }

    fn gzip(bytes: &[u8]) -> Vec<u8> {
        let mut encoder = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::fast());
        encoder.write_all(bytes).expect("memory");
        encoder.finish().expect("memory")
    }

    #[test]
    fn a_folder_gives_its_splits_plain_or_packed() {
        let folder = tempfile::tempdir().expect("a folder");
        let write =
            |name: &str, bytes: &[u8]| fs::write(folder.path().join(name), bytes).expect("written");
        write("train-images-idx3-ubyte.gz", &gzip(&array(&[2, 1, 3], &[1, 2, 3, 4, 5, 6])));
        write("train-labels-idx1-ubyte", &array(&[2], &[7, 4]));
        write("t10k-images-idx3-ubyte", &array(&[1, 1, 3], &[9, 8, 7]));
        let uri = format!("idx:{}", folder.path().display());
        let train = open(&uri).expect("a source");
        assert_eq!((train.len(), train.label(1), train.classes().len()), (2, Some(4), 8));
        let image = train.get(1).expect("a sample").image;
        assert_eq!(image, Image::from_u8(3, 1, 1, vec![4, 5, 6]));
        let test = open(&format!("{uri}?split=test")).expect("a source");
        assert_eq!((test.len(), test.label(0)), (1, None));
    }

    #[test]
    fn damage_is_an_error_that_says_what() {
        let folder = tempfile::tempdir().expect("a folder");
        let path = folder.path().join("x-images");
        let problem = |bytes: &[u8]| {
            fs::write(&path, bytes).expect("written");
            Idx::open(&path).err().expect("an error").problem
        };
        assert!(problem(&array(&[2, 1, 3], &[1])).contains("6 bytes announced, 1 found"));
        assert!(problem(&array(&[2], &[1, 2])).contains("found 0x00000801"));
        assert!(problem(&array(&[u32::MAX; 3], &[1])).contains("too large"));
        assert!(problem(&gzip(&array(&[2, 1, 3], &[1; 6]))[..20]).len() > 5);
        assert!(problem(&[0, 0]).contains("header"));
        fs::write(folder.path().join("x-labels"), array(&[3], &[1; 3])).expect("written");
        assert!(problem(&array(&[2, 1, 3], &[1; 6])).contains("3 labels for 2 images"));
    }

    #[test]
    fn the_real_test_images_are_read() {
        let Some(path) = crate::source::real_data("fashion-mnist") else { return };
        let source = open(&format!("idx:{}?split=test", path.display())).expect("a source");
        let counts =
            (0..10u32).map(|c| (0..10_000).filter(|i| source.label(*i) == Some(c)).count());
        assert!(source.len() == 10_000 && counts.into_iter().all(|count| count == 1000));
        // The set's published facts: 28 × 28, and the first test image is an ankle boot (9).
        assert_eq!((source.label(0), source.get(0).expect("a sample").image.width), (Some(9), 28));
    }
}
