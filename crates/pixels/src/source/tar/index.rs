//! `NAME.tar.idx.json`: the list of a shard's samples, so that opening it reads one small file and no header.

use std::fs;
use std::path::{Path, PathBuf};
use std::time::UNIX_EPOCH;

use serde::{Deserialize, Serialize};

use super::group::{Listed, Shard, Span};

/// Of the form of the file; another one is not read.
const VERSION: u32 = 1;

/// The file as it is written. Fields may be added.
#[derive(Serialize, Deserialize)]
struct File {
    vertebra_tar_index: u32,
    /// Size and time of the shard that was listed; of any other one the index says nothing.
    tar_bytes: u64,
    tar_modified_ns: u64,
    classes: Vec<String>,
    samples: Vec<Row>,
}

/// A sample. The pairs are where the data of an entry begins and how long it is.
#[derive(Serialize, Deserialize)]
struct Row {
    name: String,
    image: [u64; 2],
    #[serde(default, skip_serializing_if = "Option::is_none")]
    label: Option<String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    caption: Option<[u64; 2]>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    json: Option<[u64; 2]>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    group: Option<u64>,
}

/// Where the index of a shard lies.
pub(in crate::source) fn beside(tar: &Path) -> PathBuf {
    let mut name = tar.as_os_str().to_owned();
    name.push(".idx.json");
    name.into()
}

/// The samples of a shard by its index; `None` where there is none, or none that fits the shard.
pub(super) fn read(tar: &Path, about: &fs::Metadata) -> Option<Shard> {
    let text = fs::read(beside(tar)).ok()?;
    parse(&text, about.len(), modified(about))
}

pub(super) fn parse(text: &[u8], tar_bytes: u64, tar_modified: u64) -> Option<Shard> {
    let file: File = serde_json::from_slice(text).ok()?;
    let same = file.tar_bytes == tar_bytes && file.tar_modified_ns == tar_modified;
    let inside = |pair: &[u64; 2]| pair[0].checked_add(pair[1]).is_some_and(|end| end <= tar_bytes);
    let sound = file.samples.iter().all(|row| {
        inside(&row.image) && row.caption.iter().all(inside) && row.json.iter().all(inside)
    });
    if file.vertebra_tar_index != VERSION || !same || !sound {
        return None;
    }
    let span = |pair: [u64; 2]| Span { at: pair[0], size: pair[1] };
    let samples = file.samples.into_iter().map(|row| Listed {
        name: row.name,
        image: span(row.image),
        label: row.label,
        caption: row.caption.map(span),
        json: row.json.map(span),
        group: row.group,
    });
    Some(Shard { samples: samples.collect(), classes: file.classes, problems: Vec::new() })
}

/// The index of a shard that was just listed, as text.
pub(super) fn text(shard: &Shard, about: &fs::Metadata) -> String {
    let pair = |span: Span| [span.at, span.size];
    let row = |sample: &Listed| Row {
        name: sample.name.clone(),
        image: pair(sample.image),
        label: sample.label.clone(),
        caption: sample.caption.map(pair),
        json: sample.json.map(pair),
        group: sample.group,
    };
    let file = File {
        vertebra_tar_index: VERSION,
        tar_bytes: about.len(),
        tar_modified_ns: modified(about),
        classes: shard.classes.clone(),
        samples: shard.samples.iter().map(row).collect(),
    };
    serde_json::to_string(&file).expect("texts and numbers are always JSON")
}

/// In nanoseconds since 1970, 0 where the file system does not say.
fn modified(about: &fs::Metadata) -> u64 {
    let time = about.modified().ok().and_then(|time| time.duration_since(UNIX_EPOCH).ok());
    time.map_or(0, |time| time.as_nanos() as u64)
}
