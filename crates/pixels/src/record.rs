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
    /// `None` when no channel was changed on its own.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub channels: Option<ChannelsRecord>,
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

/// What was done to the channels one by one, in this order: gain and offset, gamma, noise; or the drop.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct ChannelsRecord {
    /// One factor per channel; 1 changes nothing.
    pub gain: Vec<f32>,
    /// What is added to each channel after its gain, as a share of the range; 0 changes nothing.
    pub offset: Vec<f32>,
    /// One exponent per channel; 1 changes nothing, a smaller one brightens.
    pub gamma: Vec<f32>,
    /// Standard deviation of the noise as a share of the range; 0 is none.
    pub noise: f32,
    /// Names the noise, together with channel and pixel. Below 2⁵³, so that every reader of JSON keeps it.
    pub noise_seed: u64,
    /// The channel that was made 0, counted from 0.
    pub dropped: Option<usize>,
}

/// The layout of [`ViewRecord::vector`]; stored with whatever was trained on it.
pub const VECTOR_VERSION: u32 = 1;

impl ViewRecord {
    /// That of a whole image of `source` size (width, height), to which nothing was done.
    pub fn untouched(source: [usize; 2]) -> Self {
        let [width, height] = source;
        Self {
            source,
            crop: CropBox { top: 0, left: 0, height, width },
            flipped: false,
            jitter: None,
            grayscale: false,
            channels: None,
            blur: None,
            solarized: false,
        }
    }

    /// The crop and the flip alone.
    #[must_use]
    pub fn geometry(&self) -> Self {
        let (jitter, grayscale, blur, solarized) = (None, false, None, false);
        Self { jitter, grayscale, blur, solarized, ..self.clone() }
    }

    /// The record as twenty numbers of about [−1, 1], for predictors that are told what was done:
    ///
    /// | index | content |
    /// |---|---|
    /// | 0, 1 | centre of the crop, vertical and horizontal: −1 top or left edge, 1 bottom or right |
    /// | 2, 3 | ln of the crop's height and width as shares of the source's |
    /// | 4 | flip: 1 yes, −1 no |
    /// | 5, 6 | sine and cosine of a rotation: 0, 1 (views are not rotated) |
    /// | 7 | jitter: 1 yes, 0 no |
    /// | 8–10 | ln of brightness, contrast, saturation, not below ln 0.05 |
    /// | 11 | hue · 2 |
    /// | 12–15 | place of brightness, contrast, saturation, hue in the order: −1 first, 1 last |
    /// | 16 | grey: 1 or 0 |
    /// | 17, 18 | blur: 1 or 0, σ / 2 |
    /// | 19 | solarized: 1 or 0 |
    ///
    /// Without jitter the factors are neutral and the order is the unpermuted one. What was done to single channels
    /// (`channels`) is no part of this version: its length depends on the images.
    pub fn vector(&self) -> [f32; 20] {
        let jitter = self.jitter.unwrap_or(JitterRecord::NEUTRAL);
        let [width, height] = self.source.map(|side| side as f32);
        let share = |start: usize, size: usize, whole: f32| {
            [(start as f32 + size as f32 / 2.0) / whole * 2.0 - 1.0, (size as f32 / whole).ln()]
        };
        let [cy, lh] = share(self.crop.top, self.crop.height, height);
        let [cx, lw] = share(self.crop.left, self.crop.width, width);
        let flag = |on: bool| f32::from(u8::from(on));
        let mut vector = [0.0; 20];
        vector[..8].copy_from_slice(&[
            cy,
            cx,
            lh,
            lw,
            flag(self.flipped) * 2.0 - 1.0,
            0.0,
            1.0,
            flag(self.jitter.is_some()),
        ]);
        let factors = [jitter.brightness, jitter.contrast, jitter.saturation];
        for (number, factor) in vector[8..11].iter_mut().zip(factors) {
            *number = factor.max(0.05).ln();
        }
        vector[11] = jitter.hue * 2.0;
        for (place, &op) in jitter.order.iter().enumerate() {
            if let Some(number) = vector[12..16].get_mut(usize::from(op)) {
                *number = place as f32 / 3.0 * 2.0 - 1.0;
            }
        }
        vector[16] = flag(self.grayscale);
        vector[17] = flag(self.blur.is_some());
        vector[18] = self.blur.unwrap_or(0.0) / 2.0;
        vector[19] = flag(self.solarized);
        vector
    }

    /// A caption in words, as in "crop 45 % at (12, 30), flipped, brightness ×1.20, …"; (12, 30) is left and top.
    pub fn describe(&self) -> String {
        let CropBox { top, left, height, width } = self.crop;
        let share = (height * width) as f64 / (self.source[0] * self.source[1]) as f64;
        let mut words = vec![format!("crop {:.0} % at ({left}, {top})", share * 100.0)];
        if self.flipped {
            words.push("flipped".into());
        }
        if let Some(jitter) = &self.jitter {
            words.extend(jitter.order.iter().map(|op| match op {
                0 => format!("brightness ×{:.2}", jitter.brightness),
                1 => format!("contrast ×{:.2}", jitter.contrast),
                2 => format!("saturation ×{:.2}", jitter.saturation),
                _ => format!("hue {:+.0}°", jitter.hue * 360.0),
            }));
        }
        if self.grayscale {
            words.push("grey".into());
        }
        words.extend(self.channels.iter().flat_map(ChannelsRecord::describe));
        if let Some(sigma) = self.blur {
            words.push(format!("blur σ {sigma:.1}"));
        }
        if self.solarized {
            words.push("solarized".into());
        }
        words.join(", ")
    }
}

impl ChannelsRecord {
    /// What changed something, in words, channel by channel: "gain ×1.20 ×0.95", "noise σ 0.0100", "channel 2 off".
    fn describe(&self) -> Vec<String> {
        let list = |name: &str, values: &[f32], neutral: f32, show: fn(f32) -> String| {
            let changes = values.iter().any(|&value| value != neutral);
            let shown: Vec<String> = values.iter().map(|&value| show(value)).collect();
            changes.then(|| format!("{name} {}", shown.join(" ")))
        };
        let mut words: Vec<String> = [
            list("gain", &self.gain, 1.0, |v| format!("×{v:.2}")),
            list("offset", &self.offset, 0.0, |v| format!("{v:+.4}")),
            list("γ", &self.gamma, 1.0, |v| format!("{v:.2}")),
        ]
        .into_iter()
        .flatten()
        .collect();
        if self.noise > 0.0 {
            words.push(format!("noise σ {:.4}", self.noise));
        }
        words.extend(self.dropped.map(|channel| format!("channel {} off", channel + 1)));
        words
    }
}

impl JitterRecord {
    /// A jitter that changes nothing.
    pub const NEUTRAL: Self =
        Self { order: [0, 1, 2, 3], brightness: 1.0, contrast: 1.0, saturation: 1.0, hue: 0.0 };
}
