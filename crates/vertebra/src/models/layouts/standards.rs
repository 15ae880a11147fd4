//! The preprocessing that belongs to weights, where no file beside them says it.

use pixels::plan::{Interpolation, Normalize, Preprocess};

/// OpenAI's channel statistics, which open_clip and Hugging Face kept.
const CLIP: ([f32; 3], [f32; 3]) =
    ([0.481_454_66, 0.457_827_5, 0.408_210_73], [0.268_629_54, 0.261_302_58, 0.275_777_11]);
const HALF: ([f32; 3], [f32; 3]) = ([0.5; 3], [0.5; 3]);

/// torchvision's, VICReg's and MoCo's: the short side to 256, bilinear.
pub fn resnet() -> Preprocess {
    imagenet(256, 224, Interpolation::Bilinear)
}

/// facebookresearch's of transformers and ConvNeXt: the short side to 256, bicubic, a crop of 224. Weights for other
/// images see them whole.
pub fn whole(image: usize) -> Preprocess {
    let resize = if image == 224 { 256 } else { image };
    imagenet(resize, image, Interpolation::Bicubic)
}

/// DINOv2's positions are made for 518 pixels, and its authors evaluate at 224.
pub fn dinov2() -> Preprocess {
    imagenet(256, 224, Interpolation::Bicubic)
}

/// timm's of a Swin: a crop of nine tenths; of 384 pixels and more all.
pub fn swin(image: usize) -> Preprocess {
    let resize = if image >= 384 { image } else { image * 10 / 9 };
    imagenet(resize, image, Interpolation::Bicubic)
}

pub fn clip(image: usize) -> Preprocess {
    of(CLIP, image, image, Interpolation::Bicubic)
}

/// SigLIP's; its authors squeeze the whole image to a square, here its middle is cut out.
pub fn siglip(image: usize) -> Preprocess {
    of(HALF, image, image, Interpolation::Bicubic)
}

fn imagenet(resize: usize, crop: usize, interpolation: Interpolation) -> Preprocess {
    Preprocess { resize, crop, interpolation, normalize: Normalize::imagenet() }
}

fn of(
    (mean, std): ([f32; 3], [f32; 3]),
    resize: usize,
    crop: usize,
    interpolation: Interpolation,
) -> Preprocess {
    let normalize = Normalize { mean: mean.into(), std: std.into() };
    Preprocess { resize, crop, interpolation, normalize }
}
