//! What making views costs.

use std::time::Instant;

use pixels::loader::{Loader, LoaderOptions, Share};
use pixels::numbers::Form;
use pixels::plan::{Normalize, ViewPlan, ViewSpec};
use pixels::verify;
use serde::Serialize;
use tch::Device;

use crate::error::{Error, Result};
use crate::hardware;
use crate::recipe::RawRecipe;

/// Images whose views are compared, about.
const CHECKED: usize = 500;

/// Samples of which decoding alone is timed, at most.
const DECODED: usize = 400;

/// Views to be made for the clock.
#[derive(Clone, Debug)]
pub struct ViewBench {
    /// A folder or a URI.
    pub data: String,
    pub plan: ViewPlan,
    pub options: LoaderOptions,
}

/// How long to measure.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Length {
    Seconds(f64),
    /// Passes over the source; the memory of the process is noted after each.
    Epochs(u64),
}

/// What making views costs.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct ViewSpeed {
    pub images_per_s: f64,
    pub views_per_s: f64,
    /// Of all threads together.
    pub cpu_ms_per_image: f64,
    /// Of this, what reading and decoding cost on one thread: the limit of everything else.
    pub decode_ms_per_image: f64,
    pub workers: usize,
    pub images: usize,
    /// Of the process, since it began.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub peak_memory_mb: Option<f64>,
    /// Of the process, after each epoch.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub memory_mb: Vec<f64>,
}

/// How many views are what they should be: all that were compared.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
pub struct ViewCheck {
    /// Views that torchvision made of Pillow's images.
    pub recorded_views: usize,
    /// Views of the images given, by the loader and of the whole images.
    pub views: usize,
}

impl ViewBench {
    /// The default policy: `views` views of `size` pixels, in batches of 64.
    pub fn of_policy(data: &str, views: usize, size: usize) -> Result<Self> {
        let spec = ViewSpec { count: views, size, ..ViewSpec::default() };
        let plan = ViewPlan { views: vec![spec], normalize: Normalize::imagenet() };
        check(&plan, 3)?;
        let options = LoaderOptions {
            seed: 0,
            batch: 64,
            share: Share::ALL,
            workers: hardware::cores(),
            channels: 3,
            strict: false,
            exact: false,
            form: Form::default(),
        };
        Ok(Self { data: data.into(), plan, options })
    }

    /// The views of a recipe, whether or not its method could train on them.
    pub fn of_recipe(recipe: &RawRecipe) -> Result<Self> {
        let plan = recipe.plan();
        check(&plan, recipe.data.channels)?;
        let options = LoaderOptions {
            seed: recipe.seed,
            batch: recipe.batch,
            share: Share::ALL,
            workers: if recipe.workers == 0 { hardware::cores() } else { recipe.workers },
            channels: recipe.data.channels,
            strict: recipe.data.strict,
            exact: recipe.data.exact,
            form: Form::default(),
        };
        Ok(Self { data: recipe.data.train.clone(), plan, options })
    }

    /// Compares views with what they are promised to be; an error where one differs.
    pub fn check(&self) -> Result<ViewCheck> {
        let patterns = verify::recorded().into_iter().filter_map(|it| Some((it.pattern()?, it)));
        let mut recorded_views = 0;
        for (picture, recorded) in patterns {
            if !recorded.holds(&picture) {
                return Err(Error::Usage {
                    problem: format!("a view of `{}` differs from Pillow's", recorded.picture),
                    hint: Some("this is a mistake of the program: please report it".into()),
                });
            }
            recorded_views += 1;
        }
        let source = pixels::source::open(&self.data)?;
        let batch = self.options.batch.min(source.len());
        let options = LoaderOptions { batch, ..self.options };
        let views = verify::views_of(&source, &self.plan, options, CHECKED.min(source.len()))?;
        Ok(ViewCheck { recorded_views, views })
    }

    /// Makes views with the loader of training.
    pub fn run(&self, length: Length) -> Result<ViewSpeed> {
        let source = pixels::source::open(&self.data)?;
        let samples = source.len();
        let options = LoaderOptions { batch: self.options.batch.min(samples), ..self.options };
        let loader = Loader::new(source, self.plan.clone(), options)?;
        let epoch = loader.batches_per_epoch();
        let mut batches = loader.batches(0..u64::MAX)?;
        // The first batch pays for threads and page cache.
        batches.next().transpose()?;
        let (start, cpu) = (Instant::now(), hardware::cpu_seconds());
        let (mut steps, mut memory_mb) = (0, Vec::new());
        let enough = |steps: u64| match length {
            Length::Seconds(seconds) => start.elapsed().as_secs_f64() >= seconds,
            Length::Epochs(epochs) => steps >= epochs * epoch,
        };
        while !enough(steps) {
            let Some(next) = batches.next() else { break };
            next?;
            steps += 1;
            if matches!(length, Length::Epochs(_)) && steps % epoch == 0 {
                memory_mb.push(hardware::memory_in_use_mb());
            }
        }
        let (elapsed, cpu) = (start.elapsed().as_secs_f64(), hardware::cpu_seconds() - cpu);
        drop(batches);
        let images = steps as usize * options.batch;
        let images_per_s = images as f64 / elapsed;
        Ok(ViewSpeed {
            images_per_s,
            views_per_s: images_per_s * self.plan.unfolded().len() as f64,
            cpu_ms_per_image: 1e3 * cpu / images as f64,
            decode_ms_per_image: decoding(&loader, samples.min(DECODED)),
            workers: options.workers,
            images,
            peak_memory_mb: torch_bridge::peak_memory_mb(Device::Cpu),
            memory_mb,
        })
    }
}

fn check(plan: &ViewPlan, channels: usize) -> Result<()> {
    plan.check(channels).map_err(|error| Error::Recipe {
        field: error.field,
        problem: error.problem,
        hint: None,
    })
}

/// Milliseconds of processor time that reading and decoding one image take.
fn decoding(loader: &Loader, samples: usize) -> f64 {
    let start = hardware::cpu_seconds();
    let mut images = 0;
    // The clock counts in hundredths of a second.
    while hardware::cpu_seconds() - start < 1.0 {
        loader.decode_only(samples);
        images += samples;
    }
    1e3 * (hardware::cpu_seconds() - start) / images as f64
}
