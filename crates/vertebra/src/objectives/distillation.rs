//! A teacher's distribution, centred and sharpened (Caron 2021, DINO, section 3.1), and its use on hidden patches
//! (Zhou 2022, iBOT, equation 2).

use tch::{Kind, Tensor};

use super::cross_entropies;

/// softmax((g − c) / τ) over the last dimension, without gradient. `logits`: `[…, K]`, `centre`: `[K]`.
pub fn teacher(logits: &Tensor, centre: &Tensor, temperature: f64) -> Tensor {
    ((logits.detach() - centre) / temperature).softmax(-1, None::<Kind>)
}

/// The centre's next value, m c + (1 − m) · mean of the teacher's logits over all but the last dimension. `logits`:
/// `[…, K]`, all rows of the step; `centre`: `[K]`; `momentum` is 0.9 in both papers' code.
pub fn moved_centre(centre: &Tensor, logits: &Tensor, momentum: f64) -> Tensor {
    let width = logits.size()[logits.dim() - 1];
    let mean =
        logits.detach().reshape([-1, width]).mean_dim([0i64].as_slice(), false, None::<Kind>);
    centre * momentum + mean * (1.0 - momentum)
}

/// The mean over all rows of −Σ p ln p, in nats. `distributions`: `[…, K]` → scalar: ln K where all are uniform, 0 where
/// each is sure.
pub fn entropy(distributions: &Tensor) -> Tensor {
    let terms = distributions.special_entr();
    terms.sum_dim_intlist([-1i64].as_slice(), false, None::<Kind>).mean(None::<Kind>)
}

/// iBOT's term on the patches that the student did not see: Σ w (−Σ P ln softmax(s / τ)) over them, where w is
/// 1 / (N · hidden patches of the same image): the mean over images of each image's mean. Exactly 0 without hidden
/// patches.
///
/// `target`: `[M, K]`, distributions of the teacher; `logits`: `[M, K]` of the student; `weights`: `[M]` → scalar.
pub fn patch_cross_entropy(
    target: &Tensor,
    logits: &Tensor,
    weights: &Tensor,
    temperature: f64,
) -> Tensor {
    (cross_entropies(target, logits, temperature) * weights).sum(None::<Kind>)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::objectives::soft_cross_entropy;
    use tch::Device;

    const EXACT: (Kind, Device) = (Kind::Double, Device::Cpu);

    fn value(scalar: &Tensor) -> f64 {
        scalar.double_value(&[])
    }

    #[test]
    fn uniform_distributions_cost_the_logarithm_of_the_prototypes() {
        for (k, wanted) in [(4096, 8.317_766_2), (65536, 11.090_354_9)] {
            let logits = Tensor::full([2, k], 0.7, EXACT);
            let target = teacher(&logits, &Tensor::zeros([k], EXACT), 0.04);
            let found = value(&soft_cross_entropy(&target, &logits, 0.1));
            assert!((found - wanted).abs() < 1e-7, "{found}");
        }
    }

    #[test]
    fn a_sure_student_of_a_sure_teacher_costs_nothing() {
        let logits = Tensor::eye(3, EXACT) * 10.0;
        let target = teacher(&logits, &Tensor::zeros([3], EXACT), 0.04);
        assert!(value(&soft_cross_entropy(&target, &logits, 0.1)) < 1e-12);
    }

    #[test]
    fn the_centre_moves_by_a_tenth_of_the_mean_and_absorbs_a_constant_of_each_class() {
        tch::manual_seed(1);
        let logits = Tensor::randn([2, 5, 4], EXACT);
        let mean = logits.mean_dim([0i64, 1].as_slice(), false, None::<Kind>);
        let zero = Tensor::zeros([4], EXACT);
        let moved = moved_centre(&zero, &logits, 0.9);
        assert!(value(&(moved - &mean * 0.1).abs().max()) < 1e-15);
        let constant = Tensor::from_slice(&[1.0, -2.0, 0.5, 3.0]);
        let here = teacher(&logits, &mean, 0.04);
        let there = teacher(&(&logits + &constant), &(mean + constant), 0.04);
        // 1 / 0.04 times the rounding of sums near 3.
        assert!(value(&(here - there).abs().max()) < 1e-12);
    }

    #[test]
    fn sure_distributions_have_no_entropy_and_uniform_ones_the_most() {
        assert_eq!(value(&entropy(&Tensor::eye(3, EXACT))), 0.0);
        let uniform = Tensor::full([2, 5, 8], 0.125, EXACT);
        assert!((value(&entropy(&uniform)) - 8f64.ln()).abs() < 1e-12);
    }

    #[test]
    fn a_teacher_gets_no_gradient() {
        let logits = Tensor::eye(3, EXACT).set_requires_grad(true);
        let centre = Tensor::zeros([3], EXACT);
        assert!(!teacher(&logits, &centre, 0.04).requires_grad());
        assert!(!moved_centre(&centre, &logits, 0.9).requires_grad());
        soft_cross_entropy(&teacher(&logits, &centre, 0.04), &logits, 0.1).backward();
        assert!(logits.grad().defined());
    }

    #[test]
    fn patches_weigh_by_their_image_and_none_cost_nothing() {
        tch::manual_seed(1);
        let [target, logits] = [0, 1].map(|_| Tensor::randn([5, 6], EXACT));
        let target = target.softmax(-1, None::<Kind>);
        // Two images of two: one hides four patches, the other one.
        let weights = Tensor::from_slice(&[0.125, 0.125, 0.125, 0.125, 0.5]);
        let found = value(&patch_cross_entropy(&target, &logits, &weights, 0.1));
        let of = |from, rows| {
            let [target, logits] = [&target, &logits].map(|all| all.narrow(0, from, rows));
            value(&soft_cross_entropy(&target, &logits, 0.1))
        };
        assert!((found - f64::midpoint(of(0, 4), of(4, 1))).abs() < 1e-12);
        let nothing = Tensor::zeros([0, 6], EXACT).set_requires_grad(true);
        let loss =
            patch_cross_entropy(&nothing.detach(), &nothing, &Tensor::zeros([0], EXACT), 0.1);
        loss.backward();
        assert_eq!(value(&loss), 0.0);
    }
}
