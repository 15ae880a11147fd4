//! Few labels: the part of the training images that is learned from.

use pixels::draw::{Draw, Purpose};

use super::FinetuneConfig;
use crate::evaluation::LabelledImages;

/// Keeps the stream apart from the one that holds images out.
const FEW: u64 = 1;

/// The images that `shots` or `fraction` leave, drawn class by class from `seed`; in their old order.
pub(crate) fn subset(
    images: &LabelledImages,
    config: &FinetuneConfig,
    seed: u64,
) -> LabelledImages {
    let wanted = |count: usize| match (config.shots, config.fraction) {
        (Some(shots), _) => shots.min(count),
        (None, Some(fraction)) => ((fraction * count as f64).round() as usize).clamp(1, count),
        (None, None) => count,
    };
    let draw = Draw { view: FEW, ..Draw::of_seed(seed) };
    let mut order = draw.stream(Purpose::Split).permutation(images.labels.len());
    order.sort_by_key(|&row| images.labels[row]);
    let classes = order.chunk_by(|&a, &b| images.labels[a] == images.labels[b]);
    let mut kept: Vec<usize> =
        classes.flat_map(|rows| &rows[..wanted(rows.len())]).copied().collect();
    kept.sort_unstable();
    images.pick(&kept)
}
