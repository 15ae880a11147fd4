//! Files of every kind, whole and broken.

use std::path::{Path, PathBuf};

use pixels::decode::decode;
use pixels::encode::encode_png;
use pixels::image::{Image, Samples};
use serde::Deserialize;

use crate::{data, pattern, pattern_of, signature};

/// What Pillow makes of a file.
#[derive(Deserialize)]
struct Recorded {
    name: String,
    #[serde(default)]
    size: Option<[usize; 2]>,
    #[serde(default)]
    mode: String,
    /// Means of 4 × 4 fields.
    #[serde(default)]
    grid: Vec<f64>,
}

/// Where the two differ on purpose or by what the decoders cannot do.
const EXCEPTIONS: [&str; 28] = [
    // Pillow ignores what is broken here; we refuse.
    "bmp/b/badplanes.bmp",
    "bmp/b/badrle.bmp",
    "bmp/b/rletopdown.bmp",
    "gif/no_palette.gif",
    // Nothing but the end mark is missing.
    "jpeg/truncated_jpeg.jpg",
    // Damaged data, which libjpeg passes over.
    "jpeg/hopper_bad_exif.jpg",
    // Kinds that are not read.
    "bmp/q/pal8os2v2.bmp",
    "pnm/hopper.pfm",
    "pnm/hopper_be.pfm",
    "tiff/10ct_32bit_128.tiff",
    "tiff/12bit.cropped.tif",
    // Kinds that only we read.
    "bmp/g/rgb32bf.bmp",
    "bmp/q/pal2.bmp",
    "bmp/q/rgb16-231.bmp",
    "bmp/q/rgb32-111110.bmp",
    "bmp/q/rgba16-4444.bmp",
    // An orientation that stands in XMP text only.
    "png/xmp_tags_orientation_exiftool.png",
    // A hidden giant text, skipped rather than unpacked.
    "png/png_decompression_dos.png",
    // An image that is whole, behind a colour profile that is not.
    "png/unknown_compression_method.png",
    // Five bits become eight by repeating them; Pillow appends zeros or ones.
    "bmp/g/rgb16.bmp",
    "bmp/g/rgb16-565.bmp",
    "bmp/g/rgb16-565pal.bmp",
    // Pixels that the run lengths leave out: background here, the first colour there.
    "bmp/q/pal4rletrns.bmp",
    "bmp/q/pal8rletrns.bmp",
    // A palette gives its indices.
    "tiff/multipage.tiff",
    // Sixteen bits stay; Pillow shows eight.
    "png/i_trns.png",
    "tiff/tiff_16bit_RGB.tiff",
    "tiff/tiff_strip_planar_16bit_RGB.tiff",
];

fn files(folder: &Path) -> Vec<PathBuf> {
    let mut found = Vec::new();
    for entry in std::fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() {
            found.extend(files(&path));
        } else {
            found.push(path);
        }
    }
    found
}

#[test]
fn odd_files_decode_as_pillow_decodes_them() {
    let Some(folder) = data().map(|data| data.join("decode-quirks")) else { return };
    let recorded: Vec<Recorded> =
        serde_json::from_str(include_str!("../../../../fixtures/decode.json")).unwrap();
    for file in recorded.iter().filter(|file| !EXCEPTIONS.contains(&file.name.as_str())) {
        let decoded = decode(&std::fs::read(folder.join(&file.name)).unwrap());
        let name = &file.name;
        let Some(size) = file.size else {
            assert!(decoded.is_err(), "{name} should be refused");
            continue;
        };
        let image = decoded.unwrap_or_else(|error| panic!("{name}: {error}"));
        assert_eq!([image.width, image.height], size, "{name}");
        let channels = if file.mode.starts_with("RGB") { 3 } else { 1 };
        // Palettes become colours, and a grey one says so only in the palette.
        assert!(image.channels == channels || image.channels == 3, "{name}");
        if !file.grid.is_empty() {
            compare_grids(name, &grid(&image), &file.grid);
        }
    }
}

/// JPEG and lossy WebP decoders may differ by a few levels in a pixel; over a field that comes to less than two.
fn compare_grids(name: &str, found: &[f64], expected: &[f64]) {
    for (field, (found, expected)) in found.iter().zip(expected).enumerate() {
        assert!((found - expected).abs() < 2.0, "{name}, field {field}: {found}, not {expected}");
    }
}

/// Means of 4 × 4 fields, row by row, of the mean over the channels.
fn grid(image: &Image) -> Vec<f64> {
    let samples: Vec<f64> = match &image.samples {
        Samples::U8(samples) => samples.iter().map(|&v| v.into()).collect(),
        Samples::U16(samples) => samples.iter().map(|&v| v.into()).collect(),
    };
    let bounds = |side: usize| {
        // The first remainder fields are one larger.
        let (size, extra) = (side / 4, side % 4);
        (0..=4).map(move |i| i * size + i.min(extra)).collect::<Vec<_>>()
    };
    let (rows, columns) = (bounds(image.height), bounds(image.width));
    let mut means = Vec::new();
    for row in rows.windows(2) {
        for column in columns.windows(2) {
            let line = image.width * image.channels;
            let part = (row[0]..row[1]).flat_map(|y| {
                let range = column[0] * image.channels..column[1] * image.channels;
                &samples[y * line..][range]
            });
            let count = (row[1] - row[0]) * (column[1] - column[0]) * image.channels;
            means.push(part.sum::<f64>() / count as f64);
        }
    }
    means
}

#[test]
fn no_file_makes_the_decoder_panic_whole_or_cut() {
    let Some(data) = data() else { return };
    for path in files(&data.join("decode-quirks")) {
        let bytes = std::fs::read(&path).unwrap();
        let _ = decode(&bytes);
        if bytes.len() < 20_000 {
            for part in 1..16 {
                let _ = decode(&bytes[..bytes.len() * part / 16]);
            }
        }
    }
}

#[test]
fn a_cut_jpeg_is_refused() {
    let Some(data) = data() else { return };
    for name in ["hopper.jpg", "hopper_gray.jpg", "flower.jpg", "exif_typeerror.jpg"] {
        let bytes = std::fs::read(data.join("decode-quirks/jpeg").join(name)).unwrap();
        for share in [50, 80, 95, 99] {
            let error = decode(&bytes[..bytes.len() * share / 100]).unwrap_err();
            assert!(error.to_string().contains("ends before"), "{name} at {share} %: {error}");
        }
    }
}

#[test]
fn a_file_that_is_no_image_is_described() {
    let problem = |bytes: &[u8]| decode(bytes).unwrap_err().to_string();
    assert!(problem(b"").contains("empty"));
    assert!(problem(b"<html><body>404</body></html>").contains("begins with \"<html>"));
    assert!(problem(&[0, 1, 2, 3]).contains("00 01 02 03"));
    assert!(problem(b"\0\0\0\x20ftypheic....").contains("HEIC"));
    assert!(problem(b"%PDF-1.7\n").contains("PDF"));
    assert!(problem(b"\xFF\xD8\xFF").contains("JPEG"));
    assert!(decode(b"text").unwrap_err().hint.is_some());
}

#[test]
fn a_small_file_cannot_claim_a_giant_image() {
    let mut png = encode_png(&pattern_of(1, 1, 3));
    // Width and height stand in the first chunk, whose checksum follows them.
    png[16..24].copy_from_slice(&[0, 1, 0, 0, 0, 1, 0, 0]);
    let checksum = crc32(&png[12..29]);
    png[29..33].copy_from_slice(&checksum.to_be_bytes());
    let error = decode(&png).unwrap_err();
    assert!(error.to_string().contains("65536×65536"), "{error}");
}

fn crc32(bytes: &[u8]) -> u32 {
    !bytes.iter().fold(!0, |sum: u32, &byte| {
        (0..8).fold(sum ^ u32::from(byte), |sum, _| (sum >> 1) ^ (0xEDB8_8320 * (sum & 1)))
    })
}

#[test]
fn png_keeps_every_sample() {
    for channels in [1, 3] {
        let image = pattern_of(31, 17, channels);
        assert!(decode(&encode_png(&image)).unwrap() == image);
    }
    assert_eq!(signature(&decode(&encode_png(&pattern())).unwrap()), (1_182_208, 148_668_750));
}

/// A PNG made here, with any colour type and depth.
fn png_of(color: png::ColorType, depth: png::BitDepth, width: u32, bytes: &[u8]) -> Vec<u8> {
    let mut file = Vec::new();
    let mut encoder = png::Encoder::new(&mut file, width, 1);
    encoder.set_color(color);
    encoder.set_depth(depth);
    encoder.write_header().unwrap().write_image_data(bytes).unwrap();
    file
}

#[test]
fn transparency_shows_white_paper() {
    use png::{BitDepth, ColorType};
    let bytes = [10, 20, 30, 255, 10, 20, 30, 0, 0, 100, 255, 128];
    let image = decode(&png_of(ColorType::Rgba, BitDepth::Eight, 3, &bytes)).unwrap();
    assert_eq!(image.channels, 3);
    assert_eq!(image.as_u8().unwrap(), [10, 20, 30, 255, 255, 255, 127, 177, 255]);
    let bytes = [0, 100, 0xFF, 0xFF, 0, 100, 0, 0];
    let image = decode(&png_of(ColorType::GrayscaleAlpha, BitDepth::Sixteen, 2, &bytes)).unwrap();
    assert!(image.samples == Samples::U16(vec![100, 65_535]));
}

#[test]
fn few_bits_are_spread_over_the_range() {
    use png::{BitDepth, ColorType};
    let image = decode(&png_of(ColorType::Grayscale, BitDepth::One, 4, &[0b1010_0000])).unwrap();
    assert_eq!(image.as_u8().unwrap(), [255, 0, 255, 0]);
    let image = decode(&png_of(ColorType::Grayscale, BitDepth::Two, 4, &[0b0001_1011])).unwrap();
    assert_eq!(image.as_u8().unwrap(), [0, 85, 170, 255]);
    let image = decode(&png_of(ColorType::Grayscale, BitDepth::Sixteen, 1, &[1, 2])).unwrap();
    assert!(image.samples == Samples::U16(vec![258]));
}

/// Found by fuzzing: a picture of 16 × 16 pixels whose frame claims 4 GB.
#[test]
fn a_frame_of_a_gif_cannot_claim_a_giant_image() {
    let mut gif = b"GIF89a\x10\0\x10\0\0\0\0".to_vec();
    gif.extend(b"\x21\xF9\x04\0\0\0\0\0\x2C\0\0\0\0\xFF\xFF\xFF\xFF\0\x02\x01\0\0\x3B");
    let error = decode(&gif).unwrap_err();
    assert!(error.problem.contains("65535×65535"), "{error}");
}
