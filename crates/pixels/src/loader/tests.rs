use std::sync::Arc;
use std::time::{Duration, Instant};

use crate::corrupt::{self, Corrupted, Corruption};
use crate::draw::Draw;
use crate::image::Image;
use crate::numbers::{Form, write_normalized};
use crate::plan::{Interpolation, Normalize, Preprocess, ViewPlan, ViewSpec};
use crate::planes::AnyPlanes;
use crate::source::{Source, SourceError, Stored};
use crate::view;

use super::{Batch, Loader, LoaderOptions, PrepareOptions, Prepared, Share, prepared};

/// Grey squares of different brightness; some cannot be read, one makes the reader panic.
struct Squares {
    count: usize,
    broken: Vec<usize>,
    panics: Option<usize>,
}

impl Source for Squares {
    fn len(&self) -> usize {
        self.count
    }

    fn fetch(&self, index: usize, _buffer: &mut Vec<u8>) -> Result<Stored, SourceError> {
        assert!(self.panics != Some(index), "sample {index} is a trap");
        if self.broken.contains(&index) {
            return Err(SourceError::new(self.name(index), "broken on purpose"));
        }
        let samples = (0..9 * 8).map(|at| (at * 3 + index * 5) as u8).collect();
        Ok(Stored::Pixels(Image::from_u8(9, 8, 1, samples)))
    }

    fn label(&self, index: usize) -> Option<u32> {
        Some(index as u32 % 3)
    }

    fn name(&self, index: usize) -> String {
        format!("square {index}")
    }

    fn classes(&self) -> &[String] {
        &[]
    }

    fn fingerprint(&self) -> String {
        String::new()
    }
}

fn squares(count: usize, broken: &[usize]) -> Arc<dyn Source> {
    Arc::new(Squares { count, broken: broken.to_vec(), panics: None })
}

fn plan() -> ViewPlan {
    let spec = |count, size| ViewSpec { count, size, ..ViewSpec::default() };
    ViewPlan { views: vec![spec(2, 6), spec(1, 4)], normalize: Normalize::imagenet() }
}

fn options(workers: usize) -> LoaderOptions {
    LoaderOptions {
        seed: 7,
        batch: 4,
        share: Share::ALL,
        workers,
        channels: 3,
        strict: false,
        exact: true,
        form: Form::default(),
    }
}

fn loader(source: Arc<dyn Source>, workers: usize) -> Loader {
    Loader::new(source, plan(), options(workers)).expect("a loader")
}

fn all(batches: impl Iterator<Item = Result<Batch, SourceError>>) -> Vec<Batch> {
    batches.map(|batch| batch.expect("a batch")).collect()
}

fn same(a: &[Batch], b: &[Batch]) -> bool {
    let facts = |batch: &Batch| (batch.step, batch.epoch, batch.samples.clone());
    a.len() == b.len()
        && a.iter().zip(b).all(|(a, b)| {
            facts(a) == facts(b)
                && a.views == b.views
                && a.records == b.records
                && a.labels == b.labels
                && a.skipped == b.skipped
        })
}

#[test]
fn the_number_of_workers_changes_nothing() {
    let one = all(loader(squares(11, &[3]), 1).batches(0..7).expect("threads"));
    for workers in [0, 2, 5] {
        assert!(same(
            &one,
            &all(loader(squares(11, &[3]), workers).batches(0..7).expect("threads"))
        ));
    }
}

#[test]
fn starting_at_a_step_gives_the_tail_of_starting_at_the_first() {
    let whole = all(loader(squares(11, &[3]), 2).batches(0..7).expect("threads"));
    for start in [1, 2, 5] {
        let tail = all(loader(squares(11, &[3]), 3).batches(start..7).expect("threads"));
        assert!(same(&whole[start as usize..], &tail));
    }
}

#[test]
fn the_ranks_make_together_what_one_makes_alone() {
    let whole = all(loader(squares(11, &[3]), 2).batches(0..5).expect("threads"));
    for ranks in [2, 4] {
        let of_rank = |rank| {
            let options = LoaderOptions { share: Share { rank, ranks }, ..options(2) };
            let loader = Loader::new(squares(11, &[3]), plan(), options).expect("a loader");
            all(loader.batches(0..5).expect("threads"))
        };
        let parts: Vec<Vec<Batch>> = (0..ranks).map(of_rank).collect();
        for (step, whole) in whole.iter().enumerate() {
            let parts = || parts.iter().map(|part| &part[step]);
            let samples: Vec<usize> = parts().flat_map(|part| part.samples.clone()).collect();
            assert_eq!(samples, whole.samples);
            for (number, view) in whole.views.iter().enumerate() {
                let of = |part: &Batch| part.views[number].data.as_f32().expect("f32").to_vec();
                assert!(parts().flat_map(of).eq(view.data.as_f32().expect("f32").iter().copied()));
                let records = parts().flat_map(|part| part.records[number].clone());
                assert!(records.eq(whole.records[number].iter().cloned()));
            }
        }
    }
    let uneven = LoaderOptions { share: Share { rank: 0, ranks: 3 }, ..options(2) };
    assert!(Loader::new(squares(11, &[]), plan(), uneven).is_err());
}

/// One number for everything that an epoch shows.
fn hash_of_epoch(workers: usize, start: u64, exact: bool) -> u64 {
    let options = LoaderOptions { exact, ..options(workers) };
    let source = crate::source::open("world:?size=40&count=50").expect("a source");
    let loader = Loader::new(source, plan(), options).expect("a loader");
    let steps = loader.batches_per_epoch();
    let mut hash = 0xcbf2_9ce4_8422_2325u64;
    let mut add = |number: u64| hash = (hash ^ number).wrapping_mul(0x100_0000_01b3);
    // A run that stopped at `start` and was taken up again there.
    let parts = [0..start, start..2 * steps];
    for batch in parts.into_iter().flat_map(|part| all(loader.batches(part).expect("threads"))) {
        batch.samples.iter().for_each(|sample| add(*sample as u64));
        for view in &batch.views {
            view.data.as_f32().expect("f32").iter().for_each(|v| add(u64::from(v.to_bits())));
        }
    }
    hash
}

#[test]
fn whole_epochs_are_the_same_for_any_number_of_workers_and_any_restart() {
    let one = hash_of_epoch(1, 0, true);
    for (workers, start) in [(2, 0), (3, 5), (7, 12), (1, 23)] {
        assert_eq!(hash_of_epoch(workers, start, true), one, "{workers} workers, from {start}");
    }
    assert_eq!(hash_of_epoch(4, 3, false), one, "only JPEG files are decoded smaller");
}

/// JPEG files of which every second one is damaged below its middle.
struct Damaged {
    files: [Vec<u8>; 2],
}

impl Source for Damaged {
    fn len(&self) -> usize {
        12
    }

    fn fetch(&self, index: usize, buffer: &mut Vec<u8>) -> Result<Stored, SourceError> {
        buffer.clone_from(&self.files[index % 2]);
        Ok(Stored::File)
    }

    fn label(&self, _index: usize) -> Option<u32> {
        None
    }

    fn name(&self, index: usize) -> String {
        format!("picture {index}")
    }

    fn classes(&self) -> &[String] {
        &[]
    }

    fn fingerprint(&self) -> String {
        String::new()
    }
}

fn damaged() -> Arc<dyn Source> {
    let sound =
        crate::encode::encode_jpeg(&crate::verify::pattern(48, 192, 3), 90).expect("a file");
    let mut damaged = sound.clone();
    let middle = sound.len() * 6 / 10;
    // A mark that no file has here.
    damaged[middle..middle + 2].copy_from_slice(&[0xFF, 0x02]);
    Arc::new(Damaged { files: [sound, damaged] })
}

/// Whether a view meets a damage depends on its crop. What one epoch or one thread found may not decide another.
#[test]
fn a_damage_that_only_some_views_meet_leaves_no_memory() {
    let crop = crate::plan::Crop { scale: [0.05, 0.3], ..crate::plan::Crop::default() };
    let views = vec![ViewSpec { size: 6, crop, ..ViewSpec::default() }];
    let plan = ViewPlan { views, normalize: Normalize::imagenet() };
    let batches = |workers, steps| {
        let loader = Loader::new(damaged(), plan.clone(), options(workers)).expect("a loader");
        all(loader.batches(steps).expect("threads"))
    };
    let whole = batches(1, 0..60);
    let odd = |batch: &&Batch| batch.samples.iter().any(|sample| sample % 2 == 1);
    assert!(whole.iter().rev().take(10).any(|batch| odd(&batch)), "some views miss the damage");
    assert!(whole.iter().any(|batch| !batch.skipped.is_empty()), "and some meet it");
    assert!(same(&whole, &batches(5, 0..60)));
    for start in [1, 4, 11, 20] {
        assert!(same(&whole[start as usize..], &batches(2, start..60)), "from {start}");
    }
}

#[test]
fn the_order_is_the_same_tomorrow() {
    let batches = all(loader(squares(11, &[]), 1).batches(0..2).expect("threads"));
    let samples: Vec<usize> = batches.iter().flat_map(|batch| batch.samples.clone()).collect();
    // Recorded when the loader was written: a resumed run must find its place in the old order.
    assert_eq!(samples, [3, 5, 9, 10, 1, 6, 7, 2]);
}

#[test]
fn an_epoch_shows_each_sample_at_most_once_in_an_order_of_its_own() {
    let loader = loader(squares(11, &[]), 2);
    assert_eq!(loader.batches_per_epoch(), 2);
    let batches = all(loader.batches(0..4).expect("threads"));
    let epochs: Vec<u64> = batches.iter().map(|batch| batch.epoch).collect();
    assert_eq!(epochs, [0, 0, 1, 1]);
    let order = |epoch: &[Batch]| -> Vec<usize> {
        epoch.iter().flat_map(|batch| batch.samples.clone()).collect()
    };
    let (first, second) = (order(&batches[..2]), order(&batches[2..]));
    assert_ne!(first, second);
    for mut samples in [first, second] {
        samples.sort_unstable();
        samples.dedup();
        assert_eq!(samples.len(), 8);
    }
}

#[test]
fn a_view_is_what_its_address_says() {
    let source = squares(8, &[]);
    let batch = &all(loader(source.clone(), 2).batches(3..4).expect("threads"))[0];
    let spec = &plan().views[0];
    for (place, &sample) in batch.samples.iter().enumerate() {
        let image = source.get(sample).expect("a sample").image.into_rgb().expect("colour");
        let draw = Draw { seed: 7, epoch: 1, sample: sample as u64, view: 1 };
        let (image, record) = view::render(&image, spec, draw);
        let mut expected = vec![0.0; 3 * 6 * 6];
        write_normalized(&image, &Normalize::imagenet(), &mut expected);
        assert_eq!(batch.views[1].data.as_f32().expect("f32")[place * 108..][..108], expected);
        assert_eq!(batch.records[1][place], record);
        assert_eq!(batch.labels[place], source.label(sample));
    }
    let sizes: Vec<_> = batch.views.iter().map(|view| (view.size, view.data.len())).collect();
    assert_eq!(sizes, [(6, 432), (6, 432), (4, 192)]);
}

#[test]
fn broken_samples_are_replaced_and_listed() {
    let sound = all(loader(squares(8, &[]), 2).batches(0..2).expect("threads"));
    let broken = all(loader(squares(8, &[2, 3, 7]), 2).batches(0..2).expect("threads"));
    for (sound, broken) in sound.iter().zip(&broken) {
        let replaced = |sample: usize| match sample {
            2 | 3 => 4,
            7 => 0,
            other => other,
        };
        let expected: Vec<usize> = sound.samples.iter().map(|&sample| replaced(sample)).collect();
        assert_eq!(broken.samples, expected);
        for skip in &broken.skipped {
            assert_eq!(skip.name, format!("square {}", skip.sample));
            assert_eq!(skip.problem, "broken on purpose");
        }
    }
    let mut skipped: Vec<usize> =
        broken.iter().flat_map(|batch| batch.skipped.iter().map(|skip| skip.sample)).collect();
    skipped.sort_unstable();
    skipped.dedup();
    assert_eq!(skipped, [2, 3, 7]);
}

#[test]
fn strict_makes_the_first_broken_sample_the_error_and_the_end() {
    let strict = LoaderOptions { strict: true, ..options(2) };
    let loader = Loader::new(squares(8, &[5]), plan(), strict).expect("a loader");
    let mut batches = loader.batches(0..2).expect("threads");
    let error = batches.find_map(Result::err).expect("an error");
    assert_eq!((error.name.as_str(), error.problem.as_str()), ("square 5", "broken on purpose"));
    assert!(batches.next().is_none());
}

#[test]
fn a_source_without_a_readable_sample_is_an_error() {
    let mut batches = loader(squares(4, &[0, 1, 2, 3]), 2).batches(0..1).expect("threads");
    let error = batches.next().expect("an answer").expect_err("an error");
    assert!(error.problem.contains("none of 4"));
}

#[test]
fn a_batch_larger_than_the_source_is_refused_with_a_hint() {
    let error = Loader::new(squares(3, &[]), plan(), options(1)).err().expect("an error");
    assert!(error.problem.contains("a batch of 4 cannot be taken from 3"));
    assert!(error.hint.expect("a hint").contains("between 2 and 3"));
}

#[test]
fn channels_must_fit() {
    let one = LoaderOptions { channels: 1, ..options(1) };
    assert!(Loader::new(squares(8, &[]), plan(), one).is_err());
    let normalize = Normalize { mean: vec![0.5; 2], std: vec![0.5; 2] };
    let plan = ViewPlan { normalize, ..plan() };
    let two = LoaderOptions { channels: 2, ..options(1) };
    let loader = Loader::new(squares(8, &[]), plan, two).expect("a loader");
    let error =
        loader.batches(0..1).expect("threads").next().expect("an answer").expect_err("an error");
    assert!(error.problem.contains("2 channels are wanted, 1 found"), "{error}");
}

#[test]
fn a_panic_in_a_worker_is_an_error_and_not_a_hang() {
    let trap = Arc::new(Squares { count: 8, broken: Vec::new(), panics: Some(6) });
    let error = loader(trap.clone(), 2)
        .batches(0..2)
        .expect("threads")
        .find_map(Result::err)
        .expect("an error");
    assert!(error.problem.contains("sample 6 is a trap"), "{error}");
    let mut prepared = prepared(trap, None, &preprocess(), prepare_options(4, 2)).expect("threads");
    assert!(prepared.next().expect("an answer").is_ok());
    assert!(prepared.next().expect("an answer").is_err());
}

#[test]
fn dropping_the_batches_ends_their_threads() {
    let loader = loader(squares(8, &[]), 4);
    let mut batches = loader.batches(0..u64::MAX).expect("threads");
    assert!(batches.next().is_some());
    assert!(batches.waited() > Duration::ZERO);
    let start = Instant::now();
    drop(batches);
    // `drop` joins: an hour would be a hang, and a minute allows for any machine.
    assert!(start.elapsed() < Duration::from_mins(1));
    assert_eq!(Arc::strong_count(&loader.shared), 1);
}

fn preprocess() -> Preprocess {
    Preprocess {
        resize: 5,
        crop: 5,
        interpolation: Interpolation::Bilinear,
        normalize: Normalize::imagenet(),
    }
}

fn prepare_options(batch: usize, workers: usize) -> PrepareOptions {
    PrepareOptions { channels: 3, batch, workers, form: Form::default(), corruption: None }
}

#[test]
fn prepared_images_come_in_order_without_the_unreadable_ones() {
    let source = squares(7, &[1, 6]);
    for workers in [1, 3] {
        let batches: Vec<Prepared> =
            prepared(source.clone(), None, &preprocess(), prepare_options(3, workers))
                .expect("threads")
                .map(|batch| batch.expect("a batch"))
                .collect();
        let samples: Vec<Vec<usize>> = batches.iter().map(|batch| batch.samples.clone()).collect();
        assert_eq!(samples, [vec![0, 2], vec![3, 4, 5], vec![]]);
        let skipped: Vec<usize> =
            batches.iter().flat_map(|batch| batch.skipped.iter().map(|skip| skip.sample)).collect();
        assert_eq!(skipped, [1, 6]);
        for batch in &batches {
            assert_eq!(batch.data.len(), batch.samples.len() * 75);
            for (place, &sample) in batch.samples.iter().enumerate() {
                let image = source.get(sample).expect("a sample").image.into_rgb().expect("colour");
                let mut expected = vec![0.0; 75];
                let image = view::prepare(&image, &preprocess());
                write_normalized(&image, &Normalize::imagenet(), &mut expected);
                assert_eq!(batch.data.as_f32().expect("f32")[place * 75..][..75], expected);
                assert_eq!(batch.labels[place], source.label(sample));
            }
        }
    }
}

#[test]
fn prepared_takes_the_samples_asked_for() {
    let batches: Vec<Prepared> =
        prepared(squares(7, &[]), Some(vec![5, 0, 5]), &preprocess(), prepare_options(2, 2))
            .expect("threads")
            .map(|batch| batch.expect("a batch"))
            .collect();
    assert_eq!([&batches[0].samples[..], &batches[1].samples], [&[5, 0][..], &[5]]);
}

#[test]
fn corrupted_pictures_depend_on_nothing_but_the_sample() {
    let of = |corruption, chosen: Option<Vec<usize>>, batch, workers| {
        let options = PrepareOptions { corruption, ..prepare_options(batch, workers) };
        let batches = prepared(squares(7, &[1]), chosen, &preprocess(), options).expect("threads");
        let mut found = Vec::new();
        for batch in batches.map(|batch| batch.expect("a batch")) {
            let numbers = batch.data.as_f32().expect("f32").chunks(75).map(<[f32]>::to_vec);
            found.extend(batch.samples.iter().copied().zip(numbers));
        }
        found
    };
    let noise = Corrupted::new(Corruption::GaussianNoise, 3).expect("a severity");
    let whole = of(Some(noise), None, 3, 1);
    assert!(of(Some(noise), None, 1, 3) == whole);
    assert!(of(Some(noise), Some(vec![5, 0]), 2, 2) == [whole[4].clone(), whole[0].clone()]);
    // The corruption comes between the crop and the normalisation.
    let image = squares(7, &[]).get(5).expect("a sample").image.into_rgb().expect("colour");
    let mut image = AnyPlanes::of(&view::prepare(&image, &preprocess()));
    corrupt::apply(&mut image, noise, &mut noise.stream(0, 5)).expect("8 bits");
    let mut wanted = vec![0.0; 75];
    write_normalized(&image.image(), &Normalize::imagenet(), &mut wanted);
    assert_eq!(whole[4], (5, wanted));
    assert!(of(None, None, 3, 1) != whole);
}

#[test]
fn pictures_that_cannot_be_corrupted_are_skipped_with_the_reason() {
    let saturate = Corrupted::new(Corruption::Saturate, 1).expect("a severity");
    let options =
        PrepareOptions { corruption: Some(saturate), channels: 1, ..prepare_options(3, 1) };
    let normalize = Normalize { mean: vec![0.0], std: vec![1.0] };
    let how = Preprocess { normalize, ..preprocess() };
    let mut batches = prepared(squares(2, &[]), None, &how, options).expect("threads");
    let batch = batches.next().expect("one").expect("a batch");
    assert!(batch.samples.is_empty());
    assert_eq!(batch.skipped[1].problem, "saturate needs pictures of 3 channels, found 1");
}
