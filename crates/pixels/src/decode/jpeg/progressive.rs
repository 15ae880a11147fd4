//! Scans of progressive files: each brings some coefficients of all blocks, or one more bit of them.

use super::super::DecodeError;
use super::huffman::{END_OF_BLOCK, Kind, Table, value};
use super::layout::Layout;
use super::markers::{Frame, MOST_COMPONENTS, Scan, damaged};
use super::sequential::{difference, next};
use super::stream::{Bits, Stream, Window};
use super::{Block, Tables, ZIGZAG};

/// The coefficients of all blocks down to the last row that is needed: later scans refine what earlier ones brought.
pub struct Store {
    pub blocks: Vec<Block>,
    parts: [Part; MOST_COMPONENTS],
    /// For each coefficient how many low bits are still missing; `None` before its first scan.
    missing: [[Option<u32>; 64]; MOST_COMPONENTS],
}

impl Default for Store {
    fn default() -> Self {
        let (parts, missing) = ([Part::default(); MOST_COMPONENTS], [[None; 64]; MOST_COMPONENTS]);
        Self { blocks: Vec::new(), parts, missing }
    }
}

/// The blocks of one component.
#[derive(Clone, Copy, Default)]
struct Part {
    start: usize,
    stride: usize,
    h: usize,
    v: usize,
    blocks: [usize; 2],
}

impl Store {
    /// Empties the store and makes it large enough for an image.
    pub fn begin(&mut self, frame: &Frame, layout: &Layout) {
        let mut count = 0;
        for (part, plane) in self.parts.iter_mut().zip(&layout.planes[..frame.count]) {
            let stride = layout.across * plane.h;
            *part = Part { start: count, stride, h: plane.h, v: plane.v, blocks: plane.blocks };
            count += stride * layout.rows[1] * plane.v;
        }
        self.blocks.clear();
        self.blocks.resize(count, [0; 64]);
        self.missing = [[None; 64]; MOST_COMPONENTS];
    }

    /// The blocks of a component from `column` on in a row of blocks.
    pub fn row(&self, component: usize, row: usize, column: usize, count: usize) -> &[Block] {
        let Part { start, stride, .. } = self.parts[component];
        &self.blocks[start + row * stride + column..][..count]
    }

    /// Whether every coefficient is there to the last bit.
    pub fn is_complete(&self, frame: &Frame) -> bool {
        self.missing[..frame.count].iter().flatten().all(|missing| *missing == Some(0))
    }

    /// Whether the picture is there as libjpeg shows it without guessing: it fills in what is missing of the first ten
    /// coefficients.
    pub fn is_presentable(&self, frame: &Frame) -> bool {
        self.missing[..frame.count].iter().all(|part| part[..10].iter().all(|m| *m == Some(0)))
    }

    /// Notes what a scan brings. Scans have to build upon each other.
    fn note(&mut self, scan: &Scan) -> Result<(), DecodeError> {
        for &[component, ..] in &scan.parts[..scan.count] {
            let missing = &mut self.missing[component];
            let wanted = (scan.high > 0).then_some(scan.high);
            let range = scan.first..=scan.last;
            let begun = scan.first == 0 || missing[0].is_some();
            if !begun || missing[range.clone()].iter().any(|missing| *missing != wanted) {
                return Err(damaged("the scans do not follow from each other"));
            }
            missing[range].fill(Some(scan.low));
        }
        Ok(())
    }
}

/// All that a scan needs.
pub struct Job<'a, 'w> {
    pub stream: Stream<'a, 'w>,
    pub bits: Bits,
    pub scan: &'a Scan,
    pub layout: &'a Layout,
    pub tables: &'a Tables,
    pub store: &'a mut Store,
}

/// What is carried from block to block.
#[derive(Default)]
struct Carried {
    predictions: [i32; MOST_COMPONENTS],
    /// Blocks for which the band is over.
    ended: u32,
}

/// Decodes a scan up to the last row that the region needs.
#[inline(always)]
pub fn scan(job: &mut Job) -> Result<(), DecodeError> {
    job.store.note(job.scan)?;
    let scan = job.scan;
    let first = job.store.parts[scan.parts[0][0]];
    let single = scan.count == 1;
    let (across, down) = if single {
        (first.blocks[0], first.blocks[1].min(job.layout.rows[1] * first.v))
    } else {
        (job.layout.across, job.layout.rows[1])
    };
    let mut carried = Carried::default();
    let (mut until_restart, mut restarts) = (job.tables.interval, 0);
    for row in 0..down {
        for column in 0..across {
            if job.tables.interval > 0 {
                if until_restart == 0 {
                    job.bits = job.stream.restart(job.bits, restarts)?;
                    (until_restart, restarts) = (job.tables.interval, restarts + 1);
                    carried = Carried::default();
                }
                until_restart -= 1;
            }
            for part in &scan.parts[..scan.count] {
                let Part { start, stride, h, v, .. } = job.store.parts[part[0]];
                let [h, v] = if single { [1, 1] } else { [h, v] };
                for y in 0..v {
                    for x in 0..h {
                        let at = start + (row * v + y) * stride + column * h + x;
                        block(job, &mut carried, part, at)?;
                    }
                }
            }
        }
    }
    Ok(())
}

#[inline(always)]
fn block(
    job: &mut Job,
    carried: &mut Carried,
    &[component, dc, ac]: &[usize; 3],
    at: usize,
) -> Result<(), DecodeError> {
    let scan = job.scan;
    let target = &mut job.store.blocks[at];
    if scan.first > 0 && scan.high == 0 && carried.ended > 0 {
        carried.ended -= 1;
        return Ok(());
    }
    let mut bits = job.bits;
    job.stream.before_block(&mut bits)?;
    let window = job.stream.window();
    let done = match (scan.first, scan.high) {
        (0, 0) => {
            bits.refill(window);
            difference(&mut bits, &job.tables.dc[dc]).map(|difference| {
                let prediction = &mut carried.predictions[component];
                *prediction = prediction.wrapping_add(difference);
                target[0] = (*prediction << scan.low) as i16;
            })
        }
        (0, _) => {
            bits.refill(window);
            target[0] |= (bits.take(1) << scan.low) as i16;
            Some(())
        }
        (_, 0) => first(&mut bits, window, &job.tables.ac[ac], scan, &mut carried.ended, target),
        _ => refine(&mut bits, window, &job.tables.ac[ac], scan, &mut carried.ended, target),
    };
    job.bits = bits;
    done.ok_or_else(|| job.stream.wrong_code(bits))
}

/// The number of blocks, this one included, for which a band is over.
#[inline(always)]
fn end_of_band(bits: &mut Bits, entry: u32) -> u32 {
    let length = (entry >> 24) - END_OF_BLOCK;
    (1 << length) + if length > 0 { bits.take(length) } else { 0 }
}

/// The first scan of a band.
#[inline(always)]
fn first(
    bits: &mut Bits,
    window: &Window,
    table: &Table,
    scan: &Scan,
    ended: &mut u32,
    block: &mut Block,
) -> Option<()> {
    let mut k = scan.first as u32 - 1;
    while k < scan.last as u32 {
        bits.refill(window);
        let entry = next(bits, window, Kind::Ac, table)?;
        let value = value(entry, bits.ahead);
        bits.skip(entry);
        if entry >> 24 >= END_OF_BLOCK {
            *ended = end_of_band(bits, entry) - 1;
            return Some(());
        }
        k += entry >> 24;
        if k > scan.last as u32 {
            return None;
        }
        block[usize::from(ZIGZAG[k as usize & 63]) & 63] = (value << scan.low) as i16;
    }
    Some(())
}

/// A later scan of a band: one more bit for each value, and the values that this bit makes the first of.
#[inline(always)]
fn refine(
    bits: &mut Bits,
    window: &Window,
    table: &Table,
    scan: &Scan,
    ended: &mut u32,
    block: &mut Block,
) -> Option<()> {
    let bit = 1 << scan.low;
    let mut k = scan.first;
    while *ended == 0 && k <= scan.last {
        bits.refill(window);
        let entry = next(bits, window, Kind::Ac, table)?;
        let size = entry >> 16 & 63;
        let new = value(entry, bits.ahead) as i16;
        bits.skip(entry);
        if entry >> 24 >= END_OF_BLOCK {
            *ended = end_of_band(bits, entry);
            break;
        }
        if size > 1 {
            return None;
        }
        let mut zeros = entry >> 24;
        while k <= scan.last {
            let value = &mut block[usize::from(ZIGZAG[k & 63]) & 63];
            if *value == 0 {
                zeros -= 1;
                if zeros == 0 {
                    *value = new << scan.low;
                    break;
                }
            } else {
                correct(bits, window, value, bit);
            }
            k += 1;
        }
        if k > scan.last {
            return None;
        }
        k += 1;
    }
    if *ended > 0 {
        for &place in ZIGZAG.get(k..=scan.last).unwrap_or_default() {
            let value = &mut block[usize::from(place) & 63];
            if *value != 0 {
                correct(bits, window, value, bit);
            }
        }
        *ended -= 1;
    }
    Some(())
}

/// The next bit of a value that is not zero.
#[inline(always)]
fn correct(bits: &mut Bits, window: &Window, value: &mut i16, bit: i16) {
    bits.refill(window);
    if bits.take(1) == 1 && *value & bit == 0 {
        *value = value.wrapping_add(if *value > 0 { bit } else { -bit });
    }
}
