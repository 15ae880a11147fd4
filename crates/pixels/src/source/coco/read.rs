//! COCO's annotation files.

use std::collections::BTreeMap;

use serde::Deserialize;
use serde::de::{DeserializeOwned, IgnoredAny};

use super::super::Object;
use super::super::masks::{Mask, runs_of_text};

/// What an annotation file says; `S` is how outlines are kept, or `IgnoredAny` where they are not wanted.
#[derive(Deserialize)]
struct File<S> {
    images: Vec<Listed>,
    #[serde(default = "Vec::new")]
    annotations: Vec<Annotation<S>>,
    #[serde(default)]
    categories: Vec<Category>,
}

#[derive(Deserialize)]
struct Listed {
    id: i64,
    file_name: String,
    #[serde(default)]
    width: usize,
    #[serde(default)]
    height: usize,
}

#[derive(Deserialize)]
struct Category {
    id: i64,
    name: String,
}

#[derive(Deserialize)]
struct Annotation<S> {
    image_id: i64,
    category_id: Option<i64>,
    bbox: Option<[f32; 4]>,
    #[serde(default)]
    iscrowd: u8,
    segmentation: Option<S>,
    caption: Option<String>,
    /// Of a panoptic file, whose annotations are whole images.
    segments_info: Option<Vec<Segment>>,
    file_name: Option<String>,
}

#[derive(Deserialize)]
struct Segment {
    id: u32,
    category_id: i64,
    bbox: [f32; 4],
    #[serde(default)]
    iscrowd: u8,
}

/// The outline of an object.
#[derive(Clone, Debug, Deserialize)]
#[serde(untagged)]
pub(super) enum Outline {
    Polygons(Vec<Vec<f32>>),
    Runs {
        counts: Counts,
    },
    /// The object's colour in the panoptic PNG.
    #[serde(skip)]
    Colour(u32),
    #[serde(skip)]
    None,
}

#[derive(Clone, Debug, Deserialize)]
#[serde(untagged)]
pub(super) enum Counts {
    List(Vec<u64>),
    Text(String),
}

/// An image and what is known of it.
#[derive(Debug, Default)]
pub(super) struct Picture {
    pub(super) file: String,
    pub(super) width: usize,
    pub(super) height: usize,
    pub(super) objects: Vec<Object>,
    /// Of each object, if outlines are wanted.
    pub(super) outlines: Vec<Outline>,
    /// Class and outline of what is many objects in one.
    pub(super) crowds: Vec<(u32, Outline)>,
    pub(super) captions: Vec<String>,
    /// The PNG of a panoptic file.
    pub(super) panoptic: Option<String>,
}

/// A whole file, the images in the order in which it lists them.
#[derive(Debug, Default)]
pub(super) struct Annotations {
    pub(super) pictures: Vec<Picture>,
    pub(super) classes: Vec<String>,
    /// Captions of images by the file's name of them, for merging.
    pub(super) problems: Vec<String>,
}

/// Reads a file of instances, key points, captions or panoptic segments. Classes are numbered in the order of their
/// ids, without gaps.
pub(super) fn read(bytes: &[u8], outlines: bool) -> Result<Annotations, String> {
    if outlines {
        parse::<Outline>(bytes, |outline| outline.unwrap_or(Outline::None))
    } else {
        parse::<IgnoredAny>(bytes, |_| Outline::None)
    }
}

fn parse<S: DeserializeOwned>(
    bytes: &[u8],
    outline: impl Fn(Option<S>) -> Outline,
) -> Result<Annotations, String> {
    let file: File<S> = serde_json::from_slice(bytes).map_err(|error| error.to_string())?;
    let names: BTreeMap<i64, String> =
        file.categories.into_iter().map(|c| (c.id, c.name)).collect();
    let labels: BTreeMap<i64, u32> = names.keys().copied().zip(0..).collect();
    let mut places = BTreeMap::new();
    let mut pictures = Vec::with_capacity(file.images.len());
    for Listed { id, file_name: file, width, height } in file.images {
        places.insert(id, pictures.len());
        pictures.push(Picture { file, width, height, ..Picture::default() });
    }
    let (mut orphans, mut odd) = (0, Odd::default());
    for annotation in file.annotations {
        let Some(picture) = places.get(&annotation.image_id).and_then(|at| pictures.get_mut(*at))
        else {
            orphans += 1;
            continue;
        };
        picture.captions.extend(annotation.caption);
        for Segment { id, category_id, bbox, iscrowd } in
            annotation.segments_info.into_iter().flatten()
        {
            let class = labels.get(&category_id).copied();
            picture.add(class, Some(bbox), iscrowd != 0, Outline::Colour(id), &mut odd);
            picture.panoptic.clone_from(&annotation.file_name);
        }
        if let Some(id) = annotation.category_id {
            let class = labels.get(&id).copied();
            let (crowd, outline) = (annotation.iscrowd != 0, outline(annotation.segmentation));
            picture.add(class, annotation.bbox, crowd, outline, &mut odd);
        }
    }
    let counted = [
        (orphans, "annotations of images that are not listed"),
        (odd.classless, "objects of categories that are not listed"),
        (odd.empty, "objects whose box is missing or has no area, dropped"),
    ];
    let problems = counted.iter().filter(|(count, _)| *count > 0);
    let problems = problems.map(|(count, what)| format!("{count} {what}")).collect();
    Ok(Annotations { pictures, classes: names.into_values().collect(), problems })
}

/// Objects that cannot be used.
#[derive(Default)]
struct Odd {
    classless: usize,
    empty: usize,
}

impl Picture {
    fn add(
        &mut self,
        class: Option<u32>,
        bbox: Option<[f32; 4]>,
        crowd: bool,
        outline: Outline,
        odd: &mut Odd,
    ) {
        let Some(class) = class else {
            odd.classless += 1;
            return;
        };
        if crowd {
            self.crowds.push((class, outline));
            return;
        }
        let whole = |[x, y, w, h]: &[f32; 4]| {
            x.is_finite() && y.is_finite() && *w > 0.0 && *h > 0.0 && (x + w + y + h).is_finite()
        };
        let Some([x, y, w, h]) = bbox.filter(whole) else {
            odd.empty += 1;
            return;
        };
        self.objects.push(Object { class, bounds: [x, y, x + w, y + h] });
        self.outlines.push(outline);
    }
}

impl Outline {
    /// Adds the outline to a mask. A colour has no outline of its own.
    pub(super) fn draw(&self, mask: &mut Mask) {
        match self {
            Self::Polygons(polygons) => {
                for polygon in polygons {
                    mask.add_polygon(polygon);
                }
            }
            Self::Runs { counts: Counts::List(runs) } => mask.add_runs(runs),
            Self::Runs { counts: Counts::Text(text) } => mask.add_runs(&runs_of_text(text)),
            Self::Colour(_) | Self::None => {}
        }
    }
}
