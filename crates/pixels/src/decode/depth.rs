//! Samples that are not unsigned integers of 8 or 16 bits, made into such.

use super::DecodeError;

/// What was done to the samples of a file whose kind an [`Image`](crate::image::Image) does not hold.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Conversion {
    /// Signed integers of 8 or 16 bits, moved up by half of their range. Exact.
    Shifted,
    /// Whole numbers from 0 to 65535 in a wider type, kept as they are. Exact.
    Kept,
    /// Floats from 0 to 1, times 65535 and rounded.
    Shares,
    /// (v − low) / (high − low) · 65535, rounded and clipped. Files with ranges of their own are not comparable any
    /// more: the absolute intensity is lost.
    Rescaled { low: f64, high: f64 },
}

impl Conversion {
    /// The conversion in a few words, the same for all files of its kind.
    pub fn describe(self) -> &'static str {
        match self {
            Self::Shifted => "signed integers shifted to unsigned ones",
            Self::Kept => "whole numbers of a wider type kept as 16 bit",
            Self::Shares => "floats in [0, 1] spread over 16 bit",
            Self::Rescaled { .. } => "rescaled to 16 bit by a range of each file's own",
        }
    }
}

/// Floats or wide integers as 16 bits, by the first of these rules that fits the whole file:
///
/// 1. floats (`fractional`) that all lie in [0, 1]: [`Conversion::Shares`];
/// 2. whole numbers from 0 to 65535: [`Conversion::Kept`];
/// 3. anything else: [`Conversion::Rescaled`], from `declared` (the file's own lowest and highest sample) or, where
///    it has none, from the smallest to the largest sample. A constant file becomes 0.
///
/// An error when samples are infinite or not numbers, with their count.
pub fn to_sixteen<T: Copy>(
    samples: &[T],
    wide: impl Fn(T) -> f64,
    fractional: bool,
    declared: Option<[f64; 2]>,
) -> Result<(Vec<u16>, Conversion), DecodeError> {
    let numbers = || samples.iter().map(|&sample| wide(sample));
    let broken = numbers().filter(|v| !v.is_finite()).count();
    if broken > 0 {
        let problem =
            format!("{broken} of {} samples are infinite or not numbers (NaN)", samples.len());
        return Err(DecodeError::new(problem)
            .with_hint("write the file again with numbers in their place, 0 for instance"));
    }
    let (low, high) = numbers()
        .fold((f64::INFINITY, f64::NEG_INFINITY), |(low, high), v| (low.min(v), high.max(v)));
    let round = |v: f64| (v + 0.5) as u16;
    if fractional && low >= 0.0 && high <= 1.0 {
        let samples = numbers().map(|v| round(v * 65_535.0)).collect();
        return Ok((samples, Conversion::Shares));
    }
    if low >= 0.0 && high <= 65_535.0 && numbers().all(|v| v.fract() == 0.0) {
        return Ok((numbers().map(|v| v as u16).collect(), Conversion::Kept));
    }
    let [low, high] = declared.filter(|[low, high]| low < high).unwrap_or([low, high]);
    // Halved, so that the range of the largest doubles is a number too.
    let span = (high / 2.0 - low / 2.0).max(f64::MIN_POSITIVE);
    let share = |v: f64| ((v / 2.0 - low / 2.0) / span).clamp(0.0, 1.0);
    let samples = numbers().map(|v| round(share(v) * 65_535.0)).collect();
    Ok((samples, Conversion::Rescaled { low, high }))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn floats(samples: &[f64]) -> (Vec<u16>, Conversion) {
        to_sixteen(samples, |v| v, true, None).expect("numbers")
    }

    #[test]
    fn the_first_rule_that_fits_is_taken() {
        assert_eq!(floats(&[0.0, 0.5, 1.0]), (vec![0, 32_768, 65_535], Conversion::Shares));
        assert_eq!(floats(&[0.0, 7.0, 4095.0]), (vec![0, 7, 4095], Conversion::Kept));
        let rescaled = Conversion::Rescaled { low: -1.0, high: 3.0 };
        assert_eq!(floats(&[-1.0, 1.0, 3.0]), (vec![0, 32_768, 65_535], rescaled));
        // A whole number too many, and a fraction among whole numbers.
        assert!(matches!(floats(&[0.0, 65_536.0]).1, Conversion::Rescaled { .. }));
        assert!(matches!(floats(&[0.0, 1.5]).1, Conversion::Rescaled { .. }));
        // Integers of 0 and 1 are counts, floats of 0 and 1 shares.
        let whole = to_sixteen(&[0u32, 1], f64::from, false, None).expect("numbers");
        assert_eq!(whole, (vec![0, 1], Conversion::Kept));
        assert_eq!(floats(&[0.0, 1.0]).0, [0, 65_535]);
    }

    #[test]
    fn a_declared_range_is_used_for_rescaling_only_and_clips() {
        let made = |samples: &[f64]| to_sixteen(samples, |v| v, true, Some([0.0, 10.0])).expect("");
        assert_eq!(made(&[-3.5, 5.0, 12.0]).0, [0, 32_768, 65_535]);
        assert_eq!(made(&[0.25, 1.0]).1, Conversion::Shares);
        let upside_down = to_sixteen(&[0.5, 2.5], |v| v, true, Some([9.0, 1.0])).expect("numbers");
        assert_eq!(upside_down.0, [0, 65_535]);
    }

    #[test]
    fn constants_and_the_largest_numbers_have_results() {
        assert_eq!(floats(&[-7.5; 3]).0, [0; 3]);
        assert_eq!(floats(&[f64::MIN, 0.0, f64::MAX]).0, [0, 32_768, 65_535]);
        assert_eq!(floats(&[]).0, [0u16; 0]);
    }

    #[test]
    fn what_is_no_number_is_counted() {
        let samples = [1.0, f32::NAN, f32::INFINITY, f32::NEG_INFINITY];
        let error = to_sixteen(&samples, f64::from, true, None).expect_err("NaN");
        assert!(error.problem.contains("3 of 4"), "{error}");
        assert!(error.hint.is_some());
    }
}
