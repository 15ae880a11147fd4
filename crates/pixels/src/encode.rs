//! An [`Image`] to file bytes.

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
    let mut file = Vec::new();
    let mut encoder = png::Encoder::new(&mut file, image.width as u32, image.height as u32);
    encoder.set_color(color);
    encoder.set_depth(png::BitDepth::Eight);
    let written = encoder.write_header().and_then(|mut writer| writer.write_image_data(&samples));
    written.expect("writing to memory cannot fail, and the samples fill the image");
    file
}
