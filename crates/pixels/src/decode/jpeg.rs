//! JPEG: baseline and progressive, grey, YCbCr, RGB, CMYK and YCCK.
//!
//! Every sample equals libjpeg-turbo's as it decodes by default (accurate integer transform, smooth chroma), and so
//! Pillow's; so do those of an image reduced by 2, 4 or 8. What is not needed for a region is not computed, and where
//! it can be, not read: data behind the last row of the region may be missing or damaged.
//!
//! In what is read, missing or damaged data are an error, never a grey area. Two things that every viewer forgives are
//! forgiven: stray bytes between the segments of the header or before the end marker, and a missing end marker.

use std::cell::RefCell;

use super::DecodeError;
use super::orientation::{self, Orientation};
use crate::image::Image;
use crate::record::CropBox;
use cpu::Cpu;
use layout::Layout;
use markers::{Colours, Frame};
use paint::{Lines, Picture};
use progressive::Store;
use reader::{Reader, Tables};
use sequential::Strip;
use stream::Window;

mod colour;
mod cpu;
mod huffman;
mod idct;
mod layout;
mod markers;
mod paint;
mod progressive;
mod reader;
mod sequential;
mod stream;
#[cfg(target_arch = "x86_64")]
mod vector;

/// Files with more scans are refused: a small file can hold thousands, and each is work for the whole image.
const MOST_SCANS: usize = 100;

/// The most blocks that an MCU can have, by the format.
const MOST_BLOCKS: usize = 10;

/// 64 coefficients, row by row.
type Block = [i16; 64];
/// What each coefficient of a block is multiplied by; 16 bits whose sign has no meaning.
type Quantisation = [i16; 64];

/// Where the coefficients, in the order of the file, are in a block.
const ZIGZAG: [u8; 64] = zigzag();

/// What the header of a JPEG file says.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Header {
    /// As stored, before [`Header::orientation`].
    pub width: usize,
    pub height: usize,
    /// 1 of a grey image, 3 of any other.
    pub channels: usize,
    /// How the stored pixels are turned to be upright; `None` if they are.
    pub orientation: Option<Orientation>,
}

/// Memory that is used again from one image to the next.
#[derive(Default)]
pub struct Scratch {
    tables: Box<Tables>,
    window: Box<Window>,
    strip: Box<Strip>,
    store: Store,
    /// The last coefficients of a row of blocks, where they are not known: the very last.
    unknown: Vec<u8>,
    samples: Vec<u8>,
    lines: Lines,
}

/// What the header says, without work on pixels.
pub fn header(bytes: &[u8]) -> Result<Header, DecodeError> {
    let mut reader = Reader::new(bytes);
    reader.next_scan(None)?.ok_or_else(DecodeError::truncated)?;
    let frame = reader.frame()?;
    let channels = if frame.count == 1 { 1 } else { 3 };
    let (width, height) = (frame.width, frame.height);
    Ok(Header { width, height, channels, orientation: reader.hints.orientation })
}

/// The samples of `region` into `out`, plane after plane: `[channels, region.height, region.width]`.
///
/// The region is in pixels as stored, of the image reduced by `shrink`, whose sides are the stored ones divided and
/// rounded up; `shrink` is 1, 2, 4 or 8. The result is that part of the whole image, bit for bit. `out` is cleared, and
/// its memory used again.
pub fn decode_region(
    bytes: &[u8],
    region: CropBox,
    shrink: usize,
    scratch: &mut Scratch,
    out: &mut Vec<u8>,
) -> Result<(), DecodeError> {
    let mut reader = Reader::new(bytes);
    scratch.tables.forget();
    let scan = reader.next_scan(Some(&mut scratch.tables))?.ok_or_else(DecodeError::truncated)?;
    let frame = reader.frame()?;
    check_region(&frame, region, shrink)?;
    let layout = Layout::new(&frame, region, shrink)?;
    scratch.samples.resize(layout.samples, 0);
    if frame.progressive {
        reader.progressive(scan, &frame, &layout, scratch)?;
    } else {
        reader.sequential(scan, &frame, &layout, scratch)?;
    }
    let colours = reader.hints.colours(&frame);
    let channels = if colours == Colours::Grey { 1 } else { 3 };
    out.resize(channels * region.width * region.height, 0);
    let picture = Picture { layout: &layout, samples: &scratch.samples, colours, region };
    Cpu::detect().paint(&picture, &mut scratch.lines, out);
    Ok(())
}

/// The whole image, upright.
pub fn decode(bytes: &[u8]) -> Result<Image, DecodeError> {
    let Header { width, height, channels, orientation } = header(bytes)?;
    let samples = MEMORY.with_borrow_mut(|(scratch, planes)| {
        let region = CropBox { top: 0, left: 0, height, width };
        let samples = decode_region(bytes, region, 1, scratch, planes)
            .map(|()| if channels == 1 { planes.clone() } else { interleaved(planes) });
        if samples.is_err() || planes.len() > KEPT {
            (*scratch, *planes) = Default::default();
        }
        samples
    })?;
    Ok(orientation::apply(Image::from_u8(width, height, channels, samples), orientation))
}

/// What [`decode`] keeps of an image for the next one of the same thread, at most, in samples.
const KEPT: usize = 1 << 24;

thread_local! {
    /// Memory of [`decode`]: fresh pages cost as much as the work on a small image.
    static MEMORY: RefCell<(Scratch, Vec<u8>)> = RefCell::default();
}

/// Three planes, pixel by pixel.
fn interleaved(planes: &[u8]) -> Vec<u8> {
    let (red, rest) = planes.split_at(planes.len() / 3);
    let (green, blue) = rest.split_at(rest.len() / 2);
    let mut samples = vec![0; planes.len()];
    let colours = red.iter().zip(green).zip(blue);
    for (pixel, ((&red, &green), &blue)) in samples.as_chunks_mut().0.iter_mut().zip(colours) {
        *pixel = [red, green, blue];
    }
    samples
}

fn check_region(frame: &Frame, region: CropBox, shrink: usize) -> Result<(), DecodeError> {
    let CropBox { top, left, height, width } = region;
    let fits = |start: usize, length: usize, side: usize| {
        length > 0 && start.checked_add(length).is_some_and(|end| end <= side.div_ceil(shrink))
    };
    if !matches!(shrink, 1 | 2 | 4 | 8) {
        return Err(DecodeError::new(format!(
            "an image is reduced by 1, 2, 4 or 8, not by {shrink}"
        )));
    }
    if !fits(left, width, frame.width) || !fits(top, height, frame.height) {
        let problem = format!(
            "the region of {width}×{height} pixels at ({left}, {top}) is not a part of the image of {}×{}",
            frame.width.div_ceil(shrink),
            frame.height.div_ceil(shrink),
        );
        return Err(DecodeError::new(problem));
    }
    Ok(())
}

const fn zigzag() -> [u8; 64] {
    let mut order = [0; 64];
    let (mut x, mut y, mut k) = (0u8, 0u8, 0);
    while k < 64 {
        order[k] = y * 8 + x;
        // Diagonals run up and to the right where x + y is even, down and to the left where it is odd.
        if (x + y) % 2 == 0 {
            if x == 7 {
                y += 1;
            } else {
                x += 1;
                y = y.saturating_sub(1);
            }
        } else if y == 7 {
            x += 1;
        } else {
            y += 1;
            x = x.saturating_sub(1);
        }
        k += 1;
    }
    order
}
