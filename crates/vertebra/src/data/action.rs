//! What leads from one view of a place to another, as numbers: the action that a world model is told.

use pixels::record::{JitterRecord, ViewRecord};
use tch::{Device, Tensor};

/// Numbers of an action.
pub const ACTIONS: usize = 7;

/// The largest differences of the published jitter: twice 0.4, 0.4, 0.2 and 0.1.
const LARGEST: [f32; 4] = [0.8, 0.8, 0.4, 0.2];

/// The action a(x → y) from the view `source` to the view `target` of the same crop (Garrido 2024; the layout is ours): the differences
/// y − x of the factors of brightness, contrast and saturation and of the shift of hue, each divided by the largest that the published
/// jitter gives, so that they lie in [−1, 1] (stronger jitter gives more); then 1 or 0 where the source is blurred, grey, solarized. A
/// view without jitter has factors 1 and shift 0. Nothing to do is all zeros.
///
/// It is complete where jitter has a fixed order and the target is neither blurred, grey nor solarized.
pub fn action(source: &ViewRecord, target: &ViewRecord) -> [f32; ACTIONS] {
    let numbers = |view: &ViewRecord| {
        let jitter = view.jitter.unwrap_or(JitterRecord::NEUTRAL);
        [jitter.brightness, jitter.contrast, jitter.saturation, jitter.hue]
    };
    let (from, to) = (numbers(source), numbers(target));
    let flag = |on: bool| f32::from(u8::from(on));
    let mut action = [0.0; ACTIONS];
    for (place, largest) in LARGEST.into_iter().enumerate() {
        action[place] = (to[place] - from[place]) / largest;
    }
    action[4..].copy_from_slice(&[
        flag(source.blur.is_some()),
        flag(source.grayscale),
        flag(source.solarized),
    ]);
    action
}

/// Actions as a tensor `[N, 7]` on `device`.
pub fn actions_on(actions: &[[f32; ACTIONS]], device: Device) -> Tensor {
    let numbers: Vec<f32> = actions.iter().flatten().copied().collect();
    Tensor::from_slice(&numbers).view([-1, ACTIONS as i64]).to_device(device)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn jittered(numbers: [f32; 4]) -> ViewRecord {
        let [brightness, contrast, saturation, hue] = numbers;
        let order = JitterRecord::NEUTRAL.order;
        let jitter = JitterRecord { order, brightness, contrast, saturation, hue };
        ViewRecord { jitter: Some(jitter), ..ViewRecord::untouched([8, 8]) }
    }

    #[test]
    fn nothing_to_do_is_zero_and_the_way_back_is_its_negative() {
        let (x, y) = (jittered([1.2, 0.7, 1.1, -0.05]), jittered([0.8, 1.3, 0.9, 0.1]));
        assert_eq!(action(&x, &x), [0.0; 7]);
        assert_eq!(action(&y, &x).map(|number| -number)[..4], action(&x, &y)[..4]);
        let plain = ViewRecord::untouched([8, 8]);
        assert_eq!(action(&plain, &jittered([1.0, 1.0, 1.0, 0.0])), [0.0; 7]);
    }

    #[test]
    fn the_published_jitter_fills_the_range_and_flags_are_those_of_the_source() {
        let (dark, bright) = (jittered([0.6, 0.6, 0.8, -0.1]), jittered([1.4, 1.4, 1.2, 0.1]));
        for number in &action(&dark, &bright)[..4] {
            assert!((number - 1.0).abs() < 1e-6, "{number}");
        }
        let grey = ViewRecord { grayscale: true, blur: Some(1.0), ..dark.clone() };
        assert_eq!(action(&grey, &bright)[4..], [1.0, 1.0, 0.0]);
        assert_eq!(action(&bright, &grey)[4..], [0.0; 3]);
    }
}
