use super::*;
use crate::scan::shelf::Shelf;
use crate::source::open;

fn noise(seed: u64, n: usize) -> Vec<u16> {
    let mut stream = Draw::of_seed(seed).stream(Purpose::World);
    (0..n).map(|_| stream.bits() as u16).collect()
}

/// Mean and standard deviation straight from their definitions.
fn by_definition(samples: &[f64]) -> (f64, f64) {
    let n = samples.len() as f64;
    let mean = samples.iter().sum::<f64>() / n;
    (mean, (samples.iter().map(|v| (v - mean).powi(2)).sum::<f64>() / n).sqrt())
}

#[test]
fn statistics_are_those_of_their_definitions_in_both_depths() {
    let wide = noise(1, 30 * 20 * 4);
    let narrow: Vec<u8> = noise(2, 10 * 10 * 4).into_iter().map(|v| v as u8).collect();
    let shelf = Shelf::of(vec![
        Some(Image::from_u16(30, 20, 4, wide.clone())),
        None,
        Some(Image::from_u8(10, 10, 4, narrow.clone())),
    ]);
    let found = measure(&shelf, 4, None, 3, &|| ()).expect("statistics");
    assert_eq!((found.images, found.skipped, found.pixels), (2, 1, 700));
    for channel in 0..4 {
        let wide = wide.iter().skip(channel).step_by(4).map(|&v| f64::from(v) / 65_535.0);
        let narrow = narrow.iter().skip(channel).step_by(4).map(|&v| f64::from(v) / 255.0);
        let mut all: Vec<f64> = wide.chain(narrow).collect();
        all.sort_by(f64::total_cmp);
        let (mean, std) = by_definition(&all);
        let found = &found.channels[channel];
        // Sums of 700 numbers in double precision.
        assert!((found.mean - mean).abs() < 1e-12 && (found.std - std).abs() < 1e-12);
        assert!((found.min - all[0]).abs() < 1e-12 && (found.max - all[699]).abs() < 1e-12);
        // 50 % of 700 pixels is the 350th, 0.1 % the first, 99.9 % the 700th.
        for (p, rank) in [(0, 0), (1, 6), (2, 349), (3, 692), (4, 699)] {
            assert!((found.percentiles[p] - all[rank]).abs() < 1e-12, "{p}");
        }
    }
}

#[test]
fn neither_threads_nor_repetition_change_a_bit() {
    let source = open("world:?size=32&count=60").expect("a world");
    let one = measure(source.as_ref(), 3, None, 1, &|| ()).expect("statistics");
    for workers in [2, 5, 16] {
        assert_eq!(measure(source.as_ref(), 3, None, workers, &|| ()).expect("statistics"), one);
    }
}

#[test]
fn a_limit_reads_so_many_of_the_same_images() {
    use std::sync::atomic::{AtomicUsize, Ordering};
    let source = open("world:?size=16&count=50").expect("a world");
    let count = AtomicUsize::new(0);
    let done = || {
        count.fetch_add(1, Ordering::Relaxed);
    };
    let ten = measure(source.as_ref(), 3, Some(10), 2, &done).expect("statistics");
    assert_eq!((ten.images, count.into_inner()), (10, 10));
    // The same images as the option `limit` of a URI.
    let part = open("world:?size=16&count=50&limit=10").expect("a part");
    assert_eq!(measure(part.as_ref(), 3, None, 1, &|| ()).expect("statistics"), ten);
    let all = measure(source.as_ref(), 3, Some(500), 2, &|| ()).expect("statistics");
    assert_eq!(all.images, 50);
}

#[test]
fn images_are_measured_as_a_run_sees_them() {
    let grey = Image::from_u16(2, 1, 1, vec![0x40FF, 0x8000]);
    let found = measure(&Shelf::of(vec![Some(grey)]), 3, None, 1, &|| ()).expect("statistics");
    // Three equal channels of the high bytes.
    assert!(found.channels.iter().all(|channel| channel == &found.channels[0]));
    assert!((found.channels[0].min - 64.0 / 255.0).abs() < 1e-12);
    let five = Shelf::of(vec![Some(Image::from_u8(1, 1, 5, vec![1; 5])); 2]);
    let error = measure(&five, 3, None, 2, &|| ()).expect_err("five channels");
    assert!(error.problem.contains("#0") && error.problem.contains("5 found"), "{error}");
    assert!(error.hint.is_some_and(|hint| hint.contains("--channels 5")));
}

#[test]
fn a_constant_channel_cannot_normalise_and_is_named() {
    let image = Image::from_u8(2, 1, 2, vec![0, 51, 255, 51]);
    let found = measure(&Shelf::of(vec![Some(image)]), 2, None, 1, &|| ()).expect("statistics");
    let error = found.normalize().expect_err("a constant");
    assert!(error.problem.contains("channel 2 is 0.2"), "{error}");
    let image = Image::from_u8(2, 1, 2, vec![0, 0, 255, 51]);
    let found = measure(&Shelf::of(vec![Some(image)]), 2, None, 1, &|| ()).expect("statistics");
    let normalize = found.normalize().expect("numbers");
    assert_eq!(normalize, Normalize { mean: vec![0.5, 0.1], std: vec![0.5, 0.1] });
}
