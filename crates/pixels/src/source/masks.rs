//! Masks as detection sets write them: polygons, run lengths, and PNG files of indices.

use std::io::Cursor;

use crate::decode::MAX_SAMPLES;

/// Points are rounded to fifths of a pixel, as COCO's own tools do.
const FINE: f64 = 5.0;

/// A mask under construction, column by column as COCO counts. 1 is inside.
pub(super) struct Mask {
    width: usize,
    height: usize,
    /// `[width × height]`: column after column.
    inside: Vec<u8>,
}

impl Mask {
    /// An empty mask; `None` when it would be larger than any image.
    pub(super) fn new(width: usize, height: usize) -> Option<Self> {
        let pixels = width.checked_mul(height).filter(|n| *n as u64 <= MAX_SAMPLES)?;
        Some(Self { width, height, inside: vec![0; pixels] })
    }

    /// Adds what is inside a polygon (x, y, x, y, ...), with the same pixels as COCO's `maskApi`.
    pub(super) fn add_polygon(&mut self, polygon: &[f32]) {
        let (width, height) = (self.width as f64, self.height as f64);
        // Far outside of the image only the direction matters; this bounds the work.
        let far = 2.0 * (width + height);
        let fine = |value: f32| (FINE * f64::from(value).clamp(-far, far) + 0.5) as i64;
        let points: Vec<[i64; 2]> =
            polygon.as_chunks().0.iter().map(|[x, y]| [fine(*x), fine(*y)]).collect();
        // Where the inside begins and ends, in the order of the mask.
        let mut turns = vec![0; self.inside.len() + 1];
        let mut before: Option<[i64; 2]> = None;
        for (here, next) in points.iter().zip(points.iter().cycle().skip(1)) {
            edge(*here, *next, |point| {
                if let Some([u, v]) = before.replace(point)
                    && u != point[0]
                {
                    self.turn(&mut turns, [u, v], point);
                }
            });
        }
        let mut inside = 0;
        for (pixel, turn) in self.inside.iter_mut().zip(turns) {
            inside ^= turn;
            *pixel |= inside;
        }
    }

    /// Notes where an edge crosses the middle of a column between two points that are one step apart.
    fn turn(&self, turns: &mut [u8], [u, v]: [i64; 2], [x, y]: [i64; 2]) {
        let coarse = |fine: i64| (fine as f64 + 0.5) / FINE - 0.5;
        let column = coarse(if x < u { x } else { x - 1 });
        if column.fract() != 0.0 || column < 0.0 || column > self.width as f64 - 1.0 {
            return;
        }
        let row = coarse(y.min(v)).clamp(0.0, self.height as f64).ceil();
        turns[column as usize * self.height + row as usize] ^= 1;
    }

    /// Adds run lengths: outside, inside, outside, ... What they have too much is ignored.
    pub(super) fn add_runs(&mut self, runs: &[u64]) {
        let mut start = 0u64;
        for (number, run) in runs.iter().enumerate() {
            let end = start.saturating_add(*run).min(self.inside.len() as u64);
            if number % 2 == 1 {
                self.inside[start as usize..end as usize].fill(1);
            }
            start = end;
        }
    }

    /// Writes `value` into `image` (row by row) where the mask is.
    pub(super) fn paint(&self, image: &mut [u8], value: u8) {
        for (x, column) in self.inside.chunks_exact(self.height.max(1)).enumerate() {
            for (y, _) in column.iter().enumerate().filter(|(_, inside)| **inside == 1) {
                image[y * self.width + x] = value;
            }
        }
    }
}

/// All points of a straight line, one step apart along its longer direction.
fn edge([xs, ys]: [i64; 2], [xe, ye]: [i64; 2], mut point: impl FnMut([i64; 2])) {
    let (dx, dy) = ((xe - xs).abs(), (ye - ys).abs());
    let flat = dx >= dy;
    // The line is computed from its smaller end, so that both directions round alike.
    let flip = if flat { xs > xe } else { ys > ye };
    let ([xs, ys], [xe, ye]) = if flip { ([xe, ye], [xs, ys]) } else { ([xs, ys], [xe, ye]) };
    let steps = dx.max(dy);
    let slope = match steps {
        0 => 0.0,
        _ if flat => (ye - ys) as f64 / steps as f64,
        _ => (xe - xs) as f64 / steps as f64,
    };
    for step in 0..=steps {
        let along = if flip { steps - step } else { step };
        let across = slope * along as f64 + 0.5;
        point(if flat {
            [xs + along, (ys as f64 + across) as i64]
        } else {
            [(xs as f64 + across) as i64, ys + along]
        });
    }
}

/// The run lengths in COCO's compressed text: five bits in each character, from the fourth number on the difference to
/// the last but one.
pub(super) fn runs_of_text(text: &str) -> Vec<u64> {
    let mut runs: Vec<i64> = Vec::new();
    let mut bytes = text.bytes();
    'runs: loop {
        let (mut value, mut shift) = (0i64, 0);
        loop {
            let Some(byte) = bytes.next() else { break 'runs };
            let bits = i64::from(byte.wrapping_sub(48));
            if shift < 60 {
                value |= (bits & 0x1f) << shift;
                shift += 5;
            }
            if bits & 0x20 == 0 {
                if bits & 0x10 != 0 && shift < 60 {
                    value |= -1 << shift;
                }
                break;
            }
        }
        if let [.., before, _] = runs[..]
            && runs.len() > 2
        {
            value = value.wrapping_add(before);
        }
        runs.push(value);
    }
    runs.into_iter().map(|run| run.max(0) as u64).collect()
}

/// The indices of a PNG with a palette, or the levels of a grey one, of up to 8 bits: width, height, row by row.
pub(super) fn read_indices(bytes: &[u8]) -> Result<(usize, usize, Vec<u8>), String> {
    let mut decoder = png::Decoder::new(Cursor::new(bytes));
    decoder.set_transformations(png::Transformations::IDENTITY);
    let mut reader = decoder.read_info().map_err(|error| error.to_string())?;
    let (color, depth) = reader.output_color_type();
    let (width, height) = (reader.info().width as usize, reader.info().height as usize);
    if !matches!(color, png::ColorType::Indexed | png::ColorType::Grayscale)
        || depth == png::BitDepth::Sixteen
    {
        return Err(format!("indices of up to 8 bits are wanted, found {color:?} with {depth:?}"));
    }
    if width as u64 * height as u64 > MAX_SAMPLES {
        return Err(format!("the header claims {width}×{height} pixels"));
    }
    let size = reader.output_buffer_size().ok_or("cut short")?;
    let mut packed = vec![0; size];
    reader.next_frame(&mut packed).map_err(|error| error.to_string())?;
    let bits = depth as usize;
    if bits == 8 {
        return Ok((width, height, packed));
    }
    let stride = (width * bits).div_ceil(8).max(1);
    let value = |row: &[u8], x: usize| {
        row[x * bits / 8] >> (8 - bits - x * bits % 8) & ((1 << bits) - 1) as u8
    };
    let rows = packed.chunks_exact(stride).take(height);
    Ok((width, height, rows.flat_map(|row| (0..width).map(move |x| value(row, x))).collect()))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn rows(mask: &Mask) -> Vec<u8> {
        let mut image = vec![0; mask.width * mask.height];
        mask.paint(&mut image, 1);
        image
    }

    fn from_text(text: &str, width: usize, height: usize) -> Mask {
        let mut mask = Mask::new(width, height).expect("a mask");
        mask.add_runs(&runs_of_text(text));
        mask
    }

    // The expected values of these two were made with pycocotools.
    #[test]
    fn compressed_runs_are_read() {
        let expected = [0, 0, 0, 0, 0, 1, 1, 0, 0, 1, 1, 0, 0, 0, 0, 1];
        assert_eq!(rows(&from_text("52202O", 4, 4)), expected);
    }

    #[test]
    fn polygons_have_the_pixels_that_coco_gives_them() {
        let mut mask = Mask::new(10, 10).expect("a mask");
        mask.add_polygon(&[2.0, 1.5, 8.5, 2.0, 7.0, 8.0, 1.5, 6.5]);
        assert_eq!(rows(&mask), rows(&from_text("f05500001O00Nd0", 10, 10)));
        assert_eq!(rows(&mask).iter().map(|pixel| usize::from(*pixel)).sum::<usize>(), 31);
    }

    #[test]
    fn odd_polygons_and_runs_are_survived() {
        let mut mask = Mask::new(5, 4).expect("a mask");
        for polygon in [
            &[][..],
            &[1.0],
            &[2.0, 2.0],
            &[1.0, 1.0, 1.0, 1.0, 1.0, 1.0],
            &[f32::NAN, 1e30, -1e30, f32::INFINITY, 3.0, 3.0],
        ] {
            mask.add_polygon(polygon);
        }
        mask.add_runs(&[u64::MAX, u64::MAX, 3]);
        for text in ["", "~~~~~~~~~~~~~~~~~~~~~~", "\u{0}\u{7f}", "oooooooooooooooooooooooo"] {
            mask.add_runs(&runs_of_text(text));
        }
        assert!(Mask::new(usize::MAX, 2).is_none() && Mask::new(1 << 20, 1 << 20).is_none());
    }

    #[test]
    fn indices_of_a_few_bits_are_spread_over_bytes() {
        let mut file = Vec::new();
        let mut encoder = png::Encoder::new(&mut file, 3, 2);
        encoder.set_color(png::ColorType::Indexed);
        encoder.set_depth(png::BitDepth::Two);
        encoder.set_palette(vec![0; 12]);
        let written = encoder
            .write_header()
            .and_then(|mut png| png.write_image_data(&[0b0001_1000, 0b1100_0100]));
        written.expect("written");
        assert_eq!(read_indices(&file).expect("indices"), (3, 2, vec![0, 1, 2, 3, 0, 1]));
        assert!(read_indices(&file[..40]).is_err());
    }
}
