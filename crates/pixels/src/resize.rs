//! Antialiased resampling, equal to Pillow 13 to the bit for 8-bit images.
//!
//! Every output sample is a weighted mean of the input samples under a kernel that widens with the reduction.
//! Both axes are separable; each pass rounds and clips to the depth of the image, as Pillow's does. Weights
//! are fixed-point with 22 fractional bits; 16-bit images use the same weights with wider sums.

use crate::image::Image;
use crate::plan::Interpolation;
use crate::planes::{AnyPlanes, Planes};
use crate::record::CropBox;

mod axis;
mod passes;

use axis::Axis;
pub use passes::Resampled;
use passes::{Grid, across, down};

/// A rectangle of a picture, in pixels. Fractions occur where the picture was decoded smaller than it is.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Area {
    pub top: f64,
    pub left: f64,
    pub height: f64,
    pub width: f64,
}

impl From<CropBox> for Area {
    fn from(it: CropBox) -> Self {
        let [top, left, height, width] = [it.top, it.left, it.height, it.width].map(|v| v as f64);
        Self { top, left, height, width }
    }
}

/// Resamples planes, with memory that is used again.
#[derive(Default)]
pub struct Resizer<T> {
    across: Axis,
    down: Axis,
    /// What the first pass leaves of one plane.
    between: Vec<T>,
    columns: Vec<T>,
}

impl<T: Resampled> Resizer<T> {
    /// The part `window` of `area` resampled to `size` (width, height), into `out`. No pixel is read that lies wholly
    /// outside the area. The area may begin before the source and end behind it, where the source is a part of a picture
    /// that holds what [`reads`] names. Panics if it does not, if the area is empty, or the window leaves the size or is empty.
    pub fn run(
        &mut self,
        source: &Planes<T>,
        area: Area,
        size: [usize; 2],
        window: CropBox,
        interpolation: Interpolation,
        out: &mut Planes<T>,
    ) {
        let x = Stretch::of(area.left, area.width, source.width);
        let y = Stretch::of(area.top, area.height, source.height);
        assert!(x.length > 0 && y.length > 0, "an empty region cannot be resized");
        assert!(window.width > 0 && window.height > 0, "an image needs a size");
        assert!(window.left + window.width <= size[0] && window.top + window.height <= size[1]);
        let columns = window.left..window.left + window.width;
        let rows = window.top..window.top + window.height;
        self.across.set(area.left, area.width, size[0], columns, interpolation);
        self.down.set(area.top, area.height, size[1], rows, interpolation);
        self.across.shift(x.before);
        self.down.shift(y.before);
        let there = self.across.reads().end <= x.there && self.down.reads().end <= y.there;
        assert!(there, "the region leaves the image");
        let vertical_first = vertical_first([x.length, y.length], size);
        out.reshape(window.width, window.height, source.channels);
        for (channel, target) in out.planes_mut().enumerate() {
            let samples = &source.plane(channel)[y.first * source.width + x.first..];
            let region = Grid { samples, stride: source.width, width: x.there };
            self.plane(&region, vertical_first, target);
        }
    }

    fn plane(&mut self, region: &Grid<T>, vertical_first: bool, out: &mut [T]) {
        let Self { across: x, down: y, between, columns } = self;
        if vertical_first {
            let width = region.width;
            between.resize(y.len() * width, T::default());
            down(region, 0, y, between);
            let between = Grid { samples: between, stride: width, width };
            across(&between, 0..y.len(), x, columns, out);
        } else {
            let rows = y.reads();
            let (first, width) = (rows.start, x.len());
            between.resize(rows.len() * width, T::default());
            across(region, rows, x, columns, between);
            let between = Grid { samples: between, stride: width, width };
            down(&between, first, y, out);
        }
    }
}

/// The part `region` of an image, resampled to `width × height`. The crop comes first: no pixel outside of the
/// region is read. Any number of channels. Panics if the region is empty or leaves the image, or if the new size
/// is 0.
pub fn resize(
    image: &Image,
    region: CropBox,
    width: usize,
    height: usize,
    interpolation: Interpolation,
) -> Image {
    let window = CropBox { top: 0, left: 0, height, width };
    resize_window(image, region, [width, height], window, interpolation)
}

/// The part `window` of what [`resize`] gives for `size` (width, height), without computing the rest.
pub fn resize_window(
    image: &Image,
    region: CropBox,
    size: [usize; 2],
    window: CropBox,
    interpolation: Interpolation,
) -> Image {
    fn run<T: Resampled>(
        planes: &Planes<T>,
        region: CropBox,
        size: [usize; 2],
        window: CropBox,
        interpolation: Interpolation,
    ) -> Planes<T> {
        let mut out = Planes::default();
        Resizer::default().run(planes, region.into(), size, window, interpolation, &mut out);
        out
    }
    match AnyPlanes::of(image) {
        AnyPlanes::U8(it) => AnyPlanes::U8(run(&it, region, size, window, interpolation)),
        AnyPlanes::U16(it) => AnyPlanes::U16(run(&it, region, size, window, interpolation)),
    }
    .image()
}

/// The part `region` of an image, unchanged. Panics if it leaves the image.
pub fn crop(image: &Image, region: CropBox) -> Image {
    let size = [region.width, region.height];
    let window = CropBox { top: 0, left: 0, ..region };
    resize_window(image, region, size, window, Interpolation::Bilinear)
}

/// The pixels of a picture of `picture` pixels (width, height) that enter the part `window` of its resampling to `size`.
pub fn reads(
    picture: [usize; 2],
    size: [usize; 2],
    window: CropBox,
    interpolation: Interpolation,
) -> CropBox {
    let columns = window.left..window.left + window.width;
    let rows = window.top..window.top + window.height;
    let x = Axis::reads_of(picture[0], size[0], columns, interpolation);
    let y = Axis::reads_of(picture[1], size[1], rows, interpolation);
    CropBox { top: y.start, left: x.start, height: y.len(), width: x.len() }
}

/// The pixels that a stretch of one side of a picture touches, of which the source holds some.
struct Stretch {
    /// How many it touches.
    length: usize,
    /// How many of these come before the source does.
    before: usize,
    /// The first one in the source.
    first: usize,
    /// How many are in the source.
    there: usize,
}

impl Stretch {
    fn of(start: f64, length: f64, side: usize) -> Self {
        let [start, end] = [start.floor() as i64, (start + length).ceil() as i64];
        let first = start.max(0);
        let there = (end.min(side as i64) - first).max(0);
        Self {
            length: (end - start) as usize,
            before: (first - start) as usize,
            first: first as usize,
            there: there as usize,
        }
    }
}

/// Which pass comes first reaches the last bit of the result. Pillow 13 starts with the columns when the height
/// shrinks by more than twice as many pixels as the width; earlier versions always start with the rows.
fn vertical_first([width, height]: [usize; 2], [new_width, new_height]: [usize; 2]) -> bool {
    let lost = |old: usize, new: usize| old as i64 - new as i64;
    let lost_rows = lost(height, new_height);
    lost_rows > 0 && lost_rows > 2 * lost(width, new_width)
}
