//! What a classifier is to answer: labels, softened and mixed.

use pixels::draw::Stream;
use tch::{Kind, Tensor};

/// `[n]` → `[n, K]`: 1 − s + s/K for the right class, s/K for the others.
pub(super) fn smoothed(labels: &Tensor, classes: usize, smoothing: f64) -> Tensor {
    let hard = labels.one_hot(classes as i64).to_kind(Kind::Float);
    hard * (1.0 - smoothing) + smoothing / classes as f64
}

/// The mean over the batch of −Σ target · log p.
pub(super) fn cross_entropy(logits: &Tensor, targets: &Tensor) -> Tensor {
    let terms = targets * logits.log_softmax(-1, Kind::Float);
    -terms.sum_dim_intlist([1i64].as_slice(), false, Kind::Float).mean(Kind::Float)
}

/// λx + (1 − λ) · x in the reversed order of the batch (Zhang 2018; the pairs are timm's).
pub(super) fn mixed(x: &Tensor, share: f64) -> Tensor {
    x * share + x.flip([0i64]) * (1.0 - share)
}

/// A number from Beta(α, α), 0 < α ≤ 1 (Jöhnk 1964).
pub(super) fn beta(alpha: f64, stream: &mut Stream) -> f64 {
    loop {
        let [x, y] = [(); 2].map(|()| stream.uniform().powf(1.0 / alpha));
        if x + y <= 1.0 && x + y > 0.0 {
            return x / (x + y);
        }
    }
}

#[cfg(test)]
mod tests {
    use pixels::draw::{Draw, Purpose};

    use super::*;

    #[test]
    fn smoothing_has_its_published_value() {
        let logits = Tensor::from_slice(&[2f32, 0.0]).view([1, 2]);
        let loss = |smoothing| {
            let targets = smoothed(&Tensor::from_slice(&[0i64]), 2, smoothing);
            cross_entropy(&logits, &targets).double_value(&[])
        };
        // Rounding of f32; the references have seven decimals.
        assert!((loss(0.1) - 0.226_928_0).abs() < 2e-7, "{}", loss(0.1));
        assert!((loss(0.0) - 0.126_928_0).abs() < 2e-7, "{}", loss(0.0));
    }

    #[test]
    fn a_mixed_loss_is_the_mixture_of_losses() {
        let logits = Tensor::from_slice(&[2f32, 0.0, 1.0, 3.0]).view([2, 2]);
        let targets = smoothed(&Tensor::from_slice(&[0i64, 1]), 2, 0.0);
        let found = cross_entropy(&logits, &mixed(&targets, 0.7)).double_value(&[]);
        let other = cross_entropy(&logits, &targets.flip([0i64])).double_value(&[]);
        let own = cross_entropy(&logits, &targets).double_value(&[]);
        assert!((found - (0.7 * own + 0.3 * other)).abs() < 1e-6);
    }

    #[test]
    fn shares_have_the_moments_of_the_beta_distribution() {
        let mut stream = Draw::of_seed(4).stream(Purpose::Training);
        let n = 10_000;
        let shares: Vec<f64> = (0..n).map(|_| beta(0.8, &mut stream)).collect();
        let mean = shares.iter().sum::<f64>() / f64::from(n);
        let variance = shares.iter().map(|it| (it - 0.5).powi(2)).sum::<f64>() / f64::from(n);
        // Variance 1 / (4 (2α + 1)) = 0.096154; five standard errors of the mean are 0.016, and of the variance, whose
        // terms lie in [0, 1/4], less than 0.006.
        assert!((mean - 0.5).abs() < 0.016, "{mean}");
        assert!((variance - 0.096_154).abs() < 0.006, "{variance}");
    }
}
