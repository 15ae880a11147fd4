//! Swin and Swin V2: Microsoft's files halve the resolution at the end of a stage, timm's at the start of the next.

use super::table::{
    Row,
    Verb::{Is, Out, Same},
};

/// Tables that both programs compute, and old files hold.
const COMPUTED: &str = "computed from the sizes";

pub const TIMM: &[Row] = &[("layers.*.downsample.**", Same)];

pub const MICROSOFT: &[Row] = &[("layers.*.downsample.**", Is("layers.+.downsample.**"))];

/// What both have.
pub const COMMON: &[Row] = &[
    ("layers.*.blocks.*.attn.relative_position_index", Out(COMPUTED)),
    ("layers.*.blocks.*.attn.relative_coords_table", Out(COMPUTED)),
    ("layers.*.blocks.*.attn_mask", Out(COMPUTED)),
    ("patch_embed.proj.**", Same),
    ("patch_embed.norm.**", Same),
    ("layers.*.blocks.*.norm1.**", Same),
    ("layers.*.blocks.*.norm2.**", Same),
    ("layers.*.blocks.*.attn.**", Same),
    ("layers.*.blocks.*.mlp.**", Same),
    ("norm.**", Same),
    ("head.**", Out("classifier")),
];
