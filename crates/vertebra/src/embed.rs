//! Features as files for other programs.

#[cfg(feature = "parquet")]
mod columns;

use std::fs::{self, File};
use std::io::{self, BufWriter, Write};
use std::path::{Path, PathBuf};

use pixels::source::Source;
use report::record;
use serde_json::json;
use tch::Tensor;

use crate::error::{Error, Result};
use crate::evaluation::FeatureTable;

/// Rows that are in memory at once.
const ROWS: usize = 4096;

/// Refuses a file name that [`write()`] cannot serve, before anything is computed.
pub fn check(out: &Path) -> Result<()> {
    match ending(out) {
        "npy" => Ok(()),
        "parquet" if cfg!(feature = "parquet") => Ok(()),
        "parquet" => Err(Error::Usage {
            problem: format!("{}: this build does not write parquet files", out.display()),
            hint: Some("build it with `--features parquet`, or write an .npy file".into()),
        }),
        _ => Err(Error::Usage {
            problem: format!(
                "{}: expected a file name that ends in .npy or .parquet",
                out.display()
            ),
            hint: Some("for example --out features.npy".into()),
        }),
    }
}

/// Writes the tables of one source's layers (one or more, with the same rows) and gives the files' paths. Each is whole or
/// not there.
///
/// `out.npy`: an array `[N, D]` of f32, or one for each of several layers, `out.LAYER.npy`; and `out.jsonl`, one JSON line
/// per row with the image's `name`, `label` and `class`.
///
/// `out.parquet`: one row per image with `name`, `label`, `class`, `group`, and `feature`, a list of D numbers; with several
/// layers a list for each, under the layer's name with `_` for its dots.
pub fn write(
    tables: &[(String, FeatureTable)],
    source: &dyn Source,
    out: &Path,
) -> Result<Vec<PathBuf>> {
    check(out)?;
    if ending(out) == "parquet" {
        #[cfg(feature = "parquet")]
        whole(out, |file| columns::write(tables, source, file))?;
        return Ok(vec![out.to_path_buf()]);
    }
    let mut paths = Vec::new();
    for (layer, table) in tables {
        let alone = tables.len() == 1;
        let path =
            if alone { out.to_path_buf() } else { out.with_extension(format!("{layer}.npy")) };
        whole(&path, |file| array(&table.x, file))?;
        paths.push(path);
    }
    if let Some((_, table)) = tables.first() {
        let path = out.with_extension("jsonl");
        record::write_atomically(&path, rows(table, source).as_bytes())?;
        paths.push(path);
    }
    Ok(paths)
}

fn ending(path: &Path) -> &str {
    path.extension().and_then(|it| it.to_str()).unwrap_or_default()
}

/// One JSON line per row.
fn rows(table: &FeatureTable, source: &dyn Source) -> String {
    let mut lines = String::new();
    for (&sample, label) in table.samples.iter().zip(&table.labels) {
        let class = label.and_then(|label| source.classes().get(label as usize));
        let row = json!({ "name": source.name(sample), "label": label, "class": class });
        lines.push_str(&row.to_string());
        lines.push('\n');
    }
    lines
}

/// NumPy's format 1.0, a few rows at a time.
fn array(x: &Tensor, file: &mut dyn Write) -> io::Result<()> {
    let (n, d) = (x.size()[0], x.size()[1]);
    let mut head = format!("{{'descr': '<f4', 'fortran_order': False, 'shape': ({n}, {d}), }}");
    // The numbers begin at a multiple of 64 bytes; 10 come before this text, and a line feed ends it.
    head.push_str(&" ".repeat(63 - (head.len() + 10) % 64));
    head.push('\n');
    file.write_all(b"\x93NUMPY\x01\x00")?;
    file.write_all(&(head.len() as u16).to_le_bytes())?;
    file.write_all(head.as_bytes())?;
    for first in (0..n as usize).step_by(ROWS) {
        let numbers = numbers(x, first);
        let bytes: Vec<u8> = numbers.iter().flat_map(|number| number.to_le_bytes()).collect();
        file.write_all(&bytes)?;
    }
    Ok(())
}

/// The numbers of at most [`ROWS`] rows from row `first` on.
fn numbers(x: &Tensor, first: usize) -> Vec<f32> {
    let (first, n) = (first as i64, x.size()[0]);
    let rows = x.narrow(0, first, (ROWS as i64).min(n - first)).contiguous();
    let mut numbers = vec![0.0; rows.numel()];
    let length = numbers.len();
    rows.view(-1).copy_data(&mut numbers, length);
    numbers
}

/// Writes a file of any size whole or not at all.
fn whole(
    path: &Path,
    content: impl FnOnce(&mut (dyn Write + Send)) -> io::Result<()>,
) -> Result<()> {
    let temporary = path.with_added_extension("tmp");
    let written = File::create(&temporary).and_then(|file| {
        let mut file = BufWriter::new(file);
        content(&mut file)?;
        file.into_inner()?.sync_all()?;
        fs::rename(&temporary, path)
    });
    if written.is_err() {
        // The first failure is the one to report.
        let _ = fs::remove_file(&temporary);
    }
    written.map_err(Error::file("write", path))
}

#[cfg(test)]
mod tests {
    use super::*;
    use tch::{Device, Kind};

    fn table(source: &dyn Source, width: i64) -> FeatureTable {
        let n = source.len();
        FeatureTable {
            x: Tensor::arange(n as i64 * width, (Kind::Float, Device::Cpu)).view([-1, width]),
            labels: (0..n).map(|sample| source.label(sample)).collect(),
            groups: vec![None; n],
            samples: (0..n).collect(),
            skipped: Vec::new(),
            classes: source.classes().to_vec(),
        }
    }

    #[test]
    fn an_array_is_what_numpy_reads_with_as_many_lines_as_rows() {
        let folder = tempfile::tempdir().unwrap();
        let source = pixels::source::open("world:?size=8&count=5000").unwrap();
        let tables = [("pooled".to_string(), table(source.as_ref(), 3))];
        let paths = write(&tables, source.as_ref(), &folder.path().join("x.npy")).unwrap();
        let found = Tensor::read_npy(&paths[0]).unwrap();
        assert!(found.equal(&tables[0].1.x));
        let bytes = fs::read(&paths[0]).unwrap();
        assert_eq!((bytes.len() - 5000 * 3 * 4) % 64, 0);
        assert_eq!(fs::read_to_string(&paths[1]).unwrap().lines().count(), 5000);
    }

    #[test]
    fn several_layers_are_several_arrays() {
        let folder = tempfile::tempdir().unwrap();
        let source = pixels::source::open("world:?size=8&count=4").unwrap();
        let tables = [
            ("layer1.0".to_string(), table(source.as_ref(), 3)),
            ("pooled".to_string(), table(source.as_ref(), 2)),
        ];
        let paths = write(&tables, source.as_ref(), &folder.path().join("x.npy")).unwrap();
        let names: Vec<_> =
            paths.iter().map(|path| path.file_name().unwrap().to_str().unwrap()).collect();
        assert_eq!(names, ["x.layer1.0.npy", "x.pooled.npy", "x.jsonl"]);
        assert_eq!(fs::read_dir(folder.path()).unwrap().count(), 3, "no temporary file stays");
    }

    #[test]
    fn other_endings_are_refused() {
        for name in ["x", "x.csv", "x.npz"] {
            let error = check(Path::new(name)).unwrap_err();
            assert!(error.to_string().contains(".npy or .parquet"), "{error}");
        }
        if !cfg!(feature = "parquet") {
            let error = check(Path::new("x.parquet")).unwrap_err();
            assert!(error.hint().unwrap().contains("--features parquet"), "{error}");
        }
    }
}
