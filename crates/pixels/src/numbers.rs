//! Samples as the numbers that a network reads.

use crate::image::Image;
use crate::plan::Normalize;
use crate::planes::{AnyPlanes, Depth, Planes};
use crate::simd::{whole, widest};

/// What kind of numbers, and how they lie.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Form {
    pub kind: Kind,
    /// All channels of a pixel together, `[H, W, C]`, as convolutions prefer; else plane after plane, `[C, H, W]`.
    pub channels_last: bool,
    /// Views are cropped, resized and flipped, and nothing more; their records tell what somebody else has to do.
    pub geometry_only: bool,
}

/// Which numbers.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Kind {
    /// Normalised: each sample in [0, 1], then (x − mean) / std of its channel, within 2⁻²² of that formula.
    #[default]
    F32,
    /// The same, rounded to bfloat16 (to the nearest, ties to even); the bits as `u16`.
    Bf16,
    /// The samples themselves, for a device that normalises; 16-bit samples keep their high byte.
    U8,
}

/// Numbers of one kind in memory that somebody owns.
#[derive(Debug)]
pub enum NumbersMut<'a> {
    F32(&'a mut [f32]),
    Bf16(&'a mut [u16]),
    U8(&'a mut [u8]),
}

impl NumbersMut<'_> {
    /// The same memory, for a shorter while.
    pub fn reborrow(&mut self) -> NumbersMut<'_> {
        match self {
            Self::F32(it) => NumbersMut::F32(it),
            Self::Bf16(it) => NumbersMut::Bf16(it),
            Self::U8(it) => NumbersMut::U8(it),
        }
    }
}

/// Writes planes as numbers, normalised where the kind is. Panics if `out` or the statistics do not fit the planes.
pub fn write(planes: &AnyPlanes, normalize: &Normalize, channels_last: bool, out: NumbersMut) {
    match (planes, out) {
        (AnyPlanes::U8(it), NumbersMut::F32(out)) => fill(it, normalize, channels_last, out),
        (AnyPlanes::U8(it), NumbersMut::Bf16(out)) => fill(it, normalize, channels_last, out),
        (AnyPlanes::U8(it), NumbersMut::U8(out)) => fill(it, normalize, channels_last, out),
        (AnyPlanes::U16(it), NumbersMut::F32(out)) => fill(it, normalize, channels_last, out),
        (AnyPlanes::U16(it), NumbersMut::Bf16(out)) => fill(it, normalize, channels_last, out),
        (AnyPlanes::U16(it), NumbersMut::U8(out)) => fill(it, normalize, channels_last, out),
    }
}

/// [`write()`] of an image in f32, plane after plane.
pub fn write_normalized(image: &Image, normalize: &Normalize, out: &mut [f32]) {
    write(&AnyPlanes::of(image), normalize, false, NumbersMut::F32(out));
}

fn fill<S: Depth, N: Number>(
    planes: &Planes<S>,
    normalize: &Normalize,
    channels_last: bool,
    out: &mut [N],
) {
    let channels = planes.channels;
    assert_eq!(out.len(), planes.samples.len(), "the buffer must hold the image");
    let line = |channel: usize| N::line(S::TOP, normalize.mean[channel], normalize.std[channel]);
    if !channels_last || channels == 1 {
        let targets = out.chunks_exact_mut((planes.width * planes.height).max(1));
        for (channel, target) in targets.enumerate() {
            plane(planes.plane(channel), line(channel), target);
        }
    } else if channels == 3 {
        let [red, green, blue] = [0, 1, 2].map(|channel| planes.plane(channel));
        pixels(red, green, blue, [line(0), line(1), line(2)], out);
    } else {
        for channel in 0..channels {
            let [factor, shift] = line(channel);
            let targets = out[channel..].iter_mut().step_by(channels);
            for (target, sample) in targets.zip(planes.plane(channel)) {
                *target = N::of(sample.number() * factor + shift);
            }
        }
    }
}

widest! {
    fn plane[S: Depth, N: Number](samples: &[S], line: [f32; 2], out: &mut [N]) {
        for (number, sample) in out.iter_mut().zip(samples) {
            *number = N::of(sample.number() * line[0] + line[1]);
        }
    }
}

widest! {
    /// Three planes, interleaved.
    fn pixels[S: Depth, N: Number](
        red: &[S],
        green: &[S],
        blue: &[S],
        lines: [[f32; 2]; 3],
        out: &mut [N],
    ) {
        let samples = red.iter().zip(green).zip(blue);
        for (pixel, ((r, g), b)) in out.as_chunks_mut::<3>().0.iter_mut().zip(samples) {
            pixel[0] = N::of(r.number() * lines[0][0] + lines[0][1]);
            pixel[1] = N::of(g.number() * lines[1][0] + lines[1][1]);
            pixel[2] = N::of(b.number() * lines[2][0] + lines[2][1]);
        }
    }
}

/// What is written.
trait Number: Copy {
    /// Factor and shift that make a sample the number: sample · factor + shift.
    fn line(range: f32, mean: f32, std: f32) -> [f32; 2];
    fn of(number: f32) -> Self;
}

/// (sample / range − mean) / std as one line.
fn normalised(range: f32, mean: f32, std: f32) -> [f32; 2] {
    let [range, mean, std] = [range, mean, std].map(f64::from);
    [(1.0 / (range * std)) as f32, (-mean / std) as f32]
}

impl Number for f32 {
    fn line(range: f32, mean: f32, std: f32) -> [f32; 2] {
        normalised(range, mean, std)
    }
    #[inline(always)]
    fn of(number: f32) -> f32 {
        number
    }
}

impl Number for u16 {
    fn line(range: f32, mean: f32, std: f32) -> [f32; 2] {
        normalised(range, mean, std)
    }
    #[inline(always)]
    fn of(number: f32) -> u16 {
        // Finite numbers only, so nothing can be lost above.
        let bits = number.to_bits();
        ((bits + 0x7fff + (bits >> 16 & 1)) >> 16) as u16
    }
}

impl Number for u8 {
    fn line(range: f32, _mean: f32, _std: f32) -> [f32; 2] {
        [if range > 255.0 { 1.0 / 256.0 } else { 1.0 }, 0.0]
    }
    #[inline(always)]
    fn of(number: f32) -> u8 {
        whole(number, 255) as u8
    }
}

#[cfg(test)]
mod tests {
    use super::{NumbersMut, write, write_normalized};
    use crate::image::Image;
    use crate::plan::Normalize;
    use crate::planes::AnyPlanes;

    fn image(channels: usize) -> Image {
        Image::from_u8(7, 5, channels, (0..35 * channels).map(|i| (i * 37 % 256) as u8).collect())
    }

    fn statistics(channels: usize) -> Normalize {
        let numbers = |start: f32| (0..channels).map(|c| start + c as f32 * 0.01).collect();
        Normalize { mean: numbers(0.4), std: numbers(0.2) }
    }

    #[test]
    fn channels_last_are_the_same_numbers_in_another_order() {
        for channels in [1, 2, 3, 5] {
            let (image, normalize) = (image(channels), statistics(channels));
            let (mut planar, mut last) = (vec![0.0; 35 * channels], vec![0.0; 35 * channels]);
            write_normalized(&image, &normalize, &mut planar);
            write(&AnyPlanes::of(&image), &normalize, true, NumbersMut::F32(&mut last));
            for (i, number) in last.iter().enumerate() {
                assert_eq!(*number, planar[i % channels * 35 + i / channels]);
            }
        }
    }

    #[test]
    fn bfloat16_is_the_nearest_to_the_single_precision_number() {
        let (image, normalize) = (image(3), statistics(3));
        let (mut single, mut half) = (vec![0.0; 105], vec![0; 105]);
        write_normalized(&image, &normalize, &mut single);
        write(&AnyPlanes::of(&image), &normalize, false, NumbersMut::Bf16(&mut half));
        let value = |bits: u16| f32::from_bits(u32::from(bits) << 16);
        for (single, half) in single.iter().zip(half) {
            let away = |bits: u16| (value(bits) - single).abs();
            assert!(away(half) <= away(half + 1) && away(half) <= away(half - 1), "{single}");
        }
    }

    #[test]
    fn bytes_are_the_samples_themselves() {
        let wide = Image::from_u16(2, 1, 1, vec![0x12ff, 0xffff]);
        let mut out = [0; 2];
        write(&AnyPlanes::of(&wide), &statistics(1), false, NumbersMut::U8(&mut out));
        assert_eq!(out, [0x12, 0xff]);
        let narrow = image(3);
        let mut out = vec![0; 105];
        write(&AnyPlanes::of(&narrow), &statistics(3), true, NumbersMut::U8(&mut out));
        assert_eq!(Some(&out[..]), narrow.as_u8());
    }
}
