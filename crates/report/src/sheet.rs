//! The contact sheet of a data set: its pictures class by class, what is there twice, what is broken. One file that needs
//! nothing but a browser.

use std::path::Path;

use maud::{DOCTYPE, Markup, html};

use crate::page::head;
use crate::record::{Picture, write_atomically};
use crate::words::count;
use crate::{ReportError, gallery};

/// Broken files that are named.
const MOST_BROKEN: usize = 200;

/// What a contact sheet shows.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Sheet {
    /// The source, as it was named.
    pub title: String,
    /// One fact each: `780 images`, `3 × 8 bit: 506`.
    pub facts: Vec<String>,
    /// Sentences on what a person should look into.
    pub warnings: Vec<String>,
    /// Pictures by class; a source without labels has one entry.
    pub classes: Vec<Class>,
    /// Classes of which no picture is shown.
    pub more_classes: usize,
    /// Pictures that are the same.
    pub groups: Vec<Twins>,
    /// Groups that are not shown.
    pub more_groups: usize,
    pub tables: Vec<Table>,
    /// Names and problems of what cannot be read.
    pub broken: Vec<(String, String)>,
}

/// A class and some of its pictures.
#[derive(Clone, Debug, PartialEq)]
pub struct Class {
    pub name: String,
    /// Readable images, shown or not.
    pub images: u64,
    pub pictures: Vec<Picture>,
}

/// Pictures that are the same to the bit or to the eye.
#[derive(Clone, Debug, PartialEq)]
pub struct Twins {
    /// `equal`, `near`...
    pub title: String,
    /// Whether their labels differ.
    pub conflict: bool,
    pub pictures: Vec<Picture>,
    /// Members that are not shown.
    pub more: usize,
}

/// Numbers with a name for each row and column.
#[derive(Clone, Debug, PartialEq)]
pub struct Table {
    pub title: String,
    pub columns: Vec<String>,
    pub rows: Vec<(String, Vec<f64>)>,
}

/// Writes the sheet as a page, whole or not at all.
pub fn write(sheet: &Sheet, path: &Path) -> Result<(), ReportError> {
    write_atomically(path, render(sheet).as_bytes())
}

/// The whole page.
pub fn render(sheet: &Sheet) -> String {
    let page = html! {
        (DOCTYPE)
        html lang="en" {
            (head(&sheet.title, "img-src data:; style-src 'unsafe-inline'"))
            body {
                header {
                    p.eyebrow { "Contact sheet" }
                    h1 { (sheet.title) }
                    ul.facts { @for fact in &sheet.facts { li { (fact) } } }
                    @if !sheet.warnings.is_empty() {
                        p.advice role="note" {
                            @for warning in &sheet.warnings { (warning) br; }
                        }
                    }
                }
                (contents(sheet))
                main { (classes(sheet)) (groups(sheet)) (tables(sheet)) (broken(sheet)) }
                footer { "Written by vertebra." }
            }
        }
    };
    page.into_string()
}

fn contents(sheet: &Sheet) -> Markup {
    let sections = [
        ("pictures", "Pictures", true),
        ("twins", "The same picture", !sheet.groups.is_empty()),
        ("channels", "Channels", !sheet.tables.is_empty()),
        ("broken", "What cannot be read", !sheet.broken.is_empty()),
    ];
    html! {
        nav aria-label="Contents" {
            @for (id, name, _) in sections.iter().filter(|(_, _, there)| *there) {
                a href={ "#" (id) } { (name) }
            }
        }
    }
}

fn classes(sheet: &Sheet) -> Markup {
    html! {
        section id="pictures" {
            h2 { "Pictures" }
            p.about { "A random choice of each class, of every class equally many." }
            @for class in &sheet.classes {
                h3 { (class.name) " · " (count(class.images)) }
                div.row.wrap {
                    @for picture in &class.pictures {
                        (gallery::picture(picture, "Image", "plain", &html! { (picture.caption) }))
                    }
                }
            }
            @if sheet.more_classes > 0 {
                p.small { "And " (count(sheet.more_classes as u64)) " more classes." }
            }
        }
    }
}

fn groups(sheet: &Sheet) -> Markup {
    html! {
        @if !sheet.groups.is_empty() {
            section id="twins" {
                h2 { "The same picture" }
                p.about { "Images that are equal to the bit, or the same picture to the eye: to look through, not to believe blindly." }
                @for group in &sheet.groups {
                    h3 {
                        (group.title)
                        @if group.conflict { " · " span.bad { "✗ different labels" } }
                    }
                    div.row.wrap {
                        @for picture in &group.pictures {
                            (gallery::picture(picture, "Image", "plain", &html! {
                                @if let Some(label) = &picture.label { b { (label) } br; }
                                (picture.caption)
                            }))
                        }
                    }
                    @if group.more > 0 { p.small { "And " (count(group.more as u64)) " more." } }
                }
                @if sheet.more_groups > 0 {
                    p.small { "And " (count(sheet.more_groups as u64)) " more groups." }
                }
            }
        }
    }
}

fn tables(sheet: &Sheet) -> Markup {
    html! {
        @if !sheet.tables.is_empty() {
            section id="channels" {
                h2 { "Channels" }
                p.about { "Over all pixels of all images; 0 is black, 1 the largest number that the depth holds." }
                @for table in &sheet.tables {
                    h3 { (table.title) }
                    div.scroll tabindex="0" role="region" aria-label=(table.title) {
                        table {
                            thead { tr { th { } @for name in &table.columns { th.number { (name) } } } }
                            tbody {
                                @for (name, numbers) in &table.rows {
                                    tr {
                                        th scope="row" { (name) }
                                        @for number in numbers { td.number { (format!("{number:.4}")) } }
                                    }
                                }
                            }
                        }
                    }
                }
            }
        }
    }
}

fn broken(sheet: &Sheet) -> Markup {
    let shown = sheet.broken.len().min(MOST_BROKEN);
    html! {
        @if !sheet.broken.is_empty() {
            section id="broken" {
                h2 { "What cannot be read" }
                ul.skipped {
                    @for (name, problem) in &sheet.broken[..shown] { li { code { (name) } " " (problem) } }
                }
                @if sheet.broken.len() > shown {
                    p.small { "And " (count((sheet.broken.len() - shown) as u64)) " more." }
                }
            }
        }
    }
}
