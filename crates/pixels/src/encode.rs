//! An [`Image`] to file bytes.

mod tiff;

use crate::image::{Image, Samples};

/// A PNG file with 8 bits; deeper images keep their high bytes. An image of one channel is grey, of three RGB, of any
/// other number the first channel as grey.
pub fn encode_png(image: &Image) -> Vec<u8> {
    let narrow: Vec<u8> = match &image.samples {
        Samples::U8(samples) => samples.clone(),
        Samples::U16(samples) => samples.iter().map(|v| (v >> 8) as u8).collect(),
    };
    let (color, samples) = match image.channels {
        3 => (png::ColorType::Rgb, narrow),
        1 => (png::ColorType::Grayscale, narrow),
        n => (png::ColorType::Grayscale, narrow.into_iter().step_by(n).collect()),
    };
    write_png(image, color, png::BitDepth::Eight, &samples)
}

/// A JPEG file of a quality from 1 to 100; `None` for an image that JPEG cannot hold: of 16 bits, of other than 1 or
/// 3 channels, or with a side of more than 65,535 pixels.
pub fn encode_jpeg(image: &Image, quality: u8) -> Option<Vec<u8>> {
    let color = match image.channels {
        1 => jpeg_encoder::ColorType::Luma,
        3 => jpeg_encoder::ColorType::Rgb,
        _ => return None,
    };
    let [width, height] = [image.width, image.height].map(|side| u16::try_from(side).ok());
    let mut file = Vec::new();
    let encoder = jpeg_encoder::Encoder::new(&mut file, quality);
    encoder.encode(image.as_u8()?, width?, height?, color).ok()?;
    Some(file)
}

/// A file that gives back the very same image, and its extension: PNG for 1 or 3 channels, TIFF for others.
pub fn encode_lossless(image: &Image) -> (&'static str, Vec<u8>) {
    match (&image.samples, image.channels) {
        (Samples::U8(_), 1 | 3) => ("png", encode_png(image)),
        (Samples::U16(samples), 1 | 3) => {
            let bytes: Vec<u8> = samples.iter().flat_map(|sample| sample.to_be_bytes()).collect();
            let grey = image.channels == 1;
            let color = if grey { png::ColorType::Grayscale } else { png::ColorType::Rgb };
            ("png", write_png(image, color, png::BitDepth::Sixteen, &bytes))
        }
        _ => ("tif", tiff::encode(image)),
    }
}

fn write_png(image: &Image, color: png::ColorType, depth: png::BitDepth, bytes: &[u8]) -> Vec<u8> {
    let mut file = Vec::new();
    let mut encoder = png::Encoder::new(&mut file, image.width as u32, image.height as u32);
    encoder.set_color(color);
    encoder.set_depth(depth);
    let written = encoder.write_header().and_then(|mut writer| writer.write_image_data(bytes));
    written.expect("writing to memory cannot fail, and the samples fill the image");
    file
}
