//! Views as data: how many, how large, which transforms with which probabilities.

use serde::{Deserialize, Serialize};

/// The random views of one image, for training.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct ViewPlan {
    /// In order; an entry with `count = 2` stands for two views with their own draws.
    pub views: Vec<ViewSpec>,
    pub normalize: Normalize,
}

/// One kind of view. The transforms apply in the order of the fields. The default is the policy of VICReg's
/// paper for both views (Bardes 2022, appendix C.1) at 224 pixels.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct ViewSpec {
    /// How many views of this kind.
    pub count: usize,
    /// Height and width of the view, in pixels.
    pub size: usize,
    pub crop: Crop,
    /// Probability of a horizontal flip.
    pub flip: f64,
    pub jitter: Jitter,
    /// Probability of grey (in three channels).
    pub grayscale: f64,
    pub blur: Blur,
    /// Probability of inverting every sample ≥ half of the range.
    pub solarize: f64,
}

/// Random resized crop (torchvision's algorithm: ten tries, then the centred fallback).
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Crop {
    /// Smallest and largest share of the image's area.
    pub scale: [f64; 2],
    /// Smallest and largest width / height, drawn uniformly in the logarithm.
    pub ratio: [f64; 2],
    pub interpolation: Interpolation,
}

/// How pixels are resampled; always antialiased, as Pillow does it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Interpolation {
    Bilinear,
    /// Keys' kernel with a = −0.5.
    Bicubic,
}

/// Brightness, contrast, saturation and hue in a random order (torchvision's ColorJitter).
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Jitter {
    pub probability: f64,
    /// A factor is drawn from [max(0, 1 − b), 1 + b].
    pub brightness: f64,
    pub contrast: f64,
    pub saturation: f64,
    /// A shift is drawn from [−h, h] turns, 0 ≤ h ≤ 0.5.
    pub hue: f64,
}

/// Gaussian blur by Pillow's three extended box passes.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Blur {
    pub probability: f64,
    /// Smallest and largest standard deviation, in pixels of the view.
    pub sigma: [f64; 2],
}

/// From samples in [0, 1] to (x − mean) / std, channel by channel.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Normalize {
    pub mean: Vec<f32>,
    pub std: Vec<f32>,
}

/// How a picture is prepared for a frozen encoder: short side to `resize`, centred square of `crop`, normalise.
/// It travels with the weights.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Preprocess {
    pub resize: usize,
    pub crop: usize,
    pub interpolation: Interpolation,
    pub normalize: Normalize,
}

impl Default for ViewSpec {
    fn default() -> Self {
        Self {
            count: 1,
            size: 224,
            crop: Crop::default(),
            flip: 0.5,
            jitter: Jitter::default(),
            grayscale: 0.2,
            blur: Blur::default(),
            solarize: 0.1,
        }
    }
}

impl Default for Crop {
    fn default() -> Self {
        Self {
            scale: [0.08, 1.0],
            ratio: [3.0 / 4.0, 4.0 / 3.0],
            interpolation: Interpolation::Bicubic,
        }
    }
}

impl Default for Jitter {
    fn default() -> Self {
        Self { probability: 0.8, brightness: 0.4, contrast: 0.4, saturation: 0.2, hue: 0.1 }
    }
}

impl Default for Blur {
    fn default() -> Self {
        Self { probability: 0.5, sigma: [0.1, 2.0] }
    }
}

impl Normalize {
    /// ImageNet's channel statistics.
    pub fn imagenet() -> Self {
        Self { mean: vec![0.485, 0.456, 0.406], std: vec![0.229, 0.224, 0.225] }
    }
}

impl ViewPlan {
    /// One entry per view: `count` unfolded.
    pub fn unfolded(&self) -> Vec<&ViewSpec> {
        self.views.iter().flat_map(|spec| std::iter::repeat_n(spec, spec.count)).collect()
    }
}

/// Something in a plan that cannot be done, found when the recipe is checked.
#[derive(Debug, thiserror::Error, PartialEq)]
#[error("{field}: {problem}")]
pub struct PlanError {
    /// The path of the field, as in `views.0.jitter.hue`.
    pub field: String,
    /// What was wanted and what was found.
    pub problem: String,
}
