//! The promises of the views, checked on this machine and on a person's own images.

use std::sync::Arc;

use serde::Deserialize;

use crate::draw::Draw;
use crate::image::{Image, Samples};
use crate::loader::{Loader, LoaderOptions};
use crate::numbers::{Form, write_normalized};
use crate::plan::{Crop, Interpolation, ViewPlan, ViewSpec};
use crate::record::ViewRecord;
use crate::source::{Source, SourceError};
use crate::view::{render, replay};

/// A view that torchvision made of a PIL image, recorded by `fixtures/record_views.py`.
#[derive(Deserialize)]
pub struct Recorded {
    /// A formula as in `pattern 64 48 3` (width, height, channels), or a lossless file of the data sets of the tests.
    pub picture: String,
    pub size: usize,
    pub interpolation: Interpolation,
    pub record: ViewRecord,
    /// [`signature`] of the view.
    pub signature: (u64, u64),
}

/// All recorded views.
pub fn recorded() -> Vec<Recorded> {
    serde_json::from_str(include_str!("../../../fixtures/views.json"))
        .expect("the file is a part of the program")
}

impl Recorded {
    /// The picture that a formula makes; `None` for a file.
    pub fn pattern(&self) -> Option<Image> {
        let mut sizes = self.picture.strip_prefix("pattern ")?.split(' ').flat_map(str::parse);
        Some(pattern(sizes.next()?, sizes.next()?, sizes.next()?))
    }

    /// Whether the same view is made here, to the bit.
    pub fn holds(&self, picture: &Image) -> bool {
        let crop = Crop { interpolation: self.interpolation, ..Crop::default() };
        let mut spec = ViewSpec { size: self.size, crop, ..ViewSpec::default() };
        if picture.channels == 1 {
            spec.jitter.probability = 0.0;
            spec.grayscale = 0.0;
        }
        signature(&replay(picture, &spec, &self.record)) == self.signature
    }
}

/// A picture by formula, whose values run over all of 0..=255.
pub fn pattern(width: usize, height: usize, channels: usize) -> Image {
    let value = |x, y, c| (7 * x + 13 * y + 3 * x * y + 85 * c + 11 * c * x) % 256;
    let pixel = |at: usize| (0..channels).map(move |c| value(at % width, at / width, c) as u8);
    Image::from_u8(width, height, channels, (0..width * height).flat_map(pixel).collect())
}

/// The sum of the samples, and a sum that also depends on where they are; equal for equal pictures, and in practice for
/// no others.
pub fn signature(image: &Image) -> (u64, u64) {
    let sums = |samples: &mut dyn Iterator<Item = u64>| {
        samples.enumerate().fold((0, 0), |(sum, placed), (k, sample)| {
            (sum + sample, placed + sample * (k as u64 % 251 + 1))
        })
    };
    match &image.samples {
        Samples::U8(samples) => sums(&mut samples.iter().map(|&v| v.into())),
        Samples::U16(samples) => sums(&mut samples.iter().map(|&v| v.into())),
    }
}

/// Compares the views that the loader makes of a source's first batches, in exact mode and on all its threads, with views
/// of the whole images made one by one. How many were equal; an error that names the first that is not.
pub fn views_of(
    source: &Arc<dyn Source>,
    plan: &ViewPlan,
    options: LoaderOptions,
    images: usize,
) -> Result<usize, SourceError> {
    let options = LoaderOptions { exact: true, form: Form::default(), ..options };
    let loader = Loader::new(source.clone(), plan.clone(), options)?;
    let steps = images.div_ceil(options.batch) as u64;
    let mut equal = 0;
    for batch in loader.batches(0..steps)? {
        let batch = batch?;
        for (number, (view, spec)) in batch.views.iter().zip(plan.unfolded()).enumerate() {
            let length = view.data.len() / batch.samples.len();
            let numbers = view.data.as_f32().unwrap_or_default().chunks_exact(length);
            for (&sample, numbers) in batch.samples.iter().zip(numbers) {
                if batch.skipped.iter().any(|skip| skip.sample <= sample) {
                    // It may stand for one that cannot be read, whose draws it has.
                    continue;
                }
                let draw = Draw {
                    seed: options.seed,
                    epoch: batch.epoch,
                    sample: sample as u64,
                    view: number as u64,
                };
                if numbers != alone(source, sample, spec, draw, plan, length)? {
                    let problem = format!("view {number} differs from that of the whole image");
                    return Err(SourceError::new(source.name(sample), problem));
                }
                equal += 1;
            }
        }
    }
    Ok(equal)
}

/// A view of the whole image, as numbers.
fn alone(
    source: &Arc<dyn Source>,
    sample: usize,
    spec: &ViewSpec,
    draw: Draw,
    plan: &ViewPlan,
    length: usize,
) -> Result<Vec<f32>, SourceError> {
    let image = source.get(sample)?.image.into_channels(plan.normalize.mean.len());
    let image = image.ok_or_else(|| SourceError::new(source.name(sample), "other channels"))?;
    let mut numbers = vec![0.0; length];
    write_normalized(&render(&image, spec, draw).0, &plan.normalize, &mut numbers);
    Ok(numbers)
}
