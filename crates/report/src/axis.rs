//! Ranges of numbers, and the ticks on them.

/// Beyond this a number is an accident, and differences overflow.
pub(crate) const LARGEST: f64 = 1e30;

/// A range of numbers and the ticks in it.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Axis {
    pub(crate) low: f64,
    pub(crate) high: f64,
    /// Where, and what it says there.
    pub(crate) ticks: Vec<(f64, String)>,
}

impl Axis {
    /// From the least to the greatest value.
    pub(crate) fn tight(values: impl Iterator<Item = f64>) -> Self {
        let (low, high) = range(values);
        Self { low, high, ticks: ticks(low, high, step(low, high, 5)) }
    }

    /// Widened to the ticks around the values.
    pub(crate) fn nice(values: impl Iterator<Item = f64>) -> Self {
        let (low, high) = range(values);
        let step = step(low, high, 4);
        let (low, high) = ((low / step).floor() * step, (high / step).ceil() * step);
        Self { low, high, ticks: ticks(low, high, step) }
    }

    /// Names at 0, 1, 2..., with half a step of room on either side.
    pub(crate) fn of_places(names: &[String]) -> Self {
        let ticks = names.iter().enumerate().map(|(i, name)| (i as f64, name.clone())).collect();
        Self { low: -0.5, high: names.len() as f64 - 0.5, ticks }
    }

    /// 0 at `low`, 1 at `high`.
    pub(crate) fn share(&self, value: f64) -> f64 {
        (value - self.low) / (self.high - self.low)
    }
}

/// The least and the greatest finite value, moved apart where they are equal to rounding.
pub(crate) fn range(values: impl Iterator<Item = f64>) -> (f64, f64) {
    let (low, high) = values
        .filter(|value| value.abs() < LARGEST)
        .fold((f64::INFINITY, f64::NEG_INFINITY), |(low, high), v| (low.min(v), high.max(v)));
    if low > high {
        return (0.0, 1.0);
    }
    let size = low.abs().max(high.abs());
    match high - low > size * 1e-6 {
        true => (low, high),
        false if size < 1e-30 => (-1.0, 1.0),
        false => (low - size * 0.1, high + size * 0.1),
    }
}

/// 1, 2 or 5 times a power of ten, such that about `wanted` steps fill the range.
fn step(low: f64, high: f64, wanted: usize) -> f64 {
    let rough = (high - low) / wanted as f64;
    let power = 10f64.powf(rough.log10().floor());
    let factor = [1.0, 2.0, 5.0].into_iter().find(|f| f * power >= rough * 0.999);
    factor.unwrap_or(10.0) * power
}

/// The multiples of `step` within the range, labelled alike: one suffix, as many decimals as tell them apart.
fn ticks(low: f64, high: f64, step: f64) -> Vec<(f64, String)> {
    let size = low.abs().max(high.abs());
    let (scale, suffix) = match size {
        _ if !(5e-3..1e12).contains(&size) => {
            let exponent = size.log10().floor() as i32;
            (10f64.powi(exponent), format!("e{exponent}"))
        }
        _ if size >= 1e9 => (1e9, "G".into()),
        _ if size >= 1e6 => (1e6, "M".into()),
        _ if size >= 2e3 => (1e3, "k".into()),
        _ => (1.0, String::new()),
    };
    // The small shares keep a bound that is itself a tick despite rounding.
    let (first, last) = ((low / step - 1e-6).ceil() as i64, (high / step + 1e-6).floor() as i64);
    let decimals = (-(step / scale * 1.001).log10().floor()).clamp(0.0, 6.0) as usize;
    (first..=last)
        .map(|i| {
            let value = i as f64 * step;
            match i {
                0 => (0.0, "0".into()),
                _ => (value, format!("{:.decimals$}{suffix}", value / scale)),
            }
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn labels(low: f64, high: f64) -> Vec<String> {
        Axis::tight([low, high].into_iter()).ticks.into_iter().map(|(_, label)| label).collect()
    }

    #[test]
    fn ticks_step_by_one_two_or_five() {
        assert_eq!(labels(0.0, 1.0), ["0", "0.2", "0.4", "0.6", "0.8", "1.0"]);
        assert_eq!(labels(0.0, 10_000.0), ["0", "2k", "4k", "6k", "8k", "10k"]);
        assert_eq!(labels(0.0, 5e-4), ["0", "1e-4", "2e-4", "3e-4", "4e-4", "5e-4"]);
        assert_eq!(labels(-3.0, 7.0), ["-2", "0", "2", "4", "6"]);
        assert_eq!(labels(1.0, 2.5), ["1.0", "1.5", "2.0", "2.5"]);
    }

    #[test]
    fn a_nice_axis_has_a_tick_at_either_end() {
        for (low, high) in [(2.3, 11.9), (0.0, 1e-7), (-17.0, 23.0), (999.0, 1001.0), (4.0, 4.0)] {
            let axis = Axis::nice([low, high].into_iter());
            let ends = [axis.ticks.first(), axis.ticks.last()].map(|tick| tick.map(|(at, _)| *at));
            for (end, tick) in [axis.low, axis.high].into_iter().zip(ends) {
                // Both are one multiple of the step, each rounded once.
                assert!(tick.is_some_and(|at| (at - end).abs() <= 1e-9 * end.abs()), "{axis:?}");
            }
        }
    }

    #[test]
    fn ticks_stay_few_and_within_any_range() {
        for (low, high) in
            [(0.0, 1e-29), (-1e29, 1e29), (0.999_999, 1.0), (3.0, 3.7), (1e6, 1e6 + 7.0)]
        {
            let ticks = Axis::tight([low, high].into_iter()).ticks;
            assert!((2..=11).contains(&ticks.len()), "{low} to {high}: {ticks:?}");
            let slack = (high - low) * 1e-5;
            assert!(ticks.iter().all(|(at, _)| (low - slack..=high + slack).contains(at)));
        }
    }
}
