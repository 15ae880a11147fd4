//! What do features keep of the colours? How well the change of brightness, contrast, saturation and hue can be read from the
//! features of an image before and after it, by a linear map: R² on images that the map was not fitted on. Of any encoder.
//!
//! The inputs are the features of the clean image and their difference to those of the changed one, each dimension standardised, and
//! the map is a ridge regression: unlike the networks that such numbers are often read with, it has one answer, in an instant.

use std::time::Instant;

use pixels::record::ViewRecord;
use pixels::source::Source;
use report::record::Score;
use tch::{Device, Kind, Tensor};

use super::{WorldConfig, expected};
use crate::data::Canvas;
use crate::error::Result;
use crate::evaluation::{
    Encoder, Outcome, POOLED, RESAMPLES, Units, bootstrap_units, number_score,
};

/// Changes whenever equal features could get another score.
pub const VERSION: u32 = 1;
const PARAMETERS: [&str; 4] = ["brightness", "contrast", "saturation", "hue"];
/// Penalties that are tried, each times the number of rows.
const PENALTIES: [f64; 8] = [1e-5, 1e-4, 1e-3, 1e-2, 1e-1, 1.0, 10.0, 100.0];
/// The least number of images: the parts for fitting, for choosing and for judging have one or more each.
const LEAST: usize = 10;

/// R² of each parameter (`r2_brightness`...) and their mean (`r2_mean`), on the last fifth of the drawn images. The penalty is the best
/// on the last fifth of the others, and the map then fitted on all of these. 1 is perfect, 0 no better than the mean; below 0 is worse.
/// Intervals are bootstrapped over images. A parameter with strength 0 is left out.
pub fn evaluate(encoder: &Encoder, source: &dyn Source, config: &WorldConfig) -> Result<Outcome> {
    let start = Instant::now();
    config.check()?;
    let canvases = Canvas::drawn(source, &encoder.preprocess, config.pairs, config.seed)?;
    expected(canvases.len() >= LEAST, "pairs", "10 readable images or more", canvases.len())?;
    let names: Vec<usize> = (0..4).filter(|&place| config.jitter[place] > 0.0).collect();
    let (x, y) = pairs(encoder, &canvases, config, &names)?;
    let each = config.settings as i64;
    let rows = |images: usize| images as i64 * each;
    let held = canvases.len() / 5;
    let learned = canvases.len() - held;
    let penalty = chosen(&part(&x, 0, rows(learned)), &part(&y, 0, rows(learned)), each);
    let map = Ridge::fit(&part(&x, 0, rows(learned)), &part(&y, 0, rows(learned)), penalty);
    let wanted = columns(&part(&y, rows(learned), rows(held)));
    let found = columns(&map.predict(&part(&x, rows(learned), rows(held))));
    let setting = format!(
        "{} jitters of each of {} images, {held} held out, ridge {penalty}",
        config.settings,
        canvases.len()
    );
    let mut scores = scores(&names, &wanted, &found, config.settings, encoder);
    for score in &mut scores {
        score.setting.clone_from(&setting);
        score.seconds = start.elapsed().as_secs_f64();
    }
    Ok(Outcome { items: Vec::new(), scores })
}

/// One score for each parameter, and the mean.
fn scores(
    names: &[usize],
    wanted: &[Vec<f64>],
    found: &[Vec<f64>],
    each: usize,
    encoder: &Encoder,
) -> Vec<Score> {
    let n = wanted.first().map_or(0, Vec::len);
    let images: Vec<Option<u64>> = (0..n).map(|row| Some((row / each) as u64)).collect();
    let units = Units::of(&images, n);
    let all: Vec<usize> = (0..n).collect();
    let one = |place: usize, items: &[usize]| determination(&wanted[place], &found[place], items);
    let mean = |items: &[usize]| {
        (0..names.len()).map(|place| one(place, items)).sum::<f64>() / names.len() as f64
    };
    let score = |name: &str, of: &dyn Fn(&[usize]) -> f64| {
        let metric = format!("r2_{name}");
        let interval = Some(bootstrap_units(&units, RESAMPLES, 0, of));
        let plain = number_score("world", VERSION, &metric, of(&all), n / each, &encoder.name);
        Score { interval, ..plain }
    };
    let mut scores: Vec<Score> = (0..names.len())
        .map(|place| score(PARAMETERS[names[place]], &|items| one(place, items)))
        .collect();
    scores.push(score("mean", &mean));
    scores
}

/// 1 − Σ(wanted − found)² / Σ(wanted − mean)² over some items.
fn determination(wanted: &[f64], found: &[f64], items: &[usize]) -> f64 {
    let mean = items.iter().map(|&item| wanted[item]).sum::<f64>() / items.len() as f64;
    let [mut missed, mut spread] = [0.0; 2];
    for &item in items {
        missed += (wanted[item] - found[item]).powi(2);
        spread += (wanted[item] - mean).powi(2);
    }
    1.0 - missed / spread
}

/// Inputs `[n · settings, 2 D]` and parameters `[n · settings, P]` in f64 on the CPU, image after image.
fn pairs(
    encoder: &Encoder,
    canvases: &[Canvas],
    config: &WorldConfig,
    names: &[usize],
) -> Result<(Tensor, Tensor)> {
    let (mut x, mut y) = (Vec::new(), Vec::new());
    let each = config.settings;
    for canvases in canvases.chunks((encoder.batch(0) / (each + 1)).max(1)) {
        let mut images = Vec::new();
        for canvas in canvases {
            let settings = canvas.settings(config.jitter, each, config.seed);
            images.push(canvas.image.clone());
            images.extend(settings.iter().map(|setting| canvas.show(setting)));
            y.extend(settings.iter().flat_map(|setting| numbers(setting, names)));
        }
        let features = encoder.features(&encoder.images(&images), &[POOLED.to_string()])?.remove(0);
        let features =
            features.to_kind(Kind::Double).view([canvases.len() as i64, each as i64 + 1, -1]);
        let clean = features.narrow(1, 0, 1).expand([-1, each as i64, -1], false);
        let change = features.narrow(1, 1, each as i64) - &clean;
        x.push(Tensor::cat(&[clean, change], 2).flatten(0, 1));
    }
    Ok((Tensor::cat(&x, 0), Tensor::from_slice(&y).view([-1, names.len() as i64])))
}

/// The chosen parameters of a setting.
fn numbers(setting: &ViewRecord, names: &[usize]) -> Vec<f64> {
    let all = setting.jitter.map_or([1.0, 1.0, 1.0, 0.0], |jitter| {
        [jitter.brightness, jitter.contrast, jitter.saturation, jitter.hue]
    });
    names.iter().map(|&place| f64::from(all[place])).collect()
}

/// The penalty that does best on the last fifth of the images, `each` rows of which belong together.
fn chosen(x: &Tensor, y: &Tensor, each: i64) -> f64 {
    let images = x.size()[0] / each;
    let held = (images / 5).max(1);
    let fitted = (images - held) * each;
    let [train, test] = [(0, fitted), (fitted, held * each)];
    let error = |penalty: f64| {
        let map = Ridge::fit(&part(x, train.0, train.1), &part(y, train.0, train.1), penalty);
        let wanted = part(y, test.0, test.1);
        let missed = map.predict(&part(x, test.0, test.1)) - &wanted;
        // Parameters of different ranges weigh alike.
        let spread = wanted.var_dim([0i64].as_slice(), false, true).clamp_min(1e-30);
        (missed.square() / spread).mean(Kind::Double).double_value(&[])
    };
    let errors = PENALTIES.map(|penalty| (error(penalty), penalty));
    errors.into_iter().min_by(|a, b| a.0.total_cmp(&b.0)).map_or(1.0, |(_, penalty)| penalty)
}

/// A linear map from standardised inputs.
struct Ridge {
    middle: Tensor,
    scale: Tensor,
    weights: Tensor,
    constant: Tensor,
}

impl Ridge {
    /// The minimum of Σ‖y − W x − c‖² + penalty · n ‖W‖² over n rows, c not penalised, solved in as many unknowns as there are rows or
    /// columns, whichever is less.
    fn fit(x: &Tensor, y: &Tensor, penalty: f64) -> Self {
        let middle = x.mean_dim([0i64].as_slice(), true, Kind::Double);
        let spread = x.std_dim([0i64].as_slice(), false, true);
        // What does not vary says nothing: it stays 0.
        let scale = spread.where_self(&spread.gt(1e-12), &spread.ones_like());
        let constant = y.mean_dim([0i64].as_slice(), true, Kind::Double);
        let (x, y) = ((x - &middle) / &scale, y - &constant);
        let n = x.size()[0];
        let ridge = |gram: &Tensor| {
            let eye = Tensor::eye(gram.size()[0], (Kind::Double, Device::Cpu));
            gram + eye * (penalty * n as f64)
        };
        let weights = if x.size()[1] <= n {
            Tensor::linalg_solve(&ridge(&x.tr().matmul(&x)), &x.tr().matmul(&y), true)
        } else {
            x.tr().matmul(&Tensor::linalg_solve(&ridge(&x.matmul(&x.tr())), &y, true))
        };
        Self { middle, scale, weights, constant }
    }

    fn predict(&self, x: &Tensor) -> Tensor {
        ((x - &self.middle) / &self.scale).matmul(&self.weights) + &self.constant
    }
}

fn part(rows: &Tensor, from: i64, count: i64) -> Tensor {
    rows.narrow(0, from, count)
}

/// Each column of `[n, P]`.
fn columns(rows: &Tensor) -> Vec<Vec<f64>> {
    rows.unbind(1)
        .iter()
        .map(|column| column.iter::<f64>().map_or_else(|_| Vec::new(), Iterator::collect))
        .collect()
}

#[cfg(test)]
mod tests;
