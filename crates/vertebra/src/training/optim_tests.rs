//! Oracles: three steps computed once in f64 from the formulas, ten digits.

use super::*;
use crate::training::groups::{assign, standard_rules};
use tch::Device;

const GRADS: [([f64; 4], [f64; 2]); 3] = [
    ([0.1, 0.2, -0.3, 0.4], [0.05, -0.1]),
    ([-0.2, 0.1, 0.25, 0.15], [-0.02, 0.3]),
    ([0.05, -0.15, 0.1, -0.2], [0.1, 0.1]),
];

fn params(kind: Kind) -> BTreeMap<String, Tensor> {
    let leaf = |values: &[f64], shape: &[i64]| {
        Tensor::from_slice(values).view(shape).to_kind(kind).set_requires_grad(true)
    };
    BTreeMap::from([
        ("b".to_owned(), leaf(&[0.2, -0.4], &[2])),
        ("w".to_owned(), leaf(&[0.5, -0.3, 0.8, 0.1], &[2, 2])),
    ])
}

/// Gives `param` the gradient `grad`.
fn push(param: &Tensor, grad: &Tensor) {
    let grad = grad.to_kind(param.kind()).view_as(param);
    (param * grad).sum(param.kind()).backward();
}

/// Three steps of an optimizer whose bias group is as `decay` says: weights, then biases.
fn three_steps(config: OptimizerConfig, lr: f64, bias_decay: f64) -> [f64; 6] {
    let params = params(Kind::Double);
    let mut groups = assign(&params, &standard_rules()).unwrap();
    groups[0].decay = bias_decay;
    let mut optimizer = Optimizer::new(config, groups);
    for (w, b) in GRADS {
        optimizer.zero_grad();
        push(&params["w"], &Tensor::from_slice(&w));
        push(&params["b"], &Tensor::from_slice(&b));
        optimizer.step(lr);
    }
    let all = Tensor::cat(&[params["w"].flatten(0, 1), params["b"].shallow_clone()], 0);
    Vec::<f64>::try_from(all.detach()).unwrap().try_into().unwrap()
}

fn assert_close(found: [f64; 6], wanted: [f64; 6]) {
    for (found, wanted) in found.into_iter().zip(wanted) {
        // Half a unit of the oracle's last digit.
        assert!((found - wanted).abs() < 6e-11, "{found} is not {wanted}");
    }
}

fn lars(variant: LarsVariant, trust: f64) -> OptimizerConfig {
    let trust = Some(trust);
    OptimizerConfig::Lars(Lars { lr: 0.3, momentum: 0.9, weight_decay: 0.01, trust, variant })
}

fn adamw(beta2: f64) -> OptimizerConfig {
    OptimizerConfig::Adamw(Adamw { betas: [0.9, beta2], weight_decay: 0.1, ..Adamw::default() })
}

fn sgd(nesterov: bool) -> OptimizerConfig {
    OptimizerConfig::Sgd(Sgd { lr: 0.1, momentum: 0.9, nesterov, weight_decay: 0.01 })
}

fn every() -> Vec<OptimizerConfig> {
    use LarsVariant::{Authors, Bolts, BoltsClipped};
    let mut all: Vec<_> =
        [Authors, Bolts, BoltsClipped].map(|variant| lars(variant, 0.02)).into_iter().collect();
    all.extend([adamw(0.95), sgd(false), sgd(true)]);
    all
}

#[test]
fn lars_of_the_authors_meets_its_oracles() {
    let b = [0.14075, -0.5197];
    let weak = [0.500_083_995_4, -0.300_277_846_7, 0.799_922_903_7, 0.099_385_245];
    let strong = [0.501_690_075, -0.305_554_207_4, 0.798_434_955_8, 0.087_708_001_3];
    for (trust, w) in [(0.001, weak), (0.02, strong)] {
        let found = three_steps(lars(LarsVariant::Authors, trust), 0.3, 0.);
        assert_close(found, [w[0], w[1], w[2], w[3], b[0], b[1]]);
    }
}

#[test]
fn lars_of_bolts_meets_its_oracles_with_and_without_clipping() {
    let b = [0.14075, -0.5197];
    let plain = [0.501_667_742_4, -0.305_408_467_4, 0.798_420_957_2, 0.088_018_599_2];
    let clipped = [0.505_633_989_7, -0.317_993_623_2, 0.794_546_249_2, 0.060_103_600_1];
    for (variant, w) in [(LarsVariant::Bolts, plain), (LarsVariant::BoltsClipped, clipped)] {
        assert_close(
            three_steps(lars(variant, 0.02), 0.3, 0.),
            [w[0], w[1], w[2], w[3], b[0], b[1]],
        );
    }
}

#[test]
fn adamw_meets_its_oracles() {
    let slow = [
        0.493_545_771,
        -0.320_814_829_8,
        0.806_662_822_5,
        0.077_331_337_1,
        0.179_076_610_3,
        -0.399_327_347_5,
    ];
    let quick = [
        0.493_523_827_4,
        -0.320_900_406_2,
        0.806_647_238_3,
        0.077_197_958_3,
        0.179_144_540_6,
        -0.399_280_230_8,
    ];
    assert_close(three_steps(adamw(0.999), 0.01, 1.), slow);
    assert_close(three_steps(adamw(0.95), 0.01, 1.), quick);
}

#[test]
fn sgd_meets_its_oracles() {
    let plain = [
        0.503_115_389_5,
        -0.356_432_459_7,
        0.819_226_869_2,
        -0.017_293_560_1,
        0.179_145_954_8,
        -0.437_665_909_6,
    ];
    let nesterov = [
        0.506_323_162,
        -0.364_727_547_5,
        0.809_773_436_7,
        -0.040_547_714_2,
        0.167_662_215_9,
        -0.462_690_571_9,
    ];
    assert_close(three_steps(sgd(false), 0.1, 1.), plain);
    assert_close(three_steps(sgd(true), 0.1, 1.), nesterov);
}

/// Weights of a shape that is worth two threads, and biases.
fn large() -> BTreeMap<String, Tensor> {
    let wave = |shape: &[i64]| {
        let n: i64 = shape.iter().product();
        let values = (Tensor::arange(n, (Kind::Float, Device::Cpu)) * 0.37).sin();
        values.view(shape).set_requires_grad(true)
    };
    BTreeMap::from([("b".into(), wave(&[300])), ("conv.w".into(), wave(&[300, 20, 3, 3]))])
}

fn optimizer(config: &OptimizerConfig, params: &BTreeMap<String, Tensor>) -> Optimizer {
    Optimizer::new(config.clone(), assign(params, &standard_rules()).unwrap())
}

/// Steps `from..to` of a run whose gradients depend on the parameters and on the step.
fn go_on(optimizer: &mut Optimizer, params: &BTreeMap<String, Tensor>, from: u32, to: u32) {
    for step in from..to {
        optimizer.zero_grad();
        for param in params.values() {
            push(param, &(param.detach() + f64::from(step)).cos());
        }
        optimizer.step(0.1 / f64::from(step + 1));
    }
}

/// A copy that shares no memory.
fn deep(tensors: &BTreeMap<String, Tensor>) -> BTreeMap<String, Tensor> {
    let copy = |tensor: &Tensor| tensor.detach().copy().set_requires_grad(tensor.requires_grad());
    tensors.iter().map(|(name, tensor)| (name.clone(), copy(tensor))).collect()
}

#[test]
fn a_run_resumed_halfway_equals_the_whole_run_bit_for_bit() {
    for config in every() {
        let whole = large();
        go_on(&mut optimizer(&config, &whole), &whole, 0, 10);

        let first = large();
        let mut half = optimizer(&config, &first);
        go_on(&mut half, &first, 0, 5);
        let (saved, second) = (deep(&half.state()), deep(&first));
        let mut rest = optimizer(&config, &second);
        rest.load(&saved).unwrap();
        go_on(&mut rest, &second, 5, 10);
        assert_eq!(second, whole, "{config:?}");
    }
}

#[test]
fn two_equal_runs_give_equal_bits() {
    for config in every() {
        let run = || {
            let params = large();
            go_on(&mut optimizer(&config, &params), &params, 0, 4);
            params
        };
        assert_eq!(run(), run(), "{config:?}");
    }
}

/// The formulas, one operation after the other: `p` after step `t` with gradient `g`.
fn plain_step(
    config: &OptimizerConfig,
    p: &mut Tensor,
    g: &Tensor,
    m: &mut [Tensor],
    lr: f64,
    t: i32,
) {
    match config {
        OptimizerConfig::Adamw(Adamw { betas: [b1, b2], eps, weight_decay, .. }) => {
            m[0] = &m[0] * *b1 + g * (1. - b1);
            m[1] = &m[1] * *b2 + g * g * (1. - b2);
            let (mean, root) = (&m[0] / (1. - b1.powi(t)), (&m[1] / (1. - b2.powi(t))).sqrt());
            *p = &*p * (1. - lr * weight_decay) - mean / (root + *eps) * lr;
        }
        OptimizerConfig::Lars(lars) => {
            let Lars { momentum, weight_decay, variant, .. } = lars;
            let u = g + &*p * *weight_decay;
            let trust = p.norm() * lars.trust();
            let factor = match variant {
                LarsVariant::Authors => trust / u.norm(),
                _ => trust / (g.norm() + p.norm() * *weight_decay + 1e-8),
            };
            let clipped = *variant == LarsVariant::BoltsClipped;
            let factor = if clipped { (factor / lr).clamp_max(1.) } else { factor };
            m[0] = &m[0] * *momentum + u * factor;
            *p = &*p - &m[0] * lr;
        }
        OptimizerConfig::Sgd(Sgd { momentum, nesterov, weight_decay, .. }) => {
            let u = g + &*p * *weight_decay;
            m[0] = &m[0] * *momentum + &u;
            let along = if *nesterov { u + &m[0] * *momentum } else { m[0].shallow_clone() };
            *p = &*p - along * lr;
        }
    }
}

#[test]
fn long_tensors_in_f32_follow_the_plain_formulas_in_f64() {
    for config in every() {
        let params = large();
        let mut optimizer = optimizer(&config, &params);
        let mut wanted = params["conv.w"].detach().to_kind(Kind::Double);
        let mut memory = [wanted.zeros_like(), wanted.zeros_like()];
        for t in 1..4 {
            let grad = (wanted.detach() + f64::from(t)).cos();
            optimizer.zero_grad();
            push(&params["conv.w"], &grad);
            optimizer.step(0.1);
            plain_step(&config, &mut wanted, &grad, &mut memory, 0.1, t);
        }
        // Three steps of f32 on numbers up to 1.
        let off = (params["conv.w"].detach() - wanted).abs().max().double_value(&[]);
        assert!(off < 2e-6, "{off} {config:?}");
    }
}

#[test]
fn weights_in_channels_last_order_take_the_same_steps() {
    for config in every() {
        let plain = large();
        let mut turned = large();
        let w = &turned["conv.w"].detach().permute([0, 2, 3, 1]).contiguous();
        let w = w.permute([0, 3, 1, 2]).set_requires_grad(true);
        turned.insert("conv.w".into(), w);
        go_on(&mut optimizer(&config, &plain), &plain, 0, 4);
        go_on(&mut optimizer(&config, &turned), &turned, 0, 4);
        assert_ne!(turned["conv.w"].stride(), plain["conv.w"].stride());
        for (name, param) in &plain {
            // The norms of LARS add 54,000 squares in another order.
            assert!(param.allclose(&turned[name], 1e-5, 1e-6, false), "{name} {config:?}");
        }
    }
}

#[test]
fn a_parameter_without_a_gradient_and_its_state_are_left_alone() {
    for config in every() {
        let params = params(Kind::Float);
        let before = params["w"].detach().copy();
        let mut optimizer = optimizer(&config, &params);
        push(&params["b"], &Tensor::from_slice(&[1., 1.]));
        optimizer.step(0.1);
        assert_eq!(params["w"], before);
        for (name, tensor) in optimizer.state() {
            let still = tensor.abs().sum(Kind::Double).double_value(&[]) == 0.;
            assert_eq!(still, name.split('.').next_back() == Some("w"), "{name} {config:?}");
        }
    }
}

#[test]
fn adamw_corrects_its_bias_for_each_parameter_by_itself() {
    let params = params(Kind::Double);
    let mut optimizer = optimizer(&adamw(0.999), &params);
    push(&params["b"], &Tensor::from_slice(&[1., 1.]));
    optimizer.step(0.01);
    optimizer.zero_grad();
    optimizer.weight_decay = 0.;
    let before = params["w"].detach().copy();
    push(&params["w"], &Tensor::from_slice(&[1., -1., 2., 4.]));
    optimizer.step(0.01);
    // Adam's first step has the length of the rate, whatever the gradient; ε is 1e-8 of it.
    let moved = (params["w"].detach() - before).abs() - 0.01;
    assert!(moved.abs().max().double_value(&[]) < 1e-9, "{moved}");
}

#[test]
fn lars_leaves_zero_weights_unscaled_and_does_not_decay_on_a_zero_gradient() {
    let bolts = [LarsVariant::Bolts, LarsVariant::BoltsClipped];
    for variant in [LarsVariant::Authors].into_iter().chain(bolts) {
        let zero = BTreeMap::from([(
            "w".to_owned(),
            Tensor::zeros([1, 2], (Kind::Double, Device::Cpu)).set_requires_grad(true),
        )]);
        push(&zero["w"], &Tensor::from_slice(&[1., 2.]));
        optimizer(&lars(variant, 0.02), &zero).step(0.1);
        assert_eq!(Vec::<f64>::try_from(zero["w"].detach().view(-1)).unwrap(), [-0.1, -0.2]);
    }
    for variant in bolts {
        let params = params(Kind::Double);
        push(&params["w"], &Tensor::zeros([4], (Kind::Double, Device::Cpu)));
        optimizer(&lars(variant, 0.02), &params).step(0.1);
        assert_eq!(params["w"].double_value(&[0, 0]), 0.5);
    }
}

#[test]
fn a_rate_of_zero_changes_nothing() {
    for config in every() {
        let params = params(Kind::Double);
        let before = deep(&params);
        let mut optimizer = optimizer(&config, &params);
        push(&params["w"], &Tensor::from_slice(&[1., 2., 3., 4.]));
        optimizer.step(0.);
        assert_eq!(params, before, "{config:?}");
    }
}

#[test]
fn loading_is_strict_and_changes_nothing_when_it_fails() {
    let params = params(Kind::Double);
    let mut optimizer = optimizer(&sgd(false), &params);
    let mut saved = deep(&optimizer.state());
    saved.insert("velocity.extra".into(), Tensor::from(0.));
    let error = optimizer.load(&saved).unwrap_err().to_string();
    assert_eq!(error, "optimizer state: the tensor `velocity.extra` is not part of this model");
    saved.remove("velocity.extra");
    let _ = saved["velocity.b"].shallow_clone().fill_(9.);
    saved.insert("velocity.w".into(), Tensor::from_slice(&[0.; 4]));
    let error = optimizer.load(&saved).unwrap_err().to_string();
    assert_eq!(error, "optimizer state: `velocity.w` has shape [4], the model wants [2, 2]");
    saved.remove("velocity.w");
    let error = optimizer.load(&saved).unwrap_err().to_string();
    assert_eq!(error, "optimizer state: no tensor named `velocity.w`");
    assert_eq!(optimizer.state()["velocity.b"].double_value(&[0]), 0.);
}

#[test]
fn configs_parse_with_published_defaults_and_refuse_unknown_fields() {
    let parse = |text: &str| toml::from_str::<OptimizerConfig>(text);
    assert_eq!(parse("name = 'adamw'").unwrap(), OptimizerConfig::Adamw(Adamw::default()));
    let config = parse("name = 'lars'\nlr = 0.2\nvariant = 'authors'").unwrap();
    let OptimizerConfig::Lars(lars) = &config else { panic!("{config:?}") };
    assert_eq!((lars.trust(), lars.momentum), (0.001, 0.9));
    assert_eq!(config.peak_lr(512), 0.4);
    let error = parse("name = 'sgd'\nmomentun = 0.8").unwrap_err().to_string();
    assert!(error.contains("unknown field `momentun`"), "{error}");
    for config in every().into_iter().chain([OptimizerConfig::Lars(Lars::default())]) {
        assert_eq!(parse(&toml::to_string(&config).unwrap()).unwrap(), config);
        config.check().unwrap();
    }
}

#[test]
fn numbers_out_of_range_are_refused_by_name() {
    let refusal = |text: &str| {
        let config: OptimizerConfig = toml::from_str(text).unwrap();
        config.check().unwrap_err().to_string()
    };
    let momentum = "recipe: optimizer.momentum: 1 is not in [0, 1)";
    assert_eq!(refusal("name = 'sgd'\nmomentum = 1.0"), momentum);
    let lr = "recipe: optimizer.lr: NaN is not a number 0 or more";
    assert_eq!(refusal("name = 'lars'\nlr = nan"), lr);
    let eps = "recipe: optimizer.eps: 0 is not a number above 0";
    assert_eq!(refusal("name = 'adamw'\neps = 0.0"), eps);
    let nesterov = "recipe: optimizer.nesterov: needs a momentum above 0";
    assert_eq!(refusal("name = 'sgd'\nmomentum = 0.0\nnesterov = true"), nesterov);
}
