//! Pictures of what a world model's predictor imagines.

use pixels::draw::{Draw, Purpose};
use pixels::image::Image;
use pixels::record::{CropBox, JitterRecord, ViewRecord};
use pixels::source::Source;
use report::record::{Imagination, Imagined, ImaginedRow, Picture};
use tch::Tensor;

use super::picture;
use crate::data::Canvas;
use crate::error::Result;
use crate::evaluation::world_model::imagined::{acted, hidden, targets};
use crate::evaluation::{WorldConfig, WorldModel, world_model};
use crate::models::vit::predictor::Conditioning;

/// Images that something is asked of.
const ROWS: usize = 4;
/// Random versions of an image beside those asked for.
const VERSIONS: usize = 128;
/// Images among whose parts a hidden one is looked for, and how many are shown.
const IMAGES: usize = 256;
const SHOWN: usize = 3;

/// For a predictor that is told actions, the version of an image nearest to what it predicts for each of some actions; for another, the
/// parts of images nearest to what it predicts of a hidden part.
pub fn imagination(model: &WorldModel, source: &dyn Source) -> Result<Imagination> {
    let told = model.predictor.spec().conditioning != Conditioning::None;
    let count = if told { ROWS } else { IMAGES };
    let canvases = Canvas::drawn(source, &model.encoder.preprocess, count, 0)?;
    if told { actions(model, source, &canvases) } else { parts(model, source, &canvases) }
}

/// What is asked for: at the ends of the published jitter.
fn asked(canvas: &Canvas) -> Vec<(&'static str, ViewRecord)> {
    let neutral = JitterRecord::NEUTRAL;
    let jitters = [
        ("brighter", JitterRecord { brightness: 1.4, ..neutral }),
        ("darker", JitterRecord { brightness: 0.6, ..neutral }),
        ("more contrast", JitterRecord { contrast: 1.4, ..neutral }),
        ("less contrast", JitterRecord { contrast: 0.6, ..neutral }),
        ("greyer", JitterRecord { saturation: 0.8, ..neutral }),
        ("more colourful", JitterRecord { saturation: 1.2, ..neutral }),
        ("hue +36°", JitterRecord { hue: 0.1, ..neutral }),
    ];
    let record = |jitter| ViewRecord { jitter: Some(jitter), ..canvas.untouched() };
    jitters.into_iter().map(|(words, jitter)| (words, record(jitter))).collect()
}

fn actions(model: &WorldModel, source: &dyn Source, canvases: &[Canvas]) -> Result<Imagination> {
    let WorldConfig { jitter, seed, .. } = WorldConfig::default();
    let (mut rows, mut versions) = (Vec::new(), 0);
    for canvas in canvases {
        let asked = asked(canvas);
        let mut settings: Vec<ViewRecord> = asked.iter().map(|(_, it)| it.clone()).collect();
        settings.extend(canvas.settings(jitter, VERSIONS, seed));
        versions = settings.len();
        let found = acted(model, canvas, &settings, asked.len(), 1)?;
        let answer = |(place, found): (usize, _)| {
            let (words, record) = &asked[place];
            let world_model::imagined::Imagined { nearest, rank } = found;
            let show = |&place: &usize| {
                let words = format!(
                    "{}; the true one is no. {rank} of {versions}",
                    colours(&settings[place])
                );
                picture(canvas.show(&settings[place]), words, None)
            };
            Imagined {
                truth: picture(canvas.show(record), (*words).into(), None),
                right: nearest.first() == Some(&place),
                found: nearest.iter().map(show).collect(),
            }
        };
        let asked = found.into_iter().enumerate().map(answer).collect();
        rows.push(ImaginedRow { source: given(source, canvas, canvas.image.clone()), asked });
    }
    let about = format!(
        "The predictor is given an image and told a change of its colours. The upper row is the image so changed; below, of {versions} \
         versions of the image, stands the one whose features are nearest to what was predicted. A predictor that has learned what \
         the changes do finds the same picture again."
    );
    Ok(Imagination { about, rows })
}

fn parts(model: &WorldModel, source: &dyn Source, canvases: &[Canvas]) -> Result<Imagination> {
    let side = canvases[0].image.width;
    let patches = model.grid(side as i64)[0] as usize;
    if patches < 2 {
        return Ok(Imagination::default());
    }
    let bank: Tensor = targets(model, canvases)?;
    let mut rows = Vec::new();
    for (own, canvas) in canvases.iter().take(ROWS).enumerate() {
        let region = region(canvas, patches);
        let found = hidden(model, canvas, own, &bank, region, SHOWN)?;
        let pixels = side / patches;
        let part = CropBox {
            top: region.top * pixels,
            left: region.left * pixels,
            height: region.height * pixels,
            width: region.width * pixels,
        };
        let show = |&place: &usize| {
            let words = if place == own {
                "the hidden part itself".into()
            } else {
                format!("of {}", source.name(canvases[place].sample))
            };
            picture(canvases[place].part(part), words, None)
        };
        let words = format!("the hidden part: no. {} of {}", found.rank, canvases.len());
        let answer = Imagined {
            truth: picture(canvas.part(part), words, None),
            right: found.nearest.first() == Some(&own),
            found: found.nearest.iter().map(show).collect(),
        };
        let source = given(source, canvas, without(&canvas.image, part));
        rows.push(ImaginedRow { source, asked: vec![answer] });
    }
    let about = format!(
        "A part of each image is hidden from the network, and the predictor says from the rest what the encoder would see there. Beside \
         the image stands what was hidden, then the parts of {} images, at the same place, whose features are nearest to what was \
         predicted.",
        canvases.len()
    );
    Ok(Imagination { about, rows })
}

/// A quarter of the patches, at a place drawn for the image.
fn region(canvas: &Canvas, patches: usize) -> CropBox {
    let side = patches / 2;
    let mut stream =
        Draw { sample: canvas.sample as u64, ..Draw::of_seed(0) }.stream(Purpose::Mask);
    let mut place = || stream.below((patches - side + 1) as u64) as usize;
    CropBox { top: place(), left: place(), height: side, width: side }
}

/// The image with a grey part.
fn without(image: &Image, part: CropBox) -> Image {
    let mut samples = image.as_u8().unwrap_or_default().to_vec();
    for row in part.top..part.top + part.height {
        let start = (row * image.width + part.left) * image.channels;
        samples[start..][..part.width * image.channels].fill(128);
    }
    Image::from_u8(image.width, image.height, image.channels, samples)
}

fn given(source: &dyn Source, canvas: &Canvas, image: Image) -> Picture {
    picture(image, source.name(canvas.sample), None)
}

/// What was done to the colours, without the crop, which is the whole image.
fn colours(record: &ViewRecord) -> String {
    let words = record.describe();
    words.split_once("), ").map_or(words.clone(), |(_, colours)| colours.into())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::evaluation::world_model::tiny;

    #[test]
    fn actions_are_shown_of_a_predictor_that_is_told_them_and_parts_of_another() {
        let source = pixels::source::open("world:?size=16&count=9").unwrap();
        let (model, _) = tiny(Conditioning::Feature);
        let told = imagination(&model, source.as_ref()).unwrap();
        assert_eq!(told.rows.len(), ROWS);
        for row in &told.rows {
            assert_eq!(row.asked.len(), 7);
            assert!(row.asked.iter().all(|it| it.found.len() == 1));
            assert!(row.asked.iter().all(|it| it.right == (it.truth.png == it.found[0].png)));
            assert!(row.asked[0].found[0].caption.starts_with("brightness ×"));
        }
        let (model, _) = tiny(Conditioning::None);
        let parts = imagination(&model, source.as_ref()).unwrap();
        assert_eq!(parts.rows.len(), ROWS);
        assert!(parts.rows.iter().all(|row| row.asked.len() == 1 && row.asked[0].found.len() == 3));
        assert!(parts.about.contains("9 images"));
    }
}
