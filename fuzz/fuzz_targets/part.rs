//! Any image file as the loader reads it: opened, then the part that a view needs, upright and perhaps reduced.

#![no_main]

use libfuzzer_sys::{Corpus, fuzz_target};
use pixels::decode::{Decoder, MAX_SAMPLES, Opened};
use pixels::planes::{AnyPlanes, Planes};

fuzz_target!(init: fuzz::forgive_dependencies(), |bytes: &[u8]| -> Corpus {
    let Ok(opened) = Opened::read(bytes) else { return Corpus::Keep };
    let [width, height] = opened.size();
    assert!(width * height > 0 && (width * height) as u64 <= MAX_SAMPLES, "{width}×{height}");
    let mut below = fuzz::choices(bytes);
    let (shrink, region) = ([1, 2, 4, 8][below(4)], fuzz::some_part([width, height], &mut below));
    let mut decoder = Decoder::default();
    let [mut first, mut again] = [AnyPlanes::default(), AnyPlanes::default()];
    let Ok(place) = decoder.part(&opened, bytes, region, shrink, &mut first) else { return Corpus::Keep };
    let (area, [width, height]) = (place.of(region), size(&first));
    assert!(area.top >= 0.0 && area.left >= 0.0, "{area:?} begins before its part");
    let (bottom, right) = (area.top + area.height, area.left + area.width);
    assert!(bottom < height as f64 + 1e-6 && right < width as f64 + 1e-6, "{area:?} leaves {width}×{height}");
    assert_eq!(decoder.part(&opened, bytes, region, shrink, &mut again).ok(), Some(place));
    assert_eq!(first, again, "memory of another image shows");
    Corpus::Keep
});

/// Width and height. The planes are filled by their samples.
fn size(planes: &AnyPlanes) -> [usize; 2] {
    let (width, height, channels, samples) = match planes {
        AnyPlanes::U8(Planes { width, height, channels, samples }) => {
            (width, height, channels, samples.len())
        }
        AnyPlanes::U16(Planes { width, height, channels, samples }) => {
            (width, height, channels, samples.len())
        }
    };
    assert_eq!(samples, width * height * channels);
    [*width, *height]
}
