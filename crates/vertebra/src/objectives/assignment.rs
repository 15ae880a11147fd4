//! Balanced assignment to prototypes (Caron 2020, SwAV, section 3.1).

use tch::Tensor;

/// The codes Q of SwAV: each sample's share of every prototype, such that all prototypes are used alike. Sinkhorn and
/// Knopp's alternation, `iterations` times: prototypes to equal mass, then samples to equal mass.
///
/// `scores`: `[B, K]`, cosines of samples and prototypes; `epsilon` smooths (0.05 in the authors' code), `iterations` ≥ 1
/// (3 there) → `[B, K]`, without gradient, whose rows sum to 1 exactly and whose columns to about B/K. In logarithms,
/// which a sum subtracts its maximum from: no scores are too large, and adding a constant to all changes nothing.
pub fn sinkhorn(scores: &Tensor, epsilon: f64, iterations: u32) -> Tensor {
    let mut logs = scores.detach() / epsilon;
    for _ in 0..iterations {
        logs = &logs - logs.logsumexp([0i64].as_slice(), true);
        logs = &logs - logs.logsumexp([1i64].as_slice(), true);
    }
    logs.exp()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::objectives::soft_cross_entropy;
    use tch::{Device, Kind};

    const EXACT: (Kind, Device) = (Kind::Double, Device::Cpu);

    fn scores(values: &[f64]) -> Tensor {
        Tensor::from_slice(values).reshape([-1, 2])
    }

    fn largest(tensor: &Tensor) -> f64 {
        tensor.abs().max().double_value(&[])
    }

    #[test]
    fn worked_examples_have_their_codes() {
        let clear = sinkhorn(&scores(&[1., 0., 0., 1.]), 0.05, 3);
        assert!(largest(&(clear - Tensor::eye(2, EXACT))) < 3e-9);
        let close = sinkhorn(&scores(&[0.2, 0.1, 0.1, 0.1]), 0.05, 3);
        let wanted = scores(&[0.727_211_7, 0.272_788_3, 0.265_129_0, 0.734_871_0]);
        // Seven printed decimals.
        assert!(largest(&(close - wanted)) < 1e-7);
    }

    #[test]
    fn equal_scores_are_shared_equally_and_cost_the_logarithm_of_the_prototypes() {
        let equal = Tensor::full([4, 3000], 0.3, EXACT);
        let codes = sinkhorn(&equal, 0.05, 3);
        assert!(largest(&(&codes * 3000.0 - 1.0)) < 1e-9);
        let loss = soft_cross_entropy(&codes, &equal, 0.1).double_value(&[]);
        assert!((loss - 8.006_367_6).abs() < 1e-7, "{loss}");
    }

    #[test]
    fn samples_are_whole_and_prototypes_are_used_alike() {
        tch::manual_seed(2);
        let random = Tensor::rand([64, 8], EXACT);
        let sums =
            |codes: &Tensor, dim: i64| codes.sum_dim_intlist([dim].as_slice(), false, None::<Kind>);
        let codes = sinkhorn(&random, 0.05, 3);
        assert!(largest(&(sums(&codes, 1) - 1.0)) < 1e-12);
        // Three rounds are on the way to what many reach: equal use, here of 64 samples by 8 prototypes.
        let unequal = |codes: &Tensor| largest(&(sums(codes, 0) / 8.0 - 1.0));
        assert!(unequal(&codes) < unequal(&(&random / 0.05).softmax(-1, None::<Kind>)));
        assert!(unequal(&sinkhorn(&random, 0.05, 1000)) < 1e-3);
    }

    #[test]
    fn a_constant_changes_nothing_and_no_score_is_too_large() {
        tch::manual_seed(2);
        let random = Tensor::rand([6, 4], EXACT).set_requires_grad(true);
        let codes = sinkhorn(&random, 0.05, 3);
        assert!(!codes.requires_grad());
        // 100 / 0.05 = 2000 loses four of sixteen digits.
        assert!(largest(&(sinkhorn(&(&random + 100.0), 0.05, 3) - &codes)) < 1e-10);
        let wild = sinkhorn(&(random * 1e6).to_kind(Kind::Float), 0.05, 3);
        assert_eq!(wild.isfinite().all().int64_value(&[]), 1);
    }
}
