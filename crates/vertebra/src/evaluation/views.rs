//! The features of several random views of each sample: what LiDAR and alignment are computed of.

use std::sync::Arc;

use pixels::loader::{Batch, Loader, LoaderOptions, Share};
use pixels::plan::{ViewPlan, ViewSpec};
use pixels::source::Source;
use serde::{Deserialize, Serialize};
use tch::Tensor;

use super::{Encoder, ExtractOptions, POOLED};
use crate::data;
use crate::error::{Error, Result};

/// Names the samples and their views: the same for every encoder.
const SEED: u64 = 0;

/// How many views of how many samples.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct ViewsConfig {
    /// Samples at most, drawn from the source. 1000, about the number of LiDAR's authors (Thilak 2023), which should be more
    /// than the features are wide.
    pub samples: usize,
    /// Views of each. LiDAR's authors take about 50; 10 here, for their cost.
    pub views: usize,
    /// How a view is made; its `count` is not looked at. `None` is VICReg's policy at the size of the encoder's crop, without
    /// changes of colour for images of other than three channels.
    pub view: Option<ViewSpec>,
}

impl Default for ViewsConfig {
    fn default() -> Self {
        Self { samples: 1000, views: 10, view: None }
    }
}

/// Features of views.
#[derive(Debug)]
pub struct ViewFeatures {
    /// `[n, q, D]`, f32, on the CPU.
    pub x: Tensor,
    /// The n samples of the source, in the order of the draw.
    pub samples: Vec<usize>,
    /// Name and problem of each sample that was drawn and could not be read.
    pub skipped: Vec<(String, String)>,
}

/// Draws samples of a source and their views, and extracts the features. Samples and views are the same on every call,
/// whatever the batch and the number of workers. Fails where the views cannot be made, where no sample can be read, or where
/// a feature is not a finite number.
pub fn extract(
    encoder: &Encoder,
    source: &Arc<dyn Source>,
    config: &ViewsConfig,
    options: &ExtractOptions,
) -> Result<ViewFeatures> {
    let plan = plan(encoder, config)?;
    let form = data::form(
        encoder.channels,
        encoder.device,
        encoder.autocast,
        encoder.channels_last,
        false,
    );
    let loader_options = LoaderOptions {
        seed: SEED,
        // So that a draw of any number of samples is the beginning of a larger one.
        batch: 1,
        share: Share::ALL,
        workers: options.workers,
        channels: encoder.channels,
        strict: false,
        exact: false,
        form,
    };
    let loader = Loader::new(source.clone(), plan.clone(), loader_options)?;
    let count = config.samples.min(source.len());
    let mut found = Collected { encoder, waiting: Vec::new(), rows: Vec::new() };
    let (mut samples, mut skipped) = (Vec::new(), Vec::new());
    for batch in loader.batches(0..count as u64)? {
        let batch: Batch = batch?;
        if batch.skipped.is_empty() {
            found.waiting.extend(data::views_on(&batch, form, &plan, encoder.device));
            found.forward_beyond(encoder.batch(options.batch))?;
            samples.extend(batch.samples);
        }
        // Another sample has taken the place of one that could not be read; it may have a place of its own.
        skipped.extend(batch.skipped.into_iter().map(|it| (it.name, it.problem)));
        (options.progress)(samples.len() + skipped.len(), count);
    }
    found.forward_beyond(1)?;
    if samples.is_empty() {
        let problem = match skipped.first() {
            Some((name, problem)) => {
                format!("none of the {count} samples could be read; one, {name}: {problem}")
            }
            None => format!("at least one sample is needed, got {count}"),
        };
        return Err(usage(
            &problem,
            "check that the source holds images, and that they may be read",
        ));
    }
    let x = Tensor::cat(&found.rows, 0).view([samples.len() as i64, config.views as i64, -1]);
    Ok(ViewFeatures { x, samples, skipped })
}

/// Views that wait for a forward pass, and the features of those that had theirs.
struct Collected<'a> {
    encoder: &'a Encoder,
    waiting: Vec<Tensor>,
    rows: Vec<Tensor>,
}

impl Collected<'_> {
    /// Sends what waits through the encoder, where it is `most` images or more.
    fn forward_beyond(&mut self, most: usize) -> Result<()> {
        if self.waiting.len() >= most.max(1) {
            let images = Tensor::cat(&self.waiting, 0);
            let images =
                if self.encoder.channels_last { data::with_channels_last(&images) } else { images };
            self.waiting.clear();
            self.rows.extend(self.encoder.features(&images, &[POOLED.to_string()])?);
        }
        Ok(())
    }
}

fn plan(encoder: &Encoder, config: &ViewsConfig) -> Result<ViewPlan> {
    if config.views == 0 || config.samples == 0 {
        return Err(usage(
            &format!(
                "samples and views must be 1 or more, got {} and {}",
                config.samples, config.views
            ),
            "the defaults are 1000 and 10",
        ));
    }
    let mut spec = config.view.clone().unwrap_or_else(|| default_view(encoder));
    spec.count = config.views;
    let plan = ViewPlan { views: vec![spec], normalize: encoder.preprocess.normalize.clone() };
    plan.check(encoder.channels)
        .map_err(|error| usage(&error.to_string(), "leave `view` out to get the default"))?;
    Ok(plan)
}

fn default_view(encoder: &Encoder) -> ViewSpec {
    let mut spec = ViewSpec { size: encoder.preprocess.crop, ..ViewSpec::default() };
    if encoder.channels != 3 {
        spec.jitter.probability = 0.0;
        spec.grayscale = 0.0;
    }
    spec
}

fn usage(problem: &str, hint: &str) -> Error {
    Error::Usage { problem: format!("views: {problem}"), hint: Some(hint.into()) }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use pixels::image::Image;
    use pixels::plan::{Interpolation, Normalize, Preprocess};
    use pixels::source::{SourceError, Stored};
    use tch::{Device, Kind};

    use super::*;
    use crate::models::{Backbone, Features, Mode, Tap};

    /// The mean of each channel.
    struct Means;

    impl Backbone for Means {
        fn forward(&self, images: &Tensor, mode: Mode, _: &mut Tap) -> Features {
            assert_eq!(mode, Mode::Eval, "an encoder is frozen");
            let pooled = images.mean_dim([2i64, 3].as_slice(), false, Kind::Float);
            Features { pooled, map: None, tokens: None }
        }

        fn width(&self) -> i64 {
            3
        }
    }

    fn encoder(channels: usize) -> Encoder {
        let numbers = vec![0.5; channels];
        Encoder {
            name: "means".into(),
            backbone: Box::new(Means),
            variables: BTreeMap::new(),
            preprocess: Preprocess {
                resize: 16,
                crop: 16,
                interpolation: Interpolation::Bilinear,
                normalize: Normalize { mean: numbers.clone(), std: numbers },
            },
            channels,
            device: Device::Cpu,
            channels_last: false,
            autocast: None,
            weights_hash: String::new(),
        }
    }

    fn world() -> Arc<dyn Source> {
        pixels::source::open("world:?size=32&count=12").unwrap()
    }

    fn extracted(samples: usize, views: usize, batch: usize, workers: usize) -> ViewFeatures {
        let config = ViewsConfig { samples, views, view: None };
        let options = ExtractOptions { batch, workers, progress: &|_, _| {}, corruption: None };
        extract(&encoder(3), &world(), &config, &options).unwrap()
    }

    #[test]
    fn neither_batch_nor_workers_nor_number_of_samples_change_a_view() {
        let whole = extracted(100, 4, 256, 1);
        assert_eq!(whole.x.size(), [12, 4, 3]);
        let mut all = whole.samples.clone();
        all.sort_unstable();
        assert!(all.into_iter().eq(0..12));
        for (samples, batch, workers) in [(12, 5, 3), (7, 1, 2)] {
            let part = extracted(samples, 4, batch, workers);
            assert_eq!(part.samples, whole.samples[..samples]);
            let wanted = whole.x.narrow(0, 0, samples as i64);
            // Means of f32 in blocks of another number.
            assert!((part.x - wanted).abs().max().double_value(&[]) < 1e-5);
        }
    }

    #[test]
    fn views_of_a_sample_differ() {
        let x = extracted(3, 2, 256, 1).x;
        let apart = (x.select(1, 0) - x.select(1, 1)).abs().max().double_value(&[]);
        assert!(apart > 1e-3, "{apart}");
    }

    /// Grey images of two channels, of which sample 1 cannot be read.
    struct Torn;

    impl Source for Torn {
        fn len(&self) -> usize {
            4
        }

        fn fetch(&self, index: usize, _buffer: &mut Vec<u8>) -> Result<Stored, SourceError> {
            if index == 1 {
                return Err(SourceError::new(self.name(index), "torn"));
            }
            let samples = (0..2 * 20 * 20).map(|it| (it * (index + 1)) as u8).collect();
            Ok(Stored::Pixels(Image::from_u8(20, 20, 2, samples)))
        }

        fn label(&self, _: usize) -> Option<u32> {
            None
        }

        fn name(&self, index: usize) -> String {
            format!("#{index}")
        }

        fn classes(&self) -> &[String] {
            &[]
        }

        fn fingerprint(&self) -> String {
            "torn".into()
        }
    }

    #[test]
    fn unreadable_samples_are_listed_and_nothing_takes_their_place() {
        let source: Arc<dyn Source> = Arc::new(Torn);
        let config = ViewsConfig { views: 3, ..ViewsConfig::default() };
        let found = extract(&encoder(2), &source, &config, &ExtractOptions::default()).unwrap();
        assert_eq!(found.x.size(), [3, 3, 2]);
        let mut samples = found.samples;
        samples.sort_unstable();
        assert_eq!(samples, [0, 2, 3]);
        assert_eq!(found.skipped, [("#1".to_string(), "torn".to_string())]);
    }

    #[test]
    fn views_that_cannot_be_made_are_refused() {
        let options = ExtractOptions::default();
        let refused = |config: ViewsConfig, channels: usize| {
            extract(&encoder(channels), &world(), &config, &options).unwrap_err().to_string()
        };
        let none = ViewsConfig { views: 0, ..ViewsConfig::default() };
        assert!(refused(none, 3).contains("must be 1 or more, got 1000 and 0"));
        let colour = ViewsConfig { view: Some(ViewSpec::default()), ..ViewsConfig::default() };
        assert!(refused(colour, 2).contains("colour is defined for 3 channels"));
    }
}
