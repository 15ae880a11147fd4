//! What random views promise whatever their numbers are.

use pixels::draw::Draw;
use pixels::image::{Image, Samples};
use pixels::numbers::write_normalized;
use pixels::ops;
use pixels::plan::{Blur, Crop, Interpolation, Jitter, Normalize, ViewSpec};
use pixels::record::{CropBox, JitterRecord, ViewRecord};
use pixels::resize::{crop, resize, resize_window};
use pixels::view::{choose, render, replay};

use crate::{changed, pattern, pattern_of};

fn draws(n: u64) -> impl Iterator<Item = Draw> {
    (0..n).map(|sample| Draw { seed: 5, epoch: 0, sample, view: 0 })
}

fn always() -> ViewSpec {
    ViewSpec {
        size: 24,
        flip: 0.5,
        jitter: Jitter { probability: 0.9, ..Jitter::default() },
        grayscale: 0.3,
        blur: Blur { probability: 0.7, ..Blur::default() },
        solarize: 0.4,
        ..ViewSpec::default()
    }
}

/// Geometry, flip, blur and solarize only.
fn colourless() -> ViewSpec {
    let jitter = Jitter { probability: 0.0, ..Jitter::default() };
    ViewSpec { jitter, grayscale: 0.0, ..always() }
}

#[test]
fn a_view_is_made_again_from_its_record() {
    for draw in draws(50) {
        let (view, record) = render(&pattern(), &always(), draw);
        let text = serde_json::to_string(&record).unwrap();
        let read: ViewRecord = serde_json::from_str(&text).unwrap();
        assert_eq!(read, record);
        assert!(replay(&pattern(), &always(), &read) == view, "{record:?}");
        assert!(render(&pattern(), &always(), draw).0 == view);
    }
}

#[test]
fn each_transform_has_its_own_randomness() {
    let spec = always();
    let without = ViewSpec { flip: 0.0, grayscale: 0.0, ..always() };
    for draw in draws(50) {
        let (a, b) = (choose([64, 48], 3, &spec, draw), choose([64, 48], 3, &without, draw));
        assert_eq!((a.crop, a.jitter, a.blur), (b.crop, b.jitter, b.blur));
    }
}

#[test]
fn parameters_are_distributed_as_the_plan_says() {
    const N: u64 = 20_000;
    let spec = ViewSpec::default();
    let records: Vec<_> = draws(N).map(|draw| choose([2000, 2000], 3, &spec, draw)).collect();
    // Bounds are five standard errors of the mean, (range / √12) · 5 / √n, and for rates 5 · √(p(1−p)/n).
    let mean = |values: Vec<f64>| values.iter().sum::<f64>() / values.len() as f64;
    let area = |r: &ViewRecord| (r.crop.width * r.crop.height) as f64 / 4e6;
    let log_ratio = |r: &ViewRecord| (r.crop.width as f64 / r.crop.height as f64).ln();
    // A wide large crop can leave the image and is drawn again, so areas are compared below one half.
    let small: Vec<_> = records.iter().map(area).filter(|&a| a < 0.5).collect();
    let share = small.len() as f64 / N as f64;
    assert!((mean(small) - 0.29).abs() < 0.0062, "share {share}");
    assert!(mean(records.iter().map(log_ratio).collect()).abs() < 0.006);
    assert!(records.iter().all(|r| log_ratio(r).abs() < (4f64 / 3.0).ln() + 0.005));
    let rate = |flag: fn(&ViewRecord) -> bool| {
        records.iter().filter(|r| flag(r)).count() as f64 / N as f64
    };
    assert!((rate(|r| r.flipped) - 0.5).abs() < 0.0177);
    assert!((rate(|r| r.jitter.is_some()) - 0.8).abs() < 0.0142);
    assert!((rate(|r| r.grayscale) - 0.2).abs() < 0.0142);
    assert!((rate(|r| r.blur.is_some()) - 0.5).abs() < 0.0177);
    assert!((rate(|r| r.solarized) - 0.1).abs() < 0.0107);
    let jitters: Vec<_> = records.iter().filter_map(|r| r.jitter).collect();
    let mean_of = |value: fn(&JitterRecord) -> f32| {
        mean(jitters.iter().map(|jitter| value(jitter).into()).collect())
    };
    assert!((mean_of(|j| j.brightness) - 1.0).abs() < 0.0092);
    assert!((mean_of(|j| j.contrast) - 1.0).abs() < 0.0092);
    assert!((mean_of(|j| j.saturation) - 1.0).abs() < 0.0046);
    assert!(mean_of(|j| j.hue).abs() < 0.0023);
    assert!((mean_of(|j| j.order[0].into()) - 1.5).abs() < 0.045);
    let sigma = mean(records.iter().filter_map(|r| r.blur).map(f64::from).collect());
    assert!((sigma - 1.05).abs() < 0.028);
}

#[test]
fn strengths_above_one_never_give_negative_factors() {
    let jitter = Jitter {
        probability: 1.0,
        brightness: 1.5,
        contrast: 3.0,
        saturation: 2.0,
        hue: 0.0,
        shuffle: true,
    };
    let spec = ViewSpec { jitter, ..always() };
    for draw in draws(200) {
        let jitter = choose([64, 48], 3, &spec, draw).jitter.unwrap();
        assert!(jitter.brightness >= 0.0 && jitter.contrast >= 0.0 && jitter.saturation >= 0.0);
        assert_eq!(jitter.hue, 0.0);
    }
}

#[test]
fn a_policy_without_hue_does_not_pass_through_hsv() {
    let jitter = Jitter {
        probability: 1.0,
        brightness: 0.0,
        contrast: 0.0,
        saturation: 0.0,
        hue: 0.0,
        shuffle: true,
    };
    let spec = ViewSpec { jitter, grayscale: 0.0, ..always() };
    for draw in draws(5) {
        let (view, record) = render(&pattern(), &spec, draw);
        let plain = ViewRecord { jitter: None, ..record };
        assert!(view == replay(&pattern(), &spec, &plain));
    }
}

/// The samples of `pattern`, below 128 so that bilinear sums and edges fit both depths, in both depths.
fn both_depths(channels: usize) -> (Image, Image) {
    let image = pattern_of(50, 37, channels);
    let low: Vec<u8> = image.as_u8().unwrap().iter().map(|v| v / 2).collect();
    let wide = low.iter().map(|&v| v.into()).collect();
    (Image::from_u8(50, 37, channels, low), Image::from_u16(50, 37, channels, wide))
}

fn widened(image: &Image) -> Vec<u16> {
    image.as_u8().unwrap().iter().map(|&v| v.into()).collect()
}

#[test]
fn sixteen_bits_are_computed_like_eight() {
    for channels in [1, 2, 3, 4, 5] {
        let (narrow, wide) = both_depths(channels);
        let crop = Crop { interpolation: Interpolation::Bilinear, ..Crop::default() };
        let spec = ViewSpec { crop, solarize: 0.0, ..colourless() };
        for draw in draws(20) {
            let (view, record) = render(&narrow, &spec, draw);
            let (wide_view, wide_record) = render(&wide, &spec, draw);
            assert_eq!(record, wide_record);
            assert!(wide_view.samples == Samples::U16(widened(&view)), "{channels} channels");
        }
    }
}

#[test]
fn channels_do_not_mix() {
    let (many, _) = both_depths(5);
    let one = |channel: usize| {
        let samples = many.as_u8().unwrap().iter().copied().skip(channel).step_by(5).collect();
        Image::from_u8(50, 37, 1, samples)
    };
    for draw in draws(10) {
        let (view, _) = render(&many, &colourless(), draw);
        for channel in 0..5 {
            let (alone, _) = render(&one(channel), &colourless(), draw);
            let same = view.as_u8().unwrap().iter().skip(channel).step_by(5);
            assert!(same.eq(alone.as_u8().unwrap()));
        }
    }
}

#[test]
fn a_deep_rgb_image_is_rendered_with_eight_bits_where_colour_is_asked() {
    let samples = (0..300u16).map(|v| v * 200).collect();
    let deep = Image::from_u16(10, 10, 3, samples);
    let (view, _) = render(&deep, &always(), Draw::of_seed(1));
    assert!(view.as_u8().is_some());
    let (view, _) = render(&deep, &colourless(), Draw::of_seed(1));
    assert!(view.as_u8().is_none());
}

#[test]
fn flipping_twice_changes_nothing() {
    for channels in [1, 3, 5] {
        let image = pattern_of(7, 5, channels);
        let once = changed(&image, ops::flip);
        assert!(once != image);
        let twice = changed(&once, ops::flip);
        assert!(twice == image);
    }
}

#[test]
fn neutral_parameters_change_nothing() {
    let image = changed(&pattern(), |view| {
        ops::brightness(view, 1.0);
        ops::contrast(view, 1.0);
        ops::saturation(view, 1.0);
        ops::gaussian_blur(view, 0.0, &mut Vec::new());
    });
    assert!(image == pattern());
}

#[test]
fn a_window_equals_the_part_of_the_whole() {
    let image = pattern();
    let region = CropBox { top: 3, left: 5, height: 40, width: 50 };
    // Tall and wide targets take the passes in different orders.
    for size in [[32, 20], [20, 64], [50, 40], [50, 21], [70, 40]] {
        let all = resize(&image, region, size[0], size[1], Interpolation::Bicubic);
        let window = CropBox { top: 4, left: 3, height: 11, width: 9 };
        let part = resize_window(&image, region, size, window, Interpolation::Bicubic);
        assert!(part == crop(&all, window), "{size:?}");
    }
}

#[test]
fn a_long_strip_is_prepared_without_making_its_long_side() {
    use pixels::plan::Preprocess;
    let strip = Image::from_u8(60_000, 1, 3, vec![7; 180_000]);
    let how = Preprocess {
        resize: 256,
        crop: 224,
        interpolation: Interpolation::Bicubic,
        normalize: Normalize::imagenet(),
    };
    let square = pixels::view::prepare(&strip, &how);
    assert_eq!((square.width, square.height), (224, 224));
    assert!(square.as_u8().unwrap().iter().all(|&v| v == 7));
}

#[test]
fn normalising_is_planar_and_linear_in_both_depths() {
    let how = Normalize { mean: vec![0.5, 0.25], std: vec![0.5, 2.0] };
    let narrow = Image::from_u8(2, 1, 2, vec![0, 255, 255, 51]);
    let wide = Image::from_u16(2, 1, 2, vec![0, 65_535, 65_535, 13_107]);
    for image in [narrow, wide] {
        let mut out = [0.0; 4];
        write_normalized(&image, &how, &mut out);
        let expected = [-1.0, 1.0, 0.375, (0.2 - 0.25) / 2.0];
        for (found, expected) in out.iter().zip(expected) {
            // A few roundings of single precision.
            assert!((found - expected).abs() < 1e-6, "{out:?}");
        }
    }
}

#[test]
fn a_record_says_in_words_what_was_done() {
    let record = ViewRecord {
        source: [100, 80],
        crop: CropBox { top: 30, left: 12, height: 40, width: 90 },
        flipped: true,
        jitter: Some(JitterRecord {
            order: [3, 0, 1, 2],
            brightness: 1.2,
            contrast: 0.8,
            saturation: 1.05,
            hue: -0.1,
        }),
        grayscale: true,
        channels: None,
        blur: Some(1.25),
        solarized: true,
    };
    let caption = "crop 45 % at (12, 30), flipped, hue -36°, brightness ×1.20, contrast ×0.80, \
                   saturation ×1.05, grey, blur σ 1.2, solarized";
    assert_eq!(record.describe(), caption);
    let plain = ViewRecord {
        flipped: false,
        jitter: None,
        grayscale: false,
        blur: None,
        solarized: false,
        ..record
    };
    assert_eq!(plain.describe(), "crop 45 % at (12, 30)");
}

#[test]
fn the_vector_of_a_record_has_its_layout() {
    let record = ViewRecord {
        source: [120, 100],
        crop: CropBox { top: 10, left: 20, height: 60, width: 80 },
        flipped: true,
        jitter: Some(JitterRecord {
            order: [2, 0, 3, 1],
            brightness: 1.4,
            contrast: 0.01,
            saturation: 1.0,
            hue: 0.1,
        }),
        grayscale: true,
        channels: None,
        blur: Some(1.0),
        solarized: false,
    };
    let third = 1.0 / 3.0;
    let expected: [f32; 20] = [
        -0.2,
        0.0,
        0.6f32.ln(),
        (2.0f32 / 3.0).ln(),
        1.0,
        0.0,
        1.0,
        1.0,
        1.4f32.ln(),
        0.05f32.ln(),
        0.0,
        0.2,
        -third,
        1.0,
        -1.0,
        third,
        1.0,
        1.0,
        0.5,
        0.0,
    ];
    for (index, (found, expected)) in record.vector().into_iter().zip(expected).enumerate() {
        // A few roundings of single precision.
        assert!((found - expected).abs() < 1e-6, "item {index}: {found}, not {expected}");
    }
    let still = ViewRecord { jitter: None, blur: None, flipped: false, ..record };
    assert_eq!(still.vector()[4], -1.0);
    assert_eq!(still.vector()[7..12], [0.0; 5]);
    assert_eq!(still.vector()[17..19], [0.0; 2]);
}

#[test]
fn aligned_views_show_one_place_in_other_colours() {
    let image = pattern();
    let first = ViewSpec { size: 32, ..ViewSpec::default() };
    let second = ViewSpec { aligned: true, ..first.clone() };
    let mut others = 0;
    for sample in 0..40 {
        let at = |view| Draw { seed: 3, epoch: 0, sample, view };
        let ((_, a), (_, b)) = (render(&image, &first, at(0)), render(&image, &second, at(1)));
        assert_eq!(a.geometry(), b.geometry());
        assert_eq!(b.geometry(), render(&image, &second, at(7)).1.geometry());
        others += usize::from(a.jitter != b.jitter);
    }
    assert!(others > 20, "the colours are drawn for each view: {others}");
}

#[test]
fn jitter_that_is_not_shuffled_keeps_its_order() {
    let image = pattern();
    let jitter = Jitter { probability: 1.0, shuffle: false, ..Jitter::default() };
    let spec = ViewSpec { size: 16, jitter, ..ViewSpec::default() };
    for sample in 0..20 {
        let (_, record) = render(&image, &spec, Draw { seed: 3, epoch: 0, sample, view: 0 });
        assert_eq!(record.jitter.unwrap().order, [0, 1, 2, 3]);
    }
}
