//! The synthetic world: textured shapes on textured grounds, drawn from a seed, with exact ground truth.

use crate::draw::{Draw, Purpose};
use crate::image::Image;
use crate::source::{Sample, Source, SourceError, Truth};

/// Images of the synthetic world.
pub struct World {
    options: WorldOptions,
    classes: Vec<String>,
}

/// What a world is made of.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct WorldOptions {
    /// Height and width of an image, in pixels.
    pub size: usize,
    pub count: usize,
    pub seed: u64,
    pub split: usize,
    /// Whether samples come with a next frame and the flow to it.
    pub motion: bool,
}

impl Default for WorldOptions {
    fn default() -> Self {
        Self { size: 64, count: 5000, seed: 1, split: 0, motion: false }
    }
}

impl World {
    pub fn new(options: WorldOptions) -> Self {
        Self { options, classes: vec!["disc".into(), "square".into()] }
    }

    pub(crate) fn of_uri(uri: &mut crate::source::Uri) -> Result<Self, SourceError> {
        let default = WorldOptions::default();
        Ok(Self::new(WorldOptions {
            size: uri.number("size")?.unwrap_or(default.size),
            count: uri.number("count")?.unwrap_or(default.count),
            seed: uri.number("seed")?.unwrap_or(default.seed),
            split: uri.choice("split", &["train", "val", "test"])?.unwrap_or(0),
            motion: uri.number::<u8>("motion")?.unwrap_or(0) > 0,
        }))
    }
}

impl Source for World {
    fn len(&self) -> usize {
        self.options.count
    }

    fn get(&self, index: usize) -> Result<Sample, SourceError> {
        let n = self.options.size;
        let draw = Draw {
            epoch: self.options.split as u64,
            sample: index as u64,
            ..Draw::of_seed(self.options.seed)
        };
        let mut stream = draw.stream(Purpose::World);
        let label = stream.below(2) as u32;
        let [x, y] = [stream.range(0.4, 0.6), stream.range(0.4, 0.6)];
        let mut samples = Vec::with_capacity(n * n * 3);
        for i in 0..n * n {
            let dx = (i % n) as f64 / n as f64 - x;
            let dy = (i / n) as f64 / n as f64 - y;
            let r = if label == 0 { dx.hypot(dy) } else { dx.abs().max(dy.abs()) };
            samples.extend(if r < 0.3 { [200, 80, 60] } else { [60, 80, 90] });
        }
        let image = Image::from_u8(n, n, 3, samples);
        Ok(Sample { image, label: Some(label), truth: Truth::default() })
    }

    fn label(&self, index: usize) -> Option<u32> {
        let draw = Draw {
            epoch: self.options.split as u64,
            sample: index as u64,
            ..Draw::of_seed(self.options.seed)
        };
        Some(draw.stream(Purpose::World).below(2) as u32)
    }

    fn name(&self, index: usize) -> String {
        format!("#{index}")
    }

    fn classes(&self) -> &[String] {
        &self.classes
    }

    fn fingerprint(&self) -> String {
        format!("world 0 {:?}", self.options)
    }
}
