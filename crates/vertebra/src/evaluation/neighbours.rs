//! Exact nearest neighbours by cosine similarity, without the whole matrix of similarities in memory.

use tch::{Kind, Tensor};

/// Queries and candidates of one block of similarities: 8 MiB.
const QUERIES: i64 = 256;
const CANDIDATES: i64 = 8192;

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

/// Calls `found` with each query's `k` nearest candidates, nearest first; of equally near ones the lower row comes
/// first. `queries [Q, D]` and `candidates [M, D]` hold rows of length one. Fewer than `k` only where M < k.
pub(crate) fn nearest(
    queries: &Tensor,
    candidates: &Tensor,
    k: usize,
    mut found: impl FnMut(usize, &[Neighbour]),
) {
    let (count, total) = (queries.size()[0], candidates.size()[0]);
    let mut block = Vec::new();
    for first in (0..count).step_by(QUERIES as usize) {
        let chunk = queries.narrow(0, first, QUERIES.min(count - first));
        let rows = chunk.size()[0] as usize;
        let mut lists = vec![Vec::new(); rows];
        for offset in (0..total).step_by(CANDIDATES as usize) {
            let width = CANDIDATES.min(total - offset) as usize;
            let similarities = chunk.matmul(&candidates.narrow(0, offset, width as i64).tr());
            block.resize(rows * width, 0.0);
            similarities.to_device(tch::Device::Cpu).copy_data(&mut block, rows * width);
            for (best, row) in lists.iter_mut().zip(block.chunks_exact(width)) {
                keep_nearest(best, k, row, offset as usize);
            }
        }
        for (query, best) in lists.iter().enumerate() {
            found(first as usize + query, best);
        }
    }
}

/// Merges the similarities of candidates `offset..` into a list of the `k` best, nearest first.
fn keep_nearest(best: &mut Vec<Neighbour>, k: usize, similarities: &[f32], offset: usize) {
    let mut worst = if best.len() < k { f32::NEG_INFINITY } else { best[k - 1].similarity };
    for (index, &similarity) in similarities.iter().enumerate() {
        // Strictly nearer: rows come in order, so the earlier of two equals stays ahead.
        if similarity > worst {
            let place = best.partition_point(|other| other.similarity >= similarity);
            best.insert(place, Neighbour { row: offset + index, similarity });
            best.truncate(k);
            if best.len() == k {
                worst = best[k - 1].similarity;
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn blocks_find_what_one_whole_matrix_finds() {
        tch::manual_seed(1);
        let queries = normalise_rows(&Tensor::randn([300, 4], (Kind::Float, tch::Device::Cpu)));
        let candidates = normalise_rows(&Tensor::randn([9000, 4], (Kind::Float, tch::Device::Cpu)));
        let (_, order) = queries.matmul(&candidates.tr()).topk(5, 1, true, true);
        nearest(&queries, &candidates, 5, |query, neighbours| {
            let wanted = Vec::<i64>::try_from(order.get(query as i64)).unwrap();
            let rows: Vec<i64> = neighbours.iter().map(|neighbour| neighbour.row as i64).collect();
            assert_eq!(rows, wanted, "query {query}");
        });
    }

    #[test]
    fn equals_keep_the_order_of_their_rows() {
        let mut best = Vec::new();
        keep_nearest(&mut best, 3, &[0.5, 0.9, 0.5], 0);
        keep_nearest(&mut best, 3, &[0.5, 0.9], 3);
        assert_eq!(best.iter().map(|neighbour| neighbour.row).collect::<Vec<_>>(), [1, 4, 0]);
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
