//! Labels as files write them: whole numbers or names of classes.

use std::collections::BTreeMap;

/// Whole numbers up to this are labels as they stand; larger ones are names (a barcode, an id), so that a file of a few
/// bytes cannot ask for billions of classes.
const MOST_CLASSES: u64 = 1_000_000;

/// A label of no sample.
const NONE: u32 = u32::MAX;

/// The labels of a source's samples, in four bytes each.
#[derive(Default)]
pub(super) struct Labels {
    by_sample: Vec<u32>,
    classes: Vec<String>,
}

/// Labels while a source is listed: their meaning is known when all have been seen.
#[derive(Default)]
pub(super) struct Written {
    numbers: BTreeMap<String, u32>,
    by_sample: Vec<u32>,
}

impl Labels {
    /// `None` for a sample without one.
    pub(super) fn get(&self, index: usize) -> Option<u32> {
        self.by_sample.get(index).copied().filter(|label| *label != NONE)
    }

    pub(super) fn classes(&self) -> &[String] {
        &self.classes
    }
}

impl Written {
    /// The label of the next sample. An empty text and `-1` are no label.
    pub(super) fn push(&mut self, label: Option<&str>) {
        let label = label.map(str::trim).filter(|text| !text.is_empty() && *text != "-1");
        let number = label.map_or(NONE, |text| self.number(text));
        self.by_sample.push(number);
    }

    /// The number that a text got when it was first seen.
    fn number(&mut self, text: &str) -> u32 {
        if let Some(number) = self.numbers.get(text) {
            return *number;
        }
        let number = self.numbers.len() as u32;
        self.numbers.insert(text.to_owned(), number);
        number
    }

    /// Where all labels are whole numbers, these are the labels, and `names` the names of the classes if it reaches
    /// far enough. Otherwise the labels are names: the classes in `names`, or else in the order of the names.
    pub(super) fn finish(self, names: &[String]) -> Labels {
        let Self { numbers, mut by_sample } = self;
        let whole = |text: &String| text.parse().ok().filter(|n| *n < MOST_CLASSES);
        let values: Option<Vec<u64>> = numbers.keys().map(whole).collect();
        // By the number that a text got on the way: its label.
        let mut meaning = vec![NONE; numbers.len()];
        let classes = if let Some(values) = values {
            for (number, value) in numbers.values().zip(&values) {
                meaning[*number as usize] = *value as u32;
            }
            let count = values.iter().max().map_or(0, |last| *last as usize + 1);
            if names.len() >= count {
                names.to_vec()
            } else {
                (0..count).map(|number| number.to_string()).collect()
            }
        } else {
            let mut classes: Vec<String> = numbers.keys().cloned().collect();
            if numbers.keys().all(|text| names.contains(text)) {
                classes = names.to_vec();
            }
            let places: BTreeMap<&String, usize> = classes.iter().zip(0..).collect();
            for (text, number) in &numbers {
                meaning[*number as usize] = places.get(text).map_or(NONE, |place| *place as u32);
            }
            classes
        };
        for label in &mut by_sample {
            *label = meaning.get(*label as usize).copied().unwrap_or(NONE);
        }
        Labels { by_sample, classes }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn labels(texts: &[&str], names: &[&str]) -> (Vec<Option<u32>>, Vec<String>) {
        let mut written = Written::default();
        for text in texts {
            written.push(Some(text));
        }
        let names: Vec<String> = names.iter().map(ToString::to_string).collect();
        let labels = written.finish(&names);
        ((0..texts.len()).map(|i| labels.get(i)).collect(), labels.classes().to_vec())
    }

    #[test]
    fn whole_numbers_stay_and_names_are_numbered_in_their_order() {
        let (found, classes) = labels(&["2", " 0\n", "-1", ""], &[]);
        assert_eq!(found, [Some(2), Some(0), None, None]);
        assert_eq!(classes, ["0", "1", "2"]);
        let (found, classes) = labels(&["dog", "cat", "dog"], &[]);
        assert_eq!(found, [Some(1), Some(0), Some(1)]);
        assert_eq!(classes, ["cat", "dog"]);
    }

    #[test]
    fn known_names_give_the_order() {
        assert_eq!(labels(&["1", "0"], &["dog", "cat", "cow"]).1, ["dog", "cat", "cow"]);
        assert_eq!(labels(&["cat"], &["dog", "cat"]).0, [Some(1)]);
        assert_eq!(labels(&["3"], &["dog", "cat"]).1, ["0", "1", "2", "3"]);
    }

    #[test]
    fn a_huge_number_is_a_name_and_takes_no_memory() {
        let (found, classes) = labels(&["4294967294", "7"], &[]);
        assert_eq!((found, classes.len()), (vec![Some(0), Some(1)], 2));
    }
}
