//! Patches hidden in squares of one grid (Xie 2022, SimMIM).

use pixels::draw::{Draw, Purpose};

/// The hidden patches of one image, row by row: true where hidden. ⌈ratio · n⌉ of the n squares of `cell × cell` patches are hidden, as
/// in the authors' code; squares at the right and lower edge are cut where the grid is no multiple of them.
///
/// `at` is the image's address, see [`address`](super::address).
pub fn hidden([rows, columns]: [usize; 2], cell: usize, ratio: f64, at: Draw) -> Vec<bool> {
    let across = columns.div_ceil(cell);
    let cells = rows.div_ceil(cell) * across;
    let count = ((ratio * cells as f64).ceil() as usize).min(cells);
    let mut chosen = vec![false; cells];
    for place in at.stream(Purpose::Mask).permutation(cells).into_iter().take(count) {
        chosen[place] = true;
    }
    let of = |patch: usize| chosen[patch / columns / cell * across + patch % columns / cell];
    (0..rows * columns).map(of).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    const AT: Draw = Draw { seed: 1, epoch: 2, sample: 3, view: 0 };

    fn count(mask: &[bool]) -> usize {
        mask.iter().filter(|hidden| **hidden).count()
    }

    #[test]
    fn three_fifths_of_the_cells_are_hidden_rounded_up() {
        // Images of 224 and of 192 pixels, cells of 32 and patches of 16: 30 of 49 and 22 of 36.
        assert_eq!(count(&hidden([14, 14], 2, 0.6, AT)), 30 * 4);
        assert_eq!(count(&hidden([12, 12], 2, 0.6, AT)), 22 * 4);
        assert_eq!(count(&hidden([8, 8], 2, 0.6, AT)), 10 * 4);
        assert_eq!(count(&hidden([8, 8], 1, 0.6, AT)), 39);
        assert_eq!(count(&hidden([2, 2], 4, 0.6, AT)), 4);
    }

    #[test]
    fn a_cell_is_hidden_as_a_whole() {
        for (rows, columns, cell) in [(14, 14, 2), (12, 12, 3), (7, 5, 2)] {
            let mask = hidden([rows, columns], cell, 0.6, AT);
            assert_eq!(mask.len(), rows * columns);
            for patch in 0..rows * columns {
                let (row, column) = (patch / columns / cell * cell, patch % columns / cell * cell);
                assert_eq!(mask[patch], mask[row * columns + column]);
            }
        }
    }

    #[test]
    fn every_part_of_the_address_gives_another_mask_and_one_address_one() {
        let of = |at| hidden([14, 14], 2, 0.6, at);
        assert_eq!(of(AT), of(AT));
        for other in [
            Draw { seed: 9, ..AT },
            Draw { epoch: 9, ..AT },
            Draw { sample: 9, ..AT },
            Draw { view: 1, ..AT },
        ] {
            assert_ne!(of(AT), of(other));
        }
    }
}
