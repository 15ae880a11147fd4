use std::fs;

use report::record::{JournalLine, Lines, RunInfo, Score, append, read_lines, write_json};
use report::{Run, Skipped};
use tempfile::tempdir;

use crate::synthetic;

#[test]
fn appended_lines_are_read_back_equal() {
    let folder = tempdir().unwrap();
    let path = folder.path().join("skipped.jsonl");
    let written: Vec<Skipped> = ["ä\n.jpg", "</script>", "b\".png"]
        .map(|name| Skipped { name: name.into(), problem: "zero bytes".into() })
        .into();
    for line in &written {
        append(&path, line).unwrap();
    }
    assert_eq!(read_lines(&path).unwrap(), Lines { values: written, dropped: 0 });
}

#[test]
fn a_torn_last_line_costs_only_itself() {
    let folder = tempdir().unwrap();
    synthetic::run(folder.path()).unwrap();
    let path = folder.path().join("journal.jsonl");
    let whole = fs::read(&path).unwrap();
    let before = Run::read(folder.path()).unwrap().journal;

    fs::write(&path, &whole[..whole.len() - 20]).unwrap();
    let torn = Run::read(folder.path()).unwrap();
    assert_eq!(torn.journal, before[..before.len() - 1]);
    assert_eq!(torn.notes.len(), 1);

    // The next line after the kill must not be glued to the ruin.
    append(&path, before.last().unwrap()).unwrap();
    assert_eq!(Run::read(folder.path()).unwrap().journal, before);
}

#[test]
fn a_value_that_is_not_finite_survives_the_journal() {
    let folder = tempdir().unwrap();
    let path = folder.path().join("journal.jsonl");
    let line = JournalLine {
        step: 1,
        epoch: 0.5,
        loss: f64::NAN,
        lr: 0.1,
        images_per_s: 1.0,
        data_wait: 0.0,
        values: [("variance".to_owned(), f64::INFINITY)].into(),
    };
    append(&path, &line).unwrap();
    let read: Lines<JournalLine> = read_lines(&path).unwrap();
    assert!(read.values[0].loss.is_nan() && read.values[0].values["variance"].is_nan());
    assert_eq!(read.values[0].lr, 0.1);
}

#[test]
fn fields_of_a_later_version_do_no_harm() {
    let line = r#"{"step":3,"epoch":1.0,"loss":2.0,"lr":0.1,"images_per_s":9.0,"data_wait":0.0,
        "variance":1,"event":"resumed","stages":[1,2]}"#;
    let line: JournalLine = serde_json::from_str(line).unwrap();
    assert_eq!(line.values, [("variance".to_owned(), 1.0)].into());
    let info: RunInfo = serde_json::from_str(r#"{"title":"a","colour":"blue"}"#).unwrap();
    assert_eq!(info, RunInfo { title: "a".into(), ..RunInfo::default() });
}

#[test]
fn steps_gone_over_again_after_a_resumption_count_once() {
    let folder = tempdir().unwrap();
    synthetic::run(folder.path()).unwrap();
    let before = Run::read(folder.path()).unwrap().journal;
    let again = JournalLine { loss: 77.0, ..before[3].clone() };
    append(&folder.path().join("journal.jsonl"), &again).unwrap();
    let after = Run::read(folder.path()).unwrap().journal;
    assert_eq!(after.len(), before.len());
    assert_eq!(after[3], again);
}

#[test]
fn a_json_file_is_replaced_whole_and_leaves_nothing_beside_it() {
    let folder = tempdir().unwrap();
    let path = folder.path().join("run.json");
    for title in ["first, with a longer title", "second"] {
        write_json(&path, &RunInfo { title: title.into(), ..RunInfo::default() }).unwrap();
    }
    let info: RunInfo = serde_json::from_slice(&fs::read(&path).unwrap()).unwrap();
    assert_eq!(info.title, "second");
    assert_eq!(fs::read_dir(folder.path()).unwrap().count(), 1);
}

#[test]
fn a_failed_write_names_the_file_and_keeps_no_leftover() {
    let folder = tempdir().unwrap();
    let path = folder.path().join("run.json");
    fs::create_dir(&path).unwrap();
    let error = write_json(&path, &RunInfo::default()).unwrap_err();
    assert!(error.to_string().contains("run.json"), "{error}");
    assert_eq!(fs::read_dir(folder.path()).unwrap().count(), 1);
}

#[test]
fn the_names_that_scripts_read_stand() {
    let folder = tempdir().unwrap();
    synthetic::run(folder.path()).unwrap();
    let scores: Lines<Score> = read_lines(&folder.path().join("scores.jsonl")).unwrap();
    let score = serde_json::to_value(&scores.values[0]).unwrap();
    for name in
        ["protocol", "version", "metric", "value", "interval", "samples", "encoder", "seconds"]
    {
        assert!(score.get(name).is_some(), "{name}");
    }
    let journal: Lines<serde_json::Value> =
        read_lines(&folder.path().join("journal.jsonl")).unwrap();
    for name in
        ["step", "epoch", "loss", "lr", "images_per_s", "data_wait", "invariance", "variance"]
    {
        assert!(journal.values[0].get(name).is_some(), "{name}");
    }
}
