//! The JPEG decoder: equality with libjpeg-turbo, regions, and files that are broken.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use pixels::decode::jpeg::{Header, Scratch, decode, decode_region, header};
use pixels::image::Image;
use pixels::record::CropBox;
use serde::Deserialize;

use crate::{data, signature};

/// What Pillow makes of files, by reduction; see `fixtures/record_jpeg.py`.
#[derive(Deserialize)]
struct Recorded {
    files: Vec<File>,
    /// The number of files, and the sums of their signatures.
    photographs: BTreeMap<String, BTreeMap<usize, (u64, u64, u64)>>,
    quirks: BTreeMap<String, BTreeMap<usize, (u64, u64)>>,
}

#[derive(Deserialize)]
struct File {
    name: String,
    length: usize,
    signatures: BTreeMap<usize, (u64, u64)>,
}

fn recorded() -> Recorded {
    serde_json::from_str(include_str!("../../../../fixtures/jpeg.json")).unwrap()
}

/// The small files made by the script, by name.
fn files() -> Vec<(File, &'static [u8])> {
    let mut rest = &include_bytes!("../../../../fixtures/jpeg.bin")[..];
    let take = |file: File| {
        let (bytes, after) = rest.split_at(file.length);
        rest = after;
        (file, bytes)
    };
    recorded().files.into_iter().map(take).collect()
}

pub fn named(wanted: &str) -> &'static [u8] {
    files().into_iter().find(|(file, _)| file.name == wanted).unwrap().1
}

fn whole_region(header: Header, shrink: usize) -> CropBox {
    let [width, height] = [header.width, header.height].map(|side| side.div_ceil(shrink));
    CropBox { top: 0, left: 0, height, width }
}

/// A region as an image, as stored.
fn image_of(bytes: &[u8], region: CropBox, shrink: usize, scratch: &mut Scratch) -> Image {
    let channels = header(bytes).unwrap().channels;
    let mut planes = vec![1; 7];
    decode_region(bytes, region, shrink, scratch, &mut planes).unwrap();
    let area = region.width * region.height;
    let pixels = (0..area).flat_map(|k| (0..channels).map(move |c| c * area + k));
    let samples = pixels.map(|at| planes[at]).collect();
    assert_eq!(planes.len(), channels * area);
    Image::from_u8(region.width, region.height, channels, samples)
}

fn whole(bytes: &[u8], shrink: usize, scratch: &mut Scratch) -> Image {
    image_of(bytes, whole_region(header(bytes).unwrap(), shrink), shrink, scratch)
}

fn photographs(folder: &Path) -> Vec<PathBuf> {
    let mut found = Vec::new();
    for entry in std::fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() {
            found.extend(photographs(&path));
        } else if path
            .extension()
            .is_some_and(|end| end.eq_ignore_ascii_case("jpg") || end.eq_ignore_ascii_case("jpeg"))
        {
            found.push(path);
        }
    }
    found
}

/// Numbers without a pattern.
struct Numbers(u64);

impl Numbers {
    /// A number below `end`.
    fn below(&mut self, end: usize) -> usize {
        self.0 =
            self.0.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        (self.0 >> 33) as usize % end
    }

    fn region(&mut self, image: &Image) -> CropBox {
        let (left, top) = (self.below(image.width), self.below(image.height));
        let width = 1 + self.below(image.width - left);
        CropBox { top, left, height: 1 + self.below(image.height - top), width }
    }
}

#[test]
fn every_kind_of_file_equals_libjpeg_turbo_at_every_reduction() {
    let mut scratch = Scratch::default();
    for (file, bytes) in files() {
        for (&shrink, &expected) in &file.signatures {
            let found = signature(&whole(bytes, shrink, &mut scratch));
            assert_eq!(found, expected, "{} at 1/{shrink}", file.name);
        }
    }
}

#[test]
fn photographs_equal_libjpeg_turbo_at_every_reduction() {
    let Some(data) = data() else { return };
    let mut scratch = Scratch::default();
    for (name, expected) in recorded().photographs {
        let mut found: BTreeMap<usize, (u64, u64, u64)> = BTreeMap::new();
        for path in photographs(&data.join(&name)) {
            let bytes = std::fs::read(path).unwrap();
            let Header { width, height, .. } = header(&bytes).unwrap();
            for shrink in [1, 2, 4, 8].into_iter().filter(|&shrink| width.min(height) >= shrink) {
                let (sum, placed) = signature(&whole(&bytes, shrink, &mut scratch));
                let sums = found.entry(shrink).or_default();
                *sums = (sums.0 + 1, sums.1 + sum, sums.2 + placed);
            }
        }
        assert_eq!(found, expected, "{name}");
    }
}

#[test]
fn odd_files_equal_libjpeg_turbo() {
    let Some(data) = data() else { return };
    let mut scratch = Scratch::default();
    for (name, signatures) in recorded().quirks {
        let bytes = std::fs::read(data.join("decode-quirks/jpeg").join(&name)).unwrap();
        // Damaged data, which libjpeg passes over.
        if name == "hopper_bad_exif.jpg" {
            assert!(decode(&bytes).is_err());
            continue;
        }
        for (shrink, expected) in signatures {
            let found = signature(&whole(&bytes, shrink, &mut scratch));
            assert_eq!(found, expected, "{name} at 1/{shrink}");
        }
    }
}

#[test]
fn a_region_is_the_same_part_of_the_whole() {
    let (mut scratch, mut numbers) = (Scratch::default(), Numbers(1));
    for (file, bytes) in files() {
        for shrink in [1, 2, 4, 8] {
            let whole = whole(bytes, shrink, &mut scratch);
            for _ in 0..8 {
                let region = numbers.region(&whole);
                let part = image_of(bytes, region, shrink, &mut scratch);
                let row = |image: &Image, top: usize, left: usize| {
                    let start = (top * image.width + left) * image.channels;
                    let samples = image.as_u8().unwrap();
                    samples[start..start + part.width * image.channels].to_vec()
                };
                for y in 0..region.height {
                    let expected = row(&whole, region.top + y, region.left);
                    assert!(
                        row(&part, y, 0) == expected,
                        "{} at 1/{shrink}, {region:?}",
                        file.name
                    );
                }
            }
        }
    }
}

#[test]
fn a_whole_image_is_interleaved_and_upright() {
    let bytes = named("4:2:0 17x33");
    let upright = decode(bytes).unwrap();
    assert!(upright == whole(bytes, 1, &mut Scratch::default()));
    // An orientation of 6 behind the start of the file: a quarter turn.
    let exif = b"\xFF\xE1\x00\x22Exif\0\0MM\0\x2A\0\0\0\x08\0\x01\x01\x12\0\x03\0\0\0\x01\0\x06\0\0\0\0\0\0";
    let turned = decode(&[&bytes[..2], exif, &bytes[2..]].concat()).unwrap();
    assert_eq!([turned.width, turned.height], [33, 17]);
    let corner = &upright.as_u8().unwrap()[32 * 17 * 3..][..3];
    assert_eq!(&turned.as_u8().unwrap()[..3], corner);
}

#[test]
fn a_cut_file_is_an_error_or_the_whole_picture() {
    let mut scratch = Scratch::default();
    for name in ["4:2:0 17x33", "4:4:4 progressive", "4:2:2 restarts", "grey", "mixed, a scan each"]
    {
        let bytes = named(name);
        let region = whole_region(header(bytes).unwrap(), 1);
        let expected = whole(bytes, 1, &mut scratch);
        for length in 0..bytes.len() {
            let mut out = Vec::new();
            let result = decode_region(&bytes[..length], region, 1, &mut scratch, &mut out);
            match result {
                // The end mark is all that may be missing, with bits that fill up the last byte.
                Ok(()) => {
                    assert!(length + 4 > bytes.len(), "{name}: {length} of {}", bytes.len());
                    assert!(
                        whole(&bytes[..length], 1, &mut scratch) == expected,
                        "{name}: {length}"
                    );
                }
                Err(error) if length > 1000 => {
                    assert!(
                        error.to_string().contains("ends before"),
                        "{name} at {length}: {error}"
                    );
                }
                Err(_) => {}
            }
        }
    }
}

#[test]
fn an_end_mark_in_the_middle_is_an_error() {
    let bytes = named("4:2:0 optimised");
    for length in [bytes.len() / 2, bytes.len() - 40, bytes.len() - 6] {
        let file = [&bytes[..length], &[0xFF, 0xD9]].concat();
        assert!(decode(&file).is_err(), "{length} of {}", bytes.len());
    }
}

#[test]
fn a_wrong_byte_never_panics() {
    let (mut scratch, mut numbers) = (Scratch::default(), Numbers(2));
    let names =
        ["4:2:0 17x33", "4:2:0 progressive", "4:2:2 restarts", "inks", "mixed, a scan each"];
    for name in names {
        let bytes = named(name);
        for at in 2..bytes.len() {
            let mut file = bytes.to_vec();
            file[at] ^= 1 << numbers.below(8) | numbers.below(256) as u8;
            let Ok(header) = header(&file) else { continue };
            if header.width * header.height > 1 << 16 {
                continue;
            }
            let shrink = 1 << numbers.below(4);
            let region = whole_region(header, shrink);
            let _ = decode_region(&file, region, shrink, &mut scratch, &mut Vec::new());
        }
    }
}

#[test]
fn stray_bytes_before_the_end_mark_and_between_segments_are_passed_over() {
    for name in ["4:2:0 17x33", "4:4:4 progressive", "mixed, a scan each"] {
        let bytes = named(name);
        let expected = decode(bytes).unwrap();
        let (data, end) = bytes.split_at(bytes.len() - 2);
        assert!(decode(&[data, &[0, 1, 2], end].concat()).unwrap() == expected, "{name}");
        assert!(decode(data).unwrap() == expected, "{name}");
        let (start, rest) = bytes.split_at(2);
        assert!(decode(&[start, &[0, 0xFF, 0, 7], rest].concat()).unwrap() == expected, "{name}");
    }
}

#[test]
fn data_behind_a_region_are_not_read() {
    let mut scratch = Scratch::default();
    for name in ["4:4:4 70x35", "4:2:0 70x35"] {
        let bytes = named(name);
        let region = CropBox { top: 0, left: 3, height: 5, width: 20 };
        let expected = image_of(bytes, region, 1, &mut scratch);
        let cut = &bytes[..bytes.len() * 7 / 8];
        assert!(decode(cut).is_err());
        assert!(image_of(cut, region, 1, &mut scratch) == expected, "{name}");
    }
}

#[test]
fn what_is_not_read_is_named() {
    let problem = |at: usize, byte: u8| {
        let mut file = named("4:2:0 17x33").to_vec();
        let frame = file.windows(2).position(|pair| pair == [0xFF, 0xC0]).unwrap();
        file[frame + at] = byte;
        decode(&file).unwrap_err().to_string()
    };
    assert!(problem(1, 0xC3).contains("lossless"));
    assert!(problem(1, 0xC5).contains("hierarchical"));
    assert!(problem(1, 0xC9).contains("arithmetic"));
    assert!(problem(4, 12).contains("12 bits"));
    assert!(problem(9, 2).contains("2 components"));
}

#[test]
fn a_small_file_claims_neither_memory_nor_time() {
    let mut file = named("4:4:4 progressive").to_vec();
    let frame = file.windows(2).position(|pair| pair == [0xFF, 0xC2]).unwrap();
    let mut claims = file.clone();
    claims[frame + 5..frame + 9].fill(0xFF);
    let error = decode(&claims).unwrap_err();
    assert!(error.to_string().contains("65535×65535"), "{error}");
    // The last scan a thousand times over.
    let scan = (0..file.len() - 1).rfind(|&at| file[at..at + 2] == [0xFF, 0xDA]).unwrap();
    let last = file[scan..file.len() - 2].to_vec();
    file.splice(scan..scan, last.repeat(1000));
    assert!(decode(&file).is_err());
}

#[test]
fn a_region_outside_the_image_is_refused() {
    let bytes = named("grey");
    let refused = |region: CropBox, shrink: usize| {
        decode_region(bytes, region, shrink, &mut Scratch::default(), &mut Vec::new()).is_err()
    };
    let region = CropBox { top: 0, left: 0, height: 29, width: 37 };
    assert!(!refused(region, 1));
    assert!(refused(region, 2) && refused(region, 3) && refused(region, 0));
    assert!(refused(CropBox { left: 1, ..region }, 1));
    assert!(refused(CropBox { height: 0, ..region }, 1));
    assert!(refused(CropBox { top: usize::MAX, ..region }, 1));
}
