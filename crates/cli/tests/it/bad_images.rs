//! Folders of images as they are found: every file is read, or skipped, listed and counted.

use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};

use pixels::encode::encode_png;
use pixels::image::Image;

use crate::program::{Desk, info, lines, said, vertebra};

/// One epoch in which every image is asked for, one line of the journal.
const ONE_EPOCH: [&str; 4] = ["epochs=1", "batch=4", "log_every=100", "checkpoint_every=1"];

#[test]
fn unreadable_files_are_skipped_listed_and_counted() {
    let desk = Desk::new();
    let broken: [(&str, Vec<u8>); 7] = [
        ("empty.jpg", Vec::new()),
        ("cut-short.jpg", b"\xFF\xD8\xFF\xE0\x00\x10JFIF\x00\x01\x01\x00\x00\x01".to_vec()),
        ("cut-short.png", half(&png(40))),
        ("letter.jpg", b"Dear Sir or Madam,\n".to_vec()),
        ("noise.png", (0..=255).rev().collect()),
        ("bomb.png", b"P6 60000 60000 255\n\0\0\0".to_vec()),
        ("bomb.gif", gif_claiming(u16::MAX)),
    ];
    let images = with_good_images(&desk, 13);
    for (name, bytes) in &broken {
        desk.file(&format!("images/{name}"), bytes);
    }
    let run = train_on(&desk, "run", &images);
    let expected: BTreeSet<String> = broken.iter().map(|(name, _)| (*name).into()).collect();
    assert_eq!(skipped(&run), expected);
    assert_eq!(info(&run)["skipped"], broken.len());
    assert_eq!(info(&run)["images"], 13 + broken.len());
    assert_eq!(info(&run)["state"], "finished");
    let page = fs::read_to_string(run.join("report.html")).expect("the report");
    assert!(expected.iter().all(|name| page.contains(name)), "the report names them too");
}

#[test]
fn unusual_images_are_read() {
    let desk = Desk::new();
    let images = with_good_images(&desk, 7);
    desk.file("images/grey.png", encode_png(&Image::from_u8(9, 9, 1, vec![77; 81])));
    desk.file("images/sixteen-bit.png", [b"P5 8 8 65535\n".to_vec(), vec![200; 128]].concat());
    desk.file("images/palette.bmp", palette_bmp());
    desk.file("images/cmyk.tif", cmyk_tiff());
    // An animation gives its first frame.
    desk.file("images/animated.gif", animated_gif());
    let run = train_on(&desk, "run", &images);
    assert!(!run.join("skipped.jsonl").exists(), "{:?}", skipped(&run));
    assert_eq!((&info(&run)["skipped"], &info(&run)["images"]), (&0.into(), &12.into()));
    let found = said(vertebra(["data", "inspect", "--json"]).arg(&images)).done().json();
    let forms = &found["forms"];
    assert_eq!((&forms["1 × 16 bit"], &forms["1 × 8 bit"]), (&1.into(), &1.into()), "{forms}");
}

#[test]
fn a_folder_of_well_known_oddities_never_makes_it_panic() {
    let Some(data) = std::env::var_os("VERTEBRA_DATA") else {
        eprintln!("skipped: VERTEBRA_DATA names no folder with data sets");
        return;
    };
    let quirks = PathBuf::from(data).join("decode-quirks");
    let desk = Desk::new();
    let found = said(vertebra(["data", "inspect", "--json"]).arg(&quirks)).done().json();
    let broken = found["broken"].as_array().expect("a list");
    for name in ["truncated_image.png", "broken.png", "decompression_bomb.gif"] {
        let listed = broken.iter().any(|it| it[0].as_str().is_some_and(|it| it.ends_with(name)));
        assert!(listed, "{name} is not listed: {broken:?}");
    }
    let images = found["images"].as_u64().expect("a number");
    assert!((broken.len() as u64) < images / 3, "{} of {images} are skipped", broken.len());
    // A batch that divides the source leaves no image out of an epoch.
    let batch = (2..=images).find(|n| images.is_multiple_of(*n)).expect("a number divides itself");
    let settings = ["epochs=1", &format!("batch={batch}"), "log_every=1000"];
    let mut command = desk.pretrain("run", &settings);
    said(command.arg("--data").arg(&quirks)).done();
    let run = desk.path("run");
    assert_eq!(info(&run)["skipped"], broken.len());
    assert_eq!(skipped(&run).len(), broken.len());
}

#[test]
fn strict_names_the_first_unreadable_file_and_stops() {
    let desk = Desk::new();
    let images = with_good_images(&desk, 7);
    desk.file("images/broken.jpg", "no picture");
    let strict = ["--strict", "--data", images.to_str().expect("text")];
    let settings = [&ONE_EPOCH[..], &strict].concat();
    said(&mut desk.pretrain("run", &settings)).refused(1, &["broken.jpg", "hint: "]);
    let state = info(&desk.path("run"))["state"].as_str().expect("text").to_owned();
    assert!(state.starts_with("failed: ") && state.contains("broken.jpg"), "{state}");
}

#[cfg(unix)]
#[test]
fn what_a_listing_cannot_look_at_is_skipped_and_counted() {
    use std::os::unix::fs::symlink;
    let desk = Desk::new();
    let images = with_good_images(&desk, 8);
    symlink(&images, images.join("loop")).expect("a link");
    symlink("nowhere.png", images.join("dead.png")).expect("a link");
    let run = train_on(&desk, "run", &images);
    let listed = skipped(&run);
    assert_eq!(listed.len(), 2, "{listed:?}");
    assert!(["loop", "dead.png"].iter().all(|end| listed.iter().any(|it| it.ends_with(end))));
    assert_eq!(info(&run)["skipped"], 2);
    let strict = ["--strict", "--data", images.to_str().expect("text")];
    let settings = [&ONE_EPOCH[..], &strict].concat();
    said(&mut desk.pretrain("strict", &settings)).refused(1, &["dead.png"]);
    assert!(!desk.path("strict").exists(), "a run that cannot begin leaves no folder");
}

#[cfg(target_os = "linux")]
#[test]
fn names_need_not_be_text() {
    use std::ffi::OsStr;
    use std::os::unix::ffi::OsStrExt;
    let desk = Desk::new();
    let images = with_good_images(&desk, 6);
    fs::write(images.join(OsStr::from_bytes(b"\xff-good.png")), png(1)).expect("written");
    fs::write(images.join(OsStr::from_bytes(b"\xff-bad.png")), "no picture").expect("written");
    let run = train_on(&desk, "run", &images);
    assert_eq!(skipped(&run), BTreeSet::from(["\u{fffd}-bad.png".to_owned()]));
    // The run folder's own name need not be text either.
    let odd = desk.path("x").with_file_name(OsStr::from_bytes(b"run-\xff"));
    let mut command = vertebra(["pretrain", "--out"]);
    command.arg(&odd).arg(desk.path("tiny.toml")).args(["--set", "epochs=0.5"]);
    said(&mut command).done();
    assert_eq!(info(&odd)["state"], "finished");
}

#[cfg(unix)]
#[test]
fn a_file_without_permission_is_skipped() {
    use std::os::unix::fs::PermissionsExt;
    let desk = Desk::new();
    let images = with_good_images(&desk, 7);
    let locked = desk.file("images/locked.png", png(1));
    fs::set_permissions(&locked, fs::Permissions::from_mode(0o000)).expect("permissions");
    let run = train_on(&desk, "run", &images);
    if fs::read(&locked).is_ok() {
        eprintln!("not checked: this user may read everything");
        return;
    }
    assert_eq!(skipped(&run), BTreeSet::from(["locked.png".to_owned()]));
}

/// Trains for an epoch, in which every image is asked for.
#[track_caller]
fn train_on(desk: &Desk, name: &str, images: &Path) -> PathBuf {
    let mut command = desk.pretrain(name, &ONE_EPOCH);
    said(command.arg("--data").arg(images)).done();
    desk.path(name)
}

/// The names in `skipped.jsonl`, each there once; none when there is no such file.
fn skipped(run: &Path) -> BTreeSet<String> {
    let path = run.join("skipped.jsonl");
    if !path.exists() {
        return BTreeSet::new();
    }
    let listed = lines(&path);
    assert!(listed.iter().all(|line| line["problem"].as_str().is_some_and(|it| !it.is_empty())));
    let names: BTreeSet<String> =
        listed.iter().map(|line| line["name"].as_str().expect("text").to_owned()).collect();
    assert_eq!(names.len(), listed.len(), "a file is listed twice");
    names
}

/// The folder `images` with some PNG files.
fn with_good_images(desk: &Desk, count: u8) -> PathBuf {
    for number in 0..count {
        desk.file(&format!("images/good-{number:02}.png"), png(number));
    }
    desk.path("images")
}

/// 24 × 20 pixels of a pattern that depends on `seed`.
fn png(seed: u8) -> Vec<u8> {
    let samples = (0..24 * 20 * 3u32).map(|i| (i * (u32::from(seed) + 3) % 251) as u8).collect();
    encode_png(&Image::from_u8(24, 20, 3, samples))
}

fn half(bytes: &[u8]) -> Vec<u8> {
    bytes[..bytes.len() / 2].to_vec()
}

/// 8 × 8 pixels, 8 bits each, in a palette of 256 colours.
fn palette_bmp() -> Vec<u8> {
    let offset = 54 + 4 * 256;
    let mut file = b"BM".to_vec();
    for number in [offset + 64, 0, offset, 40, 8, 8] {
        file.extend(u32::to_le_bytes(number));
    }
    file.extend([1, 0, 8, 0]);
    file.extend([0; 24]);
    file.extend((0..=255).flat_map(|i| [i, 255 - i, i / 2, 0]));
    file.extend(0..64);
    file
}

/// 4 × 4 pixels of cyan, magenta, yellow and black, in one uncompressed strip.
fn cmyk_tiff() -> Vec<u8> {
    // Tag, type (3: 16 bits, 4: 32 bits), count, value or place of the values.
    let entries: [[u32; 4]; 9] = [
        [256, 3, 1, 4],
        [257, 3, 1, 4],
        [258, 3, 4, 122],
        [259, 3, 1, 1],
        [262, 3, 1, 5],
        [273, 4, 1, 130],
        [277, 3, 1, 4],
        [278, 3, 1, 4],
        [279, 4, 1, 64],
    ];
    let mut file = b"II*\0\x08\0\0\0".to_vec();
    file.extend(9u16.to_le_bytes());
    for [tag, kind, count, value] in entries {
        file.extend((tag as u16).to_le_bytes());
        file.extend((kind as u16).to_le_bytes());
        file.extend(count.to_le_bytes());
        file.extend(value.to_le_bytes());
    }
    file.extend([0; 4]);
    file.extend([8, 0, 8, 0, 8, 0, 8, 0]);
    file.extend([200, 30, 90, 10].repeat(16));
    file
}

/// One pixel, white and then black.
fn animated_gif() -> Vec<u8> {
    let mut file = b"GIF89a\x01\0\x01\0\x80\0\0\xFF\xFF\xFF\0\0\0".to_vec();
    for pixel in [b"\x02\x02\x44\x01\0", b"\x02\x02\x4C\x01\0"] {
        file.extend(b"\x2C\0\0\0\0\x01\0\x01\0\0");
        file.extend(pixel);
    }
    file.push(b';');
    file
}

/// A GIF of a few bytes that claims to be a square of this side.
fn gif_claiming(side: u16) -> Vec<u8> {
    let [low, high] = side.to_le_bytes();
    let mut file = animated_gif();
    for place in [6, 8, 24, 26] {
        file[place..place + 2].copy_from_slice(&[low, high]);
    }
    file
}
