//! Pascal VOC's folders: images, boxes in XML, masks in PNG.

mod xml;

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};
use std::sync::OnceLock;

use super::folder::{read_into, unreadable};
use super::masks::read_indices;
use super::uri::Uri;
use super::{Fingerprint, Object, Source, SourceError, Stored, Truth, image_extension};

/// The classes of the challenge, whose numbers (from 1) the masks hold.
const CLASSES: [&str; 20] = [
    "aeroplane",
    "bicycle",
    "bird",
    "boat",
    "bottle",
    "bus",
    "car",
    "cat",
    "chair",
    "cow",
    "diningtable",
    "dog",
    "horse",
    "motorbike",
    "person",
    "pottedplant",
    "sheep",
    "sofa",
    "train",
    "tvmonitor",
];

/// The images of a folder in VOC's layout (`JPEGImages`, `Annotations`, `ImageSets/Main`) in the order of their names,
/// or of the split's list. A sample has no label, for it may show many things: its boxes are in [`Truth::objects`].
///
/// Classes are VOC's twenty, or where there are others, the names in all annotations in their order. Boxes without area
/// are dropped and counted in [`Source::problems`]. Where `SegmentationClass` and `SegmentationObject` have a mask of
/// the image, it is in the truth; 255 in [`Truth::semantic`] is a pixel of which nothing is said.
pub struct Voc {
    root: PathBuf,
    pictures: Vec<Picture>,
    classes: Vec<String>,
    problems: Vec<SourceError>,
    fingerprint: OnceLock<String>,
}

struct Picture {
    stem: String,
    /// In `JPEGImages`.
    file: String,
    objects: Vec<Object>,
    /// Places of dropped objects among all, from 0.
    dropped: Vec<usize>,
    /// Whether there are masks of classes and of objects.
    masks: [bool; 2],
}

/// Folders of the masks.
const MASKS: [&str; 2] = ["SegmentationClass", "SegmentationObject"];

impl Voc {
    pub(super) fn of_uri(uri: &mut Uri) -> Result<Self, SourceError> {
        let split = uri.text("split");
        Self::open(uri.path.clone(), split.as_deref())
    }

    /// The whole folder, or a split by the name of its list in `ImageSets/Main` or `ImageSets/Segmentation`. All
    /// annotations are read, so that every split has the same classes.
    pub fn open(root: PathBuf, split: Option<&str>) -> Result<Self, SourceError> {
        let images = stems(&root.join("JPEGImages"))?;
        let annotated = stems(&root.join("Annotations"))?;
        let masks = MASKS.map(|folder| stems(&root.join(folder)).unwrap_or_default());
        let mut problems = Vec::new();
        let mut read = BTreeMap::new();
        for (stem, file) in annotated.iter().filter(|(_, file)| is_xml(file)) {
            let path = root.join("Annotations").join(file);
            match annotation(&path) {
                Ok(annotation) => drop(read.insert(stem.clone(), annotation)),
                Err(problem) => problems.push(problem),
            }
        }
        let classes = classes(&read);
        let wanted = match split {
            Some(split) => split_list(&root, split)?,
            None => read.keys().cloned().collect(),
        };
        let mut pictures = Vec::new();
        for stem in wanted {
            let Some(file) = images.get(&stem).cloned() else {
                problems.push(SourceError::new(stem, "listed, but not in JPEGImages"));
                continue;
            };
            let found = read.remove(&stem).unwrap_or_default();
            if !found.degenerate.is_empty() {
                let count = found.degenerate.len();
                let problem =
                    format!("{count} objects whose box is missing or has no area, dropped");
                problems.push(SourceError::new(&*stem, problem));
            }
            let class = |name: &String| classes.iter().position(|class| class == name);
            let objects = found.objects.into_iter().filter_map(|boxed| {
                Some(Object { class: class(&boxed.name)? as u32, bounds: boxed.bounds })
            });
            let objects = objects.collect();
            let masks = [0, 1].map(|which| masks[which].contains_key(&stem));
            pictures.push(Picture { stem, file, objects, dropped: found.degenerate, masks });
        }
        if pictures.is_empty() {
            let also = problems.first().map_or_else(String::new, |first| format!(" ({first})"));
            let problem = format!("no annotated image{also}");
            return Err(SourceError::new(root.to_string_lossy(), problem));
        }
        Ok(Self { root, pictures, classes, problems, fingerprint: OnceLock::new() })
    }

    /// The indices in one of the masks of a picture.
    fn mask(&self, picture: &Picture, which: usize) -> Result<Option<Vec<u8>>, SourceError> {
        if !picture.masks[which] {
            return Ok(None);
        }
        let path = self.root.join(MASKS[which]).join(format!("{}.png", picture.stem));
        let mut bytes = Vec::new();
        read_into(&path, &mut bytes)?;
        let indices = read_indices(&bytes)
            .map_err(|problem| SourceError::new(path.to_string_lossy(), problem))?;
        Ok(Some(indices.2))
    }
}

impl Picture {
    /// The number of an object in a mask as the number among those that were kept; 0 for none.
    fn instance(&self, index: u8) -> u8 {
        let place = usize::from(index).wrapping_sub(1);
        let before = self.dropped.iter().filter(|dropped| **dropped < place).count();
        let kept = place.wrapping_sub(before);
        if kept < self.objects.len() && !self.dropped.contains(&place) { kept as u8 + 1 } else { 0 }
    }
}

impl Source for Voc {
    fn len(&self) -> usize {
        self.pictures.len()
    }

    fn fetch(&self, index: usize, buffer: &mut Vec<u8>) -> Result<Stored, SourceError> {
        read_into(&self.root.join("JPEGImages").join(&self.pictures[index].file), buffer)?;
        Ok(Stored::File)
    }

    fn truth(&self, index: usize) -> Result<Truth, SourceError> {
        let picture = &self.pictures[index];
        let instances = self.mask(picture, 1)?;
        let renumbered =
            |mask: Vec<u8>| mask.iter().map(|index| picture.instance(*index)).collect();
        Ok(Truth {
            objects: picture.objects.clone(),
            semantic: self.mask(picture, 0)?,
            instances: instances.map(renumbered),
            ..Truth::default()
        })
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
            for Picture { stem, file, .. } in &self.pictures {
                fingerprint.bytes(file.as_bytes());
                fingerprint.file_at(&self.root.join("JPEGImages").join(file));
                fingerprint.file_at(&self.root.join("Annotations").join(format!("{stem}.xml")));
            }
            format!("voc {}", fingerprint.text())
        });
        text.clone()
    }

    fn problems(&self) -> &[SourceError] {
        &self.problems
    }
}

fn annotation(path: &Path) -> Result<xml::Annotation, SourceError> {
    let mut bytes = Vec::new();
    read_into(path, &mut bytes)?;
    xml::parse(&bytes).map_err(|problem| SourceError::new(path.to_string_lossy(), problem))
}

fn classes(read: &BTreeMap<String, xml::Annotation>) -> Vec<String> {
    let objects = read.values().flat_map(|annotation| &annotation.objects);
    let names: std::collections::BTreeSet<&str> =
        objects.map(|boxed| boxed.name.as_str()).collect();
    if names.iter().all(|name| CLASSES.contains(name)) {
        return CLASSES.map(str::to_owned).to_vec();
    }
    names.into_iter().map(str::to_owned).collect()
}

/// Images, masks and annotations of a folder: their names by their stems.
fn stems(folder: &Path) -> Result<BTreeMap<String, String>, SourceError> {
    let listing = fs::read_dir(folder).map_err(|error| {
        unreadable(folder, &error).hint("a folder in VOC's layout has JPEGImages and Annotations")
    })?;
    let names = listing.flatten().filter_map(|entry| entry.file_name().into_string().ok());
    let known = |name: &str| {
        let (stem, end) = name.rsplit_once('.')?;
        let known = !stem.is_empty() && (end == "xml" || image_extension(end));
        known.then(|| (stem.to_owned(), name.to_owned()))
    };
    Ok(names.filter_map(|name| known(&name)).collect())
}

fn is_xml(name: &str) -> bool {
    Path::new(name).extension().is_some_and(|end| end == "xml")
}

/// The first word of each line of a split's list.
fn split_list(root: &Path, split: &str) -> Result<Vec<String>, SourceError> {
    let sets = root.join("ImageSets");
    let file = format!("{split}.txt");
    let paths = ["Main", "Segmentation"].map(|folder| sets.join(folder).join(&file));
    let text = paths.iter().find_map(|path| fs::read_to_string(path).ok()).ok_or_else(|| {
        let listing = fs::read_dir(sets.join("Main")).into_iter().flatten().flatten();
        let mut known: Vec<String> = listing
            .filter_map(|entry| Some(entry.file_name().to_str()?.strip_suffix(".txt")?.to_owned()))
            .collect();
        known.sort();
        let problem = format!("there is no list of the split `{split}`");
        SourceError::new(paths[0].to_string_lossy(), problem)
            .hint(format!("there are: {}", known.join(", ")))
    })?;
    Ok(text.lines().filter_map(|line| line.split_whitespace().next()).map(str::to_owned).collect())
}

/// For fuzzing: reads the bytes as an annotation and as a mask.
pub(super) fn fuzz(bytes: &[u8]) {
    drop(xml::parse(bytes));
    drop(read_indices(bytes));
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::source::{open, real_data};

    #[test]
    fn masks_of_classes_and_objects_are_read_and_splits_chosen() {
        let folder = tempfile::tempdir().expect("a folder");
        let root = folder.path();
        let write = |name: &str, content: &[u8]| {
            let path = root.join(name);
            fs::create_dir_all(path.parent().expect("a folder")).expect("made");
            fs::write(path, content).expect("written");
        };
        let edges = |right| {
            format!(
                "<bndbox><xmin>1</xmin><ymin>1</ymin><xmax>{right}</xmax><ymax>2</ymax></bndbox>"
            )
        };
        let object =
            |name: &str, right| format!("<object><name>{name}</name>{}</object>", edges(right));
        let annotation =
            format!("<annotation>{}{}</annotation>", object("cow", 1), object("cat", 2));
        write("Annotations/a.xml", annotation.as_bytes());
        write("Annotations/b.xml", b"<annotation></annotation>");
        write("Annotations/c.xml", b"<annotation>");
        write("JPEGImages/a.png", b"P5 2 1 255\nab");
        write("JPEGImages/b.jpg", b"P5 2 1 255\nab");
        write("ImageSets/Main/train.txt", b"b  1\na -1\nmissing\n");
        let mut mask = Vec::new();
        let mut encoder = png::Encoder::new(&mut mask, 2, 1);
        encoder.set_color(png::ColorType::Grayscale);
        encoder.write_header().and_then(|mut png| png.write_image_data(&[2, 1])).expect("written");
        write("SegmentationClass/a.png", &mask);
        write("SegmentationObject/a.png", &mask);
        let uri = format!("voc:{}", root.display());
        let source = open(&format!("{uri}?split=train")).expect("a source");
        assert_eq!(
            (source.len(), source.name(0), source.name(1)),
            (2, "b.jpg".into(), "a.png".into())
        );
        let truth = source.truth(1).expect("truth");
        assert_eq!(truth.objects, [Object { class: 7, bounds: [0.0, 0.0, 2.0, 2.0] }]);
        assert_eq!((truth.semantic, truth.instances), (Some(vec![2, 1]), Some(vec![1, 0])));
        assert!(source.truth(0).expect("truth").semantic.is_none());
        let problems: Vec<String> = source.problems().iter().map(ToString::to_string).collect();
        for part in ["c.xml: cut short", "a: 1 objects", "missing: listed"] {
            assert!(problems.iter().any(|problem| problem.contains(part)), "{problems:?}");
        }
        assert_eq!(open(&uri).expect("a source").len(), 2);
        assert!(
            open(&format!("{uri}?split=val"))
                .err()
                .expect("an error")
                .hint
                .expect("a hint")
                .contains("train")
        );
    }

    #[test]
    fn real_blood_cells_are_read_without_the_boxes_of_no_area() {
        let Some(path) = real_data("bccd") else { return };
        let uri = format!("voc:{}/BCCD", path.display());
        let mut sizes = Vec::new();
        for split in ["train", "val", "test"] {
            let source = open(&format!("{uri}?split={split}")).expect("a source");
            assert_eq!(source.classes(), ["Platelets", "RBC", "WBC"]);
            sizes.push(source.len());
        }
        assert_eq!(sizes, [205, 87, 72]);
        let source = open(&uri).expect("a source");
        let mut counts = [0; 3];
        for index in 0..source.len() {
            for object in source.truth(index).expect("truth").objects {
                counts[object.class as usize] += 1;
            }
        }
        // Of 4,888 boxes two have no area.
        assert_eq!((source.len(), counts, source.problems().len()), (364, [361, 4153, 372], 2));
        assert_eq!(source.get(0).expect("a sample").image.width, 640);
    }
}
