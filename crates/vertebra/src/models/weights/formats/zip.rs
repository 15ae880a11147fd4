//! As much of zip as torch's archives need: the central directory, with zip64 for files beyond 4 GB, and entries that
//! are stored or deflated. Checksums are not looked at, for torch can be told to write none.

use std::collections::BTreeMap;
use std::io::{Read, Seek};

use super::{MAX_HEADER, Outcome, Storage, damaged, length_of, read_at};

const END: &[u8] = b"PK\x05\x06";
const END_LENGTH: usize = 22;
const END64: &[u8] = b"PK\x06\x06";
const LOCATOR64: &[u8] = b"PK\x06\x07";
const LOCATOR64_LENGTH: usize = 20;
const ENTRY: &[u8] = b"PK\x01\x02";
const ENTRY_LENGTH: usize = 46;
const LOCAL: &[u8] = b"PK\x03\x04";
const LOCAL_LENGTH: u64 = 30;
/// A comment may follow the end record.
const MAX_COMMENT: u64 = 65_535;
/// Says "see the zip64 field" where a 32-bit number would be.
const ELSEWHERE: u64 = 0xFFFF_FFFF;
const ENCRYPTED: u64 = 1;
const STORED: u64 = 0;
const DEFLATED: u64 = 8;

/// The files of an archive, by name; [`Storage::at`] is where the local header lies, see [`place`].
pub fn directory<R: Read + Seek>(file: &mut R) -> Outcome<BTreeMap<String, Storage>> {
    let whole = length_of(file)?;
    let (start, length) = find_directory(file, whole)?;
    if start.checked_add(length).is_none_or(|end| end > whole) || length > MAX_HEADER {
        let problem = format!("its directory is to lie at {start} with {length} bytes of {whole}");
        return Err(damaged(problem));
    }
    let bytes = read_at(file, start, length)?;
    let (mut entries, mut rest) = (BTreeMap::new(), bytes.as_slice());
    while !rest.is_empty() {
        let (name, entry, length) = entry(rest).ok_or_else(broken)??;
        if entry.packed > whole || (!entry.deflated && entry.packed != entry.bytes) {
            let (packed, bytes) = (entry.packed, entry.bytes);
            let problem =
                format!("`{name}` is to have {bytes} bytes, {packed} in a file of {whole}");
            return Err(damaged(problem));
        }
        if entries.insert(name.clone(), entry).is_some() {
            return Err(damaged(format!("two of its files are called `{name}`")));
        }
        rest = &rest[length..];
    }
    Ok(entries)
}

/// The entry with [`Storage::at`] at its first byte, which only the local header tells.
pub fn place<R: Read + Seek>(file: &mut R, name: &str, entry: &Storage) -> Outcome<Storage> {
    let whole = length_of(file)?;
    let outside = || damaged(format!("`{name}` lies beyond the end of the file"));
    if entry.at.checked_add(LOCAL_LENGTH).is_none_or(|end| end > whole) {
        return Err(outside());
    }
    let header = read_at(file, entry.at, LOCAL_LENGTH)?;
    let lengths = number(&header, 26, 2).zip(number(&header, 28, 2));
    let (true, Some((name_length, extra))) = (header.starts_with(LOCAL), lengths) else {
        return Err(damaged(format!("there is no `{name}` where it is to lie")));
    };
    let at = entry.at + LOCAL_LENGTH + name_length + extra;
    if at.checked_add(entry.packed).is_none_or(|end| end > whole) {
        return Err(outside());
    }
    Ok(Storage { at, ..entry.clone() })
}

/// Where the central directory begins, and its length.
fn find_directory<R: Read + Seek>(file: &mut R, whole: u64) -> Outcome<(u64, u64)> {
    let longest = END_LENGTH as u64 + MAX_COMMENT + LOCATOR64_LENGTH as u64;
    let length = whole.min(longest);
    let tail = read_at(file, whole - length, length)?;
    let at =
        (0..=tail.len().saturating_sub(END_LENGTH)).rev().find(|&at| tail[at..].starts_with(END));
    let Some(at) = at else {
        return Err(damaged("it is a zip archive without its end; is it cut off?"));
    };
    let (start, length) =
        number(&tail, at + 16, 4).zip(number(&tail, at + 12, 4)).ok_or_else(broken)?;
    let locator = at.checked_sub(LOCATOR64_LENGTH).filter(|&at| tail[at..].starts_with(LOCATOR64));
    let Some(locator) = locator else { return Ok((start, length)) };
    let end64 = number(&tail, locator + 8, 8).ok_or_else(broken)?;
    if end64.checked_add(56).is_none_or(|end| end > whole) {
        return Err(broken());
    }
    let end64 = read_at(file, end64, 56)?;
    match number(&end64, 48, 8).zip(number(&end64, 40, 8)) {
        Some(found) if end64.starts_with(END64) => Ok(found),
        _ => Err(broken()),
    }
}

/// The first entry of a directory: its name, itself and its length. `None` where bytes are missing.
fn entry(bytes: &[u8]) -> Option<Outcome<(String, Storage, usize)>> {
    if !bytes.starts_with(ENTRY) {
        return None;
    }
    let field = |at, width| number(bytes, at, width);
    let (name, extra, comment) = (field(28, 2)?, field(30, 2)?, field(32, 2)?);
    let names = ENTRY_LENGTH..ENTRY_LENGTH + name as usize;
    let extras = names.end..names.end + extra as usize;
    let length = extras.end + comment as usize;
    bytes.get(..length)?;
    let name = String::from_utf8_lossy(bytes.get(names)?).into_owned();
    if field(8, 2)? & ENCRYPTED != 0 {
        return Some(Err(damaged(format!("`{name}` is encrypted"))));
    }
    let method = field(10, 2)?;
    if method != STORED && method != DEFLATED {
        let problem = format!("`{name}` is compressed by method {method}, which is not read");
        return Some(Err(damaged(problem)));
    }
    let mut wide = zip64(bytes.get(extras)?);
    let mut number = |at| {
        let short = field(at, 4)?;
        if short == ELSEWHERE { wide.next() } else { Some(short) }
    };
    // The zip64 field has its numbers in this order.
    let (unpacked, packed, at) = (number(24)?, number(20)?, number(42)?);
    let entry = Storage { at, packed, bytes: unpacked, deflated: method == DEFLATED };
    Some(Ok((name, entry, length)))
}

/// The 64-bit numbers of the extra field with the id 1.
fn zip64(mut extra: &[u8]) -> impl Iterator<Item = u64> {
    let mut found: &[u8] = &[];
    while let (Some(id), Some(length)) = (number(extra, 0, 2), number(extra, 2, 2)) {
        let Some(field) = extra.get(4..4 + length as usize) else { break };
        if id == 1 {
            found = field;
        }
        extra = &extra[4 + length as usize..];
    }
    found.chunks_exact(8).filter_map(|bytes| number(bytes, 0, 8))
}

/// A little-endian number of `width` bytes.
fn number(bytes: &[u8], at: usize, width: usize) -> Option<u64> {
    let bytes = bytes.get(at..at + width)?;
    Some(bytes.iter().rev().fold(0, |sum, &byte| sum << 8 | u64::from(byte)))
}

fn broken() -> super::Problem {
    damaged("the directory of its zip archive cannot be read")
}
