//! A fixed part of a source.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use crate::draw::{Draw, Purpose};

use super::folder::unreadable;
use super::uri::Uri;
use super::{Sample, Source, SourceError, Stored, Truth};

/// How many names an error quotes.
const EXAMPLES: usize = 3;

/// Which samples are wanted. The default is all.
#[derive(Default)]
pub(super) struct Selection {
    /// Files of names: those to keep, and those to leave out.
    list: Option<PathBuf>,
    without: Option<PathBuf>,
    /// Of a fixed random order, from and to, within 0 to 1.
    fraction: Option<[f64; 2]>,
    limit: Option<usize>,
}

/// Some samples of a source, in its order.
pub(super) struct Part {
    whole: Arc<dyn Source>,
    indices: Vec<usize>,
}

impl Part {
    pub(super) fn new(whole: Arc<dyn Source>, indices: Vec<usize>) -> Self {
        Self { whole, indices }
    }
}

impl Selection {
    pub(super) fn of_uri(uri: &mut Uri) -> Result<Self, SourceError> {
        Ok(Self {
            list: uri.text("list").map(PathBuf::from),
            without: uri.text("without").map(PathBuf::from),
            fraction: uri.fraction()?,
            limit: uri.number("limit")?,
        })
    }

    pub(super) fn of_limit(limit: usize) -> Self {
        Self { limit: Some(limit), ..Self::default() }
    }

    fn is_all(&self) -> bool {
        let Self { list, without, fraction, limit } = self;
        list.is_none() && without.is_none() && fraction.is_none() && limit.is_none()
    }

    /// The part of a source that is wanted. An error when a list cannot be read, or has names that the source has not.
    pub(super) fn of(self, whole: Arc<dyn Source>) -> Result<Arc<dyn Source>, SourceError> {
        if self.is_all() {
            return Ok(whole);
        }
        let mut kept = vec![true; whole.len()];
        if let Some(path) = &self.list {
            let listed = listed(&*whole, path)?;
            for (kept, listed) in kept.iter_mut().zip(listed) {
                *kept &= listed;
            }
        }
        if let Some(path) = &self.without {
            let listed = listed(&*whole, path)?;
            for (kept, listed) in kept.iter_mut().zip(listed) {
                *kept &= !listed;
            }
        }
        let kept: Vec<usize> = (0..kept.len()).filter(|index| kept[*index]).collect();
        let indices = drawn(&*whole, &kept, self.fraction.unwrap_or([0.0, 1.0]), self.limit);
        Ok(Arc::new(Part::new(whole, indices)))
    }
}

/// The samples between two fractions of a fixed random order of `kept`, of these the first `limit`; in the order of the
/// source. The samples of a group stand together in the random order and come to the same side of each border.
fn drawn(
    whole: &dyn Source,
    kept: &[usize],
    fraction: [f64; 2],
    limit: Option<usize>,
) -> Vec<usize> {
    let n = kept.len();
    let limit = limit.unwrap_or(n);
    let [from, to] = fraction.map(|share| (share * n as f64).round() as usize);
    let mut stream = Draw::of_seed(0).stream(Purpose::Split);
    let mut indices: Vec<usize> = if kept.iter().all(|index| whole.group(*index).is_none()) {
        let order = stream.permutation(n);
        order[from..to].iter().take(limit).map(|at| kept[*at]).collect()
    } else {
        let units = units(whole, kept);
        let order = stream.permutation(units.len());
        let placed = order.into_iter().scan(0, |before, at| {
            let place = *before;
            *before += units[at].len();
            Some((place, &units[at]))
        });
        // Each unit has one place, so that fractions that meet neither share a sample nor lose one.
        let within = placed.filter(|(place, _)| (from..to).contains(place));
        within.flat_map(|(_, unit)| unit).copied().take(limit).collect()
    };
    indices.sort_unstable();
    indices
}

/// What must not be split, in the order of the first samples: groups, and samples that stand alone.
fn units(whole: &dyn Source, kept: &[usize]) -> Vec<Vec<usize>> {
    let mut places: BTreeMap<u64, usize> = BTreeMap::new();
    let mut units: Vec<Vec<usize>> = Vec::new();
    for index in kept {
        let place = match whole.group(*index) {
            Some(group) => *places.entry(group).or_insert(units.len()),
            None => units.len(),
        };
        match units.get_mut(place) {
            Some(unit) => unit.push(*index),
            None => units.push(vec![*index]),
        }
    }
    units
}

/// For each sample whether its name is in a file of names, one a line.
fn listed(whole: &dyn Source, path: &Path) -> Result<Vec<bool>, SourceError> {
    let text = fs::read(path).map_err(|error| {
        unreadable(path, &error).hint("a list is a text file with a sample's name on each line")
    })?;
    let text = String::from_utf8_lossy(&text);
    let wanted: BTreeSet<&str> =
        text.lines().map(str::trim).filter(|line| !line.is_empty()).collect();
    let mut missing = wanted.clone();
    let mut marks = Vec::with_capacity(whole.len());
    for index in 0..whole.len() {
        let name = whole.name(index);
        let mark = wanted.contains(name.as_str());
        if mark {
            missing.remove(name.as_str());
        }
        marks.push(mark);
    }
    if missing.is_empty() {
        return Ok(marks);
    }
    let examples: Vec<&str> = missing.iter().copied().take(EXAMPLES).collect();
    let more = if missing.len() > EXAMPLES { ", ..." } else { "" };
    let problem = format!(
        "{} of {} names are not in the source: {}{more}",
        missing.len(),
        wanted.len(),
        examples.join(", ")
    );
    let error = SourceError::new(path.to_string_lossy(), problem);
    Err(if whole.is_empty() {
        error
    } else {
        error.hint(format!("names are like {}", whole.name(0)))
    })
}

impl Source for Part {
    fn len(&self) -> usize {
        self.indices.len()
    }

    fn fetch(&self, index: usize, buffer: &mut Vec<u8>) -> Result<Stored, SourceError> {
        self.whole.fetch(self.indices[index], buffer)
    }

    fn truth(&self, index: usize) -> Result<Truth, SourceError> {
        self.whole.truth(self.indices[index])
    }

    fn get(&self, index: usize) -> Result<Sample, SourceError> {
        self.whole.get(self.indices[index])
    }

    fn label(&self, index: usize) -> Option<u32> {
        self.whole.label(self.indices[index])
    }

    fn name(&self, index: usize) -> String {
        self.whole.name(self.indices[index])
    }

    fn group(&self, index: usize) -> Option<u64> {
        self.whole.group(self.indices[index])
    }

    fn classes(&self) -> &[String] {
        self.whole.classes()
    }

    fn fingerprint(&self) -> String {
        let mut hash = super::Fingerprint::new();
        self.indices.iter().for_each(|index| hash.number(*index as u64));
        format!("{} part {}", self.whole.fingerprint(), hash.text())
    }

    fn problems(&self) -> &[SourceError] {
        self.whole.problems()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::source::open;

    fn names(uri: &str) -> Vec<String> {
        let source = open(uri).expect("a source");
        (0..source.len()).map(|i| source.name(i)).collect()
    }

    #[test]
    fn fractions_divide_a_source_without_rest() {
        let (low, high) =
            (names("world:?count=101&fraction=0-0.8"), names("world:?count=101&fraction=0.8-1"));
        assert_eq!((low.len(), high.len()), (81, 20));
        let mut both: Vec<String> = low.into_iter().chain(high).collect();
        let mut whole = names("world:?count=101");
        both.sort();
        whole.sort();
        assert_eq!(both, whole);
    }

    #[test]
    fn picked_samples_come_in_the_order_asked_for() {
        let whole = open("world:?count=5").expect("a source");
        let part = crate::source::picked(whole.clone(), vec![3, 0, 3]);
        let names: Vec<String> = (0..part.len()).map(|i| part.name(i)).collect();
        assert_eq!(names, [whole.name(3), whole.name(0), whole.name(3)]);
        assert_eq!(part.label(0), whole.label(3));
        let other = crate::source::picked(whole.clone(), vec![0, 3, 3]);
        assert_ne!(part.fingerprint(), other.fingerprint());
    }

    #[test]
    fn without_groups_parts_are_cut_from_one_permutation() {
        // As it was before groups were known: the parts of older runs are to stay the same.
        let order = Draw::of_seed(0).stream(Purpose::Split).permutation(20);
        let mut expected = order[6..11].to_vec();
        expected.sort_unstable();
        let expected: Vec<String> = expected.iter().map(|index| format!("#{index}")).collect();
        assert_eq!(names("world:?count=20&fraction=0.3-0.8&limit=5"), expected);
    }

    #[test]
    fn a_group_is_never_split_between_fractions() {
        let folder = tempfile::tempdir().expect("a folder");
        let table = folder.path().join("t.csv");
        let row = |i: usize| match i % 10 {
            // Every tenth sample stands alone, the others are of thirteen groups of different sizes.
            0 => format!("{i}.png,\n"),
            _ => format!("{i}.png,p{}\n", i * i % 13),
        };
        let text: String =
            std::iter::once("path,group\n".to_owned()).chain((0..200).map(row)).collect();
        std::fs::write(&table, text).expect("written");
        let part = |range: &str| {
            open(&format!("csv:{}?fraction={range}", table.display())).expect("a source")
        };
        let parts = ["0-0.3", "0.3-0.75", "0.75-1"].map(part);
        assert_eq!(parts.iter().map(|part| part.len()).sum::<usize>(), 200);
        let groups = parts
            .each_ref()
            .map(|part| (0..part.len()).filter_map(|i| part.group(i)).collect::<BTreeSet<u64>>());
        let all: usize = groups.iter().map(BTreeSet::len).sum();
        let together: BTreeSet<u64> = groups.into_iter().flatten().collect();
        assert_eq!(all, together.len());
        assert!(parts.iter().all(|part| part.len() > 20));
    }

    #[test]
    fn lists_keep_and_leave_out_and_unknown_names_are_errors() {
        let folder = tempfile::tempdir().expect("a folder");
        let list = folder.path().join("list.txt");
        let list_of = |text: &str| std::fs::write(&list, text).expect("written");
        list_of("#7\n\n  #2 \r\n#9\n");
        let list = list.display();
        assert_eq!(names(&format!("world:?count=10&list={list}")), ["#2", "#7", "#9"]);
        let rest = names(&format!("world:?count=10&without={list}"));
        assert_eq!(rest, ["#0", "#1", "#3", "#4", "#5", "#6", "#8"]);
        assert_eq!(names(&format!("world:?count=10&without={list}&limit=2")).len(), 2);
        list_of("#7\nx\ny\nz\nzz\n");
        let error = open(&format!("world:?count=10&list={list}")).err().expect("an error");
        assert!(
            error.problem.contains("4 of 5 names are not in the source: x, y, z, ..."),
            "{error}"
        );
        assert!(error.hint.expect("a hint").contains("#0"));
    }

    #[test]
    fn a_smaller_limit_is_within_a_larger_one_and_within_the_fraction() {
        let small = names("world:?count=100&fraction=0-0.5&limit=10");
        let large = names("world:?count=100&fraction=0-0.5&limit=30");
        let half = names("world:?count=100&fraction=0-0.5");
        assert_eq!((small.len(), large.len()), (10, 30));
        assert!(small.iter().all(|name| large.contains(name)));
        assert!(large.iter().all(|name| half.contains(name)));
    }

    #[test]
    fn the_fingerprint_tells_parts_apart() {
        let print = |uri: &str| open(uri).expect("a source").fingerprint();
        assert_ne!(print("world:?limit=10"), print("world:?limit=11"));
        assert_eq!(print("world:?limit=10"), print("world:?limit=10"));
    }
}
