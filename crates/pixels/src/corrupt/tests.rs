use super::*;
use crate::decode::decode;
use crate::image::Image;
use crate::record::CropBox;

fn all() -> impl Iterator<Item = Corrupted> {
    Corruption::ALL.into_iter().flat_map(severities)
}

fn severities(corruption: Corruption) -> impl Iterator<Item = Corrupted> {
    (1..=5).map(move |severity| Corrupted::new(corruption, severity).expect("a severity"))
}

fn made(clean: &AnyPlanes, corrupted: Corrupted, sample: u64) -> Planes<u8> {
    let mut image = clean.clone();
    apply(&mut image, corrupted, &mut corrupted.stream(0, sample)).expect("a picture that fits");
    image.as_u8_mut().clone()
}

/// Uniform, 200 pixels square.
fn uniform(sample: u8, channels: usize) -> AnyPlanes {
    let samples = vec![sample; 200 * 200 * channels];
    AnyPlanes::U8(Planes { width: 200, height: 200, channels, samples })
}

/// Slopes, stripes and a disc, so that there is something at every scale.
fn picture(side: usize) -> AnyPlanes {
    let pixel = |at: usize| {
        let (x, y) = (at % side, at / side);
        let disc = if x.abs_diff(40).pow(2) + y.abs_diff(30).pow(2) < 400 { 120 } else { 0 };
        let grain = ((x * 37 + y * 101 + x * y * 13) % 61) as u8;
        [(2 * x) as u8 / 2 + grain, disc + grain, (y / 2) as u8 + 50 + (x / 7 % 2) as u8 * 60]
    };
    let samples = (0..side * side).flat_map(pixel).collect();
    AnyPlanes::of(&Image::from_u8(side, side, 3, samples))
}

/// Mean square of the differences.
fn distance(a: &[u8], b: &[u8]) -> f64 {
    let squares = a.iter().zip(b).map(|(&a, &b)| (f64::from(a) - f64::from(b)).powi(2));
    squares.sum::<f64>() / a.len() as f64
}

#[test]
fn corruptions_without_chance_equal_the_recorded_pictures() {
    let recorded = decode(include_bytes!("../../../../fixtures/corruptions.png")).expect("a PNG");
    let tile = |number: usize| {
        let mut planes = AnyPlanes::default();
        planes.take(&recorded, CropBox { top: 32 * number, left: 0, height: 32, width: 32 });
        planes
    };
    let clean = tile(0);
    for (number, corrupted) in Corruption::ALL[4..].iter().copied().flat_map(severities).enumerate()
    {
        let (made, mut wanted) = (made(&clean, corrupted, 0), tile(number + 1));
        let wanted = &wanted.as_u8_mut().samples;
        let off =
            |by: u8| made.samples.iter().zip(wanted).filter(|(a, b)| a.abs_diff(**b) >= by).count();
        let (share, most) = (off(1) as f64 / wanted.len() as f64, off(2));
        let square = distance(&made.samples, wanted);
        match corrupted.corruption() {
            Corruption::Pixelate => assert_eq!(off(1), 0, "{corrupted:?}"),
            // Two encoders round a block's coefficients differently at halves, and each is a step of the table, which is
            // coarse: less than a half of what the corruption itself changes.
            Corruption::JpegCompression => {
                let AnyPlanes::U8(clean) = &clean else { unreachable!("8 bits") };
                let done = distance(&clean.samples, wanted);
                assert!(square < done / 2.0, "{corrupted:?}: {square}, and {done} in all");
            }
            // Cutting off turns a last bit into one level, above all where the picture is uniform and the sum is a whole number but
            // for that bit; the recorded sums of the disc and the zoom are partly of single precision.
            Corruption::DefocusBlur | Corruption::ZoomBlur => {
                assert!(most == 0 && share < 0.15, "{corrupted:?}: {share} {most}");
            }
            _ => assert!(most == 0 && share < 0.02, "{corrupted:?}: {share} {most}"),
        }
    }
}

#[test]
fn a_corruption_grows_with_its_severity() {
    let clean = picture(96);
    let AnyPlanes::U8(samples) = &clean else { unreachable!("8 bits") };
    for corruption in Corruption::ALL {
        let of = |it| distance(&made(&clean, it, 0).samples, &samples.samples);
        let distances: Vec<f64> = severities(corruption).map(of).collect();
        assert!(distances[0] > 0.0);
        let grows = distances.windows(2).enumerate().all(|(at, pair)| {
            // Saturation is taken away at severities 1 and 2, and added from 3 on.
            pair[0] < pair[1] || (corruption == Corruption::Saturate && at == 1)
        });
        assert!(grows, "{corruption}: {distances:?}");
    }
}

/// Mean and variance, and whether they are what is wanted to five standard errors; the variance of the variance's estimate is
/// (μ₄ − σ⁴) / n.
fn moments_are(values: &[f64], mean: f64, variance: f64, fourth: f64) -> bool {
    let n = values.len() as f64;
    let found = values.iter().sum::<f64>() / n;
    let spread = values.iter().map(|value| (value - found).powi(2)).sum::<f64>() / n;
    (found - mean).abs() < 5.0 * (variance / n).sqrt()
        && (spread - variance).abs() < 5.0 * ((fourth - variance.powi(2)) / n).sqrt()
}

#[test]
fn corrupting_noises_have_their_moments() {
    let of = |corruption, severity, value: u8| {
        let corrupted = Corrupted::new(corruption, severity).expect("a severity");
        let samples = made(&uniform(value, 3), corrupted, 4).samples;
        samples.into_iter().map(f64::from).collect::<Vec<_>>()
    };
    // Severities so small that nothing is clipped. Cutting off takes half a level, and adds the variance of a uniform number.
    for (corruption, value, sigma) in [
        (Corruption::GaussianNoise, 128, 0.08 * 255.0),
        (Corruption::SpeckleNoise, 100, 0.15 * 100.0),
    ] {
        let variance = sigma * sigma + 1.0 / 12.0;
        let samples = of(corruption, 1, value);
        assert!(
            moments_are(&samples, f64::from(value) - 0.5, variance, 3.0 * variance * variance),
            "{corruption}"
        );
    }
    // A photon of 60 is 4.25 levels, so the level tells their number.
    let photons: Vec<f64> = of(Corruption::ShotNoise, 1, 100)
        .iter()
        .map(|level| ((level + 0.99) * 60.0 / 255.0).floor())
        .collect();
    let mean = 100.0 / 255.0 * 60.0;
    assert!(moments_are(&photons, mean, mean, mean + 3.0 * mean * mean));
    let samples = of(Corruption::ImpulseNoise, 3, 100);
    let n = samples.len() as f64;
    for level in [0.0, 255.0] {
        let share = samples.iter().filter(|&&it| it == level).count() as f64 / n;
        let chance: f64 = 0.045;
        assert!((share - chance).abs() < 5.0 * (chance * (1.0 - chance) / n).sqrt(), "{share}");
    }
    assert!(samples.iter().all(|it| [0.0, 100.0, 255.0].contains(it)));
}

#[test]
fn corrupting_noise_follows_from_its_address() {
    let clean = picture(32);
    for corrupted in all() {
        let here = made(&clean, corrupted, 3);
        assert_eq!(here, made(&clean, corrupted, 3));
        let is_noise = (corrupted.corruption as u64) < 4;
        assert_eq!(here == made(&clean, corrupted, 4), !is_noise, "{corrupted:?}");
    }
    let first = |it: Corrupted, seed| it.stream(seed, 3).bits();
    let mut seen: Vec<u64> = all().flat_map(|it| [first(it, 0), first(it, 1)]).collect();
    seen.sort_unstable();
    seen.dedup();
    assert_eq!(seen.len(), 2 * 12 * 5);
}

#[test]
fn grey_is_corrupted_like_equal_channels() {
    let mut grey = picture(32);
    let planes = grey.as_u8_mut();
    (planes.channels, planes.samples) = (1, planes.samples[..32 * 32].to_vec());
    let mut three = grey.clone();
    assert!(three.fit(3));
    for corrupted in all().filter(|it| it.corruption as u64 >= 4) {
        if corrupted.corruption() == Corruption::Saturate {
            continue;
        }
        let (one, three) = (made(&grey, corrupted, 0), made(&three, corrupted, 0));
        // The conversion to YCbCr and back costs a level.
        let most = u8::from(corrupted.corruption() == Corruption::JpegCompression);
        let close = one.samples.iter().zip(&three.samples).all(|(a, b)| a.abs_diff(*b) <= most);
        assert!(close, "{corrupted:?}");
    }
}

#[test]
fn what_cannot_be_corrupted_is_refused() {
    let refusal = |corruption, image: &mut AnyPlanes| {
        let corrupted = Corrupted::new(corruption, 1).expect("a severity");
        apply(image, corrupted, &mut corrupted.stream(0, 0))
            .expect_err("no such picture")
            .to_string()
    };
    let mut deep = AnyPlanes::U16(Planes { width: 1, height: 1, channels: 3, samples: vec![0; 3] });
    let (mut grey, mut two) = (uniform(1, 1), uniform(1, 2));
    let wanted = "contrast needs pictures of 8 bits, found 16";
    assert_eq!(refusal(Corruption::Contrast, &mut deep), wanted);
    let wanted = "saturate needs pictures of 3 channels, found 1";
    assert_eq!(refusal(Corruption::Saturate, &mut grey), wanted);
    let wanted = "shot_noise needs pictures of 1 or 3 channels, found 2";
    assert_eq!(refusal(Corruption::ShotNoise, &mut two), wanted);
}

#[test]
fn small_pictures_are_corrupted_too() {
    for [width, height] in [[0, 0], [1, 1], [2, 1], [3, 7]] {
        let samples = (0..width * height * 3).map(|at| (at * 40) as u8).collect();
        let clean = AnyPlanes::U8(Planes { width, height, channels: 3, samples });
        for corrupted in all() {
            let made = made(&clean, corrupted, 0);
            assert_eq!(
                [made.width, made.height, made.samples.len()],
                [width, height, width * height * 3]
            );
        }
    }
}

#[test]
fn corruptions_are_read_by_name_and_severities_are_checked() {
    for corruption in Corruption::ALL {
        assert_eq!(serde_json::json!(corruption), corruption.name());
    }
    for corrupted in all() {
        let text = serde_json::to_string(&corrupted).expect("text");
        assert_eq!(serde_json::from_str::<Corrupted>(&text).expect("a corruption"), corrupted);
    }
    for severity in [0, 6] {
        assert!(Corrupted::new(Corruption::Contrast, severity).is_err());
        let text = format!(r#"{{"corruption": "contrast", "severity": {severity}}}"#);
        let error = serde_json::from_str::<Corrupted>(&text).expect_err("no such severity");
        assert!(error.to_string().contains("from 1 to 5"), "{error}");
    }
}
