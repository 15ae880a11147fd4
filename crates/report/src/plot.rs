//! Small charts as HTML and inline SVG: lines over steps, and points in the plane.
//!
//! Curves are drawn in a stretched box of 1000 × 1000 units with strokes that do not stretch, and the labels are
//! HTML beside it: so text keeps its size on every screen.

use maud::{Markup, html};

use crate::words::figure;

/// Side of the box in which curves are drawn.
const SIDE: f64 = 1000.0;
/// Points of a curve in the page, at most; a screen shows no more.
const MOST_POINTS: usize = 600;
/// Beyond this a number is an accident, and differences overflow.
const LARGEST: f64 = 1e30;

/// Lines over a common horizontal axis.
#[derive(Clone, Debug, Default)]
pub struct Chart {
    pub title: String,
    /// Said under the chart, may be empty.
    pub note: String,
    /// Name of the horizontal axis, which begins at zero.
    pub x: String,
    pub series: Vec<Series>,
    /// A horizontal line to compare with, and its name.
    pub reference: Option<(f64, String)>,
    /// Whether the vertical axis begins at zero.
    pub from_zero: bool,
}

/// One line: points by ascending x. A y that is not finite is a gap.
#[derive(Clone, Debug, Default)]
pub struct Series {
    pub name: String,
    pub points: Vec<[f64; 2]>,
}

impl Chart {
    /// The chart as a figure; nothing when no series has a point that can be drawn.
    pub fn render(&self) -> Markup {
        let drawable = || self.series.iter().flat_map(|series| &series.points).filter(|p| fits(p));
        if drawable().next().is_none() {
            return html! {};
        }
        let zero = self.from_zero.then_some(0.0);
        let reference = self.reference.as_ref().map(|(y, _)| *y).filter(|y| y.abs() < LARGEST);
        let x = Axis::tight(drawable().map(|p| p[0]).chain(Some(0.0)));
        let y = Axis::nice(drawable().map(|p| p[1]).chain(reference).chain(zero));
        let curves: Vec<Curve> =
            self.series.iter().map(|series| Curve::of(&series.points)).collect();
        html! {
            figure.chart {
                figcaption {
                    b { (self.title) }
                    (self.legend(&curves))
                }
                div.plot data-x={ (x.low) " " (x.high) } data-y={ (y.low) " " (y.high) } data-unit=(self.x) {
                    div.ticks-y aria-hidden="true" {
                        @for (at, label) in &y.ticks {
                            span style={ "bottom:" (round(y.share(*at) * 100.0)) "%" } { (label) }
                        }
                    }
                    svg viewBox="0 0 1000 1000" preserveAspectRatio="none" role="img"
                        aria-label=(self.in_words(&curves)) {
                        @for (at, _) in &y.ticks {
                            path.grid d={ "M0 " (place(&y, *at)) "H1000" } {}
                        }
                        @if let Some(at) = reference {
                            path.reference d={ "M0 " (place(&y, at)) "H1000" } {}
                        }
                        @for (i, curve) in curves.iter().enumerate() {
                            (curve.render(i, &x, &y))
                        }
                    }
                    div.ticks-x aria-hidden="true" {
                        @for (at, label) in &x.ticks {
                            span style={ "left:" (round(x.share(*at) * 100.0)) "%" } { (label) }
                        }
                    }
                }
                @if let Some((y, name)) = &self.reference {
                    p.small { span.dash {} (name) " = " (figure(*y)) }
                }
                @if !self.note.is_empty() { p.small { (self.note) } }
                @for series in &self.series {
                    @let lost = series.points.iter().filter(|p| !fits(p)).count();
                    @if lost > 0 {
                        p.small { (series.name) ": " (lost) " of " (series.points.len()) " values are not finite." }
                    }
                }
            }
        }
    }

    /// The last value of each line, with the line's name where there are several.
    fn legend(&self, curves: &[Curve]) -> Markup {
        html! {
            span.legend {
                @for (i, (series, curve)) in self.series.iter().zip(curves).enumerate() {
                    @if let Some([_, y]) = curve.last() {
                        span.last.{ "c" (i) } {
                            @if self.series.len() > 1 { span.name { (series.name) } " " }
                            (figure(y))
                        }
                    }
                }
            }
        }
    }

    fn in_words(&self, curves: &[Curve]) -> String {
        let mut words = format!("{} over {}", self.title, self.x);
        for (series, curve) in self.series.iter().zip(curves) {
            if let (Some([_, first]), Some([x, last])) = (curve.first(), curve.last()) {
                let (first, last) = (figure(first), figure(last));
                words += &format!("; {}: from {first} to {last} at {x}", series.name);
            }
        }
        words
    }
}

/// A line as it is drawn: noisy ones faintly, with a smoothed one on top.
struct Curve {
    faint: Option<Vec<[f64; 2]>>,
    main: Vec<[f64; 2]>,
}

impl Curve {
    fn of(points: &[[f64; 2]]) -> Self {
        if noisy(points) {
            let main = thin(&smooth(points), MOST_POINTS / 2);
            Self { faint: Some(thin(points, MOST_POINTS)), main }
        } else {
            Self { faint: None, main: thin(points, MOST_POINTS) }
        }
    }

    fn first(&self) -> Option<[f64; 2]> {
        self.main.iter().copied().find(fits)
    }

    fn last(&self) -> Option<[f64; 2]> {
        self.main.iter().rev().copied().find(fits)
    }

    fn render(&self, index: usize, x: &Axis, y: &Axis) -> Markup {
        html! {
            @if let Some(faint) = &self.faint {
                path.line.faint.{ "c" (index) } d=(path(faint, x, y)) {}
            }
            path.line.main.{ "c" (index) } d=(path(&self.main, x, y)) {}
            @if let Some([at, value]) = self.last() {
                path.dot.{ "c" (index) } d={ "M" (round(x.share(at) * SIDE)) " " (place(y, value)) "h0" } {}
            }
        }
    }
}

/// A range of numbers and the ticks in it.
#[derive(Clone, Debug, PartialEq)]
pub struct Axis {
    pub low: f64,
    pub high: f64,
    /// Where, and what it says there.
    pub ticks: Vec<(f64, String)>,
}

impl Axis {
    /// From the least to the greatest value.
    pub fn tight(values: impl Iterator<Item = f64>) -> Self {
        let (low, high) = range(values);
        Self { low, high, ticks: ticks(low, high, 5) }
    }

    /// Widened to the ticks around the values.
    pub fn nice(values: impl Iterator<Item = f64>) -> Self {
        let (low, high) = range(values);
        let step = step(low, high, 4);
        let (low, high) = ((low / step).floor() * step, (high / step).ceil() * step);
        Self { low, high, ticks: ticks(low, high, 4) }
    }

    /// 0 at `low`, 1 at `high`.
    pub fn share(&self, value: f64) -> f64 {
        (value - self.low) / (self.high - self.low)
    }
}

/// The least and the greatest finite value, moved apart where they are equal to rounding.
fn range(values: impl Iterator<Item = f64>) -> (f64, f64) {
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

/// Multiples of a 1-2-5 step within the range, labelled alike: one suffix, as many decimals as tell them apart.
pub fn ticks(low: f64, high: f64, wanted: usize) -> Vec<(f64, String)> {
    let step = step(low, high, wanted);
    let size = low.abs().max(high.abs());
    let (scale, suffix) = match size {
        _ if size >= 1e12 || size < 5e-3 => {
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

/// Whether a line jumps about more than it goes somewhere.
fn noisy(points: &[[f64; 2]]) -> bool {
    let ys: Vec<f64> = points.iter().filter(|p| fits(p)).map(|p| p[1]).collect();
    let way: f64 = ys.windows(2).map(|pair| (pair[1] - pair[0]).abs()).sum();
    let (low, high) = range(ys.iter().copied());
    ys.len() >= 30 && way > 3.0 * (high - low)
}

/// The mean over a window that is centred on each point, and narrower towards the ends.
fn smooth(points: &[[f64; 2]]) -> Vec<[f64; 2]> {
    let finite: Vec<[f64; 2]> = points.iter().copied().filter(fits).collect();
    let half = (finite.len() / 40).max(2);
    (0..finite.len())
        .map(|i| {
            let window = &finite[i.saturating_sub(half)..(i + half + 1).min(finite.len())];
            [finite[i][0], window.iter().map(|p| p[1]).sum::<f64>() / window.len() as f64]
        })
        .collect()
}

/// At most `most` points: of each stretch the least and the greatest, so that no spike is lost.
fn thin(points: &[[f64; 2]], most: usize) -> Vec<[f64; 2]> {
    if points.len() <= most {
        return points.to_vec();
    }
    let stretch = points.len().div_ceil(most / 2);
    points
        .chunks(stretch)
        .flat_map(|chunk| {
            let by_y = |a: &&[f64; 2], b: &&[f64; 2]| a[1].total_cmp(&b[1]);
            let finite = || chunk.iter().filter(|p| fits(p));
            let mut pair: Vec<[f64; 2]> =
                finite().min_by(by_y).into_iter().chain(finite().max_by(by_y)).copied().collect();
            pair.sort_by(|a, b| a[0].total_cmp(&b[0]));
            pair
        })
        .collect()
}

fn fits(point: &[f64; 2]) -> bool {
    point.iter().all(|value| value.abs() < LARGEST)
}

/// SVG path data; a point that cannot be drawn lifts the pen.
fn path(points: &[[f64; 2]], x: &Axis, y: &Axis) -> String {
    let mut data = String::new();
    let mut pen = 'M';
    for point in points {
        if fits(point) {
            data += &format!("{pen}{} {}", round(x.share(point[0]) * SIDE), place(y, point[1]));
            pen = 'L';
        } else {
            pen = 'M';
        }
    }
    data
}

/// SVG counts downwards.
fn place(axis: &Axis, value: f64) -> f64 {
    round((1.0 - axis.share(value)) * SIDE)
}

/// A tenth of a unit is finer than a pixel. Adding zero turns -0 into 0.
fn round(value: f64) -> f64 {
    (value * 10.0).round() / 10.0 + 0.0
}

/// Points in the plane, one SVG path for each class: `(class of the palette, points)`. Both axes have one scale.
pub fn scatter(groups: &[(String, Vec<[f64; 2]>)], words: &str) -> Markup {
    let all = || groups.iter().flat_map(|(_, points)| points).filter(|p| fits(p));
    if all().next().is_none() {
        return html! {};
    }
    let (left, right) = range(all().map(|p| p[0]));
    let (bottom, top) = range(all().map(|p| p[1]));
    let scale = SIDE / (right - left).max(top - bottom);
    let (width, height) = ((right - left) * scale, (top - bottom) * scale);
    html! {
        svg.scatter viewBox={ "-20 -20 " (round(width + 40.0)) " " (round(height + 40.0)) } role="img" aria-label=(words) {
            @for (class, points) in groups {
                path.point.(class) d=(points.iter().filter(|p| fits(p)).map(|p| format!(
                    "M{} {}h0", round((p[0] - left) * scale), round((top - p[1]) * scale)
                )).collect::<String>()) {}
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn labels(low: f64, high: f64) -> Vec<String> {
        ticks(low, high, 5).into_iter().map(|(_, label)| label).collect()
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
    fn ticks_stay_few_and_within_any_range() {
        for (low, high) in
            [(0.0, 1e-29), (-1e29, 1e29), (0.999_999, 1.0), (3.0, 3.7), (1e6, 1e6 + 7.0)]
        {
            let ticks = ticks(low, high, 5);
            assert!((2..=11).contains(&ticks.len()), "{low} to {high}: {ticks:?}");
            let slack = (high - low) * 1e-5;
            assert!(ticks.iter().all(|(at, _)| (low - slack..=high + slack).contains(at)));
        }
    }

    #[test]
    fn values_that_are_not_finite_leave_a_gap() {
        let ys = [1.0, f64::NAN, 2.0, f64::INFINITY, f64::NEG_INFINITY, 1e300, 3.0];
        let points = ys.iter().enumerate().map(|(x, &y)| [x as f64, y]).collect();
        let series = vec![Series { name: "loss".into(), points }];
        let svg = Chart { title: "Loss".into(), series, ..Chart::default() }.render().into_string();
        assert!(svg.contains(r#"d="M0 1000M333.3 500M1000 0""#), "{svg}");
        assert!(svg.contains("4 of 7 values are not finite"));
        assert!(!svg.contains("NaN") && !svg.contains("inf"));
    }

    #[test]
    fn a_chart_without_a_finite_value_is_left_out() {
        let series = vec![Series { name: "loss".into(), points: vec![[1.0, f64::NAN]] }];
        assert_eq!(Chart { series, ..Chart::default() }.render().into_string(), "");
    }

    #[test]
    fn a_constant_curve_and_a_single_point_can_be_drawn() {
        for points in
            [vec![[5.0, 0.0]], vec![[1.0, 7.0], [2.0, 7.0]], vec![[1.0, -7.0], [2.0, -7.0]]]
        {
            let series = vec![Series { name: "loss".into(), points }];
            let svg = Chart { series, ..Chart::default() }.render().into_string();
            assert!(svg.contains("<path") && !svg.contains("NaN"), "{svg}");
        }
    }

    #[test]
    fn thinning_keeps_the_spike() {
        let points: Vec<[f64; 2]> =
            (0..100_000).map(|i| [f64::from(i), if i == 77_777 { 9.0 } else { 1.0 }]).collect();
        let thin = thin(&points, MOST_POINTS);
        assert!(thin.len() <= MOST_POINTS);
        assert!(thin.contains(&[77_777.0, 9.0]));
        assert!(thin.is_sorted_by(|a, b| a[0] <= b[0]));
    }

    #[test]
    fn smoothing_leaves_a_straight_line_alone() {
        let line: Vec<[f64; 2]> = (0..200).map(|i| [f64::from(i), f64::from(i) * 2.0]).collect();
        for (was, is) in line.iter().zip(smooth(&line)).skip(5).take(190) {
            // Sums of small whole numbers are exact; the quotient is too.
            assert_eq!(*was, is);
        }
    }

    #[test]
    fn a_map_with_infinite_points_draws_the_others() {
        let points = vec![[0.0, 0.0], [f64::NAN, 1.0], [2.0, 1.0]];
        let svg = scatter(&[("c0".into(), points)], "map").into_string();
        assert!(svg.contains(r#"d="M0 500h0M1000 0h0""#), "{svg}");
    }
}
