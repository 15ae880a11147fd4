//! L-BFGS: minimising a smooth function of many variables (Liu and Nocedal 1989), with a line search to the strong
//! Wolfe conditions.

use std::collections::VecDeque;

use tch::{Kind, Tensor};

/// Pairs of steps and changes of the gradient that the curvature is known by.
const HISTORY: usize = 10;

/// Sufficient decrease and curvature, the usual constants (Nocedal and Wright 2006, chapter 3).
const DECREASE: f64 = 1e-4;
const CURVATURE: f64 = 0.9;

/// Trials of a line search.
const TRIALS: usize = 30;

/// When to stop.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Limits {
    /// Converged when no entry of the gradient is larger.
    pub tolerance: f64,
    /// The most steps.
    pub iterations: usize,
}

/// Where the search ended.
pub(crate) struct Minimum {
    /// `[P]`
    pub at: Tensor,
    pub value: f64,
    /// Whether the gradient fell below the tolerance, or the value stood still to rounding.
    pub converged: bool,
}

struct Place {
    at: Tensor,
    value: f64,
    gradient: Tensor,
}

/// Minimises `objective`, which gives value and gradient `[P]` at a point `[P]`, from `start`. The vectors have the kind
/// of `start`; their products are summed in f64.
pub(super) fn minimise(
    start: Tensor,
    limits: Limits,
    mut objective: impl FnMut(&Tensor) -> (f64, Tensor),
) -> Minimum {
    // A value's rounding, as a share of it: of a mean over rows that were each rounded.
    let noise = if start.kind() == Kind::Double { 1e-15 } else { 1e-7 };
    let (value, gradient) = objective(&start);
    let mut here = Place { at: start, value, gradient };
    let mut history = History::default();
    for _ in 0..limits.iterations {
        if here.gradient.abs().max().double_value(&[]) <= limits.tolerance {
            return here.minimum(true);
        }
        let direction = history.direction(&here.gradient);
        // Without curvature the gradient has no scale: the first step is of length one at most.
        let first = if history.0.is_empty() {
            (1.0 / dot(&here.gradient, &here.gradient).sqrt()).min(1.0)
        } else {
            1.0
        };
        let Some(next) = search(&here, &direction, first, noise, &mut objective) else {
            if history.0.is_empty() {
                break;
            }
            // Old pairs may mislead where rounding has spoilt them: once more, downhill.
            history.0.clear();
            continue;
        };
        history.learn(&here, &next);
        let gained = here.value - next.value;
        here = next;
        if gained.abs() <= noise * here.value.abs().max(1.0) {
            return here.minimum(true);
        }
    }
    let converged = here.gradient.abs().max().double_value(&[]) <= limits.tolerance;
    here.minimum(converged)
}

impl Place {
    fn minimum(self, converged: bool) -> Minimum {
        Minimum { at: self.at, value: self.value, converged }
    }
}

/// Step s, change of the gradient y, and their product, oldest first.
#[derive(Default)]
struct History(VecDeque<(Tensor, Tensor, f64)>);

impl History {
    fn learn(&mut self, from: &Place, to: &Place) {
        let (step, change) = (&to.at - &from.at, &to.gradient - &from.gradient);
        let product = dot(&step, &change);
        // The Wolfe conditions make it positive; rounding may not.
        if product > 0.0 {
            if self.0.len() == HISTORY {
                self.0.pop_front();
            }
            self.0.push_back((step, change, product));
        }
    }

    /// −H g with the inverse Hessian H that the pairs make of a multiple of the identity (Nocedal and Wright 2006,
    /// algorithm 7.4).
    fn direction(&self, gradient: &Tensor) -> Tensor {
        let mut q = -gradient;
        let mut shares = Vec::with_capacity(self.0.len());
        for (step, change, product) in self.0.iter().rev() {
            let share = dot(step, &q) / product;
            q -= change * share;
            shares.push(share);
        }
        if let Some((_, change, product)) = self.0.back() {
            q *= product / dot(change, change);
        }
        for ((step, change, product), share) in self.0.iter().zip(shares.into_iter().rev()) {
            let other = dot(change, &q) / product;
            q += step * (share - other);
        }
        q
    }
}

/// A trial of a line search: how far, the value there, and its slope.
#[derive(Clone, Copy)]
struct Trial {
    t: f64,
    value: f64,
    slope: f64,
}

/// A place along `direction` with a sufficiently lower value and a sufficiently flatter slope; `None` where rounding
/// leaves none to be found.
///
/// `low` always has a sufficiently low value and a steep descent, `high` too high a value or a steep ascent: between
/// them is such a place.
fn search(
    here: &Place,
    direction: &Tensor,
    first: f64,
    noise: f64,
    mut objective: impl FnMut(&Tensor) -> (f64, Tensor),
) -> Option<Place> {
    let slope = dot(direction, &here.gradient);
    if slope >= 0.0 {
        return None;
    }
    let mut low = Trial { t: 0.0, value: here.value, slope };
    let mut high: Option<Trial> = None;
    let mut t = first;
    for _ in 0..TRIALS {
        let at = &here.at + direction * t;
        let (value, gradient) = objective(&at);
        let trial = Trial { t, value, slope: dot(direction, &gradient) };
        let most = here.value + DECREASE * t * slope + noise * here.value.abs();
        // Not a number is never low enough.
        let low_enough = value <= most;
        if low_enough && trial.slope.abs() <= CURVATURE * slope.abs() {
            return Some(Place { at, value, gradient });
        }
        if low_enough && trial.slope < 0.0 {
            low = trial;
        } else {
            high = Some(trial);
        }
        t = high.map_or(2.0 * t, |high| between(low, high));
    }
    None
}

/// The minimum of the cubic through two trials, kept away from both ends.
fn between(a: Trial, b: Trial) -> f64 {
    let width = b.t - a.t;
    let d = a.slope + b.slope - 3.0 * (a.value - b.value) / (a.t - b.t);
    let root = (d * d - a.slope * b.slope).sqrt();
    let share = 1.0 - (b.slope + root - d) / (b.slope - a.slope + 2.0 * root);
    // Not a number where a value was none, or where the cubic has no minimum.
    if share.is_nan() { a.t + 0.5 * width } else { a.t + width * share.clamp(0.1, 0.9) }
}

fn dot(a: &Tensor, b: &Tensor) -> f64 {
    (a * b).sum(Kind::Double).double_value(&[])
}

#[cfg(test)]
mod tests {
    use tch::Device;

    use super::*;

    const LIMITS: Limits = Limits { tolerance: 1e-10, iterations: 200 };

    #[test]
    fn a_badly_scaled_quadratic_is_minimised() {
        let scales = Tensor::logspace(-1.0, 1.0, 20, 10.0, (Kind::Double, Device::Cpu));
        let wanted = Tensor::linspace(-1.0, 1.0, 20, (Kind::Double, Device::Cpu));
        let found = minimise(wanted.zeros_like(), LIMITS, |at| {
            let off = at - &wanted;
            ((&scales * off.square()).sum(Kind::Double).double_value(&[]) / 2.0, &scales * off)
        });
        assert!(found.converged);
        // The smallest curvature is 0.1, and the value stands still at about 1e-15.
        let off = (&found.at - &wanted).abs().max().double_value(&[]);
        assert!(off < 1e-6 && found.value < 1e-13, "{off} {}", found.value);
    }

    #[test]
    fn the_valley_of_rosenbrock_is_followed_to_its_end() {
        let start = Tensor::from_slice(&[-1.2, 1.0]);
        let mut calls = 0;
        let found = minimise(start, LIMITS, |at| {
            calls += 1;
            let (x, y) = (at.double_value(&[0]), at.double_value(&[1]));
            let value = (1.0 - x).powi(2) + 100.0 * (y - x * x).powi(2);
            let gradient = [-2.0 * (1.0 - x) - 400.0 * x * (y - x * x), 200.0 * (y - x * x)];
            (value, Tensor::from_slice(&gradient))
        });
        assert!(found.converged && found.value < 1e-12, "{}", found.value);
        // Published implementations take 36 to 50 evaluations.
        assert!(calls < 70, "{calls} evaluations");
    }

    #[test]
    fn a_function_without_numbers_and_a_limit_of_steps_end_the_search() {
        let start = || Tensor::from_slice(&[1.0, 2.0]);
        let nan = minimise(start(), LIMITS, |at| (f64::NAN, at.ones_like()));
        assert!(!nan.converged);
        let few = Limits { iterations: 1, ..LIMITS };
        let found = minimise(start(), few, |at| {
            (
                at.pow_tensor_scalar(4).sum(Kind::Double).double_value(&[]),
                at.pow_tensor_scalar(3) * 4,
            )
        });
        assert!(!found.converged);
    }

    #[test]
    fn the_cubic_has_its_minimum_where_a_quadratic_has() {
        let trial = |t: f64| Trial { t, value: (t - 0.3).powi(2), slope: 2.0 * (t - 0.3) };
        // Rounding of f64.
        assert!((between(trial(0.0), trial(1.0)) - 0.3).abs() < 1e-12);
        assert!((between(trial(0.0), trial(2.0)) - 0.3).abs() < 1e-12);
        let broken = Trial { value: f64::NAN, ..trial(1.0) };
        assert_eq!(between(trial(0.0), broken), 0.5);
    }
}
