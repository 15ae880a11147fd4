//! Scans of baseline and extended sequential files: each block comes once, whole.

use super::super::DecodeError;
use super::cpu::Cpu;
use super::huffman::{END_OF_BLOCK, Kind, LOOK_UP_BITS, Table, value};
use super::layout::{Layout, Plane};
use super::markers::Scan;
use super::stream::{Bits, Stream, Window};
use super::{Block, MOST_BLOCKS, Quantisation, Tables, ZIGZAG};

/// MCUs that are decoded before their samples are computed: together in the first cache, and enough for wide vectors.
const MCUS: usize = 8;

/// Coefficients on the way from the entropy decoder to the inverse transform.
pub struct Strip {
    blocks: [Block; MCUS * MOST_BLOCKS],
    /// The last coefficient of each block that is not zero, in zigzag order.
    last: [u8; MCUS * MOST_BLOCKS],
}

impl Default for Strip {
    fn default() -> Self {
        Self { blocks: [[0; 64]; MCUS * MOST_BLOCKS], last: [0; MCUS * MOST_BLOCKS] }
    }
}

/// All that a scan needs.
pub struct Job<'a, 'w> {
    pub stream: Stream<'a, 'w>,
    pub bits: Bits,
    pub scan: &'a Scan,
    pub layout: &'a Layout,
    pub tables: &'a Tables,
    pub quantisation: &'a [Quantisation],
    pub strip: &'a mut Strip,
    pub samples: &'a mut [u8],
    pub cpu: Cpu,
}

/// The MCUs of a scan, in its own units: a scan of one component has MCUs of one block.
#[derive(Clone, Copy)]
struct Grid {
    across: usize,
    columns: [usize; 2],
    rows: [usize; 2],
}

/// A block of an MCU.
#[derive(Clone, Copy)]
struct Place<'a> {
    component: usize,
    dc: &'a Table,
    ac: &'a Table,
    /// Where its first block of the strip is, and how far apart two are.
    slot: usize,
    step: usize,
}

/// A component in a scan.
#[derive(Clone, Copy, Default)]
struct Part {
    component: usize,
    plane: Plane,
    slot: usize,
    h: usize,
    v: usize,
}

/// Decodes a scan up to the last MCU that the region needs.
#[inline(always)]
pub fn scan(job: &mut Job) -> Result<(), DecodeError> {
    let (grid, parts, places, count) = plan(job.scan, job.layout, job.tables);
    let (places, interval) = (&places[..count], job.tables.interval);
    let mut predictions = [0; 4];
    let mut bits = job.bits;
    let (mut until_restart, mut restarts, mut held) = (interval, 0, 0);
    for row in 0..grid.rows[1] {
        for column in 0..grid.across {
            if interval > 0 {
                if until_restart == 0 {
                    bits = job.stream.restart(bits, restarts)?;
                    (until_restart, restarts, predictions) = (interval, restarts + 1, [0; 4]);
                }
                until_restart -= 1;
            }
            if row < grid.rows[0] || !(grid.columns[0]..grid.columns[1]).contains(&column) {
                if row + 1 == grid.rows[1] && column >= grid.columns[1] {
                    break;
                }
                bits = pass_over(&mut job.stream, places, bits, &mut predictions)?;
                continue;
            }
            let (stream, strip) = (&mut job.stream, &mut *job.strip);
            bits = decode(stream, strip, places, held, bits, &mut predictions)?;
            held += 1;
            if held == MCUS || column + 1 == grid.columns[1] {
                let first = column + 1 - held;
                transform(job, &parts[..job.scan.count], [first, row], held);
                held = 0;
            }
        }
    }
    job.bits = bits;
    Ok(())
}

/// The blocks of one MCU, the `held`th of the strip.
#[inline(always)]
fn decode(
    stream: &mut Stream,
    strip: &mut Strip,
    places: &[Place],
    held: usize,
    mut bits: Bits,
    predictions: &mut [i32; 4],
) -> Result<Bits, DecodeError> {
    for place in places {
        stream.before_block(&mut bits)?;
        let slot = (place.slot + held * place.step).min(MCUS * MOST_BLOCKS - 1);
        let prediction = &mut predictions[place.component & 3];
        let target = &mut strip.blocks[slot];
        let last = block(&mut bits, stream.window(), place.dc, place.ac, prediction, target);
        strip.last[slot] = last.ok_or_else(|| stream.wrong_code(bits))? as u8;
    }
    Ok(bits)
}

/// The blocks of one MCU, of which only the DC values are kept track of.
#[inline(always)]
fn pass_over(
    stream: &mut Stream,
    places: &[Place],
    mut bits: Bits,
    predictions: &mut [i32; 4],
) -> Result<Bits, DecodeError> {
    for place in places {
        stream.before_block(&mut bits)?;
        let prediction = &mut predictions[place.component & 3];
        skip(&mut bits, stream.window(), place.dc, place.ac, prediction)
            .ok_or_else(|| stream.wrong_code(bits))?;
    }
    Ok(bits)
}

/// The grid of a scan, its components, the blocks of its MCUs and how many these are.
fn plan<'a>(
    scan: &Scan,
    layout: &Layout,
    tables: &'a Tables,
) -> (Grid, [Part; 4], [Place<'a>; MOST_BLOCKS], usize) {
    let single = scan.count == 1;
    let mut parts = [Part::default(); 4];
    let (dc, ac) = (&tables.dc[0], &tables.ac[0]);
    let mut places = [Place { component: 0, dc, ac, slot: 0, step: 0 }; MOST_BLOCKS];
    let mut count = 0;
    for (part, &[component, dc, ac]) in parts.iter_mut().zip(&scan.parts[..scan.count]) {
        let plane = layout.planes[component];
        let [h, v] = if single { [1, 1] } else { [plane.h, plane.v] };
        *part = Part { component, plane, slot: count * MCUS, h, v };
        for y in 0..v {
            for x in 0..h {
                let slot = part.slot + y * MCUS * h + x;
                let (dc, ac) = (&tables.dc[dc], &tables.ac[ac]);
                places[count] = Place { component, dc, ac, slot, step: h };
                count += 1;
            }
        }
    }
    let &Layout { across, columns, rows, .. } = layout;
    let grid = if single {
        let Plane { h, v, blocks, .. } = parts[0].plane;
        let columns = columns.map(|column| (column * h).min(blocks[0]));
        Grid { across: blocks[0], columns, rows: rows.map(|row| (row * v).min(blocks[1])) }
    } else {
        Grid { across, columns, rows }
    };
    (grid, parts, places, count)
}

/// Coefficients to samples, for the MCUs in the strip. `at`: column and row of the first.
fn transform(job: &mut Job, parts: &[Part], at: [usize; 2], held: usize) {
    for &Part { component, plane, slot, h, v } in parts {
        for y in 0..v {
            let from = slot + y * MCUS * h;
            let row = (at[1] * v + y) * plane.size - plane.origin[1];
            let column = at[0] * h * plane.size - plane.origin[0];
            let start = plane.start + row * plane.stride + column;
            job.cpu.blocks(
                plane.size,
                &job.strip.blocks[from..from + held * h],
                &job.strip.last[from..from + held * h],
                &job.quantisation[component],
                &mut job.samples[start..],
                plane.stride,
            );
        }
    }
}

/// Decodes a block. Gives its last coefficient that is not zero, `None` if the data make no sense.
#[inline(always)]
fn block(
    bits: &mut Bits,
    window: &Window,
    dc: &Table,
    ac: &Table,
    prediction: &mut i32,
    block: &mut Block,
) -> Option<u32> {
    *block = [0; 64];
    bits.refill(window);
    *prediction = prediction.wrapping_add(difference(bits, dc)?);
    block[0] = *prediction as i16;
    let (mut k, mut last) = (0, 0);
    while k < 63 {
        bits.refill(window);
        for _ in 0..2 {
            let entry = next(bits, window, Kind::Ac, ac)?;
            let value = value(entry, bits.ahead);
            bits.skip(entry);
            k += entry >> 24;
            if k >= 63 {
                if k == 63 {
                    block[63] = value as i16;
                    return Some(63);
                }
                return (k >= END_OF_BLOCK).then_some(last);
            }
            block[usize::from(ZIGZAG[k as usize & 63]) & 63] = value as i16;
            last = k;
        }
    }
    Some(last)
}

/// Passes over a block, all but its DC value.
#[inline(always)]
fn skip(
    bits: &mut Bits,
    window: &Window,
    dc: &Table,
    ac: &Table,
    prediction: &mut i32,
) -> Option<()> {
    bits.refill(window);
    *prediction = prediction.wrapping_add(difference(bits, dc)?);
    let mut k = 0;
    while k < 63 {
        bits.refill(window);
        for _ in 0..2 {
            let entry = next(bits, window, Kind::Ac, ac)?;
            bits.skip(entry);
            k += entry >> 24;
            if k >= 63 {
                return (k == 63 || k >= END_OF_BLOCK).then_some(());
            }
        }
    }
    Some(())
}

/// How far a DC value is from the one before. At least 31 bits have to be there.
#[inline(always)]
pub fn difference(bits: &mut Bits, table: &Table) -> Option<i32> {
    let mut entry = table.entries[(bits.ahead >> (64 - LOOK_UP_BITS)) as usize];
    if entry == 0 {
        entry = table.search(Kind::Dc, (bits.ahead >> 48) as u32);
        if entry == 0 {
            return None;
        }
    }
    let difference = value(entry, bits.ahead);
    bits.skip(entry);
    Some(difference)
}

/// The entry of the next symbol; two can be had without a refill. What it says has to be skipped by the caller.
///
/// In the look-up table a code and its value have at most 25 bits, so that two of them fit into the 56 bits that are
/// there after a refill. Longer codes are preceded by a refill of their own.
#[inline(always)]
pub fn next(bits: &mut Bits, window: &Window, kind: Kind, table: &Table) -> Option<u32> {
    let entry = table.entries[(bits.ahead >> (64 - LOOK_UP_BITS)) as usize];
    if entry == 0 {
        bits.refill(window);
        let entry = table.search(kind, (bits.ahead >> 48) as u32);
        return (entry != 0).then_some(entry);
    }
    Some(entry)
}
