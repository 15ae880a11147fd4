//! The hue rotation, with the 8-bit HSV of Pillow in between.

use crate::image::Image;

/// Turns the hue by `shift` in [−0.5, 0.5] turns. The shift is truncated to whole 1/255 turns, and even a shift of 0
/// passes through 8-bit HSV, which changes some samples by a level or two.
pub fn hue(image: &mut Image, shift: f32) {
    let steps = (f64::from(shift) * 255.0) as i32 as u8;
    let sectors = Sector::table();
    for pixel in super::rgb(image).as_chunks_mut::<3>().0 {
        let [h, s, v] = to_hsv(*pixel);
        *pixel = to_rgb(&sectors[usize::from(h.wrapping_add(steps))], s, v);
    }
}

/// Hue, saturation and value, each in 0..=255; the hue of grey is 0.
fn to_hsv([r, g, b]: [u8; 3]) -> [u8; 3] {
    let (max, min) = (r.max(g).max(b), r.min(g).min(b));
    if max == min {
        return [0, 0, max];
    }
    let range = f32::from(max - min);
    let saturation = range / f32::from(max);
    let away = |channel: u8| f64::from(f32::from(max - channel) / range);
    // The single precision between the steps is Pillow's, and decides some truncations.
    let sixths = if r == max {
        away(b) - away(g)
    } else if g == max {
        2.0 + away(r) - away(b)
    } else {
        4.0 + away(g) - away(r)
    } as f32;
    let turns = f64::from(sixths) / 6.0 + 1.0;
    let turns = if turns >= 1.0 { turns - 1.0 } else { turns } as f32;
    [(f64::from(turns) * 255.0) as u8, (f64::from(saturation) * 255.0) as u8, max]
}

/// Which of the six sides of the colour hexagon a hue lies on, and how far along.
#[derive(Clone, Copy)]
struct Sector {
    side: u8,
    along: f64,
}

impl Sector {
    fn table() -> [Self; 256] {
        std::array::from_fn(|hue| {
            let sixths = hue as f64 * 6.0 / 255.0;
            let along = (sixths - sixths.floor()) as f32;
            Self { side: sixths as u8 % 6, along: along.into() }
        })
    }
}

fn to_rgb(sector: &Sector, s: u8, v: u8) -> [u8; 3] {
    if s == 0 {
        return [v; 3];
    }
    let saturation = f64::from((f64::from(s) / 255.0) as f32);
    let value = f64::from(v);
    // Adding a half and truncating rounds these non-negative numbers half up.
    let part = |dilution: f64| (value * (1.0 - dilution) + 0.5) as u8;
    let p = part(saturation);
    let q = part(saturation * sector.along);
    let t = part(saturation * (1.0 - sector.along));
    match sector.side {
        0 => [v, t, p],
        1 => [q, v, p],
        2 => [p, v, t],
        3 => [p, q, v],
        4 => [t, p, v],
        _ => [v, p, q],
    }
}

#[cfg(test)]
mod tests {
    use super::to_hsv;

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
}
