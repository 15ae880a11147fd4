use std::sync::Arc;

use super::*;
use crate::image::{Image, Samples};
use crate::source::{Stored, Truth, open};

/// A source of given images, with everything a shard can carry.
struct Given(Vec<Image>);

impl Source for Given {
    fn len(&self) -> usize {
        self.0.len()
    }

    fn fetch(&self, index: usize, _buffer: &mut Vec<u8>) -> Result<Stored, SourceError> {
        Ok(Stored::Pixels(self.0[index].clone()))
    }

    fn truth(&self, index: usize) -> Result<Truth, SourceError> {
        let object = crate::source::Object { class: 1, bounds: [2.0, 4.0, 6.0, 8.0] };
        let captions = vec!["first".into(), "second".into()];
        let group = self.group(index);
        Ok(Truth { captions, objects: vec![object], group, ..Truth::default() })
    }

    fn label(&self, index: usize) -> Option<u32> {
        (index != 1).then_some(index as u32 % 2)
    }

    fn name(&self, index: usize) -> String {
        format!("a folder/é {index}.x")
    }

    fn group(&self, index: usize) -> Option<u64> {
        Some(index as u64 / 2)
    }

    fn classes(&self) -> &[String] {
        static CLASSES: std::sync::LazyLock<Vec<String>> =
            std::sync::LazyLock::new(|| ["cat", "dog", "never seen"].map(str::to_owned).to_vec());
        &CLASSES
    }

    fn fingerprint(&self) -> String {
        "given".into()
    }
}

fn image(width: usize, height: usize, channels: usize) -> Image {
    let samples = (0..width * height * channels).map(|i| (i * 7 % 251) as u8).collect();
    Image::from_u8(width, height, channels, samples)
}

fn deep(width: usize, height: usize, channels: usize) -> Image {
    let samples = (0..width * height * channels).map(|i| (i * 977 % 65521) as u16).collect();
    Image::from_u16(width, height, channels, samples)
}

fn packed(source: &dyn Source, out: &Path, options: &PackOptions) -> (Packed, Arc<dyn Source>) {
    let packed = pack(source, out, options, &mut |_, _| {}).expect("packed");
    let folder = out.parent().expect("a folder");
    let again = open(&format!("tar:{}", folder.display())).expect("a source");
    (packed, again)
}

#[test]
fn a_pack_gives_back_all_that_it_was_given() {
    let folder = tempfile::tempdir().expect("a folder");
    let source = Given(vec![
        image(9, 8, 3),
        image(5, 4, 1),
        deep(6, 5, 3),
        deep(4, 3, 5),
        image(3, 3, 2),
        image(4, 4, 4),
    ]);
    for remove_index in [false, true] {
        let out = folder.path().join(format!("{remove_index}/x.tar"));
        let (packed, mut again) = packed(&source, &out, &PackOptions::default());
        assert_eq!((packed.samples, packed.lossless, packed.unchanged), (6, 6, 0));
        assert_eq!(packed.bytes, std::fs::metadata(&out).expect("a file").len());
        if remove_index {
            std::fs::remove_file(out.with_extension("tar.idx.json")).expect("removed");
            again = open(&format!("tar:{}", out.display())).expect("a source");
        }
        assert_eq!((again.len(), again.classes()), (6, source.classes()));
        for index in 0..6 {
            let (there, here) =
                (again.get(index).expect("a sample"), source.get(index).expect("a sample"));
            assert_eq!(there.image, here.image, "{index}");
            assert_eq!((there.label, again.name(index)), (here.label, source.name(index)));
            assert_eq!(
                (there.truth.captions, there.truth.objects),
                (here.truth.captions, here.truth.objects)
            );
            assert_eq!(
                (there.truth.group, again.group(index)),
                (here.truth.group, source.group(index))
            );
        }
    }
}

#[test]
fn shards_are_split_by_size_and_the_same_for_any_number_of_threads() {
    let folder = tempfile::tempdir().expect("a folder");
    let source = Given((0..40).map(|i| image(20 + i, 20, 3)).collect());
    let mut contents = Vec::new();
    for workers in [1, 3] {
        let out = folder.path().join(format!("{workers}/x.tar"));
        let options = PackOptions { shard_bytes: Some(20_000), workers, ..PackOptions::default() };
        let (packed, again) = packed(&source, &out, &options);
        assert!(packed.shards.len() > 3 && packed.shards[1].ends_with("x-000001.tar"));
        let read = |path: &PathBuf| std::fs::read(path).expect("read");
        contents.push(packed.shards.iter().map(read).collect::<Vec<_>>());
        assert!(contents[0].iter().all(|shard| shard.len() <= 20_000));
        assert!((0..40).all(|i| again.get(i).expect("a sample").image == source.0[i]));
    }
    assert_eq!(contents[0], contents[1]);
}

#[test]
fn large_images_become_smaller_and_small_ones_never_larger() {
    let folder = tempfile::tempdir().expect("a folder");
    let source = Given(vec![image(40, 20, 3), image(9, 30, 3), deep(30, 60, 1)]);
    let options = PackOptions { short_side: Some(10), quality: Some(80), ..PackOptions::default() };
    let (packed, again) = packed(&source, &folder.path().join("x.tar"), &options);
    assert_eq!((packed.resized, packed.jpeg, packed.lossless), (2, 2, 1));
    let get = |i| again.get(i).expect("a sample");
    let sizes = [0, 1, 2].map(|i| (get(i).image.width, get(i).image.height));
    assert_eq!(sizes, [(20, 10), (9, 30), (10, 20)]);
    assert!(matches!(get(2).image.samples, Samples::U16(_)));
    assert_eq!(get(0).truth.objects[0].bounds, [1.0, 2.0, 3.0, 4.0]);
}

#[test]
fn files_are_copied_unread_samples_left_out_and_nothing_overwritten() {
    let folder = tempfile::tempdir().expect("a folder");
    let from = folder.path().join("from");
    for (name, bytes) in [
        ("a/x.png", &b"P6\n2 1\n255\nabcdef"[..]),
        ("b/y.png", b"broken"),
        ("b/z.png", b"P5 1 1 255\n7"),
    ] {
        let path = from.join(name);
        std::fs::create_dir_all(path.parent().expect("a folder")).expect("made");
        std::fs::write(path, bytes).expect("written");
    }
    let source = open(&from.to_string_lossy()).expect("a source");
    let out = folder.path().join("to/x.tar");
    let (packed, again) = packed(&*source, &out, &PackOptions::default());
    assert_eq!((packed.samples, packed.unchanged, packed.skipped.len()), (2, 2, 1));
    assert!(packed.skipped[0].name.ends_with("y.png"));
    let mut buffer = Vec::new();
    again.fetch(0, &mut buffer).expect("a sample");
    assert_eq!(buffer, b"P6\n2 1\n255\nabcdef");
    assert_eq!(
        (again.name(1), again.label(1), again.classes()),
        ("b/z.png".into(), Some(1), source.classes())
    );
    let refused =
        pack(&*source, &out, &PackOptions::default(), &mut |_, _| {}).expect_err("an error");
    assert!(refused.problem.contains("already there"));
    let names = std::fs::read_dir(out.parent().expect("a folder")).expect("listed");
    assert_eq!(names.count(), 2, "the shard and its index");
}

#[test]
fn a_real_data_set_survives_packing() {
    let Some(path) = crate::source::real_data("caltech101-20") else { return };
    let folder = tempfile::tempdir().expect("a folder");
    let source = open(&format!("folder:{}?split=test", path.display())).expect("a source");
    let options = PackOptions { shard_bytes: Some(1 << 20), ..PackOptions::default() };
    let (packed, again) = packed(&*source, &folder.path().join("x.tar"), &options);
    assert_eq!((packed.samples, again.len(), packed.skipped.len()), (260, 260, 0));
    assert_eq!(again.classes(), source.classes());
    let (mut here, mut there) = (Vec::new(), Vec::new());
    for i in 0..260 {
        source.fetch(i, &mut here).expect("a sample");
        again.fetch(i, &mut there).expect("a sample");
        assert!(
            here == there && source.label(i) == again.label(i) && source.name(i) == again.name(i)
        );
    }
}

#[test]
fn an_error_on_the_way_leaves_nothing_behind() {
    let folder = tempfile::tempdir().expect("a folder");
    let source = Given((0..40).map(|i| image(20 + i, 20, 3)).collect());
    // In the way of a later shard.
    std::fs::write(folder.path().join("x-000002.tar"), "").expect("written");
    let options = PackOptions { shard_bytes: Some(20_000), ..PackOptions::default() };
    let out = folder.path().join("x.tar");
    let error = pack(&source, &out, &options, &mut |_, _| {}).expect_err("an error");
    assert!(error.name.ends_with("x-000002.tar"), "{error}");
    assert_eq!(std::fs::read_dir(folder.path()).expect("listed").count(), 1);
}
