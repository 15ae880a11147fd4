//! Features as files for other programs.

use std::fs;
use std::path::{Path, PathBuf};

use pixels::source::Source;
use report::record;
use serde_json::json;

use crate::error::{Error, Result};
use crate::evaluation::FeatureTable;

/// Writes `[N, D]` f32 as `out` (`.npy`) and, beside it, one JSON line per row with the image's `name`, `label` and
/// `class`. Returns the second file's path. Both are whole or not there.
pub fn write(table: &FeatureTable, source: &dyn Source, out: &Path) -> Result<PathBuf> {
    if out.extension().is_none_or(|ending| ending != "npy") {
        return Err(Error::Usage {
            problem: format!("{}: expected a file name that ends in .npy", out.display()),
            hint: Some("for example --out features.npy".into()),
        });
    }
    let temporary = out.with_extension("npy.tmp");
    if let Err(error) = table.x.write_npy(&temporary) {
        // The first failure is the one to report.
        let _ = fs::remove_file(&temporary);
        return Err(Error::file("write", out)(std::io::Error::other(error.to_string())));
    }
    fs::rename(&temporary, out).map_err(Error::file("write", out))?;
    let rows = out.with_extension("jsonl");
    let mut lines = String::new();
    for (&sample, label) in table.samples.iter().zip(&table.labels) {
        let class = label.and_then(|label| source.classes().get(label as usize));
        let row = json!({ "name": source.name(sample), "label": label, "class": class });
        lines.push_str(&row.to_string());
        lines.push('\n');
    }
    record::write_atomically(&rows, lines.as_bytes())?;
    Ok(rows)
}
