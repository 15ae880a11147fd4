//! The files of `torch.save`, read without Python and without ever calling what they name.
//!
//! A pickle is a program for a stack machine. Two of its instructions name things of Python's (`GLOBAL`) and call them
//! (`REDUCE`, `NEWOBJ`, ...), which is how a weight file can run any code. Here names stay words: the few calls that
//! describe tensors and plain containers become data, those on a closed list of harmless classes become closed
//! objects that are dropped, and a file that asks for any other call is refused as a whole, by the name of what it
//! wanted to call. A name that is only carried about and never called is dropped like any other value.
//!
//! The two layouts are those of torch's `serialization.py`: a zip archive with `data.pkl` and one entry per storage
//! (1.6 and later), and pickles one after another, with the storages behind them (before).

mod machine;
mod names;
mod values;

use std::collections::BTreeMap;
use std::io::{BufReader, Read, Seek, SeekFrom};

use self::machine::Input;
use self::names::{Named, tensors};
use self::values::{Id, Value, Values};
use super::{Contents, MAX_HEADER, Outcome, Storage, View, damaged, ended, length_of, zip};

/// How far a compressed archive may unfold: this many times its own length, and a little more for small ones.
const MAX_UNFOLDING: u64 = 16;
const UNFOLDING_OF_SMALL: u64 = 1 << 20;

/// Reads what a zip archive of `torch.save` holds.
pub fn open_zip<R: Read + Seek>(file: &mut R) -> Outcome<Contents> {
    let whole = length_of(file)?;
    let entries = zip::directory(file)?;
    let program = entries.keys().find(|name| {
        name.strip_suffix("data.pkl").is_some_and(|folder| folder.matches('/').count() <= 1)
    });
    let Some(program) = program else {
        return Err(damaged("it is a zip archive without a data.pkl"));
    };
    let folder = program.trim_end_matches("data.pkl");
    if entries.contains_key(&format!("{folder}constants.pkl")) {
        return Err(damaged("it is a TorchScript program; save the state_dict() of the module"));
    }
    if let Some(entry) = entries.get(&format!("{folder}byteorder")) {
        let order = zip::place(file, "byteorder", entry)?.read(file, 0..6)?;
        if order != b"little" {
            return Err(damaged("its numbers are big-endian, which is not read"));
        }
    }
    let entry = zip::place(file, program, &entries[program])?;
    if entry.bytes > MAX_HEADER || (entry.deflated && entry.bytes > most(whole)) {
        return Err(damaged(format!("its {program} has {} bytes", entry.bytes)));
    }
    let pickle = entry.read(file, 0..entry.bytes)?;
    let mut input = pickle.as_slice();
    let (values, root) = machine::run(&mut Input::new(&mut input, entry.bytes))?;
    let named = tensors(&values, root)?;
    let mut place = |key: &str| {
        let name = format!("{folder}data/{key}");
        let entry = entries.get(&name).ok_or_else(|| damaged(format!("there is no `{name}`")))?;
        zip::place(file, &name, entry)
    };
    contents(&values, named, whole, &mut place)
}

/// Reads what a file of `torch.save` before version 1.6 holds.
pub fn open_legacy<R: Read + Seek>(file: &mut R) -> Outcome<Contents> {
    let whole = length_of(file)?;
    file.rewind()?;
    let mut reader = BufReader::new(file);
    let mut input = Input::new(&mut reader, whole.min(MAX_HEADER));
    let (_magic, _protocol) = (machine::run(&mut input)?, machine::run(&mut input)?);
    let (system, root) = machine::run(&mut input)?;
    if system.member(root, "little_endian").is_some_and(|it| matches!(it, Value::Bool(false))) {
        return Err(damaged("its numbers are big-endian, which is not read"));
    }
    let (values, root) = machine::run(&mut input)?;
    let (keys, list) = machine::run(&mut input)?;
    let at = reader.stream_position()?;
    let file = reader.into_inner();
    let named = tensors(&values, root)?;
    let places = legacy_places(file, &values, (&keys, list), at)?;
    let mut place = |key: &str| {
        places.get(key).cloned().ok_or_else(|| damaged(format!("there is no storage `{key}`")))
    };
    contents(&values, named, whole, &mut place)
}

/// Where the storages of a legacy file lie: in the order of the listed keys, each after its number of elements.
fn legacy_places<R: Read + Seek>(
    file: &mut R,
    values: &Values,
    (keys, list): (&Values, Id),
    mut at: u64,
) -> Outcome<BTreeMap<String, Storage>> {
    let whole = length_of(file)?;
    let sizes = values.element_sizes();
    let Value::List(list) = keys.get(list) else {
        return Err(damaged("it has no list of its storages"));
    };
    let mut places = BTreeMap::new();
    for &key in list {
        let Value::Text(key) = keys.get(key) else {
            return Err(damaged("one of its storages has no name"));
        };
        let Some(&size) = sizes.get(key.as_str()) else {
            return Err(damaged(format!("nothing says what the storage `{key}` holds")));
        };
        file.seek(SeekFrom::Start(at))?;
        let mut count = [0; 8];
        file.read_exact(&mut count)?;
        let bytes = u64::from_le_bytes(count).checked_mul(size);
        at += 8;
        let end = bytes.and_then(|bytes| at.checked_add(bytes)).filter(|&end| end <= whole);
        let end = end.ok_or_else(ended)?;
        let bytes = end - at;
        places.insert(key.clone(), Storage { at, packed: bytes, bytes, deflated: false });
        at = end;
    }
    Ok(places)
}

/// Puts tensors and places together, and holds each against the other.
fn contents(
    values: &Values,
    named: Named,
    whole: u64,
    place: &mut dyn FnMut(&str) -> Outcome<Storage>,
) -> Outcome<Contents> {
    let mut contents = Contents { dropped: named.dropped, ..Contents::default() };
    let mut known: BTreeMap<&str, usize> = BTreeMap::new();
    let mut sum = 0u64;
    for (name, id) in named.tensors {
        let Value::Tensor(tensor) = values.get(id) else { continue };
        let key = values.storage_key(tensor.storage)?;
        let index = if let Some(&index) = known.get(key) {
            index
        } else {
            let storage = place(key)?;
            sum = sum.saturating_add(storage.bytes);
            let limit = if storage.deflated { most(whole) } else { whole };
            if sum > limit {
                let problem = format!("its storages come to {sum} bytes in a file of {whole}");
                return Err(damaged(problem));
            }
            contents.storages.push(storage);
            known.insert(key, contents.storages.len() - 1);
            contents.storages.len() - 1
        };
        let (shape, strides) = (tensor.shape.clone(), tensor.strides.clone());
        let view =
            View { dtype: tensor.dtype, shape, strides, offset: tensor.offset, storage: index };
        view.check(&name, &contents.storages[index], most(whole))?;
        contents.tensors.insert(name, view);
    }
    Ok(contents)
}

/// The most bytes that a file of `whole` bytes may unfold to.
fn most(whole: u64) -> u64 {
    whole.saturating_mul(MAX_UNFOLDING).saturating_add(UNFOLDING_OF_SMALL)
}
