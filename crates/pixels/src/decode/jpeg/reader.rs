//! From segment to segment and scan to scan.

use super::super::DecodeError;
use super::cpu::Cpu;
use super::huffman::{Kind, Table};
use super::layout::{Layout, Plane};
use super::markers::{Frame, Hints, MOST_COMPONENTS, Scan, Segments, damaged, marker};
use super::stream::{Bits, Stream};
use super::{MOST_SCANS, Quantisation, Scratch, ZIGZAG, progressive, sequential};

/// Tables that segments define, for the scans that follow.
#[derive(Default)]
pub struct Tables {
    pub dc: [Table; 4],
    pub ac: [Table; 4],
    steps: [Option<Quantisation>; 4],
    /// MCUs between restart markers, 0 without.
    pub interval: usize,
}

/// What has been read of a file.
pub struct Reader<'a> {
    segments: Segments<'a>,
    frame: Option<Frame>,
    pub hints: Hints,
    scans: usize,
    /// The quantisation of each component, as it was when its first scan began.
    quantisation: [Option<Quantisation>; MOST_COMPONENTS],
}

impl<'a> Reader<'a> {
    pub fn new(bytes: &'a [u8]) -> Self {
        let (segments, hints) = (Segments::new(bytes), Hints::default());
        Self { segments, frame: None, hints, scans: 0, quantisation: [None; MOST_COMPONENTS] }
    }

    pub fn frame(&self) -> Result<Frame, DecodeError> {
        self.frame.ok_or_else(|| damaged("a scan comes before the frame header"))
    }

    /// Reads on to the data of the next scan; `None` if there is no more. Without `tables` only the header is read.
    pub fn next_scan(
        &mut self,
        mut tables: Option<&mut Tables>,
    ) -> Result<Option<Scan>, DecodeError> {
        while let Some((kind, content)) = self.segments.next()? {
            match (kind, &mut tables) {
                (marker::SCAN, tables) => return self.scan(content, tables.as_deref()).map(Some),
                (marker::HUFFMAN, Some(tables)) => tables.define_huffman(content)?,
                (marker::QUANTISATION, Some(tables)) => tables.define_quantisation(content)?,
                (marker::INTERVAL, Some(tables)) => tables.define_interval(content)?,
                (marker::HUFFMAN | marker::RESERVED | marker::ARITHMETIC, _) => {}
                (kind, _) if marker::FRAMES.contains(&kind) => {
                    if self.frame.is_some() {
                        return Err(damaged("there are two frame headers"));
                    }
                    self.frame = Some(Frame::parse(kind, content)?);
                }
                // A frame without a height, which this segment gives later, was refused.
                _ => self.hints.read(kind, content),
            }
        }
        Ok(None)
    }

    fn scan(&mut self, content: &[u8], tables: Option<&Tables>) -> Result<Scan, DecodeError> {
        let frame = self.frame()?;
        let scan = Scan::parse(content, &frame)?;
        self.scans += 1;
        if self.scans > MOST_SCANS {
            return Err(DecodeError::new(format!("more than {MOST_SCANS} scans are not read")));
        }
        let Some(tables) = tables else { return Ok(scan) };
        for &[component, dc, ac] in &scan.parts[..scan.count] {
            let needs_dc = scan.first == 0 && scan.high == 0;
            if needs_dc && !tables.dc[dc].defined || scan.last > 0 && !tables.ac[ac].defined {
                return Err(damaged("a Huffman table is missing"));
            }
            if self.quantisation[component].is_none() {
                let steps = tables.steps[frame.components()[component].quantisation];
                let steps = steps.ok_or_else(|| damaged("a quantisation table is missing"))?;
                self.quantisation[component] = Some(steps);
            }
        }
        Ok(scan)
    }

    /// Decodes the scans of a sequential file, until each component has had one.
    pub fn sequential(
        &mut self,
        mut scan: Scan,
        frame: &Frame,
        layout: &Layout,
        scratch: &mut Scratch,
    ) -> Result<(), DecodeError> {
        let mut seen = [false; MOST_COMPONENTS];
        loop {
            scan.parts[..scan.count].iter().for_each(|part| seen[part[0]] = true);
            let quantisation = self.quantisation.map(|steps| steps.unwrap_or([0; 64]));
            let (bytes, at) = (self.segments.bytes, self.segments.at);
            let (stream, bits) = Stream::new(bytes, at, &mut scratch.window);
            let mut job = sequential::Job {
                stream,
                bits,
                scan: &scan,
                layout,
                tables: &scratch.tables,
                quantisation: &quantisation,
                strip: &mut scratch.strip,
                samples: &mut scratch.samples,
                cpu: Cpu::detect(),
            };
            let last = seen[..frame.count].iter().all(|seen| *seen);
            job.cpu.sequential(&mut job)?;
            if last {
                return job.stream.leave(job.bits).map(|_| ());
            }
            let whole = layout.columns[1] == layout.across && layout.rows[1] == layout.down;
            let tidy = self.leave(&mut job.stream, job.bits, whole)?;
            let next = self.next_scan(Some(&mut scratch.tables))?;
            scan = next.filter(|_| tidy).ok_or_else(|| unfinished(tidy))?;
        }
    }

    /// Goes on behind a scan. Says whether its data end where its blocks do, so that another scan can follow; a scan
    /// that was not read as a `whole` may end anywhere.
    fn leave(&mut self, stream: &mut Stream, bits: Bits, whole: bool) -> Result<bool, DecodeError> {
        self.segments.at = stream.leave(bits)?;
        Ok(!whole || stream.finish(bits).is_ok())
    }

    /// Decodes the scans of a progressive file, then computes the samples.
    pub fn progressive(
        &mut self,
        mut scan: Scan,
        frame: &Frame,
        layout: &Layout,
        scratch: &mut Scratch,
    ) -> Result<(), DecodeError> {
        let cpu = Cpu::detect();
        scratch.store.begin(frame, layout);
        loop {
            let (bytes, at) = (self.segments.bytes, self.segments.at);
            let (stream, bits) = Stream::new(bytes, at, &mut scratch.window);
            let (tables, store) = (&scratch.tables, &mut scratch.store);
            let mut job = progressive::Job { stream, bits, scan: &scan, layout, tables, store };
            cpu.progressive(&mut job)?;
            let tidy = self.leave(&mut job.stream, job.bits, layout.rows[1] == layout.down)?;
            match self.next_scan(Some(&mut scratch.tables))? {
                Some(next) if tidy => scan = next,
                Some(_) => return Err(unfinished(tidy)),
                None if scratch.store.is_complete(frame) => break,
                None if self.segments.is_ended() && scratch.store.is_presentable(frame) => break,
                None => return Err(DecodeError::truncated()),
            }
        }
        for (component, plane) in layout.planes[..frame.count].iter().enumerate() {
            let quantisation = self.quantisation[component].unwrap_or([0; 64]);
            transform(cpu, component, plane, layout, &quantisation, scratch);
        }
        Ok(())
    }
}

fn unfinished(tidy: bool) -> DecodeError {
    if tidy {
        DecodeError::truncated()
    } else {
        damaged("there are data left over at the end of a scan")
    }
}

/// The samples of a component, from stored coefficients.
fn transform(
    cpu: Cpu,
    component: usize,
    plane: &Plane,
    layout: &Layout,
    quantisation: &Quantisation,
    scratch: &mut Scratch,
) {
    let [first, end] = layout.columns.map(|column| column * plane.h);
    let [top, bottom] = layout.rows.map(|row| row * plane.v);
    scratch.unknown.resize(end - first, 63);
    for row in top..bottom {
        let blocks = scratch.store.row(component, row, first, end - first);
        let start = plane.start + (row - top) * plane.size * plane.stride;
        let out = &mut scratch.samples[start..];
        cpu.blocks(plane.size, blocks, &scratch.unknown, quantisation, out, plane.stride);
    }
}

impl Tables {
    /// As at the beginning of a file.
    pub fn forget(&mut self) {
        self.dc.iter_mut().chain(&mut self.ac).for_each(|table| table.defined = false);
        self.steps = [None; 4];
        self.interval = 0;
    }

    fn define_huffman(&mut self, mut content: &[u8]) -> Result<(), DecodeError> {
        let wrong = || damaged("a Huffman table has the wrong length");
        while let Some((&which, rest)) = content.split_first() {
            let (&counts, rest) = rest.split_first_chunk::<16>().ok_or_else(wrong)?;
            let count = counts.iter().map(|&count| usize::from(count)).sum();
            let symbols = rest.get(..count).filter(|_| count <= 256).ok_or_else(wrong)?;
            let index = usize::from(which & 15);
            let (kind, tables) = match which >> 4 {
                0 => (Kind::Dc, &mut self.dc),
                1 => (Kind::Ac, &mut self.ac),
                _ => return Err(damaged("a Huffman table is of no known class")),
            };
            let table = tables.get_mut(index).ok_or_else(wrong)?;
            table.define(kind, counts, symbols)?;
            content = &rest[count..];
        }
        Ok(())
    }

    fn define_quantisation(&mut self, mut content: &[u8]) -> Result<(), DecodeError> {
        let wrong = || damaged("a quantisation table has the wrong length");
        while let Some((&which, rest)) = content.split_first() {
            let wide = which >> 4 > 0;
            let length = if wide { 128 } else { 64 };
            let (values, rest) = rest.split_at_checked(length).ok_or_else(wrong)?;
            let mut steps = [0; 64];
            for (k, &place) in ZIGZAG.iter().enumerate() {
                steps[usize::from(place)] = if wide {
                    i16::from_be_bytes([values[2 * k], values[2 * k + 1]])
                } else {
                    i16::from(values[k])
                };
            }
            *self.steps.get_mut(usize::from(which & 15)).ok_or_else(wrong)? = Some(steps);
            content = rest;
        }
        Ok(())
    }

    fn define_interval(&mut self, content: &[u8]) -> Result<(), DecodeError> {
        let &[high, low] = content else {
            return Err(damaged("a restart interval of wrong length"));
        };
        self.interval = usize::from(u16::from_be_bytes([high, low]));
        Ok(())
    }
}
