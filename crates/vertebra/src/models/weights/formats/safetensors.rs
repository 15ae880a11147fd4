//! safetensors: eight bytes of length, a JSON object that names each tensor's numbers, the numbers.

use std::collections::BTreeMap;
use std::io::{Read, Seek};

use serde::Deserialize;

use super::{Contents, Dtype, MAX_HEADER, Outcome, Storage, View, damaged, header_length};
use super::{length_of, read_at};

const METADATA: &str = "__metadata__";

/// One entry of the header.
#[derive(Deserialize)]
struct Entry {
    dtype: String,
    shape: Vec<u64>,
    data_offsets: [u64; 2],
}

/// Reads the header and holds it against the file: the tensors must fill the rest of the file without a hole and
/// without an overlap, as the format demands.
pub fn open<R: Read + Seek>(file: &mut R) -> Outcome<Contents> {
    let whole = length_of(file)?;
    if whole < 8 {
        return Err(damaged(format!("it has {whole} bytes, a header's length alone has 8")));
    }
    let length = header_length(&read_at(file, 0, 8)?);
    if length > (whole - 8).min(MAX_HEADER) {
        return Err(damaged(format!("its header is to have {length} bytes, the file has {whole}")));
    }
    let header = read_at(file, 8, length)?;
    let unread = |error: serde_json::Error| damaged(format!("its header cannot be read ({error})"));
    let mut header: BTreeMap<String, serde_json::Value> =
        serde_json::from_slice(&header).map_err(unread)?;
    let metadata = match header.remove(METADATA) {
        Some(value) => serde_json::from_value(value).map_err(unread)?,
        None => BTreeMap::new(),
    };
    let mut contents = Contents { metadata, ..Contents::default() };
    let data = 8 + length..whole;
    for (name, value) in header {
        let entry: Entry = serde_json::from_value(value)
            .map_err(|error| damaged(format!("its header's entry `{name}` is wrong ({error})")))?;
        let (view, storage) =
            placed(&name, &entry, contents.storages.len(), data.end - data.start)?;
        contents.storages.push(Storage { at: data.start + storage.at, ..storage });
        contents.tensors.insert(name, view);
    }
    without_holes(&contents, data.start, data.end)?;
    Ok(contents)
}

/// A tensor and its place, counted from the end of the header, after which there are `room` bytes.
fn placed(name: &str, entry: &Entry, storage: usize, room: u64) -> Outcome<(View, Storage)> {
    let [start, end] = entry.data_offsets;
    if start > end || end > room {
        return Err(damaged(format!("`{name}` is to lie at bytes {start} to {end} of {room}")));
    }
    let Some(dtype) = dtype(&entry.dtype) else {
        return Err(damaged(format!("`{name}` is {}, which is not read", entry.dtype)));
    };
    let shape = entry.shape.iter().map(|&n| i64::try_from(n).unwrap_or(-1)).collect();
    let view = View::contiguous(dtype, shape, storage);
    let bytes = end - start;
    let place = Storage { at: start, packed: bytes, bytes, deflated: false };
    if view.bytes().is_some_and(|wanted| wanted != bytes) {
        return Err(damaged(format!(
            "`{name}` of shape {:?} and {dtype:?} has {bytes} bytes",
            view.shape
        )));
    }
    view.check(name, &place, bytes)?;
    Ok((view, place))
}

fn without_holes(contents: &Contents, start: u64, end: u64) -> Outcome<()> {
    let mut places: Vec<(u64, u64)> =
        contents.storages.iter().map(|it| (it.at, it.at + it.bytes)).collect();
    places.sort_unstable();
    let mut free = start;
    for (from, to) in places {
        if from != free {
            let what = if from < free { "overlap" } else { "leave a hole" };
            return Err(damaged(format!("its tensors {what} at byte {}", from.min(free))));
        }
        free = to;
    }
    if free != end {
        return Err(damaged(format!("its tensors end at byte {free}, the file has {end}")));
    }
    Ok(())
}

fn dtype(name: &str) -> Option<Dtype> {
    Some(match name {
        "F32" => Dtype::Float,
        "F64" => Dtype::Double,
        "F16" => Dtype::Half,
        "BF16" => Dtype::BFloat16,
        "I64" => Dtype::Int64,
        "I32" => Dtype::Int,
        "I16" => Dtype::Int16,
        "I8" => Dtype::Int8,
        "U8" => Dtype::Uint8,
        "BOOL" => Dtype::Bool,
        _ => return None,
    })
}
