//! The main job in one command: pretrain, probe, report.

use std::{
    env, fs,
    path::{Path, PathBuf},
    process::Command,
};

use crate::{
    failure::Failure,
    setup::setup,
    shell::{command, step},
};

const RECIPE: &str = "recipes/demo.toml";
const RUN: &str = "runs/demo";

/// Sets up, builds, pretrains and probes; goes on where an earlier attempt was stopped.
pub fn demo(root: &Path) -> Result<(), Failure> {
    let run = root.join(RUN);
    if state(&run).as_deref() == Some("finished") && run.join("report.html").exists() {
        println!("{RUN} is finished; to start anew, remove it: rm -r {RUN}");
        show(&run);
        return Ok(());
    }
    setup(root)?;
    step(
        "build",
        &mut command(root, "cargo build --release"),
        "the first lines of the first error above usually say what is missing",
    )?;
    let mut pretrain = Command::new(program(root));
    pretrain.current_dir(root).args(["pretrain", RECIPE, "--out", RUN]);
    if run.exists() {
        pretrain.arg("--resume");
    }
    step("pretrain", &mut pretrain, "`cargo xtask demo` goes on from the last checkpoint")?;
    show(&run);
    Ok(())
}

/// The program that `cargo build --release` leaves: beside this one, in the same target folder.
fn program(root: &Path) -> PathBuf {
    let target = env::current_exe().ok().and_then(|path| Some(path.parent()?.parent()?.to_owned()));
    target.unwrap_or_else(|| root.join("target")).join("release/vertebra")
}

/// `running`, `finished`..., as the run folder says.
fn state(run: &Path) -> Option<String> {
    let text = fs::read_to_string(run.join("run.json")).ok()?;
    field(&text, "state").map(|value| value.trim_matches('"').to_string())
}

/// Prints the scores and where the report is.
fn show(run: &Path) {
    let scores = fs::read_to_string(run.join("scores.jsonl")).unwrap_or_default();
    if !scores.is_empty() {
        println!(
            "\n{:<10} {:<8} {:<8} {:>7}   95 % interval",
            "encoder", "protocol", "metric", "value"
        );
    }
    for line in scores.lines() {
        println!("{}", row(line).unwrap_or_else(|| line.to_string()));
    }
    let report = run.join("report.html").display().to_string();
    println!("\nreport: file://{}", report.replace(' ', "%20"));
}

/// One line of `scores.jsonl` as a row of a table.
fn row(line: &str) -> Option<String> {
    let text = |key| field(line, key).map(|value| value.trim_matches('"'));
    let percent = |value: &str| value.trim().parse::<f64>().ok().map(|value| 100.0 * value);
    let (low, high) = text("interval")?.trim_matches(['[', ']']).split_once(',')?;
    Some(format!(
        "{:<10} {:<8} {:<8} {:>5.1} %   {:.1} to {:.1}",
        text("encoder")?,
        text("protocol")?,
        text("metric")?,
        percent(text("value")?)?,
        percent(low)?,
        percent(high)?,
    ))
}

/// The value of `key` in a JSON object, as it stands there. Enough for the files this program reads, whose
/// strings and lists are plain.
fn field<'a>(json: &'a str, key: &str) -> Option<&'a str> {
    let (_, rest) = json.split_once(&format!("\"{key}\""))?;
    let rest = rest.trim_start().strip_prefix(':')?.trim_start();
    let end = match rest.chars().next()? {
        '"' => 2 + rest[1..].find('"')?,
        '[' => 1 + rest.find(']')?,
        _ => rest.find([',', '}', '\n'])?,
    };
    Some(rest[..end].trim_end())
}

#[cfg(test)]
mod tests {
    use super::*;

    const LINE: &str = r#"{"protocol":"knn","version":1,"metric":"top1","value":0.625,"interval":[0.6,0.65],"samples":1000,"encoder":"trained","seconds":1.5}"#;

    #[test]
    fn a_score_becomes_a_row_in_per_cent() {
        let row = row(LINE).expect("a score");
        assert_eq!(
            row.split_whitespace().collect::<Vec<_>>().join(" "),
            "trained knn top1 62.5 % 60.0 to 65.0"
        );
    }

    #[test]
    fn the_state_is_found_in_an_indented_file_too() {
        assert_eq!(
            field("{\n  \"state\": \"finished\",\n  \"steps\": 3\n}", "state"),
            Some("\"finished\"")
        );
    }

    #[test]
    fn a_line_that_is_no_score_gives_no_row() {
        assert_eq!(row("{\"protocol\":\"knn\"}"), None);
    }
}
