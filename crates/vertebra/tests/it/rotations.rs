//! What a rotation of the embedding changes, and what it must not: the line between the two families of objectives.

use tch::{Device, Kind, Tensor};
use vertebra::objectives::{barlow, info_nce, regression, spectral, vicreg};

use crate::alone;

/// f64, and products in another order.
const ANOTHER_ORDER: f64 = 1e-10;

/// Two views `[12, 7]`, alike.
fn views() -> [Tensor; 2] {
    tch::manual_seed(5);
    let shared = Tensor::randn([12, 7], (Kind::Double, Device::Cpu));
    [0, 1].map(|_| &shared + Tensor::randn_like(&shared) * 0.5)
}

/// A random orthogonal matrix `[7, 7]`.
fn rotation() -> Tensor {
    Tensor::linalg_qr(&Tensor::randn([7, 7], (Kind::Double, Device::Cpu)), "reduced").0
}

/// How much a loss of two views changes when both are rotated, as a share of it.
fn change(loss: impl Fn(&Tensor, &Tensor) -> Tensor) -> f64 {
    let _alone = alone();
    let [za, zb] = views();
    let q = rotation();
    let value = |a: &Tensor, b: &Tensor| loss(a, b).double_value(&[]);
    let before = value(&za, &zb);
    (value(&za.matmul(&q), &zb.matmul(&q)) - before).abs() / before.abs()
}

#[test]
fn losses_of_samples_do_not_see_a_rotation() {
    assert!(change(|a, b| info_nce::nt_xent(a, b, 0.2)) < ANOTHER_ORDER, "SimCLR");
    assert!(change(|a, b| info_nce::decoupled(a, b, 0.2, None)) < ANOTHER_ORDER, "DCL");
    assert!(change(|a, b| info_nce::decoupled(a, b, 0.2, Some(0.5))) < ANOTHER_ORDER, "DCLW");
    assert!(change(|a, b| info_nce::between(a, b, 0.2)) < ANOTHER_ORDER, "MoCo v3, NNCLR");
    assert!(change(|a, b| info_nce::queue(a, b, b, 0.2)) < ANOTHER_ORDER, "MoCo v2");
    assert!(change(|a, b| spectral::spectral(a, b, 1.0).0) < ANOTHER_ORDER, "SCL");
    assert!(change(regression::squared_distance) < ANOTHER_ORDER, "BYOL");
    assert!(change(regression::negative_cosine) < ANOTHER_ORDER, "SimSiam");
    assert!(change(vicreg::invariance) < ANOTHER_ORDER, "the invariance term");
    let transposed = |z: &Tensor| vicreg::exponential_covariance(&z.tr(), 0.1);
    // Centred over its own dimensions, which a rotation mixes: VICReg-ctr sees it.
    assert!(change(|a, b| transposed(a) + transposed(b)) > 1e-3, "VICReg-ctr");
}

#[test]
fn losses_of_dimensions_do() {
    let [on, off] = [0, 1];
    assert!(change(|a, b| barlow::barlow(a, b)[on].shallow_clone()) > 1e-3, "Barlow Twins");
    assert!(change(|a, b| barlow::barlow(a, b)[off].shallow_clone()) > 1e-3, "Barlow Twins");
    assert!(change(|a, b| vicreg::covariance(a) + vicreg::covariance(b)) > 1e-3, "VICReg");
    let exponential = |z: &Tensor| vicreg::exponential_covariance(z, 0.1);
    assert!(change(|a, b| exponential(a) + exponential(b)) > 1e-3, "VICReg-exp");
}
