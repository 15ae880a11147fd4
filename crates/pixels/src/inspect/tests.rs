use super::*;
use crate::image::{Image, Samples};
use crate::plan::Interpolation;
use crate::record::CropBox;
use crate::resize::resize;
use crate::scan::shelf::Shelf;
use crate::source::open;

/// Picture `index` of the synthetic world, 64 × 64 RGB.
fn scene(index: usize) -> Image {
    open("world:?size=64&count=200").expect("a world").get(index).expect("an image").image
}

fn changed(image: &Image, change: impl Fn(usize, u8) -> u8) -> Image {
    let samples = image.as_u8().expect("8 bits").iter().enumerate().map(|(i, &v)| change(i, v));
    Image::from_u8(image.width, image.height, image.channels, samples.collect())
}

fn halved(image: &Image) -> Image {
    let whole = CropBox { top: 0, left: 0, height: image.height, width: image.width };
    resize(image, whole, image.width / 2, image.height / 2, Interpolation::Bicubic)
}

fn look(source: &Shelf) -> Inspection {
    inspect(source, None, 2, &|| ())
}

fn indices(groups: &[Group]) -> Vec<Vec<usize>> {
    groups.iter().map(|group| group.members.iter().map(|it| it.index).collect()).collect()
}

#[test]
fn images_equal_to_the_bit_are_grouped_and_no_others() {
    let a = scene(0);
    let one_sample = changed(&a, |i, v| if i == 7000 { v ^ 1 } else { v });
    let Samples::U8(samples) = a.samples.clone() else { panic!("8 bits") };
    // The same bytes in another shape are another picture.
    let reshaped = Image::from_u8(32, 128, 3, samples);
    let shelf = Shelf::of(
        [&a, &scene(1), &a, &one_sample, &reshaped, &a].map(|it| Some(it.clone())).to_vec(),
    );
    let found = look(&shelf);
    assert_eq!(indices(&found.duplicates), [vec![0, 2, 5]]);
    assert_eq!(indices(&found.near_duplicates), [vec![0, 2, 3, 5]]);
}

#[test]
fn copies_that_were_resized_brightened_or_made_noisy_are_near_duplicates() {
    let noisy = |image: &Image| changed(image, |i, v| v.saturating_add((i * 7919 % 11) as u8));
    let bright = |image: &Image| changed(image, |_, v| (f32::from(v) * 0.8) as u8 + 20);
    let mut images = Vec::new();
    for index in 0..40 {
        let image = scene(index);
        images.extend([halved(&image), noisy(&image), bright(&image), image].map(Some));
    }
    let found = look(&Shelf::of(images));
    assert!(found.duplicates.is_empty());
    let groups = indices(&found.near_duplicates);
    // Nothing is grouped with another picture; a copy in fifty may be missed.
    assert!(groups.iter().all(|group| group.iter().all(|index| index / 4 == group[0] / 4)));
    let together: usize = groups.iter().map(Vec::len).sum();
    assert!(together >= 157, "{together} of 160: {groups:?}");
}

#[test]
fn different_pictures_are_no_near_duplicates() {
    let found =
        inspect(open("world:?size=48&count=400").expect("a world").as_ref(), None, 2, &|| ());
    assert!(found.duplicates.is_empty() && found.near_duplicates.is_empty());
    // The same outline in red and in blue.
    let tinted = |channel: usize| {
        let tint = |i: usize, v: u8| if i % 3 == channel { v } else { v / 4 };
        Some(changed(&scene(3), tint))
    };
    assert!(look(&Shelf::of(vec![tinted(0), tinted(2)])).near_duplicates.is_empty());
    // Too plain to be told apart.
    let plain = |v: u8| Some(Image::from_u8(20, 20, 1, vec![v; 400]));
    assert!(look(&Shelf::of(vec![plain(10), plain(11), plain(200)])).near_duplicates.is_empty());
}

#[test]
fn dark_images_of_sixteen_bits_are_compared_in_their_own_range() {
    let deep = |image: &Image, scale: u16| {
        let samples =
            image.as_u8().expect("8 bits").iter().map(|&v| u16::from(v) * scale).collect();
        Some(Image::from_u16(image.width, image.height, image.channels, samples))
    };
    let images = vec![deep(&scene(0), 8), deep(&scene(1), 8), deep(&halved(&scene(0)), 9)];
    assert_eq!(indices(&look(&Shelf::of(images)).near_duplicates), [vec![0, 2]]);
}

#[test]
fn copies_with_different_labels_are_called_out() {
    let (a, b) = (scene(0), scene(1));
    let shelf = Shelf::labelled(vec![(a.clone(), 0), (b.clone(), 1), (a, 1), (b, 1)]);
    let found = look(&shelf);
    let conflicts: Vec<bool> = found.duplicates.iter().map(|group| group.conflict).collect();
    assert_eq!(
        (indices(&found.duplicates), conflicts),
        (vec![vec![0, 2], vec![1, 3]], vec![true, false])
    );
    assert_eq!(found.classes, BTreeMap::from([("cat".into(), 1), ("dog".into(), 3)]));
}

#[test]
fn what_two_sources_share_is_counted_and_kept_apart() {
    let [a, b, c, d] = [0, 1, 2, 3].map(scene);
    let train = Shelf::of(vec![Some(a.clone()), Some(b.clone()), Some(b.clone()), None]);
    let test =
        Shelf::of(vec![Some(halved(&a)), Some(c.clone()), Some(b.clone()), Some(d), Some(c)]);
    let found = inspect(&train, Some(&test), 3, &|| ());
    assert_eq!((found.images, found.broken.len()), (4, 1));
    assert_eq!(indices(&found.duplicates), [vec![1, 2]]);
    assert!(found.near_duplicates.is_empty());
    let shared = found.against.expect("a comparison");
    assert_eq!((shared.images, shared.broken, shared.equal, shared.near), (5, 0, 1, 2));
    assert_eq!(indices(&shared.duplicates), [vec![1, 2, 2]]);
    assert_eq!(indices(&shared.near_duplicates), [vec![0, 0]]);
    let sides: Vec<bool> = shared.near_duplicates[0].members.iter().map(|it| it.against).collect();
    assert_eq!(sides, [false, true]);
}

#[test]
fn threads_cannot_change_what_is_found() {
    let mut images: Vec<Option<Image>> = (0..60).map(|i| Some(scene(i % 40))).collect();
    images.extend([None, Some(Image::from_u16(9, 9, 5, vec![3; 405])), None]);
    let shelf = Shelf::of(images);
    let one = inspect(&shelf, None, 1, &|| ());
    assert_eq!(one.broken, [("#60".into(), "broken".into()), ("#62".into(), "broken".into())]);
    assert_eq!(one.forms, BTreeMap::from([("3 × 8 bit".into(), 60), ("5 × 16 bit".into(), 1)]));
    assert_eq!(one.duplicates.len(), 20);
    for workers in [2, 3, 8] {
        assert!(inspect(&shelf, None, workers, &|| ()) == one);
    }
}

#[test]
fn a_thousand_alike_pictures_become_one_group_without_comparing_all_pairs() {
    let base = scene(5);
    let images = (0..1000).map(|n| Some(changed(&base, |i, v| if i == n { v ^ 1 } else { v })));
    let found = look(&Shelf::of(images.collect()));
    assert_eq!(indices(&found.near_duplicates), [(0..1000).collect::<Vec<_>>()]);
}

#[test]
fn its_json_has_the_names_that_scripts_read() {
    let shelf = Shelf::labelled(vec![(scene(0), 0), (scene(0), 1)]);
    let json = serde_json::to_value(look(&shelf)).expect("plain fields");
    for name in ["images", "broken", "sizes", "forms", "classes", "conversions", "channels"] {
        assert!(json.get(name).is_some(), "{name}");
    }
    let group = &json["duplicates"][0];
    assert_eq!((&group["conflict"], &group["members"][1]["class"]), (&true.into(), &"dog".into()));
    assert!(json["channels"][0]["statistics"][2]["percentiles"][4].is_number());
    assert!(json.get("against").is_none());
}
