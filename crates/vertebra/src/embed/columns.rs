//! Features as the columns of a parquet file.

use std::io::{self, Write};
use std::sync::Arc;

use parquet::basic::Compression;
use parquet::data_type::{ByteArray, ByteArrayType, FloatType, Int32Type, Int64Type};
use parquet::errors::ParquetError;
use parquet::file::properties::WriterProperties;
use parquet::file::writer::{SerializedFileWriter, SerializedRowGroupWriter};
use parquet::schema::parser::parse_message_type;
use pixels::source::Source;
use tch::Tensor;

use super::{ROWS, numbers};
use crate::evaluation::FeatureTable;

/// A row group for every few rows, so that a table larger than memory can be written.
pub(super) fn write(
    tables: &[(String, FeatureTable)],
    source: &dyn Source,
    file: &mut (dyn Write + Send),
) -> io::Result<()> {
    let Some((_, table)) = tables.first() else { return Ok(()) };
    let columns = match tables {
        [_] => vec!["feature".to_string()],
        _ => tables.iter().map(|(layer, _)| layer.replace('.', "_")).collect(),
    };
    fill(tables, table, &columns, source, file).map_err(io::Error::other)
}

fn fill(
    tables: &[(String, FeatureTable)],
    table: &FeatureTable,
    columns: &[String],
    source: &dyn Source,
    file: &mut (dyn Write + Send),
) -> Result<(), ParquetError> {
    let schema = Arc::new(parse_message_type(&message(columns))?);
    // Numbers of which hardly two are equal gain nothing from a dictionary or from compression.
    let properties = WriterProperties::builder()
        .set_compression(Compression::UNCOMPRESSED)
        .set_dictionary_enabled(false)
        .build();
    let mut writer = SerializedFileWriter::new(file, schema, Arc::new(properties))?;
    for first in (0..table.samples.len()).step_by(ROWS) {
        let rows = first..(first + ROWS).min(table.samples.len());
        let (samples, labels) = (&table.samples[rows.clone()], &table.labels[rows.clone()]);
        let text = |text: &str| ByteArray::from(text.as_bytes().to_vec());
        let class = |label: &Option<u32>| {
            label.and_then(|label| source.classes().get(label as usize)).map(|name| text(name))
        };
        let mut group = writer.next_row_group()?;
        let names: Vec<ByteArray> = samples.iter().map(|&it| text(&source.name(it))).collect();
        next(&mut group, |column| column.typed::<ByteArrayType>().write_batch(&names, None, None))?;
        let (found, there) = optional(labels.iter().map(|label| label.map(|it| it as i32)));
        next(&mut group, |column| {
            column.typed::<Int32Type>().write_batch(&found, Some(&there), None)
        })?;
        let (found, there) = optional(labels.iter().map(class));
        next(&mut group, |column| {
            column.typed::<ByteArrayType>().write_batch(&found, Some(&there), None)
        })?;
        let (found, there) =
            optional(table.groups[rows].iter().map(|group| group.map(|it| it as i64)));
        next(&mut group, |column| {
            column.typed::<Int64Type>().write_batch(&found, Some(&there), None)
        })?;
        for (_, table) in tables {
            list(&mut group, &table.x, first)?;
        }
        group.close()?;
    }
    writer.close()?;
    Ok(())
}

fn message(columns: &[String]) -> String {
    let lists: String = columns
        .iter()
        .map(|name| {
            format!(
                "required group {name} (LIST) {{ repeated group list {{ required float element; }} }}\n"
            )
        })
        .collect();
    format!(
        "message features {{
            required binary name (UTF8);
            optional int32 label (INTEGER(32, false));
            optional binary class (UTF8);
            optional int64 group (INTEGER(64, false));
            {lists}
        }}"
    )
}

/// What is there, and where: 1 at each place that has something.
fn optional<T>(values: impl Iterator<Item = Option<T>>) -> (Vec<T>, Vec<i16>) {
    let (mut found, mut there) = (Vec::new(), Vec::new());
    for value in values {
        there.push(i16::from(value.is_some()));
        found.extend(value);
    }
    (found, there)
}

/// A list of D numbers for each of some rows: every number is there, and the first of each row begins its list.
fn list<W: Write + Send>(
    group: &mut SerializedRowGroupWriter<W>,
    x: &Tensor,
    first: usize,
) -> Result<(), ParquetError> {
    let (numbers, width) = (numbers(x, first), x.size()[1] as usize);
    let there = vec![1; numbers.len()];
    let follows: Vec<i16> = (0..numbers.len()).map(|at| i16::from(at % width != 0)).collect();
    next(group, |column| {
        column.typed::<FloatType>().write_batch(&numbers, Some(&there), Some(&follows))
    })
}

fn next<W: Write + Send>(
    group: &mut SerializedRowGroupWriter<W>,
    fill: impl FnOnce(
        &mut parquet::file::writer::SerializedColumnWriter<'_>,
    ) -> Result<usize, ParquetError>,
) -> Result<(), ParquetError> {
    let Some(mut column) = group.next_column()? else {
        return Err(ParquetError::General("more columns than the schema has".into()));
    };
    fill(&mut column)?;
    column.close()
}
