//! Does the predictor apply an action? Of many versions of one image, each with a jitter of its own, which is nearest to what was
//! predicted for each? (The protocol of Garrido 2024, whose bank and distance are not published: ours are written here, and numbers are
//! to be compared with those of this program alone.)
//!
//! For each image, K jitter settings are drawn. The bank is what the encoder says of the K versions, token by token, after a layer
//! norm without weights, as targets have it in training. For a query the predictor gets all tokens of the clean image, is asked for
//! all places, and told the action from the clean image to the setting. The distance is the mean over tokens of the squared distance,
//! a rank counts ties as half, and a predictor that is told nothing has H_K / K on average.
//!
//! In the other direction the source is blurred, grey or solarized and its flag set: the predictor has to undo what cannot wholly be undone.

use std::time::Instant;

use pixels::draw::{Draw, Purpose};
use pixels::record::ViewRecord;
use pixels::source::Source;
use tch::{Kind, Tensor};

use super::{WorldConfig, WorldModel};
use crate::data::{Canvas, action, actions_on};
use crate::error::Result;
use crate::evaluation::{Outcome, expect_finite, mean_score, plain_score};
use crate::models::vit::predictor::{Conditioning, Places};

/// Changes whenever equal weights could get another score.
pub const VERSION: u32 = 1;
/// The k of the shares of queries whose version is among the nearest k.
const CUTOFFS: [usize; 2] = [1, 5];

/// What was done to the source of a prediction, beside the jitter that it has not.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Change {
    Nothing,
    Blur,
    Grey,
    Solarize,
}

impl Change {
    const ALL: [Self; 4] = [Self::Nothing, Self::Blur, Self::Grey, Self::Solarize];

    fn metric(self) -> &'static str {
        match self {
            Self::Nothing => "mrr",
            Self::Blur => "mrr_blur",
            Self::Grey => "mrr_grey",
            Self::Solarize => "mrr_solarize",
        }
    }

    fn source(self, canvas: &Canvas, config: &WorldConfig) -> ViewRecord {
        let clean = canvas.untouched();
        match self {
            Self::Nothing => clean,
            Self::Blur => {
                let draw = Draw { sample: canvas.sample as u64, ..Draw::of_seed(config.seed) };
                let [low, high] = config.blur;
                let sigma = draw.stream(Purpose::Blur).range(low, high) as f32;
                ViewRecord { blur: Some(sigma), ..clean }
            }
            Self::Grey => ViewRecord { grayscale: true, ..clean },
            Self::Solarize => ViewRecord { solarized: true, ..clean },
        }
    }
}

/// Mean reciprocal ranks (`mrr`, and `mrr_blur`, `mrr_grey`, `mrr_solarize` of changed sources), the shares `hit@1` and `hit@5`, and
/// what a predictor reaches that is told nothing, `mrr_chance`. Intervals are bootstrapped over images, which are the items.
///
/// Fails where the predictor predicts no tokens of the encoder, where no image can be read, and where a number is not finite.
pub fn evaluate(model: &WorldModel, source: &dyn Source, config: &WorldConfig) -> Result<Outcome> {
    let start = Instant::now();
    let found = ranks_of(model, source, config, &Change::ALL)?;
    let bank = config.bank;
    let score = |metric: &str, items: &[f64]| {
        mean_score("world", VERSION, metric, items, &model.encoder.name)
    };
    let items = reciprocals(&found[0]);
    let mut scores = vec![score("mrr", &items)];
    let chance = plain_score(
        "world",
        VERSION,
        "mrr_chance",
        chance(bank),
        found[0].len(),
        &model.encoder.name,
    );
    scores.push(chance);
    for k in CUTOFFS {
        let share = |ranks: &Vec<f64>| mean(ranks, |rank| f64::from(u8::from(rank <= k as f64)));
        scores.push(score(&format!("hit@{k}"), &found[0].iter().map(share).collect::<Vec<_>>()));
    }
    for (change, ranks) in Change::ALL.iter().zip(&found).skip(1) {
        scores.push(score(change.metric(), &reciprocals(ranks)));
    }
    for score in &mut scores {
        score.setting = config.in_words();
        score.seconds = start.elapsed().as_secs_f64();
    }
    Ok(Outcome { items, scores })
}

/// The mean reciprocal rank from clean sources alone: for looking at a run while it trains.
pub fn mrr(model: &WorldModel, source: &dyn Source, config: &WorldConfig) -> Result<f64> {
    let found = ranks_of(model, source, config, &[Change::Nothing])?;
    Ok(mean(&reciprocals(&found[0]), |image| image))
}

/// The mean reciprocal rank of one item among `bank` in random order: H_n / n.
pub fn chance(bank: usize) -> f64 {
    (1..=bank).map(|rank| 1.0 / rank as f64).sum::<f64>() / bank as f64
}

/// The rank of each query's true item, from 1; items as near as the true one count half. `distances`: `[Q, K]`; `truth`: `[Q]`, the
/// places of the true ones among the K.
pub fn ranks(distances: &Tensor, truth: &Tensor) -> Vec<f64> {
    let own = distances.gather(1, &truth.unsqueeze(1), false);
    let count = |chosen: &Tensor| chosen.sum_dim_intlist([1i64].as_slice(), false, Kind::Double);
    let (nearer, equal) = (count(&distances.lt_tensor(&own)), count(&distances.eq_tensor(&own)));
    // The true one is among its equals.
    let ranks: Tensor = nearer + (equal + 1.0) / 2.0;
    ranks.iter::<f64>().map_or_else(|_| Vec::new(), Iterator::collect)
}

/// Mean over tokens of the squared distance from each prediction to each item, `[Q, K]`. `predicted`: `[Q, N, D]`; `bank`: `[K, N, D]`.
pub(crate) fn distances(predicted: &Tensor, bank: &Tensor) -> Tensor {
    // Versions of one image are much alike: about their mean, the products keep the digits in which they differ.
    let middle = bank.mean_dim(0, true, Kind::Float);
    let [p, b] = [predicted, bank].map(|tokens| (tokens - &middle).flatten(1, 2));
    let squares = |rows: &Tensor| rows.square().sum_dim_intlist(1, true, Kind::Float);
    (squares(&p) + squares(&b).tr() - p.matmul(&b.tr()) * 2.0) / bank.size()[1] as f64
}

/// The ranks of the queries of each image, for each change: `[change][image][query]`.
fn ranks_of(
    model: &WorldModel,
    source: &dyn Source,
    config: &WorldConfig,
    changes: &[Change],
) -> Result<Vec<Vec<Vec<f64>>>> {
    config.check()?;
    model.expect_latents()?;
    let canvases = Canvas::drawn(source, &model.encoder.preprocess, config.images, config.seed)?;
    let mut found = vec![Vec::new(); changes.len()];
    for canvas in &canvases {
        let settings = canvas.settings(config.jitter, config.bank, config.seed);
        let bank = bank(model, canvas, &settings)?;
        // Settings are drawn one by one: the first are as good as any.
        let asked = &settings[..config.queries.min(config.bank)];
        let truth = Tensor::arange(asked.len() as i64, (Kind::Int64, bank.device()));
        for (found, change) in found.iter_mut().zip(changes) {
            let from = change.source(canvas, config);
            let predicted = predictions(model, canvas, &from, asked)?;
            let distances = distances(&predicted, &bank).expand([asked.len() as i64, -1], false);
            expect_finite(&distances, "predicted")?;
            found.push(ranks(&distances, &truth));
        }
    }
    Ok(found)
}

/// What the encoder says of versions of an image, as targets: `[K, N, D]`.
pub(super) fn bank(model: &WorldModel, canvas: &Canvas, settings: &[ViewRecord]) -> Result<Tensor> {
    let mut bank = Vec::new();
    for settings in settings.chunks(model.encoder.batch(0)) {
        let images: Vec<_> = settings.iter().map(|setting| canvas.show(setting)).collect();
        bank.push(model.targets(&model.encoder.images(&images))?);
    }
    Ok(Tensor::cat(&bank, 0))
}

/// What the predictor says of all places of an image, from its version `from`, for each setting: `[K, N, D]`, or `[1, N, D]` from a
/// predictor that is told nothing and so has one answer.
pub(super) fn predictions(
    model: &WorldModel,
    canvas: &Canvas,
    from: &ViewRecord,
    settings: &[ViewRecord],
) -> Result<Tensor> {
    let device = model.encoder.device;
    let (tokens, places) = model.whole(&model.encoder.images(&[canvas.show(from)]))?;
    let told = model.predictor.spec().conditioning != Conditioning::None;
    let settings = if told { settings } else { &settings[..settings.len().min(1)] };
    let mut predicted = Vec::new();
    for settings in settings.chunks(model.encoder.batch(0)) {
        let actions: Vec<_> = settings.iter().map(|setting| action(from, setting)).collect();
        let n = settings.len() as i64;
        let rows = |tensor: &Tensor| {
            let mut shape = vec![-1; tensor.dim()];
            shape[0] = n;
            tensor.expand(shape, false)
        };
        let places =
            Places { grid: places.grid, seen: rows(&places.seen), asked: rows(&places.asked) };
        let actions = told.then(|| actions_on(&actions, device));
        predicted.push(tch::no_grad(|| model.predict(&rows(&tokens), &places, actions.as_ref())));
    }
    Ok(Tensor::cat(&predicted, 0))
}

/// The mean reciprocal rank of each image.
fn reciprocals(found: &[Vec<f64>]) -> Vec<f64> {
    found.iter().map(|ranks| mean(ranks, |rank| 1.0 / rank)).collect()
}

fn mean(values: &[f64], of: impl Fn(f64) -> f64) -> f64 {
    values.iter().map(|&value| of(value)).sum::<f64>() / values.len() as f64
}

#[cfg(test)]
mod tests;
