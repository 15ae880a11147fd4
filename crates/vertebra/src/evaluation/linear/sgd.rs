//! Linear classifiers trained side by side: one matrix product serves all settings of a sweep.

use std::f64::consts::PI;

use pixels::draw::{Draw, Purpose};
use tch::{Device, Kind, Tensor};

use super::LinearConfig;
use crate::evaluation::{Labelled, Standard, label_tensor};

const MOMENTUM: f64 = 0.9;

/// Standard deviation of the initial weights (DINO, DINOv2); biases start at 0.
const INITIAL_STD: f64 = 0.01;

/// The most logits that are held at once when a table is judged: 16 MiB.
const LOGITS: usize = 1 << 22;

/// One point of a sweep.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) struct Setting {
    /// For a batch of 256.
    pub lr: f64,
    pub weight_decay: f64,
}

/// S classifiers of C classes over standardised features of D dimensions.
pub(super) struct Fitted {
    standard: Standard,
    head: Head,
    classes: usize,
}

/// Weights `[S·C, D]` and biases `[S·C, 1]`, setting by setting.
pub(super) struct Head {
    pub weights: Tensor,
    pub bias: Tensor,
}

/// Trains a classifier for each setting: SGD with momentum 0.9, learning rates lr · B / 256 falling to 0 with the
/// cosine of the steps done. All settings see the same initial weights and the same batches, and none touches
/// another, not even by diverging.
pub(super) fn fit(
    rows: &Labelled,
    classes: usize,
    settings: &[Setting],
    config: &LinearConfig,
) -> Fitted {
    let standard = Standard::of(&rows.x);
    let x = standard.apply(&rows.x);
    let (n, device) = (rows.y.len(), x.device());
    let labels = label_tensor(&rows.y, device);
    let batch = config.batch.min(n);
    // Parts of equal size, so that no step is left with a handful of rows.
    let parts = n.div_ceil(batch);
    let per_class = |value: fn(&Setting) -> f64| {
        let values: Vec<f32> = settings.iter().map(|setting| value(setting) as f32).collect();
        let values = Tensor::from_slice(&values).to_device(device);
        values.repeat_interleave_self_int(classes as i64, 0, None).unsqueeze(1)
    };
    let rates = per_class(|setting| setting.lr) * (batch as f64 / 256.0);
    let decays = per_class(|setting| setting.weight_decay);
    let decaying = settings.iter().any(|setting| setting.weight_decay != 0.0);
    let mut head = Head::random(x.size()[1], classes, settings.len(), config.seed, device);
    let mut velocity = Head { weights: head.weights.zeros_like(), bias: head.bias.zeros_like() };
    for epoch in 0..config.epochs {
        let draw = Draw { epoch: epoch as u64, ..Draw::of_seed(config.seed) };
        let order = draw.stream(Purpose::Order).permutation(n);
        let order: Vec<i64> = order.into_iter().map(|row| row as i64).collect();
        for part in 0..parts {
            let chosen = &order[part * n / parts..(part + 1) * n / parts];
            let chosen = Tensor::from_slice(chosen).to_device(device);
            let (x, labels) = (x.index_select(0, &chosen), labels.index_select(0, &chosen));
            let mut gradient = head.gradient(&x, &labels, classes);
            if decaying {
                gradient.weights += &head.weights * &decays;
            }
            let done = (epoch * parts + part) as f64 / (config.epochs * parts) as f64;
            let rates = &rates * (0.5 * (1.0 + (PI * done).cos()));
            let tensors = [
                (&mut velocity.weights, &gradient.weights, &mut head.weights),
                (&mut velocity.bias, &gradient.bias, &mut head.bias),
            ];
            for (velocity, gradient, parameter) in tensors {
                *velocity *= MOMENTUM;
                *velocity += gradient;
                *parameter -= &*velocity * &rates;
            }
        }
    }
    Fitted { standard, head, classes }
}

impl Head {
    /// The same normal weights for every setting.
    fn random(width: i64, classes: usize, settings: usize, seed: u64, device: Device) -> Self {
        let mut stream = Draw::of_seed(seed).stream(Purpose::Training);
        let values: Vec<f32> =
            (0..width as usize * classes).map(|_| (stream.normal() * INITIAL_STD) as f32).collect();
        let one = Tensor::from_slice(&values).view([classes as i64, width]).to_device(device);
        Self {
            weights: one.repeat([settings as i64, 1]),
            bias: Tensor::zeros([(settings * classes) as i64, 1], (Kind::Float, device)),
        }
    }

    /// `[S, C, n]` for standardised rows `[n, D]`. With the rows last, the softmax over classes is several times
    /// quicker than the other way round.
    fn logits(&self, x: &Tensor, classes: usize) -> Tensor {
        (self.weights.matmul(&x.tr()) + &self.bias).view([-1, classes as i64, x.size()[0]])
    }

    /// The gradient of the sum over settings of the mean cross-entropy over rows: softmax − one-hot at the logits,
    /// in closed form, which is quicker than a tape and as exact.
    pub(super) fn gradient(&self, x: &Tensor, labels: &Tensor, classes: usize) -> Self {
        let n = x.size()[0];
        let wanted = labels.one_hot(classes as i64).tr().to_kind(x.kind());
        let mut error = self.logits(x, classes).softmax(1, None);
        error -= wanted;
        error /= n as f64;
        let error = error.view([-1, n]);
        Self {
            weights: error.matmul(x),
            bias: error.sum_dim_intlist([1i64].as_slice(), true, None),
        }
    }
}

impl Fitted {
    /// Calls `look` with the logits `[S, C, n]` of the rows `x [N, D]`, part by part, in order.
    fn for_each_logits(&self, x: &Tensor, mut look: impl FnMut(&Tensor)) {
        let total = x.size()[0];
        let part = (LOGITS / self.head.bias.numel()).max(1) as i64;
        for first in (0..total).step_by(part as usize) {
            let rows = x.narrow(0, first, part.min(total - first));
            look(&self.head.logits(&self.standard.apply(&rows), self.classes));
        }
    }

    /// The log-probabilities `[N, C]` of the rows `x [N, D]` with each setting.
    pub(super) fn log_probabilities(&self, x: &Tensor) -> Vec<Tensor> {
        let mut parts = Vec::new();
        self.for_each_logits(x, |logits| parts.push(logits.log_softmax(1, None).transpose(1, 2)));
        Tensor::cat(&parts, 1).unbind(0)
    }
}
