//! Numbers made with Pillow 13.0.0 and torchvision 0.26.0.

use pixels::image::Image;
use pixels::numbers::write_normalized;
use pixels::ops;
use pixels::plan::{Crop, Interpolation, Normalize};
use pixels::planes::Planes;
use pixels::record::CropBox;
use pixels::resize::resize;
use pixels::view::random_resized_crop;

use crate::{changed, pattern, signature};

/// A transform with its parameters.
type Op = fn(&mut Planes<u8>);

fn blur(view: &mut Planes<u8>, sigma: f32) {
    ops::gaussian_blur(view, sigma, &mut Vec::new());
}

fn whole(image: &Image) -> CropBox {
    CropBox { top: 0, left: 0, height: image.height, width: image.width }
}

fn ramp() -> Image {
    let value = |i: usize| (7 * (i % 6) + 13 * (i / 6) + 3 * (i % 6) * (i / 6)) as u8;
    Image::from_u8(6, 6, 1, (0..36).map(value).collect())
}

fn resized(width: usize, height: usize, interpolation: Interpolation) -> Vec<u8> {
    let image = ramp();
    resize(&image, whole(&image), width, height, interpolation).as_u8().unwrap().to_vec()
}

#[test]
fn resizing_equals_pillow_value_by_value() {
    use Interpolation::{Bicubic, Bilinear};
    assert_eq!(resized(3, 3, Bilinear), [16, 32, 49, 43, 69, 95, 70, 106, 141]);
    assert_eq!(resized(3, 3, Bicubic), [12, 29, 46, 40, 69, 97, 69, 109, 149]);
    let five_rows = [
        [6, 16, 28, 38],
        [22, 37, 53, 69],
        [38, 58, 80, 100],
        [54, 79, 105, 130],
        [70, 100, 131, 161],
    ];
    assert_eq!(resized(4, 5, Bilinear), five_rows.as_flattened());
    assert_eq!(resized(9, 9, Bicubic)[..9], [0, 2, 7, 12, 17, 20, 25, 30, 33]);
}

#[test]
fn a_crop_is_resized_without_its_surroundings() {
    let region = CropBox { top: 1, left: 2, height: 4, width: 3 };
    let rows = [
        [31, 35, 42, 49, 53],
        [44, 49, 57, 66, 70],
        [61, 66, 76, 86, 92],
        [77, 83, 95, 106, 113],
        [90, 97, 110, 123, 130],
    ];
    let image = resize(&ramp(), region, 5, 5, Interpolation::Bicubic);
    assert_eq!(image.as_u8().unwrap(), rows.as_flattened());
}

#[test]
fn resized_pictures_equal_pillow() {
    use Interpolation::{Bicubic, Bilinear};
    let image = pattern();
    let cases = [
        (32, 24, Bilinear, (296_405, 36_788_527)),
        (32, 24, Bicubic, (296_036, 36_737_569)),
        (128, 96, Bilinear, (4_737_986, 596_864_034)),
        (128, 96, Bicubic, (4_733_244, 596_213_653)),
        (32, 32, Bilinear, (394_769, 48_945_852)),
        (32, 32, Bicubic, (394_684, 48_934_324)),
        (53, 37, Bilinear, (754_869, 93_980_209)),
        (53, 37, Bicubic, (754_597, 93_919_305)),
    ];
    for (width, height, interpolation, expected) in cases {
        let small = resize(&image, whole(&image), width, height, interpolation);
        assert_eq!(signature(&small), expected, "{width}×{height} {interpolation:?}");
    }
    let region = CropBox { top: 5, left: 9, height: 30, width: 40 };
    let cropped = |interpolation| signature(&resize(&image, region, 32, 32, interpolation));
    assert_eq!(cropped(Bicubic), (394_734, 49_145_268));
    assert_eq!(cropped(Bilinear), (394_668, 49_113_088));
}

#[test]
fn colour_and_blur_equal_pillow() {
    let cases: [(&str, Op, (u64, u64)); 18] = [
        ("source", |_| (), (1_182_208, 148_668_750)),
        ("brightness 0.6", |i| ops::brightness(i, 0.6), (705_655, 88_742_620)),
        ("brightness 1.4", |i| ops::brightness(i, 1.4), (1_514_024, 190_266_226)),
        ("contrast 0.6", |i| ops::contrast(i, 0.6), (1_177_509, 147_868_272)),
        ("contrast 1.4", |i| ops::contrast(i, 1.4), (1_179_120, 148_407_847)),
        ("saturation 0.5", |i| ops::saturation(i, 0.5), (1_180_429, 148_442_727)),
        ("saturation 1.8", |i| ops::saturation(i, 1.8), (1_175_726, 147_742_256)),
        ("hue 0", |i| ops::hue(i, 0.0), (1_184_255, 148_922_638)),
        ("hue 0.1", |i| ops::hue(i, 0.1), (1_195_302, 150_454_856)),
        ("hue -0.1", |i| ops::hue(i, -0.1), (1_170_869, 147_226_437)),
        ("hue 0.05", |i| ops::hue(i, 0.05), (1_193_097, 150_112_465)),
        ("blur 0.1", |i| blur(i, 0.1), (1_182_208, 148_668_750)),
        ("blur 0.5", |i| blur(i, 0.5), (1_182_176, 148_496_175)),
        ("blur 1", |i| blur(i, 1.0), (1_179_631, 147_928_737)),
        ("blur 1.37", |i| blur(i, 1.37), (1_182_218, 148_185_240)),
        ("blur 2", |i| blur(i, 2.0), (1_182_410, 148_200_609)),
        ("solarize", ops::solarize, (585_611, 73_486_614)),
        ("flip", ops::flip, (1_182_208, 147_687_100)),
    ];
    for (name, op, expected) in cases {
        assert_eq!(signature(&changed(&pattern(), op)), expected, "{name}");
    }
}

#[test]
fn grey_equals_pillow() {
    let image = changed(&pattern(), ops::grayscale);
    assert_eq!(signature(&image), (1_183_197, 148_785_934));
    let luma = image.as_u8().unwrap().iter().copied().step_by(3).collect();
    assert_eq!(signature(&Image::from_u8(64, 48, 1, luma)), (394_399, 49_105_182));
}

#[test]
fn a_chain_of_transforms_equals_pillow_and_torchvision() {
    let region = CropBox { top: 5, left: 9, height: 30, width: 40 };
    let image = resize(&pattern(), region, 32, 32, Interpolation::Bicubic);
    let image = changed(&image, |view| {
        ops::flip(view);
        ops::brightness(view, 1.2);
        ops::contrast(view, 0.8);
        ops::saturation(view, 1.1);
        ops::hue(view, 0.05);
        blur(view, 1.0);
    });
    assert_eq!(signature(&image), (465_782, 57_865_830));

    let mut numbers = vec![0.0; 3 * 32 * 32];
    write_normalized(&image, &Normalize::imagenet(), &mut numbers);
    let count = numbers.len() as f64;
    let mean = numbers.iter().map(|&v| f64::from(v)).sum::<f64>() / count;
    let variance = numbers.iter().map(|&v| (f64::from(v) - mean).powi(2)).sum::<f64>();
    // The oracles are printed with eight digits, and single precision carries seven.
    assert!((mean - 0.644_891_74).abs() < 1e-6, "{mean}");
    for (number, expected) in numbers.iter().zip([0.296_686_41, 0.074_064_63, -0.217_056_30]) {
        assert!((f64::from(*number) - expected).abs() < 1e-6, "{number}");
    }
    let std = (variance / (count - 1.0)).sqrt();
    assert!((std - 0.274_271_31).abs() < 1e-6, "{std}");
}

#[test]
fn single_colours_equal_pillow() {
    let image = Image::from_u8(
        4,
        2,
        3,
        [
            [200, 30, 90],
            [10, 250, 40],
            [0, 0, 255],
            [128, 128, 128],
            [255, 255, 255],
            [1, 2, 3],
            [77, 160, 20],
            [240, 120, 0],
        ]
        .as_flattened()
        .to_vec(),
    );
    let after = |op: Op| changed(&image, op).as_u8().unwrap().to_vec();
    let luma: Vec<u8> = after(ops::grayscale).into_iter().step_by(3).collect();
    assert_eq!(luma, [88, 154, 29, 128, 255, 2, 119, 142]);
    let starts: [(Op, &[u8]); 9] = [
        (|i| ops::brightness(i, 0.6), &[120, 18, 54, 6, 150, 24, 0, 0, 153, 76, 76, 76]),
        (|i| ops::brightness(i, 1.4), &[255, 42, 126, 14, 255, 56, 0, 0, 255, 179, 179, 179]),
        (|i| ops::contrast(i, 0.6), &[166, 63, 100, 51, 196, 70, 46, 46, 199, 122, 122, 122]),
        (|i| ops::contrast(i, 1.4), &[234, 0, 80, 0, 255, 10, 0, 0, 255, 133, 133, 133]),
        (|i| ops::saturation(i, 0.5), &[144, 59, 89, 82, 202, 97, 14, 14, 142, 128, 128, 128]),
        (|i| ops::saturation(i, 1.8), &[255, 0, 91, 0, 255, 0, 0, 0, 255, 128, 128, 128]),
        (|i| ops::hue(i, 0.1), &[200, 66, 31, 11, 250, 180, 150, 0, 255, 128, 128, 128]),
        (|i| ops::hue(i, -0.1), &[200, 31, 190, 123, 250, 11, 0, 150, 255, 128, 128, 128]),
        (ops::solarize, &[55, 30, 90, 10, 5, 40, 0, 0, 0, 127, 127, 127, 0, 0, 0, 1, 2, 3]),
    ];
    for (op, expected) in starts {
        assert_eq!(after(op)[..expected.len()], *expected);
    }
}

#[test]
fn a_blurred_point_and_edge_equal_pillow() {
    let line = |image: &Image| image.as_u8().unwrap()[5 * 11..6 * 11].to_vec();
    let blurred = |samples: Vec<u8>, sigma| {
        line(&changed(&Image::from_u8(11, 11, 1, samples), |view| blur(view, sigma)))
    };
    let point = |sigma| blurred((0..121).map(|i| if i == 60 { 255 } else { 0 }).collect(), sigma);
    assert_eq!(point(0.5), [0, 0, 0, 1, 21, 154, 21, 1, 0, 0, 0]);
    assert_eq!(point(1.0), [0, 0, 1, 6, 24, 42, 24, 6, 1, 0, 0]);
    assert_eq!(point(2.0), [1, 2, 4, 6, 8, 9, 8, 6, 4, 2, 1]);
    let edge =
        |sigma| blurred((0..121).map(|i| if i % 11 >= 5 { 255 } else { 0 }).collect(), sigma);
    assert_eq!(edge(0.5)[..8], [0, 0, 0, 1, 28, 227, 254, 255]);
    assert_eq!(edge(1.0)[..9], [0, 0, 1, 15, 75, 179, 240, 254, 255]);
    assert_eq!(edge(2.0), [2, 10, 28, 59, 103, 152, 196, 227, 245, 253, 255]);
}

#[test]
fn crop_boxes_equal_torchvision() {
    let cases = [
        (
            [500, 375],
            [0.25, 0.5, 0.5, 0.5],
            CropBox { top: 67, left: 130, height: 241, width: 241 },
        ),
        ([500, 375], [0.9, 0.9, 0.1, 0.7], CropBox { top: 0, left: 26, height: 368, width: 463 }),
        ([32, 32], [0.5, 0.2, 0.3, 0.9], CropBox { top: 2, left: 9, height: 26, width: 22 }),
        ([224, 224], [0.0, 0.0, 0.0, 0.0], CropBox { top: 0, left: 0, height: 73, width: 55 }),
    ];
    for (source, uniforms, expected) in cases {
        let mut numbers = uniforms.into_iter();
        let found = random_resized_crop(source, &Crop::default(), || numbers.next().unwrap());
        assert_eq!(found, expected, "{source:?}");
        assert_eq!(numbers.next(), None);
    }
}

#[test]
fn a_crop_that_never_fits_is_centred() {
    // The whole area at the widest ratio fits none of these.
    let never = Crop { scale: [1.0, 1.0], ..Crop::default() };
    let fallback = |source| random_resized_crop(source, &never, || 1.0);
    let expected = CropBox { top: 133, left: 0, height: 133, width: 100 };
    assert_eq!(random_resized_crop([100, 400], &never, || 0.5), expected);
    let expected = CropBox { top: 0, left: 300, height: 300, width: 400 };
    assert_eq!(random_resized_crop([1000, 300], &never, || 0.5), expected);
    assert_eq!(fallback([480, 640]), CropBox { top: 0, left: 0, height: 640, width: 480 });
}

#[test]
fn a_one_pixel_image_can_be_cropped() {
    for (width, height) in [(1, 1), (1, 50), (50, 1)] {
        let found = random_resized_crop([width, height], &Crop::default(), || 0.5);
        assert!(found.width >= 1 && found.height >= 1);
        assert!(found.left + found.width <= width && found.top + found.height <= height);
    }
}
