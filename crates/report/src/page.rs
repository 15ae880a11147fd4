//! The page: one file that needs nothing but a browser.

use std::path::{Path, PathBuf};

use maud::{DOCTYPE, Markup, PreEscaped, html};

use crate::record::{Imagination, RunInfo, write_atomically};
use crate::words::{count, date, duration};
use crate::{ReportError, Run, curves, gallery, scores};

const STYLE: &str = include_str!("style.css");
pub(crate) const HOVER: &str = include_str!("hover.js");
/// Skipped files that are named.
const MOST_SKIPPED: usize = 50;

/// Reads the run in `folder` and writes `report.html` there, whole or not at all. Gives its path.
pub fn write(folder: &Path) -> Result<PathBuf, ReportError> {
    let path = folder.join("report.html");
    write_atomically(&path, render(&Run::read(folder)?).as_bytes())?;
    Ok(path)
}

/// The head of a page that asks the network for nothing: the browser itself sees to it. `allowed` is what the page may have
/// in itself.
pub(crate) fn head(title: &str, allowed: &str) -> Markup {
    html! {
        head {
            meta charset="utf-8";
            meta name="viewport" content="width=device-width, initial-scale=1";
            meta http-equiv="Content-Security-Policy" content={ "default-src 'none'; " (allowed) };
            meta name="color-scheme" content="light dark";
            title { (title) " · vertebra" }
            style { (PreEscaped(STYLE)) }
        }
    }
}

/// The whole page. What the run lacks is said in a sentence.
pub fn render(run: &Run) -> String {
    let info = run.info.clone().unwrap_or_default();
    let title = if info.title.is_empty() { &run.name } else { &info.title };
    let page = html! {
        (DOCTYPE)
        html lang="en" {
            (head(title, "img-src data:; style-src 'unsafe-inline'; script-src 'unsafe-inline'"))
            body {
                (header(run, &info, title))
                (contents(imagination(run).is_some()))
                main { (sections(run)) }
                footer { "Written by vertebra" @if !info.version.is_empty() { " " (info.version) } "." }
                script { (PreEscaped(HOVER)) }
            }
        }
    };
    page.into_string()
}

fn header(run: &Run, info: &RunInfo, title: &str) -> Markup {
    html! {
        header {
            p.eyebrow { "Pretraining report" @if !run.name.is_empty() { " · " (run.name) } }
            h1 { (title) }
            p.verdict {
                @for sentence in scores::verdict(&run.scores) { span { (sentence) "." } }
                @if run.scores.is_empty() { "Not probed yet." }
            }
            (facts(run, info))
            @if !info.command.is_empty() {
                pre.command tabindex="0" aria-label="Command" { code { (info.command) } }
            }
            @for advice in &info.advice {
                p.advice role="note" { b { "Advice" } " " (advice) }
            }
            @for note in &run.notes {
                p.advice role="note" { b { "Note" } " " (note) }
            }
            @if run.info.is_none() {
                p.missing { "What made this run is not known: the folder has no readable " code { "run.json" } "." }
            }
        }
    }
}

fn facts(run: &Run, info: &RunInfo) -> Markup {
    let (class, state) = match info.state.as_str() {
        "" => return html! {},
        "finished" => ("good", "✓ finished"),
        "running" => ("", "● running"),
        "interrupted" => ("warn", "◐ interrupted"),
        other => ("bad", other),
    };
    let step = run.journal.last().map_or(0, |line| line.step);
    html! {
        ul.facts {
            li.state.(class) { (state) }
            li { (duration(info.seconds)) }
            @if info.steps > 0 { li { (count(step)) " of " (count(info.steps)) " steps" } }
            @if !info.machine.is_empty() { li { (info.machine) } }
            @if !info.precision.is_empty() { li { (info.precision) } }
            @if !info.commit.is_empty() { li { "commit " code { (short(&info.commit)) } } }
        }
    }
}

fn imagination(run: &Run) -> Option<&Imagination> {
    run.gallery.as_ref().map(|gallery| &gallery.imagination).filter(|it| !it.is_empty())
}

/// Only world models imagine.
fn contents(imagines: bool) -> Markup {
    html! {
        nav aria-label="Contents" {
            @for (id, name) in [
                ("scores", "Scores"), ("training", "Training"), ("views", "Views"),
                ("neighbours", "Neighbours"), ("imagination", "Imagination"), ("map", "Map"), ("recipe", "Recipe"),
                ("provenance", "Provenance"),
            ].into_iter().filter(|(id, _)| *id != "imagination" || imagines) { a href={ "#" (id) } { (name) } }
        }
    }
}

fn sections(run: &Run) -> Markup {
    let pictures = run.gallery.as_ref();
    let views = pictures.map(|g| &g.views).filter(|views| !views.is_empty());
    let rows = pictures.map(|g| &g.neighbours).filter(|rows| !rows.is_empty());
    let map = pictures.and_then(|g| g.map.as_ref()).filter(|map| !map.points.is_empty());
    html! {
        (section("scores", "Scores", "How much a frozen encoder knows, beside the same network untrained.",
            (!run.scores.is_empty()).then(|| scores::render(&run.scores)),
            "No scores yet: scores.jsonl is missing or empty; vertebra probe writes it."))
        (section("training", "Training", "Over optimizer steps. Noisy values are faint under their moving mean; the number beside a title is where the line ends.",
            (!run.journal.is_empty()).then(|| curves::render(&run.journal)),
            "No curves: journal.jsonl is missing or empty."))
        (section("views", "Views", "What the network is shown: source images, and random views of each.",
            views.map(|rows| gallery::views(rows)), "No views: gallery.json is missing or has none."))
        (section("neighbours", "Nearest neighbours", "Which images the encoder finds most alike, nearest first.",
            rows.map(|rows| gallery::neighbours(rows)), "No neighbours: gallery.json is missing or has none."))
        @if let Some(found) = imagination(run) {
            (section("imagination", "What the predictor imagines", "", Some(gallery::imagination(found)), ""))
        }
        (section("map", "Map of the representations", "Each mark is an image; near marks are alike to the encoder.",
            map.map(gallery::map), "No map: gallery.json is missing or has none."))
        (section("recipe", "Recipe", "",
            run.recipe.as_ref().map(|text| html! {
                details { summary { "The resolved recipe" } pre.scroll tabindex="0" { code { (text) } } }
            }), "The recipe is not known: recipe.toml is missing."))
        (skipped(run))
        (section("provenance", "Provenance", "", run.info.as_ref().map(provenance),
            "Not known: run.json is missing or unreadable."))
    }
}

/// `content`, or the sentence on what is missing.
fn section(id: &str, title: &str, about: &str, content: Option<Markup>, missing: &str) -> Markup {
    html! {
        section id=(id) {
            h2 { (title) }
            @match content {
                Some(content) => { @if !about.is_empty() { p.about { (about) } } (content) }
                None => { p.missing { (missing) } }
            }
        }
    }
}

fn skipped(run: &Run) -> Markup {
    let (all, shown) = (run.skipped.len(), run.skipped.len().min(MOST_SKIPPED));
    html! {
        @if all == 0 {
            @match run.info.as_ref().map(|info| info.skipped) {
                Some(0) => { p.muted { "No file was skipped." } }
                Some(n) => { p.missing { (count(n)) " skipped: skipped.jsonl, which would name them, is missing." } }
                None => {}
            }
        } @else {
            details {
                summary { (count(all as u64)) @if all == 1 { " file was skipped" } @else { " files were skipped" } }
                @if all > shown { p.small { "The first " (shown) "; skipped.jsonl has them all." } }
                ul.skipped {
                    @for file in &run.skipped[..shown] { li { code { (file.name) } " " (file.problem) } }
                }
            }
        }
    }
}

fn provenance(info: &RunInfo) -> Markup {
    let started = if info.started == 0 { String::new() } else { date(info.started) };
    let rows = [
        ("Started", started),
        ("Training time", duration(info.seconds)),
        ("Machine", info.machine.clone()),
        ("Device", info.device.clone()),
        ("Precision", info.precision.clone()),
        ("Parameters", count(info.parameters)),
        ("Images", format!("{} ({} skipped)", count(info.images), count(info.skipped))),
        ("Steps", count(info.steps)),
        ("Version", info.version.clone()),
        ("Commit", info.commit.clone()),
        ("State", info.state.clone()),
    ];
    html! {
        table.pairs {
            tbody {
                @for (name, value) in rows.iter().filter(|(_, value)| !value.is_empty()) {
                    tr { th scope="row" { (name) } td { (value) } }
                }
            }
        }
    }
}

/// The first ten letters of a commit's name, which may have a suffix such as `-dirty`.
fn short(commit: &str) -> String {
    let (hash, rest) = commit.split_once('-').map_or((commit, None), |(h, r)| (h, Some(r)));
    let hash: String = hash.chars().take(10).collect();
    rest.map_or(hash.clone(), |rest| format!("{hash}-{rest}"))
}
