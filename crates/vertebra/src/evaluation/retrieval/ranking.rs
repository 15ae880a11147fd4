//! Exact ranks of the relevant images of each query, and what is computed of them.
//!
//! A rank counts from 1. Every metric takes the ranks of all relevant images of one query, ascending, one or more.

use std::thread;

use tch::{Device, Tensor};

/// Similarities in memory at a time: 32 MiB.
const BLOCK: usize = 1 << 23;

/// What a query looks for, as rows of the gallery, each at most once and in one of the lists.
#[derive(Clone, Debug, Default)]
pub struct Wanted {
    pub relevant: Vec<usize>,
    /// Taken out of the ranking before places are counted.
    pub ignored: Vec<usize>,
}

/// For each of the rows `asked` of `queries [Q, D]`, the ranks of its relevant rows of `gallery [M, D]`, ascending. Rows
/// have length one, and no NaN; of equally similar ones the lower row comes first. No ranking is sorted: an image's rank
/// is one more than the number of images before it, and those are counted. Queries are shared by all cores, which cannot
/// change a rank.
pub fn ranks(
    queries: &Tensor,
    gallery: &Tensor,
    asked: &[usize],
    wanted: impl Fn(usize) -> Wanted + Sync,
) -> Vec<Vec<usize>> {
    let total = gallery.size()[0] as usize;
    let rows = BLOCK.checked_div(total).unwrap_or(1).max(1);
    let cores = thread::available_parallelism().map_or(1, usize::from);
    let mut found = vec![Vec::new(); asked.len()];
    if total == 0 {
        return found;
    }
    let mut block = vec![0.0; rows.min(asked.len()) * total];
    for (asked, found) in asked.chunks(rows).zip(found.chunks_mut(rows)) {
        let picked: Vec<i64> = asked.iter().map(|&query| query as i64).collect();
        let picked = Tensor::from_slice(&picked).to_device(queries.device());
        let similarities = queries.index_select(0, &picked).matmul(&gallery.tr());
        let block = &mut block[..asked.len() * total];
        similarities.to_device(Device::Cpu).copy_data(block, asked.len() * total);
        let (block, wanted) = (&*block, &wanted);
        let share = asked.len().div_ceil(cores);
        thread::scope(|scope| {
            let parts = asked.chunks(share).zip(found.chunks_mut(share));
            for ((asked, found), rows) in parts.zip(block.chunks(share * total)) {
                scope.spawn(move || {
                    for ((&query, found), row) in asked.iter().zip(found).zip(rows.chunks(total)) {
                        *found = ranks_in(row, &wanted(query));
                    }
                });
            }
        });
    }
    found
}

/// The ranks of one query's relevant rows, ascending, from its similarity to every row.
pub fn ranks_in(similarities: &[f32], wanted: &Wanted) -> Vec<usize> {
    let keys = |rows: &[usize]| -> Vec<u64> {
        rows.iter().map(|&row| key(similarities[row], row)).collect()
    };
    let mut relevant = keys(&wanted.relevant);
    relevant.sort_unstable();
    let outdone = |key: u64| relevant.partition_point(|other| *other < key);
    // How many images come before just so many of the relevant ones, beginning with the last.
    let mut before = vec![0usize; relevant.len() + 1];
    for (row, &similarity) in similarities.iter().enumerate() {
        before[outdone(key(similarity, row))] += 1;
    }
    for ignored in keys(&wanted.ignored) {
        before[outdone(ignored)] -= 1;
    }
    let counted = before[1..].iter().rev().scan(0, |sum, count| {
        *sum += count;
        Some(*sum + 1)
    });
    // What comes before the best relevant image comes before all of them.
    counted.collect()
}

/// Larger for what is ranked earlier: first by similarity, then by row.
fn key(similarity: f32, row: usize) -> u64 {
    // −0 and 0 are equally similar.
    let bits = (similarity + 0.0).to_bits();
    // The bits of floats are in the order of the numbers, but for the negative ones, which run backwards.
    let ordered = if bits >> 31 == 1 { !bits } else { bits | (1 << 31) };
    (u64::from(ordered) << 32) | u64::from(u32::MAX - row as u32)
}

/// Average precision: the precision at the rank of each relevant image, averaged over them.
pub fn average_precision(ranks: &[usize]) -> f64 {
    let precisions = ranks.iter().enumerate().map(|(before, &rank)| share(before + 1, rank));
    precisions.sum::<f64>() / ranks.len() as f64
}

/// The area under precision over recall by the trapezoid rule, as the Oxford and Paris benchmarks compute it (Radenović
/// 2018): the precision just before a relevant image and at it, averaged. Lower than [`average_precision`] but for a
/// perfect ranking.
pub fn trapezoid(ranks: &[usize]) -> f64 {
    let areas = ranks.iter().enumerate().map(|(before, &rank)| {
        let just_before = if rank == 1 { 1.0 } else { share(before, rank - 1) };
        f64::midpoint(just_before, share(before + 1, rank))
    });
    areas.sum::<f64>() / ranks.len() as f64
}

/// 1 / the rank of the first relevant image.
pub fn reciprocal_rank(ranks: &[usize]) -> f64 {
    ranks.first().map_or(0.0, |&rank| share(1, rank))
}

/// 1 where a relevant image is among the first k, else 0.
pub fn hit_at(ranks: &[usize], k: usize) -> f64 {
    f64::from(u8::from(within(ranks, k) > 0))
}

/// The share of the relevant images that are among the first k.
pub fn recall_at(ranks: &[usize], k: usize) -> f64 {
    share(within(ranks, k), ranks.len())
}

/// The share of the first k that are relevant; a shorter ranking still counts as k.
pub fn precision_at(ranks: &[usize], k: usize) -> f64 {
    share(within(ranks, k), k)
}

/// mP@k of the revisited benchmarks: the share of the first k' that are relevant, k' = min(k, the rank of the last relevant
/// image).
pub fn precision_before_the_last(ranks: &[usize], k: usize) -> f64 {
    let k = k.min(ranks.last().copied().unwrap_or(k));
    share(within(ranks, k), k)
}

fn within(ranks: &[usize], k: usize) -> usize {
    ranks.partition_point(|rank| *rank <= k)
}

fn share(part: usize, whole: usize) -> f64 {
    part as f64 / whole as f64
}

#[cfg(test)]
mod tests {
    use tch::Kind;

    use super::*;

    /// The sheet prints six decimals.
    const PRINTED: f64 = 5e-7;

    #[test]
    fn average_precisions_have_their_published_values() {
        // Ranks of the hits of lists such as 1, 0, 1, 0, 0, 1.
        let cases: [(&[usize], f64, f64, f64); 4] = [
            (&[1, 3, 6], 0.722_222, 0.677_778, 1.0),
            (&[2, 3], 0.583_333, 0.416_667, 0.5),
            (&[4], 0.25, 0.125, 0.25),
            (&[1, 2, 3], 1.0, 1.0, 1.0),
        ];
        for (ranks, standard, area, reciprocal) in cases {
            assert!((average_precision(ranks) - standard).abs() < PRINTED, "{ranks:?}");
            assert!((trapezoid(ranks) - area).abs() < PRINTED, "{ranks:?}");
            assert!((reciprocal_rank(ranks) - reciprocal).abs() < PRINTED, "{ranks:?}");
        }
    }

    #[test]
    fn hits_recall_and_precision_are_three_things() {
        let ranks = [2, 3, 9];
        assert_eq!([1, 2, 3].map(|k| hit_at(&ranks, k)), [0.0, 1.0, 1.0]);
        assert_eq!([1, 3, 9].map(|k| recall_at(&ranks, k)), [0.0, 2.0 / 3.0, 1.0]);
        assert_eq!([1, 4, 10].map(|k| precision_at(&ranks, k)), [0.0, 0.5, 0.3]);
        assert_eq!([4, 10].map(|k| precision_before_the_last(&ranks, k)), [0.5, 1.0 / 3.0]);
    }

    #[test]
    fn equals_are_ranked_by_row_and_the_ignored_are_not_there() {
        let similarities = [0.5, -0.0, 0.5, 0.9, 0.0, -0.5];
        let ranks = |relevant: &[usize], ignored: &[usize]| {
            ranks_in(
                &similarities,
                &Wanted { relevant: relevant.to_vec(), ignored: ignored.to_vec() },
            )
        };
        // In order: 3, 0, 2, 1, 4, 5.
        assert_eq!(ranks(&[5, 2, 4], &[]), [3, 5, 6]);
        assert_eq!(ranks(&[1, 0], &[]), [2, 4]);
        assert_eq!(ranks(&[5, 2, 4], &[3, 1]), [2, 3, 4]);
    }

    #[test]
    fn counted_ranks_are_those_of_a_sorted_list_over_several_blocks() {
        tch::manual_seed(3);
        // Rounded, so that many similarities are equal; 20 queries of a gallery so large are two blocks or more.
        let total = 600_000;
        let gallery = Tensor::randint(5, [total, 2], (Kind::Float, Device::Cpu)) - 2.0;
        let queries = Tensor::randint(5, [20, 2], (Kind::Float, Device::Cpu)) - 2.0;
        let asked: Vec<usize> = (0..20).rev().collect();
        let relevant = |query: usize| (query..total as usize).step_by(100_003).collect::<Vec<_>>();
        let wanted =
            |query: usize| Wanted { relevant: relevant(query), ignored: vec![query + 50_000] };
        let found = ranks(&queries, &gallery, &asked, wanted);
        for (&query, found) in asked.iter().zip(&found).step_by(6) {
            let row = gallery.mv(&queries.get(query as i64));
            let row = Vec::<f32>::try_from(row + 0.0).unwrap();
            let mut order: Vec<usize> =
                (0..total as usize).filter(|row| *row != query + 50_000).collect();
            order.sort_by(|&a, &b| row[b].total_cmp(&row[a]));
            let mut places = vec![0; total as usize];
            for (place, row) in order.into_iter().enumerate() {
                places[row] = place + 1;
            }
            let mut sorted: Vec<usize> = relevant(query).iter().map(|&row| places[row]).collect();
            sorted.sort_unstable();
            assert_eq!(found, &sorted, "query {query}");
        }
    }
}
