//! Addressed randomness: where a choice is made decides what it is.
//!
//! A stream is named by (seed, epoch, sample, view, purpose). Nothing else enters, so the number of workers, the
//! split over ranks and a restart cannot change a draw. The distributions are written out here because those of
//! `rand` may change between versions, and a recorded run must stay repeatable.

use rand_chacha::ChaCha8Rng;
use rand_chacha::rand_core::{Rng, SeedableRng};

/// The address of one view's randomness.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Draw {
    pub seed: u64,
    pub epoch: u64,
    pub sample: u64,
    pub view: u64,
}

/// What the numbers of a stream are for. Streams of different purposes never overlap.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[repr(u64)]
pub enum Purpose {
    /// The order of the samples in an epoch (sample and view are 0).
    Order = 0,
    Crop = 1,
    Flip = 2,
    Jitter = 3,
    Grayscale = 4,
    Blur = 5,
    Solarize = 6,
    /// The content of an image of the synthetic world.
    World = 7,
    /// Splits of a data set into parts.
    Split = 8,
    /// Resampling in bootstrap intervals.
    Bootstrap = 9,
    /// Initial weights and other numbers of training that no sample owns.
    Training = 10,
    /// Gain, offset, gamma, noise and drop of the channels of a view.
    Channels = 11,
    /// Noise of a corrupted picture; the epoch is its severity and the view its kind.
    Corruption = 12,
    /// The patches that a student does not see; the epoch is the step, the sample its place in the step's batch.
    Mask = 13,
    /// The parts of a batch that are whitened together; the epoch is the step.
    Partition = 14,
}

impl Draw {
    /// An address for randomness that belongs to no sample.
    pub fn of_seed(seed: u64) -> Self {
        Self { seed, epoch: 0, sample: 0, view: 0 }
    }

    /// The stream of this address for one purpose, from its first number.
    pub fn stream(self, purpose: Purpose) -> Stream {
        let mut key = [0u8; 32];
        for (bytes, word) in
            key.chunks_exact_mut(8).zip([self.seed, self.epoch, self.sample, self.view])
        {
            bytes.copy_from_slice(&word.to_le_bytes());
        }
        let mut cipher = ChaCha8Rng::from_seed(key);
        cipher.set_stream(purpose as u64);
        Stream { cipher }
    }
}

/// A sequence of random numbers.
pub struct Stream {
    cipher: ChaCha8Rng,
}

impl Stream {
    /// 64 random bits.
    pub fn bits(&mut self) -> u64 {
        self.cipher.next_u64()
    }

    /// Uniform in [0, 1), 53 bits.
    pub fn uniform(&mut self) -> f64 {
        (self.bits() >> 11) as f64 / (1u64 << 53) as f64
    }

    /// Uniform in [low, high).
    pub fn range(&mut self, low: f64, high: f64) -> f64 {
        low + self.uniform() * (high - low)
    }

    /// True with the given probability: 0 is never, 1 is always.
    pub fn chance(&mut self, probability: f64) -> bool {
        self.uniform() < probability
    }

    /// Uniform in 0..n, without bias (Lemire 2019). Panics for n = 0.
    pub fn below(&mut self, n: u64) -> u64 {
        assert!(n > 0, "there is no number below zero");
        let threshold = n.wrapping_neg() % n;
        loop {
            let product = u128::from(self.bits()) * u128::from(n);
            if product as u64 >= threshold {
                return (product >> 64) as u64;
            }
        }
    }

    /// Standard normal (Box and Muller 1958, the cosine half).
    pub fn normal(&mut self) -> f64 {
        let radius = (-2.0 * (1.0 - self.uniform()).ln()).sqrt();
        radius * (std::f64::consts::TAU * self.uniform()).cos()
    }

    /// The numbers 0..n in random order (Fisher and Yates).
    pub fn permutation(&mut self, n: usize) -> Vec<usize> {
        let mut order: Vec<usize> = (0..n).collect();
        for last in (1..n).rev() {
            order.swap(last, self.below(last as u64 + 1) as usize);
        }
        order
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const HERE: Draw = Draw { seed: 1, epoch: 2, sample: 3, view: 0 };

    #[test]
    fn the_same_address_gives_the_same_numbers() {
        let (mut a, mut b) = (HERE.stream(Purpose::Crop), HERE.stream(Purpose::Crop));
        assert!((0..100).all(|_| a.bits() == b.bits()));
    }

    #[test]
    fn every_part_of_the_address_matters() {
        let first = |draw: Draw, purpose| draw.stream(purpose).bits();
        let here = first(HERE, Purpose::Crop);
        assert_ne!(here, first(Draw { seed: 9, ..HERE }, Purpose::Crop));
        assert_ne!(here, first(Draw { epoch: 9, ..HERE }, Purpose::Crop));
        assert_ne!(here, first(Draw { sample: 9, ..HERE }, Purpose::Crop));
        assert_ne!(here, first(Draw { view: 9, ..HERE }, Purpose::Crop));
        assert_ne!(here, first(HERE, Purpose::Flip));
    }

    #[test]
    fn distributions_have_their_moments() {
        let mut stream = HERE.stream(Purpose::Training);
        let n = 100_000;
        let moments = |values: &[f64]| {
            let mean = values.iter().sum::<f64>() / n as f64;
            (mean, values.iter().map(|v| (v - mean).powi(2)).sum::<f64>() / n as f64)
        };
        // Five standard errors of each estimate.
        let (mean, variance) = moments(&(0..n).map(|_| stream.uniform()).collect::<Vec<_>>());
        assert!((mean - 0.5).abs() < 0.0046 && (variance - 1.0 / 12.0).abs() < 0.0012);
        let (mean, variance) = moments(&(0..n).map(|_| stream.normal()).collect::<Vec<_>>());
        assert!(mean.abs() < 0.016 && (variance - 1.0).abs() < 0.023);
        let thirds = (0..n).filter(|_| stream.below(3) == 0).count() as f64 / n as f64;
        assert!((thirds - 1.0 / 3.0).abs() < 0.0075);
    }

    #[test]
    fn a_permutation_holds_every_number_once() {
        let mut order = HERE.stream(Purpose::Order).permutation(1000);
        assert_ne!(order[..10], [0, 1, 2, 3, 4, 5, 6, 7, 8, 9]);
        order.sort_unstable();
        assert!(order.into_iter().eq(0..1000));
    }
}
