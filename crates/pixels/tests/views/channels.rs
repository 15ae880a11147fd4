//! Transforms of single channels: neutral, equal in both depths, apart from each other, addressed, distributed.

use pixels::draw::Draw;
use pixels::image::{Image, Samples};
use pixels::ops::channels::{apply, gain_offset, gamma, noise, tone};
use pixels::plan::{Channels, Jitter, ViewSpec};
use pixels::planes::AnyPlanes;
use pixels::record::{ChannelsRecord, ViewRecord};
use pixels::view::{choose, render, replay};

use crate::pattern_of;

fn draws(n: u64) -> impl Iterator<Item = Draw> {
    (0..n).map(|sample| Draw { seed: 11, epoch: 0, sample, view: 0 })
}

/// Everything that these transforms can do, in every second view.
fn strong() -> Channels {
    Channels {
        probability: 0.5,
        gain: 0.3,
        offset: 0.1,
        gamma: 1.5,
        noise: [0.01, 0.03],
        drop: 0.25,
    }
}

fn spec(channels: Channels) -> ViewSpec {
    let jitter = Jitter { probability: 0.0, ..Jitter::default() };
    ViewSpec { size: 24, jitter, grayscale: 0.0, channels, ..ViewSpec::default() }
}

/// What a record says of an image.
fn exposed(image: &mut Image, record: &ChannelsRecord) {
    let mut planes = AnyPlanes::of(image);
    match &mut planes {
        AnyPlanes::U8(planes) => apply(planes, record),
        AnyPlanes::U16(planes) => apply(planes, record),
    }
    *image = planes.image();
}

fn neutral(channels: usize) -> ChannelsRecord {
    ChannelsRecord {
        gain: vec![1.0; channels],
        offset: vec![0.0; channels],
        gamma: vec![1.0; channels],
        noise: 0.0,
        noise_seed: 1,
        dropped: None,
    }
}

/// The same picture with 16 bits: 0 stays 0 and 255 becomes 65535.
fn deep(image: &Image) -> Image {
    let samples = image.as_u8().unwrap().iter().map(|&v| u16::from(v) * 257).collect();
    Image::from_u16(image.width, image.height, image.channels, samples)
}

#[test]
fn neutral_parameters_change_nothing() {
    for channels in [1, 2, 3, 5] {
        for image in [pattern_of(31, 17, channels), deep(&pattern_of(31, 17, channels))] {
            let mut same = image.clone();
            exposed(&mut same, &neutral(channels));
            assert!(same == image);
        }
    }
    // Also where the arithmetic is done: a gain of the next number after 1 moves no sample.
    let mut plane: Vec<u16> = (0..=65_535).collect();
    tone(&mut plane, 1.0 + f32::EPSILON, 0.0, 1.0);
    assert!(plane.iter().copied().eq(0..=65_535));
}

#[test]
fn known_samples_have_known_results() {
    let mut plane = [0u8, 51, 102, 204, 255];
    gain_offset(&mut plane, 1.5, -0.1);
    // x · 1.5 − 0.1 of 0, 0.2, 0.4, 0.8, 1, clipped: 0, 0.2, 0.5, 1, 1.
    assert_eq!(plane, [0, 51, 128, 255, 255]);
    let mut plane = [0u16, 16_384, 65_535];
    gamma(&mut plane, 0.5);
    assert_eq!(plane, [0, 32_768, 65_535]);
}

#[test]
fn sixteen_bits_are_computed_like_eight() {
    let narrow = pattern_of(40, 30, 5);
    for sample in 0..20 {
        let draw = Draw { sample, ..Draw::of_seed(3) };
        let spec = spec(Channels { probability: 1.0, noise: [0.0; 2], ..strong() });
        let record = choose([40, 30], 5, &spec, draw).channels.unwrap();
        let (mut eight, mut sixteen) = (narrow.clone(), deep(&narrow));
        exposed(&mut eight, &record);
        exposed(&mut sixteen, &record);
        let Samples::U16(sixteen) = &sixteen.samples else { panic!("16 bits stay") };
        for (&eight, &sixteen) in eight.as_u8().unwrap().iter().zip(sixteen) {
            // Half a step of eight bits, and a little for the sixteen's own rounding.
            assert!((f32::from(eight) - f32::from(sixteen) / 257.0).abs() < 0.51);
        }
    }
}

#[test]
fn channels_do_not_mix() {
    let image = pattern_of(20, 20, 4);
    for touched in 0..4 {
        let mut record = neutral(4);
        record.gain[touched] = 0.5;
        record.offset[touched] = 0.2;
        record.gamma[touched] = 0.7;
        let mut changed = image.clone();
        exposed(&mut changed, &record);
        let pixels = changed.as_u8().unwrap().chunks(4).zip(image.as_u8().unwrap().chunks(4));
        for (after, before) in pixels {
            for channel in (0..4).filter(|&channel| channel != touched) {
                assert_eq!(after[channel], before[channel]);
            }
        }
        assert!(changed != image);
    }
}

#[test]
fn a_dropped_channel_is_zero_and_the_others_stay() {
    let mut image = pattern_of(9, 9, 3);
    let before = image.clone();
    exposed(&mut image, &ChannelsRecord { dropped: Some(1), ..neutral(3) });
    for (after, before) in image.as_u8().unwrap().chunks(3).zip(before.as_u8().unwrap().chunks(3)) {
        assert_eq!(after, [before[0], 0, before[2]]);
    }
}

#[test]
fn a_view_with_changed_channels_is_made_again_from_its_record() {
    let image = deep(&pattern_of(64, 48, 5));
    let spec = spec(strong());
    let mut changed = 0;
    for draw in draws(60) {
        let (view, record) = render(&image, &spec, draw);
        let text = serde_json::to_string(&record).unwrap();
        let read: ViewRecord = serde_json::from_str(&text).unwrap();
        assert_eq!(read, record);
        assert!(replay(&image, &spec, &read) == view, "{record:?}");
        changed += usize::from(record.channels.is_some());
    }
    assert!((10..50).contains(&changed), "{changed} of 60 views were changed");
}

#[test]
fn records_written_before_there_were_channels_are_read() {
    let old = r#"{"source": [4, 4], "crop": {"top": 0, "left": 0, "height": 4, "width": 4}, "flipped": false,
        "jitter": null, "grayscale": false, "blur": null, "solarized": false}"#;
    let record: ViewRecord = serde_json::from_str(old).unwrap();
    assert_eq!(record.channels, None);
    assert!(!serde_json::to_string(&record).unwrap().contains("channels"));
}

#[test]
fn what_is_off_draws_nothing_and_leaves_every_other_draw() {
    let off = spec(Channels::default());
    let on = spec(strong());
    for draw in draws(50) {
        let (a, b) = (choose([64, 48], 5, &off, draw), choose([64, 48], 5, &on, draw));
        assert_eq!(a.channels, None);
        assert_eq!(ViewRecord { channels: None, ..b }, a);
    }
}

#[test]
fn a_strength_leaves_the_draws_of_the_others() {
    let always = Channels { probability: 1.0, ..strong() };
    let weaker = Channels { gain: 0.0, noise: [0.0; 2], drop: 0.0, ..always };
    for draw in draws(50) {
        let [a, b] = [always, weaker]
            .map(|channels| choose([64, 48], 5, &spec(channels), draw).channels.unwrap());
        assert_eq!((&a.offset, &a.gamma, a.noise_seed), (&b.offset, &b.gamma, b.noise_seed));
        assert_eq!((b.gain, b.dropped), (vec![1.0; 5], None));
        // The channels that are there do not depend on how many there are.
        let three = choose([64, 48], 3, &spec(always), draw).channels.unwrap();
        assert_eq!((&three.gain[..], three.noise_seed), (&a.gain[..3], a.noise_seed));
    }
}

#[test]
fn parameters_are_distributed_as_the_plan_says() {
    const N: u64 = 20_000;
    let spec = spec(strong());
    let records: Vec<ChannelsRecord> =
        draws(N).filter_map(|draw| choose([64, 48], 4, &spec, draw).channels).collect();
    let n = records.len() as f64;
    // Bounds are five standard errors: of a rate 5 · √(p(1−p)/n), of a mean (range / √12) · 5 / √n.
    assert!((n / N as f64 - 0.5).abs() < 0.0177);
    let rate = records.iter().filter(|r| r.dropped.is_some()).count() as f64 / n;
    assert!((rate - 0.25).abs() < 0.0217);
    let drops: Vec<usize> = records.iter().filter_map(|r| r.dropped).collect();
    for channel in 0..4 {
        let share = drops.iter().filter(|&&c| c == channel).count() as f64 / drops.len() as f64;
        assert!((share - 0.25).abs() < 0.0434, "channel {channel}: {share}");
    }
    let mean = |value: &dyn Fn(&ChannelsRecord) -> f32| {
        records.iter().map(|r| f64::from(value(r))).sum::<f64>() / n
    };
    assert!((mean(&|r| r.noise) - 0.02).abs() < 0.000_29);
    for channel in 0..4 {
        assert!((mean(&|r| r.gain[channel]) - 1.0).abs() < 0.0087);
        assert!(mean(&|r| r.offset[channel]).abs() < 0.0029);
        assert!(mean(&|r| r.gamma[channel].ln()).abs() < 0.0118);
    }
    // Uniform numbers of neighbouring channels are uncorrelated: |r| below 5 / √n.
    let both = mean(&|r| (r.gain[0] - 1.0) * (r.gain[1] - 1.0)) / (0.3 * 0.3 / 3.0);
    assert!(both.abs() < 0.05, "{both}");
    let inside = |r: &ChannelsRecord| {
        r.gain.iter().all(|g| (0.7..=1.3).contains(g))
            && r.offset.iter().all(|o| o.abs() <= 0.1)
            && r.gamma.iter().all(|g| (1.0 / 1.501..=1.501).contains(g))
            && (0.01..=0.03).contains(&r.noise)
    };
    assert!(records.iter().all(inside));
}

#[test]
fn noise_has_its_sigma_and_no_mean_in_both_depths() {
    const N: usize = 200_000;
    let sigma = 0.02;
    let check = |noise: Vec<f64>, step: f64| {
        let mean = noise.iter().sum::<f64>() / N as f64;
        let variance = noise.iter().map(|v| (v - mean).powi(2)).sum::<f64>() / N as f64;
        // Five standard errors; rounding to a step adds a twelfth of its square, the cut tails take 1e-4.
        assert!(mean.abs() < 5.0 * sigma / (N as f64).sqrt(), "{mean}");
        let expected = sigma * sigma + step * step / 12.0;
        let tolerance = 5.0 * (2.0 / N as f64).sqrt() + 1e-4;
        assert!((variance / expected - 1.0).abs() < tolerance, "{variance}, not {expected}");
    };
    let mut wide = vec![32_768u16; N];
    noise(&mut wide, sigma as f32, 7, 0);
    check(wide.iter().map(|&v| (f64::from(v) - 32_768.0) / 65_535.0).collect(), 0.0);
    let mut narrow = vec![128u8; N];
    noise(&mut narrow, sigma as f32, 7, 0);
    check(narrow.iter().map(|&v| (f64::from(v) - 128.0) / 255.0).collect(), 1.0 / 255.0);
}

#[test]
fn noise_is_a_function_of_its_address() {
    let made = |seed, channel, pixels: usize| {
        let mut plane = vec![30_000u16; pixels];
        noise(&mut plane, 0.1, seed, channel);
        plane
    };
    assert_eq!(made(5, 2, 1000), made(5, 2, 1000));
    // A pixel's noise does not depend on how many follow.
    assert_eq!(made(5, 2, 1000)[..777], made(5, 2, 777));
    // Other addresses have other noise: of 1000 pixels at 4 % of equal 16-bit steps, far fewer than 50 agree.
    for (seed, channel) in [(6, 2), (5, 3), (3, 5)] {
        let other = made(seed, channel, 1000);
        let equal = made(5, 2, 1000).iter().zip(&other).filter(|(a, b)| a == b).count();
        assert!(equal < 50, "{equal} pixels agree");
    }
}

#[test]
fn a_record_says_in_words_what_was_done_to_which_channel() {
    let record = ChannelsRecord {
        gain: vec![1.2, 0.95],
        offset: vec![0.0, -0.05],
        gamma: vec![1.0, 1.0],
        noise: 0.012,
        noise_seed: 0,
        dropped: Some(1),
    };
    let view = ViewRecord {
        source: [10, 10],
        crop: pixels::record::CropBox { top: 0, left: 0, height: 10, width: 10 },
        flipped: false,
        jitter: None,
        grayscale: false,
        channels: Some(record),
        blur: None,
        solarized: false,
    };
    assert_eq!(
        view.describe(),
        "crop 100 % at (0, 0), gain ×1.20 ×0.95, offset +0.0000 -0.0500, noise σ 0.0120, channel 2 off"
    );
    assert_eq!(view.vector(), ViewRecord { channels: None, ..view.clone() }.vector());
}
