//! The value of one column of a source row as JSON, from which the exact value can be read again.
//! `SQLite` stores any type in any column; what JSON lacks is an object of one member.

use std::fmt::Write;

use serde_json::{Value, json};

/// The longest text that a reason shows, in characters. The row in the rejects file has all of it.
const SHOWN_CHARS: usize = 60;

/// A floating-point number. JSON has no infinity.
pub(super) fn real(number: f64) -> Value {
    if number.is_finite() {
        json!(number)
    } else {
        json!({ "real": number.to_string() })
    }
}

/// A BLOB.
pub(super) fn blob(bytes: &[u8]) -> Value {
    json!({ "blob_hex": hex(bytes) })
}

/// What was declared as text, but is not in the database's encoding.
pub(super) fn malformed(bytes: &[u8]) -> Value {
    json!({ "text_hex": hex(bytes) })
}

/// Shows a value short, on one line.
pub(super) fn shown(cell: &Value) -> String {
    match cell {
        Value::Null => "NULL".to_owned(),
        Value::String(text) => match text.char_indices().nth(SHOWN_CHARS) {
            Some((end, _)) => format!("{:?}…", &text[..end]),
            None => format!("{text:?}"),
        },
        Value::Object(_) => match (cell["blob_hex"].as_str(), cell["real"].as_str()) {
            (Some(hex), _) => format!("a BLOB of {} bytes", hex.len() / 2),
            (_, Some(number)) => number.to_owned(),
            _ => "text that is not UTF-8".to_owned(),
        },
        other => other.to_string(),
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
            (real(30.0), "30.0"),
            (real(f64::NEG_INFINITY), r#"{"real":"-inf"}"#),
            (malformed(&[0xff, 0x00]), r#"{"text_hex":"ff00"}"#),
            (blob(&[]), r#"{"blob_hex":""}"#),
        ] {
            assert_eq!(cell.to_string(), expected);
        }
    }

    #[test]
    fn a_value_is_shown_short_and_on_one_line() {
        for (cell, expected) in [
            (Value::Null, "NULL"),
            (real(30.0), "30.0"),
            (json!("a\nb"), r#""a\nb""#),
            (blob(&[0; 9]), "a BLOB of 9 bytes"),
            (real(f64::INFINITY), "inf"),
            (malformed(b"\xff"), "text that is not UTF-8"),
        ] {
            assert_eq!(shown(&cell), expected);
        }
        let long = shown(&json!("ç".repeat(1000)));
        assert_eq!(long.chars().count(), SHOWN_CHARS + 3);
    }
}
