//! A fixed part of a source.

use std::sync::Arc;

use crate::draw::{Draw, Purpose};

use super::{Sample, Source, SourceError, Stored, Truth};

/// Some samples of a source, in its order.
pub(super) struct Part {
    whole: Arc<dyn Source>,
    indices: Vec<usize>,
}

impl Part {
    /// The samples between two fractions of a fixed random order, of these the first `limit`.
    pub(super) fn new(whole: Arc<dyn Source>, fraction: [f64; 2], limit: Option<usize>) -> Self {
        let n = whole.len();
        let [from, to] = fraction.map(|share| (share * n as f64).round() as usize);
        let order = Draw::of_seed(0).stream(Purpose::Split).permutation(n);
        let mut indices: Vec<usize> =
            order[from..to].iter().copied().take(limit.unwrap_or(n)).collect();
        indices.sort_unstable();
        Self { whole, indices }
    }
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
