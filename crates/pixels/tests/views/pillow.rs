//! The pixels that Pillow and torchvision made, recorded by `fixtures/record_views.py`: not one may differ.

use pixels::decode::decode;
use pixels::image::Image;
use pixels::ops;
use pixels::plan::{Interpolation, Normalize, Preprocess};
use pixels::verify::recorded;
use pixels::view::prepare;
use serde::Deserialize;

use crate::{changed, data, pattern_of, signature};

#[derive(Deserialize)]
struct Prepared {
    picture: String,
    resize: usize,
    crop: usize,
    interpolation: Interpolation,
    signature: (u64, u64),
}

#[derive(Deserialize)]
struct Hue {
    shift: f32,
    signature: (u64, u64),
}

/// A formula as in "pattern 64 48 3", or the name of a lossless file; `None` where the files are absent.
fn picture(name: &str) -> Option<Image> {
    match name.strip_prefix("pattern ") {
        Some(sizes) => {
            let sizes: Vec<usize> = sizes.split(' ').map(|size| size.parse().unwrap()).collect();
            Some(pattern_of(sizes[0], sizes[1], sizes[2]))
        }
        None => Some(decode(&std::fs::read(data()?.join(name)).unwrap()).unwrap()),
    }
}

#[test]
fn replayed_views_equal_torchvision_on_pillow() {
    let mut compared = 0;
    for view in recorded() {
        let Some(image) = picture(&view.picture) else { continue };
        assert!(view.holds(&image), "{} {:?}", view.picture, view.record);
        compared += 1;
    }
    assert!(compared >= 64, "the patterns need no files");
}

#[test]
fn prepared_images_equal_torchvision_on_pillow() {
    let cases: Vec<Prepared> =
        serde_json::from_str(include_str!("../../../../fixtures/prepared.json")).unwrap();
    for case in &cases {
        let how = Preprocess {
            resize: case.resize,
            crop: case.crop,
            interpolation: case.interpolation,
            normalize: Normalize::imagenet(),
        };
        let made = prepare(&picture(&case.picture).unwrap(), &how);
        assert_eq!(signature(&made), case.signature, "{} {how:?}", case.picture);
    }
}

#[test]
fn hue_equals_pillow_for_every_colour() {
    let cases: Vec<Hue> =
        serde_json::from_str(include_str!("../../../../fixtures/hue.json")).unwrap();
    let colours = (0..1u32 << 24).flat_map(|n| [(n >> 16) as u8, (n >> 8) as u8, n as u8]);
    let colours = Image::from_u8(4096, 4096, 3, colours.collect());
    for case in cases {
        let turned = changed(&colours, |view| ops::hue(view, case.shift));
        assert_eq!(signature(&turned), case.signature, "{}", case.shift);
    }
}
