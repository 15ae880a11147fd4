//! One sample as entries of a shard.

use serde_json::{Map, Value, json};

use crate::decode;
use crate::encode;
use crate::image::Image;
use crate::plan::Interpolation;
use crate::record::CropBox;
use crate::resize::resize;
use crate::source::{Object, PACKED, Source, SourceError, Stored, Truth};

use super::PackOptions;

/// Of a JPEG that was made smaller, where no quality is asked for.
const KEEPING_QUALITY: u8 = 92;

/// A sample that can be written.
pub(super) struct Ready {
    /// Extension and content.
    pub(super) entries: Vec<(&'static str, Vec<u8>)>,
    pub(super) done: Done,
    pub(super) resized: bool,
}

/// How the image was written.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Done {
    Unchanged,
    Jpeg(u8),
    Lossless,
}

/// An image as it is to be written.
struct Picture {
    extension: &'static str,
    bytes: Vec<u8>,
    done: Done,
    /// Width and height before and after.
    sizes: [[usize; 2]; 2],
}

/// Reads a sample and makes what is to be written of it.
pub(super) fn ready(
    source: &dyn Source,
    index: usize,
    options: &PackOptions,
) -> Result<Ready, SourceError> {
    let mut buffer = Vec::new();
    let (image, file) = match source.fetch(index, &mut buffer)? {
        Stored::Pixels(image) => (image, None),
        Stored::File => {
            let image = decode::decode(&buffer)
                .map_err(|error| SourceError::undecodable(source.name(index), error))?;
            (image, Some(buffer))
        }
    };
    let picture = picture(image, file, options);
    let truth = source.truth(index)?;
    let resized = picture.sizes[0] != picture.sizes[1];
    let mut entries = Vec::with_capacity(4);
    if let Some(label) = source.label(index) {
        entries.push(("cls", label.to_string().into_bytes()));
    }
    if let Some(caption) = truth.captions.first() {
        entries.push(("txt", caption.clone().into_bytes()));
    }
    entries.push(("json", record(source, index, &truth, &picture).to_string().into_bytes()));
    let done = picture.done;
    entries.insert(0, (picture.extension, picture.bytes));
    Ok(Ready { entries, done, resized })
}

fn picture(image: Image, file: Option<Vec<u8>>, options: &PackOptions) -> Picture {
    let before = [image.width, image.height];
    let extension = file.as_deref().and_then(extension);
    let was_jpeg = extension == Some("jpg");
    let image = smaller(image, options.short_side);
    let after = [image.width, image.height];
    let sizes = [before, after];
    if let (Some(bytes), Some(extension), None) = (file, extension, options.quality)
        && before == after
    {
        return Picture { extension, bytes, done: Done::Unchanged, sizes };
    }
    let quality = options.quality.or(was_jpeg.then_some(KEEPING_QUALITY));
    if let Some(quality) = quality
        && let Some(bytes) = encode::encode_jpeg(&image, quality)
    {
        return Picture { extension: "jpg", bytes, done: Done::Jpeg(quality), sizes };
    }
    let (extension, bytes) = encode::encode_lossless(&image);
    Picture { extension, bytes, done: Done::Lossless, sizes }
}

/// The image with its shorter side at most `short_side`; the longer one keeps the proportion as well as whole pixels
/// can.
fn smaller(image: Image, short_side: Option<usize>) -> Image {
    let (width, height) = (image.width, image.height);
    let short = width.min(height);
    let Some(wanted) = short_side.filter(|wanted| *wanted < short) else { return image };
    let scaled = |side: usize| ((side * wanted + short / 2) / short).max(1);
    let whole = CropBox { top: 0, left: 0, width, height };
    resize(&image, whole, scaled(width), scaled(height), Interpolation::Bicubic)
}

/// What a reader of shards cannot see in the other entries.
fn record(source: &dyn Source, index: usize, truth: &Truth, picture: &Picture) -> Value {
    let mut map = Map::new();
    let mut put = |key: &str, value: Value| map.insert(key.to_owned(), value);
    put(PACKED, json!(1));
    put("name", json!(source.name(index)));
    if let Some(class) = source.label(index).and_then(|l| source.classes().get(l as usize)) {
        put("class", json!(class));
    }
    if let Some(group) = source.group(index).or(truth.group) {
        put("group", json!(group));
    }
    if truth.captions.len() > 1 {
        put("captions", json!(truth.captions));
    }
    let [before, after] = picture.sizes;
    if !truth.objects.is_empty() {
        let [across, down] = [0, 1].map(|side| after[side] as f32 / before[side] as f32);
        let scales = [across, down, across, down];
        let scaled = |object: &Object| {
            let bounds = [0, 1, 2, 3].map(|edge| object.bounds[edge] * scales[edge]);
            Object { bounds, ..object.clone() }
        };
        put("objects", json!(truth.objects.iter().map(scaled).collect::<Vec<_>>()));
    }
    put("original_size", json!(before));
    put("size", json!(after));
    put(
        "encoded",
        match picture.done {
            Done::Unchanged => json!("unchanged"),
            Done::Jpeg(quality) => json!(format!("jpeg, quality {quality}")),
            Done::Lossless => json!("without loss"),
        },
    );
    Value::Object(map)
}

/// The extension that a file's content asks for; `None` for what is better written anew.
fn extension(bytes: &[u8]) -> Option<&'static str> {
    Some(match bytes {
        [0xFF, 0xD8, ..] => "jpg",
        [0x89, b'P', b'N', b'G', ..] => "png",
        [b'R', b'I', b'F', b'F', ..] => "webp",
        [b'I', b'I', ..] | [b'M', b'M', ..] => "tif",
        [b'G', b'I', b'F', ..] => "gif",
        [b'B', b'M', ..] => "bmp",
        [b'P', ..] => "ppm",
        _ => return None,
    })
}
