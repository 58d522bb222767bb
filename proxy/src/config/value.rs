//! A value as it was written, with the line it stands on: from TOML or from a flag.
//!
//! Not `Debug` on purpose: it may be a password.

use toml::de::{DeTable, DeValue};

/// A value and its line.
pub(super) struct Value {
    pub(super) line: Option<usize>,
    pub(super) shape: Shape,
}

/// What kind of value it is.
pub(super) enum Shape {
    Text(String),
    Whole(i64),
    Flag(bool),
    List(Vec<Value>),
    Table(Vec<(String, Value)>),
    /// A float, a date or a number beyond 64 bits: no setting wants one, so only its text is kept.
    Other(String),
}

impl Value {
    /// The value that a flag gives to a key: TOML where it is TOML (`8`, `true`, `["a", "b"]`), else the text
    /// itself, so that `--set log.filter=debug` needs no quotes.
    pub(super) fn from_flag(text: &str) -> Self {
        match DeValue::parse(text) {
            Ok(parsed) => Self::from_toml(&parsed.into_inner(), None, &|_| None),
            Err(_) => Self::text(text),
        }
    }

    /// A list of texts, as a repeated flag gives it.
    pub(super) fn texts(texts: &[String]) -> Self {
        Self { line: None, shape: Shape::List(texts.iter().map(|text| Self::text(text)).collect()) }
    }

    /// A text and nothing else.
    pub(super) fn text(text: &str) -> Self {
        Self { line: None, shape: Shape::Text(text.to_owned()) }
    }

    /// A section with one key.
    pub(super) fn section(key: &str, value: Self) -> Self {
        Self { line: None, shape: Shape::Table(vec![(key.to_owned(), value)]) }
    }

    /// A whole TOML document; `line_of` turns an offset into a line.
    pub(super) fn from_document(table: &DeTable<'_>, line_of: &dyn Fn(usize) -> Option<usize>) -> Self {
        Self { line: None, shape: Shape::Table(fields(table, line_of)) }
    }

    fn from_toml(value: &DeValue<'_>, line: Option<usize>, line_of: &dyn Fn(usize) -> Option<usize>) -> Self {
        let shape = match value {
            DeValue::String(text) => Shape::Text(text.clone().into_owned()),
            DeValue::Integer(digits) => i64::from_str_radix(digits.as_str(), digits.radix())
                .map_or_else(|_| Shape::Other(digits.as_str().to_owned()), Shape::Whole),
            DeValue::Float(float) => Shape::Other(float.as_str().to_owned()),
            DeValue::Boolean(flag) => Shape::Flag(*flag),
            DeValue::Datetime(date) => Shape::Other(date.to_string()),
            DeValue::Array(items) => Shape::List(
                items
                    .iter()
                    .map(|item| Self::from_toml(item.get_ref(), line_of(item.span().start), line_of))
                    .collect(),
            ),
            DeValue::Table(table) => Shape::Table(fields(table, line_of)),
        };
        Self { line, shape }
    }
}

/// A key's line, not its value's, is where the reader looks; a section's is its first key's.
fn fields(table: &DeTable<'_>, line_of: &dyn Fn(usize) -> Option<usize>) -> Vec<(String, Value)> {
    table
        .iter()
        .map(|(key, value)| {
            let line = line_of(key.span().start);
            (key.get_ref().clone().into_owned(), Value::from_toml(value.get_ref(), line, line_of))
        })
        .collect()
}
