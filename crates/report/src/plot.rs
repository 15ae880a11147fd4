//! Small charts as HTML and inline SVG: lines over steps, and points in the plane.
//!
//! Curves are drawn in a stretched box of 1000 × 1000 units with strokes that do not stretch, and the labels are
//! HTML beside it: so text keeps its size on every screen.

use std::ops::RangeInclusive;

use maud::{Markup, html};

use crate::axis::{Axis, LARGEST, range};
use crate::words::figure;

/// Side of the box in which curves are drawn.
const SIDE: f64 = 1000.0;
/// Points of a curve in the page, at most; a screen shows no more.
const MOST_POINTS: usize = 600;

/// Lines over a common horizontal axis.
#[derive(Clone, Debug, Default)]
pub(crate) struct Chart {
    pub(crate) title: String,
    /// Said under the chart, may be empty.
    pub(crate) note: String,
    /// Name of the horizontal axis, which begins at zero.
    pub(crate) x: String,
    pub(crate) series: Vec<Series>,
    /// A horizontal line to compare with, and its name.
    pub(crate) reference: Option<(f64, String)>,
    /// Whether the vertical axis begins at zero.
    pub(crate) from_zero: bool,
    /// Names on the horizontal axis in place of numbers: the first at 0, the next at 1.
    pub(crate) places: Vec<String>,
    /// Values that the vertical axis holds beside those of the lines.
    pub(crate) span: Option<[f64; 2]>,
}

/// One line: points by ascending x. A y that is not finite is a gap.
#[derive(Clone, Debug, Default)]
pub(crate) struct Series {
    pub(crate) name: String,
    pub(crate) points: Vec<[f64; 2]>,
    /// Intervals, `[x, low, high]`.
    pub(crate) whiskers: Vec<[f64; 3]>,
}

impl Chart {
    /// The chart as a figure; nothing when no series has a point that can be drawn.
    pub(crate) fn render(&self) -> Markup {
        let drawable = || self.series.iter().flat_map(|series| &series.points).filter(|p| fits(p));
        if drawable().next().is_none() {
            return html! {};
        }
        let zero = self.from_zero.then_some(0.0);
        let reference = self.reference.as_ref().map(|(y, _)| *y).filter(|y| y.abs() < LARGEST);
        let x = match self.places.len() {
            0 => Axis::tight(drawable().map(|p| p[0]).chain(Some(0.0))),
            _ => Axis::of_places(&self.places),
        };
        let usual = usual(drawable().map(|p| p[1]));
        let outside = drawable().filter(|p| !usual.contains(&p[1])).count();
        let ys = drawable().map(|p| p[1]).filter(|y| usual.contains(y));
        let span = self.span.into_iter().flatten();
        let y = Axis::nice(ys.chain(reference).chain(zero).chain(span).chain(self.bounds()));
        let curves: Vec<Curve> =
            self.series.iter().map(|series| Curve::of(&series.points)).collect();
        html! {
            figure.chart {
                figcaption {
                    b { (self.title) }
                    @if self.series.len() == 1 { (self.last_values(&curves)) }
                }
                div.plot data-x={ (x.low) " " (x.high) } data-y={ (y.low) " " (y.high) } data-unit=(self.x) data-places=(self.places.join("|")) {
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
                        @for (i, (curve, series)) in curves.iter().zip(&self.series).enumerate() {
                            (curve.render(i, &x, &y))
                            @for [at, low, high] in &series.whiskers {
                                path.interval.{ "c" (i) } d={
                                    "M" (round(x.share(*at) * SIDE)) " " (place(&y, *low)) "V" (place(&y, *high))
                                } {}
                            }
                        }
                    }
                    div.ticks-x aria-hidden="true" {
                        @for (at, label) in &x.ticks {
                            span style={ "left:" (round(x.share(*at) * 100.0)) "%" } { (label) }
                        }
                    }
                }
                @if self.series.len() > 1 { p.legend { (self.last_values(&curves)) } }
                @if let Some((y, name)) = &self.reference {
                    p.small { span.dash {} (name) " = " (figure(*y)) }
                }
                @if !self.note.is_empty() { p.small { (self.note) } }
                @if outside > 0 { p.small { "Far outside, drawn on the edge: " (outside) " of the values." } }
                @for series in &self.series {
                    @let lost = series.points.iter().filter(|p| !fits(p)).count();
                    @if lost > 0 {
                        p.small { (series.name) ": " (lost) " of " (series.points.len()) " values are not finite." }
                    }
                }
            }
        }
    }

    /// The ends of the intervals, as far as they leave room for the points: an interval of two seeds may be ten times as
    /// wide as all points together, and is cut.
    fn bounds(&self) -> Vec<f64> {
        let ys = self.series.iter().flat_map(|series| &series.points).filter(|p| fits(p));
        let (low, high) = range(ys.map(|p| p[1]));
        let room = 1.5 * (high - low);
        let ends = self.series.iter().flat_map(|series| &series.whiskers);
        let ends = ends.flat_map(|[_, from, to]| [*from, *to]).filter(|end| end.is_finite());
        ends.map(|end| end.clamp(low - room, high + room)).collect()
    }

    /// Where each line ends, with the line's name where there are several.
    fn last_values(&self, curves: &[Curve]) -> Markup {
        html! {
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

    fn in_words(&self, curves: &[Curve]) -> String {
        let ends = self.series.iter().zip(curves).filter_map(|(series, curve)| {
            let ([_, first], [x, last]) = (curve.first()?, curve.last()?);
            let (first, last) = (figure(first), figure(last));
            Some(format!("; {}: from {first} to {last} at {x}", series.name))
        });
        format!("{} over {}{}", self.title, self.x, ends.collect::<Vec<_>>().concat())
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

/// The values among which a line can be seen. A few far beyond the rest, such as the first steps of a run or a
/// spike, would press all others flat: the bounds are the middle 98 %, widened by their own width on each side.
fn usual(ys: impl Iterator<Item = f64>) -> RangeInclusive<f64> {
    let mut ys: Vec<f64> = ys.collect();
    ys.sort_by(f64::total_cmp);
    let last = ys.len() - 1;
    let (low, high) = (ys[last / 100], ys[last - last / 100]);
    if low < high { low - (high - low)..=high + (high - low) } else { ys[0]..=ys[last] }
}

/// Whether a line jumps about more than it goes somewhere.
fn noisy(points: &[[f64; 2]]) -> bool {
    let ys: Vec<f64> = points.iter().filter(|p| fits(p)).map(|p| p[1]).collect();
    let way: f64 = ys.windows(2).map(|pair| (pair[1] - pair[0]).abs()).sum();
    let (low, high) = range(ys.iter().copied());
    ys.len() >= 30 && way > 3.0 * (high - low)
}

/// The mean over a window around each point: a twentieth of the line, and less at the beginning, where a run
/// changes fastest.
fn smooth(points: &[[f64; 2]]) -> Vec<[f64; 2]> {
    let finite: Vec<[f64; 2]> = points.iter().copied().filter(fits).collect();
    (0..finite.len())
        .map(|i| {
            let half = (finite.len() / 40).min(i / 5).max(2);
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
    let mut moves = Vec::new();
    let mut pen = 'M';
    for point in points {
        if fits(point) {
            moves.push(format!("{pen}{} {}", round(x.share(point[0]) * SIDE), place(y, point[1])));
            pen = 'L';
        } else {
            pen = 'M';
        }
    }
    moves.concat()
}

/// SVG counts downwards. What lies outside is drawn on the edge.
fn place(axis: &Axis, value: f64) -> f64 {
    round((1.0 - axis.share(value)).clamp(0.0, 1.0) * SIDE)
}

/// A tenth of a unit is finer than a pixel. Adding zero turns -0 into 0.
fn round(value: f64) -> f64 {
    (value * 10.0).round() / 10.0 + 0.0
}

/// Points in the plane, one SVG path for each class: `(class of the palette, points)`. Both axes have one scale.
pub(crate) fn scatter(groups: &[(String, Vec<[f64; 2]>)], words: &str) -> Markup {
    let all = || groups.iter().flat_map(|(_, points)| points).filter(|p| fits(p));
    if all().next().is_none() {
        return html! {};
    }
    let (left, right) = range(all().map(|p| p[0]));
    let (bottom, top) = range(all().map(|p| p[1]));
    let scale = SIDE / (right - left).max(top - bottom);
    let (width, height) = ((right - left) * scale + 40.0, (top - bottom) * scale + 40.0);
    let mark = |p: &[f64; 2]| {
        format!("M{} {}h0", round((p[0] - left) * scale), round((top - p[1]) * scale))
    };
    let marks = |points: &[[f64; 2]]| {
        points.iter().filter(|p| fits(p)).map(mark).collect::<Vec<_>>().concat()
    };
    html! {
        svg.scatter viewBox={ "-20 -20 " (round(width)) " " (round(height)) } role="img" aria-label=(words) {
            @for (class, points) in groups {
                @if !points.is_empty() { path.point.(class) d=(marks(points)) {} }
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn values_that_are_not_finite_leave_a_gap() {
        let ys = [1.0, f64::NAN, 2.0, f64::INFINITY, f64::NEG_INFINITY, 1e300, 3.0];
        let points = ys.iter().enumerate().map(|(x, &y)| [x as f64, y]).collect();
        let series = vec![Series { name: "loss".into(), points, ..Series::default() }];
        let svg = Chart { title: "Loss".into(), series, ..Chart::default() }.render().into_string();
        assert!(svg.contains(r#"d="M0 1000M333.3 500M1000 0""#), "{svg}");
        assert!(svg.contains("4 of 7 values are not finite"));
        assert!(!svg.contains("NaN") && !svg.contains("inf"));
    }

    #[test]
    fn a_chart_without_a_finite_value_is_left_out() {
        let series = vec![Series {
            name: "loss".into(),
            points: vec![[1.0, f64::NAN]],
            ..Series::default()
        }];
        assert_eq!(Chart { series, ..Chart::default() }.render().into_string(), "");
    }

    #[test]
    fn a_constant_curve_and_a_single_point_can_be_drawn() {
        for points in
            [vec![[5.0, 0.0]], vec![[1.0, 7.0], [2.0, 7.0]], vec![[1.0, -7.0], [2.0, -7.0]]]
        {
            let series = vec![Series { name: "loss".into(), points, ..Series::default() }];
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
    fn a_spike_does_not_press_the_line_flat() {
        let ys = (0..1000).map(|i| if i == 0 { 300.0 } else { 2.0 + f64::from(i) / 1000.0 });
        let points = ys.enumerate().map(|(x, y)| [x as f64, y]).collect();
        let series = vec![Series { name: "loss".into(), points, ..Series::default() }];
        let svg = Chart { series, ..Chart::default() }.render().into_string();
        assert!(svg.contains(r#"data-y="2 3""#), "{svg}");
        assert!(svg.contains("on the edge: 1 of"));
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
