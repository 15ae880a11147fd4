//! The best one-to-one naming of clusters (Kuhn 1955, in the O(n³) form with potentials of Jonker and Volgenant 1987).

use super::Contingency;

/// For each cluster the class that it stands for, so that as many items as possible are right; `None` for clusters beyond
/// the number of classes. Each class is given once at most.
pub fn best_matching(table: &Contingency) -> Vec<Option<u32>> {
    let n = table.classes().max(table.clusters());
    // A square of costs; what the table does not have costs as much as no item right.
    let cost = |cluster: usize, class: usize| -> i64 {
        if cluster < table.clusters() && class < table.classes() {
            -(table.count(class, cluster) as i64)
        } else {
            0
        }
    };
    let class_of = assign(n, cost);
    let named = class_of.into_iter().take(table.clusters());
    named.map(|class| (class < table.classes()).then_some(class as u32)).collect()
}

/// For each of n rows a column of its own, of the least total cost.
fn assign(n: usize, cost: impl Fn(usize, usize) -> i64) -> Vec<usize> {
    // Rows and columns count from 1; the column 0 holds the row that looks for a place.
    let (mut of_row, mut of_column) = (vec![0i64; n + 1], vec![0i64; n + 1]);
    let mut row_at = vec![0usize; n + 1];
    let mut way = vec![0usize; n + 1];
    for row in 1..=n {
        row_at[0] = row;
        let mut column = 0;
        let mut least = vec![i64::MAX; n + 1];
        let mut visited = vec![false; n + 1];
        // The shortest path to a free column, after Dijkstra.
        while row_at[column] != 0 {
            visited[column] = true;
            let (here, mut step, mut next) = (row_at[column], i64::MAX, 0);
            for other in (1..=n).filter(|&other| !visited[other]) {
                let reduced = cost(here - 1, other - 1) - of_row[here] - of_column[other];
                if reduced < least[other] {
                    (least[other], way[other]) = (reduced, column);
                }
                if least[other] < step {
                    (step, next) = (least[other], other);
                }
            }
            for other in 0..=n {
                if visited[other] {
                    of_row[row_at[other]] += step;
                    of_column[other] -= step;
                } else if other > 0 {
                    least[other] -= step;
                }
            }
            column = next;
        }
        // Everyone on the path moves up by one.
        while column != 0 {
            row_at[column] = row_at[way[column]];
            column = way[column];
        }
    }
    let mut column_of = vec![0; n];
    for column in 1..=n {
        column_of[row_at[column] - 1] = column - 1;
    }
    column_of
}

#[cfg(test)]
mod tests {
    use pixels::draw::{Draw, Purpose};

    use super::*;

    fn permutations(n: usize) -> Vec<Vec<usize>> {
        if n == 0 {
            return vec![Vec::new()];
        }
        let shorter = permutations(n - 1);
        let insert = |at: usize| {
            shorter.iter().map(move |it| {
                let mut longer = it.clone();
                longer.insert(at, n - 1);
                longer
            })
        };
        (0..n).flat_map(insert).collect()
    }

    #[test]
    fn no_permutation_is_cheaper() {
        let mut stream = Draw::of_seed(5).stream(Purpose::Training);
        for n in 1..=6 {
            for _ in 0..20 {
                let costs: Vec<i64> = (0..n * n).map(|_| stream.below(9) as i64 - 4).collect();
                let total = |columns: &[usize]| -> i64 {
                    columns.iter().enumerate().map(|(row, column)| costs[row * n + column]).sum()
                };
                let found = assign(n, |row, column| costs[row * n + column]);
                let best = permutations(n).iter().map(|it| total(it)).min().unwrap();
                assert_eq!(total(&found), best, "{costs:?}");
                let mut all = found;
                all.sort_unstable();
                assert!(all.into_iter().eq(0..n));
            }
        }
    }

    #[test]
    fn a_greedy_naming_would_be_worse() {
        // Taking the largest count (9) first leaves 0 of the rest: 9; crossing gives 8 + 7.
        let pairs = [(0, 0, 9), (0, 1, 8), (1, 0, 7)];
        let pairs = pairs.iter().flat_map(|&(class, cluster, n)| vec![(class, cluster); n]);
        let table = Contingency::new(pairs, 2, 2);
        assert_eq!(best_matching(&table), [Some(1), Some(0)]);
    }

    #[test]
    fn more_clusters_than_classes_leave_clusters_without_a_name() {
        let pairs = [(0, 0), (0, 2), (0, 2), (1, 1)];
        let table = Contingency::new(pairs.into_iter(), 2, 3);
        assert_eq!(best_matching(&table), [None, Some(1), Some(0)]);
        let flipped = Contingency::new(pairs.into_iter().map(|(a, b)| (b, a)), 3, 2);
        assert_eq!(best_matching(&flipped), [Some(2), Some(1)]);
    }
}
