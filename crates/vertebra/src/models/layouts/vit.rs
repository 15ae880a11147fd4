//! Vision transformers under the names of timm and of facebookresearch, which ours are.

use super::table::{
    Row,
    Verb::{Is, Out, Same},
};

/// timm's own, DeiT, DINO, DINOv2, MAE, MoCo v3, I-JEPA.
pub const TIMM: &[Row] = &[
    ("cls_token", Same),
    ("reg_token", Same),
    ("register_tokens", Is("reg_token")),
    // A second token that is learned, has a position and is not read: a register under another name.
    ("dist_token", Is("reg_token")),
    ("pos_embed", Same),
    ("patch_embed.proj.**", Same),
    ("norm_pre.**", Same),
    ("norm.**", Same),
    ("fc_norm.**", Same),
    ("blocks.*.norm1.**", Same),
    ("blocks.*.norm2.**", Same),
    ("blocks.*.attn.qkv.**", Same),
    ("blocks.*.attn.proj.**", Same),
    ("blocks.*.ls1.gamma", Same),
    ("blocks.*.ls2.gamma", Same),
    ("blocks.*.mlp.fc1.**", Same),
    ("blocks.*.mlp.fc2.**", Same),
    ("blocks.*.mlp.w12.**", Is("blocks.*.mlp.fc1.**")),
    ("blocks.*.mlp.w3.**", Is("blocks.*.mlp.fc2.**")),
    ("attn_pool.**", Same),
    ("mask_token", Out("mask token of the pretraining")),
    ("head.**", Out("classifier or projector")),
    ("head_dist.**", Out("classifier")),
    ("pre_logits.**", Out("classifier")),
    ("decoder_embed.**", Out("decoder of the pretraining")),
    ("decoder_pos_embed", Out("decoder of the pretraining")),
    ("decoder_blocks.**", Out("decoder of the pretraining")),
    ("decoder_norm.**", Out("decoder of the pretraining")),
    ("decoder_pred.**", Out("decoder of the pretraining")),
];

/// DINOv2 trained with its blocks in chunks: the second number is the block's.
pub const CHUNKS: &[Row] = &[
    ("blocks.?.*.norm1.**", Is("blocks.*.norm1.**")),
    ("blocks.?.*.norm2.**", Is("blocks.*.norm2.**")),
    ("blocks.?.*.attn.qkv.**", Is("blocks.*.attn.qkv.**")),
    ("blocks.?.*.attn.proj.**", Is("blocks.*.attn.proj.**")),
    ("blocks.?.*.ls1.gamma", Is("blocks.*.ls1.gamma")),
    ("blocks.?.*.ls2.gamma", Is("blocks.*.ls2.gamma")),
    ("blocks.?.*.mlp.fc1.**", Is("blocks.*.mlp.fc1.**")),
    ("blocks.?.*.mlp.fc2.**", Is("blocks.*.mlp.fc2.**")),
    ("blocks.?.*.mlp.w12.**", Is("blocks.*.mlp.fc1.**")),
    ("blocks.?.*.mlp.w3.**", Is("blocks.*.mlp.fc2.**")),
];
