//! Where the patches of a vision transformer are, as tokens can tell it.

use serde::{Deserialize, Serialize};
use tch::{Tensor, nn};

use super::VitConfig;
use crate::models::layers::NARROW;

/// What is added to the tokens of patches to tell where they are.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Positions {
    /// Parameters.
    Learned,
    /// Sines and cosines of column and row, which do not learn: [`sincos`]. Tokens before the patches have none.
    Sincos,
}

impl Positions {
    /// Whether these are the positions that a recipe need not write.
    #[expect(clippy::trivially_copy_pass_by_ref, reason = "serde calls it so")]
    pub(super) fn are_learned(&self) -> bool {
        *self == Self::Learned
    }
}

/// Positions of `placed` tokens and of the patches behind them, `[1, T, D]`, under the name that timm gives them.
pub(super) fn of(path: &nn::Path, placed: i64, config: &VitConfig, width: i64) -> Tensor {
    let grid = config.grid();
    let shape = [1, placed + grid * grid, width];
    if config.positions == Positions::Learned {
        return path.var("pos_embed", &shape, NARROW);
    }
    let fixed = path.zeros_no_train("pos_embed", &shape);
    tch::no_grad(|| fixed.narrow(1, placed, grid * grid).copy_(&sincos(grid, grid, width)));
    fixed
}

/// Positions of a grid of patches by sines and cosines, `[1, rows · columns, D]`, row by row (I-JEPA's and MAE's code): the first half of
/// the dimensions encodes the column, the second the row; each half of d dimensions is sin(pω₀)…, cos(pω₀)… with
/// ω_k = 10000^(−2k/d). D is a multiple of 4.
pub fn sincos(rows: i64, columns: i64, width: i64) -> Tensor {
    let quarter = width / 4;
    let code = |place: i64| {
        let angle = move |k: i64| place as f64 * 10000f64.powf(-(k as f64) / quarter as f64);
        let sines = (0..quarter).map(move |k| angle(k).sin() as f32);
        sines.chain((0..quarter).map(move |k| angle(k).cos() as f32))
    };
    let codes: Vec<f32> = (0..rows)
        .flat_map(|row| (0..columns).map(move |column| (row, column)))
        .flat_map(|(row, column)| code(column).chain(code(row)))
        .collect();
    Tensor::from_slice(&codes).view([1, rows * columns, 4 * quarter])
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_code_of_a_place_is_its_column_then_its_row() {
        let table = sincos(2, 3, 8);
        let at = |place: i64| Vec::<f32>::try_from(&table.get(0).get(place)).unwrap_or_default();
        let zero = [0.0, 0.0, 1.0, 1.0];
        // d = 4: ω = 1 and 1/100.
        let one = [0.841_471, 0.009_999_8, 0.540_302, 0.999_95];
        let close = |found: &[f32], wanted: &[f32]| {
            found.iter().zip(wanted).all(|(a, b)| (a - b).abs() < 1e-6)
        };
        assert!(close(&at(0)[..4], &zero) && close(&at(0)[4..], &zero));
        assert!(close(&at(1)[..4], &one) && close(&at(1)[4..], &zero), "{:?}", at(1));
        assert!(close(&at(3)[..4], &zero) && close(&at(3)[4..], &one), "{:?}", at(3));
    }
}
