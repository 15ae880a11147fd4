//! Pictures of a run for its report: augmented views, nearest neighbours, a map of the embeddings.

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use pixels::draw::{Draw, Purpose};
use pixels::encode::encode_png;
use pixels::image::{Image, Samples};
use pixels::plan::Interpolation;
use pixels::source::{Sample, Source};
use pixels::view;
use report::record::{EmbeddingMap, Gallery, Imagination, NeighbourRow, Picture, ViewRow};
use tch::Tensor;

use crate::evaluation::{FeatureTable, map, neighbours};
use crate::recipe::Recipe;

mod alike;
mod contact;
mod imagination;

pub use alike::{Answer, Described, Hit, answers, page};
pub use contact::contact_sheet;
pub use imagination::imagination;

/// How many images show their views, how many queries their neighbours, how many points are in the map.
const VIEW_ROWS: usize = 6;
const QUERIES: usize = 6;
const NEIGHBOURS: usize = 7;
const POINTS: usize = 2000;
/// Largest side of a picture in the page.
const SIDE: usize = 128;
/// Samples of which a channel's range is taken for showing it.
const LOOKED_AT: usize = 20_000;

/// The pictures of a run, without what a predictor imagines (see [`imagination()`]). `features` are those of `shown`. An image that
/// cannot be read is left out.
pub fn of_run(
    recipe: &Recipe,
    train: &dyn Source,
    shown: &dyn Source,
    features: &FeatureTable,
) -> Gallery {
    Gallery {
        views: view_rows(recipe, train),
        neighbours: neighbour_rows(shown, features, recipe.seed),
        map: Some(embedding_map(features, recipe.seed)),
        imagination: Imagination::default(),
    }
}

/// Real views of a few images, drawn as in epoch 0, with what was done to each.
fn view_rows(recipe: &Recipe, source: &dyn Source) -> Vec<ViewRow> {
    let plan = recipe.plan();
    let order = Draw::of_seed(recipe.seed).stream(Purpose::Order).permutation(source.len());
    let row = |&index: &usize| {
        let sample = source.get(index).ok()?;
        let image = sample.image.clone().into_channels(recipe.data.channels)?;
        let exposure = Exposure::of(&image);
        let views = plan.unfolded().into_iter().enumerate().map(|(number, spec)| {
            let draw =
                Draw { seed: recipe.seed, epoch: 0, sample: index as u64, view: number as u64 };
            let (view, record) = view::render(&image, spec, draw);
            picture(exposure.show(view), record.describe(), None)
        });
        let views = views.collect();
        Some(ViewRow { source: picture_of(source, index, sample), views })
    };
    order.iter().take(2 * VIEW_ROWS).filter_map(row).take(VIEW_ROWS).collect()
}

/// A few random queries, each with its nearest images by cosine.
fn neighbour_rows(source: &dyn Source, features: &FeatureTable, seed: u64) -> Vec<NeighbourRow> {
    let rows = features.samples.len();
    let order = Draw::of_seed(seed).stream(Purpose::Split).permutation(rows);
    let queries: Vec<usize> = order.into_iter().take(QUERIES).collect();
    let found = neighbours::of_rows(&features.x, &queries, NEIGHBOURS.min(rows.saturating_sub(1)));
    let show = |row: usize| {
        let index = features.samples[row];
        Some(picture_of(source, index, source.get(index).ok()?))
    };
    let row = |(query, near): (&usize, Vec<neighbours::Neighbour>)| {
        let neighbours = near
            .into_iter()
            .filter_map(|neighbour| {
                let caption = format!("similarity {:.2}", neighbour.similarity);
                Some(Picture { caption, ..show(neighbour.row)? })
            })
            .collect();
        Some(NeighbourRow { query: show(*query)?, neighbours })
    };
    queries.iter().zip(found).filter_map(row).collect()
}

/// The first two principal components of a random part of the features.
fn embedding_map(features: &FeatureTable, seed: u64) -> EmbeddingMap {
    let rows = features.samples.len();
    let order = Draw::of_seed(seed).stream(Purpose::Split).permutation(rows);
    let chosen: Vec<i64> = order.into_iter().take(POINTS).map(|row| row as i64).collect();
    let map = map::principal(&features.x.index_select(0, &Tensor::from_slice(&chosen)));
    let labels: Option<Vec<u32>> =
        chosen.iter().map(|&row| features.labels[row as usize]).collect();
    let [first, second] = map.explained.map(|share| 100.0 * share);
    EmbeddingMap {
        title: format!("PCA: {first:.0} % and {second:.0} % of the variance"),
        points: map.points,
        labels: labels.unwrap_or_default(),
        classes: features.classes.clone(),
    }
}

/// A sample as the page shows it: small, with its name and class.
fn picture_of(source: &dyn Source, index: usize, sample: Sample) -> Picture {
    let label = sample.label.map(|label| {
        source.classes().get(label as usize).cloned().unwrap_or_else(|| format!("class {label}"))
    });
    let image = Exposure::of(&sample.image).show(sample.image);
    picture(image, source.name(index), label)
}

fn picture(image: Image, caption: String, label: Option<String>) -> Picture {
    let png = encode_png(&small(image));
    Picture { png: STANDARD.encode(png), caption, label }
}

/// How the samples of an image become light, so that its views can be shown as it is shown: a darker view is darker.
///
/// Grey and RGB of 8 bits are shown as they are. Others, which need not fill their range or have a colour, are shown from
/// nearly the darkest to nearly the brightest sample of each channel, with the first three channels as red, green, blue.
struct Exposure {
    /// Darkest and brightest sample of each channel as shares of the range; `None` where nothing is changed.
    channels: Option<Vec<[f32; 2]>>,
}

impl Exposure {
    fn of(image: &Image) -> Self {
        if image.as_u8().is_some() && matches!(image.channels, 1 | 3) {
            return Self { channels: None };
        }
        let samples = shares(image);
        let range = |channel: usize| {
            let plane = samples[channel..].iter().step_by(image.channels);
            let step = (image.width * image.height).div_ceil(LOOKED_AT);
            let mut sorted: Vec<f32> = plane.step_by(step).copied().collect();
            sorted.sort_unstable_by(f32::total_cmp);
            // A hot pixel in two hundred does not darken the rest.
            [0.005, 0.995].map(|p| sorted[(p * (sorted.len() - 1) as f32).round() as usize])
        };
        Self { channels: Some((0..image.channels.min(3)).map(range).collect()) }
    }

    /// An image of the same channels with 8 bits in one or three of them.
    fn show(&self, image: Image) -> Image {
        let Some(ranges) = &self.channels else { return image };
        let shown = if image.channels == 1 { 1 } else { 3 };
        let samples = shares(&image);
        let mut out = vec![0; image.width * image.height * shown];
        for (channel, [low, high]) in ranges.iter().enumerate() {
            let plane = samples[channel..].iter().step_by(image.channels);
            for (to, v) in out[channel..].iter_mut().step_by(shown).zip(plane) {
                let share = (v - low) / (high - low).max(1.0 / 65_535.0);
                *to = (share.clamp(0.0, 1.0) * 255.0).round() as u8;
            }
        }
        Image::from_u8(image.width, image.height, shown, out)
    }
}

/// The samples as numbers in [0, 1].
fn shares(image: &Image) -> Vec<f32> {
    match &image.samples {
        Samples::U8(samples) => samples.iter().map(|&v| f32::from(v) / 255.0).collect(),
        Samples::U16(samples) => samples.iter().map(|&v| f32::from(v) / 65_535.0).collect(),
    }
}

/// At most [`SIDE`] pixels on the longer side.
fn small(image: Image) -> Image {
    let longer = image.width.max(image.height);
    if longer <= SIDE {
        return image;
    }
    let scaled = |side: usize| (side * SIDE / longer).max(1);
    let whole =
        pixels::record::CropBox { top: 0, left: 0, height: image.height, width: image.width };
    let (width, height) = (scaled(image.width), scaled(image.height));
    pixels::resize::resize(&image, whole, width, height, Interpolation::Bilinear)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn colours_of_eight_bits_are_shown_as_they_are() {
        for channels in [1, 3] {
            let image = Image::from_u8(2, 2, channels, (0..4 * channels as u8).collect());
            assert!(Exposure::of(&image).show(image.clone()) == image);
        }
    }

    #[test]
    fn dark_channels_are_shown_from_their_darkest_to_their_brightest() {
        let samples = (0..100u16).flat_map(|k| [100 + k, 5000 - 10 * k, 7, 9, 11]).collect();
        let image = Image::from_u16(100, 1, 5, samples);
        let exposure = Exposure::of(&image);
        let shown = exposure.show(image.clone());
        let samples = shown.as_u8().expect("8 bits");
        assert_eq!(
            (shown.channels, &samples[..3], &samples[297..]),
            (3, &[0, 255, 0][..], &[255, 0, 0][..])
        );
        // A view at half the light is darker, not stretched again.
        let mut half = image;
        if let Samples::U16(samples) = &mut half.samples {
            for v in samples {
                *v /= 2;
            }
        }
        let dark = exposure.show(half);
        assert!(dark.as_u8().expect("8 bits").iter().zip(samples).all(|(dark, full)| dark <= full));
        assert_eq!(dark.as_u8().expect("8 bits")[297], 0);
    }
}
