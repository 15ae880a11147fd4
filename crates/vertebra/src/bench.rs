//! Speed: the whole training step of a recipe, its views alone, an objective alone, the search for neighbours, a sweep of
//! classifiers.

mod loss;
mod views;

pub use loss::{LossBench, LossSpeed, Objective};
pub use views::{Length, ViewBench, ViewCheck, ViewSpeed};

use std::time::Instant;

use pixels::record::ViewRecord;
use serde::Serialize;
use tch::{Kind, Tensor};

use crate::data;
use crate::error::Result;
use crate::evaluation::{FeatureTable, LinearConfig, LogisticConfig, Protocol, neighbours};
use crate::hardware;
use crate::methods::{Batch, Context, Progress};
use crate::pretrain::backward;
use crate::recipe::Recipe;
use crate::training::collective::Alone;
use crate::training::groups;
use crate::training::optim::Optimizer;

/// What a training step costs, without the making of its views.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct StepSpeed {
    /// Source images, not views.
    pub images_per_s: f64,
    /// Median.
    pub ms_per_step: f64,
    pub precision: String,
    pub device: String,
    /// Of the process, since it began; absent where the device does not tell.
    pub peak_memory_mb: Option<f64>,
    pub batch: usize,
    pub steps: usize,
}

/// Times `steps` optimizer steps of a recipe on random images that are already in memory, after `warmup` more.
pub fn step(recipe: &Recipe, warmup: usize, steps: usize) -> Result<StepSpeed> {
    let device = hardware::device(recipe.device)?;
    let autocast = hardware::autocast(recipe.precision, device);
    let all = (warmup + steps) as u64;
    let channels = recipe.data.channels as i64;
    let mut method = recipe.method.build(&recipe.inputs()?, recipe.seed, device);
    let groups = groups::assign(&method.parameters(), &method.rules())?;
    let mut optimizer = Optimizer::new(recipe.optimizer.clone(), groups);
    let lr = recipe.optimizer.peak_lr(recipe.batch);
    let views: Vec<Tensor> = recipe
        .plan()
        .unfolded()
        .iter()
        .map(|view| {
            let side = view.size as i64;
            let shape = [recipe.batch as i64, channels, side, side];
            let images = Tensor::randn(shape, (Kind::Float, device));
            let last = recipe.backbone.is_convolutional();
            if last { data::with_channels_last(&images) } else { images }
        })
        .collect();
    let labels = vec![Some(0); recipe.batch];
    let untouched = |view: &Tensor| {
        let side = view.size()[3] as usize;
        vec![ViewRecord::untouched([side, side]); recipe.batch]
    };
    let records = views.iter().map(untouched).collect();
    let batch = Batch { views, records, labels, first: 0 };
    let mut times = Vec::with_capacity(steps);
    for number in 0..warmup + steps {
        let progress = Progress {
            seed: recipe.seed,
            step: number as u64,
            steps: all,
            per_epoch: all as f64 / recipe.epochs,
            batch: recipe.batch,
        };
        let context = Context { device, autocast, progress };
        torch_bridge::synchronize(device);
        let start = Instant::now();
        optimizer.zero_grad();
        let loss = backward(method.as_mut(), &batch, recipe.accumulate, &Alone, &context)?;
        method.before_step(&context);
        optimizer.step(lr);
        method.after_step(&context)?;
        // A run reads its loss; so does this.
        let _ = loss.total.double_value(&[]);
        torch_bridge::synchronize(device);
        if number >= warmup {
            times.push(start.elapsed().as_secs_f64());
        }
    }
    times.sort_by(f64::total_cmp);
    let median = times[times.len() / 2];
    Ok(StepSpeed {
        images_per_s: recipe.batch as f64 / median,
        ms_per_step: median * 1e3,
        precision: hardware::precision_name(autocast).into(),
        device: hardware::device_name(device),
        peak_memory_mb: torch_bridge::peak_memory_mb(device),
        batch: recipe.batch,
        steps,
    })
}

/// What a search for nearest neighbours costs.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct KnnSpeed {
    pub queries: usize,
    pub candidates: usize,
    pub width: usize,
    pub k: usize,
    /// Median of the repeats, rows made of length one included.
    pub seconds: f64,
    /// Multiplications and additions of the similarities alone.
    pub gflop_per_s: f64,
    pub threads: usize,
}

/// Times the exact search for the `k` nearest of `candidates` random rows, for each of `queries`.
pub fn knn(queries: usize, candidates: usize, width: usize, k: usize, repeats: usize) -> KnnSpeed {
    tch::manual_seed(0);
    let rows =
        |rows: usize| Tensor::randn([rows as i64, width as i64], (Kind::Float, tch::Device::Cpu));
    let (asked, there) = (rows(queries), rows(candidates));
    let time = || {
        let start = Instant::now();
        let found = neighbours::between(&asked, &there, k);
        assert_eq!(found.len(), queries, "every query has its neighbours");
        start.elapsed().as_secs_f64()
    };
    let mut times: Vec<f64> = (0..repeats.max(1)).map(|_| time()).collect();
    times.sort_by(f64::total_cmp);
    let seconds = times[times.len() / 2];
    let flop = 2.0 * (queries * candidates * width) as f64;
    let threads = tch::get_num_threads() as usize;
    KnnSpeed { queries, candidates, width, k, seconds, gflop_per_s: flop / seconds / 1e9, threads }
}

/// What a linear probe with all its settings costs.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct SweepSpeed {
    /// From the features to the scores: choosing, fitting again, judging.
    pub seconds: f64,
    /// Top-1 accuracy: that the work was done.
    pub top1: f64,
    pub settings: usize,
    pub threads: usize,
}

/// The sizes of a sweep.
#[derive(Clone, Copy, Debug)]
pub struct SweepSize {
    /// Training rows; a fifth as many are tested on.
    pub rows: usize,
    pub width: usize,
    pub classes: usize,
    pub settings: usize,
    /// Of SGD.
    pub epochs: usize,
}

/// Times the linear probe by SGD (`settings` learning rates from 1e-4 to 1), or by L-BFGS with as many penalties from 1e-6
/// to 1e6, on random features around a mean for each class.
pub fn sweep(size: SweepSize, by_lbfgs: bool) -> Result<SweepSpeed> {
    let SweepSize { rows, width, classes, settings, epochs } = size;
    let spread = |low: f64, high: f64| -> Vec<f64> {
        let step = (high - low) / (settings.max(2) - 1) as f64;
        (0..settings).map(|i| 10f64.powf(low + step * i as f64)).collect()
    };
    let protocol = if by_lbfgs {
        Protocol::Logistic(LogisticConfig { cs: spread(-6.0, 6.0), ..LogisticConfig::default() })
    } else {
        let learning_rates = spread(-4.0, 0.0);
        Protocol::Linear(LinearConfig { learning_rates, epochs, ..LinearConfig::default() })
    };
    tch::manual_seed(0);
    let kind = (Kind::Float, tch::Device::Cpu);
    let means = Tensor::randn([classes as i64, width as i64], kind);
    let table = |rows: usize| {
        let labels: Vec<i64> = (0..rows).map(|row| (row % classes) as i64).collect();
        let x = means.index_select(0, &Tensor::from_slice(&labels)) * 0.15
            + Tensor::randn([rows as i64, width as i64], kind);
        let labels = labels.into_iter().map(|label| Some(label as u32)).collect();
        FeatureTable::new(x, labels, Vec::new())
    };
    let (train, test) = (table(rows)?, table(rows / 5)?);
    let start = Instant::now();
    let outcome = protocol.score(&train, &[("", &test)], "random")?;
    let seconds = start.elapsed().as_secs_f64();
    let top1 = outcome.scores.first().map_or(0.0, |score| score.value);
    Ok(SweepSpeed { seconds, top1, settings, threads: tch::get_num_threads() as usize })
}
