//! Rectangles of patches: the multi-block masks of I-JEPA (Assran 2023, `src/masks/multiblock.py`) and those of image world models
//! (Garrido 2024).
//!
//! The size of the rectangles is drawn once for a whole batch, their places for each image; so all images are asked for equally many
//! patches. All see equally many too: as many as the image that sees fewest.

use pixels::draw::{Draw, Purpose, Stream};
use serde::{Deserialize, Serialize};
use tch::{Device, Tensor};

use crate::error::Result;
use crate::methods::{Progress, expect};

/// Tries to place a context before one target's patches are allowed in it.
const TRIES: usize = 20;

/// I-JEPA's masks: a few target blocks, and one large context block without their patches.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Multiblock {
    pub targets: usize,
    /// Smallest and largest share of the image in a target.
    pub target_scale: [f64; 2],
    /// Smallest and largest height / width of a target.
    pub target_aspect: [f64; 2],
    /// Smallest and largest share of the image in the square that the context is cut from.
    pub context_scale: [f64; 2],
    /// A context of so many patches or fewer is drawn again: 10 in the published configurations, for grids of 14 × 14 and more.
    pub least_context: usize,
    /// The official sampler with its quirks: one random number decides both scale and aspect of a size; a block never is as high or as
    /// wide as the grid and never touches its last row or column; contexts are cut to the shortest from their end, so that the
    /// lower rows go first. Otherwise scale and aspect are drawn each by itself, blocks lie anywhere, and what is cut is random.
    pub official: bool,
}

impl Default for Multiblock {
    /// The published shares, for grids from 8 × 8 on.
    fn default() -> Self {
        Self {
            targets: 4,
            target_scale: [0.15, 0.2],
            target_aspect: [0.75, 1.5],
            context_scale: [0.85, 1.0],
            least_context: 4,
            official: false,
        }
    }
}

/// The masks of image world models: the union of a few rectangles is hidden, and all of it is asked for.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Union {
    pub rectangles: usize,
    /// Smallest and largest share of the image in a rectangle.
    pub scale: [f64; 2],
    /// Smallest and largest height / width. I-JEPA's, because the paper does not say.
    pub aspect: [f64; 2],
}

impl Default for Union {
    fn default() -> Self {
        Self { rectangles: 4, scale: [0.15, 0.2], aspect: [0.75, 1.5] }
    }
}

/// What each image of a batch shows and hides: places of patches, row by row of the grid, ascending.
#[derive(Debug, PartialEq)]
pub struct Masks {
    /// `[image][K]`.
    pub seen: Vec<Vec<i64>>,
    /// `[question][image][M]`: patches that are asked for together.
    pub asked: Vec<Vec<Vec<i64>>>,
}

impl Masks {
    /// Those of `images` images from place `first` on, as tensors: seen `[n, K]`, and asked `[n, M]` for each question.
    pub fn on(&self, first: usize, images: usize, device: Device) -> (Tensor, Vec<Tensor>) {
        let tensor = |rows: &[Vec<i64>]| {
            let rows = &rows[first..first + images];
            let flat: Vec<i64> = rows.iter().flatten().copied().collect();
            Tensor::from_slice(&flat).view([images as i64, -1]).to_device(device)
        };
        (tensor(&self.seen), self.asked.iter().map(|rows| tensor(rows)).collect())
    }
}

/// Where random numbers come from: a stream, or in tests another generator.
pub trait Numbers {
    /// Uniform in [0, 1).
    fn uniform(&mut self) -> f64;
    /// Uniform in 0..n.
    fn below(&mut self, n: usize) -> usize;
}

impl Numbers for Stream {
    fn uniform(&mut self) -> f64 {
        Stream::uniform(self)
    }

    fn below(&mut self, n: usize) -> usize {
        Stream::below(self, n as u64) as usize
    }
}

impl Multiblock {
    /// Refuses shares that are none; `field` is the place in the recipe.
    pub fn check(&self, field: &str) -> Result<()> {
        expect(
            &format!("{field}.targets"),
            (1..=64).contains(&self.targets),
            "1 to 64",
            self.targets,
        )?;
        check_scale(&format!("{field}.target_scale"), self.target_scale)?;
        check_scale(&format!("{field}.context_scale"), self.context_scale)?;
        check_aspect(&format!("{field}.target_aspect"), self.target_aspect)
    }

    /// The masks of the whole batch of a step, for a grid of [rows, columns] patches.
    pub fn draw(&self, grid: [usize; 2], progress: Progress) -> Masks {
        let sizes = &mut of_batch(progress);
        let target = block_size(grid, self.target_scale, self.target_aspect, self.official, sizes);
        let context = block_size(grid, self.context_scale, [1.0; 2], self.official, sizes);
        let mut masks = Masks { seen: Vec::new(), asked: vec![Vec::new(); self.targets] };
        let mut spares = Vec::new();
        for place in 0..progress.batch {
            let mut stream = of_image(progress, place);
            let (seen, targets) = self.image(grid, target, context, &mut stream);
            masks.seen.push(seen);
            masks.asked.iter_mut().zip(targets).for_each(|(all, target)| all.push(target));
            spares.push(stream);
        }
        shorten(&mut masks.seen, (!self.official).then_some(&mut spares));
        masks
    }

    /// Context and targets of one image, before contexts are made equally long. `target` and `context` are heights and widths.
    pub fn image(
        &self,
        grid: [usize; 2],
        target: [usize; 2],
        context: [usize; 2],
        numbers: &mut dyn Numbers,
    ) -> (Vec<i64>, Vec<Vec<i64>>) {
        let targets: Vec<Vec<i64>> =
            (0..self.targets).map(|_| placed(grid, target, self.official, numbers)).collect();
        for forbidden in (0..=targets.len()).rev() {
            for _ in 0..TRIES {
                let mut block = placed(grid, context, self.official, numbers);
                block.retain(|patch| !targets[..forbidden].iter().any(|it| it.contains(patch)));
                if block.len() > self.least_context || (forbidden == 0 && !block.is_empty()) {
                    return (block, targets);
                }
            }
        }
        // Without targets to avoid, a block is never empty.
        (vec![0], targets)
    }
}

impl Union {
    /// Refuses shares that are none; `field` is the place in the recipe.
    pub fn check(&self, field: &str) -> Result<()> {
        let count = self.rectangles;
        expect(&format!("{field}.rectangles"), (1..=64).contains(&count), "1 to 64", count)?;
        check_scale(&format!("{field}.scale"), self.scale)?;
        check_aspect(&format!("{field}.aspect"), self.aspect)
    }

    /// The masks of the whole batch of a step, for a grid of [rows, columns] patches. What an image does not see, because it is hidden or
    /// because another image of the batch sees fewer, is asked for in one question. At least one patch is seen, and one is not.
    pub fn draw(&self, grid: [usize; 2], progress: Progress) -> Masks {
        let size = block_size(grid, self.scale, self.aspect, false, &mut of_batch(progress));
        let patches = grid[0] * grid[1];
        let (mut seen, mut spares) = (Vec::new(), Vec::new());
        for place in 0..progress.batch {
            let mut stream = of_image(progress, place);
            let mut hidden = vec![false; patches];
            for _ in 0..self.rectangles {
                for patch in placed(grid, size, false, &mut stream) {
                    hidden[patch as usize] = true;
                }
            }
            let mut shown: Vec<i64> =
                (0..patches as i64).filter(|&patch| !hidden[patch as usize]).collect();
            if shown.is_empty() {
                shown.push(stream.below(patches as u64) as i64);
            }
            shown.truncate(patches.saturating_sub(1).max(1));
            seen.push(shown);
            spares.push(stream);
        }
        shorten(&mut seen, Some(&mut spares));
        let unseen = |seen: &Vec<i64>| {
            (0..patches as i64).filter(|patch| seen.binary_search(patch).is_err()).collect()
        };
        let asked = vec![seen.iter().map(unseen).collect()];
        Masks { seen, asked }
    }
}

/// The height and width of a block: its area a share of the grid, drawn from `scale`, and its height / width from `aspect`.
pub fn block_size(
    [rows, columns]: [usize; 2],
    scale: [f64; 2],
    aspect: [f64; 2],
    official: bool,
    numbers: &mut dyn Numbers,
) -> [usize; 2] {
    let between = |[low, high]: [f64; 2], r: f64| low + r * (high - low);
    let r = numbers.uniform();
    let area = ((rows * columns) as f64 * between(scale, r)).floor();
    let aspect = between(aspect, if official { r } else { numbers.uniform() });
    let side = |length: f64, limit: usize| {
        let limit = if official { limit.saturating_sub(1) } else { limit };
        (length.round_ties_even() as usize).min(limit).max(1)
    };
    [side((area * aspect).sqrt(), rows), side((area / aspect).sqrt(), columns)]
}

/// A block of this height and width somewhere in the grid: the places of its patches.
fn placed(
    [rows, columns]: [usize; 2],
    [height, width]: [usize; 2],
    official: bool,
    numbers: &mut dyn Numbers,
) -> Vec<i64> {
    let mut offset = |side: usize, length: usize| {
        let last = if official { (side - length).max(1) } else { side - length + 1 };
        numbers.below(last)
    };
    let (top, left) = (offset(rows, height), offset(columns, width));
    let row = |row: usize| (left..left + width).map(move |column| (row * columns + column) as i64);
    (top..top + height).flat_map(row).collect()
}

/// Cuts all lists to the length of the shortest: from the end, or where streams are given at random.
fn shorten(lists: &mut [Vec<i64>], mut streams: Option<&mut Vec<Stream>>) {
    let least = lists.iter().map(Vec::len).min().unwrap_or(0);
    for (image, list) in lists.iter_mut().enumerate() {
        if let Some(stream) = streams.as_mut().and_then(|streams| streams.get_mut(image)) {
            let order = stream.permutation(list.len());
            let mut kept: Vec<i64> = order[..least].iter().map(|&at| list[at]).collect();
            kept.sort_unstable();
            *list = kept;
        } else {
            list.truncate(least);
        }
    }
}

/// For what a whole batch shares.
fn of_batch(progress: Progress) -> Stream {
    let Progress { seed, step, .. } = progress;
    Draw { seed, epoch: step, sample: u64::MAX, view: 0 }.stream(Purpose::Mask)
}

fn of_image(progress: Progress, place: usize) -> Stream {
    let Progress { seed, step, .. } = progress;
    Draw { seed, epoch: step, sample: place as u64, view: 0 }.stream(Purpose::Mask)
}

fn check_scale(field: &str, [low, high]: [f64; 2]) -> Result<()> {
    let holds = 0.0 < low && low <= high && high <= 1.0;
    expect(field, holds, "two shares of (0, 1], the smaller one first", format!("[{low}, {high}]"))
}

fn check_aspect(field: &str, [low, high]: [f64; 2]) -> Result<()> {
    let holds = 0.0 < low && low <= high && high.is_finite();
    expect(field, holds, "two positive numbers, the smaller one first", format!("[{low}, {high}]"))
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;

    const AT: Progress = Progress { seed: 5, step: 7, steps: 100, per_epoch: 10.0, batch: 64 };

    /// One number again and again.
    struct Constant(f64);

    impl Numbers for Constant {
        fn uniform(&mut self) -> f64 {
            self.0
        }

        fn below(&mut self, n: usize) -> usize {
            (self.0 * n as f64) as usize
        }
    }

    fn official_sizes(side: usize) -> BTreeSet<[usize; 2]> {
        let Multiblock { target_scale, target_aspect, .. } = Multiblock::default();
        let of = |k: i32| {
            let mut r = Constant(f64::from(k) / 10_000.0);
            block_size([side; 2], target_scale, target_aspect, true, &mut r)
        };
        (0..10_000).map(of).collect()
    }

    #[test]
    fn official_sizes_are_those_of_the_sheet() {
        let sixteen = [[5, 7], [6, 6], [6, 7], [7, 6], [8, 6], [9, 6]];
        assert_eq!(official_sizes(16), BTreeSet::from(sixteen));
        assert_eq!(official_sizes(8), BTreeSet::from([[3, 3], [4, 3]]));
        assert_eq!(official_sizes(12), BTreeSet::from([[4, 5], [5, 5], [6, 4], [6, 5]]));
        let ends = |side: usize, r: f64| {
            block_size([side; 2], [0.15, 0.2], [0.75, 1.5], true, &mut Constant(r))
        };
        assert_eq!([ends(14, 0.0), ends(14, 0.999_999)], [[5, 6], [8, 5]]);
        assert_eq!([ends(28, 0.0), ends(28, 0.999_999)], [[9, 12], [15, 10]]);
    }

    #[test]
    fn the_official_context_never_touches_the_last_row_and_column() {
        let config = Multiblock { official: true, ..Multiblock::default() };
        let masks = config.draw([16, 16], AT);
        let last = |patch: &i64| patch / 16 == 15 || patch % 16 == 15;
        assert!(!masks.seen.iter().flatten().any(last));
        assert!(!masks.asked.iter().flatten().flatten().any(last));
        // The context's square is always 15 × 15 at the upper left corner.
        let square =
            |r| block_size([16; 2], config.context_scale, [1.0; 2], true, &mut Constant(r));
        assert_eq!([square(0.0), square(0.999)], [[15, 15], [15, 15]]);
    }

    #[test]
    fn corrected_masks_reach_every_patch() {
        let config = Multiblock::default();
        let (mut seen, mut asked) = (BTreeSet::new(), BTreeSet::new());
        for step in 0..20 {
            let masks = config.draw([8, 8], Progress { step, ..AT });
            seen.extend(masks.seen.into_iter().flatten());
            asked.extend(masks.asked.into_iter().flatten().flatten());
        }
        assert_eq!((seen.len(), asked.len()), (64, 64));
    }

    #[test]
    fn contexts_hold_no_target_and_are_equally_long() {
        for official in [false, true] {
            let masks = Multiblock { official, ..Multiblock::default() }.draw([14, 14], AT);
            let length = masks.seen[0].len();
            for (image, seen) in masks.seen.iter().enumerate() {
                assert!(seen.len() == length && length > 4 && seen.is_sorted_by(|a, b| a < b));
                for target in &masks.asked {
                    assert!(target[image].is_sorted_by(|a, b| a < b));
                    assert!(!target[image].iter().any(|patch| seen.contains(patch)));
                    assert_eq!(target[image].len(), masks.asked[0][0].len());
                }
            }
        }
    }

    #[test]
    fn a_union_asks_for_exactly_what_it_does_not_show() {
        for (grid, batch) in [([8, 8], 64), ([4, 4], 16), ([1, 2], 4), ([14, 14], 8)] {
            let masks = Union::default().draw(grid, Progress { batch, ..AT });
            let patches = grid[0] * grid[1];
            for (seen, asked) in masks.seen.iter().zip(&masks.asked[0]) {
                let all: BTreeSet<i64> = seen.iter().chain(asked).copied().collect();
                assert_eq!((all.len(), seen.len() + asked.len()), (patches, patches));
                assert!(!seen.is_empty() && !asked.is_empty());
            }
        }
    }

    #[test]
    fn a_mask_belongs_to_seed_step_and_place() {
        let config = Multiblock::default();
        let masks = config.draw([8, 8], AT);
        assert_eq!(masks, config.draw([8, 8], AT));
        assert_ne!(masks.seen[0], masks.seen[1]);
        assert_ne!(masks, config.draw([8, 8], Progress { step: 8, ..AT }));
        assert_ne!(masks, config.draw([8, 8], Progress { seed: 6, ..AT }));
        let (seen, asked) = masks.on(3, 2, Device::Cpu);
        assert_eq!(Vec::<i64>::try_from(seen.get(1)).unwrap_or_default(), masks.seen[4]);
        assert_eq!(Vec::<i64>::try_from(asked[2].get(0)).unwrap_or_default(), masks.asked[2][3]);
    }

    #[test]
    fn small_grids_are_masked_too() {
        for grid in [[1, 1], [2, 2], [1, 5], [3, 2]] {
            for official in [false, true] {
                let masks = Multiblock { official, ..Multiblock::default() }.draw(grid, AT);
                assert!(masks.seen.iter().all(|seen| !seen.is_empty()));
            }
        }
    }
}
