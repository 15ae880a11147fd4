//! TIFF for any number of channels: one strip, compressed with deflate.

use std::io::Write;

use flate2::Compression;
use flate2::write::ZlibEncoder;

use crate::image::{Image, Samples};

/// Types of a field's numbers.
const SHORT: u16 = 3;
const LONG: u16 = 4;

/// The very same image when it is decoded: every channel is a channel, none is alpha.
pub(super) fn encode(image: &Image) -> Vec<u8> {
    let (bits, bytes) = match &image.samples {
        Samples::U8(samples) => (8, samples.clone()),
        Samples::U16(samples) => (16, samples.iter().flat_map(|s| s.to_le_bytes()).collect()),
    };
    let mut packed = ZlibEncoder::new(Vec::new(), Compression::default());
    let packed = packed.write_all(&bytes).and_then(|()| packed.finish());
    let packed = packed.expect("writing to memory cannot fail");
    let n = image.channels as u32;
    let strip = 8;
    let fields: [(u16, u16, Vec<u32>); 11] = [
        (256, LONG, vec![image.width as u32]),
        (257, LONG, vec![image.height as u32]),
        (258, SHORT, vec![bits; image.channels]),
        // Deflate.
        (259, SHORT, vec![8]),
        // Black is zero.
        (262, SHORT, vec![1]),
        (273, LONG, vec![strip]),
        (277, SHORT, vec![n]),
        (278, LONG, vec![image.height as u32]),
        (279, LONG, vec![packed.len() as u32]),
        // The channels of a pixel lie together.
        (284, SHORT, vec![1]),
        // What the channels after the first are is not said.
        (338, SHORT, vec![0; image.channels - 1]),
    ];
    let fields = &fields[..if n > 1 { 11 } else { 10 }];
    let directory = (strip as usize + packed.len()).next_multiple_of(2);
    let mut file = b"II\x2a\0".to_vec();
    file.extend((directory as u32).to_le_bytes());
    file.extend(packed);
    file.resize(directory, 0);
    let mut beyond = Vec::new();
    let after = directory + 2 + 12 * fields.len() + 4;
    file.extend((fields.len() as u16).to_le_bytes());
    for (tag, kind, values) in fields {
        file.extend(tag.to_le_bytes());
        file.extend(kind.to_le_bytes());
        file.extend((values.len() as u32).to_le_bytes());
        let mut content: Vec<u8> = match *kind {
            SHORT => values.iter().flat_map(|value| (*value as u16).to_le_bytes()).collect(),
            _ => values.iter().flat_map(|value| value.to_le_bytes()).collect(),
        };
        if content.len() > 4 {
            let at = after + beyond.len();
            beyond.append(&mut content);
            content = (at as u32).to_le_bytes().to_vec();
        }
        content.resize(4, 0);
        file.extend(content);
    }
    file.extend([0; 4]);
    file.extend(beyond);
    file
}
