//! TIFF files as microscopes write them, made here byte by byte.

use pixels::decode::decode;
use pixels::image::Samples;

/// A small TIFF writer, little endian: tags with values of 16 bits, and one block of data.
struct Tiff {
    /// (tag, values), ascending.
    tags: Vec<(u16, Vec<u16>)>,
    /// Strips, tiles or planes, one after the other.
    blocks: Vec<Vec<u8>>,
    tiled: bool,
}

const PHOTOMETRIC: u16 = 262;
const ORIENTATION: u16 = 274;
const PLANAR: u16 = 284;
const PALETTE: u16 = 320;
const EXTRA: u16 = 338;

impl Tiff {
    fn new(width: u16, height: u16, bits: u16, channels: u16, blocks: Vec<Vec<u8>>) -> Self {
        let tags = vec![
            (256, vec![width]),
            (257, vec![height]),
            (258, vec![bits; usize::from(channels)]),
            (259, vec![1]),
            (PHOTOMETRIC, vec![1]),
            (277, vec![channels]),
        ];
        Self { tags, blocks, tiled: false }
    }

    fn with(mut self, tag: u16, values: &[u16]) -> Self {
        self.tags.retain(|(found, _)| *found != tag);
        self.tags.push((tag, values.to_vec()));
        self
    }

    fn file(mut self) -> Vec<u8> {
        let mut file = b"II\x2A\0\0\0\0\0".to_vec();
        let mut place = |bytes: &[u8]| {
            let at = file.len() as u32;
            file.extend_from_slice(bytes);
            at
        };
        let offsets: Vec<u32> = self.blocks.iter().map(|block| place(block)).collect();
        let counts: Vec<u32> = self.blocks.iter().map(|block| block.len() as u32).collect();
        let longs = |values: &[u32]| values.iter().flat_map(|v| v.to_le_bytes()).collect();
        let mut entries: Vec<(u16, u16, usize, Vec<u8>)> = vec![
            (if self.tiled { 324 } else { 273 }, 4, offsets.len(), longs(&offsets)),
            (if self.tiled { 325 } else { 279 }, 4, counts.len(), longs(&counts)),
        ];
        for (tag, values) in self.tags.drain(..) {
            let bytes = values.iter().flat_map(|v| v.to_le_bytes()).collect();
            entries.push((tag, 3, values.len(), bytes));
        }
        entries.sort();
        let mut directory = (entries.len() as u16).to_le_bytes().to_vec();
        for (tag, kind, count, mut bytes) in entries {
            if bytes.len() > 4 {
                bytes = place(&bytes).to_le_bytes().to_vec();
            }
            bytes.resize(4, 0);
            directory.extend_from_slice(&tag.to_le_bytes());
            directory.extend_from_slice(&kind.to_le_bytes());
            directory.extend_from_slice(&(count as u32).to_le_bytes());
            directory.extend_from_slice(&bytes);
        }
        directory.extend_from_slice(&[0; 4]);
        let at = place(&directory);
        file[4..8].copy_from_slice(&at.to_le_bytes());
        file
    }
}

fn sixteen(values: impl IntoIterator<Item = u16>) -> Vec<u8> {
    values.into_iter().flat_map(u16::to_le_bytes).collect()
}

#[test]
fn five_channels_lie_side_by_side_however_the_file_has_them() {
    // Three by two pixels; sample = 1000 · channel + pixel.
    let value = |pixel: u16, channel: u16| 1000 * channel + pixel;
    let expected: Vec<u16> = (0..6).flat_map(|p| (0..5).map(move |c| value(p, c))).collect();
    let chunky = Tiff::new(3, 2, 16, 5, vec![sixteen(expected.clone())]).with(EXTRA, &[0; 4]);
    let planes = (0..5).map(|c| sixteen((0..6).map(|p| value(p, c)))).collect();
    let planar = Tiff::new(3, 2, 16, 5, planes).with(PLANAR, &[2]).with(EXTRA, &[0; 4]);
    for file in [chunky.file(), planar.file()] {
        let image = decode(&file).unwrap();
        assert_eq!((image.width, image.height, image.channels), (3, 2, 5));
        assert!(image.samples == Samples::U16(expected.clone()));
    }
}

#[test]
fn a_palette_gives_its_indices() {
    let palette: Vec<u16> = (0..3 * 256).map(|i| i * 7).collect();
    let file = Tiff::new(4, 1, 8, 1, vec![vec![0, 7, 200, 255]])
        .with(PHOTOMETRIC, &[3])
        .with(PALETTE, &palette);
    let image = decode(&file.file()).unwrap();
    assert_eq!((image.channels, image.as_u8().unwrap()), (1, &[0, 7, 200, 255][..]));
}

#[test]
fn few_bits_are_spread_and_orientation_is_applied() {
    let file = Tiff::new(3, 2, 4, 1, vec![vec![0x01, 0x20, 0x3A, 0xF0]]).with(ORIENTATION, &[6]);
    let image = decode(&file.file()).unwrap();
    // Stored 0 1 2 / 3 10 15, shown a quarter turn clockwise, times 17.
    assert_eq!((image.width, image.height), (2, 3));
    assert_eq!(image.as_u8().unwrap(), [51, 0, 170, 17, 255, 34]);
}

#[test]
fn white_may_be_zero() {
    let file = Tiff::new(4, 1, 8, 1, vec![vec![0, 7, 200, 255]]).with(PHOTOMETRIC, &[0]);
    assert_eq!(decode(&file.file()).unwrap().as_u8().unwrap(), [255, 248, 55, 0]);
}

#[test]
fn tiles_are_put_together() {
    // Twenty by ten pixels in tiles of sixteen by sixteen; sample = column + 10 · row.
    let tile = |left: u8| {
        (0..16).flat_map(move |y: u8| {
            (0..16).map(move |x| (left + x).wrapping_add(y.wrapping_mul(10)))
        })
    };
    let blocks = vec![tile(0).collect(), tile(16).collect()];
    let mut file = Tiff::new(20, 10, 8, 1, blocks).with(322, &[16]).with(323, &[16]);
    file.tiled = true;
    let image = decode(&file.file()).unwrap();
    let expected = (0..10).flat_map(|y: u8| (0..20).map(move |x| x + 10 * y));
    assert!(image.as_u8().unwrap().iter().copied().eq(expected));
}

#[test]
fn tiles_in_planes_are_refused_with_a_way_out() {
    let tile = |value: u8| vec![value; 256];
    let blocks = vec![tile(1), tile(2), tile(3), tile(4), tile(5), tile(6)];
    let mut file = Tiff::new(20, 10, 8, 3, blocks).with(322, &[16]).with(323, &[16]);
    file = file.with(PHOTOMETRIC, &[2]).with(PLANAR, &[2]);
    file.tiled = true;
    let error = decode(&file.file()).unwrap_err();
    assert!(error.to_string().contains("each holds one channel"), "{error}");
    assert!(error.hint.unwrap().contains("strips"));
}

#[test]
fn a_cut_file_is_refused() {
    let mut file = Tiff::new(4, 4, 8, 1, vec![vec![9; 16]]).file();
    let blocks = 8..24;
    file.drain(blocks);
    assert!(decode(&file).is_err());
}
