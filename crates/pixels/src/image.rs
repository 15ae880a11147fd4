//! An image in memory.

use std::fmt;

use crate::planes::AnyPlanes;

/// `height × width × channels` numbers, interleaved (row by row, all channels of a pixel together).
#[derive(Clone, PartialEq, Eq)]
pub struct Image {
    pub width: usize,
    pub height: usize,
    /// 1 or more. 3 means red, green, blue; 4 never means alpha: decoding removes it.
    pub channels: usize,
    pub samples: Samples,
}

/// The numbers of an image, in the depth that the file had.
#[derive(Clone, PartialEq, Eq)]
pub enum Samples {
    U8(Vec<u8>),
    U16(Vec<u16>),
}

impl Image {
    /// An 8-bit image. Panics if `samples` is not `width · height · channels` long.
    pub fn from_u8(width: usize, height: usize, channels: usize, samples: Vec<u8>) -> Self {
        assert_eq!(samples.len(), width * height * channels, "an image's samples must fill it");
        Self { width, height, channels, samples: Samples::U8(samples) }
    }

    /// A 16-bit image. Panics if `samples` is not `width · height · channels` long.
    pub fn from_u16(width: usize, height: usize, channels: usize, samples: Vec<u16>) -> Self {
        assert_eq!(samples.len(), width * height * channels, "an image's samples must fill it");
        Self { width, height, channels, samples: Samples::U16(samples) }
    }

    /// The same picture with 8 bits: 16-bit samples keep their high byte.
    #[must_use]
    pub fn into_u8(self) -> Self {
        match self.samples {
            Samples::U8(_) => self,
            Samples::U16(wide) => {
                let narrow = wide.into_iter().map(|v| (v >> 8) as u8).collect();
                Self { samples: Samples::U8(narrow), ..self }
            }
        }
    }

    /// The same picture with three 8-bit channels: grey is repeated. `None` for 2 channels or more than 3,
    /// for which no colour is defined.
    pub fn into_rgb(self) -> Option<Self> {
        let (width, height) = (self.width, self.height);
        match self.channels {
            3 => Some(self.into_u8()),
            1 => {
                let grey = self.into_u8();
                let rgb = grey.as_u8()?.iter().flat_map(|&v| [v, v, v]).collect();
                Some(Self::from_u8(width, height, 3, rgb))
            }
            _ => None,
        }
    }

    /// The same picture as a run with so many channels sees it, in its own depth: with 3 wanted, grey is repeated,
    /// otherwise it must have just as many. `None` where that cannot be.
    pub fn into_channels(self, channels: usize) -> Option<Self> {
        let mut planes = AnyPlanes::of(&self);
        planes.fit(channels).then(|| planes.image())
    }

    /// The samples of an 8-bit image, `None` for a deeper one.
    pub fn as_u8(&self) -> Option<&[u8]> {
        match &self.samples {
            Samples::U8(samples) => Some(samples),
            Samples::U16(_) => None,
        }
    }
}

impl fmt::Debug for Image {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let bits = if self.as_u8().is_some() { 8 } else { 16 };
        write!(f, "Image({}×{}×{}, {bits} bit)", self.width, self.height, self.channels)
    }
}
