use std::collections::BTreeMap;
use std::fs;
use std::sync::atomic::{AtomicUsize, Ordering};

use pixels::image::Image;
use pixels::plan::{Interpolation, Normalize};
use pixels::source::{SourceError, Stored};

use super::*;
use crate::models::{Features, Tap};

/// Images of one grey each, of two pixels square; sample 3 cannot be read.
struct Greys {
    count: usize,
    version: &'static str,
    classes: Vec<String>,
}

impl Source for Greys {
    fn len(&self) -> usize {
        self.count
    }

    fn fetch(&self, index: usize, _buffer: &mut Vec<u8>) -> Result<Stored, SourceError> {
        if index == 3 {
            let (name, problem) = (self.name(index), "expected an image, found nothing".into());
            return Err(SourceError { name, problem, hint: None });
        }
        Ok(Stored::Pixels(Image::from_u8(2, 2, 1, vec![index as u8; 4])))
    }

    fn label(&self, index: usize) -> Option<u32> {
        (index != 1).then_some(index as u32 % 2)
    }

    fn name(&self, index: usize) -> String {
        format!("#{index}")
    }

    fn group(&self, index: usize) -> Option<u64> {
        (index > 3).then_some(7)
    }

    fn classes(&self) -> &[String] {
        &self.classes
    }

    fn fingerprint(&self) -> String {
        self.version.into()
    }
}

fn greys(count: usize, version: &'static str) -> Arc<dyn Source> {
    Arc::new(Greys { count, version, classes: vec!["even".into(), "odd".into()] })
}

/// The sum of the pixels and its negative, times a factor. Counts its batches.
struct Sum {
    factor: f64,
    batches: Arc<AtomicUsize>,
}

impl Backbone for Sum {
    fn forward(&self, images: &Tensor, mode: Mode, _: &mut Tap) -> Features {
        assert_eq!(mode, Mode::Eval, "an encoder is frozen");
        self.batches.fetch_add(1, Ordering::Relaxed);
        let sum = images.flatten(1, 3).sum_dim_intlist([1i64].as_slice(), true, Kind::Float);
        let pooled = Tensor::cat(&[&sum, &-&sum], 1) * self.factor;
        Features { pooled, map: None, tokens: None }
    }

    fn width(&self) -> i64 {
        2
    }
}

fn encoder(factor: f64) -> (Encoder, Arc<AtomicUsize>) {
    let batches = Arc::new(AtomicUsize::new(0));
    let encoder = Encoder {
        name: "sum".into(),
        backbone: Box::new(Sum { factor, batches: batches.clone() }),
        preprocess: Preprocess {
            resize: 2,
            crop: 2,
            interpolation: Interpolation::Bicubic,
            normalize: Normalize { mean: vec![0.0], std: vec![1.0] },
        },
        channels: 1,
        channels_last: false,
        device: Device::Cpu,
        autocast: None,
        weights_hash: format!("{factor}"),
        variables: BTreeMap::new(),
    };
    (encoder, batches)
}

fn options() -> ExtractOptions<'static> {
    ExtractOptions { batch: 2, workers: 1, progress: &|_, _| {} }
}

#[test]
fn rows_follow_the_source_and_unreadable_samples_are_listed() {
    let (encoder, _) = encoder(255.0);
    let table = encoder.extract(&greys(6, "a"), &options()).unwrap();
    assert_eq!(table.samples, [0, 1, 2, 4, 5]);
    assert_eq!(table.labels, [Some(0), None, Some(0), Some(0), Some(1)]);
    assert_eq!(table.classes, ["even", "odd"]);
    assert_eq!(table.groups, [None, None, None, Some(7), Some(7)]);
    assert_eq!(table.skipped, [("#3".into(), "expected an image, found nothing".into())]);
    let wanted = Tensor::from_slice(&[0.0f32, 4.0, 8.0, 16.0, 20.0]);
    // Four pixels divided and multiplied by 255 in f32.
    assert!(table.x.select(1, 0).allclose(&wanted, 1e-6, 1e-6, false), "{:?}", table.x);
    assert!(table.x.select(1, 1).allclose(&-wanted, 1e-6, 1e-6, false));
}

#[test]
fn the_progress_ends_with_every_sample() {
    let seen = std::cell::RefCell::new(Vec::new());
    let progress = |done, all| seen.borrow_mut().push((done, all));
    let options = ExtractOptions { progress: &progress, ..options() };
    encoder(1.0).0.extract(&greys(5, "a"), &options).unwrap();
    assert_eq!(*seen.borrow(), [(2, 5), (4, 5), (5, 5)]);
}

#[test]
fn a_source_without_readable_images_and_a_broken_encoder_are_errors() {
    let (sum, _) = encoder(1.0);
    let error = sum.extract(&greys(0, "a"), &options()).unwrap_err();
    assert!(error.to_string().contains("no images"), "{error}");
    let (broken, _) = encoder(f64::INFINITY);
    let error = broken.extract(&greys(3, "a"), &options()).unwrap_err();
    assert!(error.to_string().contains("`sum` gives features that are not finite"), "{error}");
}

#[test]
fn features_are_extracted_once() {
    let folder = tempfile::tempdir().unwrap();
    let (encoder, batches) = encoder(1.0);
    let source = greys(6, "a");
    let cache = folder.path().join("features");
    let (first, state) = encoder.extract_cached(&source, &cache, &options()).unwrap();
    assert!(matches!(state, Cached::Written));
    assert_eq!(batches.load(Ordering::Relaxed), 3);
    let (second, state) = encoder.extract_cached(&source, &cache, &options()).unwrap();
    assert!(matches!(state, Cached::Read));
    assert_eq!(batches.load(Ordering::Relaxed), 3);
    assert!(first.is_same(&second));
    assert_eq!((first.skipped, first.classes), (second.skipped, second.classes));
    assert_eq!(first.groups, second.groups);
    assert_eq!(fs::read_dir(&cache).unwrap().count(), 1, "no temporary file stays");
}

#[test]
fn other_weights_data_preprocessing_or_precision_are_other_caches() {
    let (plain, _) = encoder(1.0);
    let key = |encoder: &Encoder, version| Key::new(encoder, greys(6, version).as_ref());
    let path = |encoder: &Encoder, version| key(encoder, version).path(Path::new(""));
    let (mut smaller, mut rounded, mut colour) = (encoder(1.0).0, encoder(1.0).0, encoder(1.0).0);
    smaller.preprocess.resize = 1;
    rounded.autocast = Some(Kind::BFloat16);
    colour.channels = 3;
    let others = [encoder(2.0).0, smaller, rounded, colour];
    let mut paths: Vec<_> = others.iter().map(|other| path(other, "a")).collect();
    paths.extend([path(&plain, "a"), path(&plain, "b")]);
    paths.sort();
    paths.dedup();
    assert_eq!(paths.len(), 6);
    assert_eq!(path(&plain, "a"), path(&encoder(1.0).0, "a"));
}

#[test]
fn a_damaged_cache_is_computed_anew() {
    let folder = tempfile::tempdir().unwrap();
    let (encoder, _) = encoder(1.0);
    let source = greys(6, "a");
    let extract = || encoder.extract_cached(&source, folder.path(), &options()).unwrap();
    let (whole, _) = extract();
    let path = Key::new(&encoder, source.as_ref()).path(folder.path());
    let bytes = fs::read(&path).unwrap();
    let mut damaged: Vec<Vec<u8>> = vec![Vec::new(), b"not a table".to_vec()];
    damaged.push(bytes[..bytes.len() - 1].to_vec());
    for place in [0, 9, bytes.len() / 2, bytes.len() - 70, bytes.len() - 1] {
        let mut flipped = bytes.clone();
        flipped[place] ^= 1;
        damaged.push(flipped);
    }
    for (case, content) in damaged.iter().enumerate() {
        fs::write(&path, content).unwrap();
        let (table, state) = extract();
        assert!(matches!(state, Cached::Written), "case {case} was trusted");
        assert!(table.is_same(&whole), "case {case}");
        assert_eq!(fs::read(&path).unwrap().len(), bytes.len());
    }
}

#[test]
fn a_cache_of_another_number_of_samples_is_not_trusted() {
    let folder = tempfile::tempdir().unwrap();
    let (encoder, _) = encoder(1.0);
    // A source whose fingerprint forgot to change.
    let (_, _) = encoder.extract_cached(&greys(6, "a"), folder.path(), &options()).unwrap();
    let (table, state) = encoder.extract_cached(&greys(7, "a"), folder.path(), &options()).unwrap();
    assert!(matches!(state, Cached::Written));
    assert_eq!(table.samples.len(), 6);
}

#[test]
fn an_unwritable_cache_loses_no_features() {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("file");
    fs::write(&file, "in the way").unwrap();
    let (table, state) = encoder(1.0).0.extract_cached(&greys(6, "a"), &file, &options()).unwrap();
    assert_eq!(table.samples.len(), 5);
    assert!(matches!(state, Cached::Unwritten(_)), "{state:?}");
}
