//! Weight files as lists of tensors: the name, numbers and place of each. Nothing here allocates by what a header
//! claims before the claim was held against the file, nothing here can call what a file names, and nothing here knows
//! torch, so that it can be fuzzed alone.

pub mod pickle;
mod safetensors;
mod zip;

use std::collections::BTreeMap;
use std::io::{self, Read, Seek, SeekFrom};
use std::ops::Range;

/// As many dimensions as torch allows.
const MAX_DIMENSIONS: usize = 64;
/// The longest JSON or pickled description of tensors that is read, in bytes; safetensors has the same limit.
const MAX_HEADER: u64 = 100_000_000;
/// The integer that torch's files before 1.6 begin with, as it lies in the file.
const LEGACY_MAGIC: &[u8] = &[0x6C, 0xFC, 0x9C, 0x46, 0xF9, 0x20, 0x6A, 0xA8, 0x50, 0x19];

/// What a weight file holds, before any number has been read.
#[derive(Debug, Default)]
pub struct Contents {
    pub tensors: BTreeMap<String, View>,
    /// What the tensors' numbers lie in; several may share one.
    pub storages: Vec<Storage>,
    /// Texts beside the tensors (safetensors only).
    pub metadata: BTreeMap<String, String>,
    /// What a pickle holds beside tensors: `(name, what it is)`.
    pub dropped: Vec<(String, String)>,
}

/// A tensor: a strided window into a storage.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct View {
    pub dtype: Dtype,
    pub shape: Vec<i64>,
    /// In elements, as torch counts them; never negative.
    pub strides: Vec<i64>,
    /// The first element, counted in elements from the storage's begin.
    pub offset: i64,
    /// Which of [`Contents::storages`].
    pub storage: usize,
}

/// A run of numbers in the file.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Storage {
    /// The first byte in the file.
    pub at: u64,
    /// Bytes in the file.
    pub packed: u64,
    /// Bytes of numbers; as many as `packed` unless `deflated`.
    pub bytes: u64,
    pub deflated: bool,
}

/// Kinds of numbers, under torch's names. All are little-endian in files.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Dtype {
    Float,
    Double,
    Half,
    BFloat16,
    Int64,
    Int,
    Int16,
    Int8,
    Uint8,
    Bool,
}

/// Why a file gives no tensors.
#[derive(Debug)]
pub enum Problem {
    Io(io::Error),
    Damaged(String),
    /// A pickle asks for a call of this.
    Unsafe(String),
}

pub type Outcome<T> = Result<T, Problem>;

/// What has been found in the first bytes of a file.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Format {
    Safetensors,
    /// Hugging Face's JSON list of the files that a large model is spread over.
    Index,
    /// torch's zip archive.
    Zip,
    /// torch's files before 1.6: pickles one after another.
    Legacy,
}

/// Reads what a file holds. An [`Format::Index`] holds nothing itself and is refused.
pub fn open<R: Read + Seek>(file: &mut R) -> Outcome<Contents> {
    match sniff(file)? {
        Format::Safetensors => safetensors::open(file),
        Format::Zip => pickle::open_zip(file),
        Format::Legacy => pickle::open_legacy(file),
        Format::Index => Err(damaged("it is a list of files, not one with tensors")),
    }
}

/// Tells the format by content.
pub fn sniff<R: Read + Seek>(file: &mut R) -> Outcome<Format> {
    file.rewind()?;
    let mut start = Vec::new();
    file.take(32).read_to_end(&mut start)?;
    let brace = start.iter().find(|byte| !byte.is_ascii_whitespace());
    if start.starts_with(b"PK\x03\x04") {
        Ok(Format::Zip)
    } else if start.windows(LEGACY_MAGIC.len()).any(|bytes| bytes == LEGACY_MAGIC) {
        Ok(Format::Legacy)
    } else if start.get(8) == Some(&b'{') && header_length(&start) <= MAX_HEADER {
        Ok(Format::Safetensors)
    } else if brace == Some(&b'{') {
        Ok(Format::Index)
    } else if start.first() == Some(&0x80) {
        Err(damaged(
            "it is a pickle that torch.save did not write; save the tensors with torch.save or as safetensors",
        ))
    } else {
        Err(damaged("it is neither a safetensors file nor one that torch.save wrote"))
    }
}

impl View {
    /// A tensor that lies row by row and alone in its storage.
    fn contiguous(dtype: Dtype, shape: Vec<i64>, storage: usize) -> Self {
        let mut strides = vec![1; shape.len()];
        for i in (1..shape.len()).rev() {
            strides[i - 1] = shape[i].max(1).saturating_mul(strides[i]);
        }
        Self { dtype, shape, strides, offset: 0, storage }
    }

    /// The bytes of its storage, from its first number to its last. `None` where the numbers make no sense: negative,
    /// too large, too many dimensions, or as many strides as dimensions are not there.
    pub fn span(&self) -> Option<Range<u64>> {
        let fits = self.shape.len() <= MAX_DIMENSIONS && self.shape.len() == self.strides.len();
        let whole = |numbers: &[i64]| numbers.iter().all(|&n| n >= 0);
        if !fits || !whole(&self.shape) || !whole(&self.strides) || self.offset < 0 {
            return None;
        }
        let size = self.dtype.size();
        self.bytes()?;
        if self.shape.contains(&0) {
            return Some(0..0);
        }
        let mut last = self.offset as u64;
        for (&length, &stride) in self.shape.iter().zip(&self.strides) {
            last = last.checked_add((length as u64 - 1).checked_mul(stride as u64)?)?;
        }
        let end = last.checked_add(1)?.checked_mul(size)?;
        i64::try_from(end).is_ok().then(|| self.offset as u64 * size..end)
    }

    /// Bytes of its numbers, each counted once for each place in the tensor.
    pub fn bytes(&self) -> Option<u64> {
        let count = self.shape.iter().try_fold(1u64, |count, &n| count.checked_mul(n as u64))?;
        count.checked_mul(self.dtype.size()).filter(|&bytes| i64::try_from(bytes).is_ok())
    }

    /// Holds the tensor against its storage; `most` bytes are the most that any tensor of the file may have (views
    /// with stride 0 are larger than what they look at).
    fn check(&self, name: &str, storage: &Storage, most: u64) -> Outcome<()> {
        let Some(span) = self.span() else {
            return Err(damaged(format!(
                "`{name}` has impossible sizes: shape {:?}, strides {:?}, offset {}",
                self.shape, self.strides, self.offset
            )));
        };
        if span.end > storage.bytes {
            return Err(damaged(format!(
                "`{name}` ends at byte {} of a storage of {}",
                span.end, storage.bytes
            )));
        }
        if self.bytes().is_none_or(|bytes| bytes > most) {
            return Err(damaged(format!(
                "`{name}` has shape {:?}, more numbers than the file holds",
                self.shape
            )));
        }
        Ok(())
    }
}

impl Storage {
    /// Reads a part of the numbers, `range` in bytes.
    pub fn read<R: Read + Seek>(&self, file: &mut R, range: Range<u64>) -> Outcome<Vec<u8>> {
        let range = range.start.min(self.bytes)..range.end.min(self.bytes);
        let length = range.end.saturating_sub(range.start);
        if self.deflated {
            file.seek(SeekFrom::Start(self.at))?;
            let mut inflated = flate2::read::DeflateDecoder::new(file.take(self.packed));
            io::copy(&mut (&mut inflated).take(range.start), &mut io::sink())
                .map_err(|error| unfolded(&error))?;
            let mut bytes = Vec::new();
            inflated.take(length).read_to_end(&mut bytes).map_err(|error| unfolded(&error))?;
            return if bytes.len() as u64 == length { Ok(bytes) } else { Err(ended()) };
        }
        let whole = length_of(file)?;
        if self.at.checked_add(range.end).is_none_or(|end| end > whole) {
            return Err(ended());
        }
        read_at(file, self.at + range.start, length)
    }
}

impl Dtype {
    /// Bytes of one number.
    pub fn size(self) -> u64 {
        match self {
            Self::Double | Self::Int64 => 8,
            Self::Float | Self::Int => 4,
            Self::Half | Self::BFloat16 | Self::Int16 => 2,
            Self::Int8 | Self::Uint8 | Self::Bool => 1,
        }
    }
}

impl From<io::Error> for Problem {
    fn from(error: io::Error) -> Self {
        if error.kind() == io::ErrorKind::UnexpectedEof { ended() } else { Self::Io(error) }
    }
}

fn damaged(problem: impl Into<String>) -> Problem {
    Problem::Damaged(problem.into())
}

fn ended() -> Problem {
    damaged("it ends in the middle of what it holds; is it cut off?")
}

fn unfolded(error: &io::Error) -> Problem {
    damaged(format!("a compressed part of it cannot be read ({error})"))
}

/// The first eight bytes of a safetensors file.
fn header_length(start: &[u8]) -> u64 {
    start.first_chunk().map_or(u64::MAX, |&bytes| u64::from_le_bytes(bytes))
}

/// `length` bytes from `at`; the caller knows that the file has so many.
fn read_at<R: Read + Seek>(file: &mut R, at: u64, length: u64) -> Outcome<Vec<u8>> {
    file.seek(SeekFrom::Start(at))?;
    let mut bytes = vec![0; length as usize];
    file.read_exact(&mut bytes)?;
    Ok(bytes)
}

fn length_of<R: Seek>(file: &mut R) -> Outcome<u64> {
    Ok(file.seek(SeekFrom::End(0))?)
}
