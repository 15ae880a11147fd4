//! ResNet and ConvNeXt.

use super::table::{
    Row,
    Verb::{Is, Out, Rank, Same},
};

/// torchvision's names, which timm, VICReg, DINO and MoCo have too.
pub const RESNET: &[Row] = &[
    ("bn1.num_batches_tracked", Out("counter")),
    ("?.?.?.num_batches_tracked", Out("counter")),
    ("?.?.?.?.num_batches_tracked", Out("counter")),
    ("conv1.weight", Same),
    ("bn1.**", Same),
    ("layer1.**", Same),
    ("layer2.**", Same),
    ("layer3.**", Same),
    ("layer4.**", Same),
    ("fc.**", Out("classifier or projector")),
    ("head.**", Out("classifier or projector")),
];

pub const CONVNEXT_TIMM: &[Row] = &[
    ("stem.*.**", Same),
    ("stages.*.blocks.*.**", Same),
    ("stages.*.downsample.**", Same),
    ("head.norm.**", Same),
    ("head.fc.**", Out("classifier")),
    ("head.**", Out("classifier")),
];

/// facebookresearch's ConvNeXt and ConvNeXt V2, and VICRegL's.
pub const CONVNEXT: &[Row] = &[
    ("downsample_layers.0.**", Is("stem.**")),
    ("downsample_layers.*.**", Is("stages.*.downsample.**")),
    ("stages.*.*.dwconv.**", Is("stages.*.blocks.*.conv_dw.**")),
    ("stages.*.*.norm.**", Is("stages.*.blocks.*.norm.**")),
    ("stages.*.*.pwconv1.**", Is("stages.*.blocks.*.mlp.fc1.**")),
    ("stages.*.*.pwconv2.**", Is("stages.*.blocks.*.mlp.fc2.**")),
    ("stages.*.*.gamma", Is("stages.*.blocks.*.gamma")),
    ("stages.*.*.grn.gamma", Rank("stages.*.blocks.*.mlp.grn.weight", 1)),
    ("stages.*.*.grn.beta", Rank("stages.*.blocks.*.mlp.grn.bias", 1)),
    ("norm.**", Is("head.norm.**")),
    ("head.**", Out("classifier")),
];
