//! k-means: centres that lie in the middle of what is nearest to them (Lloyd 1982), from spread-out first centres (Arthur
//! and Vassilvitskii 2007).
//!
//! Similarities are computed in f32, where the time goes; centres and the inertia in f64, row by row in order.

use pixels::draw::{Draw, Purpose, Stream};
use tch::{Device, Kind, Tensor};

use super::ClusteringConfig;

/// Numbers of a block of similarities: 32 MiB.
const BLOCK: usize = 1 << 23;

/// A run has converged when the centres move by less than this share of the features' mean variance: the sum of their
/// squared shifts, and scikit-learn's default.
const TOLERANCE: f64 = 1e-4;

/// Rows to be clustered.
pub struct Points {
    /// `[N, D]`, f32, on its device.
    x: Tensor,
    /// The same numbers, on the CPU.
    values: Vec<f32>,
    width: usize,
    /// Where `converged` begins.
    tolerance: f64,
}

/// What a run of k-means found.
#[derive(Clone, Debug)]
pub struct Clusters {
    /// The cluster of each row: the one whose centre is nearest.
    pub assigned: Vec<u32>,
    /// `[K, D]`
    pub centres: Vec<f64>,
    /// The sum of the squared distances of all rows to their centres.
    pub inertia: f64,
    /// How often all rows were assigned and all centres moved.
    pub iterations: usize,
    pub converged: bool,
}

impl Points {
    /// `x [N, D]`, finite, with one row and one column or more; it stays on its device.
    pub fn new(x: &Tensor) -> Self {
        let x = x.to_kind(Kind::Float).contiguous();
        let (rows, width) = (x.size()[0] as usize, x.size()[1] as usize);
        let mut values = vec![0.0; rows * width];
        x.to_device(Device::Cpu).copy_data(&mut values, rows * width);
        let variance = x.var_dim([0i64].as_slice(), false, false).mean(Kind::Double);
        let tolerance = TOLERANCE * variance.double_value(&[]);
        Self { x, values, width, tolerance }
    }

    fn rows(&self) -> impl ExactSizeIterator<Item = &[f32]> {
        self.values.chunks_exact(self.width)
    }

    fn row(&self, row: usize) -> &[f32] {
        &self.values[row * self.width..][..self.width]
    }

    fn centres(&self, rows: &[usize]) -> Vec<f64> {
        rows.iter().flat_map(|&row| self.row(row)).copied().map(f64::from).collect()
    }

    /// `[K, D]` in f32 where the points are.
    fn on_device(&self, centres: &[f64]) -> Tensor {
        let centres: Vec<f32> = centres.iter().map(|&number| number as f32).collect();
        Tensor::from_slice(&centres).view([-1, self.width as i64]).to_device(self.x.device())
    }
}

/// The run of the lowest inertia, of `config.restarts` (the first of equal ones). `clusters` is at most the number of rows.
pub fn best_of(points: &Points, clusters: usize, config: &ClusteringConfig) -> Clusters {
    let mut seeds = first_centres(points, clusters, config.restarts, config.seed).into_iter();
    let mut run = || {
        let seeds = seeds.next()?;
        Some(lloyd(points, points.centres(&seeds), config.iterations))
    };
    let mut best = run().unwrap_or_else(|| lloyd(points, points.centres(&[0]), 0));
    while let Some(other) = run() {
        if other.inertia < best.inertia {
            best = other;
        }
    }
    best
}

/// Moves `centres` `[K, D]` to the middle of the rows nearest to them until they stay where they are, at most `iterations`
/// times. A centre that has no row takes the row farthest from its own centre, out of a cluster of two rows or more; where
/// all rows lie on their centres it stays without.
pub fn lloyd(points: &Points, mut centres: Vec<f64>, iterations: usize) -> Clusters {
    let clusters = centres.len() / points.width;
    let (mut done, mut converged) = (0, false);
    while done < iterations && !converged {
        let mut assigned = assign(points, &centres);
        fill_empty(points, &centres, &mut assigned, clusters);
        let moved = middles(points, &centres, &assigned);
        let shift: f64 = moved.iter().zip(&centres).map(|(a, b)| (a - b).powi(2)).sum();
        centres = moved;
        done += 1;
        converged = shift <= points.tolerance;
    }
    let assigned = assign(points, &centres);
    let inertia = distances(points, &centres, &assigned).sum();
    Clusters { assigned, centres, inertia, iterations: done, converged }
}

/// The nearest centre of each row.
fn assign(points: &Points, centres: &[f64]) -> Vec<u32> {
    let centres = points.on_device(centres);
    // ‖x − c‖² is least where x·c − ‖c‖²/2 is largest.
    let half = centres.square().sum_dim_intlist([1i64].as_slice(), false, Kind::Float) * 0.5;
    let rows = (BLOCK / centres.size()[0] as usize).max(1) as i64;
    let mut assigned = Vec::with_capacity(points.rows().len());
    for block in points.x.split(rows, 0) {
        let nearest = (block.matmul(&centres.tr()) - &half).argmax(1, false);
        let nearest = nearest.to_device(Device::Cpu);
        let mut numbers = vec![0i64; block.size()[0] as usize];
        nearest.copy_data(&mut numbers, block.size()[0] as usize);
        assigned.extend(numbers.into_iter().map(|number| number as u32));
    }
    assigned
}

/// The mean of the rows of each cluster; where there are none, the old centre.
fn middles(points: &Points, centres: &[f64], assigned: &[u32]) -> Vec<f64> {
    let width = points.width;
    let mut sums = vec![0.0; centres.len()];
    let mut counts = vec![0usize; centres.len() / width];
    for (row, &cluster) in points.rows().zip(assigned) {
        counts[cluster as usize] += 1;
        let sum = &mut sums[cluster as usize * width..][..width];
        for (sum, number) in sum.iter_mut().zip(row) {
            *sum += f64::from(*number);
        }
    }
    for ((sum, old), &count) in
        sums.chunks_exact_mut(width).zip(centres.chunks_exact(width)).zip(&counts)
    {
        if count == 0 {
            sum.copy_from_slice(old);
        } else {
            for number in sum {
                *number /= count as f64;
            }
        }
    }
    sums
}

/// Gives each empty cluster a row: see [`lloyd`].
fn fill_empty(points: &Points, centres: &[f64], assigned: &mut [u32], clusters: usize) {
    let mut counts = vec![0usize; clusters];
    for &cluster in assigned.iter() {
        counts[cluster as usize] += 1;
    }
    if counts.iter().all(|&count| count > 0) {
        return;
    }
    let mut far: Vec<(f64, usize)> =
        distances(points, centres, assigned).zip(0..).filter(|(far, _)| *far > 0.0).collect();
    // The farthest last; of equally far ones the lower row.
    far.sort_by(|a, b| a.0.total_cmp(&b.0).then(b.1.cmp(&a.1)));
    for cluster in 0..clusters {
        while counts[cluster] == 0
            && let Some((_, row)) = far.pop()
        {
            let from = assigned[row] as usize;
            if counts[from] > 1 {
                counts[from] -= 1;
                counts[cluster] = 1;
                assigned[row] = cluster as u32;
            }
        }
    }
}

/// The squared distance of each row to the centre of its cluster.
fn distances<'a>(
    points: &'a Points,
    centres: &'a [f64],
    assigned: &'a [u32],
) -> impl Iterator<Item = f64> + 'a {
    points.rows().zip(assigned).map(|(row, &cluster)| {
        let centre = &centres[cluster as usize * points.width..][..points.width];
        row.iter().zip(centre).map(|(x, c)| (f64::from(*x) - c).powi(2)).sum()
    })
}

/// The rows that are the first centres of each run: the first at random, every other with a probability in proportion to its
/// squared distance from the nearest one chosen before (k-means++). All runs choose together, for one pass over the rows
/// serves them all; their draws are apart.
fn first_centres(points: &Points, clusters: usize, runs: usize, seed: u64) -> Vec<Vec<usize>> {
    let n = points.rows().len();
    let stream =
        |run: usize| Draw { epoch: run as u64, ..Draw::of_seed(seed) }.stream(Purpose::Training);
    let mut streams: Vec<Stream> = (0..runs).map(stream).collect();
    let mut chosen = vec![Vec::with_capacity(clusters); runs];
    let mut far = vec![vec![f32::INFINITY; n]; runs];
    let squares = points.x.square().sum_dim_intlist([1i64].as_slice(), true, Kind::Float);
    for number in 0..clusters {
        let mut newest = Vec::with_capacity(runs);
        for ((stream, chosen), far) in streams.iter_mut().zip(&mut chosen).zip(&far) {
            let row = if number == 0 {
                stream.below(n as u64) as usize
            } else {
                in_proportion(far, stream.uniform())
            };
            chosen.push(row);
            newest.push(row as i64);
        }
        let newest = Tensor::from_slice(&newest).to_device(points.x.device());
        let centres = points.x.index_select(0, &newest);
        let sums = &squares + squares.index_select(0, &newest).tr();
        let apart: Tensor = &sums - points.x.matmul(&centres.tr()) * 2.0;
        // What rounding leaves of zero is zero: a copy of a centre is not chosen again.
        let apart = apart.where_self(&apart.gt_tensor(&(sums * 1e-6)), &Tensor::zeros_like(&apart));
        let apart = apart.tr().contiguous().to_device(Device::Cpu);
        for (run, far) in far.iter_mut().enumerate() {
            let mut row = vec![0f32; n];
            apart.get(run as i64).copy_data(&mut row, n);
            for (far, new) in far.iter_mut().zip(row) {
                *far = far.min(new);
            }
        }
    }
    chosen
}

/// The first row at which the running sum of the weights passes the share `at` (in [0, 1)) of their total; row 0 where all
/// are 0.
fn in_proportion(weights: &[f32], at: f64) -> usize {
    let total: f64 = weights.iter().copied().map(f64::from).sum();
    let mut left = at * total;
    let mut last = 0;
    for (row, &weight) in weights.iter().enumerate().filter(|(_, weight)| **weight > 0.0) {
        left -= f64::from(weight);
        last = row;
        if left < 0.0 {
            break;
        }
    }
    last
}

#[cfg(test)]
mod tests {
    use super::*;

    const ROWS: [[f32; 2]; 8] = [
        [0.0, 0.0],
        [0.0, 1.0],
        [1.0, 0.0],
        [5.0, 5.0],
        [5.0, 6.0],
        [6.0, 5.0],
        [9.0, 0.0],
        [9.5, 0.5],
    ];

    fn points(rows: &[[f32; 2]]) -> Points {
        Points::new(&Tensor::from_slice(&rows.concat()).view([-1, 2]))
    }

    fn close(found: &[f64], wanted: &[f64]) {
        for (found, wanted) in found.iter().zip(wanted) {
            // The sheet prints four decimals of centres.
            assert!((found - wanted).abs() < 5e-5, "{found} is not {wanted}");
        }
    }

    #[test]
    fn given_centres_end_where_published_ones_do() {
        let points = points(&ROWS);
        let found = lloyd(&points, points.centres(&[0, 6, 3]), 300);
        assert!((found.inertia - 2.916_666_67).abs() < 1e-8, "{found:?}");
        close(&found.centres, &[0.3333, 0.3333, 9.25, 0.25, 5.3333, 5.3333]);
        assert!(found.converged && found.iterations < 5);
        let stuck = lloyd(&points, points.centres(&[0, 2, 3]), 300);
        assert!((stuck.inertia - 51.5).abs() < 1e-8, "{stuck:?}");
        close(&stuck.centres, &[0.0, 0.5, 1.0, 0.0, 6.9, 3.3]);
    }

    #[test]
    fn restarts_find_the_global_optimum_and_repeat_for_a_seed() {
        let points = points(&ROWS);
        let config = ClusteringConfig::default();
        let found = best_of(&points, 3, &config);
        assert!((found.inertia - 2.916_666_67).abs() < 1e-8, "{found:?}");
        assert_eq!(best_of(&points, 3, &config).assigned, found.assigned);
        let seeds = |seed| first_centres(&points, 3, 4, seed);
        assert_eq!(seeds(1), seeds(1));
        assert_ne!(seeds(1), seeds(2));
        // A run's draws do not depend on how many there are.
        assert_eq!(first_centres(&points, 3, 2, 1)[..], seeds(1)[..2]);
    }

    #[test]
    fn first_centres_are_different_rows_where_there_are_enough() {
        let rows: Vec<[f32; 2]> =
            (0..30).map(|i| [(i % 5) as f32 * 0.1 + 0.3, (i % 5) as f32 * 0.7]).collect();
        for mut chosen in first_centres(&points(&rows), 5, 20, 0) {
            for row in &mut chosen {
                *row %= 5;
            }
            chosen.sort_unstable();
            assert_eq!(chosen, [0, 1, 2, 3, 4]);
        }
    }

    #[test]
    fn far_rows_are_chosen_in_proportion_to_their_squared_distance() {
        let weights = [0.0, 1.0, 0.0, 3.0];
        assert_eq!(
            [0.0, 0.2499, 0.2501, 0.9999].map(|at| in_proportion(&weights, at)),
            [1, 1, 3, 3]
        );
        assert_eq!(in_proportion(&[0.0, 0.0], 0.5), 0);
    }

    #[test]
    fn an_empty_cluster_takes_the_farthest_row() {
        let points = points(&ROWS);
        // The third centre is nearest to nothing.
        let centres = vec![0.0, 0.0, 6.0, 4.0, 100.0, 100.0];
        let mut assigned = assign(&points, &centres);
        assert_eq!(assigned, [0, 0, 0, 1, 1, 1, 1, 1]);
        fill_empty(&points, &centres, &mut assigned, 3);
        assert_eq!(assigned, [0, 0, 0, 1, 1, 1, 2, 1]);
        let found = lloyd(&points, centres, 300);
        assert!((found.inertia - 2.916_666_67).abs() < 1e-8, "{found:?}");
    }

    #[test]
    fn as_many_clusters_as_rows_have_no_inertia() {
        let points = points(&ROWS);
        let found = best_of(&points, 8, &ClusteringConfig::default());
        assert_eq!(found.inertia, 0.0);
    }
}
