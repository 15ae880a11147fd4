//! The segments of a file: what the markers say before and between the scans.

use super::super::{DecodeError, check_size, orientation};
use super::Orientation;

/// The most components that have a meaning.
pub const MOST_COMPONENTS: usize = 4;

/// The segments of a file, one after the other.
pub struct Segments<'a> {
    pub bytes: &'a [u8],
    /// The next byte to be read.
    pub at: usize,
}

/// The markers that the decoder acts upon.
pub mod marker {
    pub const FRAMES: std::ops::RangeInclusive<u8> = 0xC0..=0xCF;
    pub const HUFFMAN: u8 = 0xC4;
    pub const RESERVED: u8 = 0xC8;
    pub const ARITHMETIC: u8 = 0xCC;
    pub const RESTARTS: std::ops::RangeInclusive<u8> = 0xD0..=0xD7;
    pub const END: u8 = 0xD9;
    pub const SCAN: u8 = 0xDA;
    pub const QUANTISATION: u8 = 0xDB;
    pub const INTERVAL: u8 = 0xDD;
    pub const JFIF: u8 = 0xE0;
    pub const EXIF: u8 = 0xE1;
    pub const ADOBE: u8 = 0xEE;
}

impl<'a> Segments<'a> {
    /// `bytes` open with the two of the start marker.
    pub fn new(bytes: &'a [u8]) -> Self {
        Self { bytes, at: 2 }
    }

    /// Marker and content of the next segment, `None` at the end marker or the end of the file. Some writers leave
    /// stray bytes between segments, which every viewer skips.
    pub fn next(&mut self) -> Result<Option<(u8, &'a [u8])>, DecodeError> {
        loop {
            let rest = self.bytes.get(self.at..).unwrap_or_default();
            let Some(offset) = rest.iter().position(|&byte| byte == 0xFF) else {
                self.at = self.bytes.len();
                return Ok(None);
            };
            self.at += offset + 1;
            match rest.get(offset + 1) {
                Some(&kind @ (0xC0..=0xCF | marker::SCAN..=0xFE)) => {
                    self.at += 1;
                    return self.content().map(|content| Some((kind, content)));
                }
                Some(&marker::END) => return Ok(None),
                // Fill bytes, stuffed bytes, restarts: they hold nothing.
                _ => {}
            }
        }
    }

    /// Whether an end marker was met.
    pub fn is_ended(&self) -> bool {
        self.bytes.get(self.at) == Some(&marker::END)
    }

    fn content(&mut self) -> Result<&'a [u8], DecodeError> {
        let rest = &self.bytes[self.at..];
        let length = rest.first_chunk().map(|&two| usize::from(u16::from_be_bytes(two)));
        let length = length.ok_or_else(DecodeError::truncated)?;
        if length < 2 {
            return Err(damaged("a segment of the header has no length"));
        }
        let content = rest.get(2..length).ok_or_else(DecodeError::truncated)?;
        self.at += length;
        Ok(content)
    }
}

pub fn damaged(problem: &str) -> DecodeError {
    DecodeError::new(format!("damaged: {problem}"))
}

#[derive(Clone, Copy, Default)]
pub struct Component {
    pub id: u8,
    /// Sampling factors, 1 to 4: blocks of this component in an MCU, across and down.
    pub h: usize,
    pub v: usize,
    /// Which quantisation table.
    pub quantisation: usize,
}

/// The frame header.
#[derive(Clone, Copy)]
pub struct Frame {
    pub width: usize,
    pub height: usize,
    pub progressive: bool,
    pub count: usize,
    components: [Component; MOST_COMPONENTS],
    /// The largest sampling factors.
    pub h: usize,
    pub v: usize,
}

impl Frame {
    pub fn parse(kind: u8, content: &[u8]) -> Result<Self, DecodeError> {
        match kind {
            0xC0..=0xC2 => {}
            0xC3 => return Err(DecodeError::new("lossless JPEG is not read")),
            0xC5..=0xC7 => return Err(DecodeError::new("hierarchical JPEG is not read")),
            _ => return Err(DecodeError::new("arithmetic coding is not read")),
        }
        let &[depth, h1, h0, w1, w0, count, ref rest @ ..] = content else {
            return Err(damaged("the frame header is too short"));
        };
        if depth != 8 {
            return Err(DecodeError::new(format!("{depth} bits per sample are not read, only 8")));
        }
        let [width, height] =
            [[w1, w0], [h1, h0]].map(|side| usize::from(u16::from_be_bytes(side)));
        if width * height == 0 {
            return Err(DecodeError::new("the image is empty"));
        }
        let count = usize::from(count);
        if !matches!(count, 1 | 3 | 4) {
            return Err(DecodeError::new(format!("{count} components have no defined colours")));
        }
        if rest.len() != 3 * count {
            return Err(damaged("the frame header has the wrong length"));
        }
        let mut components = [Component::default(); MOST_COMPONENTS];
        for (component, &[id, factors, table]) in components.iter_mut().zip(rest.as_chunks().0) {
            let [h, v] = [factors >> 4, factors & 15].map(usize::from);
            if !(1..=4).contains(&h) || !(1..=4).contains(&v) || table > 3 {
                return Err(damaged("sampling factors or a table out of range"));
            }
            *component = Component { id, h, v, quantisation: usize::from(table) };
        }
        if count == 1 {
            // Its MCU is one block, whatever the factors are.
            (components[0].h, components[0].v) = (1, 1);
        }
        let most = |side: fn(&Component) -> usize| components.iter().map(side).max().unwrap_or(1);
        let (h, v) = (most(|c| c.h), most(|c| c.v));
        check_size(width as u64, height as u64, count as u64)?;
        Ok(Self { width, height, progressive: kind == 0xC2, count, components, h, v })
    }

    pub fn components(&self) -> &[Component] {
        &self.components[..self.count]
    }
}

/// A scan header.
pub struct Scan {
    pub count: usize,
    /// Index of the component in the frame, and its Huffman tables: [component, DC, AC].
    pub parts: [[usize; 3]; MOST_COMPONENTS],
    /// The first and the last coefficient, in zigzag order.
    pub first: usize,
    pub last: usize,
    /// How many low bits were missing before this scan (0: it is the first) and are missing after it.
    pub high: u32,
    pub low: u32,
}

impl Scan {
    pub fn parse(content: &[u8], frame: &Frame) -> Result<Self, DecodeError> {
        let wrong = || damaged("a scan header makes no sense");
        let (&count, rest) = content.split_first().ok_or_else(wrong)?;
        let count = usize::from(count);
        if !(1..=frame.count).contains(&count) || rest.len() != 2 * count + 3 {
            return Err(wrong());
        }
        let mut parts = [[0; 3]; MOST_COMPONENTS];
        let mut blocks = 0;
        for k in 0..count {
            let [id, tables] = [rest[2 * k], rest[2 * k + 1]];
            let named = |c: &Component| c.id == id;
            let index = frame.components().iter().position(named).ok_or_else(wrong)?;
            let [dc, ac] = [tables >> 4, tables & 15].map(usize::from);
            if dc > 3 || ac > 3 || parts[..k].iter().any(|part| part[0] == index) {
                return Err(wrong());
            }
            parts[k] = [index, dc, ac];
            blocks += frame.components[index].h * frame.components[index].v;
        }
        if count > 1 && blocks > super::MOST_BLOCKS {
            return Err(damaged("more than ten blocks in an MCU"));
        }
        let &[first, last, bits] = &rest[2 * count..] else { return Err(wrong()) };
        let (high, low) = (u32::from(bits >> 4), u32::from(bits & 15));
        let (first, last) = (usize::from(first), usize::from(last));
        let progressive = if first == 0 { last == 0 } else { last >= first && count == 1 };
        let sensible = progressive && last < 64 && low <= 13 && (high == 0 || high == low + 1);
        match frame.progressive {
            true if !sensible => Err(wrong()),
            true => Ok(Self { count, parts, first, last, high, low }),
            // The last four numbers have one possible value, which not every writer gives.
            false => Ok(Self { count, parts, first: 0, last: 63, high: 0, low: 0 }),
        }
    }
}

/// What the components stand for.
#[derive(Clone, Copy, PartialEq, Eq)]
pub enum Colours {
    Grey,
    Ycc,
    Rgb,
    Cmyk,
    /// CMYK, of which the first three went through the matrix of YCbCr.
    Ycck,
}

/// What the application segments say.
#[derive(Clone, Copy, Default)]
pub struct Hints {
    pub orientation: Option<Orientation>,
    jfif: bool,
    adobe: Option<u8>,
}

impl Hints {
    pub fn read(&mut self, kind: u8, content: &[u8]) {
        match (kind, content) {
            (marker::JFIF, [b'J', b'F', b'I', b'F', 0, ..]) if content.len() >= 14 => {
                self.jfif = true;
            }
            (marker::ADOBE, [b'A', b'd', b'o', b'b', b'e', _, _, _, _, _, _, transform, ..]) => {
                self.adobe = Some(*transform);
            }
            (marker::EXIF, [b'E', b'x', b'i', b'f', 0, 0, ..]) => {
                self.orientation = orientation::of_exif(content);
            }
            _ => {}
        }
    }

    /// The colours as libjpeg guesses them, since the format does not say.
    pub fn colours(self, frame: &Frame) -> Colours {
        let ids = [0, 1, 2].map(|k| frame.components[k].id);
        match (frame.count, self.adobe) {
            (1, _) => Colours::Grey,
            (3, _) if self.jfif => Colours::Ycc,
            (3, Some(0)) => Colours::Rgb,
            (3, None) if ids == *b"RGB" => Colours::Rgb,
            (3, _) => Colours::Ycc,
            (_, None | Some(0)) => Colours::Cmyk,
            _ => Colours::Ycck,
        }
    }
}
