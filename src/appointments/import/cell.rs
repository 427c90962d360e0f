//! One value of a source row, whatever its type: `SQLite` stores any type in any column.

use std::fmt::{self, Write};

use serde_json::{Value, json};

/// The longest text that a reason shows, in characters. The row in the rejects file has all of it.
const SHOWN_CHARS: usize = 60;

/// A value as `SQLite` stores it.
#[derive(Debug, Clone, PartialEq)]
pub(super) enum Cell {
    Null,
    Integer(i64),
    Real(f64),
    Text(String),
    /// Declared as text, but not in the database's encoding.
    Malformed(Vec<u8>),
    Blob(Vec<u8>),
}

impl Cell {
    /// As JSON, from which the exact value can be read again.
    pub(super) fn to_json(&self) -> Value {
        match self {
            Self::Null => Value::Null,
            Self::Integer(number) => json!(number),
            // JSON has no infinity.
            Self::Real(number) if !number.is_finite() => json!({ "real": number.to_string() }),
            Self::Real(number) => json!(number),
            Self::Text(text) => json!(text),
            Self::Malformed(bytes) => json!({ "text_hex": hex(bytes) }),
            Self::Blob(bytes) => json!({ "blob_hex": hex(bytes) }),
        }
    }
}

impl fmt::Display for Cell {
    /// Short, on one line.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Null => f.write_str("NULL"),
            Self::Integer(number) => number.fmt(f),
            // Debug keeps the point of 30.0, which tells it from the integer.
            Self::Real(number) => write!(f, "{number:?}"),
            Self::Text(text) => match text.char_indices().nth(SHOWN_CHARS) {
                Some((end, _)) => write!(f, "{:?}…", &text[..end]),
                None => write!(f, "{text:?}"),
            },
            Self::Malformed(_) => f.write_str("text that is not UTF-8"),
            Self::Blob(bytes) => write!(f, "a BLOB of {} bytes", bytes.len()),
        }
    }
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().fold(String::new(), |mut text, byte| {
        // Writing to a String does not fail.
        let _ = write!(text, "{byte:02x}");
        text
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_value_can_be_told_again_from_its_json() {
        for (cell, expected) in [
            (Cell::Null, "null"),
            (Cell::Integer(i64::MIN), "-9223372036854775808"),
            (Cell::Real(30.0), "30.0"),
            (Cell::Real(f64::NEG_INFINITY), r#"{"real":"-inf"}"#),
            (Cell::Text("a\0\"ç".into()), r#""a\u0000\"ç""#),
            (Cell::Malformed(vec![0xff, 0x00]), r#"{"text_hex":"ff00"}"#),
            (Cell::Blob(vec![]), r#"{"blob_hex":""}"#),
        ] {
            assert_eq!(cell.to_json().to_string(), expected);
        }
    }

    #[test]
    fn a_value_is_shown_short_and_on_one_line() {
        for (cell, expected) in [
            (Cell::Real(30.0), "30.0"),
            (Cell::Real(f64::INFINITY), "inf"),
            (Cell::Text("a\nb".into()), r#""a\nb""#),
            (Cell::Blob(vec![0; 9]), "a BLOB of 9 bytes"),
        ] {
            assert_eq!(cell.to_string(), expected);
        }
        let long = Cell::Text("ç".repeat(1000)).to_string();
        assert_eq!(long.chars().count(), SHOWN_CHARS + 3);
    }
}
