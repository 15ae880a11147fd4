//! One axis of a resampling: for each output position, which inputs enter with which weights.

use std::ops::Range;

use crate::plan::Interpolation;

/// Fractional bits of a weight.
pub(super) const PRECISION: u32 = 22;

/// The weights of all outputs of an axis. Every output has as many, some of them 0, so that the loops over them are
/// all of one length.
#[derive(Default)]
pub(super) struct Axis {
    /// Each output's first input.
    first: Vec<usize>,
    /// `taps` for each output.
    weights: Vec<i32>,
    taps: usize,
    /// The kernel of one output before it is normalised.
    kernel: Vec<f64>,
    /// Where the outputs are inputs, from this one on: no filtering.
    pub(super) identity: Option<usize>,
}

/// How far apart inputs are for a kernel, and which of them one output reads.
#[derive(Clone, Copy)]
struct Reach {
    /// Where the stretch begins in its first input.
    start: f64,
    scale: f64,
    /// Half of the kernel's width, in inputs.
    support: f64,
    /// The number of inputs.
    n: usize,
}

impl Axis {
    /// Outputs `window` of a stretch of inputs that becomes `m` samples. The inputs are counted from the one that the
    /// stretch begins in; none outside the stretch is read.
    pub(super) fn set(
        &mut self,
        start: f64,
        length: f64,
        m: usize,
        window: Range<usize>,
        interpolation: Interpolation,
    ) {
        self.first.clear();
        self.weights.clear();
        self.identity = (length == m as f64 && start.fract() == 0.0).then_some(window.start);
        if self.identity.is_some() {
            self.taps = 1;
            self.weights.resize(window.len(), 1 << PRECISION);
            self.first.extend(window);
            return;
        }
        let reach = Reach::new(start - start.floor(), length, m, interpolation);
        self.taps = reach.taps(window.clone());
        self.kernel.resize(self.taps, 0.0);
        let narrowing = 1.0 / reach.scale.max(1.0);
        for x in window {
            self.output(&reach, x, interpolation, narrowing);
        }
    }

    /// The inputs that [`set`](Self::set) makes such outputs read, of `length` inputs of which all are there.
    pub(super) fn reads_of(
        length: usize,
        m: usize,
        window: Range<usize>,
        interpolation: Interpolation,
    ) -> Range<usize> {
        if length == m {
            return window;
        }
        let reach = Reach::new(0.0, length as f64, m, interpolation);
        let taps = reach.taps(window.clone());
        let first = |x: usize| reach.inputs(x).start.min(reach.n - taps);
        first(window.start)..first(window.end - 1) + taps
    }

    /// Counts the inputs from input `origin` on.
    pub(super) fn shift(&mut self, origin: usize) {
        for first in self.first.iter_mut().chain(&mut self.identity) {
            *first -= origin;
        }
    }

    fn output(&mut self, reach: &Reach, x: usize, interpolation: Interpolation, narrowing: f64) {
        let inputs = reach.inputs(x);
        let (first, centre) = (inputs.start.min(reach.n - self.taps), reach.centre(x));
        // Every input is computed and those out of reach put to 0: no branch, and the processor's wide units at work.
        for (i, weight) in self.kernel.iter_mut().enumerate() {
            let t = first + i;
            let value = interpolation.kernel((t as f64 - centre + 0.5) * narrowing);
            *weight = if t >= inputs.start && t < inputs.end { value } else { 0.0 };
        }
        let sum: f64 = self.kernel.iter().sum();
        self.weights.extend(self.kernel.iter().map(|weight| fixed(weight / sum)));
        self.first.push(first);
    }

    /// How many outputs there are.
    pub(super) fn len(&self) -> usize {
        self.first.len()
    }

    /// For each output, its first input and its weights.
    #[inline]
    pub(super) fn outputs(&self) -> impl Iterator<Item = (usize, &[i32])> {
        self.first.iter().copied().zip(self.weights.chunks_exact(self.taps))
    }

    /// The range of inputs that any output reads.
    pub(super) fn reads(&self) -> Range<usize> {
        let [first, last] = [self.first.first(), self.first.last()].map(|it| it.map_or(0, |&x| x));
        first..last + self.taps
    }
}

impl Reach {
    fn new(start: f64, length: f64, m: usize, interpolation: Interpolation) -> Self {
        let (scale, n) = (length / m as f64, (start + length).ceil() as usize);
        Self { start, scale, support: scale.max(1.0) * interpolation.support(), n }
    }

    /// The most inputs that one of these outputs has.
    fn taps(&self, window: Range<usize>) -> usize {
        window.map(|x| self.inputs(x).len()).max().unwrap_or(1)
    }

    /// Where output `x` is, in inputs.
    #[inline]
    fn centre(&self, x: usize) -> f64 {
        self.start + (x as f64 + 0.5) * self.scale
    }

    /// The inputs of output `x`.
    #[inline]
    fn inputs(&self, x: usize) -> Range<usize> {
        let centre = self.centre(x);
        let first = (centre - self.support + 0.5).max(0.0) as usize;
        first..((centre + self.support + 0.5) as usize).min(self.n)
    }
}

/// A weight in fixed point, rounded half away from zero.
fn fixed(weight: f64) -> i32 {
    (weight * f64::from(1 << PRECISION) + 0.5f64.copysign(weight)) as i32
}

impl Interpolation {
    /// Half of the kernel's width.
    fn support(self) -> f64 {
        match self {
            Self::Bilinear => 1.0,
            Self::Bicubic => 2.0,
        }
    }

    /// The kernel at distance `x`; Keys 1981 with a = −0.5 for bicubic.
    #[inline]
    fn kernel(self, x: f64) -> f64 {
        const A: f64 = -0.5;
        let x = x.abs();
        match self {
            Self::Bilinear => (1.0 - x).max(0.0),
            Self::Bicubic => {
                let near = ((A + 2.0) * x - (A + 3.0)) * x * x + 1.0;
                let far = (((x - 5.0) * x + 8.0) * x - 4.0) * A;
                if x < 1.0 {
                    near
                } else if x < 2.0 {
                    far
                } else {
                    0.0
                }
            }
        }
    }
}
