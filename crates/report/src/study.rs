//! Many runs on one page: a table, what is claimed of them and whether it holds, and charts with intervals.

use std::path::Path;

use maud::{DOCTYPE, Markup, PreEscaped, html};

use crate::ReportError;
use crate::page::{HOVER, head};
use crate::plot::{Chart, Series};
use crate::record::write_atomically;

/// What a study says, in words and numbers.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Page {
    pub title: String,
    /// One sentence under the title.
    pub about: String,
    pub claims: Vec<Claim>,
    /// The heads of the table's columns, and its rows.
    pub columns: Vec<String>,
    pub rows: Vec<Vec<String>>,
    /// Sentences under the table.
    pub notes: Vec<String>,
    pub groups: Vec<Group>,
}

/// A claim and what the records say of it.
#[derive(Clone, Debug, PartialEq)]
pub struct Claim {
    pub claim: String,
    pub verdict: Verdict,
    /// The figures that the verdict is computed from, one sentence each.
    pub numbers: Vec<String>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Verdict {
    Holds,
    DoesNotHold,
    Undecided,
}

/// Charts under a common title.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Group {
    pub title: String,
    pub about: String,
    pub plots: Vec<Plot>,
}

/// Lines over one axis. A line keeps its colour, which is that of its place in the list, also without points.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Plot {
    pub title: String,
    /// Name of the horizontal axis.
    pub x: String,
    /// Its places, from left to right, where it has names in place of numbers; a point's x is then the place's index.
    pub places: Vec<String>,
    pub lines: Vec<Line>,
    /// Values that the vertical axis holds in any case, so that plots can be compared.
    pub span: Option<[f64; 2]>,
    /// A horizontal line to compare with, and its name.
    pub reference: Option<(f64, String)>,
}

#[derive(Clone, Debug, Default, PartialEq)]
pub struct Line {
    pub name: String,
    pub points: Vec<Point>,
}

/// A value with its 95 % interval, where it has one.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Point {
    pub x: f64,
    pub y: f64,
    pub interval: Option<[f64; 2]>,
}

impl Verdict {
    pub fn in_words(self) -> &'static str {
        match self {
            Self::Holds => "holds here",
            Self::DoesNotHold => "does not hold here",
            Self::Undecided => "not decided at this budget",
        }
    }
}

/// Writes the page, whole or not at all.
pub fn write(page: &Page, path: &Path) -> Result<(), ReportError> {
    write_atomically(path, page.render().as_bytes())
}

impl Page {
    /// The whole page: one file that needs nothing but a browser.
    pub fn render(&self) -> String {
        let allowed = "img-src data:; style-src 'unsafe-inline'; script-src 'unsafe-inline'";
        let page = html! {
            (DOCTYPE)
            html lang="en" {
                (head(&self.title, allowed))
                body {
                    header {
                        p.eyebrow { "Study" }
                        h1 { (self.title) }
                        p.about { (self.about) }
                    }
                    main {
                        (self.claims())
                        (self.table())
                        @for group in &self.groups { (group.render()) }
                    }
                    footer { "Written by vertebra." }
                    script { (PreEscaped(HOVER)) }
                }
            }
        };
        page.into_string()
    }

    fn claims(&self) -> Markup {
        html! {
            @if !self.claims.is_empty() {
                section id="claims" {
                    h2 { "Claims" }
                    p.about {
                        "Each is judged by differences paired over seeds and their 95 % interval, with these budgets and these images only."
                    }
                    div.claims {
                        @for claim in &self.claims {
                            @let (class, mark) = claim.verdict.mark();
                            div.card {
                                b { (claim.claim) }
                                p.verdict.(class) { (mark) " " (claim.verdict.in_words()) }
                                ul { @for number in &claim.numbers { li { (number) } } }
                            }
                        }
                    }
                }
            }
        }
    }

    fn table(&self) -> Markup {
        html! {
            section id="table" {
                h2 { "Results" }
                div.scroll tabindex="0" role="region" aria-label="Table of results" {
                    table {
                        thead { tr {
                            @for (i, column) in self.columns.iter().enumerate() { th.number[i > 0] { (column) } }
                        } }
                        tbody { @for row in &self.rows { tr {
                            @for (i, cell) in row.iter().enumerate() { td.number[i > 0] { (cell) } }
                        } } }
                    }
                }
                @for note in &self.notes { p.small { (note) } }
            }
        }
    }
}

impl Verdict {
    /// A class of the style, and a mark that needs no colour.
    fn mark(self) -> (&'static str, &'static str) {
        match self {
            Self::Holds => ("good", "✓"),
            Self::DoesNotHold => ("bad", "✗"),
            Self::Undecided => ("warn", "◐"),
        }
    }
}

impl Group {
    fn render(&self) -> Markup {
        html! {
            section {
                h2 { (self.title) }
                @if !self.about.is_empty() { p.about { (self.about) } }
                div.charts.pairs[self.plots.len().is_multiple_of(2)] { @for plot in &self.plots { (plot.render()) } }
            }
        }
    }
}

impl Plot {
    /// On an axis of names, lines stand a little apart, so that their intervals can be told.
    fn render(&self) -> Markup {
        let apart = if self.places.is_empty() { 0.0 } else { 0.5 / self.lines.len().max(1) as f64 };
        let middle = (self.lines.len().max(1) - 1) as f64 / 2.0;
        let series = self.lines.iter().enumerate().map(|(i, line)| {
            let shift = (i as f64 - middle) * apart.min(0.09);
            let whisker = |point: &Point| {
                let [low, high] = point.interval?;
                Some([point.x + shift, low, high])
            };
            Series {
                name: line.name.clone(),
                points: line.points.iter().map(|point| [point.x + shift, point.y]).collect(),
                whiskers: line.points.iter().filter_map(whisker).collect(),
            }
        });
        Chart {
            title: self.title.clone(),
            x: self.x.clone(),
            series: series.collect(),
            places: self.places.clone(),
            span: self.span,
            reference: self.reference.clone(),
            ..Chart::default()
        }
        .render()
    }
}
