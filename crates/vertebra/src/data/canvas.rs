//! Images as a frozen encoder sees them, and what the photometric operations of views make of them.

use pixels::draw::{Draw, Purpose};
use pixels::image::Image;
use pixels::plan::{Jitter, Preprocess, ViewSpec};
use pixels::record::{CropBox, ViewRecord};
use pixels::source::Source;
use pixels::view;

use crate::error::{Error, Result};

/// Strengths of brightness, contrast, saturation and hue, as in [`Jitter`].
pub type Strengths = [f64; 4];

/// A prepared image, square, RGB of 8 bits, not yet normalised.
pub struct Canvas {
    /// Its place in the source.
    pub sample: usize,
    pub image: Image,
}

impl Canvas {
    /// `count` readable images of a source, drawn by `seed`; fewer where there are not as many. A draw of fewer images is the beginning
    /// of a larger one. Fails where the encoder takes other than three channels, for which colour is not defined, and where no image
    /// can be read.
    pub fn drawn(
        source: &dyn Source,
        preprocess: &Preprocess,
        count: usize,
        seed: u64,
    ) -> Result<Vec<Self>> {
        let channels = preprocess.normalize.mean.len();
        if channels != 3 {
            return Err(Error::Usage {
                problem: format!(
                    "changes of colour are defined for 3 channels, and the encoder takes {channels}"
                ),
                hint: Some("give an encoder of RGB images".into()),
            });
        }
        let order = Draw::of_seed(seed).stream(Purpose::Split).permutation(source.len());
        let canvas = |sample: usize| {
            let image = source.get(sample).ok()?.image.into_channels(3)?;
            let image = view::prepare(&image, preprocess);
            let untouched = ViewRecord::untouched([image.width, image.height]);
            // Colour is computed on 8 bits.
            let image = replayed(&image, &untouched);
            Some(Self { sample, image })
        };
        let found: Vec<Self> = order.into_iter().filter_map(canvas).take(count).collect();
        if found.is_empty() {
            return Err(Error::Usage {
                problem: "none of the images can be read".into(),
                hint: Some("`vertebra data inspect` lists what is wrong with each".into()),
            });
        }
        Ok(found)
    }

    /// Nothing done.
    pub fn untouched(&self) -> ViewRecord {
        ViewRecord::untouched([self.image.width, self.image.height])
    }

    /// `count` settings of a jitter that is always applied, in the order brightness, contrast, saturation, hue. Setting k is a function
    /// of the seed, the image's place and k.
    pub fn settings(&self, strengths: Strengths, count: usize, seed: u64) -> Vec<ViewRecord> {
        let [brightness, contrast, saturation, hue] = strengths;
        let (probability, shuffle) = (1.0, false);
        let jitter = Jitter { probability, brightness, contrast, saturation, hue, shuffle };
        let spec = ViewSpec { jitter, ..ViewSpec::default() };
        let setting = |view: usize| {
            let draw = Draw { seed, epoch: 0, sample: self.sample as u64, view: view as u64 };
            let size = [self.image.width, self.image.height];
            let jitter = view::choose(size, self.image.channels, &spec, draw).jitter;
            ViewRecord { jitter, ..self.untouched() }
        };
        (0..count).map(setting).collect()
    }

    /// The image after a record without a crop and a flip of its own.
    pub fn show(&self, record: &ViewRecord) -> Image {
        replayed(&self.image, record)
    }

    /// A part of the image, in pixels; none of it may lie outside.
    pub fn part(&self, part: CropBox) -> Image {
        let spec = ViewSpec { size: part.width, ..ViewSpec::default() };
        view::replay(&self.image, &spec, &ViewRecord { crop: part, ..self.untouched() })
    }
}

/// A view of the image's own size.
fn replayed(image: &Image, record: &ViewRecord) -> Image {
    // A shift of hue is not free of rounding even where it is 0: it is applied where there is one.
    let hue = if record.jitter.is_some_and(|jitter| jitter.hue != 0.0) { 0.5 } else { 0.0 };
    let jitter = Jitter { hue, ..Jitter::default() };
    let spec = ViewSpec { size: image.width, jitter, ..ViewSpec::default() };
    view::replay(image, &spec, record)
}

#[cfg(test)]
mod tests {
    use pixels::plan::{Interpolation, Normalize};

    use super::*;

    fn preprocess() -> Preprocess {
        let (interpolation, normalize) = (Interpolation::Bicubic, Normalize::imagenet());
        Preprocess { resize: 16, crop: 16, interpolation, normalize }
    }

    #[test]
    fn a_canvas_is_the_prepared_image_and_its_settings_are_addressed() {
        let source = pixels::source::open("world:?size=24&count=9").unwrap();
        let drawn = |count| Canvas::drawn(source.as_ref(), &preprocess(), count, 5).unwrap();
        let (few, all) = (drawn(3), drawn(100));
        assert_eq!(all.len(), 9);
        for (a, b) in few.iter().zip(&all) {
            let sample = source.get(a.sample).unwrap();
            let prepared = view::prepare(&sample.image, &preprocess());
            assert!(a.sample == b.sample && a.image == prepared);
            assert!(a.show(&a.untouched()) == prepared, "nothing done changes nothing");
            let strengths = [0.4, 0.4, 0.2, 0.1];
            let settings = a.settings(strengths, 6, 1);
            assert_eq!(settings[..2], a.settings(strengths, 2, 1)[..]);
            assert_ne!(settings, a.settings(strengths, 6, 2));
            assert!(settings.iter().all(|it| it.jitter.is_some_and(|it| it.order == [0, 1, 2, 3])));
            assert!(a.show(&settings[0]) != prepared);
        }
    }

    #[test]
    fn images_of_other_channels_have_no_colour() {
        let source = pixels::source::open("world:?size=24&count=2").unwrap();
        let normalize = Normalize { mean: vec![0.5], std: vec![0.5] };
        let grey = Preprocess { normalize, ..preprocess() };
        let error = Canvas::drawn(source.as_ref(), &grey, 1, 0).err().unwrap().to_string();
        assert!(error.contains("3 channels, and the encoder takes 1"), "{error}");
    }
}
