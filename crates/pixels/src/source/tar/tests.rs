use std::io::Write;

use super::*;
use crate::source::open;

/// A picture of two pixels, as a PPM file.
const PICTURE: &[u8] = b"P6\n2 1\n255\nabcdef";

/// An entry as a tar program writes it. `kind` 0 is an old regular file.
fn entry(name: &str, kind: u8, data: &[u8]) -> Vec<u8> {
    let mut header = vec![0; 512];
    header[..name.len().min(100)].copy_from_slice(&name.as_bytes()[..name.len().min(100)]);
    write!(&mut header[124..136], "{:011o}", data.len()).expect("written");
    header[156] = kind;
    sealed(header, data)
}

/// The header with its sum, and the data padded.
fn sealed(mut header: Vec<u8>, data: &[u8]) -> Vec<u8> {
    header[148..156].fill(b' ');
    let sum: u32 = header.iter().map(|byte| u32::from(*byte)).sum();
    write!(&mut header[148..155], "{sum:06o}\0").expect("written");
    header.extend_from_slice(data);
    header.resize(header.len().next_multiple_of(512), 0);
    header
}

fn listed(bytes: &[u8]) -> Shard {
    let read = |buffer: &mut [u8], at: u64| {
        buffer.copy_from_slice(&bytes[at as usize..][..buffer.len()]);
        Ok(())
    };
    group::list(&read, bytes.len() as u64)
}

fn names(shard: &Shard) -> Vec<&str> {
    shard.samples.iter().map(|sample| sample.name.as_str()).collect()
}

fn pack_of(samples: usize) -> Vec<u8> {
    let sample = |i: usize| {
        let (image, label) = (format!("d/{i:03}.ppm"), format!("d/{i:03}.cls"));
        [entry(&image, b'0', PICTURE), entry(&label, b'0', (i % 3).to_string().as_bytes())].concat()
    };
    let mut bytes: Vec<u8> = (0..samples).flat_map(sample).collect();
    bytes.resize(bytes.len() + 1024, 0);
    bytes
}

#[test]
fn entries_of_one_key_are_a_sample() {
    let bytes = [
        entry("d/", b'5', b""),
        entry("d/a.png", b'0', PICTURE),
        entry("d/a.cls", 0, b"2\n"),
        entry("d/a.txt", b'0', b"a caption "),
        entry("d/a.seg.png", b'0', b"mask"),
        entry("b.JPG", b'0', PICTURE),
        entry("b.json", b'0', br#"{"class": 5, "cls": 4, "text": "x", "caption": "y"}"#),
        entry("c.txt", b'0', b"alone"),
        entry("__meta__.json", b'0', b"{}"),
    ]
    .concat();
    let shard = listed(&bytes);
    assert_eq!(names(&shard), ["d/a", "b"]);
    let labels: Vec<_> = shard.samples.iter().map(|s| s.label.as_deref()).collect();
    assert_eq!(labels, [Some("2"), Some("4")]);
    assert!(shard.samples[0].caption.is_some() && shard.samples[1].json.is_some());
    assert!(shard.problems.len() == 1 && shard.problems[0].contains("first is c.txt"));
}

#[test]
fn long_names_are_read_in_each_of_their_forms() {
    let long = format!("{}/x.png", "long".repeat(40));
    let pax = format!("path={long}\n");
    let record = format!("{} {pax}", pax.len() + 4);
    assert_eq!(record.len(), pax.len() + 4);
    let mut ustar = entry("x.png", b'0', b"")[..512].to_vec();
    ustar[257..263].copy_from_slice(b"ustar\0");
    ustar[345..350].copy_from_slice(b"first");
    for (bytes, name) in [
        (
            [entry("././@LongLink", b'L', format!("{long}\0").as_bytes()), entry(&long, b'0', b"")]
                .concat(),
            &long,
        ),
        ([entry("pax", b'x', record.as_bytes()), entry("short.png", b'0', b"")].concat(), &long),
        (sealed(ustar, b""), &"first/x.png".to_owned()),
    ] {
        let expected = name.strip_suffix(".png").unwrap_or(name);
        assert_eq!(names(&listed(&bytes)), [expected]);
    }
}

#[test]
fn sizes_of_more_than_eight_gigabytes_are_numbers_in_base_256() {
    let mut header = entry("x.png", b'0', b"")[..512].to_vec();
    header[124..136].copy_from_slice(&[0x80, 0, 0, 0, 0, 0, 0, 4, 0, 0, 0, 1]);
    let shard = listed(&sealed(header, b""));
    assert!(shard.samples.is_empty() && shard.problems[0].contains("cut short within x.png"));
}

#[test]
fn a_cut_anywhere_keeps_the_samples_before_it() {
    let whole = pack_of(4);
    // What a whole sample has is known from the first.
    let sample = 2048;
    for length in sample..whole.len() {
        let shard = listed(&whole[..length]);
        let (complete, rest) = ((length / sample).min(4), length % sample);
        // The end of the padding may be missing. Between an image and its label a cut cannot be seen.
        let one_more = complete < 4 && matches!(rest, 529..=1024 | 1537..);
        assert_eq!(shard.samples.len(), complete + usize::from(one_more), "{length}");
        for (i, kept) in shard.samples.iter().take(complete).enumerate() {
            assert_eq!(kept.label, Some((i % 3).to_string()));
        }
    }
    let shard = listed(&whole[..2 * sample + 520]);
    assert!(shard.problems[0].contains("cut short within d/002.ppm; what follows is lost"));
}

#[test]
fn damage_in_the_middle_is_a_problem_and_not_the_end_of_everything() {
    let mut bytes = pack_of(4);
    bytes[2 * 2048 + 3] ^= 0xff;
    let shard = listed(&bytes);
    assert_eq!(names(&shard), ["d/000", "d/001"]);
    assert!(shard.problems[0].contains("no tar header at byte 4096"), "{:?}", shard.problems);
}

#[test]
fn compressed_files_are_refused_with_a_way_out() {
    let folder = tempfile::tempdir().expect("a folder");
    let path = folder.path().join("x.tar");
    fs::write(&path, [0x1f, 0x8b, 8, 0]).expect("written");
    let error = Tar::open(&[path]).err().expect("an error");
    assert!(error.problem.contains("gunzip"), "{error}");
}

#[test]
fn many_shards_are_one_source_read_from_many_threads() {
    let folder = tempfile::tempdir().expect("a folder");
    // More shards than are kept open.
    for shard in 0..70 {
        fs::write(folder.path().join(format!("s-{shard:02}.tar")), pack_of(3)).expect("written");
    }
    let source =
        open(&format!("tar:{}/s-{{00..69}}.tar", folder.path().display())).expect("a source");
    assert_eq!((source.len(), source.classes().len()), (210, 3));
    std::thread::scope(|scope| {
        for start in 0..4 {
            let source = &source;
            scope.spawn(move || {
                let mut buffer = Vec::new();
                for index in (start..210).step_by(3).chain(start..210) {
                    source.fetch(index, &mut buffer).expect("a sample");
                    assert_eq!(buffer, PICTURE);
                    assert_eq!(source.label(index), Some(index as u32 % 3));
                }
            });
        }
    });
}

#[test]
fn an_index_is_used_only_for_the_shard_that_it_lists() {
    let folder = tempfile::tempdir().expect("a folder");
    let path = folder.path().join("x.tar");
    fs::write(&path, pack_of(3)).expect("written");
    write_index(&path).expect("written");
    let beside = index::beside(&path);
    let names = || {
        let source = Tar::open(std::slice::from_ref(&path)).expect("a source");
        (0..source.len()).map(|i| source.name(i)).collect::<Vec<_>>()
    };
    let text = fs::read_to_string(&beside).expect("read").replace("d/001", "from the index");
    fs::write(&beside, &text).expect("written");
    assert_eq!(names(), ["d/000", "from the index", "d/002"]);
    for broken in
        [text.replace("\"tar_bytes\":", "\"tar_bytes\":9"), text[..text.len() / 2].to_owned()]
    {
        fs::write(&beside, broken).expect("written");
        assert_eq!(names(), ["d/000", "d/001", "d/002"]);
    }
    fs::write(&beside, &text).expect("written");
    fs::write(&path, pack_of(2)).expect("written");
    assert_eq!(names(), ["d/000", "d/001"]);
}

#[test]
fn any_change_of_a_byte_is_survived() {
    let whole = pack_of(2);
    for at in 0..whole.len() {
        for value in [0, 0xff, b'9', whole[at] ^ 1] {
            let mut bytes = whole.clone();
            bytes[at] = value;
            fuzz(&bytes);
        }
    }
}

#[test]
fn a_tar_file_of_another_program_is_read() {
    let Some(path) = crate::source::real_data("imagenet-sample") else { return };
    let folder = tempfile::tempdir().expect("a folder");
    let tar = folder.path().join("images.tar");
    let made = std::process::Command::new("tar")
        .arg("cf")
        .arg(&tar)
        .arg("-C")
        .arg(&path)
        .arg(".")
        .status();
    let Ok(true) = made.map(|status| status.success()) else { return };
    let source = open(&format!("tar:{}", tar.display())).expect("a source");
    assert_eq!((source.len(), source.problems().len()), (200, 0));
    let mut buffer = Vec::new();
    for index in 0..200 {
        source.fetch(index, &mut buffer).expect("a sample");
        let file = fs::read(path.join(format!("{}.JPEG", source.name(index)))).expect("read");
        assert!(file == buffer, "{}", source.name(index));
    }
}
