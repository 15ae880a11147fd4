//! What a predictor imagines, made visible by the nearest of what there is: the version of an image that is nearest to what was
//! predicted for an action, and the place in other images that is nearest to what was predicted for a hidden one.

use pixels::record::{CropBox, ViewRecord};
use tch::{Kind, Tensor};

use super::WorldModel;
use super::retrieval::{bank, distances, predictions, ranks};
use crate::data::Canvas;
use crate::error::Result;
use crate::evaluation::expect_finite;
use crate::models::vit::predictor::Places;

/// What is nearest to a prediction.
#[derive(Clone, Debug, PartialEq)]
pub struct Imagined {
    /// Places in the bank, nearest first.
    pub nearest: Vec<usize>,
    /// Of the true one, from 1; ties count half.
    pub rank: f64,
}

/// For each of the first `asked` settings: the `most` versions of the image, one for each setting, that are nearest to what is
/// predicted from the clean image. Fails where the predictor predicts no tokens, and where a number is not finite.
pub fn acted(
    model: &WorldModel,
    canvas: &Canvas,
    settings: &[ViewRecord],
    asked: usize,
    most: usize,
) -> Result<Vec<Imagined>> {
    model.expect_latents()?;
    let bank = bank(model, canvas, settings)?;
    let predicted = predictions(model, canvas, &canvas.untouched(), &settings[..asked])?;
    let distances = distances(&predicted, &bank).expand([asked as i64, -1], false);
    imagined(&distances, &(0..asked as i64).collect::<Vec<_>>(), most)
}

/// Targets of all patches of some images, `[n, T, D]`: what hidden places are looked for among.
pub fn targets(model: &WorldModel, canvases: &[Canvas]) -> Result<Tensor> {
    let mut bank = Vec::new();
    for canvases in canvases.chunks(model.encoder.batch(0)) {
        let images: Vec<_> = canvases.iter().map(|canvas| canvas.image.clone()).collect();
        bank.push(model.targets(&model.encoder.images(&images))?);
    }
    Ok(Tensor::cat(&bank, 0))
}

/// The `most` images whose patches at `region` are nearest to what is predicted there for image `own` of the bank from the rest of it.
/// `region` is in patches, and leaves some; `bank` is of [`targets`]. Fails where the predictor predicts no tokens, and where a number is not finite.
pub fn hidden(
    model: &WorldModel,
    canvas: &Canvas,
    own: usize,
    bank: &Tensor,
    region: CropBox,
    most: usize,
) -> Result<Imagined> {
    model.expect_latents()?;
    let device = model.encoder.device;
    let grid = model.grid(canvas.image.width as i64);
    let CropBox { top, left, height, width } = region;
    let inside = |place: &i64| {
        let (row, column) = ((place / grid[1]) as usize, (place % grid[1]) as usize);
        (top..top + height).contains(&row) && (left..left + width).contains(&column)
    };
    let (asked, seen): (Vec<i64>, Vec<i64>) = (0..grid[0] * grid[1]).partition(inside);
    let [asked, seen] =
        [asked, seen].map(|places| Tensor::from_slice(&places).unsqueeze(0).to_device(device));
    let images = model.encoder.images(std::slice::from_ref(&canvas.image));
    let context = model.part(&images, &seen)?;
    let there = bank.index_select(1, &asked.squeeze_dim(0));
    let places = Places { grid, seen, asked };
    let predicted =
        tch::no_grad(|| model.predict(&context, &places, model.null_action(1).as_ref()));
    Ok(imagined(&distances(&predicted, &there), &[own as i64], most)?.remove(0))
}

fn imagined(distances: &Tensor, truth: &[i64], most: usize) -> Result<Vec<Imagined>> {
    expect_finite(distances, "predicted")?;
    let ranks = ranks(distances, &Tensor::from_slice(truth).to_device(distances.device()));
    let most = (most as i64).min(distances.size()[1]);
    let (_, nearest) = distances.topk(most, 1, false, true);
    let nearest = Vec::<Vec<i64>>::try_from(nearest.to_kind(Kind::Int64))?;
    let one = |(nearest, rank): (Vec<i64>, f64)| Imagined {
        nearest: nearest.into_iter().map(|place| place as usize).collect(),
        rank,
    };
    Ok(nearest.into_iter().zip(ranks).map(one).collect())
}

#[cfg(test)]
mod tests;
