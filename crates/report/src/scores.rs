//! Scores as a sentence, as bars and as a table.

use std::collections::BTreeMap;

use maud::{Markup, html};

use crate::record::Score;
use crate::words::{count, duration};

const BASELINE: &str = "random";
const TRAINED: &str = "trained";
const MINUS: &str = "−";

/// The encoder of this run (or a named one) and the baseline, on one metric of one protocol.
struct Comparison<'a> {
    score: &'a Score,
    random: Option<&'a Score>,
}

/// `k-NN 61.3 % [58.0, 64.6], +24.1 points over random initialisation`, for each protocol and encoder. Where there
/// are top-1 scores, or scores of this run's encoder, the others are left to the table.
pub(crate) fn verdict(scores: &[Score]) -> Vec<String> {
    let mut rows = compare(scores);
    let tests: [fn(&Comparison) -> bool; 2] =
        [|row| row.score.encoder == TRAINED, |row| row.score.metric == "top1"];
    for test in tests {
        if rows.iter().any(test) {
            rows.retain(test);
        }
    }
    rows.iter().map(Comparison::sentence).collect()
}

/// Bars with whiskers, then the numbers.
pub(crate) fn render(scores: &[Score]) -> Markup {
    let rows = compare(scores);
    html! {
        div.cards { @for row in &rows { (row.card()) } }
        div.scroll tabindex="0" role="region" aria-label="Table of scores" {
            table {
                thead { tr {
                    th { "Protocol" } th { "Metric" } th { "Encoder" }
                    th.number { "Value" } th.number { "Random init." } th.number { "Difference" }
                    th.number { "Samples" } th { "Setting" } th.number { "Time" }
                } }
                tbody { @for row in &rows { (row.line()) } }
            }
        }
        p.small {
            "Shares are in per cent, their differences in points; intervals are 95 %. The whole scale of a bar is 0 to 100 %; the whisker is the interval."
        }
    }
}

/// One row for each task, protocol, version, metric, layer, test set and encoder; the latest of equal ones stands. The
/// baseline has a row of its own only where nothing stands beside it. This run's encoder comes first.
fn compare(scores: &[Score]) -> Vec<Comparison<'_>> {
    let mut latest: BTreeMap<_, BTreeMap<&str, &Score>> = BTreeMap::new();
    for score in scores {
        let what = (&score.protocol, score.version, &score.metric);
        let key = (&score.task, what, &score.layer, &score.test);
        latest.entry(key).or_default().insert(&score.encoder, score);
    }
    let mut rows: Vec<Comparison> = latest
        .values()
        .flat_map(|encoders| {
            let random = encoders.get(BASELINE).copied();
            let alone = encoders.len() == 1;
            encoders
                .values()
                .filter(move |score| alone || score.encoder != BASELINE)
                .map(move |&score| Comparison { score, random: random.filter(|_| !alone) })
        })
        .collect();
    rows.sort_by_key(|row| row.score.encoder != TRAINED);
    rows
}

impl Comparison<'_> {
    fn sentence(&self) -> String {
        let score = self.score;
        let encoder = match score.encoder.as_str() {
            TRAINED => String::new(),
            BASELINE => "Random initialisation: ".into(),
            name => format!("{name}: "),
        };
        let metric = match score.metric.as_str() {
            "top1" => String::new(),
            _ => format!(" {}", metric(score)),
        };
        let gain = self
            .gain()
            .map(|gain| format!(", {gain}{} over random initialisation", score.unit.difference()))
            .unwrap_or_default();
        let value = format!("{}{}", score.value_in_words(), score.unit.suffix());
        let value = format!("{value} {}", score.interval_in_words());
        let place = place(score);
        format!("{encoder}{}{metric}{place} {}{gain}", protocol(score), value.trim_end())
    }

    fn card(&self) -> Markup {
        let score = self.score;
        let name = if score.encoder == BASELINE { "random init." } else { score.encoder.as_str() };
        html! {
            figure.card {
                figcaption { b { (protocol(score)) } " " span.muted { (metric(score)) (place(score)) } }
                p.big {
                    (score.value_in_words()) span.unit { (score.unit.suffix()) }
                    @if let Some(gain) = self.gain() {
                        span.gain.bad[gain.starts_with(MINUS)] { (gain) (score.unit.difference()) }
                    }
                }
                @if score.unit.is_share() {
                    (bar(name, score, "main"))
                    @if let Some(random) = self.random { (bar("random init.", random, "base")) }
                }
                @if let Some(random) = self.random {
                    @if overlap(score, random) {
                        p.small { "⚠ The intervals overlap: the difference may be chance." }
                    }
                }
            }
        }
    }

    fn line(&self) -> Markup {
        let score = self.score;
        html! {
            tr {
                td { (protocol(score)) @if score.version > 1 { span.muted { " v" (score.version) } } }
                td { (metric(score)) (place(score)) }
                td { (score.encoder) }
                td.number { b { (score.value_in_words()) } " " span.muted { (score.interval_in_words()) } }
                td.number {
                    @if let Some(random) = self.random {
                        (random.value_in_words()) " " span.muted { (random.interval_in_words()) }
                    } @else { "–" }
                }
                td.number { b { (self.gain().unwrap_or_else(|| "–".into())) } }
                td.number { (count(score.samples as u64)) }
                td { (score.setting) }
                td.number { (duration(score.seconds)) }
            }
        }
    }

    fn gain(&self) -> Option<String> {
        let (random, unit) = (self.random?, self.score.unit);
        let difference = self.score.value - random.value;
        let sign = if difference < 0.0 { MINUS } else { "+" };
        Some(format!("{sign}{}", unit.in_words(difference.abs())))
    }
}

fn bar(name: &str, score: &Score, class: &str) -> Markup {
    let place = |share: f64| {
        if share.is_finite() { (share * 1000.0).clamp(0.0, 1000.0).round() } else { 0.0 }
    };
    let whisker = score.interval.map(|bounds| {
        let [low, high] = bounds.map(place);
        format!("M{low} 50H{high}M{low} 30V70M{high} 30V70")
    });
    let value = score.value_in_words();
    let words = format!("{name}: {value} %, 95 % interval {}", score.interval_in_words());
    html! {
        div.bar {
            span title=(name) { (name) }
            svg.(class) viewBox="0 0 1000 100" preserveAspectRatio="none" role="img" aria-label=(words) {
                rect.track x="0" y="20" width="1000" height="60" {}
                rect.fill x="0" y="20" width=(place(score.value)) height="60" {}
                @if let Some(whisker) = whisker { path.whisker d=(whisker) {} }
            }
            span.number { (value) }
        }
    }
}

fn overlap(a: &Score, b: &Score) -> bool {
    match (a.interval, b.interval) {
        (Some(a), Some(b)) => a[0] <= b[1] && b[0] <= a[1],
        _ => false,
    }
}

/// Which activation, which task and which test set, where they are not the usual ones.
fn place(score: &Score) -> String {
    let mut words = String::new();
    let places = [(" at ", &score.layer), (" on ", &score.task), (" on ", &score.test)];
    for (word, name) in places {
        if !name.is_empty() {
            words += word;
            words += name;
        }
    }
    words
}

fn protocol(score: &Score) -> String {
    match score.protocol.as_str() {
        "knn" => "k-NN".into(),
        "linear" => "linear probe".into(),
        "attentive" => "attentive probe".into(),
        "world" => "world model".into(),
        other => other.into(),
    }
}

fn metric(score: &Score) -> String {
    match score.metric.strip_prefix("top") {
        Some(k) if k.parse::<u32>().is_ok() => format!("top-{k}"),
        _ => score.metric.clone(),
    }
}
