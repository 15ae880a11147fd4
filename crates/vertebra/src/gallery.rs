//! Pictures of a run for its report: augmented views, nearest neighbours, a map of the embeddings.

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use pixels::draw::{Draw, Purpose};
use pixels::encode::encode_png;
use pixels::image::Image;
use pixels::plan::Interpolation;
use pixels::source::{Sample, Source};
use pixels::view;
use report::record::{EmbeddingMap, Gallery, NeighbourRow, Picture, ViewRow};
use tch::Tensor;

use crate::evaluation::{FeatureTable, map, neighbours};
use crate::recipe::Recipe;

mod contact;

pub use contact::contact_sheet;

/// How many images show their views, how many queries their neighbours, how many points are in the map.
const VIEW_ROWS: usize = 6;
const QUERIES: usize = 6;
const NEIGHBOURS: usize = 7;
const POINTS: usize = 2000;
/// Largest side of a picture in the page.
const SIDE: usize = 128;

/// The pictures of a run. `features` are those of `shown`. An image that cannot be read is left out.
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
    }
}

/// Real views of a few images, drawn as in epoch 0, with what was done to each.
fn view_rows(recipe: &Recipe, source: &dyn Source) -> Vec<ViewRow> {
    let plan = recipe.plan();
    let order = Draw::of_seed(recipe.seed).stream(Purpose::Order).permutation(source.len());
    let row = |&index: &usize| {
        let sample = source.get(index).ok()?;
        let image = if recipe.data.channels == 3 {
            sample.image.clone().into_rgb()?
        } else {
            sample.image.clone()
        };
        let views = plan.unfolded().into_iter().enumerate().map(|(number, spec)| {
            let draw =
                Draw { seed: recipe.seed, epoch: 0, sample: index as u64, view: number as u64 };
            let (view, record) = view::render(&image, spec, draw);
            picture(view, record.describe(), None)
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
    picture(sample.image, source.name(index), label)
}

fn picture(image: Image, caption: String, label: Option<String>) -> Picture {
    let png = encode_png(&small(visible(image)));
    Picture { png: STANDARD.encode(png), caption, label }
}

/// RGB where that is defined, else the first channel as grey.
fn visible(image: Image) -> Image {
    if matches!(image.channels, 1 | 3) {
        return image.into_u8();
    }
    let (width, height, channels) = (image.width, image.height, image.channels);
    let image = image.into_u8();
    let first = image.as_u8().unwrap_or_default().iter().step_by(channels).copied().collect();
    Image::from_u8(width, height, 1, first)
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
