//! The form of a line of the log, as text or as JSON. No message and no value can begin another line
//! or another field: control characters and line separators are escaped, and values are quoted.

use std::{
    cell::Cell,
    fmt::{self, Display, Write},
};

use jiff::Timestamp;
use log::{
    Record,
    kv::{Error, Key, Value, VisitSource, VisitValue},
};

use super::{request, time::push_time};
use crate::{settings::LogFormat, text::breaks_line};

/// The memory of a longer line is not kept, in bytes.
const LARGEST_KEPT: usize = 4096;

thread_local! {
    /// What the thread's next line is written to: to reserve memory for each would cost more.
    static BUFFER: Cell<String> = Cell::default();
}

/// Calls `write` with the line of `record`, which was logged at `time`. The line has the id of the
/// request that it belongs to, if there is one.
pub(super) fn with_line<T>(
    format: LogFormat,
    time: Timestamp,
    record: &Record<'_>,
    write: impl FnOnce(&str) -> T,
) -> T {
    // A value may itself log a line while it is written: that line gets a new buffer. So does a line of
    // a thread that is ending, whose buffer is gone.
    let mut line = BUFFER.try_with(Cell::take).unwrap_or_default();
    line.clear();
    // Writing to a string fails only where a `Display` fails. Then the line is shorter.
    let _ = write_line(&mut line, format, time, record);
    line.push_str(match format {
        LogFormat::Text => "\n",
        LogFormat::Json => "}\n",
    });
    let written = write(&line);
    if line.capacity() <= LARGEST_KEPT {
        let _ = BUFFER.try_with(|buffer| buffer.set(line));
    }
    written
}

fn write_line(
    line: &mut String,
    format: LogFormat,
    time: Timestamp,
    record: &Record<'_>,
) -> Result<(), Error> {
    let level = record.level();
    let target = record.target();
    let message = record.args();
    match format {
        LogFormat::Text => {
            line.push('[');
            push_time(line, time);
            let level = level.as_str();
            let space = if level.len() < 5 { "  " } else { " " };
            line.extend([" ", level, space, target, "] "]);
            let is_special = breaks_line;
            write!(EscapingWriter { line, is_special }, "{message}")?;
        }
        LogFormat::Json => {
            line.push_str(r#"{"timestamp":""#);
            push_time(line, time);
            line.extend([r#"","level":""#, level.as_str(), r#"","target":""#, target]);
            line.push_str(r#"","message":"#);
            quote(line, message)?;
        }
    }
    let mut fields = FieldWriter { line, format };
    record.key_values().visit(&mut fields)?;
    request::current_request_id(|id| {
        fields.visit_pair(Key::from_str("request_id"), Value::from(id))
    })
    .unwrap_or(Ok(()))
}

/// Writes text between quotes, as JSON has it.
fn quote(line: &mut String, text: impl Display) -> fmt::Result {
    line.push('"');
    // The quote is closed even if `text` fails.
    let is_special = |c| breaks_line(c) || c == '"' || c == '\\';
    let written = write!(EscapingWriter { line, is_special }, "{text}");
    line.push('"');
    written
}

/// Writes the fields of a line. It leaves out those that have no value.
struct FieldWriter<'a> {
    line: &'a mut String,
    format: LogFormat,
}

impl<'kvs> VisitSource<'kvs> for FieldWriter<'_> {
    fn visit_pair(&mut self, key: Key<'kvs>, value: Value<'kvs>) -> Result<(), Error> {
        let length = self.line.len();
        match self.format {
            LogFormat::Text => self.line.extend([" ", key.as_str(), "="]),
            LogFormat::Json => self.line.extend([",\"", key.as_str(), "\":"]),
        }
        let named = self.line.len();
        value.visit(&mut *self)?;
        if self.line.len() == named {
            self.line.truncate(length);
        }
        Ok(())
    }
}

impl VisitValue<'_> for FieldWriter<'_> {
    fn visit_any(&mut self, value: Value<'_>) -> Result<(), Error> {
        self.visit_str(&value.to_string())
    }

    fn visit_null(&mut self) -> Result<(), Error> {
        Ok(())
    }

    fn visit_u64(&mut self, value: u64) -> Result<(), Error> {
        self.line.push_str(itoa::Buffer::new().format(value));
        Ok(())
    }

    fn visit_i64(&mut self, value: i64) -> Result<(), Error> {
        self.line.push_str(itoa::Buffer::new().format(value));
        Ok(())
    }

    fn visit_f64(&mut self, value: f64) -> Result<(), Error> {
        if value.is_finite() {
            self.line.push_str(zmij::Buffer::new().format_finite(value));
            return Ok(());
        }
        self.visit_str(&value.to_string())
    }

    fn visit_bool(&mut self, value: bool) -> Result<(), Error> {
        Ok(write!(self.line, "{value}")?)
    }

    fn visit_str(&mut self, value: &str) -> Result<(), Error> {
        let is_plain = |byte: u8| byte.is_ascii_graphic() && byte != b'"' && byte != b'=';
        if self.format == LogFormat::Text && !value.is_empty() && all_bytes(value, is_plain) {
            self.line.push_str(value);
            return Ok(());
        }
        Ok(quote(self.line, value)?)
    }
}

/// Whether all bytes of `text` are of one kind. It looks at all of them, since the compiler makes it look
/// at many at once then.
fn all_bytes(text: &str, is_of_kind: impl Fn(u8) -> bool) -> bool {
    text.bytes().fold(true, |all, byte| all & is_of_kind(byte))
}

/// Writes text to a line, and escapes what is special.
struct EscapingWriter<'a> {
    line: &'a mut String,
    is_special: fn(char) -> bool,
}

impl Write for EscapingWriter<'_> {
    fn write_str(&mut self, text: &str) -> fmt::Result {
        let is_plain = |byte| matches!(byte, b' '..=b'~') && byte != b'"' && byte != b'\\';
        if all_bytes(text, is_plain) {
            self.line.push_str(text);
            return Ok(());
        }
        for part in text.split_inclusive(self.is_special) {
            let plain = part.trim_end_matches(self.is_special);
            self.line.push_str(plain);
            match part[plain.len()..].chars().next() {
                None => {}
                Some('\n') => self.line.push_str("\\n"),
                Some(c @ ('"' | '\\')) => self.line.extend(['\\', c]),
                Some(c) => write!(self.line, "\\u{:04x}", u32::from(c))?,
            }
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use log::Level;
    use serde_json::Value as Json;

    use super::*;

    const TIME: &str = "2025-10-31T12:00:00.000Z";

    fn lines(fields: &[(&str, Value<'_>)], message: &str) -> [String; 2] {
        [LogFormat::Text, LogFormat::Json].map(|format| {
            let mut record = Record::builder();
            record.level(Level::Info).target("megastats::x");
            record.key_values(&fields);
            with_line(
                format,
                TIME.parse().unwrap(),
                &record.args(format_args!("{message}")).build(),
                str::to_owned,
            )
        })
    }

    #[test]
    fn a_line_has_time_level_target_message_and_fields() {
        let fields = [
            ("method", Value::from("GET")),
            ("status", Value::from(200)),
            ("duration_ms", Value::from(0.25)),
            ("cache", Value::null()),
            ("cause", Value::from("it is \"away\"")),
        ];
        let [text, json] = lines(&fields, "request");
        assert_eq!(
            text,
            "[2025-10-31T12:00:00.000Z INFO  megastats::x] request method=GET status=200 \
             duration_ms=0.25 cause=\"it is \\\"away\\\"\"\n"
        );
        assert_eq!(
            serde_json::from_str::<Json>(&json).unwrap(),
            serde_json::json!({
                "timestamp": TIME, "level": "INFO", "target": "megastats::x", "message": "request",
                "method": "GET", "status": 200, "duration_ms": 0.25, "cause": "it is \"away\"",
            })
        );
    }

    #[test]
    fn nothing_in_a_message_or_a_field_makes_another_line_or_field() {
        for forged in [
            "a\n[2025-10-31T12:00:00.000Z ERROR megastats] forged",
            "a\r\nb",
            "a\u{2028}b\u{2029}c\u{85}d\u{b}e\u{c}f",
            "\u{1b}[2K\u{7}\0",
            "x status=200",
            "x\",\"status\":200,\"y\":\"",
            "\\",
            "\\\\\n\n\"",
            "",
            "\n",
        ] {
            let [text, json] = lines(&[("field", Value::from(forged))], forged);
            for line in [&text, &json] {
                let text = line.strip_suffix('\n').unwrap();
                assert!(!text.contains(breaks_line), "{line:?}");
            }
            let json: Json = serde_json::from_str(&json).unwrap();
            assert_eq!(json["message"], forged);
            assert_eq!(json["field"], forged);
            assert_eq!(json.as_object().unwrap().len(), 5);
            let (_, field) = text.trim_end().rsplit_once(" field=").unwrap();
            if field != forged {
                assert_eq!(serde_json::from_str::<Json>(field).unwrap(), forged);
            }
        }
    }

    #[test]
    fn a_thread_that_ends_can_still_log() {
        /// Logs when its thread ends.
        struct Last;

        impl Drop for Last {
            fn drop(&mut self) {
                lines(&[], "the last");
            }
        }

        thread_local! {
            static LAST: Last = const { Last };
        }

        let thread = std::thread::spawn(|| {
            // What a thread has is dropped in the opposite order of its first use.
            LAST.with(|_| ());
            lines(&[], "the first");
        });
        thread.join().unwrap();
    }
}
