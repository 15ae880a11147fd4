//! The entries of a tar file, one header after the other. The data between them is passed over, not read.

use std::borrow::Cow;
use std::io;

/// Headers and data come in whole blocks of this many bytes.
pub(crate) const BLOCK: u64 = 512;

/// How much is read at once: a header, a small entry and the next header.
const WINDOW: usize = 4096;

/// A long name, a list of classes or their like takes less than this; a header that claims more is damaged.
const MOST_TEXT: u64 = 1 << 24;

/// Reads exactly as many bytes as fit, from a place in the file.
pub(in crate::source) type ReadAt<'a> = &'a dyn Fn(&mut [u8], u64) -> io::Result<()>;

/// A file in a tar file.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Entry {
    pub(super) name: Vec<u8>,
    /// Where its data begins, and how many bytes it has.
    pub(super) at: u64,
    pub(super) size: u64,
}

/// Why a tar file cannot be read to its end.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Damage {
    pub(super) problem: String,
    /// The entry that the damage cuts short, where its name is known.
    pub(super) entry: Option<Vec<u8>>,
}

/// The regular files of a tar file of `size` bytes, in order, until the end or the first damage. Links, folders and
/// devices are passed over. Understands ustar, GNU's long names and sizes, and pax headers.
pub(super) struct Entries<'a> {
    window: Window<'a>,
    at: u64,
}

/// What an extended header says of the entry that follows.
#[derive(Default)]
struct Extended {
    name: Option<Vec<u8>>,
    size: Option<u64>,
}

/// Bytes of the file near where the last ones were asked for.
struct Window<'a> {
    read: ReadAt<'a>,
    size: u64,
    start: u64,
    bytes: Vec<u8>,
}

impl<'a> Entries<'a> {
    pub(super) fn new(read: ReadAt<'a>, size: u64) -> Self {
        Self { window: Window { read, size, start: 0, bytes: Vec::new() }, at: 0 }
    }

    /// The next file, `None` at the end.
    pub(super) fn next(&mut self) -> Result<Option<Entry>, Damage> {
        let mut extended = Extended::default();
        loop {
            let start = self.at;
            // A file without the two empty blocks at its end is common and complete.
            if start == self.window.size {
                return Ok(None);
            }
            let header = match self.window.bytes(start, BLOCK)? {
                Some(bytes) => bytes.to_vec(),
                None => {
                    return Err(Damage::new(format!(
                        "cut short within the header at byte {start}"
                    )));
                }
            };
            if header.iter().all(|byte| *byte == 0) {
                return Ok(None);
            }
            let no_header = || Damage::new(format!("no tar header at byte {start}"));
            if !checksum_fits(&header) {
                return Err(no_header());
            }
            let written = number(&header[124..136]).ok_or_else(no_header)?;
            let kind = header[156];
            let data = start + BLOCK;
            if matches!(kind, b'L' | b'x' | b'X' | b'g' | b'K') {
                let text = self.text(data, written)?;
                match kind {
                    b'L' => extended.name = Some(until_nul(&text).to_vec()),
                    b'x' | b'X' => extended.read_pax(&text),
                    // Of the whole file, and of the target of a link: neither names a file.
                    _ => {}
                }
                self.at = after(data, written);
                continue;
            }
            // Links, devices and folders have no data, whatever their size field says.
            let size =
                if matches!(kind, b'1'..=b'6') { 0 } else { extended.size.unwrap_or(written) };
            let name = extended.name.take().unwrap_or_else(|| plain_name(&header));
            if data.checked_add(size).is_none_or(|end| end > self.window.size) {
                let problem = format!("cut short within {}", String::from_utf8_lossy(&name));
                return Err(Damage { problem, entry: Some(name) });
            }
            self.at = after(data, size).min(self.window.size);
            if matches!(kind, b'0' | 0 | b'7') {
                return Ok(Some(Entry { name, at: data, size }));
            }
            extended = Extended::default();
        }
    }

    /// The data of a small entry.
    pub(super) fn data(&mut self, entry: &Entry) -> Result<Cow<'_, [u8]>, Damage> {
        self.text(entry.at, entry.size)
    }

    fn text(&mut self, at: u64, size: u64) -> Result<Cow<'_, [u8]>, Damage> {
        let read = if size > MOST_TEXT { None } else { self.window.bytes(at, size)? };
        let short = || Damage::new(format!("cut short within the {size} bytes at byte {at}"));
        read.map(Cow::Borrowed).ok_or_else(short)
    }
}

impl Damage {
    fn new(problem: String) -> Self {
        Self { problem, entry: None }
    }
}

impl Extended {
    /// Records of the form `LENGTH KEY=VALUE\n`; reading stops at the first that is not.
    fn read_pax(&mut self, mut text: &[u8]) {
        while let Some(space) = text.iter().position(|byte| *byte == b' ') {
            let length = std::str::from_utf8(&text[..space]).ok().and_then(|n| n.parse().ok());
            let Some(record) = length.and_then(|length: usize| text.get(space + 1..length)) else {
                return;
            };
            let length = space + 1 + record.len();
            let record = record.strip_suffix(b"\n").unwrap_or(record);
            if let Some(equals) = record.iter().position(|byte| *byte == b'=') {
                let (key, value) = (&record[..equals], &record[equals + 1..]);
                match key {
                    b"path" => self.name = Some(value.to_vec()),
                    b"size" => {
                        self.size = std::str::from_utf8(value).ok().and_then(|n| n.parse().ok());
                    }
                    _ => {}
                }
            }
            text = &text[length..];
        }
    }
}

impl Window<'_> {
    /// `None` where the file ends before.
    fn bytes(&mut self, at: u64, length: u64) -> Result<Option<&[u8]>, Damage> {
        let Some(end) = at.checked_add(length).filter(|end| *end <= self.size) else {
            return Ok(None);
        };
        if at < self.start || end > self.start + self.bytes.len() as u64 {
            let there = (self.size - at).min((WINDOW as u64).max(length));
            self.bytes.resize(there as usize, 0);
            self.start = at;
            if let Err(error) = (self.read)(&mut self.bytes, at) {
                self.bytes.clear();
                return Err(Damage::new(format!("cannot be read at byte {at}: {error}")));
            }
        }
        let from = (at - self.start) as usize;
        Ok(self.bytes.get(from..from + length as usize))
    }
}

/// Where the block after some data begins.
fn after(data: u64, size: u64) -> u64 {
    data.saturating_add(size).checked_next_multiple_of(BLOCK).unwrap_or(u64::MAX)
}

/// The sum of all bytes, with the field of the sum itself as spaces. Some old programs summed signed bytes.
fn checksum_fits(header: &[u8]) -> bool {
    let Some(wanted) = number(&header[148..156]) else { return false };
    let bytes =
        || header.iter().enumerate().map(|(i, b)| if (148..156).contains(&i) { b' ' } else { *b });
    let unsigned: u64 = bytes().map(u64::from).sum();
    let signed: i64 = bytes().map(|byte| i64::from(byte.cast_signed())).sum();
    wanted == unsigned || i64::try_from(wanted) == Ok(signed)
}

/// Octal digits between spaces, or with the first bit set a big-endian number.
fn number(field: &[u8]) -> Option<u64> {
    if let [0x80, rest @ ..] = field {
        let (high, low) = rest.split_at(rest.len().saturating_sub(8));
        let fits = high.iter().all(|byte| *byte == 0);
        return fits.then(|| low.iter().fold(0, |sum, byte| sum << 8 | u64::from(*byte)));
    }
    let text = std::str::from_utf8(until_nul(field)).ok()?.trim_matches(' ');
    if text.is_empty() { Some(0) } else { u64::from_str_radix(text, 8).ok() }
}

fn until_nul(field: &[u8]) -> &[u8] {
    field.split(|byte| *byte == 0).next().unwrap_or_default()
}

/// The name in a header: ustar may have its beginning in a field of its own; GNU has something else there.
fn plain_name(header: &[u8]) -> Vec<u8> {
    let (name, prefix) = (until_nul(&header[..100]), until_nul(&header[345..500]));
    if header[257..263] == *b"ustar\0" && !prefix.is_empty() {
        [prefix, b"/", name].concat()
    } else {
        name.to_vec()
    }
}
