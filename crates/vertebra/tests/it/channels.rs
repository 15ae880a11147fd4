//! Images that have no colours: five channels of 16 bits as microscopes write them, from the file to the score.

use std::fs;
use std::path::Path;

use pixels::plan::Normalize;
use pixels::record::ViewRecord;
use report::record::{self, Gallery};
use tempfile::{TempDir, tempdir};
use vertebra::error::{Error, Result};
use vertebra::pretrain::Outcome;
use vertebra::recipe::{RawRecipe, Statistics};
use vertebra::scoring;

use crate::{alone, trained};

const RECIPE: &str = r#"
epochs = 2
batch = 8
warmup_epochs = 0.5
log_every = 1
checkpoint_every = 0.5
precision = "fp32"
device = "cpu"
workers = 2
normalize = "measured"
data.channels = 5
backbone = { name = "resnet18", stem = "small", width = 4 }
method = { name = "vicreg", projector.widths = [32, 32, 32] }
optimizer = { name = "lars" }
evaluation.linear.epochs = 2

[[views]]
count = 2
size = 16
jitter.probability = 0.0
grayscale = 0.0
channels = { probability = 0.8, gain = 0.2, offset = 0.02, gamma = 1.2, noise = [0.0, 0.01], drop = 0.1 }
"#;

#[test]
fn five_channels_of_sixteen_bits_are_trained_judged_and_shown() {
    let _alone = alone();
    let (images, folder) = (cells(), tempdir().unwrap());
    let recipe = recipe(images.path(), &[]).check().unwrap();
    assert_eq!(run(images.path(), folder.path(), &[], false, None).unwrap(), Outcome::Finished);
    let scores = scoring::score_run(folder.path(), &recipe, &mut |_| ()).unwrap();
    let top1 = scores.iter().filter(|score| score.metric == "top1");
    assert_eq!(top1.count(), 4, "two protocols, trained and random");
    let gallery: Gallery = record::read_json(&folder.path().join("gallery.json")).unwrap();
    let words: Vec<&str> =
        gallery.views.iter().flat_map(|row| &row.views).map(|it| it.caption.as_str()).collect();
    assert!(words.iter().any(|it| it.contains("gain ×") && it.contains("noise σ")), "{words:?}");
    assert!(!folder.path().join("skipped.jsonl").exists());
}

#[test]
fn measured_statistics_stand_in_numbers_in_the_run_folder_and_serve_the_resumed_run() {
    let _alone = alone();
    let (images, whole, folder) = (cells(), tempdir().unwrap(), tempdir().unwrap());
    run(images.path(), whole.path(), &[], false, None).unwrap();
    let began = RawRecipe::read(&whole.path().join("recipe.toml"), &[]).unwrap();
    let Statistics::Given(Normalize { mean, std }) = &began.normalize else { panic!("measured") };
    // The images below: channel c lies around 2000 (c + 1) of 65535.
    for (c, (mean, std)) in mean.iter().zip(std).enumerate() {
        let wanted = 2000.0 * (c + 1) as f32 / 65_535.0;
        assert!(
            (mean / wanted - 1.0).abs() < 0.2 && *std > 0.0 && *std < wanted,
            "{c}: {mean} {std}"
        );
    }
    // Everything else is the recipe as it was given.
    let given = RawRecipe { normalize: began.normalize.clone(), ..recipe(images.path(), &[]) };
    assert_eq!(began, given);

    run(images.path(), folder.path(), &[], false, Some(2)).unwrap();
    let first = fs::read(folder.path().join("recipe.toml")).unwrap();
    assert_eq!(run(images.path(), folder.path(), &[], true, None).unwrap(), Outcome::Finished);
    assert_eq!(fs::read(folder.path().join("recipe.toml")).unwrap(), first);
    let losses = |folder: &Path| {
        let lines =
            record::read_lines::<report::record::JournalLine>(&folder.join("journal.jsonl"));
        lines.unwrap().values.iter().map(|line| line.loss.to_bits()).collect::<Vec<_>>()
    };
    assert_eq!(losses(folder.path()), losses(whole.path()));

    // New images do not move the numbers of a run that has begun.
    let grown = tempdir().unwrap();
    run(images.path(), grown.path(), &[], false, Some(2)).unwrap();
    fs::write(images.path().join("a/new.tif"), tiff(|_, _, _| 65_535)).unwrap();
    run(images.path(), grown.path(), &[], true, None).unwrap();
    assert_eq!(fs::read(grown.path().join("recipe.toml")).unwrap(), first);
}

#[test]
fn images_of_other_channels_cannot_be_measured_and_the_error_says_what_to_do() {
    let (images, folder) = (cells(), tempdir().unwrap());
    let out = folder.path().join("run");
    let settings = ["data.channels=4", "views.0.channels.drop=0"];
    let error = run(images.path(), &out, &settings, false, None).unwrap_err();
    assert!(matches!(error, Error::Source(_)), "{error}");
    assert!(error.to_string().contains("4 channels are wanted, 5 found"), "{error}");
    assert!(error.hint().is_some_and(|hint| hint.contains("data.channels")), "{error:?}");
    assert!(!out.exists(), "nothing was written");
}

#[test]
fn statistics_that_do_not_fit_lead_to_measuring() {
    let raw = recipe(Path::new("nowhere"), &["normalize={mean = [0.5], std = [0.5]}"]);
    let error = raw.check().unwrap_err();
    assert!(error.to_string().contains("normalize.mean"), "{error}");
    assert!(
        error.hint().is_some_and(|hint| hint.contains("normalize = \"measured\"")),
        "{error:?}"
    );
}

#[test]
fn a_recipe_that_asks_for_measuring_is_written_and_read_and_misspelt_words_are_refused() {
    let raw = recipe(Path::new("nowhere"), &[]);
    let again = RawRecipe::parse(&raw.to_toml(), &[]).unwrap();
    assert_eq!((&again, &again.normalize), (&raw, &Statistics::Measured));
    assert!(raw.check().is_ok());
    for wrong in
        ["normalize=\"mesured\"", "normalize=1", "normalize={mean = [0.5]}", "normalize={men = 1}"]
    {
        let settings = [wrong.to_string()];
        assert!(RawRecipe::parse(RECIPE, &settings).is_err(), "{wrong}");
    }
}

#[test]
fn records_of_views_hold_what_was_done_to_each_channel() {
    let raw = recipe(Path::new("nowhere"), &["views.0.channels.probability=1"]);
    let spec = &raw.views[0];
    let draw = pixels::draw::Draw::of_seed(1);
    let record: ViewRecord = pixels::view::choose([32, 32], 5, spec, draw);
    assert_eq!(record.channels.map(|it| (it.gain.len(), it.gamma.len())), Some((5, 5)));
}

fn recipe(images: &Path, settings: &[&str]) -> RawRecipe {
    let data = format!("data.train=folder:{}", images.display());
    let settings: Vec<String> =
        std::iter::once(data).chain(settings.iter().map(ToString::to_string)).collect();
    RawRecipe::parse(&format!("data.train = \"\"\n{RECIPE}"), &settings).unwrap()
}

fn run(
    images: &Path,
    folder: &Path,
    settings: &[&str],
    resume: bool,
    stop_after: Option<u64>,
) -> Result<Outcome> {
    trained(recipe(images, settings).check()?, folder, resume, stop_after)
}

/// Twenty-four images of two classes: discs of different size on a dark ground.
fn cells() -> TempDir {
    let folder = tempdir().unwrap();
    for (class, radius) in [("a", 5.0f64), ("b", 9.0)] {
        fs::create_dir(folder.path().join(class)).unwrap();
        for number in 0..12usize {
            let centre = (10 + number % 12) as f64;
            let inside = |y: usize, x: usize| (y as f64 - centre).hypot(x as f64 - 16.0) < radius;
            let sample = |y, x, c: usize| {
                let level = 2000 * (c + 1) + (y * 31 + x * 17 + number * 7) % 100;
                (if inside(y, x) { level * 3 / 2 } else { level * 9 / 10 }) as u16
            };
            fs::write(folder.path().join(format!("{class}/{number}.tif")), tiff(sample)).unwrap();
        }
    }
    folder
}

/// A little-endian TIFF file of 32 × 32 pixels with five interleaved channels of 16 bits; `sample(y, x, channel)`.
fn tiff(sample: impl Fn(usize, usize, usize) -> u16) -> Vec<u8> {
    let mut file = b"II\x2A\0".to_vec();
    let bytes = 32 * 32 * 5 * 2;
    file.extend((8 + bytes + 10 + 8u32).to_le_bytes());
    for y in 0..32 {
        for x in 0..32 {
            file.extend((0..5).flat_map(|c| sample(y, x, c).to_le_bytes()));
        }
    }
    let lists = file.len() as u32;
    file.extend([16u16; 5].map(u16::to_le_bytes).concat());
    file.extend([0u16; 4].map(u16::to_le_bytes).concat());
    // (tag, kind, count, value): 3 is a number of 16 bits, 4 of 32.
    let entries: [(u16, u16, u32, u32); 10] = [
        (256, 3, 1, 32),
        (257, 3, 1, 32),
        (258, 3, 5, lists),
        (259, 3, 1, 1),
        (262, 3, 1, 1),
        (273, 4, 1, 8),
        (277, 3, 1, 5),
        (278, 3, 1, 32),
        (279, 4, 1, bytes),
        (338, 3, 4, lists + 10),
    ];
    file.extend((entries.len() as u16).to_le_bytes());
    for (tag, kind, count, value) in entries {
        file.extend(tag.to_le_bytes());
        file.extend(kind.to_le_bytes());
        file.extend(count.to_le_bytes());
        file.extend(value.to_le_bytes());
    }
    file.extend([0; 4]);
    file
}
