//! Alignment and uniformity (Wang and Isola 2020): how near two views of a sample are, and how evenly all samples lie on the
//! sphere. Rows are divided by their length; a row of zeros stays at the centre.

use tch::{Kind, Tensor};

use super::usage;
use crate::error::{Error, Result};
use crate::evaluation::FeatureTable;
use crate::objectives::{exact, expect_pair};

/// α, the power of the distance, in the paper.
pub const ALIGNMENT_ALPHA: f64 = 2.0;

/// t, in the paper.
pub const UNIFORMITY_T: f64 = 2.0;

/// Rows of a block of distances.
const BLOCK: i64 = 512;

/// ‖a_i − b_i‖^α of each pair of rows of `a` and `b [N, D]`, normalised; their mean is the paper's alignment, lower is nearer.
/// Fails where the shapes differ, there are fewer than two rows, or a number is not finite.
pub fn alignment(a: &Tensor, b: &Tensor, alpha: f64) -> Result<Vec<f64>> {
    expect_pair("alignment", a, b)?;
    let [a, b] = [a, b].map(unit_rows);
    let apart = (a - b).square().sum_dim_intlist([1i64].as_slice(), false, Kind::Double);
    let apart = Vec::<f64>::try_from(apart.pow_tensor_scalar(alpha / 2.0))?;
    if apart.iter().all(|it| it.is_finite()) { Ok(apart) } else { Err(not_finite()) }
}

/// [`alignment`] of two tables of the same samples, such as those of two encoders or of two views. Fails where the samples
/// differ.
pub fn alignment_of(a: &FeatureTable, b: &FeatureTable, alpha: f64) -> Result<Vec<f64>> {
    super::cka::expect_same_samples(a, b)?;
    alignment(&a.x, &b.x, alpha)
}

/// The logarithm of the mean of exp(−t ‖x_i − x_j‖²) over all pairs i < j of rows of `x [N, D]`, normalised. 0 for one point;
/// lower is more even, −4 at best for t = 2 (the limit of many dimensions). The cost grows with N². Fails for fewer than two
/// rows, or where a number is not finite.
pub fn uniformity(x: &Tensor, t: f64) -> Result<f64> {
    let [n, _] = x.size()[..] else {
        return Err(shape(x));
    };
    if n < 2 {
        return Err(shape(x));
    }
    let x = unit_rows(x);
    let squares = x.square().sum_dim_intlist([1i64].as_slice(), true, Kind::Double);
    let mut sum = 0.0;
    for first in (0..n).step_by(BLOCK as usize) {
        let rows = BLOCK.min(n - first);
        let products = x.narrow(0, first, rows).matmul(&x.tr());
        let apart = squares.narrow(0, first, rows) + squares.tr() - products * 2.0;
        sum += (apart.clamp_min(0.0) * -t).exp().sum(Kind::Double).double_value(&[]);
    }
    // Without each row with itself, whose distance is 0.
    let pairs = (n * (n - 1)) as f64;
    let mean = (sum - n as f64) / pairs;
    if mean.is_finite() { Ok(mean.ln()) } else { Err(not_finite()) }
}

fn unit_rows(x: &Tensor) -> Tensor {
    let x = exact(x);
    let norms = x.square().sum_dim_intlist([1i64].as_slice(), true, Kind::Double).sqrt();
    x / norms.clamp_min(1e-12)
}

fn shape(x: &Tensor) -> Error {
    Error::Shape { place: "uniformity", wanted: "[N, D] with N > 1", found: x.size() }
}

fn not_finite() -> Error {
    usage("the features hold numbers that are not finite", "use another checkpoint")
}

#[cfg(test)]
mod tests {
    use tch::Device;

    use super::*;

    /// sin(0.7 i + 1.3 j + 0.1 i j + p), `[n, d]`.
    fn waves(n: i64, d: i64, p: f64) -> Tensor {
        let [i, j] = [n, d].map(|length| Tensor::arange(length, (Kind::Double, Device::Cpu)));
        let i = i.unsqueeze(1);
        ((&i * 0.7) + (&j * 1.3) + (&i * &j * 0.1) + p).sin()
    }

    fn close(found: f64, wanted: f64) {
        // Eight printed decimals.
        assert!((found - wanted).abs() < 1e-8, "{found} is not {wanted}");
    }

    fn mean(values: &[f64]) -> f64 {
        values.iter().sum::<f64>() / values.len() as f64
    }

    #[test]
    fn both_have_their_published_values() {
        let (a, b) = (waves(8, 4, 0.0), waves(8, 4, 0.2));
        close(mean(&alignment(&a, &b, 2.0).unwrap()), 0.038_936_65);
        close(mean(&alignment(&a, &b, 1.0).unwrap()), 0.195_519_70);
        close(uniformity(&a, 2.0).unwrap(), -2.433_697_44);
        // Lengths do not matter.
        close(uniformity(&(a * 30.0), 2.0).unwrap(), -2.433_697_44);
    }

    #[test]
    fn blocks_of_pairs_are_all_pairs() {
        tch::manual_seed(2);
        let x = Tensor::randn([700, 3], (Kind::Double, Device::Cpu));
        let unit = unit_rows(&x);
        let apart = unit.unsqueeze(0) - unit.unsqueeze(1);
        let apart = apart.square().sum_dim_intlist([2i64].as_slice(), false, Kind::Double);
        let whole = (apart * -2.0).exp().sum(Kind::Double).double_value(&[]);
        let wanted = ((whole - 700.0) / (700.0 * 699.0)).ln();
        // Sums of half a million numbers in another order.
        assert!((uniformity(&x, 2.0).unwrap() - wanted).abs() < 1e-9);
    }

    #[test]
    fn one_point_is_not_even_and_bad_input_is_refused() {
        let same = Tensor::ones([5, 3], (Kind::Float, Device::Cpu));
        assert!(uniformity(&same, 2.0).unwrap().abs() < 1e-12);
        assert!(uniformity(&same.narrow(0, 0, 1), 2.0).is_err());
        assert!(uniformity(&(&same * f64::NAN), 2.0).is_err());
        assert!(alignment(&same, &same.narrow(0, 0, 4), 2.0).is_err());
        assert!(alignment(&same, &(&same * f64::NAN), 2.0).is_err());
    }
}
