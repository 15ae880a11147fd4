//! Which columns of a parquet file hold what.

use std::collections::BTreeMap;

use parquet::basic::Type;
use parquet::column::reader::get_typed_column_reader;
use parquet::data_type::{ByteArray, ByteArrayType, DataType, Int32Type, Int64Type};
use parquet::errors::{ParquetError, Result};
use parquet::file::metadata::ParquetMetaData;
use parquet::file::reader::RowGroupReader;
use serde_json::Value;

/// Columns that the URI names.
pub(super) struct Wanted {
    pub(super) image: Option<String>,
    pub(super) label: Option<String>,
    pub(super) caption: Option<String>,
}

/// The columns that are read.
#[derive(Debug)]
pub(super) struct Columns {
    image: Column,
    label: Option<Column>,
    pub(super) caption: Option<Column>,
    /// Names of the classes, where the metadata has them.
    pub(super) classes: Vec<String>,
}

/// A column without lists: its place, its path with dots, its type, and the level at which a value is there.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Column {
    place: usize,
    path: String,
    kind: Type,
    level: i16,
}

const IMAGES: [&str; 8] = ["image", "img", "jpg", "jpeg", "png", "webp", "picture", "bytes"];
const LABELS: [&str; 7] = ["label", "labels", "fine_label", "class", "cls", "target", "category"];
const CAPTIONS: [&str; 4] = ["text", "caption", "captions", "txt"];

impl Columns {
    /// Finds the columns. The error says which there are.
    pub(super) fn of(
        metadata: &ParquetMetaData,
        wanted: &Wanted,
    ) -> std::result::Result<Self, String> {
        let all = columns(metadata);
        let names = || all.iter().map(|column| column.path.as_str()).collect::<Vec<_>>().join(", ");
        let missing = |what: &str| format!("no column of {what}, only {}", names());
        let bytes: Vec<&Column> =
            all.iter().filter(|column| column.kind == Type::BYTE_ARRAY).collect();
        let numbers = [Type::BYTE_ARRAY, Type::INT32, Type::INT64];
        let plain: Vec<&Column> =
            all.iter().filter(|column| numbers.contains(&column.kind)).collect();
        let images = image_names(wanted.image.as_deref());
        let image = named(&bytes, &images).or_else(|| {
            let nested = |column: &&&Column| column.path.split('.').next_back() == Some("bytes");
            bytes.iter().find(nested).filter(|_| wanted.image.is_none()).copied()
        });
        let image =
            image.ok_or_else(|| format!("{}; name it, as in ?image=COLUMN", missing("images")))?;
        let features = features(metadata);
        let label = match &wanted.label {
            Some(name) => {
                Some(named(&plain, std::slice::from_ref(name)).ok_or_else(|| missing(name))?)
            }
            None => named(&plain, &LABELS.map(str::to_owned)).or_else(|| {
                // The only feature with names of classes, whatever it is called.
                let mut classes =
                    features.keys().filter_map(|name| named(&plain, std::slice::from_ref(name)));
                classes.next().filter(|_| features.len() == 1)
            }),
        };
        let caption = match &wanted.caption {
            Some(name) => {
                Some(named(&bytes, std::slice::from_ref(name)).ok_or_else(|| missing(name))?)
            }
            None => named(&bytes, &CAPTIONS.map(str::to_owned)),
        };
        let classes =
            label.and_then(|label| features.get(&label.path).cloned()).unwrap_or_default();
        Ok(Self { image: image.clone(), label: label.cloned(), caption: caption.cloned(), classes })
    }

    /// Whether two files can be read as one.
    pub(super) fn same(&self, other: &Self) -> bool {
        (&self.image, &self.label, &self.caption) == (&other.image, &other.label, &other.caption)
    }

    /// The names of the columns, for the fingerprint.
    pub(super) fn text(&self) -> String {
        let path =
            |column: &Option<Column>| column.as_ref().map_or("-", |c| c.path.as_str()).to_owned();
        format!("{} {} {}", self.image.path, path(&self.label), path(&self.caption))
    }

    pub(super) fn images(&self, group: &dyn RowGroupReader) -> Result<Vec<Option<ByteArray>>> {
        self.image.read::<ByteArrayType>(group)
    }

    /// Nothing if there is no such column.
    pub(super) fn captions(&self, group: &dyn RowGroupReader) -> Result<Vec<Option<ByteArray>>> {
        self.caption.as_ref().map_or(Ok(Vec::new()), |column| column.read::<ByteArrayType>(group))
    }

    /// The labels of a row group of `rows` rows as text.
    pub(super) fn labels(
        &self,
        group: &dyn RowGroupReader,
        rows: usize,
    ) -> Result<Vec<Option<String>>> {
        let Some(column) = &self.label else { return Ok(vec![None; rows]) };
        let text = |bytes: ByteArray| String::from_utf8_lossy(bytes.data()).into_owned();
        let labels: Vec<Option<String>> = match column.kind {
            Type::INT32 => texts(column.read::<Int32Type>(group)?, |number| number.to_string()),
            Type::INT64 => texts(column.read::<Int64Type>(group)?, |number| number.to_string()),
            _ => texts(column.read::<ByteArrayType>(group)?, text),
        };
        if labels.len() == rows {
            return Ok(labels);
        }
        Err(ParquetError::General(format!("{} labels in {rows} rows", labels.len())))
    }
}

impl Column {
    /// The values of a row group, `None` for those that are null.
    fn read<D: DataType>(&self, group: &dyn RowGroupReader) -> Result<Vec<Option<D::T>>> {
        let mut reader = get_typed_column_reader::<D>(group.get_column_reader(self.place)?);
        let rows = usize::try_from(group.metadata().num_rows()).unwrap_or(0);
        let (mut values, mut levels) = (Vec::new(), Vec::new());
        let mut read = 0;
        while read < rows {
            let (records, _, _) =
                reader.read_records(rows - read, Some(&mut levels), None, &mut values)?;
            if records == 0 {
                break;
            }
            read += records;
        }
        if self.level == 0 {
            return Ok(values.into_iter().map(Some).collect());
        }
        let mut values = values.into_iter();
        Ok(levels
            .iter()
            .map(|level| if *level == self.level { values.next() } else { None })
            .collect())
    }
}

fn texts<T>(values: Vec<Option<T>>, text: impl Fn(T) -> String) -> Vec<Option<String>> {
    values.into_iter().map(|value| value.map(&text)).collect()
}

/// All columns that hold one value or none for a row.
fn columns(metadata: &ParquetMetaData) -> Vec<Column> {
    let all = metadata.file_metadata().schema_descr().columns().iter().enumerate();
    let single = all.filter(|(_, column)| column.max_rep_level() == 0);
    let single = single.map(|(place, column)| Column {
        place,
        path: column.path().string(),
        kind: column.physical_type(),
        level: column.max_def_level(),
    });
    single.collect()
}

/// The first of some names that a column has.
fn named<'a>(columns: &[&'a Column], names: &[String]) -> Option<&'a Column> {
    names.iter().find_map(|name| columns.iter().find(|column| column.path == *name).copied())
}

/// A column of images, or the bytes in a struct.
fn image_names(wanted: Option<&str>) -> Vec<String> {
    let names = wanted.map_or(IMAGES.to_vec(), |name| vec![name]);
    names.into_iter().flat_map(|name| [format!("{name}.bytes"), name.to_owned()]).collect()
}

/// The names of classes by the feature, as Hugging Face keeps them in the metadata.
fn features(metadata: &ParquetMetaData) -> BTreeMap<String, Vec<String>> {
    let pairs = metadata.file_metadata().key_value_metadata().into_iter().flatten();
    let text = pairs.filter(|pair| pair.key == "huggingface").find_map(|pair| pair.value.as_ref());
    let parsed: Value = text.and_then(|text| serde_json::from_str(text).ok()).unwrap_or_default();
    let features = parsed.pointer("/info/features").and_then(Value::as_object);
    let named = features.into_iter().flatten().filter_map(|(name, feature)| {
        let names = feature.get("names")?.as_array()?;
        let names = names.iter().filter_map(|name| name.as_str().map(str::to_owned)).collect();
        Some((name.clone(), names))
    });
    named.collect()
}
