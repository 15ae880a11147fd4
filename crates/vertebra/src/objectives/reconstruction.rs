//! Saying what is at hidden patches: pixels (MAE, He 2022; SimMIM, Xie 2022) or a teacher's tokens (data2vec, Baevski 2022; I-JEPA,
//! Assran 2023).
//!
//! Errors come patch by patch and are not reduced: a method sums them over the hidden patches of each image, and divides by what the
//! whole batch hides.

use tch::{Kind, Reduction, Tensor};

/// ε of [`layer_normed`]; PyTorch's default.
const LAYER_EPSILON: f64 = 1e-5;
/// ε of [`normalized_patches`], added to the variance; in MAE's code.
const PATCH_EPSILON: f64 = 1e-6;
/// Added to the number of hidden pixels in SimMIM's code.
const PIXEL_EPSILON: f64 = 1e-5;

/// Images `[N, C, H, W]` cut into patches, `[N, T, p² · C]`: patches row by row, inside of each row, column, channel, the channel fastest
/// (MAE's code). `patch` (p) divides H and W.
pub fn patchify(images: &Tensor, patch: i64) -> Tensor {
    let size = images.size();
    let (channels, rows, columns) = (size[1], size[2] / patch, size[3] / patch);
    let cut = images.reshape([-1, channels, rows, patch, columns, patch]);
    cut.permute([0, 2, 4, 3, 5, 1]).reshape([-1, rows * columns, patch * patch * channels])
}

/// The way back: patches `[N, T, p² · C]` of a grid of `rows × columns` as images `[N, C, rows · p, columns · p]`. What shows a
/// prediction as a picture.
pub fn unpatchify(patches: &Tensor, [rows, columns]: [i64; 2], patch: i64) -> Tensor {
    let channels = patches.size()[2] / (patch * patch);
    let cut = patches.reshape([-1, rows, columns, patch, patch, channels]);
    cut.permute([0, 5, 1, 3, 2, 4]).reshape([-1, channels, rows * patch, columns * patch])
}

/// Each patch of `[N, T, K]`, K > 1, less its mean and divided by √(variance + 1e-6), with the unbiased variance, as MAE's code has it
/// (many others divide by K).
pub fn normalized_patches(patches: &Tensor) -> Tensor {
    let mean = patches.mean_dim([-1i64].as_slice(), true, None::<Kind>);
    let variance = patches.var_dim([-1i64].as_slice(), true, true);
    (patches - mean) / (variance + PATCH_EPSILON).sqrt()
}

/// MAE's ℓ: the mean over the entries of a patch of the squared error. `[N, T, K]` both → `[N, T]`.
pub fn squared_errors(prediction: &Tensor, target: &Tensor) -> Tensor {
    (prediction - target).square().mean_dim([-1i64].as_slice(), false, None::<Kind>)
}

/// The sum over the entries of a patch of the absolute error. `[N, T, K]` both → `[N, T]`.
pub fn absolute_errors(prediction: &Tensor, target: &Tensor) -> Tensor {
    (prediction - target).abs().sum_dim_intlist([-1i64].as_slice(), false, None::<Kind>)
}

/// data2vec's: the mean over the dimensions of a token of [`smooth_l1`]. `[N, T, D]` both → `[N, T]`.
pub fn smooth_l1_errors(prediction: &Tensor, target: &Tensor, beta: f64) -> Tensor {
    smooth_l1(&(prediction - target), beta).mean_dim([-1i64].as_slice(), false, None::<Kind>)
}

/// SimMIM's loss of the whole batch, from the sum of absolute errors over all hidden patches and the number of these, both scalars: the
/// sum over (hidden pixels + 1e-5), then over the channels.
pub fn mean_over_pixels(errors: &Tensor, patches: &Tensor, patch: i64, channels: i64) -> Tensor {
    errors / (patches * (patch * patch) + PIXEL_EPSILON) / channels
}

/// data2vec's target: the normalised mean of normalised tokens, LN(1/K Σ LN(zˡ)), both by [`layer_normed`]. `blocks`: K times the same
/// shape `[…, D]`, K > 0.
pub fn mean_of_blocks(blocks: &[Tensor]) -> Tensor {
    let normed: Vec<Tensor> = blocks.iter().map(layer_normed).collect();
    layer_normed(&Tensor::stack(&normed, 0).mean_dim([0i64].as_slice(), false, None::<Kind>))
}

/// Element by element e² / 2β where |e| < β, else |e| − β / 2 (Girshick 2015 for β = 1). `difference`: any shape; β > 0, 2 in
/// data2vec, 1 in I-JEPA.
pub fn smooth_l1(difference: &Tensor, beta: f64) -> Tensor {
    difference.smooth_l1_loss(&difference.zeros_like(), Reduction::None, beta)
}

/// Each `[D]` of `[…, D]` with mean 0 and variance 1 (biased, ε 1e-5), without factors: what targets of tokens are.
pub fn layer_normed(x: &Tensor) -> Tensor {
    let width = x.size().last().copied().unwrap_or(1);
    x.layer_norm([width], None::<&Tensor>, None::<&Tensor>, LAYER_EPSILON, false)
}

#[cfg(test)]
mod tests {
    use super::*;
    use tch::Device;

    const EXACT: (Kind, Device) = (Kind::Double, Device::Cpu);

    #[test]
    fn smooth_l1_is_a_parabola_up_to_beta_and_a_line_beyond() {
        let e = Tensor::from_slice(&[0.0, 1.0, -1.0, 2.0, 4.0, -4.0]);
        let found = Vec::<f64>::try_from(smooth_l1(&e, 2.0)).unwrap();
        assert_eq!(found, [0.0, 0.25, 0.25, 1.0, 3.0, 3.0]);
        let found = Vec::<f64>::try_from(smooth_l1(&e, 1.0)).unwrap();
        assert_eq!(found, [0.0, 0.5, 0.5, 1.5, 3.5, 3.5]);
    }

    #[test]
    fn predicting_nothing_of_layer_normed_tokens_costs_one() {
        tch::manual_seed(5);
        let x = Tensor::randn([3, 7, 64], EXACT) * 3.0 + 1.0;
        let mean = layer_normed(&x).square().mean(None::<Kind>).double_value(&[]);
        // var / (var + 1e-5) with a variance of about 9.
        assert!((mean - 1.0).abs() < 2e-6, "{mean}");
    }

    fn value(scalar: &Tensor) -> f64 {
        scalar.double_value(&[])
    }

    #[test]
    fn a_patch_is_row_column_channel_and_the_way_back_is_exact() {
        let images = Tensor::arange(2 * 3 * 8 * 12, EXACT).view([2, 3, 8, 12]);
        let patches = patchify(&images, 4);
        assert_eq!(patches.size(), [2, 6, 48]);
        for (row, column, channel) in [(0, 0, 0), (2, 1, 2), (3, 3, 1)] {
            let entry = patches.double_value(&[1, 0, 3 * (row * 4 + column) + channel]);
            assert_eq!(entry, images.double_value(&[1, channel, row, column]));
        }
        // The second row of patches begins at row 4.
        assert_eq!(patches.double_value(&[0, 3, 0]), images.double_value(&[0, 0, 4, 0]));
        assert!(unpatchify(&patches, [2, 3], 4).equal(&images));
    }

    #[test]
    fn normalised_patches_have_their_values() {
        let constant = normalized_patches(&Tensor::full([1, 1, 48], 0.3, EXACT));
        assert!(value(&constant.abs().max()) < 1e-12);
        let signs = Tensor::cat(&[Tensor::ones([384], EXACT), -Tensor::ones([384], EXACT)], 0);
        let found = normalized_patches(&signs.view([1, 1, 768]));
        // 1 / √(768/767 + 1e-6): the unbiased variance.
        assert!((found.double_value(&[0, 0, 0]) - 0.999_348_2).abs() < 1e-6, "{found}");
        assert!((found.double_value(&[0, 0, 767]) + 0.999_348_2).abs() < 1e-6);
    }

    #[test]
    fn predicting_nothing_of_normalised_patches_costs_n_minus_1_of_n() {
        tch::manual_seed(5);
        for (n, wanted) in [(768, 0.998_697), (48, 0.979_166)] {
            let target = normalized_patches(&Tensor::randn([4, 9, n], EXACT));
            let found = squared_errors(&target.zeros_like(), &target).mean(None::<Kind>);
            // The variances of single patches are near 1, and their ε costs a millionth.
            assert!((value(&found) - wanted).abs() < 3e-6, "{n}: {found}");
        }
    }

    #[test]
    fn an_error_of_one_everywhere_costs_one_less_the_epsilon() {
        tch::manual_seed(5);
        let target = Tensor::randn([2, 4, 12], EXACT);
        let errors = absolute_errors(&(&target + 1.0), &target);
        let hidden = Tensor::from(3.0f64);
        let found = value(&mean_over_pixels(
            &errors.flatten(0, 1).narrow(0, 0, 3).sum(None::<Kind>),
            &hidden,
            2,
            3,
        ));
        assert!((found - 12.0 / (12.0 + 1e-5)).abs() < 1e-12, "{found}");
    }

    #[test]
    fn equal_blocks_have_the_target_of_one() {
        tch::manual_seed(5);
        let z = Tensor::randn([2, 5, 32], EXACT) * 2.0 - 1.0;
        let of = |k: usize| mean_of_blocks(&(0..k).map(|_| z.shallow_clone()).collect::<Vec<_>>());
        assert!(value(&(of(6) - layer_normed(&layer_normed(&z))).abs().max()) < 1e-12);
        // A second norm changes what ε took from the first.
        assert!(value(&(of(6) - layer_normed(&z)).abs().max()) < 1e-4);
    }
}
