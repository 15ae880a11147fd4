//! Linear centred kernel alignment (Kornblith 2019): how alike two encoders, or two layers, see the same samples. 1 where one
//! is the other turned and scaled, 0 where they have nothing in common.

use tch::{Kind, Tensor};

use super::usage;
use crate::error::{Error, Result};
use crate::evaluation::FeatureTable;
use crate::objectives::exact;

/// Two estimates of the same similarity.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Cka {
    /// ‖Yᵀ X‖²_F / (‖Xᵀ X‖_F ‖Yᵀ Y‖_F) of centred features, 0 to 1; too high where samples are fewer than dimensions.
    pub biased: f64,
    /// From the unbiased HSIC₁ (Song 2012); about 0 for unrelated features, and may be below. NaN for fewer than 4 samples.
    pub unbiased: f64,
}

/// The similarity of two tables of the same samples, `[n, d]` and `[n, e]`. Both are NaN where a table's rows are all equal.
/// Fails where the samples differ, as they do when one encoder could not read all images.
pub fn cka(a: &FeatureTable, b: &FeatureTable) -> Result<Cka> {
    expect_same_samples(a, b)?;
    Ok(Cka { biased: biased(&a.x, &b.x)?, unbiased: unbiased(&a.x, &b.x)? })
}

/// Fails unless both tables hold the same samples in the same order.
pub(super) fn expect_same_samples(a: &FeatureTable, b: &FeatureTable) -> Result<()> {
    if a.samples == b.samples {
        return Ok(());
    }
    let (n, m) = (a.samples.len(), b.samples.len());
    let differ = a.samples.iter().zip(&b.samples).position(|(a, b)| a != b);
    let place = match differ {
        Some(row) => {
            format!(
                "row {row} is sample {} in one and {} in the other",
                a.samples[row], b.samples[row]
            )
        }
        None => "one goes on where the other ends".into(),
    };
    Err(usage(
        &format!("two tables of the same samples are needed, got {n} and {m} rows: {place}"),
        "extract both from the same source, and leave out what one of them cannot read",
    ))
}

/// [`Cka::biased`] of `x [n, d]` and `y [n, e]`, n ≥ 2.
pub fn biased(x: &Tensor, y: &Tensor) -> Result<f64> {
    let (x, y) = centred_pair(x, y, 2)?;
    Ok(squared_product(&x, &y) / (squared_product(&x, &x) * squared_product(&y, &y)).sqrt())
}

/// [`Cka::unbiased`] of `x [n, d]` and `y [n, e]`.
pub fn unbiased(x: &Tensor, y: &Tensor) -> Result<f64> {
    minibatch(x, y, x.size().first().copied().unwrap_or(0).max(1) as usize)
}

/// The unbiased similarity from batches (Nguyen 2021): HSIC₁ is averaged over batches of `batch` rows in order, then divided.
/// It nears the value of the whole with many batches and is not equal to it. Rows beyond the last whole batch are left out.
/// NaN for batches of fewer than 4 rows.
pub fn minibatch(x: &Tensor, y: &Tensor, batch: usize) -> Result<f64> {
    let least = "[n, d] and [n, e] with n of a batch or more";
    let n = x.size().first().copied().unwrap_or(0);
    let batch = batch as i64;
    if batch < 1 || n < batch {
        return Err(Error::Shape { place: "CKA", wanted: least, found: vec![n, batch] });
    }
    let (mut xy, mut xx, mut yy) = (0.0, 0.0, 0.0);
    for first in (0..=n - batch).step_by(batch as usize) {
        let rows = |z: &Tensor| z.narrow(0, first, batch.min(z.size()[0] - first));
        let (x, y) = centred_pair(&rows(x), &rows(y), 1)?;
        (xy, xx, yy) = (xy + hsic(&x, &y), xx + hsic(&x, &x), yy + hsic(&y, &y));
    }
    Ok(xy / (xx * yy).sqrt())
}

/// HSIC₁ of the kernels X Xᵀ and Y Yᵀ (Song 2012, equation 5) for centred x and y of n ≥ 4 rows, else NaN.
///
/// HSIC₁ is blind to the diagonals, and to a constant that is added to a row and its column: so the features may be centred,
/// which keeps the digits. The rows of a centred kernel sum to 0, and without its diagonal k they sum to −k. So every term is
/// one of k = ‖x_i‖², l = ‖y_i‖² and ‖Xᵀ Y‖²_F, and no n × n matrix is made.
fn hsic(x: &Tensor, y: &Tensor) -> f64 {
    let n = x.size()[0] as f64;
    if n < 4.0 {
        return f64::NAN;
    }
    let diagonal = |z: &Tensor| z.square().sum_dim_intlist([1i64].as_slice(), false, Kind::Double);
    let sum = |z: Tensor| z.sum(Kind::Double).double_value(&[]);
    let (k, l) = (diagonal(x), diagonal(y));
    let both = sum(&k * &l);
    let trace = squared_product(x, y) - both;
    let sums = sum(k) * sum(l) / ((n - 1.0) * (n - 2.0));
    (trace + sums - 2.0 * both / (n - 2.0)) / (n * (n - 3.0))
}

/// ‖Xᵀ Y‖²_F, by the smaller of the two ways.
fn squared_product(x: &Tensor, y: &Tensor) -> f64 {
    let (n, d, e) = (x.size()[0], x.size()[1], y.size()[1]);
    let product = if n * (d + e) < d * e {
        x.matmul(&x.tr()) * y.matmul(&y.tr())
    } else {
        x.tr().matmul(y).square()
    };
    product.sum(Kind::Double).double_value(&[])
}

fn centred_pair(x: &Tensor, y: &Tensor, least: i64) -> Result<(Tensor, Tensor)> {
    let wanted = "[n, d] and [n, e] with n > 1";
    match (&x.size()[..], &y.size()[..]) {
        ([n, _], [m, _]) if n == m && *n >= least => {}
        ([n, _], other) if *n >= least => {
            return Err(Error::Shape { place: "CKA", wanted, found: other.to_vec() });
        }
        (found, _) => return Err(Error::Shape { place: "CKA", wanted, found: found.to_vec() }),
    }
    let centred = |z: &Tensor| {
        let z = exact(z);
        &z - z.mean_dim([0i64].as_slice(), true, Kind::Double)
    };
    Ok((centred(x), centred(y)))
}

#[cfg(test)]
mod tests {
    use tch::Device;

    use super::*;

    /// sin(a i + b j + c i j), `[n, d]`.
    fn waves(n: i64, d: i64, [a, b, c]: [f64; 3]) -> Tensor {
        let [i, j] = [n, d].map(|length| Tensor::arange(length, (Kind::Double, Device::Cpu)));
        let i = i.unsqueeze(1);
        (&i * a + &j * b + &i * &j * c).sin()
    }

    fn pair() -> (Tensor, Tensor) {
        (waves(12, 5, [0.7, 1.3, 0.1]), waves(12, 7, [0.5, 0.9, 0.07]))
    }

    fn close(found: f64, wanted: f64) {
        // Eight printed decimals.
        assert!((found - wanted).abs() < 1e-8, "{found} is not {wanted}");
    }

    #[test]
    fn it_has_its_published_values() {
        let (x, y) = pair();
        close(biased(&x, &y).unwrap(), 0.758_868_27);
        close(unbiased(&x, &y).unwrap(), 0.675_752_11);
        close(minibatch(&x, &y, 6).unwrap(), 0.900_532_06);
        let (a, b) = centred_pair(&x, &y, 2).unwrap();
        close(hsic(&a, &b), 1.953_402_48);
        // A mean shared by all rows is not a similarity.
        close(unbiased(&(x + 100.0), &y).unwrap(), 0.675_752_11);
    }

    #[test]
    fn turned_and_scaled_features_are_the_same() {
        let (x, _) = pair();
        let (turn, _) = Tensor::linalg_qr(&waves(5, 5, [1.1, 2.3, 0.7]), "reduced");
        let other = x.matmul(&turn) * 3.0 + 1.0;
        for found in [biased(&x, &other).unwrap(), unbiased(&x, &other).unwrap()] {
            // Sums of f64.
            assert!((found - 1.0).abs() < 1e-12, "{found}");
        }
    }

    #[test]
    fn both_ways_to_a_product_agree() {
        let (x, y) = (waves(3, 9, [0.7, 1.3, 0.1]), waves(3, 8, [0.5, 0.9, 0.07]));
        let direct = x.tr().matmul(&y).square().sum(Kind::Double).double_value(&[]);
        assert!((squared_product(&x, &y) / direct - 1.0).abs() < 1e-12);
    }

    #[test]
    fn other_samples_are_refused() {
        let table = |samples: &[usize]| FeatureTable {
            x: waves(samples.len() as i64, 3, [0.7, 1.3, 0.1]).to_kind(Kind::Float),
            labels: vec![None; samples.len()],
            samples: samples.to_vec(),
            groups: Vec::new(),
            skipped: Vec::new(),
            classes: Vec::new(),
        };
        let whole = table(&[0, 1, 2, 3, 4]);
        let found = cka(&whole, &whole).unwrap();
        // Sums of f64.
        assert!((found.biased - 1.0).abs() < 1e-12 && (found.unbiased - 1.0).abs() < 1e-12);
        let error = cka(&whole, &table(&[0, 1, 3, 4])).unwrap_err();
        assert!(
            error.to_string().contains("row 2 is sample 2 in one and 3 in the other"),
            "{error}"
        );
        let error = cka(&whole, &table(&[0, 1])).unwrap_err();
        assert!(error.to_string().contains("got 5 and 2 rows"), "{error}");
    }

    #[test]
    fn too_few_rows_have_no_unbiased_similarity() {
        let (x, y) = (waves(3, 2, [0.7, 1.3, 0.1]), waves(3, 2, [0.5, 0.9, 0.07]));
        assert!(unbiased(&x, &y).unwrap().is_nan());
        assert!(biased(&x.narrow(0, 0, 1), &y.narrow(0, 0, 1)).is_err());
        assert!(biased(&x, &y.narrow(0, 0, 2)).is_err());
        assert!(minibatch(&x, &y, 4).is_err());
        assert!(minibatch(&x, &y.narrow(0, 0, 2), 3).is_err());
    }
}
