//! Prepared images made from the part that they need, against those of the whole picture: equal to the bit.

use std::path::Path;
use std::sync::Arc;

use pixels::decode::{Decoder, Opened, decode};
use pixels::image::Image;
use pixels::loader::{PrepareOptions, prepared};
use pixels::numbers::{Form, write_normalized};
use pixels::plan::{Interpolation, Normalize, Preprocess};
use pixels::planes::AnyPlanes;
use pixels::record::CropBox;
use pixels::source::{Source, open};
use pixels::view::{Renderer, needed, prepare};

use crate::data;
use crate::jpegs::named;
use crate::parts::oriented;

fn how(resize: usize, crop: usize, interpolation: Interpolation) -> Preprocess {
    Preprocess { resize, crop, interpolation, normalize: Normalize::imagenet() }
}

fn all_ways() -> impl Iterator<Item = Preprocess> {
    let sizes = [(32, 32), (40, 32), (16, 7), (35, 20), (24, 1), (70, 64), (9, 8), (120, 60)];
    sizes.into_iter().flat_map(|(resize, crop)| {
        [Interpolation::Bicubic, Interpolation::Bilinear].map(|it| how(resize, crop, it))
    })
}

/// By way of the part that is needed.
fn of_part(file: &[u8], how: &Preprocess) -> Image {
    let (mut decoder, mut part) = (Decoder::default(), AnyPlanes::default());
    let opened = Opened::read(file).unwrap();
    let [width, height] = opened.size();
    let region = needed([width, height], how);
    let place = decoder.part(&opened, file, region, 1, &mut part).unwrap();
    let whole = place.of(CropBox { top: 0, left: 0, height, width });
    Renderer::default().prepare_part(&part, whole, [width, height], how).image()
}

#[test]
fn the_part_gives_what_the_whole_gives_however_it_is_stored() {
    for name in ["4:2:0 70x35", "4:2:0 progressive", "grey"] {
        for orientation in 1..=8 {
            let file = oriented(named(name), orientation);
            let image = decode(&file).unwrap();
            for how in all_ways() {
                assert!(
                    of_part(&file, &how) == prepare(&image, &how),
                    "{name} {orientation} {how:?}"
                );
            }
        }
    }
}

#[test]
fn the_part_holds_what_is_read_and_no_more() {
    // Sides far apart, where the columns come first, and sides that are kept.
    for picture in [[500, 375], [375, 500], [40, 900], [900, 40], [64, 64], [33, 1000]] {
        let [width, height] = picture;
        let samples = (0..width * height).map(|i| (i * 37 % 251) as u8).collect();
        let image = Image::from_u8(width, height, 1, samples);
        for how in all_ways() {
            let region = needed(picture, &how);
            let mut part = AnyPlanes::default();
            part.take(&image, region);
            let area = CropBox { top: 0, left: 0, height, width }.into();
            let area = pixels::resize::Area {
                top: -(region.top as f64),
                left: -(region.left as f64),
                ..area
            };
            let made = Renderer::default().prepare_part(&part, area, picture, &how).image();
            assert!(made == prepare(&image, &how), "{picture:?} {how:?}");
        }
    }
    let half = needed([512, 256], &how(256, 256, Interpolation::Bicubic));
    assert_eq!(half, CropBox { top: 0, left: 128, height: 256, width: 256 });
}

#[test]
fn real_photographs_are_prepared_to_the_bit() {
    let Some(folder) = data() else { return };
    let names = ["imagenet-sample", "caltech101-20", "clothing-10"];
    let mut compared = 0;
    for folder in names.map(|name| folder.join(name)).into_iter().filter(|it| it.is_dir()) {
        let source = open(&uri(&folder)).unwrap();
        let step = (source.len() / 40).max(1);
        let chosen: Vec<usize> = (0..source.len()).step_by(step).collect();
        for how in [how(256, 224, Interpolation::Bicubic), how(96, 80, Interpolation::Bilinear)] {
            compared += same_as_whole(&source, &chosen, &how);
        }
    }
    println!("{compared} photographs compared");
    assert!(compared > 0, "no photographs in {}", folder.display());
}

fn uri(folder: &Path) -> String {
    format!("folder:{}?labels=none", folder.display())
}

fn same_as_whole(source: &Arc<dyn Source>, chosen: &[usize], how: &Preprocess) -> usize {
    let options = PrepareOptions {
        channels: 3,
        batch: 16,
        workers: 2,
        form: Form::default(),
        corruption: None,
    };
    let mut compared = 0;
    for batch in prepared(source.clone(), Some(chosen.to_vec()), how, options).unwrap() {
        let batch = batch.unwrap();
        let numbers = batch.data.as_f32().unwrap().chunks_exact(3 * how.crop * how.crop);
        for (&sample, numbers) in batch.samples.iter().zip(numbers) {
            let image = source.get(sample).unwrap().image.into_rgb().unwrap();
            let mut wanted = vec![0.0; numbers.len()];
            write_normalized(&prepare(&image, how), &how.normalize, &mut wanted);
            assert!(numbers == wanted, "{} {how:?}", source.name(sample));
            compared += 1;
        }
    }
    compared
}
