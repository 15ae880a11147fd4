//! The numbers of published contrastive objectives: recorded by `fixtures/record_contrastive.py`.

use tch::Tensor;
use vertebra::objectives::{barlow, info_nce, spectral};

use crate::parity::{F64, STORED_AS_F32, Tensors, leaf};
use crate::{distance, fixture};

/// Whose gradient the published code leaves: of the first embedding, of the second.
const BOTH: [bool; 2] = [true, true];

#[test]
fn barlow_twins_is_the_authors_own() {
    agrees("barlow", BOTH, |za, zb, _| {
        let [on_diagonal, off_diagonal] = barlow::barlow(za, zb);
        on_diagonal + 0.0051 * off_diagonal
    });
}

#[test]
fn the_decoupled_loss_is_the_published_one_with_and_without_weights() {
    agrees("dcl", BOTH, |za, zb, _| info_nce::decoupled(za, zb, 0.1, None));
    agrees("dclw", BOTH, |za, zb, _| info_nce::decoupled(za, zb, 0.1, Some(0.5)));
}

#[test]
fn the_spectral_loss_is_the_authors_own() {
    agrees("scl1", BOTH, |za, zb, _| spectral::spectral(za, zb, 1.0).0);
    agrees("scl10", BOTH, |za, zb, _| spectral::spectral(za, zb, 10.0).0);
}

#[test]
fn the_loss_of_a_queue_is_that_of_solo_learn() {
    agrees("moco", BOTH, |za, zb, rest| info_nce::queue(za, zb, rest, 0.2));
}

#[test]
fn the_loss_of_moco_v3_is_the_authors_own() {
    let temperature = 0.2;
    agrees("moco_v3", [true, false], |za, zb, _| {
        2.0 * temperature * info_nce::between(za, &zb.detach(), temperature)
    });
}

#[test]
fn the_loss_of_nearest_neighbours_is_that_of_solo_learn() {
    agrees("nnclr", [false, true], |za, zb, rest| {
        info_nce::between(&info_nce::nearest(za, rest), zb, 0.2)
    });
}

/// Compares the loss and the gradients of each recorded case.
fn agrees(name: &str, reached: [bool; 2], objective: impl Fn(&Tensor, &Tensor, &Tensor) -> Tensor) {
    let file: Tensors = fixture("contrastive.safetensors");
    for case in ["case0", "case1", "case2"] {
        let [za, zb, rest] = ["za", "zb", "rest"].map(|z| leaf(&file, &format!("{case}.{z}")));
        let loss = objective(&za, &zb, &rest.detach());
        let at = format!("{case}.{name}");
        let off = distance(&loss, &file[&format!("{at}.loss")]);
        assert!(off < F64, "{at}: off by {off:e}");
        loss.backward();
        for (z, of, reached) in [("za", &za, reached[0]), ("zb", &zb, reached[1])] {
            let wanted = &file[&format!("{at}.grad_{z}")];
            if reached {
                let off = distance(&of.grad(), wanted);
                assert!(off < STORED_AS_F32, "{at}, gradient of {z}: off by {off:e}");
            } else {
                assert_eq!(wanted.abs().max().double_value(&[]), 0.0, "{at} {z}");
                assert!(!of.grad().defined(), "{at} {z}");
            }
        }
    }
}
