//! Image towers of CLIP and SigLIP, without the prefix that holds them: OpenAI's names, which `open_clip` kept, and
//! Hugging Face's.

use super::table::{
    Row,
    Verb::{Cut, Is, Out, Rank, Third},
};

pub const OPEN_CLIP: &[Row] = &[
    ("conv1.**", Is("patch_embed.proj.**")),
    ("class_embedding", Rank("cls_token", 3)),
    ("positional_embedding", Rank("pos_embed", 3)),
    ("ln_pre.**", Is("norm_pre.**")),
    ("ln_post.**", Is("norm.**")),
    ("transformer.resblocks.*.ln_1.**", Is("blocks.*.norm1.**")),
    ("transformer.resblocks.*.ln_2.**", Is("blocks.*.norm2.**")),
    ("transformer.resblocks.*.attn.in_proj_weight", Is("blocks.*.attn.qkv.weight")),
    ("transformer.resblocks.*.attn.in_proj_bias", Is("blocks.*.attn.qkv.bias")),
    ("transformer.resblocks.*.attn.out_proj.**", Is("blocks.*.attn.proj.**")),
    ("transformer.resblocks.*.mlp.c_fc.**", Is("blocks.*.mlp.fc1.**")),
    ("transformer.resblocks.*.mlp.c_proj.**", Is("blocks.*.mlp.fc2.**")),
    ("transformer.resblocks.*.ls_1.gamma", Is("blocks.*.ls1.gamma")),
    ("transformer.resblocks.*.ls_2.gamma", Is("blocks.*.ls2.gamma")),
    // Radford 2021, section 3.2: linear probes read the features before it.
    ("proj", Out("projection to the space of images and texts")),
];

/// `CLIPVisionModel` and `SiglipVisionModel`.
pub const HUGGING_FACE: &[Row] = &[
    ("embeddings.class_embedding", Rank("cls_token", 3)),
    ("embeddings.patch_embedding.**", Is("patch_embed.proj.**")),
    ("embeddings.position_embedding.weight", Rank("pos_embed", 3)),
    ("embeddings.position_ids", Out("counter")),
    // Their spelling.
    ("pre_layrnorm.**", Is("norm_pre.**")),
    ("post_layernorm.**", Is("norm.**")),
    ("encoder.layers.*.layer_norm1.**", Is("blocks.*.norm1.**")),
    ("encoder.layers.*.layer_norm2.**", Is("blocks.*.norm2.**")),
    ("encoder.layers.*.self_attn.q_proj.*", Third(0, "blocks.*.attn.qkv.*")),
    ("encoder.layers.*.self_attn.k_proj.*", Third(1, "blocks.*.attn.qkv.*")),
    ("encoder.layers.*.self_attn.v_proj.*", Third(2, "blocks.*.attn.qkv.*")),
    ("encoder.layers.*.self_attn.out_proj.**", Is("blocks.*.attn.proj.**")),
    ("encoder.layers.*.mlp.fc1.**", Is("blocks.*.mlp.fc1.**")),
    ("encoder.layers.*.mlp.fc2.**", Is("blocks.*.mlp.fc2.**")),
    // SigLIP: a learned query that attends to the patches.
    ("head.probe", Is("attn_pool.latent")),
    ("head.attention.in_proj_weight", Cut("attn_pool.q.weight", "attn_pool.kv.weight")),
    ("head.attention.in_proj_bias", Cut("attn_pool.q.bias", "attn_pool.kv.bias")),
    ("head.attention.out_proj.**", Is("attn_pool.proj.**")),
    ("head.layernorm.**", Is("attn_pool.norm.**")),
    ("head.mlp.fc1.**", Is("attn_pool.mlp.fc1.**")),
    ("head.mlp.fc2.**", Is("attn_pool.mlp.fc2.**")),
];
