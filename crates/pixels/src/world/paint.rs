//! A scene to pixels, masks and flow.

use crate::source::Flow;

use super::scene::{Colour, Scene, Thing, mix};
use super::texture::scramble;

/// No point of a shape is farther from its centre, in radii.
const REACH: f32 = 1.15;

/// One frame.
pub(super) struct Frame {
    /// `[size × size × 3]`.
    pub(super) samples: Vec<u8>,
    /// Which object is seen at a pixel's centre: 0 the ground, i + 1 is `objects[i]`; `[size × size]`.
    pub(super) instances: Vec<u8>,
}

/// Paints frame 0 or 1 of a scene.
pub(super) fn frame(scene: &Scene, number: usize, size: usize) -> Frame {
    let side = size as f32;
    let mut colours: Vec<Colour> = Vec::with_capacity(size * size);
    let ground = &scene.ground;
    for row in 0..size {
        for column in 0..size {
            let (x, y) = centre(column, row, side);
            let [u, v] = ground.poses[number].own(x, y);
            colours.push(mix(ground.colours[0], ground.colours[1], ground.texture.at(u, v)));
        }
    }
    let mut instances = vec![0; size * size];
    for (at, thing) in scene.objects.iter().enumerate().rev() {
        paint_thing(thing, number, size, |pixel, coverage, colour| {
            colours[pixel] = mix(colours[pixel], colour, coverage);
            if coverage > 0.5 {
                instances[pixel] = at as u8 + 1;
            }
        });
    }
    Frame { samples: develop(scene, number, size, &colours), instances }
}

/// Calls `put(pixel, coverage, colour)` for every pixel that an object touches.
fn paint_thing(thing: &Thing, number: usize, size: usize, mut put: impl FnMut(usize, f32, Colour)) {
    let side = size as f32;
    let pose = thing.poses[number];
    // Coverage of a pixel by a straight edge at a signed distance: 1 at half a pixel inside, 0 at half outside.
    let pixels_per_radius = pose.radius * side;
    let reach = pose.radius * REACH;
    let span = |middle: f32| {
        let first = ((middle - reach) * side - 1.0).max(0.0) as usize;
        let last = ((middle + reach) * side + 1.0).clamp(0.0, side) as usize;
        first..last
    };
    for row in span(pose.y) {
        for column in span(pose.x) {
            let (x, y) = centre(column, row, side);
            let [u, v] = pose.own(x, y);
            let distance = thing.shape.distance(u, v);
            let coverage = (0.5 - distance * pixels_per_radius).clamp(0.0, 1.0);
            if coverage > 0.0 {
                let colour = mix(thing.colours[0], thing.colours[1], thing.texture.at(u, v));
                put(row * size + column, coverage, shaded(colour, distance));
            }
        }
    }
}

/// Darker towards the edge, as a rounded body is.
fn shaded(colour: Colour, distance: f32) -> Colour {
    let depth = (-distance / 0.16).clamp(0.0, 1.0);
    let light = 0.58 + 0.42 * depth * (2.0 - depth);
    colour.map(|channel| channel * light)
}

/// Light and noise on a frame's colours, and 8 bits.
fn develop(scene: &Scene, number: usize, size: usize, colours: &[Colour]) -> Vec<u8> {
    let side = size as f32;
    // A uniform number in [0, 1) times √12 has a standard deviation of 1.
    let amplitude = 255.0 * scene.noise * 12f32.sqrt();
    let seed = scramble(scene.noise_seed as u32 ^ number as u32);
    let mut samples = Vec::with_capacity(3 * colours.len());
    let mut random = seed;
    for (row, colours) in colours.chunks_exact(size).enumerate() {
        for (column, colour) in colours.iter().enumerate() {
            let (x, y) = centre(column, row, side);
            let light = 1.0 + scene.light[0] * (2.0 * x - 1.0) + scene.light[1] * (2.0 * y - 1.0);
            let gain = 255.0 * scene.brightness * light;
            random = random.wrapping_add(0x9e37_79b9);
            let bytes = scramble(random).to_le_bytes();
            for (value, byte) in colour.iter().zip(bytes) {
                let noise = (byte as f32 + 0.5) / 256.0 - 0.5;
                samples.push((value * gain + amplitude * noise + 0.5) as u8);
            }
        }
    }
    samples
}

/// Where each pixel of frame 0 is found in frame 1, in pixels, and whether it is hidden there.
pub(super) fn flow(scene: &Scene, instances: &[u8], size: usize) -> Flow {
    let side = size as f32;
    let mut vectors = Vec::with_capacity(size * size);
    let mut occluded = Vec::with_capacity(size * size);
    for (pixel, &instance) in instances.iter().enumerate() {
        let (x, y) = centre(pixel % size, pixel / size, side);
        let poses = match instance {
            0 => &scene.ground.poses,
            object => &scene.objects[usize::from(object) - 1].poses,
        };
        let [next_x, next_y] = poses[1].image(poses[0].own(x, y));
        vectors.push([(next_x - x) * side, (next_y - y) * side]);
        let above = match instance {
            0 => &scene.objects[..],
            object => &scene.objects[..usize::from(object) - 1],
        };
        let hidden = above.iter().any(|thing| covers(thing, next_x, next_y));
        let inside = (0.0..1.0).contains(&next_x) && (0.0..1.0).contains(&next_y);
        occluded.push(hidden || !inside);
    }
    let valid = vec![true; vectors.len()];
    Flow { vectors, valid, occluded: Some(occluded) }
}

/// Whether an object covers a point of frame 1.
fn covers(thing: &Thing, x: f32, y: f32) -> bool {
    let [u, v] = thing.poses[1].own(x, y);
    thing.shape.distance(u, v) < 0.0
}

fn centre(column: usize, row: usize, side: f32) -> (f32, f32) {
    ((column as f32 + 0.5) / side, (row as f32 + 0.5) / side)
}
