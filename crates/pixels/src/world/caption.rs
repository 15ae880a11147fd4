//! What a person would say about an image.

use super::scene::{PALETTE, Thing};
use super::texture::Family;

/// Three captions, from the shortest to the fullest: `a disc`, `a striped red disc`, and
/// `a large striped red disc left of a small blue star`, with the relation only when there is a second object.
pub(super) fn captions(objects: &[Thing]) -> Vec<String> {
    let Some((main, others)) = objects.split_first() else { return Vec::new() };
    let mut full = with_article(&format!("{} {}", size(main), described(main)));
    if let Some(other) = others.first() {
        let noun = with_article(&format!("{} {}", size(other), described(other)));
        full = format!("{full} {} {noun}", relation(main, other));
    }
    vec![with_article(main.shape.name()), with_article(&described(main)), full]
}

fn described(thing: &Thing) -> String {
    let colour = PALETTE[thing.colour].0;
    match thing.texture.family {
        Family::Plain => format!("{colour} {}", thing.shape.name()),
        family => format!("{} {colour} {}", family.name(), thing.shape.name()),
    }
}

fn size(thing: &Thing) -> &'static str {
    match thing.poses[0].radius {
        ..0.18 => "small",
        0.3.. => "large",
        _ => "medium-sized",
    }
}

/// Where the first is, seen from the second, along the axis on which they are farther apart.
fn relation(first: &Thing, second: &Thing) -> &'static str {
    let (a, b) = (first.poses[0], second.poses[0]);
    let (right, down) = (a.x - b.x, a.y - b.y);
    match (right.abs() > down.abs(), right < 0.0, down < 0.0) {
        (true, true, _) => "left of",
        (true, false, _) => "right of",
        (false, _, true) => "above",
        (false, _, false) => "below",
    }
}

fn with_article(noun: &str) -> String {
    let article = if noun.starts_with(['a', 'e', 'i', 'o', 'u']) { "an" } else { "a" };
    format!("{article} {noun}")
}
