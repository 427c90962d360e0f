//! Reading a source's status: the three known ones, and others for which the caller named one of them.

use std::collections::HashMap;

use thiserror::Error;

use super::cell::Cell;
use crate::db::{InvalidStatus, Status};

/// The mappings of `--status`, by FROM; the empty FROM means NULL and empty text.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Statuses(HashMap<String, Status>);

/// A `--status` that cannot be used. The message is one line that shows it.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
#[error("--status {given:?}: {reason}")]
pub struct InvalidMapping {
    given: String,
    reason: String,
}

impl Statuses {
    /// Reads each `FROM=TO`. TO begins after the last `=`.
    pub(super) fn parse(mappings: &[String]) -> Result<Self, InvalidMapping> {
        let mut statuses = HashMap::new();
        for given in mappings {
            add(&mut statuses, given).map_err(|reason| InvalidMapping {
                given: given.clone(),
                reason,
            })?;
        }
        Ok(Self(statuses))
    }

    /// The status in `cell`. It must be written exactly so, since `AlignWork` counted no other spelling.
    pub(super) fn read(&self, cell: &Cell) -> Result<Status, InvalidStatus> {
        let text = match cell {
            Cell::Text(text) => text,
            Cell::Null => "",
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
    use super::*;

    fn parse(mappings: &[&str]) -> Result<Statuses, InvalidMapping> {
        Statuses::parse(&mappings.iter().map(ToString::to_string).collect::<Vec<_>>())
    }

    #[test]
    fn the_three_are_taken_as_written_and_nothing_else() {
        let statuses = parse(&[]).unwrap();
        assert_eq!(
            statuses.read(&Cell::Text("confirmed".into())),
            Ok(Status::Confirmed)
        );
        for cell in [
            Cell::Null,
            Cell::Text(String::new()),
            Cell::Text("Confirmed".into()),
            Cell::Text("confirmed ".into()),
            Cell::Text("canceled".into()),
            Cell::Integer(1),
            Cell::Blob(b"confirmed".into()),
            Cell::Malformed(b"confirmed\xff".into()),
        ] {
            assert_eq!(statuses.read(&cell), Err(InvalidStatus), "{cell}");
        }
    }

    #[test]
    fn others_get_their_meaning_from_the_caller() {
        let statuses = parse(&["a=b=confirmed", "Pending=pending", "=cancelled"]).unwrap();
        for (cell, expected) in [
            (Cell::Text("a=b".into()), Ok(Status::Confirmed)),
            (Cell::Text("Pending".into()), Ok(Status::Pending)),
            (Cell::Text(String::new()), Ok(Status::Cancelled)),
            (Cell::Null, Ok(Status::Cancelled)),
            (Cell::Text("a".into()), Err(InvalidStatus)),
            (Cell::Blob(vec![]), Err(InvalidStatus)),
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
