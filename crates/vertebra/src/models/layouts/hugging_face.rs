//! Hugging Face's `ViTModel`, `DeiTModel`, `ViTMAEModel`, `IJepaModel`, `Dinov2Model` and
//! `Dinov2WithRegistersModel`, without the prefix that holds them, as the files have them: transformers 5 renames in
//! memory and writes the old names.

use super::table::{
    Row,
    Verb::{Is, Out, Rank, Third},
};

/// What all of them have.
pub const COMMON: &[Row] = &[
    ("embeddings.cls_token", Is("cls_token")),
    ("embeddings.distillation_token", Is("reg_token")),
    ("embeddings.register_tokens", Is("reg_token")),
    ("embeddings.position_embeddings", Rank("pos_embed", 3)),
    ("embeddings.patch_embeddings.projection.**", Is("patch_embed.proj.**")),
    ("embeddings.mask_token", Out("mask token of the pretraining")),
    ("layernorm.**", Is("norm.**")),
    ("pooler.**", Out("pooler")),
    ("encoder.layer.*.attention.attention.query.*", Third(0, "blocks.*.attn.qkv.*")),
    ("encoder.layer.*.attention.attention.key.*", Third(1, "blocks.*.attn.qkv.*")),
    ("encoder.layer.*.attention.attention.value.*", Third(2, "blocks.*.attn.qkv.*")),
    ("encoder.layer.*.attention.output.dense.**", Is("blocks.*.attn.proj.**")),
];

/// ViT, DeiT, MAE, I-JEPA.
pub const VIT: &[Row] = &[
    ("encoder.layer.*.layernorm_before.**", Is("blocks.*.norm1.**")),
    ("encoder.layer.*.layernorm_after.**", Is("blocks.*.norm2.**")),
    ("encoder.layer.*.intermediate.dense.**", Is("blocks.*.mlp.fc1.**")),
    ("encoder.layer.*.output.dense.**", Is("blocks.*.mlp.fc2.**")),
];

pub const DINOV2: &[Row] = &[
    ("encoder.layer.*.norm1.**", Is("blocks.*.norm1.**")),
    ("encoder.layer.*.norm2.**", Is("blocks.*.norm2.**")),
    ("encoder.layer.*.layer_scale1.lambda1", Is("blocks.*.ls1.gamma")),
    ("encoder.layer.*.layer_scale2.lambda1", Is("blocks.*.ls2.gamma")),
    ("encoder.layer.*.mlp.fc1.**", Is("blocks.*.mlp.fc1.**")),
    ("encoder.layer.*.mlp.fc2.**", Is("blocks.*.mlp.fc2.**")),
    ("encoder.layer.*.mlp.weights_in.**", Is("blocks.*.mlp.fc1.**")),
    ("encoder.layer.*.mlp.weights_out.**", Is("blocks.*.mlp.fc2.**")),
];
