//! Pascal VOC's annotation of one image.

use quick_xml::Reader;
use quick_xml::events::Event;

/// What an annotation says.
#[derive(Debug, Default, PartialEq)]
pub(super) struct Annotation {
    pub(super) objects: Vec<Boxed>,
    /// Objects whose box is missing or has no area, by their places among all.
    pub(super) degenerate: Vec<usize>,
}

/// A named box.
#[derive(Debug, PartialEq)]
pub(super) struct Boxed {
    pub(super) name: String,
    /// left, top, right, bottom in pixels from 0; right and bottom are exclusive.
    pub(super) bounds: [f32; 4],
}

/// An object of which not everything has been read.
#[derive(Default)]
struct Open {
    name: String,
    /// xmin, ymin, xmax, ymax as written: from 1, inclusive.
    edges: [Option<f32>; 4],
}

/// Reads an annotation. Parts of objects, which have boxes of their own, are passed over.
pub(super) fn parse(bytes: &[u8]) -> Result<Annotation, String> {
    let mut reader = Reader::from_reader(bytes);
    let mut annotation = Annotation::default();
    let (mut path, mut text): (Vec<String>, String) = Default::default();
    let mut object = Open::default();
    let mut seen = false;
    loop {
        let event = reader
            .read_event()
            .map_err(|error| format!("not XML at byte {}: {error}", reader.error_position()))?;
        match event {
            Event::Start(start) => {
                path.push(start.name().as_ref().to_owned());
                text.clear();
                seen |= is(&path, &["annotation"]);
                if is(&path, &["annotation", "object"]) {
                    object = Open::default();
                }
            }
            Event::Text(part) => text.push_str(&part),
            Event::GeneralRef(part) => text.push_str(entity(&part)),
            Event::End(_) => {
                object.take(&path, text.trim());
                if is(&path, &["annotation", "object"]) {
                    annotation.add(std::mem::take(&mut object));
                }
                path.pop();
                text.clear();
            }
            Event::Eof if !path.is_empty() => return Err("cut short".into()),
            Event::Eof if !seen => return Err("no element `annotation`".into()),
            Event::Eof => return Ok(annotation),
            _ => {}
        }
    }
}

impl Open {
    fn take(&mut self, path: &[String], text: &str) {
        if is(path, &["annotation", "object", "name"]) {
            text.clone_into(&mut self.name);
        }
        for (edge, name) in self.edges.iter_mut().zip(["xmin", "ymin", "xmax", "ymax"]) {
            if is(path, &["annotation", "object", "bndbox", name]) {
                *edge = text.parse().ok().filter(|number: &f32| number.is_finite());
            }
        }
    }
}

impl Annotation {
    fn add(&mut self, object: Open) {
        match object.edges {
            [Some(left), Some(top), Some(right), Some(bottom)]
                if left < right && top < bottom && !object.name.is_empty() =>
            {
                let bounds = [left - 1.0, top - 1.0, right, bottom];
                self.objects.push(Boxed { name: object.name, bounds });
            }
            _ => self.degenerate.push(self.objects.len() + self.degenerate.len()),
        }
    }
}

fn is(path: &[String], names: &[&str]) -> bool {
    path.len() == names.len() && path.iter().zip(names).all(|(found, name)| found == name)
}

/// The five that XML knows.
fn entity(name: &str) -> &'static str {
    match name {
        "amp" => "&",
        "lt" => "<",
        "gt" => ">",
        "quot" => "\"",
        "apos" => "'",
        _ => "\u{fffd}",
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const FILE: &str = "<?xml version='1.0'?><annotation><filename>x.jpg</filename>
        <object><name>a &amp; b</name><bndbox><xmin>1</xmin><ymin> 2.5 </ymin><xmax>10</xmax><ymax>20</ymax></bndbox>
          <part><name>head</name><bndbox><xmin>3</xmin><ymin>3</ymin><xmax>4</xmax><ymax>4</ymax></bndbox></part></object>
        <object><name>flat</name><bndbox><xmin>5</xmin><ymin>2</ymin><xmax>5</xmax><ymax>9</ymax></bndbox></object>
        <object><name>no box</name></object></annotation>";

    #[test]
    fn boxes_are_counted_from_zero_and_parts_passed_over() {
        let annotation = parse(FILE.as_bytes()).expect("an annotation");
        let expected = Boxed { name: "a & b".into(), bounds: [0.0, 1.5, 10.0, 20.0] };
        assert_eq!((annotation.objects, annotation.degenerate), (vec![expected], vec![1, 2]));
    }

    #[test]
    fn damage_is_an_error_and_never_a_panic() {
        for cut in 0..FILE.len() {
            assert!(parse(&FILE.as_bytes()[..cut]).is_err(), "{cut}");
        }
        for text in [
            "<a></b>",
            "text",
            "<annotation>&bad;&#0;</annotation",
            "\u{0}<",
            "<annotation><![CDATA[",
        ] {
            assert!(parse(text.as_bytes()).is_err(), "{text}");
        }
    }
}
