//! The images most alike to others, on a page of its own that needs nothing but a browser.

use std::path::Path;

use maud::{DOCTYPE, html};

use crate::page::head;
use crate::record::{NeighbourRow, write_atomically};
use crate::words::count;
use crate::{ReportError, gallery};

/// What the page shows.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Alike {
    /// What was asked: the queries, as they were named.
    pub title: String,
    /// One fact each: the encoder, where was looked, how many images.
    pub facts: Vec<String>,
    pub rows: Vec<NeighbourRow>,
    /// Queries that are not shown.
    pub more: usize,
    /// Names and problems of images that could not be read.
    pub skipped: Vec<(String, String)>,
}

/// Unreadable images that are named.
const MOST_SKIPPED: usize = 50;

/// Writes the page, whole or not at all.
pub fn write(alike: &Alike, path: &Path) -> Result<(), ReportError> {
    write_atomically(path, render(alike).as_bytes())
}

/// The whole page.
pub fn render(alike: &Alike) -> String {
    let page = html! {
        (DOCTYPE)
        html lang="en" {
            (head(&alike.title, "img-src data:; style-src 'unsafe-inline'"))
            body {
                header {
                    p.eyebrow { "Nearest images" }
                    h1 { (alike.title) }
                    ul.facts { @for fact in &alike.facts { li { (fact) } } }
                }
                main {
                    section id="neighbours" {
                        h2 { "Nearest neighbours" }
                        p.about { "The images most alike to each query, nearest first, with the cosine similarity of their features: 1 is the same direction." }
                        @if alike.rows.is_empty() { p.missing { "No query could be read." } }
                        (gallery::neighbours(&alike.rows))
                        @if alike.more > 0 {
                            p.small { "And " (count(alike.more as u64)) " more queries." }
                        }
                    }
                    @if !alike.skipped.is_empty() {
                        section id="broken" {
                            h2 { "What cannot be read" }
                            ul.skipped {
                                @for (name, problem) in alike.skipped.iter().take(MOST_SKIPPED) {
                                    li { code { (name) } " " (problem) }
                                }
                            }
                            @if alike.skipped.len() > MOST_SKIPPED {
                                p.small { "And " (count((alike.skipped.len() - MOST_SKIPPED) as u64)) " more." }
                            }
                        }
                    }
                }
                footer { "Written by vertebra." }
            }
        }
    };
    page.into_string()
}
