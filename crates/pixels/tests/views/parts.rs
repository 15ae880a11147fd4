//! Views made from a part of a picture, as training makes them, against views of the whole.

use pixels::decode::{Decoder, Opened, decode};
use pixels::draw::Draw;
use pixels::image::Image;
use pixels::plan::{Crop, Jitter, ViewSpec};
use pixels::planes::AnyPlanes;
use pixels::record::{CropBox, ViewRecord};
use pixels::view::{Renderer, choose, replay};

use crate::data;
use crate::jpegs::named;

/// A JPEG file that says it is stored in an orientation.
pub fn oriented(file: &[u8], orientation: u8) -> Vec<u8> {
    let exif = b"Exif\0\0MM\0\x2A\0\0\0\x08\0\x01\x01\x12\0\x03\0\0\0\x01\0";
    let block = [&exif[..], &[orientation, 0, 0, 0, 0, 0, 0]].concat();
    let length = (block.len() as u16 + 2).to_be_bytes();
    [&file[..2], &[0xFF, 0xE1], &length, &block, &file[2..]].concat()
}

/// A view by way of the part that it needs, decoded at a `shrink`-th of the size.
fn view_of_part(file: &[u8], spec: &ViewSpec, record: &ViewRecord, shrink: usize) -> Image {
    let (mut decoder, mut part) = (Decoder::default(), AnyPlanes::default());
    let opened = Opened::read(file).unwrap();
    assert_eq!(opened.size(), record.source);
    let place = decoder.part(&opened, file, record.crop, shrink, &mut part).unwrap();
    let area = place.of(record.crop);
    Renderer::default().view(&part, area, spec, record).image()
}

fn spec(size: usize) -> ViewSpec {
    let jitter = Jitter { probability: 0.0, ..Jitter::default() };
    ViewSpec { size, jitter, grayscale: 0.0, ..ViewSpec::default() }
}

#[test]
fn a_view_of_a_part_equals_the_view_of_the_whole_however_it_is_stored() {
    for name in ["4:2:0 70x35", "4:2:0 progressive", "grey"] {
        for orientation in 1..=8 {
            let file = oriented(named(name), orientation);
            let image = decode(&file).unwrap();
            for sample in 0..10 {
                let draw = Draw { sample, ..Draw::of_seed(3) };
                let record = choose([image.width, image.height], image.channels, &spec(24), draw);
                let made = view_of_part(&file, &spec(24), &record, 1);
                assert!(made == replay(&image, &spec(24), &record), "{name} {orientation}");
            }
        }
    }
}

/// The mean difference of two views, in levels.
fn difference(a: &Image, b: &Image) -> f64 {
    let (a, b) = (a.as_u8().unwrap(), b.as_u8().unwrap());
    let apart = a.iter().zip(b).map(|(a, b)| f64::from(a.abs_diff(*b)));
    apart.sum::<f64>() / a.len() as f64
}

/// What a view loses when its picture is decoded smaller, and what it loses when its crop is two pixels of the reduced
/// picture off: the first is much the smaller, so a crop lies where it should.
#[test]
fn a_view_of_a_reduced_picture_shows_the_same_place() {
    let Some(folder) = data() else { return };
    let mut paths: Vec<_> = walk(&folder.join("clothing-10/train")).collect();
    paths.sort();
    let crop = Crop { scale: [0.9, 1.0], ..Crop::default() };
    let (mut reduced, mut moved, mut compared) = (0.0, 0.0, 0);
    for path in paths.iter().step_by(20) {
        for orientation in 1..=8 {
            let file = oriented(&std::fs::read(path).unwrap(), orientation);
            let image = decode(&file).unwrap();
            for shrink in [2, 4] {
                let spec = ViewSpec { crop, ..spec(380 / shrink - 20) };
                let draw = Draw { sample: compared, ..Draw::of_seed(5) };
                let mut record = choose([image.width, image.height], image.channels, &spec, draw);
                record.blur = None;
                let exact = replay(&image, &spec, &record);
                reduced += difference(&exact, &view_of_part(&file, &spec, &record, shrink));
                let CropBox { top, left, .. } = record.crop;
                let far = |at: usize| if at > 2 * shrink { at - 2 * shrink } else { at };
                record.crop = CropBox { top: far(top), left: far(left), ..record.crop };
                moved += difference(&exact, &replay(&image, &spec, &record));
                compared += 1;
            }
        }
    }
    let (reduced, moved) = (reduced / compared as f64, moved / compared as f64);
    println!("{compared} views: {reduced:.2} levels for the reduction, {moved:.2} for two pixels");
    assert!(reduced < 1.5 && reduced < moved / 3.0, "{reduced} {moved}");
}

fn walk(folder: &std::path::Path) -> impl Iterator<Item = std::path::PathBuf> {
    let classes = std::fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().path());
    classes.flat_map(|class| std::fs::read_dir(class).unwrap().map(|entry| entry.unwrap().path()))
}
