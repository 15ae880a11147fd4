//! Features in the plane.

use tch::{Device, Kind, Tensor};

/// The projection on the principal components.
#[derive(Clone, Debug, PartialEq)]
pub struct PrincipalMap {
    /// One point for each row. Zero along a component that the data do not have.
    pub points: Vec<[f32; 2]>,
    /// The share of the variance along each of the two, 0 to 1.
    pub explained: [f64; 2],
}

/// Principal component analysis of `x [N, D]` to two dimensions, centred, in f64. The sign of a component is the
/// one that makes its largest loading positive, so that equal data give equal maps. The cost is that of the
/// eigenvalues of a `D × D` matrix.
pub fn principal(x: &Tensor) -> PrincipalMap {
    let (rows, width) = (x.size()[0], x.size()[1]);
    if rows == 0 || width == 0 {
        return PrincipalMap { points: Vec::new(), explained: [0.0; 2] };
    }
    let x = x.to_device(Device::Cpu).to_kind(Kind::Double);
    let centred = &x - x.mean_dim([0i64].as_slice(), true, Kind::Double);
    let (variances, components) = centred.tr().matmul(&centred).linalg_eigh("L");
    let total = variances.sum(Kind::Double).double_value(&[]);
    let mut map = PrincipalMap { points: vec![[0.0; 2]; rows as usize], explained: [0.0; 2] };
    for axis in 0..width.min(2) {
        let variance = variances.double_value(&[width - 1 - axis]);
        if variance <= 0.0 {
            continue;
        }
        let component = components.select(1, width - 1 - axis);
        let largest = component.abs().argmax(None, false).int64_value(&[]);
        let sign = component.double_value(&[largest]).signum();
        let places = (centred.mv(&component) * sign).to_kind(Kind::Float);
        map.explained[axis as usize] = variance / total;
        for (row, point) in map.points.iter_mut().enumerate() {
            point[axis as usize] = places.double_value(&[row as i64]) as f32;
        }
    }
    map
}

#[cfg(test)]
mod tests {
    use super::*;

    fn along_an_axis() -> Tensor {
        let line = Tensor::linspace(-1.0, 1.0, 21, (Kind::Double, Device::Cpu));
        let ripple = (&line * 50.0).sin() * 0.01;
        // Mostly along (−3, 4) / 5, shifted away from the origin.
        Tensor::stack(&[&line * -3.0 + 7.0 + &ripple * 4.0, &line * 4.0 + &ripple * 3.0], 1)
    }

    #[test]
    fn the_first_component_follows_the_data_with_its_largest_loading_positive() {
        let map = principal(&along_an_axis());
        // ±5 at the ends; the ripple of 0.05 is at right angles, and turns the axis by a fraction of its share.
        assert!((map.points[20][0] - 5.0).abs() < 0.01, "{:?}", map.points[20]);
        assert!((map.points[0][0] + 5.0).abs() < 0.01);
        assert!(map.points.iter().all(|point| point[1].abs() < 0.1));
    }

    #[test]
    fn the_shares_of_the_variance_sum_to_one_in_two_dimensions() {
        let [first, second] = principal(&along_an_axis()).explained;
        // Rounding of f64.
        assert!((first + second - 1.0).abs() < 1e-12 && first > 0.999, "{first} {second}");
    }

    #[test]
    fn the_map_of_mirrored_features_is_mirrored_back() {
        let x = along_an_axis();
        let (map, mirrored) = (principal(&x), principal(&-&x));
        assert!((map.points[3][0] + mirrored.points[3][0]).abs() < 1e-6);
    }

    #[test]
    fn equal_rows_are_one_point() {
        let map = principal(&Tensor::ones([4, 3], (Kind::Float, Device::Cpu)));
        assert_eq!(map, PrincipalMap { points: vec![[0.0; 2]; 4], explained: [0.0; 2] });
    }
}
