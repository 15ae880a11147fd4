//! The hue rotation, with the 8-bit HSV of Pillow in between.
//!
//! Pillow computes in single and double precision, pixel by pixel. Here the same numbers come from single precision
//! and whole numbers without a branch, so that sixteen pixels are turned at once; the tests compare all colours.

use crate::planes::Planes;
use crate::simd::{whole, widest};

/// Turns the hue by `shift` in [−0.5, 0.5] turns. The shift is truncated to whole 1/255 turns, and even a shift of 0
/// passes through 8-bit HSV, which changes some samples by a level or two.
pub fn hue(image: &mut Planes<u8>, shift: f32) {
    let steps = (f64::from(shift) * 255.0) as i32 & 255;
    let [red, green, blue] = image.rgb_mut();
    turn(red, green, blue, steps);
}

widest! {
    fn turn(red: &mut [u8], green: &mut [u8], blue: &mut [u8], steps: i32) {
        for ((r, g), b) in red.iter_mut().zip(green).zip(blue) {
            let [h, s, v] = to_hsv([*r, *g, *b].map(i32::from));
            let [x, y, z] = to_rgb((h + steps) & 255, s, v);
            (*r, *g, *b) = (x as u8, y as u8, z as u8);
        }
    }
}

/// Hue, saturation and value, each in 0..=255; hue and saturation of grey are 0.
#[inline(always)]
fn to_hsv([r, g, b]: [i32; 3]) -> [i32; 3] {
    let (max, min) = (r.max(g).max(b), r.min(g).min(b));
    let range = max - min;
    let saturation = whole((range * 255) as f32 / max.max(1) as f32, 255);
    // How far the middle channel is from the largest one, as a share of the range.
    let middle = (2 * max + min - r - g - b) as f32 / range.max(1) as f32;
    let red_side = if g < b { middle - 1.0 } else { 1.0 - middle };
    let green_side = if b < r { 1.0 + middle } else { 3.0 - middle };
    let blue_side = if r < g { 3.0 + middle } else { 5.0 - middle };
    let sixths = if r == max {
        red_side
    } else if g == max {
        green_side
    } else {
        blue_side
    };
    let turns = sixths / 6.0;
    let turns = if turns < 0.0 { turns + 1.0 } else { turns };
    // Pillow truncates 255 times this number, exactly; the product that is rounded to single precision may have become
    // the next whole number. What rounding added is found exactly, as 255 x = 256 x − x.
    let product = turns * 255.0;
    let hue = whole(product, 255);
    let rounded_up = hue as f32 == product && (turns * 256.0 - product) - turns < 0.0;
    let hue = hue - i32::from(rounded_up);
    [if range == 0 { 0 } else { hue }, saturation, max]
}

/// Red, green and blue of a hue, a saturation and a value, each in 0..=255.
#[inline(always)]
fn to_rgb(h: i32, s: i32, v: i32) -> [i32; 3] {
    // Which side of the colour hexagon, and how far along it in 255ths.
    let sixths = 6 * h;
    let side = (sixths + 1 + (sixths >> 8)) >> 8;
    let along = sixths - 255 * side;
    let diluted = v * (255 - s) + 128;
    let p = (diluted + (diluted >> 8)) >> 8;
    let q = rounded(v * (65_025 - s * along));
    let t = rounded(v * (65_025 - s * (255 - along)));
    let pick = |six: [i32; 6]| {
        let [a, b, c, d, e, f] = six;
        let low = if side == 1 { b } else { a };
        let low = if side == 2 { c } else { low };
        let high = if side == 4 { e } else { d };
        let high = if side == 5 { f } else { high };
        // Side 6 is side 0 again.
        if (3..6).contains(&side) { high } else { low }
    };
    [pick([v, q, p, p, t, v]), pick([t, v, v, q, p, p]), pick([p, p, t, v, v, q])]
}

/// `n / 255²`, rounded to the nearest whole number, for n in 0..=255³.
#[inline(always)]
fn rounded(n: i32) -> i32 {
    const SQUARE: f32 = 65_025.0;
    // All of these are below 2²⁴ and exact but for the quotient, which may be off by one.
    let n = (n + 32_512) as f32;
    let quotient = whole(n * (1.0 / SQUARE), 256);
    let rest = n - quotient as f32 * SQUARE;
    quotient + i32::from(rest >= SQUARE) - i32::from(rest < 0.0)
}

#[cfg(test)]
mod tests {
    use super::{hue, to_hsv, to_rgb};
    use crate::planes::Planes;

    #[test]
    fn hsv_equals_pillow() {
        let cases = [
            ([200, 30, 90], [240, 216, 200]),
            ([10, 250, 40], [90, 244, 250]),
            ([0, 0, 255], [170, 255, 255]),
            ([128, 128, 128], [0, 0, 128]),
            ([255, 255, 255], [0, 0, 255]),
            ([1, 2, 3], [148, 170, 3]),
            ([77, 160, 20], [67, 223, 160]),
            ([240, 120, 0], [21, 255, 240]),
        ];
        for (rgb, hsv) in cases {
            assert_eq!(to_hsv(rgb), hsv, "{rgb:?}");
        }
    }

    /// Pillow's formulas in Pillow's precisions.
    fn hsv_in_mixed_precision([r, g, b]: [i32; 3]) -> [i32; 3] {
        let (max, min) = (r.max(g).max(b), r.min(g).min(b));
        if max == min {
            return [0, 0, max];
        }
        let range = (max - min) as f32;
        let saturation = range / max as f32;
        let [rc, gc, bc] = [r, g, b].map(|channel| f64::from((max - channel) as f32 / range));
        let sixths = if r == max {
            bc - gc
        } else if g == max {
            2.0 + rc - bc
        } else {
            4.0 + gc - rc
        } as f32;
        let turns = ((f64::from(sixths) / 6.0 + 1.0) % 1.0) as f32;
        [(f64::from(turns) * 255.0) as i32, (f64::from(saturation) * 255.0) as i32, max]
    }

    fn rgb_in_mixed_precision(h: i32, s: i32, v: i32) -> [i32; 3] {
        let sixths = f64::from(h) * 6.0 / 255.0;
        let side = sixths.floor();
        let along = f64::from((sixths - side) as f32);
        let saturation = f64::from((f64::from(s) / 255.0) as f32);
        let part = |dilution: f64| (f64::from(v) * (1.0 - dilution)).round() as i32;
        let p = part(saturation);
        let q = part(saturation * along);
        let t = part(saturation * (1.0 - along));
        match side as i32 % 6 {
            0 => [v, t, p],
            1 => [q, v, p],
            2 => [p, v, t],
            3 => [p, q, v],
            4 => [t, p, v],
            _ => [v, p, q],
        }
    }

    #[test]
    fn the_hsv_of_every_colour_equals_pillow_s() {
        for code in 0..1 << 24 {
            let colour = [code >> 16, code >> 8 & 255, code & 255];
            assert_eq!(to_hsv(colour), hsv_in_mixed_precision(colour), "{colour:?}");
        }
    }

    #[test]
    fn the_colour_of_every_hsv_equals_pillow_s() {
        for code in 0..1 << 24 {
            let [h, s, v] = [code >> 16, code >> 8 & 255, code & 255];
            assert_eq!(to_rgb(h, s, v), rgb_in_mixed_precision(h, s, v), "{h} {s} {v}");
        }
    }

    #[test]
    fn the_instructions_of_this_processor_give_the_same_as_one_colour_at_a_time() {
        let mut planes = Planes { width: 4099, height: 7, channels: 3, samples: Vec::new() };
        planes
            .samples
            .extend((0..4099 * 21u32).map(|i| (i.wrapping_mul(2_654_435_761) >> 24) as u8));
        let before = planes.clone();
        hue(&mut planes, 0.05);
        for i in 0..4099 * 7 {
            let [h, s, v] = to_hsv([0, 1, 2].map(|c| i32::from(before.plane(c)[i])));
            let expected = to_rgb((h + 12) & 255, s, v);
            assert_eq!([0, 1, 2].map(|c| i32::from(planes.plane(c)[i])), expected);
        }
    }
}
