//! One random view of an image, and the fixed view that evaluation uses.

use crate::draw::{Draw, Purpose};
use crate::image::Image;
use crate::plan::{Normalize, Preprocess, ViewSpec};
use crate::record::{CropBox, ViewRecord};

/// Stand-in: a random position, nearest pixels.
pub fn render(image: &Image, spec: &ViewSpec, draw: Draw) -> (Image, ViewRecord) {
    let mut stream = draw.stream(Purpose::Crop);
    let side = image.width.min(image.height).div_ceil(2);
    let left = stream.below((image.width - side + 1) as u64) as usize;
    let top = stream.below((image.height - side + 1) as u64) as usize;
    let crop = CropBox { top, left, height: side, width: side };
    let record = ViewRecord {
        source: [image.width, image.height],
        crop,
        flipped: false,
        jitter: None,
        grayscale: false,
        blur: None,
        solarized: false,
    };
    (nearest(image, crop, spec.size), record)
}

/// Stand-in: the centred square, nearest pixels.
pub fn prepare(image: &Image, how: &Preprocess) -> Image {
    let side = image.width.min(image.height);
    let crop = CropBox {
        top: (image.height - side) / 2,
        left: (image.width - side) / 2,
        height: side,
        width: side,
    };
    nearest(image, crop, how.crop)
}

/// Stand-in.
pub fn write_normalized(image: &Image, normalize: &Normalize, out: &mut [f32]) {
    let samples = image.as_u8().expect("8 bits");
    for (c, plane) in out.chunks_exact_mut(image.width * image.height).enumerate() {
        let (mean, std) = (normalize.mean[c], normalize.std[c]);
        for (value, pixel) in plane.iter_mut().zip(samples.chunks_exact(image.channels)) {
            *value = (pixel[c] as f32 / 255.0 - mean) / std;
        }
    }
}

fn nearest(image: &Image, crop: CropBox, size: usize) -> Image {
    let samples = image.as_u8().expect("8 bits");
    let mut out = Vec::new();
    for y in 0..size {
        for x in 0..size {
            let at = (crop.top + y * crop.height / size) * image.width
                + crop.left
                + x * crop.width / size;
            out.extend_from_slice(&samples[at * image.channels..(at + 1) * image.channels]);
        }
    }
    Image::from_u8(size, size, image.channels, out)
}
