//! The synthetic world: textured shapes on textured grounds, drawn from a seed, with exact ground truth.
//!
//! It needs no download, every command can run on it, and it is the oracle of tests. The class is the shape of the
//! main object, the largest one. Colour, size, place, direction, ground, light and noise say nothing about the
//! class; the texture says something, as a real thing's does: seven of ten objects have the texture that their class
//! likes, the others any. What a fraction of the shape cannot tell, a crop of the texture can.
//!
//! `label=colour` names objects by their colour instead, which shape and texture say nothing about: what a representation that
//! ignores changes of colour has lost. The pixels are the same.

mod caption;
mod paint;
mod scene;
mod shape;
mod texture;

use crate::draw::{Draw, Purpose, Stream};
use crate::image::Image;
use crate::source::{Motion, Object, Sample, Source, SourceError, Stored, Truth, Uri};

use paint::Frame;
use scene::{PALETTE, Scene, Thing};
use shape::Shape;
use texture::Family;

/// Changes whenever the same options give other pixels, so that nothing cached outlives it.
const VERSION: u32 = 1;

/// Images smaller than this show nothing; larger ones than that are a mistake.
const SIZES: std::ops::RangeInclusive<usize> = 8..=4096;

/// Images of the synthetic world. Sample `i` is a function of the seed, the split, `i` and the size; the count
/// only says how many there are.
pub struct World {
    options: WorldOptions,
    classes: Vec<String>,
}

/// What a world is made of.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct WorldOptions {
    /// Height and width of an image, in pixels, 8 to 4096.
    pub size: usize,
    pub count: usize,
    pub seed: u64,
    pub split: Split,
    /// Whether samples come with a next frame and the flow to it, at more than twice the cost.
    pub motion: bool,
    pub label: Label,
}

/// What the class of an object is; an image's is that of its main object.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Label {
    /// One of ten.
    Shape,
    /// One of eight.
    Colour,
}

/// Splits never share an image.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Split {
    Train,
    Val,
    Test,
}

impl Default for WorldOptions {
    fn default() -> Self {
        Self {
            size: 64,
            count: 5000,
            seed: 1,
            split: Split::Train,
            motion: false,
            label: Label::Shape,
        }
    }
}

impl World {
    /// An error when the size is out of range or the count is 0.
    pub fn new(options: WorldOptions) -> Result<Self, SourceError> {
        if !SIZES.contains(&options.size) {
            let (low, high) = SIZES.into_inner();
            let problem = format!("`size` is {low} to {high} pixels, found {}", options.size);
            return Err(SourceError::new("world:", problem));
        }
        if options.count == 0 {
            return Err(SourceError::new("world:", "`count` is 1 or more, found 0"));
        }
        Ok(Self { options, classes: options.label.classes() })
    }

    pub(crate) fn of_uri(uri: &mut Uri) -> Result<Self, SourceError> {
        let default = WorldOptions::default();
        let split = uri.choice("split", &["train", "val", "test"])?;
        let label = uri.choice("label", &["shape", "colour"])?;
        Self::new(WorldOptions {
            size: uri.number("size")?.unwrap_or(default.size),
            count: uri.number("count")?.unwrap_or(default.count),
            seed: uri.number("seed")?.unwrap_or(default.seed),
            split: split.map_or(default.split, |at| [Split::Train, Split::Val, Split::Test][at]),
            motion: uri.choice("motion", &["0", "1"])? == Some(1),
            label: label.map_or(default.label, |at| [Label::Shape, Label::Colour][at]),
        })
    }

    /// Names of the fine classes, by [`Truth::fine_label`]: the main object's texture and shape.
    pub fn fine_classes() -> Vec<String> {
        let named = |shape: &Shape| Family::ALL.map(|f| format!("{} {}", f.name(), shape.name()));
        Shape::ALL.iter().flat_map(named).collect()
    }

    /// The stream of a sample; its first number is the main object's shape.
    fn stream(&self, index: usize) -> Stream {
        let split = self.options.split as u64;
        let draw = Draw { epoch: split, sample: index as u64, ..Draw::of_seed(self.options.seed) };
        draw.stream(Purpose::World)
    }

    fn shape(stream: &mut Stream) -> usize {
        stream.below(Shape::ALL.len() as u64) as usize
    }

    fn truth(&self, mut scene: Scene, mut frame: Frame) -> (Vec<u8>, Truth) {
        let size = self.options.size;
        let next = self.options.motion.then(|| {
            let flow = paint::flow(&scene, &frame.instances, size);
            let next = Image::from_u8(size, size, 3, paint::frame(&scene, 1, size).samples);
            Box::new(Motion { next, flow: Some(flow) })
        });
        let main = &scene.objects[0];
        let texture = Family::ALL.iter().position(|family| *family == main.texture.family);
        let fine = main.shape as usize * Family::ALL.len() + texture.unwrap_or(0);
        let objects = seen(&mut scene, &mut frame.instances, size, self.options.label);
        let class = |instance: &u8| match instance {
            0 => 0,
            i => objects[usize::from(*i) - 1].class as u8 + 1,
        };
        let semantic = frame.instances.iter().map(class).collect();
        let truth = Truth {
            fine_label: Some(fine as u32),
            captions: caption::captions(&scene.objects),
            objects,
            semantic: Some(semantic),
            instances: Some(frame.instances),
            motion: next,
            group: None,
        };
        (frame.samples, truth)
    }
}

impl Source for World {
    fn len(&self) -> usize {
        self.options.count
    }

    fn fetch(&self, index: usize, _buffer: &mut Vec<u8>) -> Result<Stored, SourceError> {
        self.get(index).map(|sample| Stored::Pixels(sample.image))
    }

    fn truth(&self, index: usize) -> Result<Truth, SourceError> {
        self.get(index).map(|sample| sample.truth)
    }

    fn get(&self, index: usize) -> Result<Sample, SourceError> {
        let size = self.options.size;
        let mut stream = self.stream(index);
        let shape = Self::shape(&mut stream);
        let scene = Scene::drawn(&mut stream, shape);
        let label = Some(self.options.label.of(&scene.objects[0]));
        let frame = paint::frame(&scene, 0, size);
        let (samples, truth) = self.truth(scene, frame);
        let image = Image::from_u8(size, size, 3, samples);
        Ok(Sample { image, label, truth })
    }

    fn label(&self, index: usize) -> Option<u32> {
        let mut stream = self.stream(index);
        let shape = Self::shape(&mut stream);
        Some(match self.options.label {
            Label::Shape => shape as u32,
            label @ Label::Colour => label.of(&Scene::drawn(&mut stream, shape).objects[0]),
        })
    }

    fn name(&self, index: usize) -> String {
        format!("#{index}")
    }

    fn classes(&self) -> &[String] {
        &self.classes
    }

    fn fingerprint(&self) -> String {
        format!("world {VERSION} {:?}", self.options)
    }
}

impl Label {
    /// The names of the classes.
    fn classes(self) -> Vec<String> {
        match self {
            Self::Shape => Shape::ALL.iter().map(|shape| shape.name().to_owned()).collect(),
            Self::Colour => PALETTE.iter().map(|(name, _)| (*name).to_owned()).collect(),
        }
    }

    /// The class of an object.
    fn of(self, thing: &Thing) -> u32 {
        match self {
            Self::Shape => thing.shape as u32,
            Self::Colour => thing.colour as u32,
        }
    }
}

/// The objects of which something is seen, with tight boxes around what is seen. The others leave the scene, and
/// `instances` is renumbered to match.
fn seen(scene: &mut Scene, instances: &mut [u8], size: usize, label: Label) -> Vec<Object> {
    let mut boxes: Vec<Option<[usize; 4]>> = vec![None; scene.objects.len()];
    for (pixel, &instance) in instances.iter().enumerate().filter(|(_, instance)| **instance > 0) {
        let (x, y) = (pixel % size, pixel / size);
        let [left, top, right, bottom] =
            boxes[usize::from(instance) - 1].get_or_insert([x, y, x + 1, y + 1]);
        (*left, *top) = ((*left).min(x), (*top).min(y));
        (*right, *bottom) = ((*right).max(x + 1), (*bottom).max(y + 1));
    }
    let mut new_number = vec![0u8];
    let mut objects = Vec::new();
    for (thing, bounds) in scene.objects.iter().zip(&boxes) {
        if let Some(bounds) = bounds {
            let bounds = bounds.map(|edge| edge as f32);
            objects.push(Object { class: label.of(thing), bounds });
        }
        new_number.push(objects.len() as u8);
    }
    for instance in instances {
        *instance = new_number[usize::from(*instance)];
    }
    let mut boxes = boxes.iter();
    scene.objects.retain(|_| boxes.next().is_some_and(Option::is_some));
    objects
}

#[cfg(test)]
mod tests;
