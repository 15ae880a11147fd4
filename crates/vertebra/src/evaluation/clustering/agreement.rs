//! How well two partitions of the same items agree, whatever the names of their parts.

/// How many items are in each class and each cluster.
#[derive(Clone, Debug, PartialEq)]
pub struct Contingency {
    /// `[classes, clusters]`
    counts: Vec<usize>,
    of_class: Vec<usize>,
    of_cluster: Vec<usize>,
    items: usize,
}

impl Contingency {
    /// Counts items by (class, cluster), both below the numbers given, which are 1 or more.
    pub fn new(items: impl Iterator<Item = (u32, u32)>, classes: usize, clusters: usize) -> Self {
        let mut table = Self {
            counts: vec![0; classes * clusters],
            of_class: vec![0; classes],
            of_cluster: vec![0; clusters],
            items: 0,
        };
        for (class, cluster) in items {
            let (class, cluster) = (class as usize, cluster as usize);
            table.counts[class * clusters + cluster] += 1;
            table.of_class[class] += 1;
            table.of_cluster[cluster] += 1;
            table.items += 1;
        }
        table
    }

    pub fn classes(&self) -> usize {
        self.of_class.len()
    }

    pub fn clusters(&self) -> usize {
        self.of_cluster.len()
    }

    pub fn count(&self, class: usize, cluster: usize) -> usize {
        self.counts[class * self.clusters() + cluster]
    }

    /// Normalised mutual information: I / mean(H, H') with the arithmetic mean, 0 to 1. 1 for equal partitions,
    /// also where neither divides the items.
    pub fn nmi(&self) -> f64 {
        if self.is_equal() { 1.0 } else { self.mutual_information() / self.mean_entropy() }
    }

    /// Adjusted mutual information: (I − `E[I]`) / (mean(H, H') − `E[I]`) with the arithmetic mean, and the expectation over
    /// all partitions with parts of the same sizes (Vinh 2010, equation 24a). 1 for equal partitions, about 0 for unrelated
    /// ones, and 0 where one of them does not divide the items.
    pub fn ami(&self) -> f64 {
        if self.is_equal() {
            return 1.0;
        }
        let divides = |sizes: &[usize]| sizes.iter().filter(|size| **size > 0).count() > 1;
        if !divides(&self.of_class) || !divides(&self.of_cluster) {
            return 0.0;
        }
        // Below the mean entropy wherever the partitions are not equal.
        let expected = self.expected_information();
        (self.mutual_information() - expected) / (self.mean_entropy() - expected)
    }

    /// Whether every class is one whole cluster.
    fn is_equal(&self) -> bool {
        let some = |counts: &[usize]| counts.iter().filter(|count| **count > 0).count();
        let pairs = some(&self.counts);
        pairs == some(&self.of_class) && pairs == some(&self.of_cluster)
    }

    /// The adjusted Rand index (Hubert and Arabie 1985): of pairs of items that are together or apart in both, the share
    /// beyond chance. 1 for equal partitions, about 0 for unrelated ones, −0.5 at worst.
    pub fn ari(&self) -> f64 {
        let pairs = |counts: &[usize]| {
            counts.iter().map(|&count| count as f64 * (count as f64 - 1.0) / 2.0).sum::<f64>()
        };
        let (both, class, cluster) =
            (pairs(&self.counts), pairs(&self.of_class), pairs(&self.of_cluster));
        let all = pairs(&[self.items]);
        // Also where no two items, or all, are together: there is nothing to adjust.
        if self.is_equal() {
            return 1.0;
        }
        let expected = class * cluster / all;
        (both - expected) / (f64::midpoint(class, cluster) - expected)
    }

    /// I in nats, 0 or more.
    fn mutual_information(&self) -> f64 {
        let n = self.items as f64;
        let mut sum = 0.0;
        for (row, &class) in self.counts.chunks(self.clusters()).zip(&self.of_class) {
            for (&both, &cluster) in row.iter().zip(&self.of_cluster) {
                if both > 0 {
                    let both = both as f64;
                    sum += both / n * (n * both / (class as f64 * cluster as f64)).ln();
                }
            }
        }
        sum.max(0.0)
    }

    fn mean_entropy(&self) -> f64 {
        let n = self.items as f64;
        let entropy = |sizes: &[usize]| {
            let shares = sizes.iter().filter(|size| **size > 0).map(|&size| size as f64 / n);
            -shares.map(|share| share * share.ln()).sum::<f64>()
        };
        f64::midpoint(entropy(&self.of_class), entropy(&self.of_cluster)).max(0.0)
    }

    /// E[I]: every pair of sizes is looked at once, however many parts have them.
    fn expected_information(&self) -> f64 {
        let (classes, clusters) = (sizes(&self.of_class), sizes(&self.of_cluster));
        let mut sum = 0.0;
        for &(a, times) in &classes {
            for &(b, again) in &clusters {
                sum += (times * again) as f64 * expected_term(a, b, self.items);
            }
        }
        sum
    }
}

/// The different sizes above 0, ascending, and how many parts have each.
fn sizes(parts: &[usize]) -> Vec<(usize, usize)> {
    let mut parts: Vec<usize> = parts.iter().copied().filter(|size| *size > 0).collect();
    parts.sort_unstable();
    parts.chunk_by(|a, b| a == b).map(|equal| (equal[0], equal.len())).collect()
}

/// The expectation of k/n · ln(n k / (a b)) where k is how many of b items drawn out of n are among a marked ones.
///
/// The probabilities are hypergeometric. They are followed from their largest, taken as 1, to both sides until they do not
/// matter, and divided by their sum: no factorial is needed, and nothing overflows.
fn expected_term(a: usize, b: usize, n: usize) -> f64 {
    let (least, most) = ((a + b).saturating_sub(n), a.min(b));
    let mode = ((a + 1) * (b + 1) / (n + 2)).clamp(least, most);
    // P(k + 1) / P(k)
    let growth = |k: usize| {
        let above = (a - k) as f64 * (b - k) as f64;
        above / ((k + 1) as f64 * (n + k + 1 - a - b) as f64)
    };
    let term = |k: usize| {
        let (k, n) = (k as f64, n as f64);
        if k == 0.0 { 0.0 } else { k / n * (n * k / (a as f64 * b as f64)).ln() }
    };
    let (mut mass, mut sum) = (1.0, term(mode));
    let mut add = |weight: f64, k: usize| {
        (mass, sum) = (mass + weight, sum + weight * term(k));
        weight > mass * f64::EPSILON / 16.0
    };
    let mut weight = 1.0;
    for k in mode..most {
        weight *= growth(k);
        if !add(weight, k + 1) {
            break;
        }
    }
    weight = 1.0;
    for k in (least..mode).rev() {
        weight /= growth(k);
        if !add(weight, k) {
            break;
        }
    }
    sum / mass
}

#[cfg(test)]
mod tests {
    use super::*;

    fn table(truth: &[u32], found: &[u32]) -> Contingency {
        let parts = |labels: &[u32]| labels.iter().max().map_or(0, |&label| label as usize + 1);
        let items = truth.iter().copied().zip(found.iter().copied());
        Contingency::new(items, parts(truth), parts(found))
    }

    fn close(found: f64, wanted: f64) {
        // Eight printed decimals.
        assert!((found - wanted).abs() < 1e-8, "{found} is not {wanted}");
    }

    #[test]
    fn measures_have_their_published_values() {
        let table = table(&[0, 0, 0, 0, 1, 1, 1, 2, 2, 2], &[1, 1, 1, 0, 0, 0, 0, 2, 2, 1]);
        close(table.mutual_information(), 0.639_031_86);
        close(table.mean_entropy(), f64::midpoint(1.088_899_98, 1.054_920_17));
        close(table.expected_information(), 0.287_942_48);
        close(table.ami(), 0.447_836_60);
        close(table.nmi(), 0.596_161_82);
        close(table.ari(), 0.391_143_91);
    }

    #[test]
    fn extremes_are_what_scikit_learn_has() {
        let (halves, crossed) = ([0, 0, 1, 1], [0, 1, 0, 1]);
        close(table(&halves, &crossed).ari(), -0.5);
        close(table(&halves, &crossed).ami(), -0.5);
        let (one, each) = ([0, 0, 0, 0], [0, 1, 2, 3]);
        for (a, b, wanted) in [
            (&halves, &one, [0.0, 0.0, 0.0]),
            (&one, &halves, [0.0, 0.0, 0.0]),
            (&one, &one, [1.0; 3]),
            (&each, &each, [1.0; 3]),
            (&each, &halves, [2.0 / 3.0, 0.0, 0.0]),
            (&each, &one, [0.0; 3]),
            (&halves, &[1, 1, 0, 0], [1.0; 3]),
        ] {
            let table = table(a, b);
            for (found, wanted) in [table.nmi(), table.ami(), table.ari()].into_iter().zip(wanted) {
                // Rounding of logarithms.
                assert!((found - wanted).abs() < 1e-12, "{a:?} {b:?}: {found}");
            }
        }
    }

    #[test]
    fn the_expected_term_is_the_sum_of_its_definition() {
        // All 35 ways to draw 3 of 7; 4 are marked: 4, 18, 12 and 1 of them have 3, 2, 1, 0 marked.
        let wanted: f64 = [(3.0, 4.0), (2.0, 18.0), (1.0, 12.0)]
            .iter()
            .map(|(k, ways)| ways / 35.0 * k / 7.0 * (7.0f64 * k / 12.0).ln())
            .sum();
        assert!((expected_term(4, 3, 7) - wanted).abs() < 1e-15);
        // Everything marked: nothing is left to chance.
        assert!((expected_term(7, 3, 7) - 0.0).abs() < 1e-15);
    }
}
