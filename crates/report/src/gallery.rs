//! Pictures: augmented views, nearest neighbours, and the map of embeddings.

use maud::{Markup, html};

use crate::plot;
use crate::record::{EmbeddingMap, Imagination, Imagined, NeighbourRow, Picture, ViewRow};
use crate::words::count;

/// Colours of the palette. As discs and as squares they tell twenty classes apart; nobody tells more.
const COLOURS: usize = 10;
/// Up to this width in pixels a picture is enlarged as sharp squares, for smoothing would hide what the network sees.
const SMALL: u64 = 64;
/// Points in the page, at most.
const MOST_POINTS: usize = 2000;

/// One row for each image: itself, then its random views with what was done to them.
pub(crate) fn views(rows: &[ViewRow]) -> Markup {
    html! {
        @for row in rows {
            div.row.scroll tabindex="0" role="region" aria-label={ "Views of " (row.source.caption) } {
                (picture(&row.source, "Source image", "source", &html! { (row.source.caption) }))
                @for view in &row.views {
                    (picture(view, "View", "view", &html! { (view.caption) }))
                }
            }
        }
    }
}

/// One row for each query. A neighbour with the query's label has a full frame and a tick, another one a dashed
/// frame and a cross.
pub(crate) fn neighbours(rows: &[NeighbourRow]) -> Markup {
    let judged: Vec<bool> = rows
        .iter()
        .flat_map(|row| row.neighbours.iter().filter_map(|neighbour| same(&row.query, neighbour)))
        .collect();
    html! {
        @if !judged.is_empty() {
            p { (judged.iter().filter(|&&same| same).count()) " of " (judged.len())
                " neighbours have the label of their query (" span.good { "✓" } "); the others are marked "
                span.bad { "✗" } "." }
        }
        @for row in rows {
            div.row.scroll tabindex="0" role="region" aria-label={ "Neighbours of " (row.query.caption) } {
                (picture(&row.query, "Query", "query", &html! {
                    b { "Query" } br; (row.query.label.as_deref().unwrap_or(&row.query.caption))
                }))
                @for neighbour in &row.neighbours { (neighbour_of(&row.query, neighbour)) }
            }
        }
    }
}

/// One row for each image: itself, then for each question its true answer above what is nearest to the prediction, or before it where
/// several are. They are framed as neighbours are.
pub(crate) fn imagination(found: &Imagination) -> Markup {
    let asked = found.rows.iter().flat_map(|row| &row.asked);
    let (all, right) = (asked.clone().count(), asked.filter(|it| it.right).count());
    html! {
        p { (found.about) }
        p { (right) " of " (all) " are right (" span.good { "✓" } "); the others are marked " span.bad { "✗" } "." }
        @for row in &found.rows {
            div.row.scroll tabindex="0" role="region" aria-label={ "Imagined from " (row.source.caption) } {
                (picture(&row.source, "Source image", "source", &html! { b { "Given" } br; (row.source.caption) }))
                @for asked in &row.asked { (answer(asked)) }
            }
        }
    }
}

fn answer(asked: &Imagined) -> Markup {
    let (class, mark) = if asked.right { ("good", "✓ ") } else { ("bad", "✗ ") };
    html! {
        div.answer.several[asked.found.len() > 1] {
            (picture(&asked.truth, "True answer", "truth", &html! { b { (asked.truth.caption) } }))
            @for (place, found) in asked.found.iter().enumerate() {
                @let class = if place == 0 { class } else { "plain" };
                @let mark = if place == 0 { mark } else { "" };
                (picture(found, "Nearest to the prediction", class, &html! { b { (mark) } (found.caption) }))
            }
        }
    }
}

fn neighbour_of(query: &Picture, neighbour: &Picture) -> Markup {
    let (class, kind, mark) = match same(query, neighbour) {
        Some(true) => ("good", "Neighbour, same label", "✓ "),
        Some(false) => ("bad", "Neighbour, other label", "✗ "),
        None => ("plain", "Neighbour", ""),
    };
    picture(
        neighbour,
        kind,
        class,
        &html! {
            b { (mark) (neighbour.caption) }
            @if let Some(label) = &neighbour.label { br; (label) }
        },
    )
}

fn same(query: &Picture, neighbour: &Picture) -> Option<bool> {
    Some(query.label.as_ref()? == neighbour.label.as_ref()?)
}

pub(crate) fn picture(picture: &Picture, kind: &str, class: &str, caption: &Markup) -> Markup {
    let label = picture.label.as_deref().map(|label| format!(", {label}")).unwrap_or_default();
    html! {
        figure.picture.(class) {
            img.pixels[width(&picture.png).is_some_and(|width| width <= SMALL)] src={ "data:image/png;base64," (picture.png) } alt={ (kind) ": " (picture.caption) (label) }
                title=(picture.caption);
            figcaption { (caption) }
        }
    }
}

/// The width that a PNG file in base64 states: bytes 16 to 19, big-endian, of which the letters 20 to 27 hold
/// bytes 15 to 20. `None` if the text is no base64.
fn width(png: &str) -> Option<u64> {
    let letters = png.as_bytes().get(20..28)?;
    let bits = letters.iter().try_fold(0u64, |bits, letter| {
        let six = match letter {
            b'A'..=b'Z' => letter - b'A',
            b'a'..=b'z' => letter - b'a' + 26,
            b'0'..=b'9' => letter - b'0' + 52,
            b'+' => 62,
            b'/' => 63,
            _ => return None,
        };
        Some(bits << 6 | u64::from(six))
    })?;
    Some(bits >> 8 & 0xFFFF_FFFF)
}

/// The scatter plot and its legend.
pub(crate) fn map(map: &EmbeddingMap) -> Markup {
    let stride = map.points.len().div_ceil(MOST_POINTS).max(1);
    let marked = map.classes.len().min(2 * COLOURS);
    // What has no mark of its own is drawn first, beneath the others.
    let mut groups = vec![("grey".to_owned(), Vec::new())];
    groups.extend((0..marked).map(|class| (mark(class), Vec::new())));
    for (i, point) in map.points.iter().enumerate().step_by(stride) {
        let class = map.labels.get(i).map(|&label| label as usize).filter(|&class| class < marked);
        groups[class.map_or(0, |class| class + 1)].1.push(point.map(f64::from));
    }
    let shown: usize = groups.iter().map(|(_, points)| points.len()).sum();
    let words =
        format!("Map of {shown} embeddings in {} classes. {}", map.classes.len(), map.title);
    html! {
        p.muted { (map.title) ". " (count(shown as u64))
            @if shown < map.points.len() { " of " (count(map.points.len() as u64)) } " images." }
        div.map {
            (plot::scatter(&groups, &words))
            @if !map.labels.is_empty() {
                ul.legend {
                    @for (name, (mark, points)) in map.classes.iter().zip(&groups[1..]) {
                        @if !points.is_empty() { (entry(mark, name)) }
                    }
                    @if !groups[0].1.is_empty() {
                        (entry("grey", &format!("{} others", map.classes.len() - marked)))
                    }
                }
            }
        }
    }
}

fn entry(mark: &str, name: &str) -> Markup {
    html! {
        li {
            svg viewBox="0 0 10 10" aria-hidden="true" { path.point.(mark) d="M5 5h0" {} }
            (name)
        }
    }
}

/// The CSS classes of a class of images: a colour, as a disc for the first ten and as a square for the next.
fn mark(class: usize) -> String {
    let shape = if class < COLOURS { "" } else { " square" };
    format!("p{}{shape}", class % COLOURS)
}

#[cfg(test)]
mod tests {
    use super::width;

    #[test]
    fn the_width_of_a_picture_is_read_from_its_head() {
        // The first 24 bytes of PNG files of 24 × 24 and 224 × 160 pixels.
        assert_eq!(width("iVBORw0KGgoAAAANSUhEUgAAABgAAAAY"), Some(24));
        assert_eq!(width("iVBORw0KGgoAAAANSUhEUgAAAOAAAACg"), Some(224));
        assert_eq!(width("iVBORw0KGgo"), None);
        assert_eq!(width("no base64 at all, but of some length"), None);
    }
}
