//! Which parameters decay, adapt, and at which rate. Every parameter is claimed by exactly one
//! group, or the run stops.

use std::collections::BTreeMap;

use tch::Tensor;

use crate::error::{Error, Result};

/// Which parameters a rule claims, and what it grants them. [`Rule::all`] is the start of each.
#[derive(Clone, Debug, PartialEq)]
pub struct Rule {
    /// The name, with `*` for any run of characters and `?` for one: `*.bias`, `blocks.3.*`.
    pub name: String,
    /// Only tensors of at most so many dimensions, if set.
    pub max_dims: Option<usize>,
    /// See [`Group::decay`].
    pub decay: f64,
    /// See [`Group::adapt`].
    pub adapt: bool,
    /// See [`Group::lr_scale`].
    pub lr_scale: f64,
    /// See [`Group::constant_lr`].
    pub constant_lr: bool,
}

impl Rule {
    /// Claims everything; decays, adapts, full rate.
    pub fn all() -> Self {
        Self {
            name: "*".into(),
            max_dims: None,
            decay: 1.,
            adapt: true,
            lr_scale: 1.,
            constant_lr: false,
        }
    }

    /// Everything of a name that matches.
    pub fn named(name: &str) -> Self {
        Self { name: name.into(), ..Self::all() }
    }

    /// The same without weight decay and without LARS' adaptation.
    #[must_use]
    pub fn exempt(self) -> Self {
        Self { decay: 0., adapt: false, ..self }
    }

    fn claims(&self, name: &str, param: &Tensor) -> bool {
        self.max_dims.is_none_or(|most| param.dim() <= most)
            && glob(self.name.as_bytes(), name.as_bytes())
    }
}

/// The usual rules: tensors of one dimension or none (biases, normalisation, a temperature) neither
/// decay nor adapt, the rest does both. VICReg, Barlow Twins, MoCo-v3, DINO and I-JEPA go by the
/// dimension alone.
pub fn standard_rules() -> Vec<Rule> {
    vec![Rule { max_dims: Some(1), ..Rule::all().exempt() }, Rule::all()]
}

/// Parameters that are treated alike.
#[derive(Debug)]
pub struct Group {
    /// Factor on the weight decay: 0 or 1.
    pub decay: f64,
    /// Whether LARS adapts the rate to the weights' norm. Other optimizers do not ask.
    pub adapt: bool,
    /// Factor on the learning rate: layer-wise decay, Barlow Twins' slower biases.
    pub lr_scale: f64,
    /// The rate stays at its peak, as that of SimSiam's predictor does.
    pub constant_lr: bool,
    /// The parameters' names, in order.
    pub names: Vec<String>,
    /// The parameters, in the order of the names; they share memory with the model's.
    pub params: Vec<Tensor>,
}

/// Deals the trainable parameters out: the first rule that matches wins. A rule that claims nothing
/// makes no group.
///
/// Fails with [`Error::UnclaimedParameter`] where no rule matches. A frozen parameter is left out
/// of `params`: a group with rate 0 would still move the optimizer's state.
pub fn assign(params: &BTreeMap<String, Tensor>, rules: &[Rule]) -> Result<Vec<Group>> {
    let mut groups: Vec<Group> = rules
        .iter()
        .map(|rule| Group {
            decay: rule.decay,
            adapt: rule.adapt,
            lr_scale: rule.lr_scale,
            constant_lr: rule.constant_lr,
            names: Vec::new(),
            params: Vec::new(),
        })
        .collect();
    for (name, param) in params {
        let winner = rules
            .iter()
            .position(|rule| rule.claims(name, param))
            .ok_or_else(|| Error::UnclaimedParameter { name: name.clone() })?;
        groups[winner].names.push(name.clone());
        groups[winner].params.push(param.shallow_clone());
    }
    groups.retain(|group| !group.params.is_empty());
    Ok(groups)
}

/// The rate's factor for layer `layer` of a transformer with `blocks` blocks under layer-wise
/// decay: d^(L + 1 − layer). Layer 0 holds the embeddings, 1 to L the blocks, L + 1 the last norm
/// and the head. Clark 2020; BEiT, MAE fine-tuning.
pub fn layer_scale(decay: f64, layer: usize, blocks: usize) -> f64 {
    decay.powi((blocks + 1) as i32 - layer as i32)
}

/// Where a backbone's names count its layers, and the layer of number 0: timm's blocks of a transformer, torchvision's
/// stages of a ResNet, timm's of ConvNeXt and of Swin.
const NUMBERED: [(&str, usize); 4] = [("blocks.", 1), ("layer", 0), ("stages.", 1), ("layers.", 1)];
/// What comes after the last numbered layer.
const LAST: [&str; 4] = ["norm.*", "fc_norm.*", "head.*", "classifier.*"];
/// Embeddings that do not decay although they have more than one dimension, as in timm and MAE.
const EMBEDDINGS: [&str; 3] = ["cls_token", "reg_token", "pos_embed"];

/// Rules for fine-tuning: rates fall from the head to the embeddings by [`layer_scale`], and what the
/// [`standard_rules`] exempt, class tokens and positions too, does not decay.
///
/// Layers are told from the names: `blocks.3.…`, `layer2.…`, `stages.1.…` or `layers.1.…` (a ResNet's or a Swin's
/// layer is a stage, timm's coarse grouping). The last norm and the head, here `classifier.…`, come after them; what
/// is not numbered comes before.
pub fn layered_rules(params: &BTreeMap<String, Tensor>, decay: f64) -> Vec<Rule> {
    let layers: BTreeMap<usize, String> = params.keys().filter_map(|name| numbered(name)).collect();
    let depth = layers.keys().last().copied().unwrap_or(0);
    let at = |name: &str, layer| Rule {
        lr_scale: layer_scale(decay, layer, depth),
        ..Rule::named(name)
    };
    let mut claims: Vec<Rule> = layers.iter().map(|(&layer, name)| at(name, layer)).collect();
    claims.extend(LAST.map(|name| at(name, depth + 1)));
    claims.push(at("*", 0));
    let parts = |rule: &Rule| {
        let vectors = Rule { max_dims: Some(1), ..rule.clone().exempt() };
        // Swin's table of biases has two dimensions and is exempt in its authors' code.
        let name = format!("{}relative_position_bias_table", rule.name);
        [vectors, Rule { name, ..rule.clone().exempt() }, rule.clone()]
    };
    let embeddings = EMBEDDINGS.map(|name| at(name, 0).exempt());
    embeddings.into_iter().chain(claims.iter().flat_map(parts)).collect()
}

/// The layer that a parameter belongs to, and the pattern of all names in it.
fn numbered(name: &str) -> Option<(usize, String)> {
    NUMBERED.iter().find_map(|(prefix, first)| {
        let number = name.strip_prefix(prefix)?.split('.').next()?;
        let layer = number.parse::<usize>().ok()? + first;
        Some((layer, format!("{prefix}{number}.*")))
    })
}

fn glob(pattern: &[u8], text: &[u8]) -> bool {
    match (pattern, text) {
        ([], []) => true,
        ([b'*', rest @ ..], _) => {
            glob(rest, text) || (!text.is_empty() && glob(pattern, &text[1..]))
        }
        ([b'?', rest @ ..], [_, tail @ ..]) => glob(rest, tail),
        ([p, rest @ ..], [t, tail @ ..]) => p == t && glob(rest, tail),
        _ => false,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use tch::{Device, Kind};

    fn params(shapes: &[(&str, &[i64])]) -> BTreeMap<String, Tensor> {
        let zeros = |shape| Tensor::zeros(shape, (Kind::Float, Device::Cpu));
        shapes.iter().map(|&(name, shape)| (name.to_owned(), zeros(shape))).collect()
    }

    fn vit() -> BTreeMap<String, Tensor> {
        params(&[
            ("blocks.0.attn.qkv.weight", &[6, 2]),
            ("blocks.0.norm1.weight", &[2]),
            ("cls_token", &[1, 1, 2]),
            ("patch_embed.proj.bias", &[2]),
            ("temperature", &[]),
        ])
    }

    #[test]
    fn vectors_and_scalars_are_exempt_by_the_standard_rules() {
        let groups = assign(&vit(), &standard_rules()).unwrap();
        let names: Vec<_> = groups.iter().map(|group| group.names.join(" ")).collect();
        let vectors = "blocks.0.norm1.weight patch_embed.proj.bias temperature";
        assert_eq!(names, [vectors, "blocks.0.attn.qkv.weight cls_token"]);
        assert_eq!((groups[0].decay, groups[0].adapt), (0., false));
        assert_eq!((groups[1].decay, groups[1].adapt), (1., true));
    }

    #[test]
    fn the_first_matching_rule_wins_and_every_parameter_has_one_group() {
        let rules = [Rule::named("cls_*").exempt(), Rule::named("*"), Rule::named("cls_token")];
        let groups = assign(&vit(), &rules).unwrap();
        assert_eq!(groups.len(), 2, "a rule that claims nothing makes no group");
        assert_eq!(groups[0].names, ["cls_token"]);
        let claimed: usize = groups.iter().map(|group| group.names.len()).sum();
        assert_eq!(claimed, vit().len());
    }

    #[test]
    fn an_unclaimed_parameter_is_named() {
        let error = assign(&vit(), &[Rule::named("blocks.*"), Rule::named("*.bias")]).unwrap_err();
        assert_eq!(error.to_string(), "no parameter group claims `cls_token`");
    }

    #[test]
    fn globs_match_whole_names() {
        for (pattern, text, wanted) in [
            ("*.bias", "a.b.bias", true),
            ("*.bias", "a.bias.weight", false),
            ("*.bn?.*", "layer1.0.bn2.weight", true),
            ("*.bn?.*", "layer1.0.bn.weight", false),
            ("blocks.1.*", "blocks.11.x", false),
            ("", "a", false),
            ("*", "", true),
        ] {
            assert_eq!(glob(pattern.as_bytes(), text.as_bytes()), wanted, "{pattern} {text}");
        }
    }

    #[test]
    fn groups_share_memory_with_the_model() {
        let params = vit();
        let groups = assign(&params, &[Rule::all()]).unwrap();
        let _ = groups[0].params[0].shallow_clone().fill_(7.);
        assert_eq!(params["blocks.0.attn.qkv.weight"].double_value(&[0, 0]), 7.);
    }

    #[test]
    fn layer_scales_are_powers_down_to_the_embeddings() {
        let wanted = [
            0.003_697_21,
            0.005_688_01,
            0.008_750_78,
            0.013_462_74,
            0.020_711_91,
            0.031_864_48,
            0.049_022_28,
            0.075_418_89,
            0.116_029_06,
            0.178_506_25,
            0.274_625,
            0.4225,
            0.65,
            1.,
        ];
        for (layer, wanted) in wanted.into_iter().enumerate() {
            // The oracle has eight decimals.
            assert!((layer_scale(0.65, layer, 12) - wanted).abs() < 5e-9, "layer {layer}");
        }
    }

    /// `(factor on the rate, factor on the decay)` of a parameter.
    fn granted(groups: &[Group], name: &str) -> (f64, f64) {
        let of = |group: &&Group| group.names.iter().any(|it| it == name);
        let group = groups.iter().find(of).unwrap();
        (group.lr_scale, group.decay)
    }

    #[test]
    fn layered_rules_give_each_block_of_a_transformer_its_rate() {
        let names: Vec<String> =
            (0..12).map(|block| format!("blocks.{block}.attn.qkv.weight")).collect();
        let mut shapes: Vec<(&str, &[i64])> =
            names.iter().map(|name| (name.as_str(), [6, 2].as_slice())).collect();
        shapes.extend_from_slice(&[
            ("blocks.11.norm1.weight", &[2]),
            ("classifier.bias", &[3]),
            ("classifier.weight", &[3, 2]),
            ("cls_token", &[1, 1, 2]),
            ("norm.weight", &[2]),
            ("patch_embed.proj.weight", &[2, 3, 4, 4]),
            ("pos_embed", &[1, 5, 2]),
        ]);
        let params = params(&shapes);
        let groups = assign(&params, &layered_rules(&params, 0.65)).unwrap();
        for (block, name) in names.iter().enumerate() {
            assert_eq!(granted(&groups, name), (layer_scale(0.65, block + 1, 12), 1.));
        }
        let embeddings = layer_scale(0.65, 0, 12);
        assert_eq!(granted(&groups, "cls_token"), (embeddings, 0.));
        assert_eq!(granted(&groups, "pos_embed"), (embeddings, 0.));
        assert_eq!(granted(&groups, "patch_embed.proj.weight"), (embeddings, 1.));
        assert_eq!(granted(&groups, "blocks.11.norm1.weight"), (0.65, 0.));
        assert_eq!(granted(&groups, "norm.weight"), (1., 0.));
        assert_eq!(granted(&groups, "classifier.weight"), (1., 1.));
        assert_eq!(granted(&groups, "classifier.bias"), (1., 0.));
    }

    #[test]
    fn layered_rules_know_the_stages_of_the_other_families() {
        for (shapes, wanted) in [
            (["conv1.weight", "layer1.0.conv1.weight", "layer4.1.conv2.weight"], [5, 4, 1]),
            (
                [
                    "stem.0.weight",
                    "stages.0.blocks.0.conv_dw.weight",
                    "stages.3.downsample.1.weight",
                ],
                [5, 4, 1],
            ),
            (
                [
                    "patch_embed.proj.weight",
                    "layers.0.blocks.0.attn.relative_position_bias_table",
                    "layers.3.x.weight",
                ],
                [5, 4, 1],
            ),
            (["conv.weight", "a.weight", "head.norm"], [1, 1, 1]),
        ] {
            let params = params(&shapes.map(|name| (name, [2i64, 2].as_slice())));
            let groups = assign(&params, &layered_rules(&params, 0.5)).unwrap();
            for (name, power) in shapes.iter().zip(wanted) {
                let (scale, decay) = granted(&groups, name);
                let wanted = if name.starts_with("head.") { 1. } else { 0.5f64.powi(power) };
                assert_eq!(scale, wanted, "{name}");
                assert_eq!(decay == 0., name.ends_with("bias_table"), "{name}");
            }
        }
    }
}
