//! Where images come from.

use crate::image::Image;

/// A numbered collection of images, read at random and from many threads.
///
/// Labels are optional everywhere: a folder of photographs is a source.
pub trait Source: Send + Sync {
    /// How many samples there are, readable or not.
    fn len(&self) -> usize;

    /// Sample `index`, decoded. An unreadable one is an error that names its file; the caller decides whether to
    /// skip it. Never panics for `index < len()`.
    fn get(&self, index: usize) -> Result<Sample, SourceError>;

    /// The label of a sample without decoding it, `None` where the source has no labels.
    fn label(&self, index: usize) -> Option<u32>;

    /// A short name of a sample for lists and captions: a path relative to the source, or `#17`.
    fn name(&self, index: usize) -> String;

    /// Names of the classes by label; empty where there are no labels.
    fn classes(&self) -> &[String];

    /// A text that changes whenever the content may have changed (paths, sizes and times; or seed and version).
    /// Caches of features are keyed by it.
    fn fingerprint(&self) -> String;

    fn is_empty(&self) -> bool {
        self.len() == 0
    }
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
    /// Semantic class per pixel, `[height × width]`, 0 is the ground.
    pub semantic: Option<Vec<u8>>,
    /// Instance number per pixel, `[height × width]`, 0 is the ground, i + 1 is `objects[i]`.
    pub instances: Option<Vec<u8>>,
    /// The next frame, for sources of frame pairs.
    pub motion: Option<Box<Motion>>,
    /// Samples of one group (a patient, a video) must not be split between training and test.
    pub group: Option<u64>,
}

/// An object in an image.
#[derive(Clone, Debug, PartialEq)]
pub struct Object {
    pub class: u32,
    /// left, top, right, bottom in pixels; right and bottom are exclusive.
    pub bounds: [f32; 4],
}

/// How a frame moves into the next.
#[derive(Clone, Debug)]
pub struct Motion {
    pub next: Image,
    /// (dx, dy) per pixel of the first frame, `[height × width]`: where it is found in the next.
    pub flow: Vec<[f32; 2]>,
    /// True where the pixel is hidden in the next frame, or leaves it.
    pub occluded: Vec<bool>,
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
