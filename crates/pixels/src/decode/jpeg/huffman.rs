//! Huffman tables, built for decoding by look-up.

use super::super::DecodeError;
use super::markers::damaged;

/// The bits that the look-up is made with. Codes that are longer are rare and found by a search.
pub const LOOK_UP_BITS: u32 = 10;

/// The most bits of a code and its value in the look-up: two of them are had from one refill.
const LONGEST_ENTRY: u32 = 25;

/// A symbol of an AC table holds a run of zeros and the size of the value behind it, one of a DC table a size only.
///
/// Entries are packed so that the shift by the whole length, on which the next look-up waits, needs no unpacking:
///
/// | bits | content |
/// |---|---|
/// | 0–15 | length of code and value together; an entry of 0 is not in the table |
/// | 16–23 | size of the value |
/// | 24–31 | how far the position moves: run + 1, or [`END_OF_BLOCK`] |
pub struct Table {
    pub entries: [u32; 1 << LOOK_UP_BITS],
    /// For codes of each length: the first 16-bit string, read from the stream, that belongs to a longer code.
    limits: [u32; 17],
    /// For codes of each length: what to add to the code to have the index of its symbol.
    offsets: [i32; 17],
    symbols: [u8; 256],
    pub defined: bool,
}

/// The step of the symbol that ends a block: beyond every position.
pub const END_OF_BLOCK: u32 = 128;

#[derive(Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    Dc,
    Ac,
}

impl Default for Table {
    fn default() -> Self {
        Self {
            entries: [0; 1 << LOOK_UP_BITS],
            limits: [0; 17],
            offsets: [0; 17],
            symbols: [0; 256],
            defined: false,
        }
    }
}

impl Table {
    /// Defines the table by `counts[n]` codes of the length n + 1 and their symbols in order.
    pub fn define(
        &mut self,
        kind: Kind,
        counts: [u8; 16],
        symbols: &[u8],
    ) -> Result<(), DecodeError> {
        if kind == Kind::Dc && symbols.iter().any(|&size| size > 15) {
            return Err(damaged("a Huffman table has a symbol out of range"));
        }
        self.symbols = [0; 256];
        self.symbols[..symbols.len()].copy_from_slice(symbols);
        self.entries.fill(0);
        let (mut code, mut index) = (0u32, 0usize);
        for length in 1..=16u32 {
            let count = usize::from(counts[length as usize - 1]);
            self.offsets[length as usize] = index as i32 - code as i32;
            for &symbol in &symbols[index..index + count] {
                if code >> length != 0 {
                    return Err(damaged("a Huffman table has too many codes"));
                }
                let size = u32::from(symbol & 15);
                if length <= LOOK_UP_BITS && length + size <= LONGEST_ENTRY {
                    let spare = LOOK_UP_BITS - length;
                    let first = (code << spare) as usize;
                    self.entries[first..first + (1 << spare)].fill(entry(kind, length, symbol));
                }
                code += 1;
            }
            index += count;
            self.limits[length as usize] = code << (16 - length);
            code <<= 1;
        }
        self.defined = true;
        Ok(())
    }

    /// The entry of the code that begins the 16 bits; 0 if there is none. For codes of any length.
    #[inline(never)]
    pub fn search(&self, kind: Kind, bits: u32) -> u32 {
        let Some(length) = (1..=16).find(|&length| bits < self.limits[length]) else { return 0 };
        let index = (bits >> (16 - length)) as i32 + self.offsets[length];
        entry(kind, length as u32, self.symbols[index as usize & 255])
    }
}

fn entry(kind: Kind, length: u32, symbol: u8) -> u32 {
    let (run, size) = (u32::from(symbol >> 4), u32::from(symbol & 15));
    let step = match (kind, run, size) {
        (Kind::Dc, ..) => 0,
        // Runs without a value: 15 means sixteen zeros, what is less belongs to progressive files.
        (Kind::Ac, 0..15, 0) => END_OF_BLOCK + run,
        _ => run + 1,
    };
    (length + size) | size << 16 | step << 24
}

/// The value of an entry, given the bits that begin with its code.
///
/// The bits of a negative value are those of the value less one, so the first bit is the sign.
#[inline(always)]
pub fn value(entry: u32, bits: u64) -> i32 {
    let ones = (1 << (entry >> 16 & 63)) - 1;
    let value = bits.rotate_left(entry & 63) & ones;
    let offset = if 2 * value <= ones { ones } else { 0 };
    value.wrapping_sub(offset) as i32
}
