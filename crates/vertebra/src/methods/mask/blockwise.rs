//! Which patches the student does not see: blocks (Bao 2022, BEiT, algorithm 1), as many as a random share asks for.

use pixels::draw::{Draw, Purpose, Stream};

/// The sides of a block are at most this many times each other.
const ASPECT: f64 = 1.0 / 0.3;
/// Tries to place one block before the mask is left as it is.
const TRIES: usize = 10;

/// The hidden patches of one image, row by row: true where hidden. With `probability` a share of `ratio` (uniform from
/// the first to the second) is hidden, else nothing; blocks that do not fit any more can leave a little less.
///
/// `at` is the image's address, see [`address`](super::address).
pub fn hidden(
    rows: usize,
    columns: usize,
    probability: f64,
    ratio: [f64; 2],
    at: Draw,
) -> Vec<bool> {
    let mut stream = at.stream(Purpose::Mask);
    let mut mask = Mask { rows, columns, hidden: vec![false; rows * columns], count: 0 };
    let asked = stream.chance(probability);
    let wanted = stream.range(ratio[0], ratio[1]) * mask.hidden.len() as f64;
    while asked && (mask.count as f64) < wanted {
        let left = wanted - mask.count as f64;
        if !(0..TRIES).any(|_| mask.hide_a_block(left, &mut stream)) {
            break;
        }
    }
    mask.hidden
}

struct Mask {
    rows: usize,
    columns: usize,
    hidden: Vec<bool>,
    count: usize,
}

impl Mask {
    /// Hides one random block of at most `left` patches that are still seen; false where it does not fit.
    fn hide_a_block(&mut self, left: f64, stream: &mut Stream) -> bool {
        // The authors' least area: a ninth of the image, in whole patches of a side. (Where less is left, the range is
        // from there down to what is left.)
        let least = (self.rows.min(self.columns) / 3).pow(2) as f64;
        let area = stream.range(least, left);
        let aspect = stream.range(-ASPECT.ln(), ASPECT.ln()).exp();
        let height = (area * aspect).sqrt().round() as usize;
        let width = (area / aspect).sqrt().round() as usize;
        if height >= self.rows || width >= self.columns {
            return false;
        }
        let top = stream.below((self.rows - height + 1) as u64) as usize;
        let start = stream.below((self.columns - width + 1) as u64) as usize;
        let block: Vec<usize> = (top..top + height)
            .flat_map(|row| (start..start + width).map(move |column| (row, column)))
            .map(|(row, column)| row * self.columns + column)
            .filter(|&patch| !self.hidden[patch])
            .collect();
        if block.is_empty() || block.len() as f64 > left {
            return false;
        }
        self.count += block.len();
        for patch in block {
            self.hidden[patch] = true;
        }
        true
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const AT: Draw = Draw { seed: 1, epoch: 2, sample: 3, view: 0 };

    fn count(mask: &[bool]) -> usize {
        mask.iter().filter(|hidden| **hidden).count()
    }

    fn masks(images: u64, side: usize) -> Vec<Vec<bool>> {
        (0..images)
            .map(|sample| hidden(side, side, 0.5, [0.1, 0.5], Draw { sample, ..AT }))
            .collect()
    }

    #[test]
    fn half_of_the_images_hide_a_tenth_to_a_half_of_their_patches() {
        let masks = masks(2000, 14);
        let counts: Vec<usize> = masks.iter().map(|mask| count(mask)).filter(|n| *n > 0).collect();
        // Five standard errors of a share of a half among 2000.
        assert!(counts.len().abs_diff(1000) < 112, "{}", counts.len());
        assert!(counts.iter().all(|&n| n <= 98), "{:?}", counts.iter().max());
        // The mean of the shares is 0.3 of 196; blocks that do not fit take some of it away.
        let mean = counts.iter().sum::<usize>() as f64 / counts.len() as f64;
        assert!((50.0..59.5).contains(&mean), "{mean}");
    }

    #[test]
    fn every_part_of_the_address_gives_another_mask_and_one_address_one() {
        let of = |at| hidden(14, 14, 1.0, [0.3, 0.3], at);
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

    #[test]
    fn hidden_patches_lie_in_blocks() {
        let (mut beside, mut all) = (0, 0);
        for mask in masks(200, 14) {
            for patch in (0..196).filter(|&patch| mask[patch]) {
                all += 1;
                let right = patch % 14 < 13 && mask[patch + 1];
                beside += usize::from(right || (patch % 14 > 0 && mask[patch - 1]));
            }
        }
        // Of patches hidden one by one at 0.3 on average, about half have a hidden neighbour in their row.
        assert!(f64::from(beside as u32) > 0.85 * f64::from(all as u32), "{beside} of {all}");
    }

    #[test]
    fn small_and_narrow_grids_are_masked_or_left_alone() {
        for (rows, columns) in [(1, 1), (1, 5), (2, 2), (3, 8)] {
            for sample in 0..50 {
                let mask = hidden(rows, columns, 1.0, [0.5, 0.5], Draw { sample, ..AT });
                assert_eq!(mask.len(), rows * columns);
                assert!(count(&mask) * 2 <= rows * columns);
            }
        }
        assert_eq!(count(&hidden(8, 8, 0.0, [0.5, 0.5], AT)), 0);
    }
}
