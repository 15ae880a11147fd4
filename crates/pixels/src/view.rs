//! One random view of an image, and the fixed view that evaluation uses.
//!
//! A view is made in two steps: [`choose`] draws every random number into a [`ViewRecord`], and a [`Renderer`] makes the
//! pixels from the record alone. The transforms come in this order: crop and resize, flip, colour jitter, grey,
//! channels (gain and offset, gamma, noise, drop), blur, solarize.

use crate::draw::{Draw, Purpose, Stream};
use crate::image::Image;
use crate::ops::channels::Toned;
use crate::ops::{self, Blurred};
use crate::plan::{Crop, Jitter, Preprocess, ViewSpec};
use crate::planes::{AnyPlanes, Planes};
use crate::record::{CropBox, JitterRecord, ViewRecord};
use crate::resize::{self, Area, Resizer};

mod channels;

/// Tries of the random resized crop before the centred fallback (torchvision's number).
const CROP_TRIES: usize = 10;

/// The view of an image at one address of randomness, `size × size`, and what was done. The image must have the
/// channels that the plan was checked for.
///
/// Colour is defined on 8 bits: where the specification asks for jitter or grey, an RGB image of 16 bits keeps
/// only its high bytes.
pub fn render(image: &Image, spec: &ViewSpec, draw: Draw) -> (Image, ViewRecord) {
    let record = choose([image.width, image.height], image.channels, spec, draw);
    (replay(image, spec, &record), record)
}

/// Draws what is random about a view of an image of `source` size (width, height) with so many channels.
pub fn choose(source: [usize; 2], channels: usize, spec: &ViewSpec, draw: Draw) -> ViewRecord {
    let place = if spec.aligned { Draw { view: 0, ..draw } } else { draw };
    let mut crop = place.stream(Purpose::Crop);
    let mut blur = draw.stream(Purpose::Blur);
    ViewRecord {
        source,
        crop: random_resized_crop(source, &spec.crop, || crop.uniform()),
        flipped: place.stream(Purpose::Flip).chance(spec.flip),
        jitter: choose_jitter(&spec.jitter, &mut draw.stream(Purpose::Jitter)),
        grayscale: draw.stream(Purpose::Grayscale).chance(spec.grayscale),
        channels: channels::choose(&spec.channels, channels, draw),
        blur: blur
            .chance(spec.blur.probability)
            .then(|| blur.range(spec.blur.sigma[0], spec.blur.sigma[1]) as f32),
        solarized: draw.stream(Purpose::Solarize).chance(spec.solarize),
    }
}

/// The pixels of a view whose record is known; the same bytes as when it was first made. Panics if the record is
/// of another image, so that its crop leaves this one.
pub fn replay(image: &Image, spec: &ViewSpec, record: &ViewRecord) -> Image {
    let source = AnyPlanes::of(image);
    Renderer::default().view(&source, record.crop.into(), spec, record).clone().image()
}

/// Makes the pixels of views, with memory that is used again.
#[derive(Default)]
pub struct Renderer {
    eight: Studio<u8>,
    sixteen: Studio<u16>,
    view: AnyPlanes,
}

/// What one depth needs.
#[derive(Default)]
struct Studio<T> {
    resizer: Resizer<T>,
    spare: Vec<T>,
}

impl Renderer {
    /// The view that a record tells of. `area` is where its crop lies in `source`, which may be a part of the image, or
    /// a reduction. Panics if it leaves the source, or if colour is asked of anything but three channels.
    pub fn view(
        &mut self,
        source: &AnyPlanes,
        area: Area,
        spec: &ViewSpec,
        record: &ViewRecord,
    ) -> &AnyPlanes {
        let whole = CropBox { top: 0, left: 0, height: spec.size, width: spec.size };
        self.resize(source, area, [spec.size; 2], whole, spec.crop.interpolation);
        if spec.uses_colour() {
            self.view.narrow();
        }
        match &mut self.view {
            AnyPlanes::U8(view) => {
                if record.flipped {
                    ops::flip(view);
                }
                if let Some(jitter) = &record.jitter {
                    apply_jitter(view, &spec.jitter, jitter);
                }
                if record.grayscale {
                    ops::grayscale(view);
                }
                finish(view, record, &mut self.eight.spare);
            }
            AnyPlanes::U16(view) => {
                if record.flipped {
                    ops::flip(view);
                }
                finish(view, record, &mut self.sixteen.spare);
            }
        }
        &self.view
    }

    /// The fixed view for evaluation: the short side becomes `resize`, then the centred square of `crop`. Equal to
    /// torchvision's `Resize` and `CenterCrop` on a PIL image.
    pub fn prepare(&mut self, source: &AnyPlanes, how: &Preprocess) -> &mut AnyPlanes {
        let [width, height] = source.size();
        let whole = CropBox { top: 0, left: 0, height, width };
        self.prepare_part(source, whole.into(), [width, height], how)
    }

    /// [`prepare`](Self::prepare) of a picture of `picture` pixels (width, height) of which `source` holds a part, at least
    /// what [`needed`] names. `area` is where the whole picture lies in `source`. Panics if the source lacks a pixel.
    pub fn prepare_part(
        &mut self,
        source: &AnyPlanes,
        area: Area,
        picture: [usize; 2],
        how: &Preprocess,
    ) -> &mut AnyPlanes {
        let (size, window) = centred_window(picture, how);
        self.resize(source, area, size, window, how.interpolation);
        &mut self.view
    }

    fn resize(
        &mut self,
        source: &AnyPlanes,
        area: Area,
        size: [usize; 2],
        window: CropBox,
        interpolation: crate::plan::Interpolation,
    ) {
        match source {
            AnyPlanes::U8(source) => {
                let out = self.view.as_u8_mut();
                self.eight.resizer.run(source, area, size, window, interpolation, out);
            }
            AnyPlanes::U16(source) => {
                let out = self.view.as_u16_mut();
                self.sixteen.resizer.run(source, area, size, window, interpolation, out);
            }
        }
    }
}

/// The transforms that any depth and number of channels can have.
fn finish<T: Blurred + Toned>(view: &mut Planes<T>, record: &ViewRecord, spare: &mut Vec<T>) {
    if let Some(channels) = &record.channels {
        ops::channels::apply(view, channels);
    }
    if let Some(sigma) = record.blur {
        ops::gaussian_blur(view, sigma, spare);
    }
    if record.solarized {
        ops::solarize(view);
    }
}

/// The crop of torchvision's `RandomResizedCrop` from uniform numbers in [0, 1): per try one for the area, one for
/// the logarithm of width / height, and if the box fits one for the top and one for the left. After ten misses the
/// largest centred box with an allowed ratio. `source` is (width, height); the box has at least one pixel.
pub fn random_resized_crop(
    source: [usize; 2],
    crop: &Crop,
    mut uniform: impl FnMut() -> f64,
) -> CropBox {
    let [width, height] = source;
    // Scale and ratio are drawn in single precision there.
    let between = |u: f64, low: f32, high: f32| low + u as f32 * (high - low);
    let [low, high] = crop.scale.map(|v| v as f32);
    let [narrow, wide] = crop.ratio.map(|v| (v as f32).ln());
    for _ in 0..CROP_TRIES {
        let area = (width * height) as f64 * f64::from(between(uniform(), low, high));
        let ratio = f64::from(between(uniform(), narrow, wide).exp());
        let w = (area * ratio).sqrt().round_ties_even() as usize;
        let h = (area / ratio).sqrt().round_ties_even() as usize;
        if (1..=width).contains(&w) && (1..=height).contains(&h) {
            let top = (uniform() * (height - h + 1) as f64) as usize;
            let left = (uniform() * (width - w + 1) as f64) as usize;
            return CropBox { top, left, height: h, width: w };
        }
    }
    centred_crop(source, crop.ratio)
}

/// The largest centred box whose width / height lies within `ratio`.
fn centred_crop([width, height]: [usize; 2], ratio: [f64; 2]) -> CropBox {
    let found = width as f64 / height as f64;
    let round = |side: f64, limit: usize| (side.round_ties_even() as usize).clamp(1, limit);
    let (w, h) = if found < ratio[0] {
        (width, round(width as f64 / ratio[0], height))
    } else if found > ratio[1] {
        (round(height as f64 * ratio[1], width), height)
    } else {
        (width, height)
    };
    CropBox { top: (height - h) / 2, left: (width - w) / 2, height: h, width: w }
}

fn choose_jitter(jitter: &Jitter, stream: &mut Stream) -> Option<JitterRecord> {
    if !stream.chance(jitter.probability) {
        return None;
    }
    let mut order = JitterRecord::NEUTRAL.order;
    if jitter.shuffle {
        for (place, op) in order.iter_mut().zip(stream.permutation(4)) {
            *place = op as u8;
        }
    }
    let mut factor = |strength: f64| match strength {
        0.0 => 1.0,
        _ => stream.range((1.0 - strength).max(0.0), 1.0 + strength) as f32,
    };
    let (brightness, contrast) = (factor(jitter.brightness), factor(jitter.contrast));
    let saturation = factor(jitter.saturation);
    let hue = if jitter.hue == 0.0 { 0.0 } else { stream.range(-jitter.hue, jitter.hue) as f32 };
    Some(JitterRecord { order, brightness, contrast, saturation, hue })
}

fn apply_jitter(view: &mut Planes<u8>, spec: &Jitter, jitter: &JitterRecord) {
    for op in jitter.order {
        match op {
            0 => ops::brightness(view, jitter.brightness),
            1 => ops::contrast(view, jitter.contrast),
            2 => ops::saturation(view, jitter.saturation),
            // A shift of 0 is not free (8-bit HSV), so a policy without hue must skip it.
            _ if spec.hue > 0.0 => ops::hue(view, jitter.hue),
            _ => {}
        }
    }
}

/// [`Renderer::prepare`] of an image.
pub fn prepare(image: &Image, how: &Preprocess) -> Image {
    Renderer::default().prepare(&AnyPlanes::of(image), how).clone().image()
}

/// The pixels of a picture of `picture` pixels (width, height) that [`Renderer::prepare`] reads.
pub fn needed(picture: [usize; 2], how: &Preprocess) -> CropBox {
    let (size, window) = centred_window(picture, how);
    resize::reads(picture, size, window, how.interpolation)
}

/// The size (width, height) that a picture is resized to, and the centred square of it.
fn centred_window(picture: [usize; 2], how: &Preprocess) -> ([usize; 2], CropBox) {
    let size = short_side(picture, how.resize);
    let offset = |side: usize| ((side - how.crop) as f64 / 2.0).round_ties_even() as usize;
    let (top, left) = (offset(size[1]), offset(size[0]));
    (size, CropBox { top, left, height: how.crop, width: how.crop })
}

/// The size with the short side at `target` and the same shape, the long side rounded down.
fn short_side([width, height]: [usize; 2], target: usize) -> [usize; 2] {
    let long = |long: usize, short: usize| ((target * long) as f64 / short as f64) as usize;
    if width <= height { [target, long(height, width)] } else { [long(width, height), target] }
}
