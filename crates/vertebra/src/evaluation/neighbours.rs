//! Exact nearest neighbours by cosine similarity, without the whole matrix of similarities in memory.
//!
//! Every thread takes a block of queries at a time, multiplies it with block after block of candidates, and looks through
//! the similarities while they are in its cache. A product is computed by one thread whatever their number, so that the
//! numbers, and with them the order of near equals, are always the same.

use std::panic::resume_unwind;
use std::sync::atomic::{AtomicI64, Ordering};
use std::thread;

use tch::{Device, Kind, Tensor};

/// Queries and candidates of one block of similarities: 1 MiB, which stays in a core's cache.
const QUERIES: i64 = 128;
const CANDIDATES: i64 = 2048;

/// Similarities that are compared with the farthest neighbour at once.
const LANES: usize = 32;

/// A row of a table and how near it is.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Neighbour {
    pub row: usize,
    /// Cosine of the angle, −1 to 1.
    pub similarity: f32,
}

/// The rows of `x [N, D]` divided by their Euclidean norm; a row of zeros stays zero.
pub fn normalise_rows(x: &Tensor) -> Tensor {
    let norms = x.square().sum_dim_intlist([1i64].as_slice(), true, Kind::Float).sqrt();
    x / norms.clamp_min(1e-12)
}

/// For each of the rows `queries` of `x [N, D]`, its `k` nearest other rows, nearest first.
pub fn of_rows(x: &Tensor, queries: &[usize], k: usize) -> Vec<Vec<Neighbour>> {
    let x = normalise_rows(&x.to_kind(Kind::Float));
    let rows: Vec<i64> = queries.iter().map(|&row| row as i64).collect();
    let wanted = x.index_select(0, &Tensor::from_slice(&rows).to_device(x.device()));
    let mut found = Vec::with_capacity(queries.len());
    // One more than asked for: the query finds itself, unless k copies of it come before.
    nearest(&wanted, &x, k + 1, |query, neighbours| {
        let others = neighbours.iter().filter(|neighbour| neighbour.row != queries[query]);
        found.push(others.take(k).copied().collect());
    });
    found
}

/// For each row of `queries [Q, D]`, its `k` nearest rows of `candidates [M, D]`, nearest first.
pub fn between(queries: &Tensor, candidates: &Tensor, k: usize) -> Vec<Vec<Neighbour>> {
    let [queries, candidates] =
        [queries, candidates].map(|x| normalise_rows(&x.to_kind(Kind::Float)));
    let mut found = Vec::new();
    nearest(&queries, &candidates, k, |_, neighbours| found.push(neighbours.to_vec()));
    found
}

/// Calls `found` with each query's `k` nearest candidates in the queries' order, nearest first; of equally near ones the
/// lower row comes first. `queries [Q, D]` and `candidates [M, D]` hold finite rows of length one. Fewer than `k` only
/// where M < k.
pub(crate) fn nearest(
    queries: &Tensor,
    candidates: &Tensor,
    k: usize,
    mut found: impl FnMut(usize, &[Neighbour]),
) {
    let [queries, candidates] = [queries, candidates].map(|x| x.to_device(Device::Cpu));
    let blocks = (queries.size()[0] + QUERIES - 1) / QUERIES;
    let next = AtomicI64::new(0);
    let alone = OneThreadEach::begin();
    let work = &|mut search: Search| -> Vec<_> {
        let numbers = std::iter::repeat_with(|| next.fetch_add(1, Ordering::Relaxed));
        numbers.take_while(|&it| it < blocks).map(|it| (it, search.block(it))).collect()
    };
    let mut lists: Vec<(i64, Vec<Vec<Neighbour>>)> = thread::scope(|scope| {
        let start = |_| {
            let (queries, candidates) = (queries.shallow_clone(), candidates.shallow_clone());
            let search = Search { queries, candidates, k, similarities: Vec::new() };
            scope.spawn(move || work(search))
        };
        let threads: Vec<_> = (0..blocks.min(alone.threads)).map(start).collect();
        threads
            .into_iter()
            .flat_map(|it| it.join().unwrap_or_else(|it| resume_unwind(it)))
            .collect()
    });
    lists.sort_unstable_by_key(|(block, _)| *block);
    for (query, list) in lists.iter().flat_map(|(_, lists)| lists).enumerate() {
        found(query, list);
    }
}

/// While this lives, libtorch computes on the thread that asks.
struct OneThreadEach {
    /// How many it had before.
    threads: i64,
}

impl OneThreadEach {
    fn begin() -> Self {
        let threads = tch::get_num_threads().max(1);
        tch::set_num_threads(1);
        Self { threads: threads.into() }
    }
}

impl Drop for OneThreadEach {
    fn drop(&mut self) {
        tch::set_num_threads(self.threads as i32);
    }
}

/// The search of one thread.
struct Search {
    queries: Tensor,
    candidates: Tensor,
    k: usize,
    /// Of one block, row by row.
    similarities: Vec<f32>,
}

impl Search {
    /// The neighbours of each query of a block.
    fn block(&mut self, number: i64) -> Vec<Vec<Neighbour>> {
        let first = number * QUERIES;
        let rows = QUERIES.min(self.queries.size()[0] - first);
        let queries = self.queries.narrow(0, first, rows);
        let total = self.candidates.size()[0];
        let mut lists = vec![Vec::with_capacity(self.k + 1); rows as usize];
        for offset in (0..total).step_by(CANDIDATES as usize) {
            let width = CANDIDATES.min(total - offset);
            let product = queries.matmul(&self.candidates.narrow(0, offset, width).tr());
            let numbers = (rows * width) as usize;
            self.similarities.resize(numbers, 0.0);
            product.copy_data(&mut self.similarities, numbers);
            let rows = self.similarities.chunks_exact(width as usize);
            for (best, row) in lists.iter_mut().zip(rows) {
                keep_nearest(best, self.k, row, offset as usize);
            }
        }
        lists
    }
}

/// Merges the similarities of candidates `offset..` into a list of the `k` best, nearest first.
fn keep_nearest(best: &mut Vec<Neighbour>, k: usize, similarities: &[f32], offset: usize) {
    let mut worst = farthest(best, k);
    for (number, chunk) in similarities.chunks(LANES).enumerate() {
        // Almost always none is: counted without a branch, many at once.
        let nearer: u32 = chunk.iter().map(|&similarity| u32::from(similarity > worst)).sum();
        if nearer > 0 {
            insert(best, k, chunk, offset + number * LANES);
            worst = farthest(best, k);
        }
    }
}

/// What a candidate must be nearer than.
fn farthest(best: &[Neighbour], k: usize) -> f32 {
    match best.last() {
        Some(last) if best.len() >= k => last.similarity,
        None if k == 0 => f32::INFINITY,
        _ => f32::NEG_INFINITY,
    }
}

#[cold]
fn insert(best: &mut Vec<Neighbour>, k: usize, similarities: &[f32], offset: usize) {
    for (index, &similarity) in similarities.iter().enumerate() {
        // Strictly nearer: rows come in order, so the earlier of two equals stays ahead.
        if similarity > farthest(best, k) {
            let place = best.partition_point(|other| other.similarity >= similarity);
            best.insert(place, Neighbour { row: offset + index, similarity });
            best.truncate(k);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn random(rows: i64, width: i64) -> Tensor {
        normalise_rows(&Tensor::randn([rows, width], (Kind::Float, Device::Cpu)))
    }

    fn search(queries: &Tensor, candidates: &Tensor, k: usize) -> Vec<Vec<Neighbour>> {
        let mut lists = Vec::new();
        nearest(queries, candidates, k, |query, list| {
            assert_eq!(query, lists.len());
            lists.push(list.to_vec());
        });
        lists
    }

    #[test]
    fn blocks_find_what_one_whole_matrix_finds() {
        tch::manual_seed(1);
        let (queries, candidates) = (random(300, 4), random(9000, 4));
        let (_, order) = queries.matmul(&candidates.tr()).topk(5, 1, true, true);
        for (query, neighbours) in search(&queries, &candidates, 5).iter().enumerate() {
            let wanted = Vec::<i64>::try_from(order.get(query as i64)).unwrap();
            let rows: Vec<i64> = neighbours.iter().map(|neighbour| neighbour.row as i64).collect();
            assert_eq!(rows, wanted, "query {query}");
        }
    }

    #[test]
    fn equals_keep_the_order_of_their_rows() {
        let mut best = Vec::new();
        keep_nearest(&mut best, 3, &[0.5, 0.9, 0.5], 0);
        keep_nearest(&mut best, 3, &[0.5, 0.9], 3);
        assert_eq!(best.iter().map(|neighbour| neighbour.row).collect::<Vec<_>>(), [1, 4, 0]);
        // Across chunks and blocks: the same row a thousand times.
        let candidates = Tensor::from_slice(&[1.0f32, 0.0]).repeat([3 * CANDIDATES]);
        let rows = candidates.view([-1, 2]);
        let lists = search(&rows.narrow(0, 0, 3), &rows, 4);
        for list in lists {
            assert_eq!(list.iter().map(|it| it.row).collect::<Vec<_>>(), [0, 1, 2, 3]);
        }
    }

    #[test]
    fn the_number_of_threads_changes_no_bit() {
        tch::manual_seed(2);
        let (queries, candidates) = (random(700, 33), random(3000, 33));
        let threads = tch::get_num_threads();
        let found: Vec<_> = [1, 2, 5]
            .map(|threads| {
                tch::set_num_threads(threads);
                let lists = search(&queries, &candidates, 7);
                assert_eq!(tch::get_num_threads(), threads, "the number is put back");
                lists
            })
            .into();
        tch::set_num_threads(threads);
        assert!(found.iter().all(|lists| *lists == found[0]));
    }

    #[test]
    fn there_are_no_more_neighbours_than_candidates() {
        let lists = search(&random(2, 3), &random(4, 3), 9);
        assert!(lists.iter().all(|list| list.len() == 4));
        assert!(search(&random(0, 3), &random(4, 3), 9).is_empty());
        assert!(search(&random(2, 3), &random(4, 3), 0).iter().all(Vec::is_empty));
    }

    #[test]
    fn a_query_is_not_its_own_neighbour() {
        let x = Tensor::from_slice(&[1.0f32, 0.0, 2.0, 0.1, 0.0, 3.0, 1.0, 0.0]).view([4, 2]);
        let found = of_rows(&x, &[3, 2], 2);
        let rows = |query: usize| found[query].iter().map(|n| n.row).collect::<Vec<_>>();
        assert_eq!(rows(0), [0, 1]);
        assert_eq!(rows(1), [1, 0]);
        assert_eq!(found[0][0].similarity, 1.0);
    }
}
