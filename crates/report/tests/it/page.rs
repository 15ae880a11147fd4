use std::fs;

use report::page::{render, write};
use report::record::{EmbeddingMap, Gallery, Score, append};
use report::{ReportError, Run, Skipped};
use tempfile::tempdir;

use crate::synthetic;

const SECTIONS: [&str; 7] =
    ["scores", "training", "views", "neighbours", "map", "recipe", "provenance"];

fn synthetic_run() -> Run {
    let folder = tempdir().unwrap();
    synthetic::run(folder.path()).unwrap();
    Run::read(folder.path()).unwrap()
}

#[test]
fn a_full_run_has_every_section_and_every_chart() {
    let run = synthetic_run();
    assert_eq!(run.notes, [""; 0]);
    let page = render(&run);
    for id in SECTIONS {
        assert!(page.contains(&format!(r#"<section id="{id}">"#)), "{id}");
    }
    for title in [
        "Loss",
        "Variance",
        "Learning rate",
        "Norm of the gradient",
        "Standard deviation",
        "Effective rank",
        "k-NN during training, %",
        "Throughput, images/s",
        "Data wait, %",
    ] {
        assert!(page.contains(&format!("<b>{title}</b>")), "{title}");
    }
    assert!(!page.contains(r#"class="missing""#));
    assert!(page.contains("1/√d, no collapse</p>") || page.contains("1/√d, no collapse = 0.0442"));
    assert!(page.contains("3 files were skipped"));
}

#[test]
fn an_empty_folder_gives_a_page_that_says_what_is_missing() {
    let folder = tempdir().unwrap();
    let path = write(folder.path()).unwrap();
    assert_eq!(path, folder.path().join("report.html"));
    let page = fs::read_to_string(path).unwrap();
    for name in ["scores.jsonl", "journal.jsonl", "gallery.json", "recipe.toml", "run.json"] {
        assert!(page.contains(name), "{name}");
    }
    assert!(!page.contains("<svg"));
    // Only the page itself: the temporary file is gone.
    assert_eq!(fs::read_dir(folder.path()).unwrap().count(), 1);
}

#[test]
fn damaged_files_are_notes_on_the_page() {
    let folder = tempdir().unwrap();
    synthetic::run(folder.path()).unwrap();
    for name in ["run.json", "gallery.json"] {
        fs::write(folder.path().join(name), b"{\"title\": \xff").unwrap();
    }
    fs::write(folder.path().join("journal.jsonl"), b"\0\0\0\0").unwrap();
    fs::write(folder.path().join("recipe.toml"), b"name = \"\xff\"").unwrap();
    let page = fs::read_to_string(write(folder.path()).unwrap()).unwrap();
    for name in
        ["run.json: not the JSON", "gallery.json: not the JSON", "unreadable in journal.jsonl"]
    {
        assert!(page.contains(name), "{name}");
    }
}

#[test]
fn a_folder_that_is_not_there_is_an_error_with_a_hint() {
    let folder = tempdir().unwrap();
    let error = write(&folder.path().join("nowhere")).unwrap_err();
    assert!(matches!(error, ReportError::NoFolder { .. }));
    assert!(error.to_string().contains("nowhere") && error.hint().is_some());
}

#[test]
fn hostile_text_stays_text_wherever_it_stands() {
    let hostile = r#"</script><script>alert("x")</script><img src=x onerror='y'>"#.to_owned();
    let mut run = synthetic_run();
    run.name.clone_from(&hostile);
    run.recipe = Some(hostile.clone());
    run.notes.push(hostile.clone());
    run.skipped.push(Skipped { name: hostile.clone(), problem: hostile.clone() });
    let info = run.info.as_mut().unwrap();
    for field in [
        &mut info.title,
        &mut info.command,
        &mut info.state,
        &mut info.commit,
        &mut info.machine,
        &mut info.version,
        &mut info.precision,
        &mut info.device,
    ] {
        field.clone_from(&hostile);
    }
    info.advice.push(hostile.clone());
    for score in &mut run.scores {
        score.setting.clone_from(&hostile);
        score.protocol.clone_from(&hostile);
        score.metric.clone_from(&hostile);
    }
    let named = Score { encoder: hostile.clone(), ..run.scores[0].clone() };
    run.scores.push(named);
    for line in &mut run.journal {
        line.values.insert(hostile.clone(), 1.0);
    }
    let gallery = run.gallery.as_mut().unwrap();
    let map = gallery.map.as_mut().unwrap();
    map.title.clone_from(&hostile);
    map.classes[0].clone_from(&hostile);
    let rows = gallery.views.iter_mut().map(|row| (&mut row.source, &mut row.views));
    let more = gallery.neighbours.iter_mut().map(|row| (&mut row.query, &mut row.neighbours));
    for (first, rest) in rows.chain(more) {
        for picture in rest.iter_mut().chain([first]) {
            picture.caption.clone_from(&hostile);
            picture.label = Some(hostile.clone());
            picture.png.clone_from(&hostile);
        }
    }
    let (clean, page) = (render(&synthetic_run()), render(&run));
    for mark in ["<script", "</script", "<b>&\""] {
        assert_eq!(page.matches(mark).count(), clean.matches(mark).count(), "{mark}");
    }
    assert!(!page.contains("<img src=x"));
    assert!(!page.contains(r#"alert("x")"#), "a quotation mark got through into an attribute");
}

#[test]
fn the_page_asks_nothing_of_the_network() {
    let page = render(&synthetic_run());
    for mark in ["http://", "https://", "src=\"//", "@import", "url(", "<link", "<iframe", "fetch("]
    {
        assert!(!page.contains(mark), "{mark}");
    }
    assert!(page.contains("default-src 'none'"));
    let sources = page.matches("src=\"").count();
    assert_eq!(sources, page.matches("src=\"data:image/png;base64,").count());
    // With the pictures of the test the page is small; most of a real one is its pictures.
    assert!(page.len() < 200_000, "{} bytes", page.len());
}

#[test]
fn every_picture_and_chart_has_words() {
    let page = render(&synthetic_run());
    assert_eq!(page.matches("<img ").count(), page.matches(" alt=\"").count());
    let charts = page.matches("role=\"img\"").count();
    assert_eq!(charts, page.matches("role=\"img\" aria-label=\"").count());
    let ornaments = page.matches("viewBox=\"0 0 10 10\" aria-hidden").count();
    assert_eq!(page.matches("<svg").count(), charts + ornaments);
}

#[test]
fn the_verdict_says_value_interval_and_gain() {
    let page = render(&synthetic_run());
    let knn = "k-NN 61.3 % [58.0, 64.6], +24.1 points over random initialisation";
    assert!(page.contains(knn));
}

#[test]
fn a_difference_within_the_intervals_is_called_uncertain() {
    let mut run = synthetic_run();
    assert!(!render(&run).contains("may be chance"));
    run.scores[0].value = 0.38;
    run.scores[0].interval = Some([0.35, 0.41]);
    assert!(render(&run).contains("may be chance"));
}

#[test]
fn the_latest_of_equal_scores_stands() {
    let folder = tempdir().unwrap();
    synthetic::run(folder.path()).unwrap();
    let first = Run::read(folder.path()).unwrap().scores.remove(0);
    append(&folder.path().join("scores.jsonl"), &Score { value: 0.777, ..first }).unwrap();
    let page = render(&Run::read(folder.path()).unwrap());
    assert!(page.contains("<b>77.7</b>") && !page.contains("<b>61.3</b>"));
}

#[test]
fn scores_out_of_range_and_not_finite_draw_no_broken_bar() {
    let mut run = synthetic_run();
    for (score, value) in run.scores.iter_mut().zip([f64::NAN, f64::INFINITY, -3.0, 1e300]) {
        score.value = value;
        score.interval = Some([value, value]);
    }
    let page = render(&run);
    for mark in ["width=\"NaN", "width=\"inf", "width=\"-", "d=\"MNaN", "d=\"Minf"] {
        assert!(!page.contains(mark), "{mark}");
    }
}

#[test]
fn a_neighbour_is_judged_only_where_both_have_labels() {
    let mut run = synthetic_run();
    for row in &mut run.gallery.as_mut().unwrap().neighbours {
        row.query.label = None;
    }
    let page = render(&run);
    assert!(!page.contains("✓ 0.98") && page.contains("<b>0.98</b>"));
}

#[test]
fn classes_beyond_twenty_share_one_mark() {
    let mut run = synthetic_run();
    let map = run.gallery.as_mut().unwrap().map.as_mut().unwrap();
    map.classes = (0..101).map(|i| format!("class {i}")).collect();
    map.labels = (0..1200).map(|i| i % 101).collect();
    let page = render(&run);
    assert!(
        page.contains("81 others") && page.contains("class 19<") && !page.contains("class 20<")
    );
}

#[test]
fn a_map_without_labels_or_with_wrong_ones_is_grey() {
    let points = vec![[0.0, 0.0], [1.0, f32::NAN], [1.0, 1.0]];
    for labels in [vec![], vec![7, 7, 7]] {
        let map =
            EmbeddingMap { title: "PCA".into(), points: points.clone(), labels, classes: vec![] };
        let gallery = Some(Gallery { map: Some(map), ..Gallery::default() });
        let page = render(&Run { gallery, ..Run::default() });
        assert!(page.contains(r#"class="point grey" d="M0 1000h0M1000 0h0""#));
    }
}

#[test]
fn what_a_predictor_imagines_is_shown_where_there_is_one_and_nowhere_else() {
    let picture = |caption: &str| report::record::Picture {
        png: crate::synthetic::PNGS[0].into(),
        caption: caption.into(),
        label: None,
    };
    let answer = |right: bool| report::record::Imagined {
        truth: picture("brighter"),
        found: vec![picture("brightness ×1.40")],
        right,
    };
    let row = report::record::ImaginedRow {
        source: picture("#7"),
        asked: [true, false].map(answer).into(),
    };
    let imagination =
        report::record::Imagination { about: "Told a <change>.".into(), rows: vec![row] };
    let gallery = Some(Gallery { imagination, ..Gallery::default() });
    let page = render(&Run { gallery, ..Run::default() });
    for part in ["href=\"#imagination\"", "Told a &lt;change&gt;.", "1 of 2 are right", "✓ ", "✗ "]
    {
        assert!(page.contains(part), "{part}");
    }
    let page = render(&Run { gallery: Some(Gallery::default()), ..Run::default() });
    assert!(!page.contains("imagination"), "only world models imagine");
    assert!(!serde_json::to_string(&Gallery::default()).unwrap().contains("imagination"));
}
