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
    /// Crop and flip are those of the first view, so that both show the same place and differ in their colours only. They
    /// are written as there, `crop` and `flip` too.
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    pub aligned: bool,
    pub jitter: Jitter,
    /// Probability of grey (in three channels).
    pub grayscale: f64,
    #[serde(skip_serializing_if = "Channels::is_default")]
    pub channels: Channels,
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

/// Brightness, contrast, saturation and hue, in a random order (torchvision's ColorJitter) or in this one.
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
    /// Whether the order is drawn. In a fixed one the four numbers say all that was done.
    #[serde(skip_serializing_if = "Clone::clone")]
    pub shuffle: bool,
}

/// Changes of each channel on its own, for images of any number of channels: what jitter is to colour. Nothing is on
/// unless a strength is given.
///
/// Shares are of the whole depth, 255 or 65535. Images that fill a small part of it, as 12 bits in 16 do, want smaller
/// ones: the standard deviations that `vertebra data stats` prints are the measure.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Channels {
    /// Probability that a view is changed at all.
    pub probability: f64,
    /// A factor is drawn for each channel from [max(0, 1 − g), 1 + g].
    pub gain: f64,
    /// A share of the range is drawn for each channel from [−o, o] and added.
    pub offset: f64,
    /// An exponent of samples in [0, 1] is drawn for each channel from [1/g, g], uniformly in the logarithm; g ≥ 1.
    pub gamma: f64,
    /// The standard deviation of Gaussian noise, a share of the range, is drawn for the view from [low, high].
    pub noise: [f64; 2],
    /// Probability that one channel, any of them, becomes 0 in a view that is changed.
    pub drop: f64,
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
            aligned: false,
            jitter: Jitter::default(),
            grayscale: 0.2,
            channels: Channels::default(),
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
        Self {
            probability: 0.8,
            brightness: 0.4,
            contrast: 0.4,
            saturation: 0.2,
            hue: 0.1,
            shuffle: true,
        }
    }
}

impl Default for Channels {
    fn default() -> Self {
        Self { probability: 1.0, gain: 0.0, offset: 0.0, gamma: 1.0, noise: [0.0; 2], drop: 0.0 }
    }
}

impl Channels {
    /// Whether these are the values that a recipe need not write.
    fn is_default(&self) -> bool {
        *self == Self::default()
    }

    /// Whether no strength is given, so that no view can be changed.
    pub fn is_off(&self) -> bool {
        let Self { gain, offset, gamma, noise, drop, .. } = *self;
        (gain, offset, gamma, noise[1], drop) == (0.0, 0.0, 1.0, 0.0, 0.0)
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
    /// Whether all views show the same place, every one after the first being aligned, and jitter has a fixed order: then the
    /// numbers of two records say how to get from one view to the other.
    pub fn is_aligned(&self) -> bool {
        let ordered = |jitter: &Jitter| !jitter.shuffle || jitter.probability == 0.0;
        let views = self.unfolded();
        views.iter().skip(1).all(|spec| spec.aligned) && views.iter().all(|it| ordered(&it.jitter))
    }

    /// One entry per view: `count` unfolded.
    pub fn unfolded(&self) -> Vec<&ViewSpec> {
        self.views.iter().flat_map(|spec| std::iter::repeat_n(spec, spec.count)).collect()
    }
}

impl ViewPlan {
    /// Whether every view can be made from images of `channels` channels. Nothing in a run fails on a plan that
    /// passes.
    pub fn check(&self, channels: usize) -> Result<(), PlanError> {
        if self.unfolded().is_empty() {
            return refuse("views", "at least one view is needed, found none");
        }
        for (index, spec) in self.views.iter().enumerate() {
            spec.check(channels).map_err(|error| error.under(&format!("views.{index}")))?;
            let first = &self.views[0];
            if spec.aligned && (spec.crop, spec.flip) != (first.crop, first.flip) {
                let problem = "an aligned view has the `crop` and the `flip` of the first view, and these differ";
                return refuse(&format!("views.{index}.aligned"), problem);
            }
        }
        self.normalize.check(channels).map_err(|error| error.under("normalize"))
    }
}

impl ViewSpec {
    /// Whether a view may be changed by a transform that is defined for RGB only.
    pub fn uses_colour(&self) -> bool {
        self.jitter.probability > 0.0 || self.grayscale > 0.0
    }

    fn check(&self, channels: usize) -> Result<(), PlanError> {
        if self.size == 0 {
            return refuse("size", "a view needs at least 1 pixel, found 0");
        }
        probability("flip", self.flip)?;
        probability("jitter.probability", self.jitter.probability)?;
        probability("grayscale", self.grayscale)?;
        probability("blur.probability", self.blur.probability)?;
        probability("solarize", self.solarize)?;
        ordered("crop.scale", self.crop.scale)?;
        if self.crop.scale[1] > 1.0 {
            let found = self.crop.scale[1];
            return refuse(
                "crop.scale",
                &format!("no crop is larger than its image, found {found}"),
            );
        }
        ordered("crop.ratio", self.crop.ratio)?;
        ordered("blur.sigma", self.blur.sigma)?;
        self.jitter.check().map_err(|error| error.under("jitter"))?;
        self.channels.check(channels).map_err(|error| error.under("channels"))?;
        for (field, chance) in
            [("jitter.probability", self.jitter.probability), ("grayscale", self.grayscale)]
        {
            if channels != 3 && chance > 0.0 {
                let problem = format!(
                    "colour is defined for 3 channels, and these images have {channels}; set it to 0 and use `channels` \
                     (gain, offset, gamma, noise), which is defined for any number"
                );
                return refuse(field, &problem);
            }
        }
        Ok(())
    }
}

impl Jitter {
    fn check(&self) -> Result<(), PlanError> {
        let strengths = [
            ("brightness", self.brightness),
            ("contrast", self.contrast),
            ("saturation", self.saturation),
        ];
        for (field, strength) in strengths {
            if !(strength.is_finite() && strength >= 0.0) {
                return refuse(
                    field,
                    &format!("a strength of 0 or more is needed, found {strength}"),
                );
            }
        }
        if !(0.0..=0.5).contains(&self.hue) {
            return refuse("hue", &format!("turns in [0, 0.5] are needed, found {}", self.hue));
        }
        Ok(())
    }
}

impl Channels {
    fn check(&self, channels: usize) -> Result<(), PlanError> {
        let Self { probability: chance, gain, offset, gamma, noise: [low, high], drop } = *self;
        probability("probability", chance)?;
        probability("drop", drop)?;
        if !(gain.is_finite() && gain >= 0.0) {
            return refuse("gain", &format!("a strength of 0 or more is needed, found {gain}"));
        }
        if !(0.0..=1.0).contains(&offset) {
            let problem = format!("a share of the range in [0, 1] is needed, found {offset}");
            return refuse("offset", &problem);
        }
        if !(gamma.is_finite() && gamma >= 1.0) {
            let problem = format!(
                "the largest exponent, 1 or more, is needed (its inverse is the smallest), found {gamma}"
            );
            return refuse("gamma", &problem);
        }
        if !(0.0 <= low && low <= high && high <= 1.0) {
            let problem = format!(
                "two shares of the range in [0, 1] are needed, the smaller one first, found [{low}, {high}]"
            );
            return refuse("noise", &problem);
        }
        if drop > 0.0 && channels < 2 {
            let problem =
                format!("{channels} channel cannot be dropped, nothing would be left; set it to 0");
            return refuse("drop", &problem);
        }
        Ok(())
    }
}

impl Normalize {
    fn check(&self, channels: usize) -> Result<(), PlanError> {
        for (field, numbers) in [("mean", &self.mean), ("std", &self.std)] {
            if numbers.len() != channels {
                let found = numbers.len();
                let problem =
                    format!("one number per channel ({channels}) is needed, found {found}");
                return refuse(field, &problem);
            }
        }
        if let Some(mean) = self.mean.iter().find(|mean| !mean.is_finite()) {
            return refuse("mean", &format!("finite numbers are needed, found {mean}"));
        }
        if let Some(std) = self.std.iter().find(|std| !(std.is_finite() && **std > 0.0)) {
            return refuse("std", &format!("numbers above 0 are needed, found {std}"));
        }
        Ok(())
    }
}

impl Preprocess {
    /// Whether images of `channels` channels can be prepared so.
    pub fn check(&self, channels: usize) -> Result<(), PlanError> {
        let Self { resize, crop, .. } = self;
        if *crop == 0 {
            return refuse("crop", "an image needs at least 1 pixel, found 0");
        }
        if crop > resize {
            let problem = format!("a crop of at most `resize` ({resize}) is needed, found {crop}");
            return refuse("crop", &problem);
        }
        self.normalize.check(channels).map_err(|error| error.under("normalize"))
    }
}

fn refuse<T>(field: &str, problem: &str) -> Result<T, PlanError> {
    Err(PlanError { field: field.into(), problem: problem.into() })
}

fn probability(field: &str, found: f64) -> Result<(), PlanError> {
    if (0.0..=1.0).contains(&found) {
        return Ok(());
    }
    refuse(field, &format!("a probability in [0, 1] is needed, found {found}"))
}

/// Positive numbers, the smaller one first.
fn ordered(field: &str, [low, high]: [f64; 2]) -> Result<(), PlanError> {
    if low > 0.0 && low <= high && high.is_finite() {
        return Ok(());
    }
    let problem =
        format!("two numbers above 0 are needed, the smaller one first, found [{low}, {high}]");
    refuse(field, &problem)
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

impl PlanError {
    /// The same error, seen from the structure that holds the field's structure.
    fn under(self, parent: &str) -> Self {
        Self { field: format!("{parent}.{}", self.field), ..self }
    }
}
