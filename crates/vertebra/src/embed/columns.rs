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

#[cfg(test)]
mod tests {
    use std::fs::File;

    use parquet::file::reader::{FileReader, SerializedFileReader};
    use parquet::record::{ListAccessor, RowAccessor};
    use tch::{Device, Kind};

    use super::*;

    #[test]
    fn rows_are_read_back_as_they_were() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("x.parquet");
        let source = pixels::source::open("world:?size=8&count=5000").unwrap();
        let table = |width: i64, factor: f64| FeatureTable {
            x: Tensor::arange(5000 * width, (Kind::Float, Device::Cpu)).view([-1, width]) * factor,
            labels: (0..5000).map(|row| (row != 7).then_some(row as u32 % 3)).collect(),
            groups: (0..5000).map(|row| (row % 2 == 0).then_some(u64::MAX - row)).collect(),
            samples: (0..5000).collect(),
            skipped: Vec::new(),
            classes: source.classes().to_vec(),
        };
        let tables = [("layer1.0".to_string(), table(3, 1.0)), ("pooled".into(), table(2, 0.5))];
        super::super::write(&tables, source.as_ref(), &path).unwrap();
        let reader = SerializedFileReader::new(File::open(&path).unwrap()).unwrap();
        assert_eq!(reader.metadata().num_row_groups(), 2);
        let names: Vec<String> = (reader.metadata().file_metadata().schema().get_fields().iter())
            .map(|field| field.name().to_string())
            .collect();
        assert_eq!(names, ["name", "label", "class", "group", "layer1_0", "pooled"]);
        for (number, row) in reader.get_row_iter(None).unwrap().enumerate() {
            let row = row.unwrap();
            assert_eq!(row.get_string(0).unwrap(), &source.name(number));
            assert_eq!(row.get_uint(1).ok(), tables[0].1.labels[number]);
            let class = row.get_uint(1).ok().map(|label| &source.classes()[label as usize]);
            assert_eq!(row.get_string(2).ok(), class);
            assert_eq!(row.get_ulong(3).ok(), tables[0].1.groups[number]);
            let list = row.get_list(4).unwrap();
            let numbers: Vec<f32> = (0..3).map(|at| list.get_float(at).unwrap()).collect();
            assert_eq!(numbers, [0.0, 1.0, 2.0].map(|at| (3 * number) as f32 + at));
            assert_eq!((list.len(), row.get_list(5).unwrap().len()), (3, 2));
        }
    }
}
