//! Reading a source's status: the three known ones, and others for which the caller named one of them.

use std::collections::HashMap;

use serde_json::Value;

use crate::db::{InvalidStatus, Status};

/// The mappings of `--status`, by FROM; the empty FROM means NULL and empty text.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Statuses(HashMap<String, Status>);

impl Statuses {
    /// Reads each `FROM=TO`. TO begins after the last `=`. `Err` says in one line which cannot be used.
    pub(super) fn parse(mappings: &[String]) -> Result<Self, String> {
        let mut statuses = HashMap::new();
        for given in mappings {
            add(&mut statuses, given).map_err(|reason| format!("--status {given:?}: {reason}"))?;
        }
        Ok(Self(statuses))
    }

    /// The status in `cell`. It must be written exactly so, since `AlignWork` counted no other spelling.
    pub(super) fn read(&self, cell: &Value) -> Result<Status, InvalidStatus> {
        let text = match cell {
            Value::String(text) => text,
            Value::Null => "",
            _ => return Err(InvalidStatus),
        };
        self.0.get(text).copied().map_or_else(|| text.parse(), Ok)
    }
}

/// Adds the mapping `given` to `statuses`; `Err` says why it cannot be used.
fn add(statuses: &mut HashMap<String, Status>, given: &str) -> Result<(), String> {
    let (from, to) = given
        .rsplit_once('=')
        .ok_or("must be FROM=TO, e.g. realizada=confirmed, or =cancelled for NULL")?;
    let status = to
        .parse::<Status>()
        .map_err(|invalid| format!("{to:?} {invalid}"))?;
    // Mapping a known status would change the statistics.
    if from.parse::<Status>().is_ok() {
        return Err("FROM must be none of pending, confirmed, cancelled: these are kept".into());
    }
    match statuses.insert(from.to_owned(), status) {
        Some(_) => Err("each FROM may be given once".into()),
        None => Ok(()),
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::super::cell::{blob, malformed};
    use super::*;

    fn parse(mappings: &[&str]) -> Result<Statuses, String> {
        Statuses::parse(&mappings.iter().map(ToString::to_string).collect::<Vec<_>>())
    }

    #[test]
    fn the_three_are_taken_as_written_and_nothing_else() {
        let statuses = parse(&[]).unwrap();
        assert_eq!(statuses.read(&json!("confirmed")), Ok(Status::Confirmed));
        for cell in [
            Value::Null,
            json!(""),
            json!("Confirmed"),
            json!("confirmed "),
            json!("canceled"),
            json!(1),
            blob(b"confirmed"),
            malformed(b"confirmed\xff"),
        ] {
            assert_eq!(statuses.read(&cell), Err(InvalidStatus), "{cell}");
        }
    }

    #[test]
    fn others_get_their_meaning_from_the_caller() {
        let statuses = parse(&["a=b=confirmed", "Pending=pending", "=cancelled"]).unwrap();
        for (cell, expected) in [
            (json!("a=b"), Ok(Status::Confirmed)),
            (json!("Pending"), Ok(Status::Pending)),
            (json!(""), Ok(Status::Cancelled)),
            (Value::Null, Ok(Status::Cancelled)),
            (json!("a"), Err(InvalidStatus)),
            (blob(&[]), Err(InvalidStatus)),
        ] {
            assert_eq!(statuses.read(&cell), expected, "{cell}");
        }
    }

    #[test]
    fn a_mapping_that_says_nothing_usable_is_refused() {
        for mappings in [
            &["realizada"][..],
            &[""],
            &["realizada="],
            &["realizada=Confirmed"],
            &["realizada=done"],
            &["pending=confirmed"],
            &["x=pending", "x=confirmed"],
            &["=pending", "=pending"],
        ] {
            assert!(parse(mappings).is_err(), "{mappings:?}");
        }
    }
}
