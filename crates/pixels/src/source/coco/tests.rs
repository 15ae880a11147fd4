use super::*;
use crate::source::{Object, open, real_data};

const FILE: &str = r#"{
  "images": [{"id": 7, "file_name": "a.pgm", "width": 4, "height": 4}, {"id": 3, "file_name": "gone.pgm"}],
  "categories": [{"id": 90, "name": "dog"}, {"id": 2, "name": "cat"}],
  "annotations": [
    {"image_id": 7, "category_id": 90, "bbox": [0, 0, 2, 4], "segmentation": [[0, 0, 2, 0, 2, 4, 0, 4]]},
    {"image_id": 7, "category_id": 2, "bbox": [1, 1, 3, 3], "segmentation": {"size": [4, 4], "counts": "52202O"}},
    {"image_id": 7, "category_id": 2, "bbox": [0, 0, 4, 4], "iscrowd": 1,
     "segmentation": {"size": [4, 4], "counts": [12, 4]}},
    {"image_id": 7, "category_id": 2, "bbox": [1, 1, 0, 3]},
    {"image_id": 7, "category_id": 5, "bbox": [1, 1, 1, 3]},
    {"image_id": 8, "category_id": 2, "bbox": [1, 1, 1, 3]},
    {"image_id": 7, "caption": "a dog"}
  ]
}"#;

fn folder() -> (tempfile::TempDir, String) {
    let folder = tempfile::tempdir().expect("a folder");
    fs::write(folder.path().join("a.pgm"), "P5 4 4 255\nabcdefghijklmnop").expect("written");
    fs::write(folder.path().join("x.json"), FILE).expect("written");
    let uri = format!("coco:{}", folder.path().join("x.json").display());
    (folder, uri)
}

#[test]
fn boxes_captions_and_classes_are_read_and_the_rest_counted() {
    let (_folder, uri) = folder();
    let source = open(&uri).expect("a source");
    assert_eq!((source.len(), source.classes()), (1, &["cat".to_owned(), "dog".to_owned()][..]));
    let truth = source.truth(0).expect("truth");
    let object = |class, bounds| Object { class, bounds };
    assert_eq!(truth.objects, [object(1, [0.0, 0.0, 2.0, 4.0]), object(0, [1.0, 1.0, 4.0, 4.0])]);
    assert_eq!((truth.captions, source.label(0)), (vec!["a dog".to_owned()], None));
    assert!(truth.semantic.is_none());
    let problems: Vec<String> = source.problems().iter().map(ToString::to_string).collect();
    for part in [
        "1 annotations of images",
        "1 objects of categories",
        "1 objects whose box",
        "gone.pgm: listed",
    ] {
        assert!(problems.iter().any(|problem| problem.contains(part)), "{problems:?}");
    }
    assert!(
        open(&format!("{uri}?kind=panoptic"))
            .err()
            .expect("an error")
            .problem
            .contains("no panoptic")
    );
}

#[test]
fn masks_are_painted_when_they_are_asked_for() {
    let (_folder, uri) = folder();
    let truth = open(&format!("{uri}?masks=1")).expect("a source").truth(0).expect("truth");
    let semantic = [2, 2, 0, 1, 2, 1, 1, 1, 2, 1, 1, 1, 2, 2, 0, 1];
    assert_eq!(truth.semantic.expect("classes"), semantic);
    let instances = [1, 1, 0, 0, 1, 2, 2, 0, 1, 2, 2, 0, 1, 1, 0, 2];
    assert_eq!(truth.instances.expect("instances"), instances);
}

#[test]
fn damaged_files_are_refused() {
    for cut in 0..FILE.len() {
        fuzz(&FILE.as_bytes()[..cut]);
    }
    fuzz(FILE.replace("\"width\": 4", "\"width\": 99999999999").as_bytes());
    let folder = tempfile::tempdir().expect("a folder");
    let path = folder.path().join("x.json");
    for (text, part) in [("[1", "not an annotation file"), ("{\"images\": []}", "is not found")] {
        fs::write(&path, text).expect("written");
        let error = open(&format!("coco:{}", path.display())).err().expect("an error");
        assert!(error.problem.contains(part), "{error}");
    }
}

#[test]
fn real_instances_and_captions_are_read() {
    let Some(path) = real_data("coco-train40") else { return };
    let at = path.join("annotations").display().to_string();
    let uri =
        format!("coco:{at}/instances_train2017.json?captions={at}/captions_train2017.json&masks=1");
    let source = open(&uri).expect("a source");
    assert_eq!((source.len(), source.classes().len(), source.problems().len()), (40, 80, 0));
    let (mut boxes, mut captions, mut worst) = (0, 0, 0.0f64);
    for index in 0..40 {
        let sample = source.get(index).expect("a sample");
        let truth = sample.truth;
        (boxes, captions) = (boxes + truth.objects.len(), captions + truth.captions.len());
        let instances = truth.instances.expect("instances");
        assert_eq!(instances.len(), sample.image.width * sample.image.height);
        for (number, object) in (1..).zip(&truth.objects) {
            let pixels = (0..instances.len()).filter(|at| instances[*at] == number);
            for pixel in pixels {
                let (x, y) = (pixel % sample.image.width, pixel / sample.image.width);
                let [left, top, right, bottom] = object.bounds.map(f64::from);
                let (x, y) = (x as f64 + 0.5, y as f64 + 0.5);
                worst = worst.max(left - x).max(x - right).max(top - y).max(y - bottom);
            }
        }
    }
    // 343 instances, of which 2 are crowds; five captions an image.
    assert_eq!((boxes, captions), (341, 200));
    // A pixel counts as inside when the polygon covers it by any part, so its middle may be half a pixel outside.
    assert!(worst <= 1.0, "{worst}");
    let people = open(&format!("coco:{at}/person_keypoints_train2017.json?kind=keypoints"))
        .expect("a source");
    assert_eq!(people.classes(), ["person"]);
}

#[test]
fn real_panoptic_segments_are_read() {
    let Some(path) = real_data("coco-val72") else { return };
    let uri =
        format!("coco:{}/annotations/panoptic_val2017.json?kind=panoptic&masks=1", path.display());
    let source = open(&uri).expect("a source");
    assert_eq!((source.len(), source.classes().len()), (72, 133));
    let mut segments = 0;
    for index in 0..72 {
        let truth = source.truth(index).expect("truth");
        segments += truth.objects.len();
        let instances = truth.instances.expect("instances");
        assert!((1..=truth.objects.len()).all(|number| instances.contains(&(number as u8))));
    }
    // 723 segments, crowds among them.
    assert!((700..=723).contains(&segments), "{segments}");
}
