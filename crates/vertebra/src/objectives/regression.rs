//! Predicting one embedding from another: the losses of BYOL (Grill 2020, equation 2) and SimSiam (Chen and He 2021,
//! equation 1).
//!
//! Both are one direction; a method adds two. The target is to come without gradient (`detach`): with it, all
//! embeddings equal is the cheapest answer, and these losses cannot tell that from a good one.

use tch::{Kind, Tensor};

use super::normalized;

/// Mean over the batch of ‖p̂ − t̂‖² = 2 − 2 cos(p, t), hats of unit length: 0 where they agree, 2 orthogonal, 4
/// opposite. `prediction`, `target`: `[N, D]` → scalar.
pub fn squared_distance(prediction: &Tensor, target: &Tensor) -> Tensor {
    2.0 * negative_cosine(prediction, target) + 2.0
}

/// Mean over the batch of −cos(p, t), from −1 where they agree to 1. `prediction`, `target`: `[N, D]` → scalar.
pub fn negative_cosine(prediction: &Tensor, target: &Tensor) -> Tensor {
    let cosines = normalized(prediction) * normalized(target);
    -cosines.sum_dim_intlist([-1i64].as_slice(), false, None::<Kind>).mean(None::<Kind>)
}

#[cfg(test)]
mod tests {
    use super::*;
    use tch::Device;

    const EXACT: (Kind, Device) = (Kind::Double, Device::Cpu);

    fn value(scalar: &Tensor) -> f64 {
        scalar.double_value(&[])
    }

    #[test]
    fn equal_orthogonal_and_opposite_rows_have_their_values() {
        let p = Tensor::eye(3, EXACT);
        for (target, distance, cosine) in
            [(&p * 7.0, 0.0, -1.0), (p.roll([1], [1]), 2.0, 0.0), (-&p, 4.0, 1.0)]
        {
            assert!((value(&squared_distance(&p, &target)) - distance).abs() < 1e-12);
            assert!((value(&negative_cosine(&p, &target)) - cosine).abs() < 1e-12);
        }
    }

    #[test]
    fn the_distance_is_that_of_unit_rows() {
        tch::manual_seed(3);
        let [p, t] = [0, 1].map(|_| Tensor::randn([10, 6], EXACT));
        let rows = (normalized(&p) - normalized(&t)).square();
        let direct =
            rows.sum_dim_intlist([1i64].as_slice(), false, None::<Kind>).mean(None::<Kind>);
        assert!((value(&squared_distance(&p, &t)) - value(&direct)).abs() < 1e-12);
        assert!((value(&squared_distance(&t, &p)) - value(&direct)).abs() < 1e-12);
    }

    #[test]
    fn agreement_has_no_gradient_and_a_detached_target_gets_none() {
        tch::manual_seed(3);
        let t = Tensor::randn([4, 6], EXACT).set_requires_grad(true);
        let p = t.detach().copy().set_requires_grad(true);
        negative_cosine(&p, &t.detach()).backward();
        // What rounding leaves of the part along p.
        assert!(value(&p.grad().abs().max()) < 1e-15);
        assert!(!t.grad().defined());
        let other = Tensor::randn([4, 6], EXACT).set_requires_grad(true);
        squared_distance(&other, &t.detach()).backward();
        assert!(value(&other.grad().abs().max()) > 1e-3);
        assert!(!t.grad().defined());
    }
}
