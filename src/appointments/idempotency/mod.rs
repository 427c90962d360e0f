//! Creates that are sent again: one that carries an `Idempotency-Key` takes place once, and gets the
//! same answer each time.
//!
//! | file | what lives there |
//! |---|---|
//! | this one | what a key is, and which requests are the same |
//! | [`store`] | statements |
//! | `http`, `openapi` | the headers, and how OpenAPI describes them |

pub(super) mod http;
pub(super) mod openapi;
pub mod store;

use jiff::SignedDuration;
use serde_json::json;
use sha2::{Digest, Sha256};
use thiserror::Error;

use super::model::NewAppointment;

/// How long a key is stored.
pub const KEY_LIFE: SignedDuration = SignedDuration::from_hours(24);

/// The longest key, in characters.
pub const MAX_KEY_CHARS: usize = 255;

/// A tenant's name for one request of its own: 1 to 255 visible ASCII characters.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct IdempotencyKey(String);

impl IdempotencyKey {
    /// Reads the value of the header: the key in double quotes, a string of RFC 8941 as the IETF's
    /// draft has it, or plain, as most clients send it. Both are the same key.
    pub fn parse(raw: &[u8]) -> Result<Self, InvalidKey> {
        let raw = std::str::from_utf8(raw).map_err(|_binary| InvalidKey)?;
        let key = if raw.starts_with('"') {
            // Of visible ASCII characters, JSON's strings are those of RFC 8941 if nothing is escaped
            // but what must be.
            let key: String = serde_json::from_str(raw).map_err(|_other| InvalidKey)?;
            let is_written_so = serde_json::to_string(&key).is_ok_and(|json| json == raw);
            is_written_so.then_some(key).ok_or(InvalidKey)?
        } else if raw.contains('"') {
            return Err(InvalidKey);
        } else {
            raw.to_owned()
        };
        let is_valid = (1..=MAX_KEY_CHARS).contains(&key.len())
            && key.chars().all(|character| character.is_ascii_graphic());
        is_valid.then_some(Self(key)).ok_or(InvalidKey)
    }

    /// The key without quotes.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

/// Not a key: the message says what is allowed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Error)]
#[error("must be 1 to {MAX_KEY_CHARS} visible ASCII characters, plain or in double quotes")]
pub struct InvalidKey;

/// A hash of everything that a create asks for, except its tenant, as it was understood: the same instant
/// at another offset is no difference. Instances of different versions must agree on it for as long as
/// keys are [`KEY_LIFE`].
fn fingerprint(new: &NewAppointment) -> [u8; 32] {
    let asked = json!([
        new.patient.as_str(),
        new.consultorio_id,
        new.starts_at,
        new.duration_min,
        new.status,
    ]);
    Sha256::digest(asked.to_string()).into()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parse(raw: &str) -> Result<String, InvalidKey> {
        IdempotencyKey::parse(raw.as_bytes()).map(|key| key.0)
    }

    #[test]
    fn a_key_is_read_plain_and_in_quotes() {
        let longest = "k".repeat(MAX_KEY_CHARS);
        for (raw, key) in [
            ("a", "a"),
            ("\"a\"", "a"),
            (
                "\"8e03978e-40d5-43e8-bc93-6894a57f9324\"",
                "8e03978e-40d5-43e8-bc93-6894a57f9324",
            ),
            (r#""a\"b\\c""#, r#"a"b\c"#),
            (r"a\b;c=1", r"a\b;c=1"),
            (&longest, &longest),
            (&format!("\"{longest}\""), &longest),
        ] {
            assert_eq!(parse(raw).as_deref(), Ok(key), "{raw}");
        }
    }

    #[test]
    fn what_is_no_key_is_refused() {
        let too_long = "k".repeat(MAX_KEY_CHARS + 1);
        for raw in [
            "",
            "\"\"",
            "\"",
            "\"a",
            "a\"",
            "\"a\"b\"",
            r#""a\"#,
            r#""a\""#,
            r#""a\b""#,
            "\"a\";b",
            "a b",
            "\"a b\"",
            "a\tb",
            "ação",
            &too_long,
            &format!("\"{too_long}\""),
        ] {
            assert_eq!(parse(raw), Err(InvalidKey), "{raw}");
        }
        assert_eq!(IdempotencyKey::parse(b"\xff"), Err(InvalidKey));
    }
}
