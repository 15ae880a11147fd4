//! Named tensors out of weight files and into safetensors files: strict, checksummed, written atomically.

pub mod export;
mod formats;

use std::collections::{BTreeMap, BTreeSet};
use std::fs::{self, File};
use std::ops::Range;
use std::path::{Path, PathBuf};

use safetensors::Dtype as Saved;
use safetensors::tensor::TensorView;
use serde::Deserialize;
use tch::{Device, Kind, Tensor};

use self::formats::{Contents, Dtype, Format, Problem, View};
use crate::error::{Error, Result};

/// The key of the checksum in a file's metadata.
const CHECKSUM: &str = "checksum";
/// Bytes of the largest number: where a read may begin so that every kind of number fits.
const ALIGNMENT: u64 = 8;

/// Writes tensors and text metadata to `path`: temporary file, fsync, rename. A reader sees the old file or the
/// whole new one.
pub fn save(
    path: &Path,
    tensors: &BTreeMap<String, Tensor>,
    metadata: &BTreeMap<String, String>,
) -> Result<()> {
    let bytes: Vec<(&String, Saved, Vec<usize>, Vec<u8>)> = tensors
        .iter()
        .map(|(name, tensor)| {
            let shape = tensor.size().iter().map(|&n| n as usize).collect();
            Ok((name, dtype(path, name, tensor.kind())?, shape, raw(tensor)))
        })
        .collect::<Result<_>>()?;
    let mut checksum = crc32fast::Hasher::new();
    let mut views = Vec::new();
    for (name, dtype, shape, data) in &bytes {
        checksum.update(data);
        let view = TensorView::new(*dtype, shape.clone(), data)
            .map_err(|error| damaged(path, format!("`{name}`: {error}")))?;
        views.push((name.as_str(), view));
    }
    let mut header: std::collections::HashMap<String, String> =
        metadata.iter().map(|(key, value)| (key.clone(), value.clone())).collect();
    header.insert(CHECKSUM.into(), format!("{:08x}", checksum.finalize()));
    let file = safetensors::serialize(views, Some(header))
        .map_err(|error| damaged(path, error.to_string()))?;
    Ok(report::record::write_atomically(path, &file)?)
}

/// What a weight file holds, before its numbers are read.
#[derive(Debug)]
pub struct Listing {
    /// Name, shape and kind of each tensor, in the order of the names.
    pub tensors: BTreeMap<String, (Vec<i64>, Kind)>,
    /// Texts beside the tensors.
    pub metadata: BTreeMap<String, String>,
    /// What a pickle holds beside tensors, `(name, what it is)`: it is never read.
    pub dropped: Vec<(String, String)>,
}

/// Lists a file that [`load`] reads.
pub fn list(path: &Path) -> Result<Listing> {
    let mut listing =
        Listing { tensors: BTreeMap::new(), metadata: BTreeMap::new(), dropped: Vec::new() };
    for (_, _, contents) in open(path)? {
        let tensors = contents.tensors.into_iter();
        listing.tensors.extend(tensors.map(|(name, it)| (name, (it.shape, kind(it.dtype)))));
        listing.metadata.extend(contents.metadata);
        listing.dropped.extend(contents.dropped);
    }
    Ok(listing)
}

/// Reads all tensors, to the CPU, and the metadata, whatever the file is called: safetensors, Hugging Face's
/// `*.safetensors.index.json` with the files that it lists, or what `torch.save` wrote, now or before version 1.6.
///
/// A safetensors file with a checksum must match it. Of a pickle's nested dictionaries and lists the names are
/// dotted, `state_dict.module.conv1.weight`; what is no tensor is left out ([`list`] tells). No pickle is run: one that
/// asks for a call of anything but torch's description of tensors and a closed list of harmless classes is
/// [`Error::Unsafe`], whole. Tensors that share memory in the file share it here too, so copy before writing to one.
/// Memory is the tensors' own, and the largest of them once more.
pub fn load(path: &Path) -> Result<(BTreeMap<String, Tensor>, BTreeMap<String, String>)> {
    let (mut tensors, mut metadata) = (BTreeMap::new(), BTreeMap::new());
    for (path, mut file, contents) in open(path)? {
        read(&path, &mut file, &contents, &mut tensors)?;
        metadata.extend(contents.metadata);
    }
    Ok((tensors, metadata))
}

/// Opens a file, or all files of an index.
fn open(path: &Path) -> Result<Vec<(PathBuf, File, Contents)>> {
    let mut file = File::open(path).map_err(Error::file("read", path))?;
    if formats::sniff(&mut file).map_err(problem(path))? != Format::Index {
        let contents = formats::open(&mut file).map_err(problem(path))?;
        return Ok(vec![(path.into(), file, contents)]);
    }
    let index = fs::read(path).map_err(Error::file("read", path))?;
    let index: Index = serde_json::from_slice(&index)
        .map_err(|error| damaged(path, format!("its list of files cannot be read ({error})")))?;
    let mut parts = Vec::new();
    for name in index.weight_map.values().collect::<BTreeSet<_>>() {
        if Path::new(name).file_name() != Some(name.as_ref()) {
            return Err(damaged(path, format!("`{name}` is no file beside it")));
        }
        let part = path.with_file_name(name);
        let mut file = File::open(&part).map_err(Error::file("read", &part))?;
        let contents = formats::open(&mut file).map_err(problem(&part))?;
        parts.push((part, file, contents));
    }
    let mut held = BTreeMap::new();
    for (part, _, contents) in &parts {
        for name in contents.tensors.keys() {
            if held.insert(name.as_str(), part.as_path()).is_some() {
                return Err(damaged(path, format!("`{name}` is in two of its files")));
            }
        }
    }
    for (name, part) in &index.weight_map {
        if held.get(name.as_str()) != Some(&path.with_file_name(part).as_path()) {
            return Err(damaged(path, format!("`{name}` is not in `{part}`, where it is to be")));
        }
    }
    Ok(parts)
}

/// Hugging Face's list of the files of a large model.
#[derive(Deserialize)]
struct Index {
    /// Each tensor's file, which lies beside the list.
    weight_map: BTreeMap<String, String>,
}

/// Reads the tensors of one file, each storage once.
fn read(
    path: &Path,
    file: &mut File,
    contents: &Contents,
    tensors: &mut BTreeMap<String, Tensor>,
) -> Result<()> {
    let mut needed: Vec<Option<Range<u64>>> = vec![None; contents.storages.len()];
    for view in contents.tensors.values() {
        let span = view.span().unwrap_or_default();
        let range = &mut needed[view.storage];
        *range = Some(match range.take() {
            Some(range) => range.start.min(span.start)..range.end.max(span.end),
            None => span,
        });
    }
    let mut checksum = crc32fast::Hasher::new();
    let mut read: Vec<Option<(Tensor, u64)>> = (0..needed.len()).map(|_| None).collect();
    // In the order of the names, in which the checksum was made.
    for (name, view) in &contents.tensors {
        if read[view.storage].is_none() {
            let range = needed[view.storage].clone().unwrap_or_default();
            let start = range.start / ALIGNMENT * ALIGNMENT;
            let range = start..range.end.max(start);
            let bytes = contents.storages[view.storage].read(file, range).map_err(problem(path))?;
            checksum.update(&bytes);
            let count = bytes.len() as i64;
            read[view.storage] =
                Some((Tensor::from_data_size(&bytes, &[count], Kind::Uint8), start));
        }
        if let Some((bytes, start)) = &read[view.storage] {
            tensors.insert(name.clone(), window(bytes, *start, view)?);
        }
    }
    match contents.metadata.get(CHECKSUM) {
        Some(wanted) => {
            let found = format!("{:08x}", checksum.finalize());
            if *wanted == found {
                return Ok(());
            }
            Err(damaged(path, format!("its checksum is {found}, it says {wanted}")))
        }
        None => Ok(()),
    }
}

/// The view of bytes that begin at byte `start` of their storage, a multiple of every kind's size.
fn window(bytes: &Tensor, start: u64, view: &View) -> Result<Tensor> {
    let numbers = if view.dtype == Dtype::Bool {
        // Any byte but 0 is true; torch itself would keep the byte.
        bytes.f_ne(0)?
    } else {
        let size = view.dtype.size() as i64;
        // A storage may be looked at as two kinds, so its end need not fit this one.
        bytes.f_narrow(0, 0, bytes.size()[0] / size * size)?.f_view_dtype(kind(view.dtype))?
    };
    let offset = view.offset - (start / view.dtype.size()) as i64;
    let offset = if view.shape.contains(&0) { 0 } else { offset };
    Ok(numbers.f_as_strided(&view.shape, &view.strides, offset)?)
}

/// How the names of tensors end that published files hold and nothing here reads: counters, and constants of a shape.
const UNREAD: &[&str] =
    &["num_batches_tracked", "attn_mask", "relative_position_index", "relative_coords_table"];

/// Copies `source` into `target` by name. Every tensor on either side must find its partner of the same shape,
/// but for those of `source` that nothing here reads: torch's `num_batches_tracked` counters, and what Swin computes
/// itself.
pub fn assign(
    path: &Path,
    source: &BTreeMap<String, Tensor>,
    target: &BTreeMap<String, Tensor>,
) -> Result<()> {
    for (name, variable) in target {
        let Some(tensor) = source.get(name) else {
            let nearest = nearest(name, source.keys());
            return Err(Error::MissingTensor { path: path.into(), name: name.clone(), nearest });
        };
        if tensor.size() != variable.size() {
            let (wanted, found) = (variable.size(), tensor.size());
            return Err(Error::WrongShape { path: path.into(), name: name.clone(), wanted, found });
        }
    }
    let unclaimed = source
        .keys()
        .find(|name| !target.contains_key(*name) && !UNREAD.iter().any(|end| name.ends_with(end)));
    if let Some(name) = unclaimed {
        let nearest = nearest(name, target.keys());
        return Err(Error::UnclaimedTensor { path: path.into(), name: name.clone(), nearest });
    }
    tch::no_grad(|| {
        for (name, variable) in target {
            variable.shallow_clone().copy_(&source[name]);
        }
    });
    Ok(())
}

/// A number that changes with any weight, as 8 hexadecimal digits. Caches of features are keyed by it.
pub fn fingerprint(tensors: &BTreeMap<String, Tensor>) -> String {
    let mut checksum = crc32fast::Hasher::new();
    for (name, tensor) in tensors {
        checksum.update(name.as_bytes());
        checksum.update(&raw(tensor));
    }
    format!("{:08x}", checksum.finalize())
}

/// The tensor's numbers as bytes, row by row.
fn raw(tensor: &Tensor) -> Vec<u8> {
    let tensor = tensor.detach().to_device(Device::Cpu).contiguous();
    let mut bytes = vec![0u8; tensor.numel() * tensor.kind().elt_size_in_bytes()];
    tensor.copy_data_u8(&mut bytes, tensor.numel());
    bytes
}

fn dtype(path: &Path, name: &str, kind: Kind) -> Result<Saved> {
    Ok(match kind {
        Kind::Float => Saved::F32,
        Kind::Double => Saved::F64,
        Kind::BFloat16 => Saved::BF16,
        Kind::Half => Saved::F16,
        Kind::Int64 => Saved::I64,
        Kind::Int => Saved::I32,
        Kind::Int16 => Saved::I16,
        Kind::Int8 => Saved::I8,
        Kind::Uint8 => Saved::U8,
        Kind::Bool => Saved::BOOL,
        other => return Err(damaged(path, format!("`{name}` is {other:?}, which is not saved"))),
    })
}

fn kind(dtype: Dtype) -> Kind {
    match dtype {
        Dtype::Float => Kind::Float,
        Dtype::Double => Kind::Double,
        Dtype::Half => Kind::Half,
        Dtype::BFloat16 => Kind::BFloat16,
        Dtype::Int64 => Kind::Int64,
        Dtype::Int => Kind::Int,
        Dtype::Int16 => Kind::Int16,
        Dtype::Int8 => Kind::Int8,
        Dtype::Uint8 => Kind::Uint8,
        Dtype::Bool => Kind::Bool,
    }
}

fn problem(path: &Path) -> impl Fn(Problem) -> Error {
    move |problem| match problem {
        Problem::Io(cause) => Error::file("read", path)(cause),
        Problem::Damaged(problem) => damaged(path, problem),
        Problem::Unsafe(callable) => Error::Unsafe { path: path.into(), callable },
    }
}

fn damaged(path: &Path, problem: String) -> Error {
    Error::Damaged { what: "weight file", path: path.into(), problem }
}

/// The name most like `wanted`, if one is at all.
pub fn nearest<'a>(wanted: &str, names: impl Iterator<Item = &'a String>) -> Option<String> {
    names
        .map(|name| (strsim::jaro_winkler(wanted, name), name))
        .filter(|(likeness, _)| *likeness > 0.8)
        .max_by(|a, b| a.0.total_cmp(&b.0))
        .map(|(_, name)| name.clone())
}
