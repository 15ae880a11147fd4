//! Where images come from.

mod channels;
mod cifar;
mod coco;
mod folder;
mod frames;
mod idx;
mod labels;
mod masks;
mod names;
mod pairs;
#[cfg(feature = "parquet")]
mod parquet;
mod part;
mod shards;
mod single;
mod table;
mod tar;
mod uri;
mod voc;

use std::fs;
use std::io::{self, Write};
use std::path::Path;
use std::sync::Arc;

use serde::{Deserialize, Serialize};

use crate::decode::{self, DecodeError};
use crate::image::Image;
use crate::world::World;

pub use cifar::Cifar;
pub use coco::Coco;
pub use folder::{Folder, FolderLabels};
pub use frames::Frames;
pub use idx::Idx;
pub use pairs::Pairs;
#[cfg(feature = "parquet")]
pub use parquet::Parquet;
use part::Selection;
pub use single::Single;
use table::Form;
pub use table::Table;
pub use tar::Tar;
pub(crate) use tar::{BLOCK, CLASSES, PACKED, write_index};
use uri::Kind;
pub(crate) use uri::Uri;
pub use voc::Voc;

/// Opens a source by its URI: `KIND:PATH?option=value&option=value`. A bare path is a folder.
///
/// | kind | what | its options |
/// |---|---|---|
/// | `folder:PATH` | images in folders | `split`: the sub-folder of that name; `labels`: `folders` or `none` (see [`FolderLabels`]); `channels=_r,_g`: files that share a name up to these suffixes are channels of one image |
/// | `cifar:PATH` | CIFAR-10 or CIFAR-100 in the binary form, one file or the folder | `split`: `train`, `test` |
/// | `idx:PATH` | MNIST's form, plain or gzip, the images' file or the folder | `split`: `train`, `test` |
/// | `tar:PATH` | tar shards as webdataset has them (see [`Tar`]): a file, a folder, `train-{000..012}.tar`, several with `::` between them | `split`: the sub-folder of that name, or the files that begin with it |
/// | `csv:PATH` | a table with a header row that names files, labels and captions (see [`Table`]) | `path`, `label`, `caption`, `group`: the column; `split`: rows whose column `split` says so; `root`: where the paths begin; `delimiter`: `comma`, `semicolon`, `tab`; `channels=A,B`: columns of files that are channels of one image |
/// | `jsonl:PATH` | the same as JSON lines | the same but for `delimiter` |
/// | `coco:PATH` | an annotation file in COCO's form (see [`Coco`]) | `images`: the folder of the images; `captions`: a second file; `masks=1`: masks too; `kind`: `instances`, `captions`, `keypoints`, `panoptic`, to be sure of it |
/// | `voc:PATH` | a folder in Pascal VOC's layout (see [`Voc`]) | `split`: a list in `ImageSets` |
/// | `pairs:PATH` | frame pairs with optical flow, in the layouts of Middlebury, KITTI, Sintel, FlyingChairs (see [`Pairs`]) | `flow`: KITTI's `occ` or `noc`; `pass`: Sintel's `clean` or `final` |
/// | `frames:PATH` | folders of frames as videos (see [`Frames`]) | `step`: how many frames later the next one is |
/// | `parquet:PATH` | parquet files of images, as Hugging Face has them; in builds with the feature `parquet` | `split`, as for `tar:`; `image`, `label`, `caption`: the column |
/// | `world:` | the synthetic world | `size`, `count`, `seed`, `split`, `motion`; `label`: `shape` or `colour` of the main object (see [`World`]) |
///
/// Every kind knows four options more, for a part of the source that is the same on every call. `list=FILE` keeps the
/// samples whose names are in a file, one a line, and `without=FILE` leaves them out; a name that is not in the source
/// is an error. Of what is left, `fraction=0-0.8` is the first four fifths of a shuffled order (`0.8-1` is the rest of
/// it), and `limit=500` the first 500 of that order. The samples of a group ([`Source::group`]) are in the same
/// fraction, so that with groups a fraction has only about the size that it says. The samples of a part stay in the
/// order of the source.
///
/// An unknown kind or option is an error that names the known ones.
pub fn open(text: &str) -> Result<Arc<dyn Source>, SourceError> {
    let mut uri = Uri::parse(text)?;
    let selection = Selection::of_uri(&mut uri)?;
    let source: Arc<dyn Source> = match uri.kind {
        Kind::Folder => Folder::of_uri(&mut uri)?,
        Kind::Cifar => Arc::new(Cifar::of_uri(&mut uri)?),
        Kind::Idx => Arc::new(Idx::of_uri(&mut uri)?),
        Kind::Tar => Arc::new(Tar::of_uri(&mut uri)?),
        Kind::Csv => Arc::new(Table::of_uri(&mut uri, Form::Csv)?),
        Kind::JsonLines => Arc::new(Table::of_uri(&mut uri, Form::JsonLines)?),
        Kind::Coco => Arc::new(Coco::of_uri(&mut uri)?),
        Kind::Voc => Arc::new(Voc::of_uri(&mut uri)?),
        Kind::Pairs => Arc::new(Pairs::of_uri(&mut uri)?),
        Kind::Frames => Arc::new(Frames::of_uri(&mut uri)?),
        Kind::Parquet => parquet(&mut uri)?,
        Kind::World => Arc::new(World::of_uri(&mut uri)?),
    };
    uri.finish()?;
    let part = selection.of(source)?;
    if part.is_empty() {
        return Err(SourceError::new(text, "no sample is left in this part"));
    }
    Ok(part)
}

/// At most `most` samples of a source: the part that the option `limit` gives.
pub fn limited(source: Arc<dyn Source>, most: usize) -> Result<Arc<dyn Source>, SourceError> {
    if source.len() <= most {
        return Ok(source);
    }
    Selection::of_limit(most).of(source)
}

/// The samples `indices` of a source, in that order; each is below the source's length.
pub fn picked(source: Arc<dyn Source>, indices: Vec<usize>) -> Arc<dyn Source> {
    Arc::new(part::Part::new(source, indices))
}

#[cfg(feature = "parquet")]
fn parquet(uri: &mut Uri) -> Result<Arc<dyn Source>, SourceError> {
    Ok(Arc::new(Parquet::of_uri(uri)?))
}

#[cfg(not(feature = "parquet"))]
fn parquet(uri: &mut Uri) -> Result<Arc<dyn Source>, SourceError> {
    let problem = "this build does not read parquet files";
    Err(SourceError::new(uri.path.to_string_lossy(), problem)
        .hint("build it with `--features parquet`, and `data pack` makes tar shards of them"))
}

/// A numbered collection of images, read at random and from many threads.
///
/// Labels are optional everywhere: a folder of photographs is a source.
pub trait Source: Send + Sync {
    /// How many samples there are, readable or not.
    fn len(&self) -> usize;

    /// Brings what is stored of sample `index` into `buffer`, whose old content is forgotten and whose memory is used
    /// again. An unreadable sample is an error that names it; the caller decides whether to skip it. Never panics for
    /// `index < len()`.
    fn fetch(&self, index: usize, buffer: &mut Vec<u8>) -> Result<Stored, SourceError>;

    /// What is known of sample `index` beyond its picture and label.
    fn truth(&self, _index: usize) -> Result<Truth, SourceError> {
        Ok(Truth::default())
    }

    /// Sample `index`, whole and decoded, with all that is known of it.
    fn get(&self, index: usize) -> Result<Sample, SourceError> {
        let mut buffer = Vec::new();
        let image = match self.fetch(index, &mut buffer)? {
            Stored::Pixels(image) => image,
            Stored::File => decode::decode(&buffer)
                .map_err(|error| SourceError::undecodable(self.name(index), error))?,
        };
        Ok(Sample { image, label: self.label(index), truth: self.truth(index)? })
    }

    /// The label of a sample without decoding it, `None` where the source has no labels.
    fn label(&self, index: usize) -> Option<u32>;

    /// A short name of a sample for lists and captions: a path relative to the source, or `#17`.
    fn name(&self, index: usize) -> String;

    /// What must not be split between training and test (a patient, a video), as [`Truth::group`] but without reading
    /// the sample. `None` for a sample that stands alone.
    fn group(&self, _index: usize) -> Option<u64> {
        None
    }

    /// Names of the classes by label; empty where there are no labels.
    fn classes(&self) -> &[String];

    /// A text that changes whenever the content may have changed (paths, sizes and times; or seed and version).
    /// Caches of features are keyed by it.
    fn fingerprint(&self) -> String;

    /// What was found unusable while the source was listed: folders and files that could not be looked at.
    fn problems(&self) -> &[SourceError] {
        &[]
    }

    fn is_empty(&self) -> bool {
        self.len() == 0
    }
}

/// What [`Source::fetch`] has found.
#[derive(Debug)]
pub enum Stored {
    /// The buffer holds the bytes of an image file.
    File,
    /// The source keeps pixels. The buffer's memory may have gone into the image.
    Pixels(Image),
}

/// One image and what is known about it.
#[derive(Clone, Debug)]
pub struct Sample {
    pub image: Image,
    pub label: Option<u32>,
    /// What else the source knows; everything absent for a plain folder.
    pub truth: Truth,
}

/// Ground truth beyond a class.
#[derive(Clone, Debug, Default)]
pub struct Truth {
    /// A finer class than `label`, as an index into the source's own list.
    pub fine_label: Option<u32>,
    pub captions: Vec<String>,
    pub objects: Vec<Object>,
    /// Semantic class per pixel, `[height × width]`: 0 is the ground, c + 1 is class c, 255 (of sets that have it) is a
    /// pixel of which nothing is said.
    pub semantic: Option<Vec<u8>>,
    /// Instance number per pixel, `[height × width]`, 0 is the ground, i + 1 is `objects[i]`.
    pub instances: Option<Vec<u8>>,
    /// The next frame, for sources of frame pairs.
    pub motion: Option<Box<Motion>>,
    /// Samples of one group (a patient, a video) must not be split between training and test.
    pub group: Option<u64>,
}

/// An object in an image.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Object {
    pub class: u32,
    /// left, top, right, bottom in pixels; right and bottom are exclusive.
    pub bounds: [f32; 4],
}

/// The frame after a frame, and what is known of the way there.
#[derive(Clone, Debug)]
pub struct Motion {
    pub next: Image,
    /// `None` for a video without ground truth.
    pub flow: Option<Flow>,
}

/// How the pixels of a frame move into the next one; each list is `[height × width]` of the first frame.
#[derive(Clone, Debug, PartialEq)]
pub struct Flow {
    /// (dx, dy) in pixels: how far from its place a pixel is found in the next frame. (0, 0) where it is not known.
    pub vectors: Vec<[f32; 2]>,
    /// Whether the vector is known. A pixel that is hidden in the next frame may have one.
    pub valid: Vec<bool>,
    /// True where the pixel is hidden in the next frame or leaves it; `None` where the source does not say.
    pub occluded: Option<Vec<bool>>,
}

/// Why a sample or a whole source could not be read.
#[derive(Debug, thiserror::Error)]
#[error("{name}: {problem}")]
pub struct SourceError {
    /// The file, the URI or the sample.
    pub name: String,
    /// What was wanted and what was found.
    pub problem: String,
    /// What to do about it, where that is known.
    pub hint: Option<String>,
}

impl SourceError {
    /// An error without a hint.
    pub fn new(name: impl Into<String>, problem: impl Into<String>) -> Self {
        Self { name: name.into(), problem: problem.into(), hint: None }
    }

    /// A picture whose bytes are not an image.
    pub fn undecodable(name: impl Into<String>, error: DecodeError) -> Self {
        Self { name: name.into(), problem: error.problem, hint: error.hint }
    }

    /// The same error with what to do about it.
    #[must_use]
    pub fn hint(self, hint: impl Into<String>) -> Self {
        Self { hint: Some(hint.into()), ..self }
    }
}

/// A 64-bit hash that is the same on every machine and in every version (FNV-1a).
struct Fingerprint(u64);

impl Default for Fingerprint {
    fn default() -> Self {
        Self::new()
    }
}

impl Fingerprint {
    fn new() -> Self {
        Self(0xcbf2_9ce4_8422_2325)
    }

    /// Bytes and their number, so that neighbours cannot run into one another.
    fn bytes(&mut self, bytes: &[u8]) {
        for byte in bytes {
            self.0 = (self.0 ^ u64::from(*byte)).wrapping_mul(0x100_0000_01b3);
        }
        self.number(bytes.len() as u64);
    }

    fn number(&mut self, number: u64) {
        for byte in number.to_le_bytes() {
            self.0 = (self.0 ^ u64::from(byte)).wrapping_mul(0x100_0000_01b3);
        }
    }

    fn text(&self) -> String {
        format!("{:016x}", self.0)
    }
}

/// Files with these extensions (in any case) are taken for images; what a file really is, its bytes say.
const EXTENSIONS: [&str; 14] = [
    "jpg", "jpeg", "jpe", "jfif", "png", "webp", "tif", "tiff", "bmp", "gif", "ppm", "pgm", "pbm",
    "pnm",
];

fn image_extension(extension: &str) -> bool {
    EXTENSIONS.iter().any(|known| known.eq_ignore_ascii_case(extension))
}

/// A file written whole: under another name, to the disk, then renamed.
fn write_whole(path: &Path, content: &[u8]) -> io::Result<()> {
    let mut other = path.as_os_str().to_owned();
    other.push(".partial");
    let mut file = fs::File::create(&other)?;
    file.write_all(content)?;
    file.sync_all()?;
    fs::rename(&other, path)
}

/// The parsers by themselves, for fuzzing: none may panic, whatever the bytes.
#[doc(hidden)]
pub mod fuzz {
    /// A table, as CSV and as JSON lines.
    pub fn table(bytes: &[u8]) {
        super::table::fuzz(bytes);
    }

    /// An annotation file of COCO.
    pub fn coco(bytes: &[u8]) {
        super::coco::fuzz(bytes);
    }

    /// An annotation, or a mask, of VOC.
    pub fn voc(bytes: &[u8]) {
        super::voc::fuzz(bytes);
    }

    /// A file of optical flow.
    pub fn flow(bytes: &[u8]) {
        super::pairs::fuzz(bytes);
    }

    /// A parquet file.
    #[cfg(feature = "parquet")]
    pub fn parquet(bytes: &[u8]) {
        super::parquet::fuzz(bytes);
    }

    /// A tar file, or its index.
    pub fn tar(bytes: &[u8]) {
        super::tar::fuzz(bytes);
    }
}

/// The folder of real data sets that some tests read, named by `VERTEBRA_DATA`; they pass over without it.
#[cfg(test)]
pub(crate) fn real_data(name: &str) -> Option<std::path::PathBuf> {
    let path = std::env::var_os("VERTEBRA_DATA").map(|root| std::path::Path::new(&root).join(name));
    let path = path.filter(|path| path.exists());
    if path.is_none() {
        println!("passed over: VERTEBRA_DATA names no folder with {name}");
    }
    path
}
