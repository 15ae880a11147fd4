//! Named tensors to and from safetensors files: strict, checksummed, written atomically.

use std::collections::BTreeMap;
use std::fs;
use std::path::Path;

use safetensors::tensor::TensorView;
use safetensors::{Dtype, SafeTensors};
use tch::{Device, Kind, Tensor};

use crate::error::{Error, Result};

/// The key of the checksum in a file's metadata.
const CHECKSUM: &str = "checksum";
/// How the names of tensors end that published files hold and nothing here reads: counters, and constants of a shape.
const UNREAD: &[&str] =
    &["num_batches_tracked", "attn_mask", "relative_position_index", "relative_coords_table"];

/// Writes tensors and text metadata to `path`: temporary file, fsync, rename. A reader sees the old file or the
/// whole new one.
pub fn save(
    path: &Path,
    tensors: &BTreeMap<String, Tensor>,
    metadata: &BTreeMap<String, String>,
) -> Result<()> {
    let bytes: Vec<(&String, Dtype, Vec<usize>, Vec<u8>)> = tensors
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

/// Reads all tensors, to the CPU, and the metadata. A file with a checksum must match it.
pub fn load(path: &Path) -> Result<(BTreeMap<String, Tensor>, BTreeMap<String, String>)> {
    let bytes = fs::read(path).map_err(Error::file("read", path))?;
    let (_, header) = SafeTensors::read_metadata(&bytes)
        .map_err(|error| damaged(path, format!("its header cannot be read ({error})")))?;
    let file = SafeTensors::deserialize(&bytes)
        .map_err(|error| damaged(path, format!("its tensors cannot be read ({error})")))?;
    let metadata: BTreeMap<String, String> =
        header.metadata().clone().unwrap_or_default().into_iter().collect();
    let views: BTreeMap<String, TensorView> = file.tensors().into_iter().collect();
    if let Some(wanted) = metadata.get(CHECKSUM) {
        let mut checksum = crc32fast::Hasher::new();
        for view in views.values() {
            checksum.update(view.data());
        }
        let found = format!("{:08x}", checksum.finalize());
        if *wanted != found {
            return Err(damaged(path, format!("its checksum is {found}, it says {wanted}")));
        }
    }
    let mut tensors = BTreeMap::new();
    for (name, view) in views {
        let kind = kind(path, &name, view.dtype())?;
        let shape: Vec<i64> = view.shape().iter().map(|&n| n as i64).collect();
        tensors.insert(name, Tensor::from_data_size(view.data(), &shape, kind));
    }
    Ok((tensors, metadata))
}

/// Copies `source` into `target` by name. Every tensor on either side must find its partner of the same shape, but for
/// those of `source` that nothing here reads: torch's `num_batches_tracked` counters, and what Swin computes itself.
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

fn dtype(path: &Path, name: &str, kind: Kind) -> Result<Dtype> {
    Ok(match kind {
        Kind::Float => Dtype::F32,
        Kind::Double => Dtype::F64,
        Kind::BFloat16 => Dtype::BF16,
        Kind::Half => Dtype::F16,
        Kind::Int64 => Dtype::I64,
        Kind::Uint8 => Dtype::U8,
        other => return Err(damaged(path, format!("`{name}` is {other:?}, which is not saved"))),
    })
}

fn kind(path: &Path, name: &str, dtype: Dtype) -> Result<Kind> {
    Ok(match dtype {
        Dtype::F32 => Kind::Float,
        Dtype::F64 => Kind::Double,
        Dtype::BF16 => Kind::BFloat16,
        Dtype::F16 => Kind::Half,
        Dtype::I64 => Kind::Int64,
        Dtype::U8 => Kind::Uint8,
        other => return Err(damaged(path, format!("`{name}` is {other:?}, which is not read"))),
    })
}

fn damaged(path: &Path, problem: String) -> Error {
    Error::Damaged { what: "safetensors file", path: path.into(), problem }
}

/// The name most like `wanted`, if one is at all.
pub fn nearest<'a>(wanted: &str, names: impl Iterator<Item = &'a String>) -> Option<String> {
    names
        .map(|name| (strsim::jaro_winkler(wanted, name), name))
        .filter(|(likeness, _)| *likeness > 0.8)
        .max_by(|a, b| a.0.total_cmp(&b.0))
        .map(|(_, name)| name.clone())
}
