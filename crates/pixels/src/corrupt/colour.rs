//! Changes of colour that are the same for every pixel.

use crate::planes::Planes;

use super::{sample, share};

/// Adds to the value of HSV; of a grey picture to its samples.
pub(super) fn brightness(image: &mut Planes<u8>, more: f64) {
    if image.channels == 1 {
        image.samples.iter_mut().for_each(|it| *it = sample(share(*it) + more));
    } else {
        each(image, |[h, s, v]| [h, s, (v + more).clamp(0.0, 1.0)]);
    }
}

/// The saturation s of HSV becomes `factor` s + `more`. A grey pixel has the hue of red.
pub(super) fn saturate(image: &mut Planes<u8>, factor: f64, more: f64) {
    each(image, |[h, s, v]| [h, (s * factor + more).clamp(0.0, 1.0), v]);
}

/// Moves every sample to its channel's mean, `factor` of the distance is left.
pub(super) fn contrast(image: &mut Planes<u8>, factor: f64) {
    for plane in image.planes_mut() {
        let sum: u64 = plane.iter().map(|&it| u64::from(it)).sum();
        let mean = sum as f64 / 255.0 / plane.len() as f64;
        for it in plane {
            *it = sample((share(*it) - mean) * factor + mean);
        }
    }
}

/// Changes hue, saturation and value of every pixel.
fn each(image: &mut Planes<u8>, change: impl Fn([f64; 3]) -> [f64; 3]) {
    let [red, green, blue] = image.rgb_mut();
    for ((red, green), blue) in red.iter_mut().zip(green).zip(blue) {
        let pixel = [*red, *green, *blue].map(share);
        [*red, *green, *blue] = rgb(change(hsv(pixel))).map(sample);
    }
}

/// Hue in turns, saturation and value (Smith 1978), all in 0..=1.
fn hsv([r, g, b]: [f64; 3]) -> [f64; 3] {
    let value = r.max(g).max(b);
    let range = value - r.min(g).min(b);
    if range == 0.0 {
        return [0.0, 0.0, value];
    }
    let sixths = if b == value {
        4.0 + (r - g) / range
    } else if g == value {
        2.0 + (b - r) / range
    } else {
        (g - b) / range
    };
    [(sixths / 6.0).rem_euclid(1.0), range / value, value]
}

fn rgb([h, s, v]: [f64; 3]) -> [f64; 3] {
    let sixths = h * 6.0;
    let part = sixths - sixths.floor();
    let (low, falling, rising) =
        (v * (1.0 - s), v * (1.0 - part * s), v * (1.0 - (1.0 - part) * s));
    match sixths.floor() as u8 % 6 {
        0 => [v, rising, low],
        1 => [falling, v, low],
        2 => [low, v, rising],
        3 => [low, falling, v],
        4 => [rising, low, v],
        _ => [v, low, falling],
    }
}
