//! Files of optical flow: `.flo`, KITTI's PNG, `.pfm`.

use std::io::Cursor;

use crate::decode::MAX_SAMPLES;

use super::super::Flow;

/// What a `.flo` file begins with: "PIEH", the number 202021.25.
const MAGIC: &[u8] = b"PIEH";

/// A component beyond this means that the vector is not known (Middlebury's rule).
const UNKNOWN: f32 = 1e9;

/// A flow field with its width and height. What is not known is (0, 0) and not valid.
#[derive(Debug, PartialEq)]
pub(super) struct Field {
    pub(super) width: usize,
    pub(super) height: usize,
    pub(super) flow: Flow,
}

/// Reads any of the three forms; which it is, the bytes say.
pub(super) fn read(bytes: &[u8]) -> Result<Field, String> {
    match bytes {
        [b'P', b'I', b'E', b'H', ..] => read_flo(bytes),
        [b'P', b'F' | b'f', ..] => read_pfm(bytes),
        [0x89, b'P', b'N', b'G', ..] => read_png(bytes),
        _ => Err("a flow file begins with PIEH (.flo), PF (.pfm) or is a PNG of 16 bits".into()),
    }
}

/// Little-endian: the magic number, width, height, then (u, v) as 32-bit floats row by row.
fn read_flo(bytes: &[u8]) -> Result<Field, String> {
    let body = bytes.strip_prefix(MAGIC).ok_or("no .flo file")?;
    let (head, body) = body.split_first_chunk::<8>().ok_or("cut short within the header")?;
    let (words, _) = head.as_chunks::<4>();
    let [width, height] = [words[0], words[1]].map(i32::from_le_bytes);
    let pixels = pixels(i64::from(width), i64::from(height))?;
    let (vectors, _) = body.as_chunks::<8>();
    let vectors = vectors.get(..pixels).ok_or_else(|| short(8 * pixels, body.len()))?;
    let number = |bytes: &[u8]| f32::from_le_bytes([bytes[0], bytes[1], bytes[2], bytes[3]]);
    let vectors = vectors.iter().map(|bytes| [number(&bytes[..4]), number(&bytes[4..])]);
    Ok(field(width as usize, height as usize, vectors))
}

/// Three lines of text, then floats from the bottom row to the top; of three channels the first two are the flow.
fn read_pfm(bytes: &[u8]) -> Result<Field, String> {
    let (kind, rest) = word(bytes).ok_or("cut short within the header")?;
    let channels = match kind {
        "PF" => 3,
        other => return Err(format!("flow is a .pfm of three channels (PF), found {other}")),
    };
    let mut rest = rest;
    let mut next = |what: &str| {
        let (text, after) = word(rest).ok_or_else(|| format!("cut short before the {what}"))?;
        rest = after;
        text.parse::<f64>().map_err(|_| format!("`{text}` is no {what}"))
    };
    let (width, height, scale) = (next("width")?, next("height")?, next("scale")?);
    let pixels = pixels(width as i64, height as i64)?;
    let (width, height) = (width as usize, height as usize);
    let (floats, _) = rest.as_chunks::<4>();
    let floats = floats.get(..pixels * channels).ok_or_else(|| short(12 * pixels, rest.len()))?;
    let number = |at: usize| {
        let bytes = floats[at];
        if scale < 0.0 { f32::from_le_bytes(bytes) } else { f32::from_be_bytes(bytes) }
    };
    let places =
        (0..height).rev().flat_map(|row| (0..width).map(move |x| (row * width + x) * channels));
    Ok(field(width, height, places.map(|at| [number(at), number(at + 1)])))
}

/// KITTI: 16-bit RGB, red and green (value − 32768) / 64, blue 1 where the vector is known.
fn read_png(bytes: &[u8]) -> Result<Field, String> {
    let mut decoder = png::Decoder::new(Cursor::new(bytes));
    decoder.set_transformations(png::Transformations::IDENTITY);
    let mut reader = decoder.read_info().map_err(|error| error.to_string())?;
    let (width, height) = (reader.info().width, reader.info().height);
    if reader.output_color_type() != (png::ColorType::Rgb, png::BitDepth::Sixteen) {
        return Err(format!("flow is a PNG of 16-bit RGB, found {:?}", reader.output_color_type()));
    }
    pixels(width.into(), height.into())?;
    let mut samples = vec![0; reader.output_buffer_size().ok_or("cut short")?];
    reader.next_frame(&mut samples).map_err(|error| error.to_string())?;
    let (pixels, _) = samples.as_chunks::<6>();
    let known = |pixel: &[u8; 6]| pixel[4..] != [0, 0];
    let vectors = pixels.iter().map(|pixel| {
        let [u, v] = [[pixel[0], pixel[1]], [pixel[2], pixel[3]]]
            .map(|pair| (f32::from(u16::from_be_bytes(pair)) - 32768.0) / 64.0);
        if known(pixel) { [u, v] } else { [f32::INFINITY; 2] }
    });
    Ok(field(width as usize, height as usize, vectors))
}

fn field(width: usize, height: usize, vectors: impl Iterator<Item = [f32; 2]>) -> Field {
    let known = |vector: [f32; 2]| vector.iter().all(|component| component.abs() <= UNKNOWN);
    let (vectors, valid) =
        vectors.map(|v| if known(v) { (v, true) } else { ([0.0; 2], false) }).unzip();
    Field { width, height, flow: Flow { vectors, valid, occluded: None } }
}

fn pixels(width: i64, height: i64) -> Result<usize, String> {
    let claim =
        width.checked_mul(height).filter(|n| width > 0 && height > 0 && *n as u64 <= MAX_SAMPLES);
    claim.map(|n| n as usize).ok_or_else(|| format!("the header claims {width}×{height} pixels"))
}

fn short(wanted: usize, found: usize) -> String {
    format!("cut short: {wanted} bytes of vectors are wanted, {found} found")
}

/// The next word of a text header, and what comes after the one space behind it.
fn word(bytes: &[u8]) -> Option<(&str, &[u8])> {
    let start = bytes.iter().position(|byte| !byte.is_ascii_whitespace())?;
    let length = bytes[start..].iter().take(32).position(u8::is_ascii_whitespace)?;
    let text = std::str::from_utf8(&bytes[start..start + length]).ok()?;
    Some((text, &bytes[start + length + 1..]))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn flo(width: i32, height: i32, numbers: &[f32]) -> Vec<u8> {
        let mut bytes = MAGIC.to_vec();
        bytes.extend(width.to_le_bytes());
        bytes.extend(height.to_le_bytes());
        bytes.extend(numbers.iter().flat_map(|number| number.to_le_bytes()));
        bytes
    }

    #[test]
    fn flo_files_are_read_and_huge_vectors_unknown() {
        let bytes = flo(1, 1, &[1.0, -2.0]);
        let numbers = 0x0100_0000_0100_0000_0000_803f_0000_00c0_u128;
        assert_eq!(bytes, [b"PIEH", &numbers.to_be_bytes()[..]].concat());
        let field = read(&bytes).expect("a field");
        assert_eq!((field.flow.vectors, field.flow.valid), (vec![[1.0, -2.0]], vec![true]));
        let field = read(&flo(3, 1, &[2e9, 0.0, f32::NAN, 0.0, 1.0, 1.0])).expect("a field");
        assert_eq!(field.flow.vectors, [[0.0, 0.0], [0.0, 0.0], [1.0, 1.0]]);
        assert_eq!(field.flow.valid, [false, false, true]);
    }

    #[test]
    fn kitti_files_are_read() {
        let pixels: [[u16; 3]; 4] =
            [[32768, 32864, 1], [32112, 0, 1], [65535, 32768, 1], [0, 0, 0]];
        let bytes: Vec<u8> =
            pixels.iter().flatten().flat_map(|value| value.to_be_bytes()).collect();
        let mut file = Vec::new();
        let mut encoder = png::Encoder::new(&mut file, 2, 2);
        encoder.set_color(png::ColorType::Rgb);
        encoder.set_depth(png::BitDepth::Sixteen);
        encoder.write_header().and_then(|mut png| png.write_image_data(&bytes)).expect("written");
        let field = read(&file).expect("a field");
        assert_eq!(
            field.flow.vectors,
            [[0.0, 1.5], [-10.25, -512.0], [511.984_38, 0.0], [0.0, 0.0]]
        );
        assert_eq!(field.flow.valid, [true, true, true, false]);
        for cut in 0..file.len() - 20 {
            assert!(read(&file[..cut]).is_err());
        }
    }

    #[test]
    fn pfm_rows_go_from_the_bottom_to_the_top() {
        for little in [true, false] {
            let mut bytes = format!("PF\n1 2\n{}\n", if little { -1.0 } else { 1.0 }).into_bytes();
            let bits = |n: f32| if little { n.to_le_bytes() } else { n.to_be_bytes() };
            bytes.extend([1.0, 2.0, 0.0, 3.0, 4.0, 0.0].into_iter().flat_map(bits));
            let field = read(&bytes).expect("a field");
            assert_eq!((field.width, field.flow.vectors), (1, vec![[3.0, 4.0], [1.0, 2.0]]));
            assert!(
                read(&bytes[..bytes.len() - 1]).expect_err("cut").contains("24 bytes of vectors")
            );
        }
    }

    #[test]
    fn claims_are_checked_before_memory_is_taken() {
        for (width, height) in [(i32::MAX, i32::MAX), (-1, -1), (0, 5), (1 << 20, 1 << 20)] {
            assert!(read(&flo(width, height, &[])).expect_err("refused").contains("claims"));
        }
        assert!(read(&flo(2, 2, &[1.0])).expect_err("refused").contains("32 bytes"));
        assert!(read(b"PF\n99999999999999 2\n1\n").is_err());
        assert!(read(b"PF\n2 2\n1").is_err() && read(b"PIEH\x01").is_err() && read(b"").is_err());
    }
}
