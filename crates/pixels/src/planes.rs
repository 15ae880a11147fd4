//! An image with each channel on its own, which is how views are computed: a pass over one channel is a pass over
//! neighbours in memory.

use crate::image::{Image, Samples};
use crate::record::CropBox;

/// A sample of 8 or 16 bits.
pub trait Depth: Copy + Ord + Default + Send + 'static {
    /// The largest sample, which stands for 1.
    const TOP: f32;
    /// The sample as a number in `0..=TOP`.
    fn number(self) -> f32;
    /// The largest sample less this one.
    #[must_use]
    fn inverse(self) -> Self;
}

/// `channels × height × width` samples, plane after plane, row by row.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Planes<T> {
    pub width: usize,
    pub height: usize,
    pub channels: usize,
    pub samples: Vec<T>,
}

/// Planes in the depth of their image.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum AnyPlanes {
    U8(Planes<u8>),
    U16(Planes<u16>),
}

impl Depth for u8 {
    const TOP: f32 = 255.0;
    #[inline(always)]
    fn number(self) -> f32 {
        self.into()
    }
    #[inline(always)]
    fn inverse(self) -> Self {
        !self
    }
}

impl Depth for u16 {
    const TOP: f32 = 65_535.0;
    #[inline(always)]
    fn number(self) -> f32 {
        self.into()
    }
    #[inline(always)]
    fn inverse(self) -> Self {
        !self
    }
}

impl<T: Depth> Planes<T> {
    /// Takes another shape. The samples are whatever they were, or 0.
    pub fn reshape(&mut self, width: usize, height: usize, channels: usize) {
        (self.width, self.height, self.channels) = (width, height, channels);
        self.samples.resize(width * height * channels, T::default());
    }

    /// One channel. Panics if there is none of that number.
    pub fn plane(&self, channel: usize) -> &[T] {
        let pixels = self.width * self.height;
        &self.samples[channel * pixels..][..pixels]
    }

    /// All channels in order.
    pub fn planes_mut(&mut self) -> std::slice::ChunksExactMut<'_, T> {
        self.samples.chunks_exact_mut((self.width * self.height).max(1))
    }

    /// Red, green and blue. Panics for another number of channels.
    pub fn rgb_mut(&mut self) -> [&mut [T]; 3] {
        assert_eq!(self.channels, 3, "colour needs three channels");
        let (red, rest) = self.samples.split_at_mut(self.width * self.height);
        let (green, blue) = rest.split_at_mut(self.width * self.height);
        [red, green, blue]
    }

    /// Becomes a part of interleaved samples, whose rows have `stride` pixels of `channels` channels. Panics if the
    /// part leaves them.
    pub fn take(&mut self, samples: &[T], stride: usize, channels: usize, part: CropBox) {
        self.reshape(part.width, part.height, channels);
        for y in 0..part.height {
            let from = ((part.top + y) * stride + part.left) * channels;
            let row = &samples[from..][..part.width * channels];
            let at = y * part.width;
            match channels {
                1 => self.samples[at..][..part.width].copy_from_slice(row),
                3 => {
                    let [red, green, blue] = self.rgb_mut().map(|plane| &mut plane[at..]);
                    let targets = red.iter_mut().zip(green).zip(blue);
                    for (pixel, ((red, green), blue)) in row.as_chunks::<3>().0.iter().zip(targets)
                    {
                        [*red, *green, *blue] = *pixel;
                    }
                }
                _ => {
                    for (channel, plane) in self.planes_mut().enumerate() {
                        let values = row[channel..].iter().step_by(channels);
                        for (target, value) in plane[at..].iter_mut().zip(values) {
                            *target = *value;
                        }
                    }
                }
            }
        }
    }

    /// The samples with all channels of a pixel together.
    pub fn interleaved(&self) -> Vec<T> {
        let mut samples = vec![T::default(); self.samples.len()];
        for channel in 0..self.channels {
            let targets = samples[channel..].iter_mut().step_by(self.channels);
            for (target, value) in targets.zip(self.plane(channel)) {
                *target = *value;
            }
        }
        samples
    }

    /// One channel becomes three that are equal.
    pub fn repeat_grey(&mut self) {
        if self.channels == 1 {
            let pixels = self.samples.len();
            self.samples.resize(3 * pixels, T::default());
            self.samples.copy_within(..pixels, pixels);
            self.samples.copy_within(..pixels, 2 * pixels);
            self.channels = 3;
        }
    }
}

impl Default for AnyPlanes {
    fn default() -> Self {
        Self::U8(Planes::default())
    }
}

impl AnyPlanes {
    /// Width and height.
    pub fn size(&self) -> [usize; 2] {
        match self {
            Self::U8(it) => [it.width, it.height],
            Self::U16(it) => [it.width, it.height],
        }
    }

    pub fn channels(&self) -> usize {
        match self {
            Self::U8(it) => it.channels,
            Self::U16(it) => it.channels,
        }
    }

    /// Becomes planes of 8 bits, of whatever content, for somebody to fill.
    pub fn as_u8_mut(&mut self) -> &mut Planes<u8> {
        if let Self::U16(_) = self {
            *self = Self::U8(Planes::default());
        }
        match self {
            Self::U8(it) => it,
            Self::U16(_) => unreachable!("replaced above"),
        }
    }

    /// Becomes planes of 16 bits, of whatever content, for somebody to fill.
    pub fn as_u16_mut(&mut self) -> &mut Planes<u16> {
        if let Self::U8(_) = self {
            *self = Self::U16(Planes::default());
        }
        match self {
            Self::U16(it) => it,
            Self::U8(_) => unreachable!("replaced above"),
        }
    }

    /// Becomes the same picture with 8 bits: samples of 16 bits keep their high byte.
    pub fn narrow(&mut self) {
        if let Self::U16(Planes { width, height, channels, samples }) = self {
            let samples = samples.iter().map(|wide| (wide >> 8) as u8).collect();
            let (width, height, channels) = (*width, *height, *channels);
            *self = Self::U8(Planes { width, height, channels, samples });
        }
    }

    /// Becomes a part of an image. Panics if the part leaves it.
    pub fn take(&mut self, image: &Image, part: CropBox) {
        match &image.samples {
            Samples::U8(samples) => {
                self.as_u8_mut().take(samples, image.width, image.channels, part);
            }
            Samples::U16(samples) => {
                self.as_u16_mut().take(samples, image.width, image.channels, part);
            }
        }
    }

    /// Sees to the channels: with 3 wanted, grey becomes three equal ones. Whether there are as many as wanted then; where
    /// not, nothing is changed.
    #[must_use]
    pub fn fit(&mut self, channels: usize) -> bool {
        if channels == 3 {
            match self {
                Self::U8(it) => it.repeat_grey(),
                Self::U16(it) => it.repeat_grey(),
            }
        }
        self.channels() == channels
    }

    /// The planes of an image.
    pub fn of(image: &Image) -> Self {
        let mut planes = Self::default();
        planes.take(image, CropBox { top: 0, left: 0, height: image.height, width: image.width });
        planes
    }

    /// The image of these planes.
    pub fn image(&self) -> Image {
        match self {
            Self::U8(p) => Image::from_u8(p.width, p.height, p.channels, p.interleaved()),
            Self::U16(p) => Image::from_u16(p.width, p.height, p.channels, p.interleaved()),
        }
    }
}
