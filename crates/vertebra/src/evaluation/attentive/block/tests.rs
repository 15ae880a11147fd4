use std::collections::BTreeMap;
use std::path::Path;

use super::*;
use crate::models::weights;

/// Both sides compute in f64, but sum in another order.
const F64: f64 = 1e-12;

/// The published code's numbers, recorded by `fixtures/record_attentive.py`.
fn recorded() -> BTreeMap<String, Tensor> {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../fixtures");
    weights::load(&folder.join("attentive.safetensors")).unwrap().0
}

/// What the recording has under `kind` (`param`, `grad`) for one of our names.
fn published(file: &BTreeMap<String, Tensor>, kind: &str, name: &str) -> Tensor {
    let at = |name: &str| file[&format!("{kind}.{name}")].shallow_clone();
    let block = "pooler.cross_attention_block";
    match name {
        "query_tokens" => at("pooler.query_tokens"),
        "linear.weight" | "linear.bias" => at(name),
        "xattn.key.weight" => at(&format!("{block}.xattn.kv.weight")).chunk(2, 0).swap_remove(0),
        "xattn.value.weight" => at(&format!("{block}.xattn.kv.weight")).chunk(2, 0).swap_remove(1),
        "xattn.value.bias" => at(&format!("{block}.xattn.kv.bias")).chunk(2, 0).swap_remove(1),
        _ => at(&format!("{block}.{name}")),
    }
}

/// Probes with random parameters, none of them at its initial value.
fn probes(count: usize, width: i64) -> Probes {
    tch::manual_seed(3);
    let blank = Probe::random(width, 5, 0);
    let shaken = || {
        blank.mapped(|it| it.to_kind(Kind::Double) + it.randn_like().to_kind(Kind::Double) * 0.3)
    };
    Probes { heads: heads_of(width), each: (0..count).map(|_| shaken()).collect() }
}

fn tokens(n: i64, t: i64, width: i64) -> Tensor {
    Tensor::randn([n, t, width], (Kind::Double, Device::Cpu)) * 3.0 + 1.0
}

#[test]
fn the_probe_and_its_gradient_are_the_authors_own() {
    let file = recorded();
    let blank = Probes::random(1, 12, 5, 0, Device::Cpu);
    let names: Vec<&str> = blank.each[0].named().into_iter().map(|(name, _)| name).collect();
    let parameters: Vec<Tensor> = names
        .iter()
        .map(|name| published(&file, "param", name).copy().set_requires_grad(true))
        .collect();
    let mut next = parameters.iter();
    // `mapped` visits in the order of the fields, which is that of `named`.
    let next = std::cell::RefCell::new(&mut next);
    let probe =
        blank.each[0].mapped(|_| next.borrow_mut().next().expect("as many").shallow_clone());
    for ((name, found), wanted) in probe.named().into_iter().zip(&parameters) {
        assert_eq!(found.size(), wanted.size(), "{name}");
    }
    let probes = Probes { heads: 3, each: vec![probe] };
    let logits = probes.logits(&file["tokens"]).swap_remove(0);
    assert!(logits.allclose(&file["logits"], F64, F64, false), "{logits:?}");
    logits.log_softmax(-1, Kind::Double).nll_loss(&file["labels"]).backward();
    for (name, parameter) in probes.each[0].named() {
        let wanted = published(&file, "grad", name);
        assert!(parameter.grad().allclose(&wanted, F64, F64, false), "{name}");
    }
}

#[test]
fn the_parameters_are_the_published_ones_but_for_two_without_effect() {
    let count = |width: i64| -> i64 {
        let probes = Probes::random(1, width, 5, 0, Device::Cpu);
        probes.each[0].named().into_iter().map(|(_, it)| it.numel() as i64).sum()
    };
    let all: usize = recorded()
        .iter()
        .filter(|(name, _)| name.starts_with("param."))
        .map(|(_, it)| it.numel())
        .sum();
    // The projection that is never applied, D² + D, and the bias of the keys, D.
    assert_eq!(count(12), all as i64 - (12 * 12 + 2 * 12));
    assert_eq!(count(192), 11 * 192 * 192 + 12 * 192 + 5 * 193);
}

#[test]
fn the_bias_of_the_keys_has_no_gradient() {
    let bias = &recorded()["grad.pooler.cross_attention_block.xattn.kv.bias"];
    // Rounding of f64, beside gradients of order 0.1.
    assert!(bias.narrow(0, 0, 12).abs().max().double_value(&[]) < 1e-15);
}

#[test]
fn the_order_of_tokens_and_copies_of_one_token_change_nothing() {
    let probes = probes(1, 16);
    let x = tokens(3, 6, 16);
    let logits = |x: &Tensor| probes.logits(x).swap_remove(0);
    assert!(logits(&x.flip([1i64])).allclose(&logits(&x), F64, F64, false));
    let one = x.narrow(1, 0, 1);
    assert!(logits(&one.repeat([1, 5, 1])).allclose(&logits(&one), F64, F64, false));
    assert!(!logits(&x).allclose(&logits(&one), 1e-3, 1e-3, false), "tokens matter");
}

#[test]
fn a_diverged_neighbour_changes_neither_answer_nor_gradient() {
    let x = tokens(4, 6, 128);
    let both = probes(2, 128);
    let sound = both.each[1].mapped(|it| it.copy().set_requires_grad(true));
    let broken = both.each[0].mapped(|it| (it * f64::NAN).set_requires_grad(true));
    let alone =
        Probes { heads: 2, each: vec![sound.mapped(|it| it.detach().set_requires_grad(true))] };
    let together = Probes { heads: 2, each: vec![broken, sound] };
    let run = |probes: &Probes| {
        let logits = probes.logits(&x);
        let loss: Vec<Tensor> = logits.iter().map(|it| it.square().mean(Kind::Double)).collect();
        Tensor::stack(&loss, 0).sum(Kind::Double).backward();
        logits.last().unwrap().detach()
    };
    assert!(run(&together).allclose(&run(&alone), F64, F64, false));
    for ((name, one), (_, other)) in together.each[1].named().into_iter().zip(alone.each[0].named())
    {
        assert!(one.grad().allclose(&other.grad(), F64, F64, false), "{name}");
    }
}

#[test]
fn heads_have_sixty_four_channels_where_they_can() {
    for (width, heads) in [(192, 3), (384, 6), (768, 12), (2048, 32), (32, 1), (200, 2), (67, 1)] {
        assert_eq!(heads_of(width), heads, "{width}");
    }
}

#[test]
fn initial_weights_are_the_authors_and_equal_for_all_settings() {
    let probes = Probes::random(2, 192, 5, 7, Device::Cpu);
    let spread = |name: &str, tensor: &Tensor, std: f64| {
        let found = tensor.std(false).double_value(&[]);
        // Five standard errors, std / √(2n), of the smaller matrices here: 192² numbers.
        assert!((found / std - 1.0).abs() < 0.02, "{name}: {found} is not {std}");
    };
    for ((name, one), (_, other)) in probes.each[0].named().into_iter().zip(probes.each[1].named())
    {
        assert!(one.equal(other), "{name}");
        match name {
            "mlp.fc2.weight" => spread(name, one, 0.02 / 2f64.sqrt()),
            "linear.weight" | "linear.bias" => {
                let largest = one.abs().max().double_value(&[]) * 192f64.sqrt();
                assert!(largest <= 1.0, "PyTorch's bound, 1/√192");
            }
            "norm1.weight" | "norm2.weight" => assert!(one.equal(&one.ones_like())),
            "query_tokens" => assert!(one.abs().max().double_value(&[]) > 0.0),
            _ if name.ends_with("weight") => spread(name, one, 0.02),
            _ => assert!(one.equal(&one.zeros_like()), "{name}"),
        }
    }
    assert!(probes.each[0].linear.weight.std(false).double_value(&[]) > 0.03, "wider than 0.02");
}
