//! Corruptions of pictures, to see how well a model holds under them: those of ImageNet-C that a formula defines
//! (Hendrycks and Dietterich 2019, arXiv 1903.12261), with the constants of the authors' generator for the severities 1 to 5.
//!
//! The constants are for pictures of 224 pixels, after resize and crop and before normalisation. For other sizes those
//! in pixels (the blurs) stay as they are, and so weigh more in a smaller picture. Numbers become bytes by cutting off, as
//! the generator has it. Two things differ from the published files: these were stored as JPEG of quality 85, which is
//! not done here, and chance is this crate's own.
//!
//! Left out are glass, elastic and fog (chance that cannot be told in a formula of each pixel), motion and snow (which are
//! ImageMagick's), frost (which needs photographs) and spatter. An average over these corruptions is thus no mCE.

mod blur;
mod colour;
mod digital;
mod noise;

use std::fmt;

use serde::{Deserialize, Serialize};

use crate::draw::{Draw, Purpose, Stream};
use crate::planes::{AnyPlanes, Planes};

/// What is done to a picture. The numbers address the noise, so they must stay.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
#[repr(u64)]
pub enum Corruption {
    /// Normal noise of standard deviation .08, .12, .18, .26, .38 on every sample; samples are shares of 255 here and below.
    GaussianNoise = 0,
    /// A Poisson number of photons, 60, 25, 12, 5, 3 for a full sample.
    ShotNoise = 1,
    /// A share of .03, .06, .09, .17, .27 of the samples becomes 0 or 255, with equal chance.
    ImpulseNoise = 2,
    /// Normal noise in proportion to the sample, .15, .2, .35, .45, .6 of it.
    SpeckleNoise = 3,
    /// A Gaussian of standard deviation 1, 2, 3, 4, 6 pixels.
    GaussianBlur = 4,
    /// A disc of radius 3, 4, 6, 8, 10 pixels, its rim softened.
    DefocusBlur = 5,
    /// The mean of copies magnified by up to 1.11, 1.15, 1.2, 1.24, 1.3.
    ZoomBlur = 6,
    /// .1, .2, .3, .4, .5 more of the value of HSV.
    Brightness = 7,
    /// Distances from each channel's mean times .4, .3, .2, .1, .05.
    Contrast = 8,
    /// The saturation s of HSV becomes .3 s, .1 s, 2 s, 5 s + .1, 20 s + .2. Needs three channels.
    Saturate = 9,
    /// Reduced to .6, .5, .4, .3, .25 of the side by means over boxes, and magnified again.
    Pixelate = 10,
    /// Through a JPEG file of quality 25, 18, 15, 10, 7.
    JpegCompression = 11,
}

/// A corruption at a severity from 1 to 5.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(try_from = "Unchecked")]
pub struct Corrupted {
    corruption: Corruption,
    severity: u8,
}

/// A [`Corrupted`] as it is read.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Unchecked {
    corruption: Corruption,
    severity: u8,
}

/// Why something cannot be corrupted.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum CorruptError {
    #[error("a corruption has a severity from 1 to 5, found {0}")]
    Severity(u8),
    #[error("{corruption} needs pictures of {wanted}, found {found}")]
    Picture { corruption: Corruption, wanted: &'static str, found: String },
}

impl Corruption {
    /// All of them.
    pub const ALL: [Self; 12] = [
        Self::GaussianNoise,
        Self::ShotNoise,
        Self::ImpulseNoise,
        Self::SpeckleNoise,
        Self::GaussianBlur,
        Self::DefocusBlur,
        Self::ZoomBlur,
        Self::Brightness,
        Self::Contrast,
        Self::Saturate,
        Self::Pixelate,
        Self::JpegCompression,
    ];

    /// The name in files and tables, which is ImageNet-C's.
    pub fn name(self) -> &'static str {
        match self {
            Self::GaussianNoise => "gaussian_noise",
            Self::ShotNoise => "shot_noise",
            Self::ImpulseNoise => "impulse_noise",
            Self::SpeckleNoise => "speckle_noise",
            Self::GaussianBlur => "gaussian_blur",
            Self::DefocusBlur => "defocus_blur",
            Self::ZoomBlur => "zoom_blur",
            Self::Brightness => "brightness",
            Self::Contrast => "contrast",
            Self::Saturate => "saturate",
            Self::Pixelate => "pixelate",
            Self::JpegCompression => "jpeg_compression",
        }
    }
}

impl fmt::Display for Corruption {
    fn fmt(&self, f: &mut fmt::Formatter) -> fmt::Result {
        f.write_str(self.name())
    }
}

impl Corrupted {
    /// Fails for a severity that is not 1, 2, 3, 4 or 5.
    pub fn new(corruption: Corruption, severity: u8) -> Result<Self, CorruptError> {
        match severity {
            1..=5 => Ok(Self { corruption, severity }),
            _ => Err(CorruptError::Severity(severity)),
        }
    }

    pub fn corruption(self) -> Corruption {
        self.corruption
    }

    /// 1 to 5, 5 being the worst.
    pub fn severity(self) -> u8 {
        self.severity
    }

    /// The chance of one sample: whoever asks, and in whatever order, it is the same.
    pub fn stream(self, seed: u64, sample: u64) -> Stream {
        let (epoch, view) = (self.severity.into(), self.corruption as u64);
        Draw { seed, epoch, sample, view }.stream(Purpose::Corruption)
    }

    /// This severity's of five constants.
    fn pick<T: Copy>(self, constants: [T; 5]) -> T {
        constants[usize::from(self.severity) - 1]
    }
}

impl TryFrom<Unchecked> for Corrupted {
    type Error = CorruptError;

    fn try_from(it: Unchecked) -> Result<Self, CorruptError> {
        Self::new(it.corruption, it.severity)
    }
}

/// Corrupts a picture in place. It must have 8 bits, and 1 or 3 channels; fails for others, and for the saturation of
/// one channel. `stream` is [`Corrupted::stream`]; only the noises draw from it.
pub fn apply(
    image: &mut AnyPlanes,
    corrupted: Corrupted,
    stream: &mut Stream,
) -> Result<(), CorruptError> {
    let image = suited(image, corrupted.corruption)?;
    if image.samples.is_empty() {
        return Ok(());
    }
    let c = corrupted;
    match corrupted.corruption {
        Corruption::GaussianNoise => {
            noise::gaussian(image, c.pick([0.08, 0.12, 0.18, 0.26, 0.38]), stream);
        }
        Corruption::ShotNoise => noise::shot(image, c.pick([60.0, 25.0, 12.0, 5.0, 3.0]), stream),
        Corruption::ImpulseNoise => {
            noise::impulse(image, c.pick([0.03, 0.06, 0.09, 0.17, 0.27]), stream);
        }
        Corruption::SpeckleNoise => {
            noise::speckle(image, c.pick([0.15, 0.2, 0.35, 0.45, 0.6]), stream);
        }
        Corruption::GaussianBlur => blur::gaussian(image, c.pick([1.0, 2.0, 3.0, 4.0, 6.0])),
        Corruption::DefocusBlur => {
            let (radius, sigma) = c.pick([(3, 0.1), (4, 0.5), (6, 0.5), (8, 0.5), (10, 0.5)]);
            blur::defocus(image, radius, sigma);
        }
        Corruption::ZoomBlur => {
            // In floating point the first range reaches its end, 1.11, and the others do not.
            let (copies, step) =
                c.pick([(12, 0.01), (16, 0.01), (11, 0.02), (13, 0.02), (11, 0.03)]);
            blur::zoom(image, copies, step);
        }
        Corruption::Brightness => colour::brightness(image, c.pick([0.1, 0.2, 0.3, 0.4, 0.5])),
        Corruption::Contrast => colour::contrast(image, c.pick([0.4, 0.3, 0.2, 0.1, 0.05])),
        Corruption::Saturate => {
            let (factor, more) =
                c.pick([(0.3, 0.0), (0.1, 0.0), (2.0, 0.0), (5.0, 0.1), (20.0, 0.2)]);
            colour::saturate(image, factor, more);
        }
        Corruption::Pixelate => digital::pixelate(image, c.pick([0.6, 0.5, 0.4, 0.3, 0.25])),
        Corruption::JpegCompression => return digital::jpeg(image, c.pick([25, 18, 15, 10, 7])),
    }
    Ok(())
}

/// The planes, where the corruption is defined for them.
fn suited(image: &mut AnyPlanes, corruption: Corruption) -> Result<&mut Planes<u8>, CorruptError> {
    let channels = image.channels();
    let refused = |wanted, found| Err(CorruptError::Picture { corruption, wanted, found });
    match (image, corruption) {
        (AnyPlanes::U16(_), _) => refused("8 bits", "16".into()),
        (_, Corruption::Saturate) if channels != 3 => refused("3 channels", channels.to_string()),
        (AnyPlanes::U8(image), _) if matches!(channels, 1 | 3) => Ok(image),
        _ => refused("1 or 3 channels", channels.to_string()),
    }
}

/// A sample as a share of the largest.
fn share(sample: u8) -> f64 {
    f64::from(sample) / 255.0
}

/// The sample of a share, cut off and not rounded.
fn sample(share: f64) -> u8 {
    (share.clamp(0.0, 1.0) * 255.0) as u8
}

#[cfg(test)]
mod tests;
