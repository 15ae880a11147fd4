//! The hue rotation, with the 8-bit HSV of Pillow in between.

use crate::image::Image;

/// Turns the hue by `shift` in [−0.5, 0.5] turns. The shift is truncated to whole 1/255 turns, and even a shift of 0
/// passes through 8-bit HSV, which changes some samples by a level or two.
pub fn hue(image: &mut Image, shift: f32) {
    let steps = (f64::from(shift) * 255.0) as i32 as u8;
    for pixel in super::rgb(image).as_chunks_mut::<3>().0 {
        let [h, s, v] = to_hsv(*pixel);
        *pixel = to_rgb(SECTORS[usize::from(h.wrapping_add(steps))], s, v);
    }
}

/// Hue, saturation and value, each in 0..=255; hue and saturation of grey are 0.
fn to_hsv([r, g, b]: [u8; 3]) -> [u8; 3] {
    let (max, min) = (r.max(g).max(b), r.min(g).min(b));
    // Pixels are unpredictable, so this is written without branches; grey divides 0 by 0, which the conversion to
    // an integer makes 0.
    let range = f32::from(max - min);
    let saturation = range / f32::from(max);
    let away = [r, g, b].map(|channel| f64::from(f32::from(max - channel) / range));
    let largest = if r == max { 0 } else { 1 + usize::from(g != max) };
    let (ahead, behind) = (away[(largest + 2) % 3], away[(largest + 1) % 3]);
    // The single precision between the steps is Pillow's, and decides some truncations.
    let sixths = (2.0 * largest as f64 + ahead - behind) as f32;
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

static SECTORS: [Sector; 256] = {
    let mut table = [Sector { side: 0, along: 0.0 }; 256];
    let mut hue = 0;
    while hue < 256 {
        let sixths = hue as f64 * 6.0 / 255.0;
        let whole = sixths as u8;
        table[hue] = Sector { side: whole % 6, along: (sixths - whole as f64) as f32 as f64 };
        hue += 1;
    }
    table
};

/// Saturation in [0, 1], in Pillow's single precision.
static SATURATIONS: [f64; 256] = {
    let mut table = [0.0; 256];
    let mut saturation = 0;
    while saturation < 256 {
        table[saturation] = (saturation as f64 / 255.0) as f32 as f64;
        saturation += 1;
    }
    table
};

fn to_rgb(sector: Sector, s: u8, v: u8) -> [u8; 3] {
    /// Which of v, t, p and q red, green and blue are, side by side.
    const PARTS: [[usize; 3]; 6] =
        [[0, 1, 2], [3, 0, 2], [2, 0, 1], [2, 3, 0], [1, 2, 0], [0, 2, 3]];
    let saturation = SATURATIONS[usize::from(s)];
    let value = f64::from(v);
    // Adding a half and truncating rounds these non-negative numbers half up.
    let part = |dilution: f64| (value * (1.0 - dilution) + 0.5) as u8;
    let t = part(saturation * (1.0 - sector.along));
    let parts = [v, t, part(saturation), part(saturation * sector.along)];
    PARTS[usize::from(sector.side)].map(|index| parts[index])
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
