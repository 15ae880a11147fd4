//! Photometric transforms for any number of channels, which know nothing of colour.
//!
//! Each function takes one channel's samples of one image, 8 or 16 bits deep, in the order of the pixels (row by row).
//! The arithmetic is the same for both depths: a sample is a number x = v / max in [0, 1], in single precision, and the
//! result is clipped to [0, 1] and rounded half up to a sample. Channels do not mix.

use std::f64::consts::TAU;
use std::sync::LazyLock;

use crate::planes::{Depth, Planes};
use crate::record::ChannelsRecord;

/// A sample whose tone can be changed.
pub trait Toned: Depth {
    /// The nearest sample to a number in `0..=TOP`, of numbers outside the first or last.
    fn nearest(value: f32) -> Self;
    /// Every sample x of a plane as `f(x)`, both in [0, 1].
    fn map(plane: &mut [Self], f: impl Fn(f32) -> f32);
}

impl Toned for u8 {
    fn nearest(value: f32) -> Self {
        (value + 0.5) as Self
    }

    fn map(plane: &mut [Self], f: impl Fn(f32) -> f32) {
        let table: [Self; 256] =
            std::array::from_fn(|v| Self::nearest(f(v as f32 / Self::TOP) * Self::TOP));
        for v in plane {
            *v = table[usize::from(*v)];
        }
    }
}

impl Toned for u16 {
    fn nearest(value: f32) -> Self {
        (value + 0.5) as Self
    }

    // A view has fewer pixels than there are samples of 16 bits: a table would cost more than it saves.
    fn map(plane: &mut [Self], f: impl Fn(f32) -> f32) {
        for v in plane {
            *v = Self::nearest(f(v.number() / Self::TOP) * Self::TOP);
        }
    }
}

/// x · gain + offset. A gain of 1 with an offset of 0 changes nothing.
pub fn gain_offset<T: Toned>(plane: &mut [T], gain: f32, offset: f32) {
    tone(plane, gain, offset, 1.0);
}

/// x to the power of `exponent`, which is above 0; 1 changes nothing.
pub fn gamma<T: Toned>(plane: &mut [T], exponent: f32) {
    tone(plane, 1.0, 0.0, exponent);
}

/// [`gain_offset`] and then [`gamma`] of what that gives, clipped between the two and rounded once.
pub fn tone<T: Toned>(plane: &mut [T], gain: f32, offset: f32, exponent: f32) {
    if (gain, offset, exponent) == (1.0, 0.0, 1.0) {
        return;
    }
    let line = |x: f32| (x * gain + offset).clamp(0.0, 1.0);
    if exponent == 1.0 {
        T::map(plane, line);
    } else {
        T::map(plane, |x| line(x).powf(exponent));
    }
}

/// Adds Gaussian noise of standard deviation `sigma`, a share of the range; 0 changes nothing. Noise far below one step
/// of the depth is rounded away.
///
/// The noise of pixel k is a function of (`seed`, `channel`, k) and of nothing else. It is normal in steps of 1/65536 of
/// probability, which ends at 4.3 σ.
pub fn noise<T: Toned>(plane: &mut [T], sigma: f32, seed: u64, channel: usize) {
    if sigma == 0.0 {
        return;
    }
    let scale = sigma * T::TOP;
    let key = scramble(scramble(seed) ^ channel as u64);
    for (block, samples) in plane.chunks_mut(4).enumerate() {
        let mut bits = scramble(key.wrapping_add(block as u64));
        for sample in samples {
            let noise = NORMAL[usize::from(bits as u16)];
            *sample = T::nearest(sample.number() + noise * scale);
            bits >>= 16;
        }
    }
}

/// All that a record says of one channel: tone, noise, and the drop, which makes it 0.
pub fn apply_to_plane<T: Toned>(plane: &mut [T], channel: usize, record: &ChannelsRecord) {
    if record.dropped == Some(channel) {
        plane.fill(T::default());
        return;
    }
    let (gain, offset) = (record.gain[channel], record.offset[channel]);
    tone(plane, gain, offset, record.gamma[channel]);
    noise(plane, record.noise, record.noise_seed, channel);
}

/// [`apply_to_plane`] for every channel of an image. Panics if the record is of an image with other channels.
pub fn apply<T: Toned>(image: &mut Planes<T>, record: &ChannelsRecord) {
    assert_eq!(image.channels, record.gain.len(), "a record of an image with other channels");
    for (channel, plane) in image.planes_mut().enumerate() {
        apply_to_plane(plane, channel, record);
    }
}

/// A well mixed function of 64 bits (the finalizer of SplitMix64; Steele, Lea and Flood 2014).
fn scramble(bits: u64) -> u64 {
    let mut z = bits.wrapping_add(0x9E37_79B9_7F4A_7C15);
    z = (z ^ (z >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
    z = (z ^ (z >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
    z ^ (z >> 31)
}

/// The normal numbers z below which lie (k + ½) / 65536 of the distribution, for k = 0..65536. Drawn from with sixteen
/// random bits it is a normal draw without a logarithm or a cosine per pixel.
static NORMAL: LazyLock<Vec<f32>> = LazyLock::new(|| {
    // The lower half by adding up the density (midpoint rule, error below 1e-9); the upper half is its mirror image.
    const STEP: f64 = 1e-5;
    let half = 1 << 15;
    let (mut z, mut below) = (-8.0f64, 0.0);
    let lower: Vec<f32> = (0..half)
        .map(|k| {
            let wanted = (f64::from(k) + 0.5) / f64::from(2 * half);
            while below < wanted {
                z += STEP;
                below += (-(z - STEP / 2.0).powi(2) / 2.0).exp() / TAU.sqrt() * STEP;
            }
            z as f32
        })
        .collect();
    let upper = lower.iter().rev().map(|z| -z);
    lower.iter().copied().chain(upper).collect()
});

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_table_is_normal() {
        // Φ⁻¹((k + ½) / 65536), from Python's statistics.NormalDist.
        for (k, z) in [(0, -4.324_92), (6553, -1.281_56), (16_384, -0.674_466)] {
            assert!((NORMAL[k] - z).abs() < 2e-5, "{k}: {}", NORMAL[k]);
            assert_eq!(NORMAL[65_535 - k], -NORMAL[k]);
        }
        let n = NORMAL.len() as f64;
        let mean = NORMAL.iter().map(|&z| f64::from(z)).sum::<f64>() / n;
        let variance = NORMAL.iter().map(|&z| f64::from(z).powi(2)).sum::<f64>() / n;
        // What the table lacks beyond its last entry is 2e-5 of the variance.
        assert!(mean.abs() < 1e-9 && (variance - 0.999_98).abs() < 1e-5, "{mean} {variance}");
    }
}
