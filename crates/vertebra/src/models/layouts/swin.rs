//! Swin and Swin V2: Microsoft's files halve the resolution at the end of a stage, timm's at the start of the next.

use std::collections::BTreeMap;

use tch::Tensor;

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

/// The side of a window by a table that Microsoft's files of the second version hold, `[1, 2 w − 1, 2 w − 1, 2]`.
pub fn window(tensors: &BTreeMap<String, Tensor>) -> Option<i64> {
    let table = tensors.get("layers.0.blocks.0.attn.relative_coords_table")?;
    match table.size()[..] {
        [1, side, _, 2] if side > 0 => Some((side + 1) / 2),
        _ => None,
    }
}
