//! TIFF files of every kind of sample, written by tifffile (`fixtures/record_tiffs.py`), against the formula of their
//! samples.

use std::path::{Path, PathBuf};

use pixels::decode::{Conversion, DecodeError, decode, decode_and_tell};
use pixels::image::{Image, Samples};

fn file(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../../fixtures/tiff").join(name)
}

fn read(name: &str) -> Result<(Image, Option<Conversion>), DecodeError> {
    decode_and_tell(&std::fs::read(file(name)).unwrap())
}

/// The samples of the recorder: 100 c + 10 y + x, interleaved.
fn ramp(channels: usize) -> Vec<f64> {
    let pixel = move |y: usize, x: usize| (0..channels).map(move |c| 100 * c + 10 * y + x);
    (0..9).flat_map(|y| (0..7).flat_map(move |x| pixel(y, x))).map(|v| v as f64).collect()
}

/// The file holds `expected(v)` for every sample v of the ramp, in 16 bits.
#[track_caller]
fn holds(name: &str, channels: usize, told: Conversion, expected: impl Fn(f64) -> f64) {
    let (image, conversion) = read(name).unwrap();
    assert_eq!((image.width, image.height, image.channels), (7, 9, channels), "{name}");
    assert_eq!(conversion, Some(told), "{name}");
    let Samples::U16(samples) = image.samples else { panic!("{name}: 16 bits are wanted") };
    let expected: Vec<u16> =
        ramp(channels).into_iter().map(|v| (expected(v) + 0.5).floor() as u16).collect();
    assert_eq!(samples, expected, "{name}");
}

#[test]
fn floats_in_0_to_1_are_spread_over_16_bits_whatever_their_width_and_layout() {
    let names = [
        "f16_shares.tif",
        "f32_shares_predicted.tif",
        "f64_shares_bigtiff.tif",
        "f64_shares_big_endian.tif",
    ];
    for name in names {
        holds(name, 1, Conversion::Shares, |v| v / 128.0 * 65_535.0);
    }
    holds("f32_shares.tif", 5, Conversion::Shares, |v| v / 512.0 * 65_535.0);
}

#[test]
fn counts_are_kept() {
    holds("f32_counts.tif", 5, Conversion::Kept, |v| v);
    holds("u32_counts_lzw.tif", 1, Conversion::Kept, |v| v);
}

#[test]
fn everything_else_is_rescaled_by_the_range_of_the_file_and_says_so() {
    let rescaled = |low, high| Conversion::Rescaled { low, high };
    holds("i32_negative.tif", 1, rescaled(-40.0, 46.0), |v| v / 86.0 * 65_535.0);
    holds("u32_large.tif", 1, rescaled(0.0, 86e6), |v| v / 86.0 * 65_535.0);
    holds("f32_rescaled_tiled.tif", 1, rescaled(-3.0, 40.0), |v| v / 86.0 * 65_535.0);
    let declared = |v: f64| (v * 0.5 + 50.0) / 100.0 * 65_535.0;
    holds("f64_declared.tif", 1, rescaled(-50.0, 50.0), declared);
}

#[test]
fn signed_integers_are_shifted_exactly() {
    let (image, conversion) = read("i8.tif").unwrap();
    assert_eq!(conversion, Some(Conversion::Shifted));
    let expected = ramp(1).into_iter().map(|v| (v - 43.0 + 128.0) as u8);
    assert!(image.as_u8().unwrap().iter().copied().eq(expected));
    holds("i16_planar.tif", 5, Conversion::Shifted, |v| v * 100.0 - 20_000.0 + 32_768.0);
}

#[test]
fn what_cannot_be_read_says_why_and_what_to_do() {
    let cases = [
        ("f32_nan.tif", "3 of 63 samples are infinite or not numbers", "numbers in their place"),
        ("f32_rgba_bright.tif", "together with transparency", "without transparency"),
        ("u16_tiled_planar.tif", "tiles of which each holds one channel", "strips"),
        ("u16_zstd.tif", "ZSTD", "LZW"),
        ("u8_webp.tif", "WebP", "LZW"),
    ];
    for (name, problem, hint) in cases {
        let error = read(name).unwrap_err();
        assert!(error.to_string().contains(problem), "{name}: {error}");
        assert!(error.hint.as_ref().is_some_and(|found| found.contains(hint)), "{name}: {error:?}");
    }
}

#[test]
fn unsigned_integers_of_8_and_16_bits_are_not_converted() {
    let (image, conversion) = read("u8_jpeg.tif").unwrap();
    assert_eq!((image.channels, conversion), (3, None));
}

#[test]
fn no_deep_file_makes_the_decoder_panic_when_it_is_cut_or_damaged() {
    for entry in std::fs::read_dir(file("")).unwrap() {
        let bytes = std::fs::read(entry.unwrap().path()).unwrap();
        for end in 0..bytes.len().min(600) {
            let _ = decode(&bytes[..end]);
        }
        for at in 0..bytes.len().min(600) {
            let mut damaged = bytes.clone();
            damaged[at] ^= 0x55;
            let _ = decode(&damaged);
        }
    }
}
