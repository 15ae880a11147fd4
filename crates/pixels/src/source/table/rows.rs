//! Rows of tables: CSV and its relatives, and JSON lines.

use serde_json::{Map, Value};

/// Which columns mean what. Each list is tried in its order.
pub(super) struct Columns {
    pub(super) path: Vec<String>,
    pub(super) label: Vec<String>,
    pub(super) caption: Vec<String>,
    pub(super) group: Vec<String>,
    pub(super) split: Vec<String>,
    /// The columns of the channels, when the samples have a file for each.
    pub(super) channels: Option<Vec<String>>,
}

/// What a row says.
#[derive(Debug, Default, PartialEq, Eq)]
pub(super) struct Row {
    /// One, or one for each channel.
    pub(super) paths: Vec<String>,
    pub(super) label: Option<String>,
    pub(super) captions: Vec<String>,
    pub(super) group: Option<String>,
    pub(super) split: Option<String>,
}

/// Takes the number of a row's first line and the row, or what is wrong with it.
pub(super) type Take<'a> = &'a mut dyn FnMut(u64, Result<Row, String>);

/// What is wrong with a whole table, and what to do about it.
#[derive(Debug)]
pub(super) struct Unreadable {
    pub(super) problem: String,
    pub(super) hint: String,
}

/// Where the columns are in a table with a header.
struct Layout {
    paths: Vec<usize>,
    label: Option<usize>,
    caption: Option<usize>,
    group: Option<usize>,
    split: Option<usize>,
}

/// Rows with a header row, quoted as RFC 4180 says. Without a `delimiter` it is the one of `,`, `;` and tab of which
/// the header has most.
pub(super) fn csv(
    bytes: &[u8],
    delimiter: Option<u8>,
    columns: &Columns,
    take: Take,
) -> Result<(), Unreadable> {
    let delimiter = delimiter.unwrap_or_else(|| guess_delimiter(bytes));
    let mut reader =
        ::csv::ReaderBuilder::new().delimiter(delimiter).flexible(true).from_reader(bytes);
    let header: Vec<String> = match reader.byte_headers() {
        Ok(header) => header.iter().map(|cell| text(cell).trim().to_owned()).collect(),
        Err(error) => return Err(Unreadable { problem: error.to_string(), hint: String::new() }),
    };
    let layout = Layout::of(&header, columns)?;
    let mut record = ::csv::ByteRecord::new();
    loop {
        match reader.read_byte_record(&mut record) {
            Ok(false) => return Ok(()),
            Ok(true) => {
                let line = record.position().map_or(0, ::csv::Position::line);
                take(line, layout.row(&record, header.len()));
            }
            Err(error) => {
                return Err(Unreadable { problem: error.to_string(), hint: String::new() });
            }
        }
    }
}

/// One JSON object a line; empty lines are passed over.
pub(super) fn jsonl(bytes: &[u8], columns: &Columns, take: Take) {
    for (line, text) in (1..).zip(bytes.split(|byte| *byte == b'\n')) {
        let text = text.trim_ascii();
        if text.is_empty() {
            continue;
        }
        let row = match serde_json::from_slice::<Map<String, Value>>(text) {
            Ok(map) => Ok(from_map(&map, columns)),
            Err(error) => Err(format!("not a JSON object: {error}")),
        };
        take(line, row.and_then(Row::checked));
    }
}

impl Row {
    fn checked(self) -> Result<Self, String> {
        if self.paths.is_empty() || self.paths.iter().any(String::is_empty) {
            return Err("no path".into());
        }
        Ok(self)
    }
}

impl Layout {
    fn of(header: &[String], columns: &Columns) -> Result<Self, Unreadable> {
        let place =
            |name: &String| header.iter().position(|column| column.eq_ignore_ascii_case(name));
        let first = |names: &[String]| names.iter().find_map(place);
        let found = || header.join(", ");
        let numbered: Vec<usize> =
            (0..).map_while(|number| place(&format!("channel_{number}"))).collect();
        let paths = match &columns.channels {
            Some(names) => {
                let places: Vec<Option<usize>> = names.iter().map(place).collect();
                if let Some(missing) = places.iter().position(Option::is_none) {
                    let problem = format!("no column `{}`, only {}", names[missing], found());
                    return Err(Unreadable { problem, hint: String::new() });
                }
                places.into_iter().flatten().collect()
            }
            None => match first(&columns.path) {
                Some(place) => vec![place],
                None => numbered,
            },
        };
        if paths.is_empty() {
            let problem =
                format!("no column of paths ({}), only {}", columns.path.join(", "), found());
            let hint = "name it, as in ?path=COLUMN".into();
            return Err(Unreadable { problem, hint });
        }
        Ok(Self {
            paths,
            label: first(&columns.label),
            caption: first(&columns.caption),
            group: first(&columns.group),
            split: first(&columns.split),
        })
    }

    fn row(&self, record: &::csv::ByteRecord, width: usize) -> Result<Row, String> {
        if record.len() != width {
            return Err(format!("{width} cells are wanted, {} found", record.len()));
        }
        let cell = |place: usize| record.get(place).map(text).unwrap_or_default();
        let known = |place: Option<usize>| place.map(cell).filter(|text| !text.is_empty());
        let row = Row {
            paths: self.paths.iter().map(|place| cell(*place)).collect(),
            label: known(self.label),
            captions: known(self.caption).into_iter().collect(),
            group: known(self.group),
            split: known(self.split),
        };
        row.checked()
    }
}

fn from_map(map: &Map<String, Value>, columns: &Columns) -> Row {
    let first = |names: &[String]| names.iter().find_map(|name| map.get(name));
    let one = |names: &[String]| first(names).and_then(plain);
    let paths = match &columns.channels {
        Some(names) => {
            names.iter().map(|name| map.get(name).and_then(plain).unwrap_or_default()).collect()
        }
        None => match one(&columns.path) {
            Some(path) => vec![path],
            None => (0..).map_while(|n| plain(map.get(&format!("channel_{n}"))?)).collect(),
        },
    };
    let captions = match first(&columns.caption) {
        Some(Value::Array(list)) => list.iter().filter_map(plain).collect(),
        other => other.and_then(plain).into_iter().collect(),
    };
    let (label, group, split) = (one(&columns.label), one(&columns.group), one(&columns.split));
    Row { paths, label, captions, group, split }
}

/// A number or a text as text.
fn plain(value: &Value) -> Option<String> {
    match value {
        Value::String(text) => Some(text.clone()),
        Value::Number(number) => Some(number.to_string()),
        Value::Bool(flag) => Some(u8::from(*flag).to_string()),
        _ => None,
    }
}

fn text(cell: &[u8]) -> String {
    String::from_utf8_lossy(cell).into_owned()
}

fn guess_delimiter(bytes: &[u8]) -> u8 {
    let header = bytes.split(|byte| *byte == b'\n').next().unwrap_or_default();
    let count = |delimiter: &u8| header.split(|byte| byte == delimiter).count();
    // Of equals the last wins: a comma.
    b"\t;,".iter().copied().max_by_key(|delimiter| count(delimiter)).unwrap_or(b',')
}
