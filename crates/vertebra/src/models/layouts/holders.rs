//! Where in a file the encoder is: published checkpoints hold it under prefixes, beside much else.

use std::collections::BTreeMap;

use tch::Tensor;

use super::table::fits;

/// A prefix under which the encoder is, and what may stand beside it.
struct Holder {
    prefix: &'static str,
    /// Names beside the prefix, and why they are left out.
    beside: &'static [(&'static str, &'static str)],
}

const fn holder(prefix: &'static str, beside: &'static [(&'static str, &'static str)]) -> Holder {
    Holder { prefix, beside }
}

const CLASSIFIER: &str = "classifier";
const PROJECTOR: &str = "projector of the pretraining";
const PREDICTOR: &str = "predictor of the pretraining";
const DECODER: &str = "decoder of the pretraining";
const TEXT: &str = "text tower";
const JOINT: &str = "projection to the space of images and texts";
const SCALE: &str = "scale of the similarities";

/// What a checkpoint holds of its training; it may stand anywhere.
const TRAINING: &[(&str, &str)] = &[
    ("optimizer.**", "state of the optimizer"),
    ("optimizer_state_dict.**", "state of the optimizer"),
    ("opt.**", "state of the optimizer"),
    ("scaler.**", "scale of the loss"),
    ("loss_scaler.**", "scale of the loss"),
    ("fp16_scaler.**", "scale of the loss"),
    ("lr_scheduler.**", "state of the schedule"),
    ("scheduler.**", "state of the schedule"),
    ("dino_loss.**", "centre of the loss"),
    ("ibot_patch_loss.**", "centre of the loss"),
    ("epoch", "counter"),
    ("iteration", "counter"),
    ("model_ema.**", "average of the weights; the weights themselves are taken"),
];

/// In order of preference: the first whose prefix is there, with nothing unknown beside it, is opened, and then the
/// next one inside it.
const HOLDERS: &[Holder] = &[
    holder("state_dict.", &[]),
    holder("model_state_dict.", &[]),
    holder("model.", &[]),
    holder("module.", &[]),
    holder("_orig_mod.", &[]),
    // DINO and DINOv2: the teacher is what the authors evaluate.
    holder("teacher.", &[("student.**", "the student; its teacher is taken")]),
    holder("student.", &[]),
    // I-JEPA: the authors evaluate the target encoder.
    holder(
        "target_encoder.",
        &[
            ("encoder.**", "the context encoder; the target encoder is taken"),
            ("predictor.**", PREDICTOR),
        ],
    ),
    // MoCo v3, then MoCo v1 and v2.
    holder(
        "base_encoder.",
        &[
            ("momentum_encoder.**", "the momentum encoder; its base is taken"),
            ("predictor.**", PREDICTOR),
        ],
    ),
    holder(
        "encoder_q.",
        &[
            ("encoder_k.**", "the momentum encoder"),
            ("queue", "the queue"),
            ("queue_ptr", "the queue"),
        ],
    ),
    // DINO, DINOv2, VICReg, VICRegL.
    holder(
        "backbone.",
        &[
            ("projector.**", PROJECTOR),
            ("maps_projector.**", PROJECTOR),
            ("head.**", PROJECTOR),
            ("dino_head.**", PROJECTOR),
            ("ibot_head.**", PROJECTOR),
            ("predictor.**", PREDICTOR),
            ("classifier.**", CLASSIFIER),
        ],
    ),
    // OpenAI's CLIP and open_clip.
    holder(
        "visual.",
        &[
            ("text.**", TEXT),
            ("transformer.**", TEXT),
            ("token_embedding.**", TEXT),
            ("positional_embedding", TEXT),
            ("ln_final.**", TEXT),
            ("attn_mask", TEXT),
            ("text_projection", JOINT),
            ("text_projection.**", JOINT),
            ("logit_scale", SCALE),
            ("logit_bias", SCALE),
            ("input_resolution", "counter"),
            ("context_length", "counter"),
            ("vocab_size", "counter"),
        ],
    ),
    // timm's towers inside open_clip.
    holder("trunk.", &[("head.**", JOINT)]),
    // Hugging Face.
    holder(
        "vision_model.",
        &[
            ("text_model.**", TEXT),
            ("visual_projection.**", JOINT),
            ("text_projection.**", JOINT),
            ("logit_scale", SCALE),
            ("logit_bias", SCALE),
        ],
    ),
    holder("vit.", &[("classifier.**", CLASSIFIER), ("decoder.**", DECODER)]),
    holder(
        "deit.",
        &[
            ("classifier.**", CLASSIFIER),
            ("cls_classifier.**", CLASSIFIER),
            ("distillation_classifier.**", CLASSIFIER),
        ],
    ),
    holder("dinov2.", &[("classifier.**", CLASSIFIER)]),
    holder("dinov2_with_registers.", &[("classifier.**", CLASSIFIER)]),
    holder("ijepa.", &[("classifier.**", CLASSIFIER)]),
    // An I-JEPA checkpoint that lost its target encoder.
    holder("encoder.", &[("predictor.**", PREDICTOR)]),
];

/// The encoder of a file.
#[derive(Debug)]
pub struct Opened {
    /// The prefix that all its names had in the file: `state_dict.module.base_encoder.`.
    pub under: String,
    /// Under their names without the prefix.
    pub tensors: BTreeMap<String, Tensor>,
    /// What stood beside it, by the file's names, and why it is left out.
    pub left_out: Vec<(String, &'static str)>,
}

/// Takes off prefix after prefix, as long as one of [`HOLDERS`] accounts for all names.
pub fn open(tensors: BTreeMap<String, Tensor>) -> Opened {
    let mut opened = Opened { under: String::new(), tensors, left_out: Vec::new() };
    while let Some(holder) = HOLDERS.iter().find(|holder| holder.holds(&opened.tensors)) {
        let mut inside = BTreeMap::new();
        for (name, tensor) in std::mem::take(&mut opened.tensors) {
            if let Some(name) = name.strip_prefix(holder.prefix) {
                inside.insert(name.to_string(), tensor);
            } else if let Some(why) = holder.reason(&name) {
                opened.left_out.push((format!("{}{name}", opened.under), why));
            }
        }
        opened.tensors = inside;
        opened.under.push_str(holder.prefix);
    }
    let training = |name: &str| TRAINING.iter().find(|(pattern, _)| fits(pattern, name));
    let mut kept = BTreeMap::new();
    for (name, tensor) in std::mem::take(&mut opened.tensors) {
        match training(&name) {
            Some((_, why)) => opened.left_out.push((format!("{}{name}", opened.under), why)),
            None => {
                kept.insert(name, tensor);
            }
        }
    }
    opened.tensors = kept;
    opened
}

impl Holder {
    /// Whether the prefix is there, and everything else is known to stand beside it.
    fn holds(&self, tensors: &BTreeMap<String, Tensor>) -> bool {
        let mut there = false;
        for name in tensors.keys() {
            if name.starts_with(self.prefix) {
                there = true;
            } else if self.reason(name).is_none() {
                return false;
            }
        }
        there
    }

    fn reason(&self, name: &str) -> Option<&'static str> {
        let find = |rows: &'static [(&'static str, &'static str)]| {
            rows.iter().find(|(pattern, _)| fits(pattern, name)).map(|(_, why)| *why)
        };
        find(self.beside).or_else(|| find(TRAINING))
    }
}
