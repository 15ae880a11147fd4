//! What has to be decoded for a region: which MCUs, and where the samples of each component are kept.

use std::ops::Range;

use super::super::DecodeError;
use super::markers::{Component, Frame, MOST_COMPONENTS};
use crate::record::CropBox;

/// Coefficients and samples of a block, across and down.
const SIDE: usize = 8;

/// The part of a file that a region needs.
#[derive(Clone, Copy)]
pub struct Layout {
    /// MCUs of the image, across and down.
    pub across: usize,
    pub down: usize,
    /// The MCUs that the region needs: columns and rows, from and to.
    pub columns: [usize; 2],
    pub rows: [usize; 2],
    pub planes: [Plane; MOST_COMPONENTS],
    /// All samples of all planes.
    pub samples: usize,
}

/// The samples of one component, as far as the region needs them, before they are spread over the pixels.
#[derive(Clone, Copy, Default)]
pub struct Plane {
    pub h: usize,
    pub v: usize,
    /// Samples that a block gives, across and down: 8, 4, 2 or 1.
    pub size: usize,
    /// The size of the whole component, in blocks and in samples.
    pub blocks: [usize; 2],
    pub whole: [usize; 2],
    /// Pixels that share a sample, across and down.
    pub spread: [usize; 2],
    /// Whether neighbours are mixed where samples are shared.
    pub smooth: bool,
    /// Where the plane begins in the memory of all planes, and the length of its rows.
    pub start: usize,
    pub stride: usize,
    /// The sample at the start.
    pub origin: [usize; 2],
}

impl Layout {
    /// `region` lies in the image that is reduced by `shrink`, and is not empty.
    pub fn new(frame: &Frame, region: CropBox, shrink: usize) -> Result<Self, DecodeError> {
        let least = SIDE / shrink;
        let mut planes = [Plane::default(); MOST_COMPONENTS];
        let (mut columns, mut rows) = ([usize::MAX, 0], [usize::MAX, 0]);
        for (plane, component) in planes.iter_mut().zip(frame.components()) {
            *plane = Plane::new(frame, component, least)?;
            let [x, y] = plane.needed(region);
            let [wide, high] = [plane.h * plane.size, plane.v * plane.size];
            columns = [columns[0].min(x.start / wide), columns[1].max(x.end.div_ceil(wide))];
            rows = [rows[0].min(y.start / high), rows[1].max(y.end.div_ceil(high))];
        }
        let mut samples = 0;
        for plane in &mut planes[..frame.count] {
            let [wide, high] = [plane.h * plane.size, plane.v * plane.size];
            plane.origin = [columns[0] * wide, rows[0] * high];
            plane.start = samples;
            plane.stride = (columns[1] - columns[0]) * wide;
            samples += plane.stride * (rows[1] - rows[0]) * high;
        }
        Ok(Self {
            across: frame.width.div_ceil(SIDE * frame.h),
            down: frame.height.div_ceil(SIDE * frame.v),
            columns,
            rows,
            planes,
            samples,
        })
    }
}

impl Plane {
    /// libjpeg's rules: a component with fewer samples is decoded at a larger scale where that saves spreading it,
    /// and what is left is spread smoothly by factors of two.
    fn new(frame: &Frame, component: &Component, least: usize) -> Result<Self, DecodeError> {
        let &Component { h, v, .. } = component;
        let mut size = least;
        while size < SIDE
            && (frame.h * least).is_multiple_of(2 * h * size)
            && (frame.v * least).is_multiple_of(2 * v * size)
        {
            size *= 2;
        }
        let spread = [frame.h * least * SIDE / (h * size), frame.v * least * SIDE / (v * size)];
        if spread.iter().any(|spread| !spread.is_multiple_of(SIDE)) {
            return Err(DecodeError::new(
                "sampling factors that do not divide each other are not read",
            ));
        }
        let spread = spread.map(|spread| spread / SIDE);
        let sides = [(frame.width, h, frame.h), (frame.height, v, frame.v)];
        let blocks = sides.map(|(side, factor, most)| (side * factor).div_ceil(most * SIDE));
        let whole = sides.map(|(side, factor, most)| (side * factor * size).div_ceil(most * SIDE));
        let smooth = least > 1
            && match spread {
                [2, 1 | 2] => whole[0] > 2,
                [1, 2] => true,
                _ => false,
            };
        Ok(Self { h, v, size, blocks, whole, spread, smooth, ..Self::default() })
    }

    /// The columns and rows of samples that a region needs.
    fn needed(&self, region: CropBox) -> [Range<usize>; 2] {
        let sides = [(region.left, region.width), (region.top, region.height)];
        [0, 1].map(|axis| {
            let ((first, length), spread) = (sides[axis], self.spread[axis]);
            let around = usize::from(self.smooth && spread == 2);
            let start = (first / spread).saturating_sub(around);
            start..((first + length - 1) / spread + 1 + around).min(self.whole[axis])
        })
    }
}
