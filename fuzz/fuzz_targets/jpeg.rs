//! JPEG files, decoded whole, in parts, and reduced: a part must be the same as that part of the whole.

#![no_main]

use libfuzzer_sys::{Corpus, fuzz_target};
use pixels::decode::jpeg::{Header, Scratch, decode_region, header};
use pixels::record::CropBox;

fuzz_target!(init: fuzz::forgive_dependencies(), |bytes: &[u8]| -> Corpus {
    if !bytes.starts_with(&[0xFF, 0xD8, 0xFF]) {
        return Corpus::Reject;
    }
    let image = fuzz::decoded(bytes);
    let Ok(header) = header(bytes) else {
        assert!(image.is_none(), "an image without a header");
        return Corpus::Keep;
    };
    let mut below = fuzz::choices(bytes);
    let shrink = [1, 2, 4, 8][below(4)];
    let size = [header.width, header.height].map(|side| side.div_ceil(shrink));
    let part = fuzz::some_part(size, &mut below);
    parts(bytes, header, shrink, size, part);
    if shrink == 1 {
        assert!(image.is_none() || region(bytes, part, 1, &mut Scratch::default()).is_some());
    }
    Corpus::Keep
});

/// Decodes a part, the whole and the part again with the same memory, and compares.
fn parts(bytes: &[u8], header: Header, shrink: usize, [width, height]: [usize; 2], part: CropBox) {
    let mut scratch = Scratch::default();
    let first = region(bytes, part, shrink, &mut scratch);
    let whole = region(bytes, CropBox { top: 0, left: 0, height, width }, shrink, &mut scratch);
    assert_eq!(first, region(bytes, part, shrink, &mut scratch), "memory of another image shows");
    let Some(whole) = whole else { return };
    let part_of_it = first.expect("a part of an image that can be decoded");
    assert_eq!(whole.len(), header.channels * width * height);
    let mut rows = part_of_it.chunks_exact(part.width);
    for plane in whole.chunks_exact(width * height) {
        for y in part.top..part.top + part.height {
            let same = &plane[y * width + part.left..][..part.width];
            assert_eq!(rows.next(), Some(same), "row {y} of {part:?} at 1/{shrink}");
        }
    }
    assert!(rows.next().is_none(), "a part with too many rows");
}

fn region(bytes: &[u8], part: CropBox, shrink: usize, scratch: &mut Scratch) -> Option<Vec<u8>> {
    let mut samples = vec![7; 3];
    decode_region(bytes, part, shrink, scratch, &mut samples).ok()?;
    Some(samples)
}
