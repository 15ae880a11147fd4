//! What is in an image: a ground and objects, each with its looks, its place, and its place in the next frame.
//!
//! Lengths are in sides of the image, with the origin at the top left.

use std::f64::consts::{PI, TAU};

use crate::draw::Stream;

use super::shape::Shape;
use super::texture::{Family, Texture};

/// The texture family that a class likes is taken with this probability; otherwise any family is.
const HABIT: f64 = 0.85;

/// Everything drawn about one sample.
pub(super) struct Scene {
    pub(super) ground: Ground,
    /// The main object first; painted from the last to the first.
    pub(super) objects: Vec<Thing>,
    /// Direction and strength of the light's falling off.
    pub(super) light: [f32; 2],
    pub(super) brightness: f32,
    /// Standard deviation of the sensor's noise, in shares of full scale.
    pub(super) noise: f32,
    pub(super) noise_seed: u64,
}

pub(super) struct Ground {
    pub(super) texture: Texture,
    pub(super) colours: [Colour; 2],
    pub(super) poses: [Pose; 2],
}

/// An object.
pub(super) struct Thing {
    pub(super) shape: Shape,
    pub(super) texture: Texture,
    pub(super) colours: [Colour; 2],
    /// Which of [`PALETTE`].
    pub(super) colour: usize,
    pub(super) poses: [Pose; 2],
}

/// Red, green and blue, 0 to 1.
pub(super) type Colour = [f32; 3];

/// A place, a size and a direction: own coordinates to those of the image.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) struct Pose {
    pub(super) x: f32,
    pub(super) y: f32,
    /// The length of an own unit.
    pub(super) radius: f32,
    cos: f32,
    sin: f32,
}

/// Names of colours, with hue in turns.
pub(super) const PALETTE: [(&str, f64); 8] = [
    ("red", 0.0),
    ("orange", 0.075),
    ("yellow", 0.145),
    ("green", 0.33),
    ("turquoise", 0.48),
    ("blue", 0.61),
    ("purple", 0.76),
    ("pink", 0.9),
];

impl Scene {
    /// Draws a scene whose main object is of a class, as an index into [`Shape::ALL`].
    pub(super) fn drawn(stream: &mut Stream, class: usize) -> Self {
        let others = *pick(stream, &[0, 0, 0, 0, 1, 1, 2]);
        let main = Thing::main(stream, class);
        let ground = Ground::drawn(stream, main.colours[0]);
        let mut objects = vec![main];
        for _ in 0..others {
            objects.extend(Thing::beside(stream, &objects));
        }
        let angle = stream.range(0.0, TAU);
        let strength = stream.range(0.0, 0.45);
        Self {
            ground,
            objects,
            light: [(angle.cos() * strength) as f32, (angle.sin() * strength) as f32],
            brightness: stream.range(0.75, 1.1) as f32,
            noise: stream.range(0.005, 0.025) as f32,
            noise_seed: stream.bits(),
        }
    }
}

impl Ground {
    /// Two like colours, neither too like the main object's.
    fn drawn(stream: &mut Stream, main: Colour) -> Self {
        let mut colour = [0.0; 3];
        for _ in 0..8 {
            let (hue, saturation) = (stream.uniform(), stream.range(0.02, 0.3));
            colour = from_hsv(hue, saturation, stream.range(0.2, 0.95));
            if apart(colour, main) > 0.45 {
                break;
            }
        }
        let family = *pick(stream, &Family::GROUNDS);
        let towards = from_hsv(stream.uniform(), 0.4, stream.range(0.2, 0.9));
        let second = mix(colour, towards, stream.range(0.08, 0.25) as f32);
        let texture = Texture::drawn(stream, family, [2.5, 7.0]);
        let here = Pose { x: 0.5, y: 0.5, radius: 1.0, cos: 1.0, sin: 0.0 };
        let next = here.moved(stream, 0.03, 2.0, 0.03);
        Self { texture, colours: [colour, second], poses: [here, next] }
    }
}

impl Thing {
    /// The object that names the class: 56 to 80 % of the side, wholly inside.
    fn main(stream: &mut Stream, class: usize) -> Self {
        let radius = stream.range(0.28, 0.4);
        let [x, y] = [(); 2].map(|()| stream.range(radius, 1.0 - radius));
        Self::drawn(stream, class, [x, y, radius])
    }

    /// A smaller object that leaves the others free; `None` when no such place was found in a few tries.
    fn beside(stream: &mut Stream, others: &[Self]) -> Option<Self> {
        let class = stream.below(Shape::ALL.len() as u64) as usize;
        for _ in 0..12 {
            let radius = stream.range(0.09, 0.16);
            let [x, y] = [(); 2].map(|()| stream.range(0.7 * radius, 1.0 - 0.7 * radius));
            let free = others.iter().all(|other| {
                let pose = other.poses[0];
                let distance = (x - f64::from(pose.x)).hypot(y - f64::from(pose.y));
                distance > 0.8 * (f64::from(pose.radius) + radius)
            });
            if free {
                return Some(Self::drawn(stream, class, [x, y, radius]));
            }
        }
        None
    }

    fn drawn(stream: &mut Stream, class: usize, [x, y, radius]: [f64; 3]) -> Self {
        let family =
            if stream.chance(HABIT) { Family::ALL[class] } else { *pick(stream, &Family::ALL) };
        let texture = Texture::drawn(stream, family, [1.4, 2.2]);
        let colour = stream.below(PALETTE.len() as u64) as usize;
        let hue = PALETTE[colour].1 + stream.range(-0.02, 0.02);
        let first = from_hsv(hue, stream.range(0.55, 0.95), stream.range(0.65, 1.0));
        let other = if stream.chance(0.7) { [0.97; 3] } else { [0.04; 3] };
        let second = mix(first, other, stream.range(0.45, 0.75) as f32);
        let angle = stream.range(-PI / 8.0, PI / 8.0) as f32;
        let [x, y, radius] = [x, y, radius].map(|number| number as f32);
        let here = Pose { x, y, radius, cos: angle.cos(), sin: angle.sin() };
        let next = here.moved(stream, 0.07, 9.0, 0.07);
        let shape = Shape::ALL[class];
        Self { shape, texture, colours: [first, second], colour, poses: [here, next] }
    }
}

impl Pose {
    /// Moves by up to `shift` sides, turns by up to `degrees`, and grows by up to `growth`.
    fn moved(self, stream: &mut Stream, shift: f64, degrees: f64, growth: f64) -> Self {
        let [x, y] = [(); 2].map(|()| stream.range(-shift, shift) as f32);
        let (sin, cos) = (stream.range(-degrees, degrees).to_radians() as f32).sin_cos();
        Self {
            x: self.x + x,
            y: self.y + y,
            radius: self.radius * (1.0 + stream.range(-growth, growth) as f32),
            cos: self.cos * cos - self.sin * sin,
            sin: self.sin * cos + self.cos * sin,
        }
    }

    /// From the image to own coordinates.
    pub(super) fn own(&self, x: f32, y: f32) -> [f32; 2] {
        let (x, y) = ((x - self.x) / self.radius, (y - self.y) / self.radius);
        [self.cos * x + self.sin * y, self.cos * y - self.sin * x]
    }

    /// From own coordinates to the image.
    pub(super) fn image(&self, [u, v]: [f32; 2]) -> [f32; 2] {
        let (x, y) = (self.cos * u - self.sin * v, self.sin * u + self.cos * v);
        [self.x + self.radius * x, self.y + self.radius * y]
    }
}

pub(super) fn mix(a: Colour, b: Colour, share: f32) -> Colour {
    [0, 1, 2].map(|i| a[i] + share * (b[i] - a[i]))
}

fn apart(a: Colour, b: Colour) -> f32 {
    [0, 1, 2].map(|i| (a[i] - b[i]).powi(2)).iter().sum::<f32>().sqrt()
}

fn pick<'a, T>(stream: &mut Stream, all: &'a [T]) -> &'a T {
    &all[stream.below(all.len() as u64) as usize]
}

/// Hue in turns, saturation and value 0 to 1.
fn from_hsv(hue: f64, saturation: f64, value: f64) -> Colour {
    [5.0, 3.0, 1.0].map(|offset| {
        let k = (offset + 6.0 * hue.rem_euclid(1.0)) % 6.0;
        (value - value * saturation * k.min(4.0 - k).clamp(0.0, 1.0)) as f32
    })
}
