//! What storing does to a picture.

use jpeg_encoder::{ChromaSubsamplingMethod, ColorType, Encoder};

use crate::decode::decode;
use crate::planes::{AnyPlanes, Planes};

use super::{CorruptError, Corruption};

/// Reduced to `factor` of its sides, rounded down, and magnified again, both by means over boxes as Pillow has them: a pixel
/// counts whole where its centre lies in the box, and else not.
pub(super) fn pixelate(image: &mut Planes<u8>, factor: f64) {
    let [width, height] = [image.width, image.height];
    let small = |side: usize| ((side as f64 * factor) as usize).max(1);
    let (columns, rows) = (boxes(width, small(width)), boxes(height, small(height)));
    let (back_columns, back_rows) = (boxes(small(width), width), boxes(small(height), height));
    for plane in image.planes_mut() {
        let reduced = across(plane, width, &columns);
        let reduced = down(&reduced, small(width), &rows);
        let large = across(&reduced, small(width), &back_columns);
        plane.copy_from_slice(&down(&large, width, &back_rows));
    }
}

/// Through a JPEG file with a quarter of the colour samples, each the mean of four as libjpeg has it.
pub(super) fn jpeg(image: &mut Planes<u8>, quality: u8) -> Result<(), CorruptError> {
    let Some(AnyPlanes::U8(made)) = through_jpeg(image, quality) else {
        return Err(CorruptError::Picture {
            corruption: Corruption::JpegCompression,
            wanted: "at most 65535 pixels a side",
            found: format!("{} × {}", image.width, image.height),
        });
    };
    *image = made;
    Ok(())
}

/// `None` for a picture that JPEG cannot hold.
fn through_jpeg(image: &Planes<u8>, quality: u8) -> Option<AnyPlanes> {
    let color = if image.channels == 1 { ColorType::Luma } else { ColorType::Rgb };
    let [width, height] = [image.width, image.height].map(|side| u16::try_from(side).ok());
    let mut file = Vec::new();
    let mut encoder = Encoder::new(&mut file, quality);
    encoder.set_chroma_subsampling_method(ChromaSubsamplingMethod::Average);
    encoder.encode(&image.interleaved(), width?, height?, color).ok()?;
    Some(AnyPlanes::of(&decode(&file).ok()?))
}

/// The samples of a side that make up each of the `new` ones: the first, and the one after the last.
fn boxes(old: usize, new: usize) -> Vec<(usize, usize)> {
    let scale = old as f64 / new as f64;
    // The half of a box is never less than that of a sample.
    let half = scale.max(1.0) / 2.0;
    let of = |at: usize| {
        let centre = (at as f64 + 0.5) * scale;
        let [first, end] = [centre - half, centre + half].map(|edge| (edge + 0.5) as usize);
        (first, end.min(old))
    };
    (0..new).map(of).collect()
}

fn across(plane: &[u8], width: usize, boxes: &[(usize, usize)]) -> Vec<u8> {
    let rows = plane.chunks_exact(width.max(1));
    rows.flat_map(|row| boxes.iter().map(|&(first, end)| mean(row[first..end].iter()))).collect()
}

fn down(plane: &[u8], width: usize, boxes: &[(usize, usize)]) -> Vec<u8> {
    let column = |x: usize, first: usize, end: usize| {
        mean(plane[first * width..end * width].iter().skip(x).step_by(width))
    };
    boxes.iter().flat_map(|&(first, end)| (0..width).map(move |x| column(x, first, end))).collect()
}

/// Rounded, halves up.
fn mean<'a>(samples: impl ExactSizeIterator<Item = &'a u8>) -> u8 {
    let count = samples.len().max(1) as u32;
    let sum: u32 = samples.map(|&it| u32::from(it)).sum();
    ((2 * sum + count) / (2 * count)) as u8
}
