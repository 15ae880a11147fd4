//! Statistics of the channels of a set of images, exact and in one pass.
//!
//! Each channel is counted into a histogram with a bin per possible sample, from which everything else follows. Counts
//! are whole numbers, so no order of threads or images reaches a result.

use serde::{Deserialize, Serialize};

use crate::draw::{Draw, Purpose};
use crate::image::{Image, Samples};
use crate::plan::Normalize;
use crate::scan::scan;
use crate::source::{Source, SourceError};

/// The percentiles that [`ChannelStatistics`] holds.
pub const PERCENTILES: [f64; 5] = [0.1, 1.0, 50.0, 99.0, 99.9];

/// One channel over all pixels of all images; every pixel counts the same. Samples are numbers in [0, 1]: 8 bits over
/// 255, 16 bits over 65535.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct ChannelStatistics {
    pub mean: f64,
    /// Standard deviation over the pixels, with n in the denominator.
    pub std: f64,
    pub min: f64,
    pub max: f64,
    /// For each p of [`PERCENTILES`] the smallest sample that at least p % of the pixels do not exceed.
    pub percentiles: [f64; 5],
}

/// What [`measure`] has found.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Measured {
    /// Images that were measured.
    pub images: usize,
    /// Images that could not be read, or have other channels.
    pub skipped: usize,
    pub pixels: u64,
    pub channels: Vec<ChannelStatistics>,
}

/// Measures the channels of a source as a run with `channels` channels sees it: with 3, everything becomes RGB.
///
/// With a `limit` only so many images are read, the first of a fixed random order. An error when none of them can be
/// read with these channels. `done` hears of each image.
pub fn measure(
    source: &dyn Source,
    channels: usize,
    limit: Option<usize>,
    workers: usize,
    done: &(dyn Fn() + Sync),
) -> Result<Measured, SourceError> {
    let mut order = Draw::of_seed(0).stream(Purpose::Split).permutation(source.len());
    order.truncate(limit.unwrap_or(usize::MAX));
    // In the order of the source, which a disk reads faster.
    order.sort_unstable();
    let parts = scan(
        source,
        &order,
        workers,
        done,
        || (Tally::new(channels), None::<(usize, SourceError)>),
        |(tally, failure), index, read| {
            let image = read.and_then(|read| {
                let found = read.image.channels;
                read.image.into_channels(channels).ok_or_else(|| {
                    let problem = format!("{channels} channels are wanted, {found} found");
                    SourceError::new(source.name(index), problem)
                        .hint(format!("these images have {found}: `--channels {found}` here, `data.channels` in a recipe"))
                })
            });
            match image {
                Ok(image) => tally.add(&image),
                Err(error) if failure.as_ref().is_none_or(|(known, _)| index < *known) => {
                    *failure = Some((index, error));
                }
                Err(_) => {}
            }
        },
    );
    let mut tally = Tally::new(channels);
    let mut failures = Vec::new();
    for (part, failure) in parts {
        tally.merge(part);
        failures.extend(failure);
    }
    if tally.images == 0 {
        let first = failures.into_iter().min_by_key(|(index, _)| *index);
        let (example, hint) =
            first.map_or((String::new(), None), |(_, error)| (format!(": {error}"), error.hint));
        let problem = format!("none of {} images can be measured{example}", order.len());
        return Err(SourceError { hint, ..SourceError::new("statistics", problem) });
    }
    Ok(Measured {
        images: tally.images,
        skipped: order.len() - tally.images,
        pixels: tally.pixels,
        channels: tally.statistics(),
    })
}

impl Measured {
    /// Mean and standard deviation for [`ViewPlan`](crate::plan::ViewPlan). An error when a channel is constant, for
    /// which there is no standard deviation to divide by.
    pub fn normalize(&self) -> Result<Normalize, SourceError> {
        if let Some(channel) = self.channels.iter().position(|channel| channel.std <= 0.0) {
            let problem = format!(
                "channel {} is {} in every pixel of {} images",
                channel + 1,
                self.channels[channel].mean,
                self.images
            );
            return Err(SourceError::new("statistics", problem)
                .hint("leave the channel out, or write `normalize.mean` and `normalize.std` out"));
        }
        let numbers = |of: fn(&ChannelStatistics) -> f64| {
            self.channels.iter().map(|channel| of(channel) as f32).collect()
        };
        Ok(Normalize { mean: numbers(|channel| channel.mean), std: numbers(|channel| channel.std) })
    }
}

/// Counts of the samples of images with the same number of channels.
pub(crate) struct Tally {
    pub images: usize,
    pub pixels: u64,
    channels: Vec<Histogram>,
}

/// How often each sample of a channel occurs.
#[derive(Clone)]
struct Histogram {
    narrow: Vec<u64>,
    /// Empty until the first image of 16 bits.
    wide: Vec<u64>,
}

impl Tally {
    pub fn new(channels: usize) -> Self {
        let none = Histogram { narrow: vec![0; 256], wide: Vec::new() };
        Self { images: 0, pixels: 0, channels: vec![none; channels] }
    }

    /// Counts an image, which must have the tally's channels.
    pub fn add(&mut self, image: &Image) {
        let channels = self.channels.len();
        debug_assert_eq!(image.channels, channels);
        self.images += 1;
        self.pixels += (image.width * image.height) as u64;
        match &image.samples {
            Samples::U8(samples) => {
                for pixel in samples.chunks_exact(channels) {
                    for (channel, &v) in self.channels.iter_mut().zip(pixel) {
                        channel.narrow[usize::from(v)] += 1;
                    }
                }
            }
            Samples::U16(samples) => {
                for channel in &mut self.channels {
                    channel.wide.resize(1 << 16, 0);
                }
                for pixel in samples.chunks_exact(channels) {
                    for (channel, &v) in self.channels.iter_mut().zip(pixel) {
                        channel.wide[usize::from(v)] += 1;
                    }
                }
            }
        }
    }

    /// Adds the counts of another tally of the same channels.
    pub fn merge(&mut self, other: Self) {
        self.images += other.images;
        self.pixels += other.pixels;
        for (to, from) in self.channels.iter_mut().zip(other.channels) {
            if to.wide.is_empty() {
                to.wide = from.wide;
            } else {
                to.wide.iter_mut().zip(from.wide).for_each(|(to, from)| *to += from);
            }
            to.narrow.iter_mut().zip(from.narrow).for_each(|(to, from)| *to += from);
        }
    }

    /// One entry per channel; NaN and 0 where nothing was counted.
    pub fn statistics(self) -> Vec<ChannelStatistics> {
        self.channels.into_iter().map(Histogram::statistics).collect()
    }
}

impl Histogram {
    fn statistics(mut self) -> ChannelStatistics {
        // 255 divides 65535: samples of both depths have a place on one scale.
        self.wide.resize(1 << 16, 0);
        for (v, &count) in self.narrow.iter().enumerate() {
            self.wide[257 * v] += count;
        }
        let share = |v: usize| v as f64 / 65_535.0;
        let filled = || self.wide.iter().enumerate().filter(|(_, count)| **count > 0);
        let n: u64 = self.wide.iter().sum();
        let sum: u128 = filled().map(|(v, &count)| v as u128 * u128::from(count)).sum();
        let mean = sum as f64 / n as f64;
        let squares: f64 =
            filled().map(|(v, &count)| (v as f64 - mean).powi(2) * count as f64).sum();
        let percentile = |p: f64| {
            let wanted = (p / 100.0 * n as f64).ceil().max(1.0) as u64;
            let mut below = 0;
            let reached = |&(_, &count): &(usize, &u64)| {
                below += count;
                below >= wanted
            };
            filled().find(reached).map_or(0.0, |(v, _)| share(v))
        };
        ChannelStatistics {
            mean: mean / 65_535.0,
            std: (squares / n as f64).sqrt() / 65_535.0,
            min: filled().next().map_or(0.0, |(v, _)| share(v)),
            max: filled().next_back().map_or(0.0, |(v, _)| share(v)),
            percentiles: PERCENTILES.map(percentile),
        }
    }
}

#[cfg(test)]
mod tests;
