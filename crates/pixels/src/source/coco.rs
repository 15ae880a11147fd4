//! COCO's annotations: boxes, masks, captions, panoptic segments.

mod read;

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};
use std::sync::OnceLock;

use crate::decode::MAX_SAMPLES;

use read::{Annotations, Outline, Picture};

use super::channels::decoded;
use super::folder::{read_into, unreadable};
use super::masks::Mask;
use super::uri::Uri;
use super::{Fingerprint, Source, SourceError, Stored, Truth};

/// The images that an annotation file in COCO's form lists, in its order. A sample has no label, for it may show many
/// things: its boxes are in [`Truth::objects`], its captions in [`Truth::captions`]. Classes are the categories in the
/// order of their ids, without the gaps.
///
/// Crowds (many objects under one outline) are no objects; with masks they are in [`Truth::semantic`] only. Boxes
/// without area are dropped and counted in [`Source::problems`], where images that are not there are listed too.
pub struct Coco {
    annotations: PathBuf,
    images: PathBuf,
    pictures: Vec<Picture>,
    classes: Vec<String>,
    /// Whether masks are made.
    masks: bool,
    problems: Vec<SourceError>,
    fingerprint: OnceLock<String>,
}

/// What the main file holds.
const KINDS: [&str; 4] = ["instances", "captions", "keypoints", "panoptic"];

impl Coco {
    pub(super) fn of_uri(uri: &mut Uri) -> Result<Self, SourceError> {
        let kind = uri.choice("kind", &KINDS)?;
        let masks = uri.choice("masks", &["0", "1"])? == Some(1);
        let images = uri.text("images").map(PathBuf::from);
        let captions = uri.text("captions").map(PathBuf::from);
        let path = uri.path.clone();
        let mut found = annotations(&path, masks)?;
        check(&path, &found, kind)?;
        if let Some(file) = captions {
            let others = annotations(&file, false)?;
            let mut by_file: BTreeMap<String, Vec<String>> =
                others.pictures.into_iter().map(|other| (other.file, other.captions)).collect();
            for picture in &mut found.pictures {
                picture.captions.extend(by_file.remove(&picture.file).unwrap_or_default());
            }
        }
        let images = match images {
            Some(folder) => folder,
            None => images_beside(&path, &found)?,
        };
        Self::of(path, images, found, masks)
    }

    fn of(
        annotations: PathBuf,
        images: PathBuf,
        found: Annotations,
        masks: bool,
    ) -> Result<Self, SourceError> {
        let Annotations { mut pictures, classes, problems } = found;
        let name = annotations.to_string_lossy().into_owned();
        let mut problems: Vec<SourceError> =
            problems.into_iter().map(|problem| SourceError::new(&*name, problem)).collect();
        let listed = pictures.len();
        let there = names_in(&images, &pictures)?;
        pictures.retain(|picture| {
            let found = there.as_ref().is_none_or(|names| names.contains(picture.file.as_bytes()));
            if !found {
                problems.push(SourceError::new(
                    &picture.file,
                    "listed, but not in the folder of images",
                ));
            }
            found
        });
        if pictures.is_empty() {
            let problem = format!("none of the {listed} images listed is in {}", images.display());
            return Err(
                SourceError::new(name, problem).hint("name their folder, as in ?images=val2017")
            );
        }
        let fingerprint = OnceLock::new();
        Ok(Self { annotations, images, pictures, classes, masks, problems, fingerprint })
    }

    /// Semantic classes and instances, each `[height × width]`.
    fn painted(&self, picture: &Picture) -> Result<[Vec<u8>; 2], SourceError> {
        let error = |problem: String| SourceError::new(&picture.file, problem);
        if self.classes.len() > 254 || picture.objects.len() > 255 {
            let (classes, objects) = (self.classes.len(), picture.objects.len());
            let problem = format!(
                "masks hold up to 254 classes and 255 objects, found {classes} and {objects}"
            );
            return Err(error(problem));
        }
        if let Some(png) = &picture.panoptic {
            return self.panoptic(picture, png);
        }
        let (width, height) = (picture.width, picture.height);
        let mask = || {
            let claim = || error(format!("the annotations claim {width}×{height} pixels"));
            Mask::new(width, height).ok_or_else(claim)
        };
        let mut images = [(); 2].map(|()| Vec::new());
        for image in &mut images {
            let pixels = width.checked_mul(height).filter(|n| *n as u64 <= MAX_SAMPLES);
            image.resize(pixels.unwrap_or(0), 0);
        }
        let [semantic, instances] = &mut images;
        for (class, outline) in &picture.crowds {
            let mut crowd = mask()?;
            outline.draw(&mut crowd);
            crowd.paint(semantic, *class as u8 + 1);
        }
        for (number, (object, outline)) in picture.objects.iter().zip(&picture.outlines).enumerate()
        {
            let mut inside = mask()?;
            outline.draw(&mut inside);
            inside.paint(semantic, object.class as u8 + 1);
            inside.paint(instances, number as u8 + 1);
        }
        Ok(images)
    }

    /// The PNG of a panoptic annotation has the number of a segment as its colour.
    fn panoptic(&self, picture: &Picture, png: &str) -> Result<[Vec<u8>; 2], SourceError> {
        let path = self.annotations.with_extension("").join(png);
        let image = decoded(&path, &mut Vec::new())?;
        let (channels, samples) = (image.channels, image.as_u8().unwrap_or_default());
        if channels != 3 || samples.is_empty() {
            let problem = format!("8-bit RGB is wanted, found {image:?}");
            return Err(SourceError::new(path.to_string_lossy(), problem));
        }
        let mut colours: BTreeMap<u32, [u8; 2]> = BTreeMap::new();
        for (class, outline) in &picture.crowds {
            if let Outline::Colour(colour) = outline {
                colours.insert(*colour, [*class as u8 + 1, 0]);
            }
        }
        for (number, (object, outline)) in picture.objects.iter().zip(&picture.outlines).enumerate()
        {
            if let Outline::Colour(colour) = outline {
                colours.insert(*colour, [object.class as u8 + 1, number as u8 + 1]);
            }
        }
        let pixels = samples.as_chunks::<3>().0.iter();
        let numbers =
            pixels.map(|[r, g, b]| u32::from(*r) | u32::from(*g) << 8 | u32::from(*b) << 16);
        let values: Vec<[u8; 2]> =
            numbers.map(|number| colours.get(&number).copied().unwrap_or_default()).collect();
        Ok([0, 1].map(|which| values.iter().map(|value| value[which]).collect()))
    }
}

impl Source for Coco {
    fn len(&self) -> usize {
        self.pictures.len()
    }

    fn fetch(&self, index: usize, buffer: &mut Vec<u8>) -> Result<Stored, SourceError> {
        read_into(&self.images.join(&self.pictures[index].file), buffer)?;
        Ok(Stored::File)
    }

    fn truth(&self, index: usize) -> Result<Truth, SourceError> {
        let picture = &self.pictures[index];
        let mut truth = Truth {
            objects: picture.objects.clone(),
            captions: picture.captions.clone(),
            ..Truth::default()
        };
        if self.masks {
            let [semantic, instances] = self.painted(picture)?;
            (truth.semantic, truth.instances) = (Some(semantic), Some(instances));
        }
        Ok(truth)
    }

    fn label(&self, _index: usize) -> Option<u32> {
        None
    }

    fn name(&self, index: usize) -> String {
        self.pictures[index].file.clone()
    }

    fn classes(&self) -> &[String] {
        &self.classes
    }

    fn fingerprint(&self) -> String {
        let text = self.fingerprint.get_or_init(|| {
            let mut fingerprint = Fingerprint::new();
            fingerprint.file_at(&self.annotations);
            for picture in &self.pictures {
                fingerprint.bytes(picture.file.as_bytes());
                fingerprint.file_at(&self.images.join(&picture.file));
            }
            format!("coco {}", fingerprint.text())
        });
        text.clone()
    }

    fn problems(&self) -> &[SourceError] {
        &self.problems
    }
}

fn annotations(path: &Path, outlines: bool) -> Result<Annotations, SourceError> {
    let bytes = fs::read(path).map_err(|error| {
        unreadable(path, &error)
            .hint("the annotation file is named, as in coco:annotations/instances_val2017.json")
    })?;
    read::read(&bytes, outlines).map_err(|problem| {
        let problem = format!("not an annotation file in COCO's form: {problem}");
        SourceError::new(path.to_string_lossy(), problem)
    })
}

/// Refuses a file that does not hold what the URI says.
fn check(path: &Path, found: &Annotations, kind: Option<usize>) -> Result<(), SourceError> {
    let has = |what: fn(&Picture) -> bool| found.pictures.iter().any(what);
    let lacks = match kind.map(|kind| KINDS[kind]) {
        Some("captions") => !has(|picture| !picture.captions.is_empty()),
        Some("panoptic") => !has(|picture| picture.panoptic.is_some()),
        Some(_) => found.classes.is_empty(),
        None => false,
    };
    if !lacks {
        return Ok(());
    }
    let problem = format!("holds no {}", kind.map_or("", |kind| KINDS[kind]));
    Err(SourceError::new(path.to_string_lossy(), problem)
        .hint("without `kind` everything there is read"))
}

/// The folder of the images, where sets usually have it: named like the end of the file's name, beside the folder of
/// annotations or in its `images`; or the annotations' own.
fn images_beside(path: &Path, found: &Annotations) -> Result<PathBuf, SourceError> {
    let stem = path.file_stem().unwrap_or_default().to_string_lossy().into_owned();
    let end = stem.rsplit('_').next().unwrap_or_default();
    let beside = path.parent().unwrap_or(Path::new(""));
    let above = beside.join("..");
    let candidates = [
        above.join(end),
        above.join("images").join(end),
        above.join("images"),
        beside.join("images"),
        beside.to_owned(),
    ];
    let first = found.pictures.first().map_or("", |picture| &picture.file);
    candidates.into_iter().find(|folder| folder.join(first).is_file()).ok_or_else(|| {
        SourceError::new(path.to_string_lossy(), format!("the image {first} is not found nearby"))
            .hint("name the folder of the images, as in ?images=val2017")
    })
}

/// The names in a folder, so that no file has to be looked at; `None` if the images lie in folders below it.
fn names_in(
    folder: &Path,
    pictures: &[Picture],
) -> Result<Option<std::collections::BTreeSet<Vec<u8>>>, SourceError> {
    if pictures.iter().any(|picture| picture.file.contains('/')) {
        return Ok(None);
    }
    let listing = fs::read_dir(folder).map_err(|error| unreadable(folder, &error))?;
    Ok(Some(listing.flatten().map(|e| e.file_name().as_encoded_bytes().to_vec()).collect()))
}

/// For fuzzing: reads the bytes as an annotation file and draws the masks.
pub(super) fn fuzz(bytes: &[u8]) {
    let Ok(mut found) = read::read(bytes, true) else { return };
    for picture in &mut found.pictures {
        (picture.width, picture.height) = (picture.width.min(64), picture.height.min(64));
    }
    let masks = Coco {
        annotations: PathBuf::new(),
        images: PathBuf::new(),
        pictures: found.pictures,
        classes: found.classes,
        masks: true,
        problems: Vec::new(),
        fingerprint: OnceLock::new(),
    };
    (0..masks.len()).for_each(|index| drop(masks.truth(index)));
}

#[cfg(test)]
mod tests;
