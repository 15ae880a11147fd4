//! The entries of a shard put together to samples.

use serde_json::{Map, Value};

use super::super::{Object, image_extension};
use super::scan::{Damage, Entries, Entry, ReadAt};

/// The entry in which `pack` keeps the names of the classes. Readers of webdataset pass over names of this form.
pub(crate) const CLASSES: &str = "__vertebra__/classes.json";

/// The field that tells a record of `pack`; its value is the version.
pub(crate) const PACKED: &str = "vertebra_pack";

/// A `.json` that is larger is no sample's record; it is not read for a label.
const MOST_JSON: u64 = 1 << 16;
/// A label that takes more bytes is none.
const MOST_LABEL: u64 = 1 << 10;

/// Where the data of an entry lies.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Span {
    pub(super) at: u64,
    pub(super) size: u64,
}

/// The samples of a shard.
#[derive(Debug, Default, PartialEq, Eq)]
pub(super) struct Shard {
    pub(super) samples: Vec<Listed>,
    /// Names of the classes, where `pack` has written them.
    pub(super) classes: Vec<String>,
    pub(super) problems: Vec<String>,
}

/// What is known of a sample without reading its image.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Listed {
    pub(super) name: String,
    pub(super) image: Span,
    pub(super) label: Option<String>,
    pub(super) caption: Option<Span>,
    pub(super) json: Option<Span>,
    pub(super) group: Option<u64>,
}

/// What a sample's `.json` says; unknown fields are other people's.
#[derive(Debug, Default)]
pub(super) struct Record {
    /// Only of what `pack` has written: elsewhere a `name` may be anything.
    pub(super) name: Option<String>,
    label: Option<String>,
    pub(super) captions: Vec<String>,
    pub(super) objects: Vec<Object>,
    group: Option<u64>,
}

/// A sample of which not all entries have been seen.
#[derive(Default)]
struct Open {
    key: Vec<u8>,
    image: Option<Span>,
    /// Of the `.cls`, which goes before the `.json`'s.
    label: Option<String>,
    caption: Option<Span>,
    json: Option<Span>,
    record: Record,
    first: String,
}

/// Lists a shard: one pass over its headers. Damage ends the list, and the sample that it cuts is left out.
pub(super) fn list(read: ReadAt, size: u64) -> Shard {
    let mut shard = Shard::default();
    let mut magic = [0; 2];
    if size >= 2 && read(&mut magic, 0).is_ok() && magic == [0x1f, 0x8b] {
        shard.problems.push(
            "compressed with gzip, which cannot be read at random: unpack it with gunzip".into(),
        );
        return shard;
    }
    let mut entries = Entries::new(read, size);
    let (mut open, mut strays) = (Open::default(), Strays::default());
    loop {
        match next(&mut entries, &mut shard, &mut open, &mut strays) {
            Ok(true) => {}
            Ok(false) => break,
            Err(damage) => {
                let cut = damage.entry.as_deref().and_then(split_name);
                if cut.is_some_and(|(key, _)| key == open.key) || open.lacks(shard.samples.last()) {
                    open = Open::default();
                }
                shard.problems.push(format!("{}; what follows is lost", damage.problem));
                break;
            }
        }
    }
    open.close(&mut shard, &mut strays);
    shard.problems.extend(strays.text());
    shard
}

/// Takes one entry. False at the end.
fn next(
    entries: &mut Entries,
    shard: &mut Shard,
    open: &mut Open,
    strays: &mut Strays,
) -> Result<bool, Damage> {
    let Some(entry) = entries.next()? else { return Ok(false) };
    if entry.name == CLASSES.as_bytes() {
        shard.classes = serde_json::from_slice(&entries.data(&entry)?).unwrap_or_default();
        return Ok(true);
    }
    if is_meta(&entry.name) {
        return Ok(true);
    }
    let Some((key, extension)) = split_name(&entry.name) else {
        strays.add(&entry.name);
        return Ok(true);
    };
    if key != open.key || open.first.is_empty() {
        std::mem::take(open).close(shard, strays);
        (open.key, open.first) = (key.to_vec(), String::from_utf8_lossy(&entry.name).into_owned());
    }
    open.add(&entry, &extension, entries)?;
    Ok(true)
}

impl Record {
    /// What is not understood is absent.
    pub(super) fn read(json: &[u8]) -> Self {
        let Ok(map) = serde_json::from_slice::<Map<String, Value>>(json) else {
            return Self::default();
        };
        let first = |keys: [&str; 3]| keys.into_iter().find_map(|key| map.get(key).and_then(plain));
        let listed = map.get("captions").and_then(Value::as_array).into_iter().flatten();
        let mut captions: Vec<String> = listed.filter_map(plain).collect();
        if captions.is_empty() {
            captions.extend(first(["caption", "text", "txt"]));
        }
        let ours = map.contains_key(PACKED);
        let number = |key: &str| map.get(key).and_then(Value::as_u64).filter(|_| ours);
        let objects = map.get("objects").cloned().filter(|_| ours);
        Self {
            name: map.get("name").and_then(plain).filter(|_| ours),
            label: first(["label", "cls", "class"]),
            captions,
            objects: objects.and_then(|list| serde_json::from_value(list).ok()).unwrap_or_default(),
            group: number("group"),
        }
    }
}

impl Open {
    fn add(&mut self, entry: &Entry, extension: &str, entries: &mut Entries) -> Result<(), Damage> {
        let span = Span { at: entry.at, size: entry.size };
        match extension {
            "cls" if entry.size <= MOST_LABEL => {
                self.label = Some(String::from_utf8_lossy(&entries.data(entry)?).trim().to_owned());
            }
            "txt" => self.caption = Some(span),
            "json" => {
                self.json = Some(span);
                if entry.size <= MOST_JSON {
                    self.record = Record::read(&entries.data(entry)?);
                }
            }
            _ if image_extension(extension) && self.image.is_none() => self.image = Some(span),
            _ => {}
        }
        Ok(())
    }

    /// Whether something is missing that the sample before has.
    fn lacks(&self, before: Option<&Listed>) -> bool {
        before.is_some_and(|before| {
            let has_label = self.label.is_some() || self.record.label.is_some();
            (before.label.is_some() && !has_label)
                || (before.caption.is_some() && self.caption.is_none())
                || (before.json.is_some() && self.json.is_none())
        })
    }

    fn close(self, shard: &mut Shard, strays: &mut Strays) {
        let Some(image) = self.image else {
            if !self.first.is_empty() {
                strays.add(self.first.as_bytes());
            }
            return;
        };
        let key = || String::from_utf8_lossy(&self.key).into_owned();
        shard.samples.push(Listed {
            name: self.record.name.unwrap_or_else(key),
            image,
            label: self.label.or(self.record.label),
            caption: self.caption,
            json: self.json,
            group: self.record.group,
        });
    }
}

/// Entries that belong to no image.
#[derive(Default)]
struct Strays {
    count: usize,
    first: String,
}

impl Strays {
    fn add(&mut self, name: &[u8]) {
        if self.count == 0 {
            self.first = String::from_utf8_lossy(name).into_owned();
        }
        self.count += 1;
    }

    fn text(&self) -> Option<String> {
        let Self { count, first } = self;
        (*count > 0)
            .then(|| format!("{count} without an image among their like, the first is {first}"))
    }
}

/// The key and the extension in lower case: what stands before and after the first dot of the base name. `None` for
/// names that begin with a dot or have none.
fn split_name(name: &[u8]) -> Option<(&[u8], String)> {
    let base = name.iter().rposition(|byte| *byte == b'/').map_or(0, |slash| slash + 1);
    let dot = base + name[base..].iter().position(|byte| *byte == b'.').filter(|at| *at > 0)?;
    let key = name[..dot].strip_prefix(b"./").unwrap_or(&name[..dot]);
    Some((key, String::from_utf8_lossy(&name[dot + 1..]).to_lowercase()))
}

/// Names that begin with a folder or a file `__…__` are about the shard, not about a sample (webdataset's rule).
fn is_meta(name: &[u8]) -> bool {
    let first = name.split(|byte| *byte == b'/').next().unwrap_or_default();
    first.len() >= 4 && first.starts_with(b"__") && first.ends_with(b"__")
}

/// A number or a text as text.
fn plain(value: &Value) -> Option<String> {
    match value {
        Value::String(text) => Some(text.clone()),
        Value::Number(number) => Some(number.to_string()),
        _ => None,
    }
}
