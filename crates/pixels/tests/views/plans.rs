//! A plan that passes its check can be carried out; one that cannot is refused with the field's name.

use pixels::plan::{Channels, Interpolation, Jitter, Normalize, Preprocess, ViewPlan, ViewSpec};

fn plan(change: impl FnOnce(&mut ViewSpec)) -> ViewPlan {
    let mut spec = ViewSpec { count: 2, ..ViewSpec::default() };
    change(&mut spec);
    ViewPlan { views: vec![spec], normalize: Normalize::imagenet() }
}

fn refused(plan: &ViewPlan, channels: usize) -> String {
    plan.check(channels).unwrap_err().field
}

#[test]
fn the_default_policy_passes() {
    assert_eq!(plan(|_| ()).check(3), Ok(()));
}

#[test]
fn nonsense_is_refused_by_name() {
    type Change = fn(&mut ViewSpec);
    let cases: [(&str, Change); 32] = [
        ("views.0.size", |s| s.size = 0),
        ("views", |s| s.count = 0),
        ("views.0.flip", |s| s.flip = 1.1),
        ("views.0.flip", |s| s.flip = f64::NAN),
        ("views.0.jitter.probability", |s| s.jitter.probability = -0.1),
        ("views.0.grayscale", |s| s.grayscale = 2.0),
        ("views.0.blur.probability", |s| s.blur.probability = 2.0),
        ("views.0.solarize", |s| s.solarize = -1.0),
        ("views.0.crop.scale", |s| s.crop.scale = [0.0, 1.0]),
        ("views.0.crop.scale", |s| s.crop.scale = [0.6, 0.5]),
        ("views.0.crop.scale", |s| s.crop.scale = [0.5, 1.5]),
        ("views.0.crop.scale", |s| s.crop.scale = [f64::NAN, 1.0]),
        ("views.0.crop.ratio", |s| s.crop.ratio = [2.0, 1.0]),
        ("views.0.crop.ratio", |s| s.crop.ratio = [-1.0, 1.0]),
        ("views.0.crop.ratio", |s| s.crop.ratio = [1.0, f64::INFINITY]),
        ("views.0.blur.sigma", |s| s.blur.sigma = [0.0, 1.0]),
        ("views.0.blur.sigma", |s| s.blur.sigma = [2.0, 1.0]),
        ("views.0.jitter.hue", |s| s.jitter.hue = 0.6),
        ("views.0.jitter.hue", |s| s.jitter.hue = -0.1),
        ("views.0.jitter.brightness", |s| s.jitter.brightness = -0.1),
        ("views.0.jitter.contrast", |s| s.jitter.contrast = f64::INFINITY),
        ("views.0.jitter.saturation", |s| s.jitter.saturation = f64::NAN),
        ("views.0.channels.probability", |s| s.channels.probability = 1.5),
        ("views.0.channels.gain", |s| s.channels.gain = -0.1),
        ("views.0.channels.gain", |s| s.channels.gain = f64::INFINITY),
        ("views.0.channels.offset", |s| s.channels.offset = 1.1),
        ("views.0.channels.gamma", |s| s.channels.gamma = 0.9),
        ("views.0.channels.gamma", |s| s.channels.gamma = f64::NAN),
        ("views.0.channels.noise", |s| s.channels.noise = [0.2, 0.1]),
        ("views.0.channels.noise", |s| s.channels.noise = [-0.1, 0.1]),
        ("views.0.channels.noise", |s| s.channels.noise = [0.0, f64::NAN]),
        ("views.0.channels.drop", |s| s.channels.drop = -1.0),
    ];
    for (field, change) in cases {
        assert_eq!(refused(&plan(change), 3), field);
    }
}

#[test]
fn a_plan_without_views_is_refused() {
    let empty = ViewPlan { views: vec![], normalize: Normalize::imagenet() };
    assert_eq!(refused(&empty, 3), "views");
}

#[test]
fn colour_is_refused_for_images_without_colour() {
    let five = Normalize { mean: vec![0.5; 5], std: vec![0.5; 5] };
    let with = |change: fn(&mut ViewSpec)| ViewPlan { normalize: five.clone(), ..plan(change) };
    assert_eq!(refused(&with(|_| ()), 5), "views.0.jitter.probability");
    let no_jitter: fn(&mut ViewSpec) =
        |s| s.jitter = Jitter { probability: 0.0, ..Jitter::default() };
    assert_eq!(refused(&with(no_jitter), 5), "views.0.grayscale");
    let geometry = with(|s| {
        s.jitter.probability = 0.0;
        s.grayscale = 0.0;
    });
    assert_eq!(geometry.check(5), Ok(()));
}

#[test]
fn where_colour_is_refused_the_transforms_of_channels_are_named_and_pass() {
    let normalize = |n| Normalize { mean: vec![0.5; n], std: vec![0.5; n] };
    let colour = ViewPlan { normalize: normalize(5), ..plan(|_| ()) };
    assert!(colour.check(5).unwrap_err().problem.contains("`channels`"));
    let change = |s: &mut ViewSpec| {
        s.jitter.probability = 0.0;
        s.grayscale = 0.0;
        s.channels = Channels { gain: 0.2, noise: [0.0, 0.01], drop: 0.1, ..Channels::default() };
    };
    for channels in [2, 3, 5, 64] {
        let plan = ViewPlan { normalize: normalize(channels), ..plan(change) };
        assert_eq!(plan.check(channels), Ok(()));
    }
    let single = ViewPlan { normalize: normalize(1), ..plan(change) };
    assert_eq!(refused(&single, 1), "views.0.channels.drop");
}

#[test]
fn an_aligned_view_is_written_like_the_first() {
    let aligned = |change: fn(&mut ViewSpec)| {
        let mut plan = plan(|s| (s.count, s.jitter.shuffle) = (1, false));
        let mut second = ViewSpec { aligned: true, ..plan.views[0].clone() };
        change(&mut second);
        plan.views.push(second);
        plan
    };
    assert_eq!(aligned(|_| ()).check(3), Ok(()));
    assert!(aligned(|s| s.solarize = 0.9).is_aligned());
    assert!(!aligned(|s| s.jitter.shuffle = true).is_aligned());
    assert!(!aligned(|s| s.aligned = false).is_aligned());
    assert_eq!(refused(&aligned(|s| s.flip = 0.1), 3), "views.1.aligned");
    assert_eq!(refused(&aligned(|s| s.crop.scale = [0.9, 1.0]), 3), "views.1.aligned");
}

#[test]
fn channels_that_are_off_are_not_written() {
    let text = serde_json::to_string(&plan(|_| ())).unwrap();
    assert!(!text.contains("\"channels\""), "{text}");
    let on = plan(|s| s.channels.gain = 0.1);
    let text = serde_json::to_string(&on).unwrap();
    assert_eq!(serde_json::from_str::<ViewPlan>(&text).unwrap(), on);
}

#[test]
fn statistics_must_fit_the_channels() {
    let with = |mean: &[f32], std: &[f32]| {
        let normalize = Normalize { mean: mean.to_vec(), std: std.to_vec() };
        refused(&ViewPlan { normalize, ..plan(|_| ()) }, 3)
    };
    assert_eq!(with(&[0.5], &[0.5; 3]), "normalize.mean");
    assert_eq!(with(&[0.5; 3], &[0.5; 4]), "normalize.std");
    assert_eq!(with(&[0.5; 3], &[0.5, 0.0, 0.5]), "normalize.std");
    assert_eq!(with(&[f32::NAN; 3], &[0.5; 3]), "normalize.mean");
}

#[test]
fn a_centred_crop_must_fit() {
    let how = |resize, crop| Preprocess {
        resize,
        crop,
        interpolation: Interpolation::Bicubic,
        normalize: Normalize::imagenet(),
    };
    assert_eq!(how(256, 224).check(3), Ok(()));
    assert_eq!(how(224, 224).check(3), Ok(()));
    assert_eq!(how(224, 256).check(3).unwrap_err().field, "crop");
    assert_eq!(how(224, 0).check(3).unwrap_err().field, "crop");
    assert_eq!(how(256, 224).check(1).unwrap_err().field, "normalize.mean");
}
