//! The directory of a TIFF structure, which EXIF blocks use too: byte order, offset of the directory, entries of
//! twelve bytes.

use std::ops::Range;

/// An entry that holds 16-bit numbers.
pub struct Entry {
    /// The first number.
    pub value: u16,
    /// Where its two bytes stand, and their order.
    pub at: Range<usize>,
    pub little_endian: bool,
}

/// The entry of a tag in the first directory; `None` where there is none, the structure is broken or the kind is another.
pub fn find(bytes: &[u8], tag: u16) -> Option<Entry> {
    const SHORT: u16 = 3;
    let little_endian = match bytes.get(..4)? {
        [b'I', b'I', 42, 0] => true,
        [b'M', b'M', 0, 42] => false,
        _ => return None,
    };
    let short = |at: usize| {
        let pair = *bytes.get(at..)?.first_chunk()?;
        Some(if little_endian { u16::from_le_bytes(pair) } else { u16::from_be_bytes(pair) })
    };
    let halves = [short(4)?, short(6)?].map(usize::from);
    let start =
        if little_endian { halves[0] | halves[1] << 16 } else { halves[0] << 16 | halves[1] };
    let entries = usize::from(short(start)?);
    let at = (0..entries)
        .map(|entry| start + 2 + 12 * entry)
        .find(|&at| short(at) == Some(tag) && short(at + 2) == Some(SHORT))?;
    Some(Entry { value: short(at + 8)?, at: at + 8..at + 10, little_endian })
}
