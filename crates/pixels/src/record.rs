//! What was done to make a view.

use serde::{Deserialize, Serialize};

/// Everything random about one view, so that later stages can relate two views of one image (matching by
/// location, action vectors, the study of transforms) and a person can read what they see.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct ViewRecord {
    /// Width and height of the source image, in pixels, after EXIF orientation.
    pub source: [usize; 2],
    /// The crop, in source pixels.
    pub crop: CropBox,
    pub flipped: bool,
    /// `None` when the jitter was not applied.
    pub jitter: Option<JitterRecord>,
    pub grayscale: bool,
    /// Standard deviation in pixels, `None` when not blurred.
    pub blur: Option<f32>,
    pub solarized: bool,
}

/// A rectangle in source pixels.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct CropBox {
    pub top: usize,
    pub left: usize,
    pub height: usize,
    pub width: usize,
}

/// The parameters of a colour jitter.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
pub struct JitterRecord {
    /// Which operation came first to last: 0 brightness, 1 contrast, 2 saturation, 3 hue.
    pub order: [u8; 4],
    /// Factors; 1 changes nothing.
    pub brightness: f32,
    pub contrast: f32,
    pub saturation: f32,
    /// Turns in [−0.5, 0.5]; 0 changes nothing.
    pub hue: f32,
}
