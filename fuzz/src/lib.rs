//! What the targets share: what must hold of every image, and whose panics count.

use std::panic;

use pixels::decode::{MAX_SAMPLES, decode};
use pixels::image::{Image, Samples};
use pixels::record::CropBox;
use pixels::source::Source;

/// Decodes bytes and checks what comes back. Whether it is an image or an error is the decoder's affair.
pub fn decoded(bytes: &[u8]) -> Option<Image> {
    match decode(bytes) {
        Ok(image) => {
            check(&image);
            Some(image)
        }
        Err(error) => {
            assert!(!error.problem.is_empty(), "an error that says nothing");
            None
        }
    }
}

/// An image is filled by its samples, is not empty, and is no larger than promised.
pub fn check(image: &Image) {
    let samples = match &image.samples {
        Samples::U8(samples) => samples.len(),
        Samples::U16(samples) => samples.len(),
    };
    let Image { width, height, channels, .. } = *image;
    assert!(samples > 0, "an empty image");
    assert_eq!(Some(samples), width.checked_mul(height).and_then(|n| n.checked_mul(channels)));
    assert!(samples as u64 <= MAX_SAMPLES, "{width}×{height}×{channels} is more than promised");
}

/// Lets panics of other people's decoders pass: [`decode`] catches those and makes errors of them, by design. Every
/// other panic ends the run.
pub fn forgive_dependencies() {
    let abort = panic::take_hook();
    panic::set_hook(Box::new(move |info| {
        let theirs = info.location().is_some_and(|place| place.file().contains("/registry/src/"));
        if !theirs {
            abort(info);
        }
    }));
}

/// Numbers below a limit that depend on the bytes alone, so that a failure can be repeated with nothing but its file.
pub fn choices(bytes: &[u8]) -> impl FnMut(usize) -> usize {
    // FNV-1a, then Knuth's linear congruential generator.
    let hash = |hash: u64, byte: &u8| (hash ^ u64::from(*byte)).wrapping_mul(0x100_0000_01b3);
    let mut state = bytes.iter().fold(0xcbf2_9ce4_8422_2325, hash);
    move |limit| {
        state =
            state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        (state >> 33) as usize % limit
    }
}

/// A part of an image of so many pixels, at least one.
pub fn some_part([width, height]: [usize; 2], below: &mut impl FnMut(usize) -> usize) -> CropBox {
    let (left, top) = (below(width), below(height));
    CropBox { top, left, height: 1 + below(height - top), width: 1 + below(width - left) }
}

/// Reads the first samples of a source: each is an image, and its label is one of the classes.
pub fn every_sample(source: &dyn Source) {
    assert!(!source.is_empty(), "a source without samples");
    for index in 0..source.len().min(64) {
        let sample = source.get(index).expect("what was accepted when it was opened");
        check(&sample.image);
        assert!(sample.label.is_none_or(|label| (label as usize) < source.classes().len()));
        assert!(!source.name(index).is_empty());
    }
}
