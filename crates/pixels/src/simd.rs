//! One body, compiled for several generations of processors.

/// Defines a function whose body is compiled for any processor, for AVX2 and for AVX-512, and which takes at run time the
/// widest that the processor has. The body is plain Rust without fused multiply-adds, so all three give the same bits.
macro_rules! widest {
    ($(#[$about:meta])* $vis:vis fn $name:ident$([$($generic:ident: $bound:path),+])?(
        $($arg:ident: $kind:ty),* $(,)?
    ) $body:block) => {
        $(#[$about])*
        #[cfg_attr(target_arch = "x86_64", expect(unsafe_code, reason = "the processor is asked first"))]
        $vis fn $name$(<$($generic: $bound),+>)?($($arg: $kind),*) {
            #[inline(always)]
            fn plain$(<$($generic: $bound),+>)?($($arg: $kind),*) $body
            #[cfg(target_arch = "x86_64")]
            #[target_feature(enable = "avx2")]
            fn avx2$(<$($generic: $bound),+>)?($($arg: $kind),*) {
                plain($($arg),*);
            }
            #[cfg(target_arch = "x86_64")]
            #[target_feature(enable = "avx512f,avx512bw,avx512dq,avx512vl")]
            fn avx512$(<$($generic: $bound),+>)?($($arg: $kind),*) {
                plain($($arg),*);
            }
            match $crate::simd::level() {
                // SAFETY: the processor has these instructions.
                #[cfg(target_arch = "x86_64")]
                $crate::simd::Level::Avx512 => unsafe { avx512($($arg),*) },
                // SAFETY: as above.
                #[cfg(target_arch = "x86_64")]
                $crate::simd::Level::Avx2 => unsafe { avx2($($arg),*) },
                $crate::simd::Level::Any => plain($($arg),*),
            }
        }
    };
}
pub(crate) use widest;

/// The whole part of a number, of one below 0 or of none 0, of one above `limit` that of `limit`. The conversion of the
/// language has an answer for every number and is not made on many at once; this one is.
#[inline(always)]
#[expect(
    unsafe_code,
    reason = "the conversion is the same, and what it may not get is taken out before"
)]
pub(crate) fn whole(x: f32, limit: u16) -> i32 {
    let limit = f32::from(limit);
    // A comparison with what is no number is false; either line becomes one instruction.
    let x = if x > 0.0 { x } else { 0.0 };
    let x = if x < limit { x } else { limit };
    // SAFETY: a finite number in 0..=65535.
    unsafe { x.to_int_unchecked() }
}

/// What a processor has.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Level {
    Any,
    #[cfg(target_arch = "x86_64")]
    Avx2,
    #[cfg(target_arch = "x86_64")]
    Avx512,
}

/// The widest instructions of this processor.
#[inline]
pub(crate) fn level() -> Level {
    #[cfg(test)]
    return tests::AT_MOST.get().min(of_processor());
    #[cfg(not(test))]
    of_processor()
}

#[inline]
fn of_processor() -> Level {
    #[cfg(target_arch = "x86_64")]
    {
        // Every processor with AVX2 that is sold has BMI, and whoever asks for one may use both.
        let avx2 = is_x86_feature_detected!("avx2")
            && is_x86_feature_detected!("bmi1")
            && is_x86_feature_detected!("bmi2");
        let avx512 = is_x86_feature_detected!("avx512f")
            && is_x86_feature_detected!("avx512bw")
            && is_x86_feature_detected!("avx512dq")
            && is_x86_feature_detected!("avx512vl");
        if avx2 {
            return if avx512 { Level::Avx512 } else { Level::Avx2 };
        }
    }
    Level::Any
}

#[cfg(test)]
mod tests {
    use std::cell::Cell;

    use super::Level;
    use crate::verify::recorded;

    /// What a processor of tests lacks: it has nothing above this.
    #[cfg(target_arch = "x86_64")]
    const ALL: Level = Level::Avx512;
    #[cfg(not(target_arch = "x86_64"))]
    const ALL: Level = Level::Any;

    thread_local! {
        pub(super) static AT_MOST: Cell<Level> = const { Cell::new(ALL) };
    }

    #[test]
    fn every_generation_of_processors_makes_the_recorded_views() {
        #[cfg(target_arch = "x86_64")]
        let levels = [Level::Any, Level::Avx2, Level::Avx512];
        #[cfg(not(target_arch = "x86_64"))]
        let levels = [Level::Any];
        for level in levels {
            AT_MOST.set(level);
            let mut compared = 0;
            for recorded in recorded() {
                let Some(picture) = recorded.pattern() else { continue };
                assert!(
                    recorded.holds(&picture),
                    "{level:?} {} {:?}",
                    recorded.picture,
                    recorded.record
                );
                compared += 1;
            }
            assert_eq!(compared, 64);
        }
    }
}
