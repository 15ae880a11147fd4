//! Schedules as functions of the fraction of the run that is done. There is no state to save: the
//! step tells all.
//!
//! `done` is step / steps, counted before the step: 0 for the first, (S − 1)/S for the last. Values
//! outside [0, 1] count as the nearer end.

use std::f64::consts::PI;

/// The factor on the peak learning rate: from 0 up to 1 in a straight line over the fraction
/// `warmup`, then half a cosine down to `end`.
///
/// VICReg and Barlow Twins end at 0.001, MAE and BYOL at 0. DINO's table reaches its peak one step
/// earlier than this.
pub fn warmup_cosine(done: f64, warmup: f64, end: f64) -> f64 {
    warmup_cosine_from(0., done, warmup, end)
}

/// [`warmup_cosine`] that starts from the factor `start`: I-JEPA's 0.2, SwAV's 0.0625.
pub fn warmup_cosine_from(start: f64, done: f64, warmup: f64, end: f64) -> f64 {
    if done < warmup {
        return linear(start, 1., done / warmup);
    }
    // A run that is all warm-up stays at the peak on its last step.
    cosine(1., end, (done - warmup) / (1. - warmup).max(f64::MIN_POSITIVE))
}

/// Half a cosine from `start` to `end`.
///
/// With `end` = 1 it is the EMA momentum of BYOL, MoCo-v3 and DINO, 1 − (1 − τ₀)(cos(πs/S) + 1)/2;
/// from 0.04 to 0.4 DINO's weight decay.
pub fn cosine(start: f64, end: f64, done: f64) -> f64 {
    end + (start - end) * 0.5 * (1. + (PI * done.clamp(0., 1.)).cos())
}

/// A straight line from `start` to `end`: I-JEPA's EMA momentum (with `done` = s / 1.25 S, for its
/// schedules are longer than its run), the warm-up of a teacher's temperature.
pub fn linear(start: f64, end: f64, done: f64) -> f64 {
    start + (end - start) * done.clamp(0., 1.)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The oracles have nine or ten digits.
    fn assert_close(found: f64, wanted: f64) {
        assert!((found - wanted).abs() < 1e-9, "{found} is not {wanted}");
    }

    #[test]
    fn vicreg_warms_up_ten_steps_and_ends_just_above_a_thousandth() {
        let wanted = [(0, 0.), (1, 0.1), (9, 0.9), (10, 1.), (55, 0.5005), (99, 0.001_304_282)];
        for (step, value) in wanted {
            assert_close(warmup_cosine(f64::from(step) / 100., 0.1, 0.001), value);
        }
    }

    #[test]
    fn mae_counts_in_fractions_of_epochs() {
        for (epoch, value) in [(0., 0.), (2.5, 0.5), (5., 1.), (52.5, 0.500_000_5)] {
            assert_close(warmup_cosine(epoch / 100., 0.05, 1e-6), value);
        }
    }

    #[test]
    fn dino_raises_the_weight_decay_and_the_momentum() {
        for (step, value) in [(0, 0.04), (25, 0.092_720_779), (50, 0.22), (99, 0.399_911_181)] {
            assert_close(cosine(0.04, 0.4, f64::from(step) / 100.), value);
        }
        for (step, value) in [(0, 0.996), (25, 0.996_585_786), (50, 0.998), (99, 0.999_999_013)] {
            assert_close(cosine(0.996, 1., f64::from(step) / 100.), value);
        }
    }

    #[test]
    fn byol_momentum_reaches_one_at_the_end() {
        let wanted = [(0, 0.99), (25, 0.991_464_466), (50, 0.995), (99, 0.999_997_533), (100, 1.)];
        for (step, value) in wanted {
            assert_close(cosine(0.99, 1., f64::from(step) / 100.), value);
        }
    }

    #[test]
    fn ijepa_runs_schedules_longer_than_the_run() {
        let lr = [(1, 0.28), (9, 0.92), (10, 1.), (50, 0.730_302_486), (100, 0.113_032_21)];
        for (call, value) in lr {
            let done = f64::from(call) / 125.;
            assert_close(warmup_cosine_from(0.2, done, 10. / 125., 0.001), value);
        }
        for (call, value) in [(1, 0.040_056_846), (50, 0.164_376_941), (100, 0.365_623_059)] {
            assert_close(cosine(0.04, 0.4, f64::from(call) / 125.), value);
        }
        for (step, value) in [(0, 0.996), (50, 0.9976), (99, 0.999_168)] {
            assert_close(linear(0.996, 1., f64::from(step) / 125.), value);
        }
    }

    #[test]
    fn the_ends_hold_without_warmup_and_beyond_the_run() {
        assert_close(warmup_cosine(0., 0., 0.1), 1.);
        assert_close(warmup_cosine(1., 1., 0.1), 1.);
        assert_close(warmup_cosine(1.5, 0.1, 0.1), 0.1);
        assert_close(linear(0.04, 0.07, 3.), 0.07);
    }
}
