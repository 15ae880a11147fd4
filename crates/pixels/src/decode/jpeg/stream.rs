//! The bits of a scan.

use super::super::DecodeError;
use super::markers::{damaged, marker};

/// Bits of the longest code with its value.
const LONGEST: isize = 31;

/// Room for the 64 codes that a block can have, and the words that are read ahead.
const MARGIN: usize = 64 * LONGEST as usize / 8 + 40;
const SIZE: usize = 8 << 10;

/// A part of a scan's data, with the stuffed zeros taken out.
pub struct Window {
    data: [u8; SIZE + 8],
    filled: usize,
    /// Beyond this position [`Stream::more`] has to be asked before the next block.
    limit: usize,
}

impl Default for Window {
    fn default() -> Self {
        Self { data: [0; SIZE + 8], filled: 0, limit: 0 }
    }
}

/// Reads a scan's data: bytes from the file into the window, bits from the window.
pub struct Stream<'a, 'w> {
    bytes: &'a [u8],
    /// The next byte of the file; once `ended`, the marker or the end of the file.
    at: usize,
    ended: bool,
    window: &'w mut Window,
}

/// The place in the window. A value of its own, so that it stays in registers.
#[derive(Clone, Copy)]
pub struct Bits {
    /// The next bits, from the highest down. Below their count they are either zero or right.
    pub ahead: u64,
    /// How many bits are there: the lowest six bits of this number. The others are not kept clean, which saves
    /// an instruction on the longest way through the loop.
    count: u32,
    next: usize,
}

impl Bits {
    const START: Self = Self { ahead: 0, count: 0, next: 0 };

    /// At least 56 bits are there afterwards.
    #[inline(always)]
    pub fn refill(&mut self, window: &Window) {
        let word = window.data[self.next % SIZE..].first_chunk();
        self.ahead |= u64::from_be_bytes(*word.unwrap_or(&[0; 8])) >> (self.count & 63);
        self.next += (!self.count >> 3 & 7) as usize;
        self.count |= 0b11_1000;
    }

    /// The lowest six bits of `length` say how many.
    #[inline(always)]
    pub fn skip(&mut self, length: u32) {
        self.ahead <<= length & 63;
        self.count = self.count.wrapping_sub(length);
    }

    fn count(self) -> u32 {
        self.count & 63
    }

    /// The next `length` bits, 1 to 16. They have to be there.
    #[inline(always)]
    pub fn take(&mut self, length: u32) -> u32 {
        let taken = (self.ahead >> (64 - length)) as u32;
        self.skip(length);
        taken
    }
}

impl<'a, 'w> Stream<'a, 'w> {
    /// The data that begin at a place in the file.
    pub fn new(bytes: &'a [u8], at: usize, window: &'w mut Window) -> (Self, Bits) {
        let mut stream = Self { bytes, at, ended: false, window };
        let bits = stream.start();
        (stream, bits)
    }

    pub fn window(&self) -> &Window {
        self.window
    }

    /// To be called before each block: sees to it that its bits are in the window, and that those before it were.
    #[inline(always)]
    pub fn before_block(&mut self, bits: &mut Bits) -> Result<(), DecodeError> {
        if bits.next > self.window.limit {
            bits.next = self.more(*bits)?;
        }
        Ok(())
    }

    /// Behind the last block of an interval: the data have to end here, and the next restart marker has to follow.
    pub fn restart(&mut self, bits: Bits, number: usize) -> Result<Bits, DecodeError> {
        self.finish(bits)?;
        let rest = self.bytes.get(self.at..).unwrap_or_default();
        let fill = rest.iter().take_while(|&&byte| byte == 0xFF).count();
        match rest.get(fill) {
            Some(&kind) if kind == marker::RESTARTS.start() + (number % 8) as u8 => {}
            Some(_) => return Err(damaged("a restart marker is missing")),
            None => return Err(DecodeError::truncated()),
        }
        self.at += fill + 1;
        Ok(self.start())
    }

    /// Behind the last block of a scan that is not the last. Gives the place where the next marker stands.
    pub fn finish(&mut self, bits: Bits) -> Result<usize, DecodeError> {
        let mut bits = bits;
        while !self.ended && self.left(bits) < 8 {
            bits.next = self.more(bits)?;
        }
        match self.left(bits) {
            ..0 => Err(self.short()),
            0..8 if self.ended => Ok(self.at),
            _ => Err(damaged("there are data left over at the end of a scan")),
        }
    }

    /// Behind the last block that is wanted: its bits have to have been there. Gives the next place in the file.
    pub fn leave(&self, bits: Bits) -> Result<usize, DecodeError> {
        if self.left(bits) < 0 { Err(self.short()) } else { Ok(self.at) }
    }

    fn start(&mut self) -> Bits {
        self.ended = false;
        self.window.filled = 0;
        self.fill();
        Bits::START
    }

    /// The bits that are left in the window; less than none if more were read than there are.
    fn left(&self, bits: Bits) -> isize {
        8 * self.window.filled as isize - 8 * bits.next as isize + bits.count() as isize
    }

    /// What is the matter when no table has the next code.
    #[cold]
    pub fn wrong_code(&self, bits: Bits) -> DecodeError {
        if self.ended && self.left(bits) < LONGEST {
            return self.short();
        }
        damaged("a code that no table has")
    }

    fn short(&self) -> DecodeError {
        // A part of a marker is no marker.
        if self.bytes.get(self.at..).unwrap_or_default().iter().all(|&byte| byte == 0xFF) {
            DecodeError::truncated()
        } else {
            damaged("the data of a scan end too early")
        }
    }

    /// Brings more data into the window. Gives the same place in it.
    #[inline(never)]
    fn more(&mut self, mut bits: Bits) -> Result<usize, DecodeError> {
        if !self.ended {
            // Not yet at the end, so the margin is there and nothing has been read beyond it.
            let filled = self.window.filled;
            let next = bits.next.min(filled);
            self.window.data.copy_within(next..filled, 0);
            self.window.filled = filled - next;
            self.fill();
            bits.next -= next;
        }
        if self.left(bits) < 0 { Err(self.short()) } else { Ok(bits.next) }
    }

    /// Fills the window up from the file.
    fn fill(&mut self) {
        let Window { data, filled, limit } = &mut *self.window;
        let room = SIZE - MARGIN;
        while *filled < room {
            let from = &self.bytes[self.at..];
            // Whole words without a 0xFF are copied as they are.
            let words =
                from.as_chunks::<16>().0.iter().zip(data[*filled..].as_chunks_mut::<16>().0);
            let plain = words
                .take((room - *filled).div_ceil(16))
                // Counted without an early end, which compiles to one comparison.
                .take_while(|(from, _)| {
                    from.iter().map(|&byte| u8::from(byte == 0xFF)).sum::<u8>() == 0
                })
                .map(|(from, to)| *to = *from)
                .count();
            self.at += 16 * plain;
            *filled += 16 * plain;
            if *filled >= room {
                break;
            }
            let Some((byte, length)) = next_byte(&self.bytes[self.at..]) else {
                self.ended = true;
                data[*filled..*filled + MARGIN - 16].fill(0);
                *limit = *filled;
                return;
            };
            data[*filled] = byte;
            *filled += 1;
            self.at += length;
        }
        *limit = filled.saturating_sub(MARGIN);
    }
}

/// A byte of data and how many bytes it is written with; `None` before a marker and at the end of the file.
fn next_byte(bytes: &[u8]) -> Option<(u8, usize)> {
    match *bytes.first()? {
        0xFF => {
            let fill = bytes.iter().position(|&byte| byte != 0xFF)?;
            (bytes[fill] == 0).then_some((0xFF, fill + 1))
        }
        byte => Some((byte, 1)),
    }
}
