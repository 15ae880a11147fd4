//! The probe: attention from one query, an MLP, a linear classifier. Several are computed side by side.
//!
//! Published (facebookresearch/jepa, `attentive_pooler.py`), per head of width d: y = softmax(q·K/√d) V with q from the
//! query and K, V from LN(x); z = query + y, then z + MLP(LN(z)), then a linear layer. The projection after the
//! attention that their code declares is never applied, and there is none here.
//!
//! The query is the same for all images, so the scores need no key for each token: q·(W LN(x)) = (Wᵀq)·LN(x), and
//! Σ a (W LN(x)) = W Σ a LN(x) for the values. That is the same function for a share of the work that falls with the
//! width of a head (1/64 of it, for keys and values), and the tokens are normalised once for all probes. A bias of the
//! keys, and the shift of the first norm in them, raise all scores of a head alike and drop out of the softmax: the
//! bias of the keys is left out.

use pixels::draw::{Draw, Purpose, Stream};
use tch::{Device, Kind, Tensor};

/// As PyTorch's layer norm has it.
const EPSILON: f64 = 1e-5;

/// Standard deviation of initial weights, but for the classifier's. The authors cut at ±2, a hundred deviations away: at
/// nothing.
const INITIAL_STD: f64 = 0.02;

/// Probes of one shape, each with parameters of its own.
pub(crate) struct Probes {
    heads: i64,
    pub(crate) each: Vec<Probe>,
}

/// The parameters of one. D is the width of the tokens, K the number of classes.
pub(crate) struct Probe {
    /// `[1, 1, D]`
    query: Tensor,
    norm1: Affine,
    /// Of the query, `[D, D]`.
    q: Affine,
    /// Of the keys, `[D, D]`.
    key: Tensor,
    value: Affine,
    norm2: Affine,
    /// `[4D, D]`
    fc1: Affine,
    /// `[D, 4D]`
    fc2: Affine,
    /// `[K, D]`
    linear: Affine,
}

struct Affine {
    weight: Tensor,
    bias: Tensor,
}

impl Probes {
    /// `count` probes with the same initial weights from `seed`.
    pub(crate) fn random(
        count: usize,
        width: i64,
        classes: usize,
        seed: u64,
        device: Device,
    ) -> Self {
        let first = Probe::random(width, classes as i64, seed);
        let copy =
            |_| first.mapped(|tensor| tensor.copy().to_device(device).set_requires_grad(true));
        Self { heads: heads_of(width), each: (0..count).map(copy).collect() }
    }

    /// `tokens` `[n, T, D]` → the logits of each probe, `[n, K]`.
    pub(crate) fn logits(&self, tokens: &Tensor) -> Vec<Tensor> {
        let width = tokens.size()[2];
        let x = tokens.layer_norm([width], None::<&Tensor>, None::<&Tensor>, EPSILON, true);
        let looks: Vec<Tensor> = self.each.iter().map(|probe| probe.looks(self.heads)).collect();
        // [n, S·H, T]: no probe's row meets another's.
        let scores = x.matmul(&Tensor::cat(&looks, 0).tr()).transpose(1, 2);
        let found = scores.softmax(-1, None::<Kind>).matmul(&x);
        let of = |(index, probe): (usize, &Probe)| {
            probe.answer(&found.narrow(1, index as i64 * self.heads, self.heads))
        };
        self.each.iter().enumerate().map(of).collect()
    }
}

impl Probe {
    /// What each head looks for in a normalised token, `[H, D]`.
    fn looks(&self, heads: i64) -> Tensor {
        let query = self.query.flatten(0, -1).unsqueeze(0);
        let q = self.q.linear(&query).view([heads, 1, -1]);
        let scale = 1.0 / (q.size()[2] as f64).sqrt();
        let key = self.key.view([heads, q.size()[2], -1]);
        q.bmm(&key).squeeze_dim(1) * scale * &self.norm1.weight
    }

    /// `found` `[n, H, D]`, the normalised tokens as each head weighs them → logits `[n, K]`.
    fn answer(&self, found: &Tensor) -> Tensor {
        let (n, heads, width) = found.size3().expect("images, heads and width");
        let found = found * &self.norm1.weight + &self.norm1.bias;
        let value = self.value.weight.view([heads, width / heads, width]);
        let y = found.transpose(0, 1).bmm(&value.transpose(1, 2)).transpose(0, 1);
        let y = y.reshape([n, width]) + &self.value.bias;
        let z = self.query.view([1, width]) + y;
        let hidden = self.fc1.linear(&self.norm2.normed(&z)).gelu("none");
        self.linear.linear(&(z + self.fc2.linear(&hidden)))
    }

    fn random(width: i64, classes: i64, seed: u64) -> Self {
        let mut stream = Draw::of_seed(seed).stream(Purpose::Training);
        let mut drawn = |shape: &[i64], draw: &dyn Fn(&mut Stream) -> f64| {
            let values: Vec<f32> =
                (0..shape.iter().product()).map(|_: i64| draw(&mut stream) as f32).collect();
            Tensor::from_slice(&values).view(shape)
        };
        let same = |value: f64, to: i64| Tensor::full([to], value, (Kind::Float, Device::Cpu));
        let norm = || Affine { weight: same(1.0, width), bias: same(0.0, width) };
        let mut layer = |to: i64, from: i64, std: f64| Affine {
            weight: drawn(&[to, from], &|stream| stream.normal() * std),
            bias: same(0.0, to),
        };
        let [q, key, value] = [(); 3].map(|()| layer(width, width, INITIAL_STD));
        let fc1 = layer(4 * width, width, INITIAL_STD);
        // The last layer of a residual branch, scaled for its depth of 1: as the authors do.
        let fc2 = layer(width, 4 * width, INITIAL_STD / 2f64.sqrt());
        // Their rules reach the block alone, and leave the classifier to PyTorch's: uniform in ±1/√D.
        let bound = 1.0 / (width as f64).sqrt();
        let linear = Affine {
            weight: drawn(&[classes, width], &|stream| stream.range(-bound, bound)),
            bias: drawn(&[classes], &|stream| stream.range(-bound, bound)),
        };
        let query = drawn(&[1, 1, width], &|stream| stream.normal() * INITIAL_STD);
        let (key, norm1, norm2) = (key.weight, norm(), norm());
        Self { query, norm1, q, key, value, norm2, fc1, fc2, linear }
    }

    /// Its parameters, named as the authors' are; `key` and `value` are the halves of their `kv`.
    pub(crate) fn named(&self) -> Vec<(&'static str, &Tensor)> {
        vec![
            ("query_tokens", &self.query),
            ("norm1.weight", &self.norm1.weight),
            ("norm1.bias", &self.norm1.bias),
            ("xattn.q.weight", &self.q.weight),
            ("xattn.q.bias", &self.q.bias),
            ("xattn.key.weight", &self.key),
            ("xattn.value.weight", &self.value.weight),
            ("xattn.value.bias", &self.value.bias),
            ("norm2.weight", &self.norm2.weight),
            ("norm2.bias", &self.norm2.bias),
            ("mlp.fc1.weight", &self.fc1.weight),
            ("mlp.fc1.bias", &self.fc1.bias),
            ("mlp.fc2.weight", &self.fc2.weight),
            ("mlp.fc2.bias", &self.fc2.bias),
            ("linear.weight", &self.linear.weight),
            ("linear.bias", &self.linear.bias),
        ]
    }

    fn mapped(&self, change: impl Fn(&Tensor) -> Tensor) -> Self {
        let both = |it: &Affine| Affine { weight: change(&it.weight), bias: change(&it.bias) };
        Self {
            query: change(&self.query),
            norm1: both(&self.norm1),
            q: both(&self.q),
            key: change(&self.key),
            value: both(&self.value),
            norm2: both(&self.norm2),
            fc1: both(&self.fc1),
            fc2: both(&self.fc2),
            linear: both(&self.linear),
        }
    }
}

impl Affine {
    fn linear(&self, x: &Tensor) -> Tensor {
        x.linear(&self.weight, Some(&self.bias))
    }

    fn normed(&self, x: &Tensor) -> Tensor {
        x.layer_norm(self.weight.size(), Some(&self.weight), Some(&self.bias), EPSILON, true)
    }
}

/// As many heads as have 64 channels, which is what the transformers here have; where that does not divide the width,
/// the next lower number that does.
pub(super) fn heads_of(width: i64) -> i64 {
    (1..=(width / 64).max(1)).rev().find(|heads| width % heads == 0).unwrap_or(1)
}

#[cfg(test)]
mod tests;
