//! What the targets share: what must hold of every image, and whose panics count.

use std::panic;

use pixels::decode::{MAX_SAMPLES, decode};
use pixels::image::{Image, Samples};
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
