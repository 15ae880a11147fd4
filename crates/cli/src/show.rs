//! What a person sees of a run: a progress bar on a terminal, plain lines elsewhere, JSON lines for machines.

use std::fmt::Write;
use std::io::IsTerminal;
use std::time::Duration;

use indicatif::{ProgressBar, ProgressState, ProgressStyle};
use report::record::{JournalLine, Score};
use serde_json::json;
use vertebra::pretrain::Event;

/// Where a command's words go.
pub struct Screen {
    json: bool,
    bar: Option<ProgressBar>,
    /// The newest figures, shown at the end of the bar.
    figures: String,
}

impl Screen {
    /// For training: with a bar where standard error is a terminal.
    pub fn new(json: bool) -> Self {
        let bar = (!json && std::io::stderr().is_terminal()).then(|| {
            let bar = ProgressBar::new(0);
            let style = "{bar:30} {pos}/{len}  {prefix}\n{wide_msg}";
            bar.set_style(
                ProgressStyle::with_template(style)
                    .unwrap_or_else(|_| ProgressStyle::default_bar()),
            );
            bar
        });
        Self { json, bar, figures: String::new() }
    }

    /// For commands without steps.
    pub fn quiet(json: bool) -> Self {
        Self { json, bar: None, figures: String::new() }
    }

    /// A sentence for people, on standard error.
    pub fn say(&self, text: &str) {
        match &self.bar {
            Some(bar) if !bar.is_finished() => bar.println(text),
            _ if self.json => eprintln!("{}", json!({ "note": text })),
            _ => eprintln!("{text}"),
        }
    }

    /// The files that could not be read, if any.
    pub fn skipped(&self, files: &[(String, String)]) {
        match files.len() {
            0 => return,
            1 => self.say("1 image could not be read"),
            many => self.say(&format!("{many} images could not be read")),
        }
        for (name, problem) in files {
            self.say(&format!("  {name}: {problem}"));
        }
    }

    pub fn event(&mut self, event: &Event) {
        if self.json {
            if let Some(line) = as_json(event) {
                println!("{line}");
            }
            return;
        }
        match event {
            Event::Begin { step, steps, info } => {
                let from = if *step > 0 { format!(", from step {step}") } else { String::new() };
                self.say(&format!("{}: {} images, {steps} steps{from}", info.title, info.images));
                self.say(&format!("{} in {} on {}", info.machine, info.precision, info.device));
                if let Some(bar) = &self.bar {
                    bar.set_length(*steps);
                    bar.set_position(*step);
                }
            }
            Event::Step { step, seconds_left, .. } => {
                if let Some(bar) = &self.bar {
                    bar.set_position(*step);
                    bar.set_prefix(format!("{} left", clock(*seconds_left)));
                }
            }
            Event::Line(line) => {
                self.figures = figures(line);
                match &self.bar {
                    Some(bar) => bar.set_message(self.figures.clone()),
                    None => eprintln!("step {:>6}  {}", line.step, self.figures),
                }
            }
            Event::Skipped { name, problem } => self.say(&format!("skipped {name}: {problem}")),
            Event::Note(text) => self.say(&format!("note: {text}")),
            Event::Saved(_) => {}
        }
    }

    /// Takes the bar away and leaves its last figures.
    pub fn end_training(&mut self) {
        if let Some(bar) = self.bar.take() {
            bar.finish_and_clear();
            eprintln!("{}", self.figures);
        }
    }

    /// A table of scores on standard output, or one JSON line each.
    pub fn scores(&self, scores: &[Score]) {
        for score in scores {
            if self.json {
                println!("{}", json!({ "score": score }));
                continue;
            }
            let place = [&score.layer, &score.task, &score.test].map(|name| match name.as_str() {
                "" => String::new(),
                name => format!(" {name}"),
            });
            println!(
                "{:<8} {:<14} {:<10}{} {:>6}{:<2}  {}  {} images  {}",
                score.protocol,
                score.metric,
                score.encoder,
                place.concat(),
                score.value_in_words(),
                score.unit.suffix(),
                score.interval_in_words(),
                score.samples,
                score.setting
            );
        }
    }
}

/// A bar over a number of equal pieces of work, from any thread; nothing where standard error is no terminal.
pub struct Progress {
    bar: Option<ProgressBar>,
}

impl Progress {
    pub fn over(count: usize) -> Self {
        Self::styled(count, "{bar:30} {pos}/{len}  {eta} left")
    }

    /// With the speed, for images.
    pub fn of_images(count: usize) -> Self {
        Self::styled(count, "{bar:30} {pos}/{len}  {speed}  {eta} left")
    }

    fn styled(count: usize, style: &str) -> Self {
        let bar = std::io::stderr().is_terminal().then(|| {
            let bar = ProgressBar::new(count as u64);
            let style = ProgressStyle::with_template(style)
                .unwrap_or_else(|_| ProgressStyle::default_bar());
            let speed = |state: &ProgressState, line: &mut dyn Write| {
                // What cannot be shown is missed by nobody.
                let _ = write!(line, "{:.0} images/s", state.per_sec());
            };
            bar.set_style(style.with_key("speed", speed));
            bar
        });
        Self { bar }
    }

    /// Epochs of training, of which `all` may only be known once it began.
    pub fn epoch(&self, done: usize, all: usize, loss: f64) {
        match &self.bar {
            Some(bar) => {
                bar.set_length(all as u64);
                bar.set_position(done as u64);
            }
            None => eprintln!("epoch {done} of {all}  loss {loss:.4}"),
        }
    }

    pub fn step(&self) {
        if let Some(bar) = &self.bar {
            bar.inc(1);
        }
    }

    pub fn at(&self, done: usize) {
        if let Some(bar) = &self.bar {
            bar.set_position(done as u64);
        }
    }

    pub fn end(&self) {
        if let Some(bar) = &self.bar {
            bar.finish_and_clear();
        }
    }
}

/// One line of the journal in words: loss and parts, health, speed.
fn figures(line: &JournalLine) -> String {
    let waiting = 100.0 * line.data_wait;
    // Speed before the rest: a narrow terminal cuts the end.
    let mut words = vec![
        format!("loss {:.3}", line.loss),
        format!("{:.0} images/s, {waiting:.0} % waiting", line.images_per_s),
    ];
    for (name, value) in &line.values {
        let short = match name.as_str() {
            "representation_std"
            | "embedding_std"
            | "grad_norm"
            | "sample_contrastive"
            | "mrr_chance"
            | "dimension_contrastive" => continue,
            "representation_rank" => "rank y",
            "embedding_rank" => "rank z",
            "knn" => "k-NN",
            "r2_mean" => "R²",
            other => other,
        };
        words.push(format!("{short} {value:.3}"));
    }
    words.join("  ")
}

fn as_json(event: &Event) -> Option<serde_json::Value> {
    Some(match event {
        Event::Begin { step, steps, info } => {
            json!({ "begin": { "step": step, "steps": steps, "run": info } })
        }
        Event::Line(line) => json!({ "line": line }),
        Event::Skipped { name, problem } => {
            json!({ "skipped": { "name": name, "problem": problem } })
        }
        Event::Saved(path) => json!({ "saved": path }),
        Event::Note(text) => json!({ "note": text }),
        Event::Step { .. } => return None,
    })
}

pub fn clock(seconds: f64) -> String {
    let duration = Duration::from_secs_f64(seconds.clamp(0.0, 1e9));
    let (hours, rest) = (duration.as_secs() / 3600, duration.as_secs() % 3600);
    if hours > 0 {
        format!("{hours} h {:02} min", rest / 60)
    } else {
        format!("{}:{:02}", rest / 60, rest % 60)
    }
}
