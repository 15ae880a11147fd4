//! Contrast between samples and between dimensions are one quantity (Garrido et al., ICLR 2023): the off-diagonal energy of
//! the `[N, N]` Gram matrix of embeddings and that of their `[D, D]` covariance differ by the fourth powers of the norms of rows
//! and columns (theorem 3.3), because ‖ZᵀZ‖ = ‖ZZᵀ‖.
//!
//! So every squared penalty of one matrix is computed through the smaller of the two, with its gradient. Through the other
//! one the diagonal is taken off by a subtraction, which costs the digits by which it outweighs the rest. With equal
//! variances the diagonal's share is at most (N − 1)/D: below N = D/2 half remains at least, and from N = D on the matrix
//! itself is formed and nothing is subtracted. Products are of the embeddings' kind (f32), the scalars of f64.

use tch::{Kind, Tensor};

/// L_c = Σ_{i≠j} (zᵢ·zⱼ)², which pushes samples apart (definition 3.2). `z`: `[N, D]` → scalar.
pub fn sample_contrast(z: &Tensor) -> Tensor {
    off_diagonal_energy(&z.tr()).to_kind(z.kind())
}

/// L_nc = Σ_{j≠k} (Σᵢ z_ij z_ik)², which pushes dimensions apart (definition 3.2). `z`: `[N, D]`, centred by the caller if
/// it should be a covariance → scalar.
pub fn dimension_contrast(z: &Tensor) -> Tensor {
    off_diagonal_energy(z).to_kind(z.kind())
}

/// ½ ln det(I + α ZᵀZ) = ½ ln det(I + α ZZᵀ), through the smaller of the two: the rate of a code for the rows of `z [N, D]`
/// → scalar, to be maximised. α = D/(N ε²) for the distortion ε² (Yu et al., MCR², NeurIPS 2020, equation 7).
pub fn coding_rate(z: &Tensor, alpha: f64) -> Tensor {
    let (n, d) = (z.size()[0], z.size()[1]);
    let gram = if n < d { z.matmul(&z.tr()) } else { z.tr().matmul(z) };
    let identity = Tensor::eye(n.min(d), (z.kind(), z.device()));
    // Numbers that are not finite shall reach the loss, where a run looks for them, and not panic here.
    let (factor, _) = (identity + alpha * gram).linalg_cholesky_ex(false, false);
    factor.diagonal(0, 0, 1).log().sum(None::<Kind>)
}

/// Σ_{j≠k} (ZᵀZ)_jk² for `z [N, D]` → f64 scalar. Through ZZᵀ where N < D: Σ (ZZᵀ)² − Σⱼ (Σᵢ z_ij²)².
pub fn off_diagonal_energy(z: &Tensor) -> Tensor {
    if z.size()[0] < z.size()[1] {
        energy(&z.matmul(&z.tr())) - diagonal_energy(&column_dots(z, z))
    } else {
        energy(&z.tr().matmul(z).fill_diagonal_(0.0, false))
    }
}

/// Σ_{j≠k} (AᵀB)_jk² for `a`, `b` `[N, D]` → f64 scalar. Through ⟨AAᵀ, BBᵀ⟩ − Σⱼ (Σᵢ a_ij b_ij)² where those two products cost
/// less than the one of the other side: 2N < D.
pub fn cross_off_diagonal_energy(a: &Tensor, b: &Tensor) -> Tensor {
    if 2 * a.size()[0] < a.size()[1] {
        let grams = a.matmul(&a.tr()) * b.matmul(&b.tr());
        rows_first(&grams) - diagonal_energy(&column_dots(a, b))
    } else {
        energy(&a.tr().matmul(b).fill_diagonal_(0.0, false))
    }
}

/// Σᵢ a_ij b_ij of `a`, `b` `[N, D]` → `[D]`: the diagonal of AᵀB.
pub fn column_dots(a: &Tensor, b: &Tensor) -> Tensor {
    (a * b).sum_dim_intlist([0i64].as_slice(), false, None::<Kind>)
}

fn energy(matrix: &Tensor) -> Tensor {
    rows_first(&matrix.square())
}

/// The sum of a matrix: rows in its own kind, which takes no copy of it, the sum of their sums in f64.
fn rows_first(matrix: &Tensor) -> Tensor {
    matrix.sum_dim_intlist([1i64].as_slice(), false, None::<Kind>).sum(Kind::Double)
}

fn diagonal_energy(diagonal: &Tensor) -> Tensor {
    diagonal.to_kind(Kind::Double).square().sum(Kind::Double)
}

#[cfg(test)]
mod tests;
