//! The shapes, as signed distances: negative inside, in units of the shape's radius, y downwards.

use std::f32::consts::{FRAC_1_SQRT_2, PI};

use super::texture::length;

/// What an object of the world is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Shape {
    Disc,
    Square,
    Triangle,
    Star,
    Ring,
    Cross,
    Crescent,
    Heart,
    Flower,
    Arrow,
}

impl Shape {
    /// By class.
    pub(super) const ALL: [Self; 10] = [
        Self::Disc,
        Self::Square,
        Self::Triangle,
        Self::Star,
        Self::Ring,
        Self::Cross,
        Self::Crescent,
        Self::Heart,
        Self::Flower,
        Self::Arrow,
    ];

    pub(super) fn name(self) -> &'static str {
        match self {
            Self::Disc => "disc",
            Self::Square => "square",
            Self::Triangle => "triangle",
            Self::Star => "star",
            Self::Ring => "ring",
            Self::Cross => "cross",
            Self::Crescent => "crescent",
            Self::Heart => "heart",
            Self::Flower => "flower",
            Self::Arrow => "arrow",
        }
    }

    /// The distance of a point from the edge; near the edge it is exact, which is what smooth edges need, and
    /// farther away a lower bound. No point with |(x, y)| > 1.15 is inside.
    pub(super) fn distance(self, x: f32, y: f32) -> f32 {
        match self {
            Self::Disc => length(x, y) - 0.9,
            Self::Square => bar(x, y, 0.76, 0.76),
            Self::Triangle => triangle(x, y - 0.2, 0.55),
            Self::Star => star(x, y),
            Self::Ring => (length(x, y) - 0.7).abs() - 0.24,
            Self::Cross => bar(x, y, 0.95, 0.29).min(bar(x, y, 0.29, 0.95)),
            Self::Crescent => (length(x, y) - 0.95).max(0.78 - length(x - 0.42, y + 0.1)),
            Self::Heart => heart(x, y - 0.05),
            Self::Flower => {
                let petals = (2.5 * x.atan2(-y)).cos().abs();
                // The outline's slope against the circle is near this for most of its length.
                (length(x, y) - 0.66 - 0.36 * petals) / 1.3
            }
            Self::Arrow => bar(x, y - 0.42, 0.27, 0.5).min(triangle(x, y + 0.42, 0.45)),
        }
    }
}

/// A rectangle around the origin.
fn bar(x: f32, y: f32, half_width: f32, half_height: f32) -> f32 {
    let (x, y) = (x.abs() - half_width, y.abs() - half_height);
    length(x.max(0.0), y.max(0.0)) + x.max(y).min(0.0)
}

/// An equilateral triangle that points up, with the given radius of its inscribed circle.
fn triangle(x: f32, y: f32, inscribed: f32) -> f32 {
    const HALF_ROOT_3: f32 = 0.866_025_4;
    y.max(HALF_ROOT_3 * x.abs() - 0.5 * y) - inscribed
}

/// Five points, one up: in each tenth of the turn the outline is one line from a tip to a notch.
fn star(x: f32, y: f32) -> f32 {
    const TENTH: f32 = PI / 5.0;
    const TIP: f32 = 1.08;
    const NOTCH: f32 = 0.5;
    let radius = length(x, y);
    let turn = x.atan2(-y).abs();
    let angle = (turn - (turn / (2.0 * TENTH)).round() * 2.0 * TENTH).abs();
    let (sin, cos) = TENTH.sin_cos();
    let (along_x, along_y) = (NOTCH * cos - TIP, NOTCH * sin);
    let length = length(along_x, along_y);
    let (from_x, from_y) = (radius * angle.cos() - TIP, radius * angle.sin());
    (from_x * along_y - from_y * along_x) / length
}

/// A square on its corner and two discs on its upper sides.
fn heart(x: f32, y: f32) -> f32 {
    const HALF: f32 = 0.54;
    let (x, y) = (x.abs(), y + 0.05);
    let (u, v) = ((x + y) * FRAC_1_SQRT_2, (x - y) * FRAC_1_SQRT_2);
    bar(u, v, HALF, HALF).min(length(u, v - HALF) - HALF)
}
