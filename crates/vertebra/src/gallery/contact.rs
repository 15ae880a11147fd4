//! The contact sheet of a data set.

use std::collections::BTreeMap;

use pixels::draw::{Draw, Purpose};
use pixels::inspect::{Group, Inspection};
use pixels::source::{Sample, Source};
use pixels::stats::PERCENTILES;
use report::record::Picture;
use report::sheet::{Class, Sheet, Table, Twins};

use super::{Exposure, picture};

/// Pictures of the sheet, over all classes.
const PICTURES: usize = 100;
/// Groups of the same picture, and pictures of each.
const GROUPS: usize = 30;
const MEMBERS: usize = 8;

/// The sheet of a source that was inspected, and of what it shares with another one. Images of 16 bits, and those of
/// channels that are no colours, are shown from their own darkest to their own brightest sample, with the first three
/// channels as red, green and blue.
pub fn contact_sheet(
    title: &str,
    source: &dyn Source,
    against: Option<&dyn Source>,
    found: &Inspection,
) -> Sheet {
    let shared = found.against.as_ref();
    let groups: Vec<(&str, &Group)> = [
        ("In both, equal", shared.map(|it| &it.duplicates)),
        ("In both, near", shared.map(|it| &it.near_duplicates)),
        ("Equal", Some(&found.duplicates)),
        ("Near", Some(&found.near_duplicates)),
    ]
    .into_iter()
    .flat_map(|(kind, groups)| groups.into_iter().flatten().map(move |group| (kind, group)))
    .collect();
    // What contradicts itself is worth the most.
    let (first, rest): (Vec<_>, Vec<_>) = groups.iter().partition(|(_, group)| group.conflict);
    let shown = first.into_iter().chain(rest).take(GROUPS);
    let sources = [Some(source), against];
    let (classes, more_classes) = classes(source, found);
    Sheet {
        title: title.into(),
        facts: facts(found),
        warnings: warnings(found),
        classes,
        more_classes,
        groups: shown.map(|(kind, group)| twins(kind, group, sources)).collect(),
        more_groups: groups.len().saturating_sub(GROUPS),
        tables: tables(found),
        broken: found.broken.clone(),
    }
}

fn facts(found: &Inspection) -> Vec<String> {
    let mut facts = vec![count(found.images, "image")];
    facts.extend(found.forms.iter().map(|(form, n)| format!("{form}: {n}")));
    match found.sizes.len() {
        0 => {}
        1..=3 => facts.extend(found.sizes.iter().map(|(size, n)| format!("{size} pixels: {n}"))),
        n => facts.push(format!("{n} different sizes")),
    }
    if !found.classes.is_empty() {
        facts.push(format!("{} classes", found.classes.len()));
    }
    facts
}

fn warnings(found: &Inspection) -> Vec<String> {
    let spare = |groups: &[Group]| groups.iter().map(|group| group.members.len() - 1).sum();
    let both = found.duplicates.iter().chain(&found.near_duplicates);
    let shared = found.against.as_ref().map_or([0; 2], |it| [it.equal, it.near]);
    let own = [
        ("Files that cannot be read", found.broken.len()),
        ("Copies of other images, equal to the bit", spare(&found.duplicates)),
        ("Near duplicates of other images", spare(&found.near_duplicates)),
        ("Groups of the same picture with different labels", both.filter(|it| it.conflict).count()),
        ("Images of the second source that are in the first, equal to the bit", shared[0]),
        ("Images of the second source that are in the first, equal or near", shared[1]),
    ];
    let conversions = found.conversions.iter().map(|(kind, n)| (kind.as_str(), *n));
    own.into_iter()
        .chain(conversions)
        .filter(|(_, n)| *n > 0)
        .map(|(text, n)| format!("{text}: {n}"))
        .collect()
}

/// The same number of pictures of each class, and how many classes have none.
fn classes(source: &dyn Source, found: &Inspection) -> (Vec<Class>, usize) {
    let quota = (PICTURES / found.classes.len().max(1)).max(1);
    let order = Draw::of_seed(0).stream(Purpose::Split).permutation(source.len());
    let mut chosen: BTreeMap<Option<u32>, Vec<usize>> = BTreeMap::new();
    for index in order {
        let of_class = chosen.entry(source.label(index)).or_default();
        // Some of them may be broken.
        if of_class.len() < quota + 10 {
            of_class.push(index);
        }
    }
    let more = chosen.len().saturating_sub(PICTURES);
    let class = |(label, indices): (Option<u32>, Vec<usize>)| {
        let name = label.map_or("Images".into(), |label| {
            source.classes().get(label as usize).cloned().unwrap_or_else(|| label.to_string())
        });
        let readable = found.images - found.broken.len().min(found.images);
        let images = *found.classes.get(&name).unwrap_or(&readable) as u64;
        let pictures = indices.iter().filter_map(|&index| thumbnail(source, index));
        Class { name, images, pictures: pictures.take(quota).collect() }
    };
    (chosen.into_iter().take(PICTURES).map(class).collect(), more)
}

fn twins(kind: &str, group: &Group, sources: [Option<&dyn Source>; 2]) -> Twins {
    let pictures = group.members.iter().filter_map(|member| {
        let made = thumbnail(sources[usize::from(member.against)]?, member.index)?;
        let place = if member.against { "second source: " } else { "" };
        Some(Picture {
            caption: format!("{place}{}", member.name),
            label: member.class.clone(),
            ..made
        })
    });
    Twins {
        title: kind.into(),
        conflict: group.conflict,
        pictures: pictures.take(MEMBERS).collect(),
        more: group.members.len().saturating_sub(MEMBERS),
    }
}

/// A number with its noun.
fn count(n: usize, noun: &str) -> String {
    format!("{n} {noun}{}", if n == 1 { "" } else { "s" })
}

fn tables(found: &Inspection) -> Vec<Table> {
    let names = PERCENTILES.map(|p| format!("{p} %"));
    let columns: Vec<String> = ["mean", "std", "min"]
        .map(String::from)
        .into_iter()
        .chain(names)
        .chain(["max".into()])
        .collect();
    let table = |form: &pixels::inspect::FormStatistics| Table {
        title: format!("{} in {}", count(form.channels, "channel"), count(form.images, "image")),
        columns: columns.clone(),
        rows: form
            .statistics
            .iter()
            .enumerate()
            .map(|(channel, it)| {
                let start = [it.mean, it.std, it.min];
                let numbers = start.into_iter().chain(it.percentiles).chain([it.max]);
                (format!("channel {}", channel + 1), numbers.collect())
            })
            .collect(),
    };
    found.channels.iter().map(table).collect()
}

fn thumbnail(source: &dyn Source, index: usize) -> Option<Picture> {
    let Sample { image, .. } = source.get(index).ok()?;
    let shown = Exposure::of(&image).show(image);
    Some(picture(shown, source.name(index), None))
}
