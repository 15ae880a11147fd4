use std::collections::BTreeMap;
use std::fs;
use std::path::PathBuf;
use std::sync::atomic::{AtomicUsize, Ordering};

use pixels::corrupt::Corruption;
use pixels::image::Image;
use pixels::plan::{Interpolation, Normalize};
use pixels::source::{SourceError, Stored};

use super::*;
use crate::evaluation::encoder;
use crate::models::resnet::ResNetConfig;
use crate::models::vit::VitConfig;
use crate::models::{BackboneConfig, Features, Tap};
use crate::training::checkpoint::EncoderSpec;

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

/// The sum of the pixels and its negative, times a factor; the images themselves are its other layer. Counts its
/// batches, and has no finite answer from one of them on.
struct Sum {
    factor: f64,
    batches: Arc<AtomicUsize>,
    fails_at: usize,
}

impl Backbone for Sum {
    fn forward(&self, images: &Tensor, mode: Mode, tap: &mut Tap) -> Features {
        assert_eq!(mode, Mode::Eval, "an encoder is frozen");
        tap("images", images);
        if self.batches.fetch_add(1, Ordering::Relaxed) == self.fails_at {
            let pooled = Tensor::full([images.size()[0], 2], f64::NAN, (Kind::Float, Device::Cpu));
            return Features { pooled, map: None, tokens: None };
        }
        let sum = images.flatten(1, 3).sum_dim_intlist([1i64].as_slice(), true, Kind::Float);
        let pooled = Tensor::cat(&[&sum, &-&sum], 1) * self.factor;
        Features { pooled, map: None, tokens: None }
    }

    fn width(&self) -> i64 {
        2
    }
}

fn sum(factor: f64) -> (Encoder, Arc<AtomicUsize>) {
    let batches = Arc::new(AtomicUsize::new(0));
    let encoder = Encoder {
        name: "sum".into(),
        backbone: Box::new(Sum { factor, batches: batches.clone(), fails_at: usize::MAX }),
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
    ExtractOptions { batch: 2, workers: 1, progress: &|_, _| {}, corruption: None }
}

#[test]
fn rows_follow_the_source_and_unreadable_samples_are_listed() {
    let (encoder, _) = sum(255.0);
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
    sum(1.0).0.extract(&greys(5, "a"), &options).unwrap();
    assert_eq!(*seen.borrow(), [(2, 5), (4, 5), (5, 5)]);
}

#[test]
fn a_source_without_readable_images_and_a_broken_encoder_are_errors() {
    let (plain, _) = sum(1.0);
    let error = plain.extract(&greys(0, "a"), &options()).unwrap_err();
    assert!(error.to_string().contains("no images"), "{error}");
    let (broken, _) = sum(f64::INFINITY);
    let error = broken.extract(&greys(3, "a"), &options()).unwrap_err();
    assert!(error.to_string().contains("`sum` gives features that are not finite"), "{error}");
}

#[test]
fn features_are_extracted_once() {
    let folder = tempfile::tempdir().unwrap();
    let (encoder, batches) = sum(1.0);
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
    let shelf = fs::read_dir(&cache).unwrap().next().unwrap().unwrap().path();
    assert_eq!(fs::read_dir(shelf).unwrap().count(), 2, "no temporary file stays");
}

#[test]
fn other_weights_data_preprocessing_or_precision_are_other_caches() {
    let (plain, _) = sum(1.0);
    let key = |encoder: &Encoder, version| Key::new(encoder, greys(6, version).as_ref(), None);
    let path = |encoder: &Encoder, version| key(encoder, version).folder(Path::new(""));
    let (mut smaller, mut rounded, mut colour) = (sum(1.0).0, sum(1.0).0, sum(1.0).0);
    smaller.preprocess.resize = 1;
    rounded.autocast = Some(Kind::BFloat16);
    colour.channels = 3;
    let others = [sum(2.0).0, smaller, rounded, colour];
    let mut paths: Vec<_> = others.iter().map(|other| path(other, "a")).collect();
    paths.extend([path(&plain, "a"), path(&plain, "b")]);
    paths.sort();
    paths.dedup();
    assert_eq!(paths.len(), 6);
    assert_eq!(path(&plain, "a"), path(&sum(1.0).0, "a"));
}

/// Both files of a layer.
fn files(encoder: &Encoder, source: &Arc<dyn Source>, cache: &Path, layer: &str) -> [PathBuf; 2] {
    let folder = Key::new(encoder, source.as_ref(), None).folder(cache);
    ["f32", "json"].map(|ending| folder.join(format!("{layer}.{ending}")))
}

#[test]
fn a_damaged_cache_is_computed_anew() {
    let folder = tempfile::tempdir().unwrap();
    let (encoder, _) = sum(1.0);
    let source = greys(6, "a");
    let extract = || encoder.extract_cached(&source, folder.path(), &options()).unwrap();
    let (whole, _) = extract();
    for path in files(&encoder, &source, folder.path(), "pooled") {
        let bytes = fs::read(&path).unwrap();
        let mut damaged: Vec<Vec<u8>> = vec![Vec::new(), b"not a table".to_vec()];
        damaged.push(bytes[..bytes.len() - 3].to_vec());
        for place in [0, 9, bytes.len() / 2, bytes.len() - 5] {
            let mut flipped = bytes.clone();
            flipped[place] ^= 1;
            damaged.push(flipped);
        }
        for (case, content) in damaged.iter().enumerate() {
            // Not in the same file: the first table has it mapped.
            fs::remove_file(&path).unwrap();
            fs::write(&path, content).unwrap();
            let (table, state) = extract();
            assert!(matches!(state, Cached::Written), "case {case} was trusted");
            assert!(table.is_same(&whole), "case {case}");
            assert_eq!(table.skipped, whole.skipped);
            assert_eq!(fs::read(&path).unwrap(), bytes);
        }
    }
}

#[test]
fn a_stopped_extraction_goes_on_and_equals_one_that_was_not() {
    let [stopped, whole] = [tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap()];
    let source = greys(3000, "a");
    let options = ExtractOptions { batch: 512, ..options() };
    let (encoder, batches) = sum(1.0);
    let mut failing = self::sum(1.0).0;
    failing.backbone = Box::new(Sum { factor: 1.0, batches: Arc::default(), fails_at: 5 });
    assert!(failing.extract_cached(&source, stopped.path(), &options).is_err());
    let seen = std::cell::RefCell::new(Vec::new());
    let progress = |done, _| seen.borrow_mut().push(done);
    let watched = ExtractOptions { progress: &progress, ..options };
    let (table, state) = encoder.extract_cached(&source, stopped.path(), &watched).unwrap();
    assert!(matches!(state, Cached::Written));
    assert_eq!(batches.load(Ordering::Relaxed), 2, "two batches of six were missing");
    assert_eq!(*seen.borrow(), [2048, 2560, 3000]);
    let (wanted, _) = encoder.extract_cached(&source, whole.path(), &options).unwrap();
    let fresh = encoder.extract(&source, &options).unwrap();
    for other in [&wanted, &fresh] {
        assert!(table.is_same(other));
        assert_eq!((&table.skipped, &table.groups), (&other.skipped, &other.groups));
    }
    let bytes = |cache: &Path| {
        files(&encoder, &source, cache, "pooled").map(|path| fs::read(path).unwrap())
    };
    assert_eq!(bytes(stopped.path()), bytes(whole.path()));
    // A damaged second part costs the second and the last.
    let [data, _] = files(&encoder, &source, stopped.path(), "pooled");
    let mut damaged = fs::read(&data).unwrap();
    damaged[1500 * 8] ^= 1;
    fs::remove_file(&data).unwrap();
    fs::write(&data, damaged).unwrap();
    let before = batches.load(Ordering::Relaxed);
    let (table, _) = encoder.extract_cached(&source, stopped.path(), &options).unwrap();
    assert_eq!(batches.load(Ordering::Relaxed), before + 4);
    assert!(table.is_same(&wanted));
}

#[test]
fn layers_share_a_cache_however_they_were_extracted() {
    let folder = tempfile::tempdir().unwrap();
    let source = greys(2000, "a");
    let of = |layers: &Layers, batch| {
        let (encoder, batches) = sum(1.0);
        let options = ExtractOptions { batch, ..options() };
        let (tables, _) =
            encoder.extract_layers_cached(&source, layers, folder.path(), &options).unwrap();
        (tables, batches.load(Ordering::Relaxed))
    };
    // The pooled features alone, their second half lost.
    let (pooled, _) = of(&Layers::Pooled, 512);
    let [data, _] = files(&sum(1.0).0, &source, folder.path(), "pooled");
    let bytes = fs::read(&data).unwrap();
    fs::remove_file(&data).unwrap();
    fs::write(&data, &bytes[..bytes.len() - 4]).unwrap();
    // Batches that end elsewhere add to what is left of them.
    let (all, batches) = of(&Layers::All, 700);
    assert_eq!(batches, 4, "three batches, and one to learn the names");
    assert_eq!(fs::read(&data).unwrap(), bytes);
    let names: Vec<&str> = all.iter().map(|(name, _)| name.as_str()).collect();
    assert_eq!(names, ["images", "pooled"]);
    assert!(all[1].1.is_same(&pooled[0].1));
    assert_eq!(of(&Layers::Pooled, 64).1, 0);
    assert_eq!(of(&Layers::Named(vec!["images".into()]), 64).1, 1);
}

#[test]
fn layers_of_one_pass_equal_separate_passes() {
    let backbones = [
        BackboneConfig::Resnet18(ResNetConfig { width: 4, ..ResNetConfig::default() }),
        BackboneConfig::VitTiny(VitConfig { image: 32, ..VitConfig::default() }),
    ];
    let source = pixels::source::open("world:?size=32&count=6").unwrap();
    for backbone in backbones {
        let preprocess = Preprocess {
            resize: 36,
            crop: 32,
            interpolation: Interpolation::Bicubic,
            normalize: Normalize::imagenet(),
        };
        let spec = EncoderSpec::new(backbone, 3, preprocess);
        let encoder = encoder::random(&spec, 1, Device::Cpu, None);
        let tables = encoder.extract_layers(&source, &Layers::All, &options()).unwrap();
        let names: Vec<String> = tables.iter().map(|(name, _)| name.clone()).collect();
        assert_eq!((names[0].as_str(), names.last().unwrap().as_str()), ("stem", "pooled"));
        assert_eq!(names, encoder.layers());
        assert!(names.len() >= 10, "{names:?}");
        for (name, table) in &tables {
            let alone = Layers::Named(vec![name.clone()]);
            let alone = encoder.extract_layers(&source, &alone, &options()).unwrap();
            assert!(alone[0].1.is_same(table), "{name}");
            assert_eq!((table.x.dim(), table.x.size()[0]), (2, 6), "{name}");
        }
        let pooled = encoder.extract(&source, &options()).unwrap();
        assert!(tables.last().unwrap().1.is_same(&pooled));
    }
}

#[test]
fn a_layer_that_is_not_there_is_refused_with_the_nearest_name() {
    let (encoder, _) = sum(1.0);
    let layers: Layers = "pooled, image".parse().unwrap();
    let error = encoder.extract_layers(&greys(3, "a"), &layers, &options()).unwrap_err();
    assert!(error.to_string().contains("has no layer `image`"), "{error}");
    assert!(error.hint().unwrap().contains("did you mean `images`?"), "{:?}", error.hint());
    for (text, wanted) in [("pooled", Layers::Pooled), ("all", Layers::All)] {
        assert_eq!(text.parse::<Layers>().unwrap(), wanted);
    }
}

#[test]
fn a_cache_of_another_number_of_samples_is_not_trusted() {
    let folder = tempfile::tempdir().unwrap();
    let (encoder, _) = sum(1.0);
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
    let (table, state) = sum(1.0).0.extract_cached(&greys(6, "a"), &file, &options()).unwrap();
    assert_eq!(table.samples.len(), 5);
    assert!(matches!(state, Cached::Unwritten(_)), "{state:?}");
}

#[test]
fn a_disk_that_fails_on_the_way_loses_no_features() {
    let folder = tempfile::tempdir().unwrap();
    let (encoder, _) = sum(1.0);
    let source = greys(3000, "a");
    let [_, journal] = files(&encoder, &source, folder.path(), "pooled");
    // In the journal's place, so that rows are written and the first part cannot be completed.
    fs::create_dir_all(&journal).unwrap();
    let options = ExtractOptions { batch: 512, ..options() };
    let (table, state) = encoder.extract_cached(&source, folder.path(), &options).unwrap();
    assert!(matches!(state, Cached::Unwritten(_)), "{state:?}");
    assert!(table.is_same(&encoder.extract(&source, &options).unwrap()));
    assert_eq!(table.skipped.len(), 1);
}

#[test]
fn features_of_corrupted_pictures_have_their_own_cache() {
    let folder = tempfile::tempdir().unwrap();
    let (encoder, _) = sum(1.0);
    let source = greys(40, "a");
    let of = |corruption| {
        let options = ExtractOptions { corruption, ..options() };
        encoder.extract_cached(&source, folder.path(), &options).unwrap()
    };
    let noise = |severity| Corrupted::new(Corruption::GaussianNoise, severity).ok();
    let tables: Vec<FeatureTable> = [None, noise(1), noise(2)]
        .into_iter()
        .map(|corruption| {
            let (table, state) = of(corruption);
            assert!(matches!(state, Cached::Written), "{corruption:?}");
            let (again, state) = of(corruption);
            assert!(matches!(state, Cached::Read) && again.is_same(&table), "{corruption:?}");
            table
        })
        .collect();
    assert!(!tables[0].is_same(&tables[1]) && !tables[1].is_same(&tables[2]));
    let fresh = ExtractOptions { corruption: noise(2), batch: 7, workers: 3, ..options() };
    assert!(encoder.extract(&source, &fresh).unwrap().is_same(&tables[2]));
    // The key of clean pictures is the one of caches from before there were corruptions.
    assert!(!Key::new(&encoder, source.as_ref(), None).0.contains("corruption"));
}
