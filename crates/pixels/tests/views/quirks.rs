//! Every file of `decode-quirks`, each with what becomes of it beside Pillow 13 (`fixtures/record_quirks.py`).

use std::collections::BTreeMap;

use pixels::decode::decode;
use pixels::image::Image;
use serde::Deserialize;

use crate::{data, signature};
use Outcome::{Differs, OnlyPillow, OnlyWe, Same};

/// What Pillow makes of a file.
#[derive(Deserialize)]
struct Recorded {
    name: String,
    /// Width and height; absent where Pillow refuses the file.
    size: Option<[usize; 2]>,
    /// Of the samples as RGB of 8 bits.
    rgb: Option<(u64, u64)>,
    /// Of the samples as grey of 16 bits.
    deep: Option<(u64, u64)>,
}

/// What we make of it, seen from Pillow.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Outcome {
    /// The same samples, or both refuse.
    Same,
    /// The same size and other samples.
    Differs,
    /// Another size.
    OtherSize,
    /// Pillow reads it and we do not.
    OnlyPillow,
    /// We read it and Pillow does not.
    OnlyWe,
}

fn outcome(recorded: &Recorded, decoded: Option<Image>) -> Outcome {
    match (recorded.size, decoded) {
        (None, None) => Outcome::Same,
        (None, Some(_)) => Outcome::OnlyWe,
        (Some(_), None) => Outcome::OnlyPillow,
        (Some(size), Some(image)) if size != [image.width, image.height] => Outcome::OtherSize,
        (Some(_), Some(image)) => {
            let deep = recorded.deep.is_some_and(|sums| sums == signature(&image));
            let rgb = image.into_rgb().map(|image| signature(&image));
            let same = deep || (rgb.is_some() && rgb == recorded.rgb);
            if same { Outcome::Same } else { Outcome::Differs }
        }
    }
}

/// Every file of which the outcome is another than [`Outcome::Same`], and why.
const DIFFERENT: [(&str, Outcome, &str); 50] = [
    ("bmp/b/badplanes.bmp", OnlyPillow, "states two planes, which no BMP has"),
    ("bmp/b/badrle.bmp", OnlyPillow, "run lengths that leave the picture"),
    ("bmp/b/rletopdown.bmp", OnlyPillow, "run lengths from the top, which the format forbids"),
    ("bmp/g/rgb16-565.bmp", Differs, "five bits become eight by repeating them, there by zeros"),
    ("bmp/g/rgb16-565pal.bmp", Differs, "five bits become eight by repeating them, there by zeros"),
    ("bmp/g/rgb16.bmp", Differs, "five bits become eight by repeating them, there by zeros"),
    ("bmp/g/rgb32bf.bmp", OnlyWe, "bit fields that Pillow does not know"),
    ("bmp/q/pal2.bmp", OnlyWe, "two bits per pixel"),
    ("bmp/q/pal4rletrns.bmp", Differs, "what the run lengths leave out is ground, there colour 0"),
    ("bmp/q/pal8os2v2.bmp", OnlyPillow, "a header of OS/2"),
    ("bmp/q/pal8rletrns.bmp", Differs, "what the run lengths leave out is ground, there colour 0"),
    ("bmp/q/rgb16-231.bmp", OnlyWe, "bit fields that Pillow does not know"),
    ("bmp/q/rgb32-111110.bmp", OnlyWe, "bit fields that Pillow does not know"),
    ("bmp/q/rgba16-4444.bmp", OnlyWe, "bit fields that Pillow does not know"),
    ("gif/no_palette.gif", OnlyPillow, "has no colours at all; Pillow shows grey"),
    ("jpeg/app13.jpg", Differs, LOSSY),
    ("jpeg/exif-72dpi-int.jpg", Differs, LOSSY),
    ("jpeg/exif_typeerror.jpg", Differs, LOSSY),
    ("jpeg/flower.jpg", Differs, LOSSY),
    ("jpeg/flower2.jpg", Differs, LOSSY),
    ("jpeg/hopper.jpg", Differs, LOSSY),
    ("jpeg/hopper_16bit_qtables.jpg", Differs, LOSSY),
    ("jpeg/hopper_bad_exif.jpg", OnlyPillow, "damaged data, over which libjpeg passes"),
    ("jpeg/hopper_gray.jpg", Differs, LOSSY),
    ("jpeg/hopper_orientation_2.jpg", Differs, LOSSY),
    ("jpeg/hopper_orientation_3.jpg", Differs, LOSSY),
    ("jpeg/hopper_orientation_4.jpg", Differs, LOSSY),
    ("jpeg/hopper_orientation_5.jpg", Differs, LOSSY),
    ("jpeg/hopper_orientation_6.jpg", Differs, LOSSY),
    ("jpeg/hopper_orientation_7.jpg", Differs, LOSSY),
    ("jpeg/hopper_orientation_8.jpg", Differs, LOSSY),
    ("jpeg/invalid-exif.jpg", Differs, LOSSY),
    ("jpeg/iptc.jpg", Differs, LOSSY),
    ("jpeg/jpeg_ff00_header.jpg", Differs, LOSSY),
    ("jpeg/junk_jpeg_header.jpg", Differs, LOSSY),
    ("jpeg/photoshop-200dpi.jpg", Differs, LOSSY),
    ("jpeg/pil_sample_cmyk.jpg", Differs, LOSSY),
    ("jpeg/pil_sample_rgb.jpg", Differs, LOSSY),
    ("jpeg/rgb.jpg", Differs, LOSSY),
    ("jpeg/truncated_app14.jpg", OnlyPillow, "a marker that ends before it should"),
    ("png/i_trns.png", Differs, "16 bits stay, there 8 are shown"),
    ("png/png_decompression_dos.png", OnlyWe, "a giant text, which is passed over unread"),
    (
        "png/unknown_compression_method.png",
        OnlyWe,
        "a broken colour profile beside a whole picture",
    ),
    ("png/xmp_tags_orientation_exiftool.png", Differs, "an orientation that stands in XMP only"),
    ("pnm/hopper.pfm", OnlyPillow, "floats in a PNM file"),
    ("pnm/hopper_be.pfm", OnlyPillow, "floats in a PNM file"),
    ("tiff/10ct_32bit_128.tiff", OnlyPillow, "a colour space that the TIFF library does not know"),
    ("tiff/12bit.cropped.tif", OnlyPillow, "12 bits, packed"),
    ("tiff/hopper_jpg.tif", Differs, LOSSY),
    ("tiff/multipage.tiff", Differs, "a palette gives its indices"),
];

const LOSSY: &str = "JPEG: decoders differ by a few levels";

#[test]
fn every_odd_file_has_the_outcome_that_is_written_here() {
    let Some(folder) = data().map(|data| data.join("decode-quirks")) else { return };
    let recorded: Vec<Recorded> =
        serde_json::from_str(include_str!("../../../../fixtures/quirks.json")).unwrap();
    let known: BTreeMap<&str, Outcome> =
        DIFFERENT.iter().map(|(name, outcome, _)| (*name, *outcome)).collect();
    assert_eq!(known.len(), DIFFERENT.len(), "a file stands there twice");
    let mut wrong = Vec::new();
    for file in &recorded {
        let decoded = decode(&std::fs::read(folder.join(&file.name)).unwrap());
        let said = decoded.as_ref().err().map(ToString::to_string);
        let found = outcome(file, decoded.ok());
        let wanted = known.get(file.name.as_str()).copied().unwrap_or(Same);
        if found != wanted && !may_be_equal(&file.name, found) {
            wrong.push(format!("{}: {found:?}, not {wanted:?} {said:?}", file.name));
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
    assert!(known.keys().all(|name| recorded.iter().any(|file| file.name == *name)));
}

/// A build with libjpeg-turbo gives Pillow's samples of a JPEG, and reads what Pillow reads.
fn may_be_equal(name: &str, found: Outcome) -> bool {
    found == Same && (name.starts_with("jpeg/") || name == "tiff/hopper_jpg.tif")
}
