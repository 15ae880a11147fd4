//! Whether a classifier is as often right as it says.

use tch::{Kind, Tensor};

use super::label_tensor;

/// Bins of a calibration error, by convention (Guo 2017).
pub const BINS: usize = 15;

/// The temperatures that are looked for: a factor of a hundred either way.
const TEMPERATURES: [f64; 2] = [0.01, 100.0];

/// Expected and maximum calibration error (Naeini 2015, Guo 2017): `bins` bins of equal width, each (low, high], by the
/// confidence of the first answer; |accuracy − mean confidence| of each bin, averaged with the bins' shares of the
/// samples, and the largest. `right` holds 1 or 0. NaN without samples.
pub fn calibration_error(confidence: &[f64], right: &[f64], bins: usize) -> (f64, f64) {
    let mut sums = vec![(0.0, 0.0); bins];
    for (&confidence, &right) in confidence.iter().zip(right) {
        let bin = (confidence * bins as f64).ceil() as usize;
        let (excess, count) = &mut sums[bin.clamp(1, bins) - 1];
        *excess += right - confidence;
        *count += 1.0;
    }
    let n = confidence.len() as f64;
    let expected = sums.iter().map(|(excess, _)| excess.abs()).sum::<f64>() / n;
    let filled = sums.iter().filter(|(_, count)| *count > 0.0);
    let largest = filled.map(|(excess, count)| excess.abs() / count).fold(f64::NAN, f64::max);
    (expected, largest)
}

/// The expected calibration error over `bins` bins that hold equally many samples, as nearly as they can.
pub fn equal_mass_error(confidence: &[f64], right: &[f64], bins: usize) -> f64 {
    let n = confidence.len();
    let mut order: Vec<usize> = (0..n).collect();
    order.sort_by(|&a, &b| {
        confidence[a].total_cmp(&confidence[b]).then(right[a].total_cmp(&right[b]))
    });
    let excess = |bin: usize| {
        let items = &order[bin * n / bins..(bin + 1) * n / bins];
        items.iter().map(|&item| right[item] - confidence[item]).sum::<f64>().abs()
    };
    (0..bins).map(excess).sum::<f64>() / n as f64
}

/// The temperature T, 0.01 to 100, with the lowest mean of −ln softmax(z / T) of the right class, over rows of
/// log-probabilities or logits z `[N, C]` (Guo 2017, section 4.2). The mean is convex in 1 / T.
pub fn temperature(log_probabilities: &Tensor, labels: &[u32]) -> f64 {
    let z = log_probabilities.to_kind(Kind::Double);
    let labels = label_tensor(labels, z.device()).unsqueeze(1);
    let own = z.gather(1, &labels, false).mean(Kind::Double).double_value(&[]);
    // The derivative of the mean by 1 / T.
    let slope = |temperature: f64| {
        let expected = (&z / temperature).softmax(1, None) * &z;
        let sums = expected.sum_dim_intlist([1i64].as_slice(), false, Kind::Double);
        sums.mean(Kind::Double).double_value(&[]) - own
    };
    let [mut low, mut high] = TEMPERATURES.map(f64::ln);
    // Halved forty times, the range is rounding.
    for _ in 0..40 {
        let middle = f64::midpoint(low, high);
        // Colder would be better.
        if slope(middle.exp()) < 0.0 { high = middle } else { low = middle }
    }
    f64::midpoint(low, high).exp()
}
