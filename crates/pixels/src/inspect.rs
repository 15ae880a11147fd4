//! A data set looked at before anything is trained on it: what there is, what is broken, what is there twice.

use std::collections::BTreeMap;

use serde::Serialize;

use crate::image::Image;
use crate::scan::{Read, scan};
use crate::source::{Source, SourceError};
use crate::stats::{ChannelStatistics, Tally};

mod alike;

use alike::Look;

/// What reading every image of a source once has shown. Scripts read its JSON: fields may be added, never renamed.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Inspection {
    /// How many images the source lists, readable or not.
    pub images: usize,
    /// Names and problems of what cannot be read.
    pub broken: Vec<(String, String)>,
    /// How many images have which size, `width × height`.
    pub sizes: BTreeMap<String, usize>,
    /// How many images have which channels and depth, as in `3 × 8 bit`.
    pub forms: BTreeMap<String, usize>,
    /// Readable images of each class.
    pub classes: BTreeMap<String, usize>,
    /// How many images were decoded to other samples than those of their file, and how.
    pub conversions: BTreeMap<String, usize>,
    /// Statistics of the samples, apart for each number of channels.
    pub channels: Vec<FormStatistics>,
    /// Images that are equal to the bit.
    pub duplicates: Vec<Group>,
    /// Images that are the same picture to the eye, with the equal ones among them.
    pub near_duplicates: Vec<Group>,
    /// What a second source shares with this one.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub against: Option<Overlap>,
}

/// The samples of all images with the same number of channels.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct FormStatistics {
    pub channels: usize,
    pub images: usize,
    pub pixels: u64,
    /// One entry per channel.
    pub statistics: Vec<ChannelStatistics>,
}

/// Images that are the same.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Group {
    /// In the order of their source; those of the second source last.
    pub members: Vec<Member>,
    /// Whether they have different classes.
    pub conflict: bool,
}

/// An image of a group.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Member {
    /// Number in its source.
    pub index: usize,
    pub name: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub class: Option<String>,
    /// Whether it is of the second source.
    pub against: bool,
}

/// What two sources share; a test set should share nothing with the images trained on.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Overlap {
    /// Images of the second source, and how many of them cannot be read.
    pub images: usize,
    pub broken: usize,
    /// Images of the second source that are in the first to the bit, and to the eye (which counts the former too).
    pub equal: usize,
    pub near: usize,
    /// Groups with members of both.
    pub duplicates: Vec<Group>,
    pub near_duplicates: Vec<Group>,
}

/// Reads every image of `source`, and of `against`, on `workers` threads. `done` hears of each. Memory is a decoded image
/// per thread and half a kilobyte per image. The result depends on neither threads nor time.
pub fn inspect(
    source: &dyn Source,
    against: Option<&dyn Source>,
    workers: usize,
    done: &(dyn Fn() + Sync),
) -> Inspection {
    let mut seen = look_at(source, false, workers, done);
    let mut found = Inspection {
        images: source.len(),
        broken: seen.take_broken(source),
        sizes: words(&seen.sizes, |[width, height]| format!("{width} × {height}")),
        forms: words(&seen.forms, |[channels, bits]| format!("{channels} × {bits} bit")),
        classes: seen.classes,
        conversions: words(&seen.conversions, |text| (*text).into()),
        channels: seen.tallies.into_iter().map(FormStatistics::of).collect(),
        duplicates: Vec::new(),
        near_duplicates: Vec::new(),
        against: None,
    };
    let mut looks = seen.looks;
    let other = against.map(|against| {
        let mut other = look_at(against, true, workers, done);
        looks.append(&mut other.looks);
        (against.len(), other.take_broken(against).len())
    });
    let equal = alike::equal(&looks);
    let near = alike::near(&looks, &equal);
    let sources = [source, against.unwrap_or(source)];
    let groups = |places: &[Vec<usize>], wanted: fn(&[Member]) -> bool, both: bool| {
        let members = |group: &Vec<usize>| -> Vec<Member> {
            group.iter().map(|&place| Member::of(&looks[place], sources)).collect()
        };
        let own = |group: Vec<Member>| group.into_iter().filter(|it| both || !it.against).collect();
        places
            .iter()
            .map(members)
            .map(own)
            .filter(|it: &Vec<_>| wanted(it))
            .map(Group::of)
            .collect()
    };
    found.duplicates = groups(&equal, |group| group.len() > 1, false);
    found.near_duplicates = groups(&near, |group| group.len() > 1, false);
    // A near duplicate whose others are all of the second source is no duplicate within the first.
    found.near_duplicates.retain(|group| !found.duplicates.contains(group));
    found.against = other.map(|(images, broken)| {
        let shared = |group: &[Member]| {
            group.iter().any(|it| it.against) && group.iter().any(|it| !it.against)
        };
        let duplicates: Vec<Group> = groups(&equal, shared, true);
        let near_duplicates: Vec<Group> = groups(&near, shared, true);
        let count = |groups: &[&[Group]]| {
            let members = groups.iter().copied().flatten().flat_map(|group| &group.members);
            let indices = members.filter(|it| it.against).map(|it| it.index);
            indices.collect::<std::collections::BTreeSet<_>>().len()
        };
        let equal = count(&[&duplicates]);
        let near = count(&[&duplicates, &near_duplicates]);
        Overlap { images, broken, equal, near, duplicates, near_duplicates }
    });
    found
}

/// What one thread has seen, and then what all have.
#[derive(Default)]
struct Seen {
    broken: Vec<(usize, SourceError)>,
    sizes: BTreeMap<[usize; 2], usize>,
    /// Channels and bits.
    forms: BTreeMap<[usize; 2], usize>,
    classes: BTreeMap<String, usize>,
    conversions: BTreeMap<&'static str, usize>,
    tallies: BTreeMap<usize, Tally>,
    looks: Vec<Look>,
}

fn look_at(source: &dyn Source, against: bool, workers: usize, done: &(dyn Fn() + Sync)) -> Seen {
    let indices: Vec<usize> = (0..source.len()).collect();
    let parts =
        scan(source, &indices, workers, done, Seen::default, |seen, index, read| match read {
            Ok(Read { image, conversion }) => {
                seen.add(&image);
                if let Some(class) = class(source, index) {
                    *seen.classes.entry(class).or_default() += 1;
                }
                if let Some(conversion) = conversion {
                    *seen.conversions.entry(conversion.describe()).or_default() += 1;
                }
                let (exact, outline) = (alike::fingerprint(&image), alike::outline(&image));
                seen.looks.push(Look { index, against, exact, outline });
            }
            Err(error) => seen.broken.push((index, error)),
        });
    let mut all = Seen::default();
    for part in parts {
        all.merge(part);
    }
    all.broken.sort_by_key(|(index, _)| *index);
    all.looks.sort_by_key(|look| look.index);
    all
}

impl Seen {
    fn add(&mut self, image: &Image) {
        let bits = if image.as_u8().is_some() { 8 } else { 16 };
        *self.sizes.entry([image.width, image.height]).or_default() += 1;
        *self.forms.entry([image.channels, bits]).or_default() += 1;
        let new = || Tally::new(image.channels);
        self.tallies.entry(image.channels).or_insert_with(new).add(image);
    }

    fn merge(&mut self, part: Self) {
        self.broken.extend(part.broken);
        self.looks.extend(part.looks);
        add_counts(&mut self.sizes, part.sizes);
        add_counts(&mut self.forms, part.forms);
        add_counts(&mut self.classes, part.classes);
        add_counts(&mut self.conversions, part.conversions);
        for (channels, tally) in part.tallies {
            self.tallies.entry(channels).or_insert_with(|| Tally::new(channels)).merge(tally);
        }
    }

    /// Everything unusable: what the listing has met, then what cannot be read.
    fn take_broken(&mut self, source: &dyn Source) -> Vec<(String, String)> {
        let listed = source.problems().iter().map(|it| (it.name.clone(), it.problem.clone()));
        let read = self.broken.drain(..).map(|(_, error)| (error.name, error.problem));
        listed.chain(read).collect()
    }
}

fn add_counts<K: Ord>(to: &mut BTreeMap<K, usize>, from: BTreeMap<K, usize>) {
    for (key, count) in from {
        *to.entry(key).or_default() += count;
    }
}

fn words<K>(counts: &BTreeMap<K, usize>, word: impl Fn(&K) -> String) -> BTreeMap<String, usize> {
    counts.iter().map(|(key, count)| (word(key), *count)).collect()
}

/// The name of a sample's class, its number where the class has no name.
fn class(source: &dyn Source, index: usize) -> Option<String> {
    let label = source.label(index)?;
    let name = source.classes().get(label as usize).cloned();
    Some(name.unwrap_or_else(|| label.to_string()))
}

impl FormStatistics {
    fn of((channels, tally): (usize, Tally)) -> Self {
        let (images, pixels) = (tally.images, tally.pixels);
        Self { channels, images, pixels, statistics: tally.statistics() }
    }
}

impl Group {
    fn of(members: Vec<Member>) -> Self {
        let mut classes: Vec<&str> = members.iter().filter_map(|it| it.class.as_deref()).collect();
        classes.dedup();
        let conflict = classes.len() > 1;
        Self { members, conflict }
    }
}

impl Member {
    fn of(look: &Look, sources: [&dyn Source; 2]) -> Self {
        let source = sources[usize::from(look.against)];
        let (index, against) = (look.index, look.against);
        Self { index, name: source.name(index), class: class(source, index), against }
    }
}

#[cfg(test)]
mod tests;
