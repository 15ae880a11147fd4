//! Contrast between samples: the cross-entropy of finding a view's partner among others (InfoNCE), in its published forms.
//!
//! All compare by the cosine, divide it by the temperature τ and take the mean over anchors. They differ in whom an
//! anchor is told from: all other views of the batch ([`nt_xent`]; without its partner in the sum, [`decoupled`]), the other
//! view of every image ([`between`]), or what a queue remembers ([`queue`]).

use tch::{Kind, Reduction, Tensor};

/// NT-Xent (Chen et al., SimCLR, ICML 2020, equation 1): mean over all 2N views of −s⁺/τ + ln Σ exp(s/τ), where s is the
/// cosine, the sum runs over the 2N − 1 other views and s⁺ is the cosine with the view of the same image.
///
/// `za`, `zb`: `[N, D]`, gathered, row i of both from one image → scalar. The mean over 2N is the paper's; the
/// official TensorFlow code returns the sum of two means over N, twice this value.
pub fn nt_xent(za: &Tensor, zb: &Tensor, temperature: f64) -> Tensor {
    let n = za.size()[0];
    let z = normalized(&Tensor::cat(&[za, zb], 0));
    let own = Tensor::eye(2 * n, (Kind::Bool, z.device()));
    let logits = (z.matmul(&z.tr()) / temperature).masked_fill(&own, f64::NEG_INFINITY);
    let partner = Tensor::arange(2 * n, (Kind::Int64, z.device())).roll([n], [0]);
    cross_entropy(&logits, &partner)
}

/// The decoupled loss, DCL (Yeh et al., ECCV 2022, equation 6): NT-Xent whose sum runs over the 2N − 2 views of other images
/// only, so that a well placed partner does not weaken the gradient.
///
/// With `sigma`, DCLW (equation 7): the term of the partner, −s⁺/τ, is multiplied by wᵢ = 2 − N exp(sᵢ⁺/σ) / Σⱼ exp(sⱼ⁺/σ), which
/// is large for partners far apart and has mean 1. No gradient flows through w. `za`, `zb`: `[N, D]`, gathered, N > 1,
/// row i of both from one image → scalar, the mean over the 2N views; with one image there is nothing to be told from.
pub fn decoupled(za: &Tensor, zb: &Tensor, temperature: f64, sigma: Option<f64>) -> Tensor {
    let n = za.size()[0];
    let (za, zb) = (normalized(za), normalized(zb));
    let z = Tensor::cat(&[&za, &zb], 0);
    let of_one_image = Tensor::eye(n, (Kind::Bool, z.device())).repeat([2, 2]);
    let logits = (z.matmul(&z.tr()) / temperature).masked_fill(&of_one_image, f64::NEG_INFINITY);
    let cosine = row_dots(&za, &zb);
    let attraction = match sigma {
        Some(sigma) => &cosine * (2f64 - n as f64 * (cosine.detach() / sigma).softmax(0, None)),
        None => cosine,
    };
    // A pair's term counts for both of its views, so its mean over N is that over 2N.
    logits.logsumexp([1i64], false).mean(None::<Kind>) - attraction.mean(None::<Kind>) / temperature
}

/// MoCo's loss (He et al., CVPR 2020, equation 1): mean over i of −qᵢ·kᵢ/τ + ln(exp(qᵢ·kᵢ/τ) + Σ exp(qᵢ·m/τ)), the sum over the
/// rows m of the queue. `q`, `k`: `[N, D]`, of any length; `queue`: `[K, D]`, rows of unit length → scalar.
///
/// Keys and queue come without gradient in the paper; nothing here stops one.
pub fn queue(q: &Tensor, k: &Tensor, queue: &Tensor, temperature: f64) -> Tensor {
    let (q, k) = (normalized(q), normalized(k));
    let positive = row_dots(&q, &k) / temperature;
    let negatives = (q.matmul(&queue.tr()) / temperature).logsumexp([1i64], false);
    (negatives.logaddexp(&positive) - positive).mean(None::<Kind>)
}

/// Mean over i of −qᵢ·kᵢ/τ + ln Σⱼ exp(qᵢ·kⱼ/τ), the sum over all N keys, one's own included (MoCo v3, Chen, Xie and He, ICCV
/// 2021, algorithm 1; NNCLR, Dwibedi et al., ICCV 2021, equation 3). `q`, `k`: `[N, D]`, of any length, `k` gathered → scalar.
///
/// MoCo v3 multiplies this by 2τ; that is the [method's](crate::methods) affair.
pub fn between(q: &Tensor, k: &Tensor, temperature: f64) -> Tensor {
    let logits = normalized(q).matmul(&normalized(k).tr()) / temperature;
    let own = Tensor::arange(q.size()[0], (Kind::Int64, q.device()));
    cross_entropy(&logits, &own)
}

/// For each row of `z [N, D]` the row of `queue [K, D]` with the largest dot product → `[N, D]`, without gradient. Rows of
/// the queue are of unit length, so that this is the nearest by angle (NNCLR, equation 2).
pub fn nearest(z: &Tensor, queue: &Tensor) -> Tensor {
    let place = z.detach().matmul(&queue.detach().tr()).argmax(1, false);
    queue.detach().index_select(0, &place)
}

fn cross_entropy(logits: &Tensor, wanted: &Tensor) -> Tensor {
    logits.cross_entropy_loss(wanted, None::<&Tensor>, Reduction::Mean, -100, 0.0)
}

/// The dot product of each row of `a [N, D]` with the same row of `b` → `[N]`.
fn row_dots(a: &Tensor, b: &Tensor) -> Tensor {
    (a * b).sum_dim_intlist([1i64].as_slice(), false, None::<Kind>)
}

/// Rows of unit length; a row of zeros stays zero. ε 1e-12 under the root as in the papers' code.
pub fn normalized(z: &Tensor) -> Tensor {
    let squared = z.square().sum_dim_intlist([-1i64].as_slice(), true, None::<Kind>);
    z * squared.clamp_min(1e-12).rsqrt()
}

#[cfg(test)]
mod tests {
    use super::*;
    use tch::Device;

    fn loss(za: &Tensor, zb: &Tensor, temperature: f64) -> f64 {
        nt_xent(za, zb, temperature).double_value(&[])
    }

    fn eye(n: i64) -> Tensor {
        Tensor::eye(n, (Kind::Double, Device::Cpu))
    }

    #[test]
    fn collapse_costs_the_logarithm_of_the_other_views() {
        let z = Tensor::ones([8, 4], (Kind::Double, Device::Cpu));
        assert!((loss(&z, &z, 0.2) - 15f64.ln()).abs() < 1e-12);
    }

    #[test]
    fn orthonormal_and_opposite_images_have_their_values() {
        assert!((loss(&eye(2), &eye(2), 0.5) - 0.239_544_8).abs() < 1e-7);
        let opposite = Tensor::from_slice(&[1f64, 0., -1., 0.]).reshape([2, 2]);
        assert!((loss(&opposite, &opposite, 0.5) - 0.035_976_3).abs() < 1e-7);
        assert!((loss(&eye(3), &eye(3), 0.2) - 0.026_595_0).abs() < 1e-7);
    }

    #[test]
    fn scale_order_and_the_order_of_views_change_nothing() {
        tch::manual_seed(3);
        let [za, zb] = [0, 1].map(|_| Tensor::randn([10, 6], (Kind::Double, Device::Cpu)));
        let here = loss(&za, &zb, 0.2);
        assert!((loss(&(&za * 5.0), &zb, 0.2) - here).abs() < 1e-12);
        assert!((loss(&zb, &za, 0.2) - here).abs() < 1e-12);
        assert!((loss(&za.flip([0]), &zb.flip([0]), 0.2) - here).abs() < 1e-12);
    }

    #[test]
    fn the_gradient_reaches_both_views_and_zeros_stay_finite() {
        let za = Tensor::zeros([3, 2], (Kind::Double, Device::Cpu)).set_requires_grad(true);
        let zb = eye(3).narrow(1, 0, 2).copy().set_requires_grad(true);
        nt_xent(&za, &zb, 0.5).backward();
        for z in [&za, &zb] {
            assert_eq!(z.grad().isfinite().all().int64_value(&[]), 1);
        }
        assert!(zb.grad().abs().sum(None::<Kind>).double_value(&[]) > 0.0);
    }

    fn close(found: &Tensor, wanted: f64) -> bool {
        (found.double_value(&[]) - wanted).abs() < 1e-7
    }

    #[test]
    fn without_the_partner_in_the_sum_a_perfect_batch_goes_below_zero() {
        let two = eye(2);
        assert!(close(&decoupled(&two, &two, 0.5, None), 2f64.ln() - 2.0));
        let same = Tensor::ones([8, 4], (Kind::Double, Device::Cpu));
        assert!(close(&decoupled(&same, &same, 0.2, None), 14f64.ln()));
    }

    #[test]
    fn weights_are_one_for_equal_pairs_and_carry_no_gradient() {
        let two = eye(2);
        assert!(close(&decoupled(&two, &two, 0.5, Some(0.5)), 2f64.ln() - 2.0));
        // Cosines 1 and 0: the far pair weighs 2 − 2/(1 + e²) instead of 1, the near one 2/(1 + e²).
        let za = eye(2).set_requires_grad(true);
        let zb = Tensor::from_slice(&[1f64, 0., 1., 0.]).reshape([2, 2]);
        let weight = 2.0 / (1.0 + 2f64.exp());
        let weighted = decoupled(&za, &zb, 0.5, Some(0.5));
        let plain = decoupled(&za, &zb, 0.5, None);
        assert!(close(&(&weighted - &plain), (1.0 - weight) / 2.0 / 0.5));
        // Of the far pair's attraction only, along the second row's free direction: −w zb / (2 τ).
        (weighted - plain).backward();
        let wanted = -(2.0 - weight - 1.0) / 2.0 / 0.5;
        assert!((za.grad().double_value(&[1, 0]) - wanted).abs() < 1e-7);
    }

    #[test]
    fn a_queue_of_equal_similarities_costs_the_logarithm_of_the_choices() {
        let (q, rest) = (Tensor::ones([2, 4], (Kind::Double, Device::Cpu)), 65536);
        let same = Tensor::full([rest, 4], 0.5, (Kind::Double, Device::Cpu));
        assert!(close(&queue(&q, &q, &same, 0.2), 11.090_370_1));
        let (q, rest) = (eye(3).narrow(0, 0, 2), eye(3).narrow(0, 2, 1).repeat([4096, 1]));
        assert!(close(&queue(&q, &q, &rest, 0.2), 3.353_358_8));
    }

    #[test]
    fn keys_of_all_images_are_nt_xent_without_ones_own_view() {
        let z = eye(3);
        assert!(close(&between(&z, &z, 0.2), (1.0 + 2.0 * (-5f64).exp()).ln()));
        let same = Tensor::ones([8, 4], (Kind::Double, Device::Cpu));
        assert!(close(&between(&same, &same, 0.2), 8f64.ln()));
    }

    #[test]
    fn a_queue_that_holds_the_batch_gives_it_back() {
        tch::manual_seed(5);
        let draw = |n| normalized(&Tensor::randn([n, 6], (Kind::Double, Device::Cpu)));
        let (z, others) = (draw(4), draw(20));
        let found = nearest(&(&z * 3.0), &Tensor::cat(&[&others, &z], 0));
        assert!(found.equal(&z));
        let p = draw(4);
        let here = between(&found, &p, 0.2).double_value(&[]);
        assert!((here - between(&z, &p, 0.2).double_value(&[])).abs() < 1e-12);
    }
}
