use super::*;
use tch::Device;

const F64: (Kind, Device) = (Kind::Double, Device::Cpu);
const SHAPES: [(i64, i64); 5] = [(6, 20), (20, 6), (9, 9), (9, 10), (4, 9)];

fn random(n: i64, d: i64) -> Tensor {
    tch::manual_seed(n * 100 + d);
    Tensor::randn([n, d], F64)
}

fn number(scalar: &Tensor) -> f64 {
    scalar.double_value(&[])
}

/// Sums in f64 in another order: the last few of sixteen digits, some of them lost to the subtraction.
fn close(found: f64, wanted: f64) -> bool {
    (found - wanted).abs() <= 1e-10 * wanted.abs().max(1.0)
}

/// The matrix itself, its diagonal taken off element by element.
fn plainly(matrix: &Tensor) -> Tensor {
    (matrix - Tensor::diag_embed(&matrix.diagonal(0, 0, 1), 0, 0, 1)).square().sum(Kind::Double)
}

/// Σ of the fourth powers of the lengths of the rows.
fn fourth_powers(rows: &Tensor) -> f64 {
    number(&column_dots(&rows.tr(), &rows.tr()).square().sum(Kind::Double))
}

fn orthogonal(d: i64) -> Tensor {
    Tensor::linalg_qr(&random(d, d), "reduced").0
}

fn unit_rows(z: &Tensor) -> Tensor {
    z / z.square().sum_dim_intlist([1i64].as_slice(), true, Kind::Double).sqrt()
}

#[test]
fn the_worked_example_has_its_values() {
    // Columns are samples in the paper's K = [[1, 2], [3, 4]].
    let z = Tensor::from_slice(&[1f64, 3., 2., 4.]).reshape([2, 2]);
    assert_eq!(number(&sample_contrast(&z)), 392.0);
    assert_eq!(number(&dimension_contrast(&z)), 242.0);
    assert_eq!((fourth_powers(&z.tr()), fourth_powers(&z)), (650.0, 500.0));
}

#[test]
fn both_contrasts_are_those_of_the_plain_matrices() {
    for (n, d) in SHAPES {
        let z = random(n, d);
        assert!(close(number(&sample_contrast(&z)), number(&plainly(&z.matmul(&z.tr())))));
        assert!(close(number(&dimension_contrast(&z)), number(&plainly(&z.tr().matmul(&z)))));
    }
}

/// Theorem 3.3, which assumes nothing.
#[test]
fn with_the_norms_both_contrasts_are_equal() {
    for (n, d) in SHAPES {
        let z = random(n, d);
        let dimensions = number(&dimension_contrast(&z)) + fourth_powers(&z.tr());
        let samples = number(&sample_contrast(&z)) + fourth_powers(&z);
        assert!(close(dimensions, samples), "{n} × {d}: {dimensions} and {samples}");
    }
}

/// Corollary 3.4.1 for samples, and for dimensions, of length 1.
#[test]
fn unit_lengths_bound_one_contrast_by_the_other() {
    for (n, d) in SHAPES {
        let (z, [samples, dimensions]) = (random(n, d), [n as f64, d as f64]);
        let unit = unit_rows(&z);
        let [c, nc] = [sample_contrast(&unit), dimension_contrast(&unit)].map(|it| number(&it));
        assert!(nc - samples + samples.powi(2) / dimensions <= c + 1e-9, "{n} × {d}");
        assert!(c <= nc - samples + samples.powi(2) + 1e-9, "{n} × {d}");
        let unit = unit_rows(&z.tr()).tr();
        let [c, nc] = [sample_contrast(&unit), dimension_contrast(&unit)].map(|it| number(&it));
        assert!(c - dimensions + dimensions.powi(2) / samples <= nc + 1e-9, "{n} × {d}");
        assert!(nc <= c - dimensions + dimensions.powi(2) + 1e-9, "{n} × {d}");
    }
}

/// L_c = L_nc needs rows and columns of one length, which only N = D can have; with unit rows and columns of equal length
/// the difference is N − N²/D; and with neither it is anything.
#[test]
fn the_plain_equality_holds_only_under_its_assumptions() {
    let square = orthogonal(8);
    assert!(number(&sample_contrast(&square)) < 1e-12);
    assert!(number(&dimension_contrast(&square)) < 1e-12);
    let (n, d) = (8, 4);
    // Rows of an 8 × 4 with orthogonal columns of entries ±1: rows of one length, columns of one length.
    let signs: Vec<f64> = (0..n * d)
        .map(|at| if ((at / d) & (1 << (at % d % 3))) == 0 { 1.0 } else { -1.0 })
        .collect();
    let z = unit_rows(&Tensor::from_slice(&signs).reshape([n, d]));
    let difference = number(&dimension_contrast(&z)) - number(&sample_contrast(&z));
    assert!(close(difference, 8.0 - 64.0 / 4.0), "{difference}");
    let z = random(9, 9);
    let [c, nc] = [sample_contrast(&z), dimension_contrast(&z)].map(|it| number(&it));
    assert!((c - nc).abs() > 1e-2 * c, "{c} and {nc}");
}

#[test]
fn each_contrast_has_its_own_invariance_and_their_energy_both() {
    for (n, d) in SHAPES {
        let z = random(n, d);
        let (rotated, mixed) = (z.matmul(&orthogonal(d)), orthogonal(n).matmul(&z));
        let whole = |z: &Tensor| number(&z.matmul(&z.tr()).square().sum(Kind::Double));
        let [c, nc] = [sample_contrast, dimension_contrast];
        assert!(close(number(&c(&rotated)), number(&c(&z))));
        assert!(!close(number(&nc(&rotated)), number(&nc(&z))));
        assert!(close(number(&nc(&mixed)), number(&nc(&z))));
        assert!(!close(number(&c(&mixed)), number(&c(&z))));
        assert!(close(whole(&rotated), whole(&z)) && close(whole(&mixed), whole(&z)));
    }
}

#[test]
fn gradients_through_both_sides_are_equal() {
    for (n, d) in SHAPES {
        let gradient = |loss: &dyn Fn(&Tensor) -> Tensor| {
            let z = random(n, d).set_requires_grad(true);
            loss(&z).backward();
            z.grad()
        };
        let found = gradient(&|z| dimension_contrast(z));
        let wanted = gradient(&|z| plainly(&z.tr().matmul(z)));
        assert!(number(&(found - &wanted).abs().max()) < 1e-10 * number(&wanted.abs().max()));
        let found = gradient(&|z| cross_off_diagonal_energy(z, &random(n, d)));
        let wanted = gradient(&|z| plainly(&z.tr().matmul(&random(n, d))));
        assert!(number(&(found - &wanted).abs().max()) < 1e-10 * number(&wanted.abs().max()));
    }
}

#[test]
fn two_embeddings_are_compared_alike_through_either_side() {
    for (n, d) in SHAPES {
        let (a, b) = (random(n, d), random(n + 50, d).narrow(0, 0, n));
        let found = number(&cross_off_diagonal_energy(&a, &b));
        assert!(close(found, number(&plainly(&a.tr().matmul(&b)))), "{n} × {d}");
    }
}

/// Proposition 3.1: random directions in D dimensions have squared cosines of mean 1/D.
#[test]
fn random_directions_have_their_expected_contrast() {
    let (n, d) = (200, 64);
    let found = number(&sample_contrast(&unit_rows(&random(n, d))));
    let wanted = (n * (n - 1)) as f64 / d as f64;
    // 19,900 pairs, each with a standard deviation of √2/D: 1 % of their mean is the half of one in a hundred.
    assert!((found / wanted - 1.0).abs() < 0.03, "{found} is not {wanted}");
}

/// Unit variances and N − 1 < D: the rank alone forbids a covariance without off-diagonal energy.
#[test]
fn the_penalty_of_more_dimensions_than_samples_has_a_floor() {
    for (n, d) in [(5, 40), (20, 40), (38, 40)] {
        let z = random(n, d);
        let z = (&z - z.mean_dim([0i64].as_slice(), true, Kind::Double))
            / z.std_dim([0i64].as_slice(), true, true);
        let c = number(&dimension_contrast(&z)) / d as f64 / ((n - 1) as f64).powi(2);
        let floor = d as f64 / (n - 1) as f64 - 1.0;
        assert!(c >= floor - 1e-9, "{n} × {d}: {c} is under {floor}");
    }
}

#[test]
fn the_coding_rate_is_one_through_both_sides() {
    for (n, d) in SHAPES {
        let (alpha, z) = (0.7, random(n, d).set_requires_grad(true));
        let whole = Tensor::eye(d, F64) + alpha * z.tr().matmul(&z);
        let wanted = 0.5 * number(&Tensor::linalg_slogdet(&whole).1);
        let rate = coding_rate(&z, alpha);
        assert!(close(number(&rate), wanted), "{n} × {d}");
        rate.backward();
        let inverse = Tensor::linalg_inv(&(Tensor::eye(n, F64) + alpha * z.matmul(&z.tr())));
        let off = (z.grad() - alpha * inverse.matmul(&z)).abs().max();
        assert!(number(&off) < 1e-10, "{n} × {d}");
    }
    let lost = random(3, 4) * f64::NAN;
    assert!(number(&coding_rate(&lost, 1.0)).is_nan());
}

/// What f32 costs: the relative error of the penalty against f64, for features of unit variance without correlation but
/// that of chance (the least that a Gram matrix can see), where the subtraction takes most.
#[test]
fn f32_keeps_six_digits_of_the_penalty() {
    for (n, d) in [(32, 512), (256, 512), (500, 512), (511, 512), (512, 512), (700, 512)] {
        let z = random(n, d).to_kind(Kind::Float);
        let found = number(&off_diagonal_energy(&z));
        let wanted =
            number(&plainly(&z.to_kind(Kind::Double).tr().matmul(&z.to_kind(Kind::Double))));
        let off = (found / wanted - 1.0).abs();
        println!("{n} × {d}: {off:.1e}");
        // Products of f32 round to 6e-8 each, and errors of many are of either sign: 4e-8 at most is found, at N = 32.
        assert!(off < 3e-7, "{n} × {d}: off by {off:e}");
    }
}

/// The worst case: 65 orthogonal columns, and one of them twice. With 66 columns N < D, and the diagonal, of which all is
/// subtracted, outweighs the rest thirty-three-fold.
#[test]
fn where_the_diagonal_outweighs_the_rest_digits_are_lost_and_no_more() {
    let (n, d) = (65, 66);
    let columns = orthogonal(n) * (n as f64).sqrt();
    let z = Tensor::cat(&[&columns, &columns.narrow(1, 0, 1)], 1).to_kind(Kind::Float);
    let found = number(&off_diagonal_energy(&z));
    let exact = z.to_kind(Kind::Double);
    let wanted = number(&plainly(&exact.tr().matmul(&exact)));
    let off = (found / wanted - 1.0).abs();
    println!("{n} × {d}: {off:.1e}, share {:.3}", wanted / (wanted + fourth_powers(&exact.tr())));
    // At worst 34 times the 6e-8 of the sum before; 6e-8 is found.
    assert!(off < 34.0 * 6e-8, "off by {off:e}");
}
