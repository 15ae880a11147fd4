use crate::image::Image;
use crate::source::{Flow, Motion, Source};

use super::{Label, Split, World, WorldOptions};

fn world(options: WorldOptions) -> World {
    World::new(options).expect("a world")
}

fn pixels(image: &Image) -> &[u8] {
    image.as_u8().expect("8 bits")
}

#[test]
fn a_sample_is_a_function_of_its_address_alone() {
    let base = WorldOptions { size: 24, count: 10, ..WorldOptions::default() };
    let image = |options, index| world(options).get(index).expect("a sample").image;
    let here = image(base, 3);
    assert_eq!(here, image(WorldOptions { count: 4, ..base }, 3));
    assert_eq!(here, image(WorldOptions { motion: true, ..base }, 3));
    assert_ne!(here, image(base, 4));
    assert_ne!(here, image(WorldOptions { seed: 2, ..base }, 3));
    assert_ne!(here, image(WorldOptions { split: Split::Test, ..base }, 3));
}

#[test]
fn a_larger_image_shows_the_same_scene() {
    let mask = |size, index| {
        let options = WorldOptions { size, ..WorldOptions::default() };
        world(options).get(index).expect("a sample").truth.semantic.expect("a mask")
    };
    for index in 0..20 {
        let (small, large) = (mask(64, index), mask(192, index));
        // The middle one of 3 × 3 fine pixels has the coarse pixel's centre.
        let agree = |(at, class): (usize, &u8)| {
            let (x, y) = (at % 64, at / 64);
            large[(3 * y + 1) * 192 + 3 * x + 1] == *class
        };
        let differing = small.iter().enumerate().filter(|place| !agree(*place)).count();
        // A centre on an edge may fall to either side by rounding; the edges pass through some 200 of the 4096.
        assert!(differing <= 4, "{differing}");
    }
}

#[test]
fn every_class_and_every_texture_occurs_evenly() {
    let world = world(WorldOptions { size: 8, count: 4000, ..WorldOptions::default() });
    let mut counts = vec![0; world.classes().len()];
    for index in 0..world.len() {
        counts[world.label(index).expect("a label") as usize] += 1;
    }
    // 400 expected, standard deviation 19: five of them.
    assert!(counts.iter().all(|count| (305..495).contains(count)), "{counts:?}");
    assert_eq!(World::fine_classes().len(), 100);
}

#[test]
fn shape_and_colour_are_labels_of_the_same_image_and_its_caption_says_both() {
    let [shapes, colours] = [Label::Shape, Label::Colour].map(|label| {
        world(WorldOptions { size: 24, count: 400, label, ..WorldOptions::default() })
    });
    assert_eq!((shapes.classes().len(), colours.classes().len()), (10, 8));
    assert_ne!(shapes.fingerprint(), colours.fingerprint());
    let mut counts = [0; 8];
    for index in 0..shapes.len() {
        let (shape, colour) =
            (shapes.get(index).expect("a sample"), colours.get(index).expect("a sample"));
        assert_eq!(shape.image, colour.image);
        assert_eq!(colour.label, colours.label(index));
        let name = |world: &World, label: Option<u32>| {
            world.classes()[label.expect("a label") as usize].clone()
        };
        let of_shape = name(&shapes, shape.label);
        let of_colour = name(&colours, colour.label);
        let caption = &colour.truth.captions[1];
        assert!(caption.ends_with(&format!("{of_colour} {of_shape}")), "{caption}");
        assert_eq!(shape.truth.captions[1], *caption);
        // Objects and masks speak of the same classes as the label.
        assert_eq!(Some(colour.truth.objects[0].class), colour.label);
        let semantic = colour.truth.semantic.expect("a mask");
        assert!(semantic.iter().all(|class| usize::from(*class) <= colours.classes().len()));
        counts[colour.label.expect("a label") as usize] += 1;
    }
    // 50 expected, standard deviation 6.6: four of them.
    assert!(counts.iter().all(|count| (24..77).contains(count)), "{counts:?}");
}

#[test]
fn masks_boxes_labels_and_captions_agree() {
    let world = world(WorldOptions { size: 48, count: 100, ..WorldOptions::default() });
    let fine_classes = World::fine_classes();
    for index in 0..world.len() {
        let sample = world.get(index).expect("a sample");
        let (truth, classes) = (sample.truth, world.classes());
        let (instances, semantic) =
            (truth.instances.expect("a mask"), truth.semantic.expect("a mask"));
        assert_eq!(
            (sample.label, sample.label),
            (world.label(index), Some(truth.objects[0].class))
        );
        for (number, object) in (1..).zip(&truth.objects) {
            let inside: Vec<usize> =
                (0..48 * 48).filter(|pixel| instances[*pixel] == number).collect();
            let edge = |values: &mut dyn Iterator<Item = usize>| {
                values.fold((usize::MAX, 0), |(low, high), v| (low.min(v), high.max(v + 1)))
            };
            let (left, right) = edge(&mut inside.iter().map(|pixel| pixel % 48));
            let (top, bottom) = edge(&mut inside.iter().map(|pixel| pixel / 48));
            assert_eq!(object.bounds, [left, top, right, bottom].map(|edge| edge as f32));
            assert!(inside.iter().all(|pixel| u32::from(semantic[*pixel]) == object.class + 1));
        }
        assert!(instances.iter().zip(&semantic).all(|(i, s)| (*i == 0) == (*s == 0)));
        assert!(instances.iter().all(|i| usize::from(*i) <= truth.objects.len()));
        let mut areas = [0; 4];
        for instance in &instances {
            areas[usize::from(*instance)] += 1;
        }
        assert!(areas[2] < areas[1] && areas[3] < areas[1]);

        let main = &classes[truth.objects[0].class as usize];
        assert!(truth.captions.iter().all(|caption| caption.contains(main.as_str())));
        let full = truth.captions.last().expect("a caption");
        if let Some(second) = truth.objects.get(1) {
            assert!(full.ends_with(classes[second.class as usize].as_str()), "{full}");
            let centre = |at: usize, axis: usize| {
                let bounds = truth.objects[at].bounds;
                f32::midpoint(bounds[axis], bounds[axis + 2])
            };
            // Boxes are of what is seen; a partly hidden object's centre may lie some pixels off.
            let agrees = |axis, sign: f32| sign * (centre(0, axis) - centre(1, axis)) > -4.0;
            assert!(!full.contains("left of") || agrees(0, -1.0), "{full}");
            assert!(!full.contains("right of") || agrees(0, 1.0), "{full}");
            assert!(!full.contains("above") || agrees(1, -1.0), "{full}");
            assert!(!full.contains("below") || agrees(1, 1.0), "{full}");
        }
        let fine = &fine_classes[truth.fine_label.expect("a fine label") as usize];
        let texture = fine.split(' ').next().expect("a word");
        assert!(texture == "plain" || truth.captions[1].contains(texture), "{fine}");
    }
}

/// The value of one channel of the next frame at a fractional place, from the four pixels around it.
fn sampled(next: &Image, x: f32, y: f32, channel: usize) -> f32 {
    let n = next.width;
    let (x, y) = (x.clamp(0.0, (n - 1) as f32), y.clamp(0.0, (n - 1) as f32));
    let (left, top) = ((x as usize).min(n - 2), (y as usize).min(n - 2));
    let value =
        |i: usize, j: usize| f32::from(pixels(next)[((top + j) * n + left + i) * 3 + channel]);
    let (s, t) = (x - left as f32, y - top as f32);
    let row = |j| value(0, j) * (1.0 - s) + value(1, j) * s;
    row(0) * (1.0 - t) + row(1) * t
}

fn known(motion: &Motion) -> &Flow {
    motion.flow.as_ref().expect("a flow")
}

/// Mean absolute difference between the first frame and the next one, the latter looked up through `flow`.
fn difference(image: &Image, motion: &Motion, flow: impl Fn(usize) -> [f32; 2]) -> f32 {
    let n = image.width;
    let (mut sum, mut count) = (0.0, 0.0);
    let occluded = known(motion).occluded.as_ref().expect("what is hidden");
    for pixel in (0..n * n).filter(|pixel| !occluded[*pixel]) {
        let [dx, dy] = flow(pixel);
        let (x, y) = ((pixel % n) as f32 + dx, (pixel / n) as f32 + dy);
        for channel in 0..3 {
            let here = f32::from(pixels(image)[pixel * 3 + channel]);
            sum += (here - sampled(&motion.next, x, y, channel)).abs();
            count += 1.0;
        }
    }
    sum / count
}

#[test]
fn the_flow_carries_the_first_frame_to_the_second() {
    let options = WorldOptions { size: 128, count: 20, motion: true, ..WorldOptions::default() };
    let world = world(options);
    let (mut still, mut moved, mut hidden) = (0.0, 0.0, 0);
    for index in 0..world.len() {
        let sample = world.get(index).expect("a sample");
        let motion = sample.truth.motion.expect("motion");
        moved += difference(&sample.image, &motion, |pixel| known(&motion).vectors[pixel]);
        still += difference(&sample.image, &motion, |_| [0.0, 0.0]);
        hidden += known(&motion).occluded.iter().flatten().filter(|occluded| **occluded).count();
    }
    let n = world.len() as f32;
    // What remains is noise (2 to 9 levels per frame), light that stays where it is, and interpolation at edges.
    assert!(moved / n < 7.0 && still / n > 1.5 * moved / n, "{} {}", moved / n, still / n);
    assert!(hidden > 0 && hidden < world.len() * 128 * 128 / 4, "{hidden}");
}

#[test]
fn sizes_out_of_range_are_refused() {
    for options in [
        WorldOptions { size: 7, ..WorldOptions::default() },
        WorldOptions { size: 1 << 20, ..WorldOptions::default() },
        WorldOptions { count: 0, ..WorldOptions::default() },
    ] {
        assert!(World::new(options).is_err());
    }
}

#[test]
fn the_main_object_is_seen_at_the_smallest_size() {
    let world = world(WorldOptions { size: 8, count: 1000, ..WorldOptions::default() });
    for index in 0..world.len() {
        let sample = world.get(index).expect("a sample");
        assert_eq!(sample.truth.objects.first().map(|main| main.class), sample.label, "{index}");
    }
}

#[test]
fn the_world_is_the_same_tomorrow() {
    let world = world(WorldOptions::default());
    let labels: Vec<u32> = (0..12).filter_map(|index| world.label(index)).collect();
    // Recorded when the world's version 1 was made.
    assert_eq!(labels, [2, 1, 8, 8, 5, 2, 3, 9, 4, 3, 8, 0]);
}
