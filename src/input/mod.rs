//! Reading untrusted queries and bodies field by field, so that one answer names everything that is
//! wrong.
//!
//! | file | what lives there |
//! |---|---|
//! | this one | what is allowed in fields that several routes take |
//! | [`http`] | taking queries and bodies from requests, within the limits on them |
//! | [`openapi`] | how OpenAPI describes those fields |

pub mod http;
pub mod openapi;

use std::{fmt::Display, sync::LazyLock};

use jiff::{Timestamp, tz::TimeZone};
use regex_lite::Regex;
use serde_json::Value;

use crate::{
    db::UtcTime,
    error::{ApiError, FieldError},
    tenant::TenantId,
};

/// The years that instants may lie in: those the calendar and the databases agree on.
const FIRST_YEAR: i16 = 1970;
const LAST_YEAR: i16 = 2199;

/// The forms that [`instant`] accepts. jiff's parser accepts more, such as second 60, an offset of 25
/// hours, or no minutes at all.
static INSTANT: LazyLock<Regex> = LazyLock::new(|| {
    let date = "[0-9]{4}-[0-9]{2}-[0-9]{2}";
    let time = r"[0-9]{2}:[0-5][0-9](:[0-5][0-9](\.[0-9]{1,9})?)?";
    let offset = "[Zz]|[+-]([01][0-9]|2[0-3])(:?[0-5][0-9])?";
    Regex::new(&format!("^{date}[Tt ]{time}({offset})$")).expect("this is a regular expression")
});

/// The instants from `from` up to, but not including, `to`; without a bound where it is `None`.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct TimeRange {
    /// The first instant inside.
    pub from: Option<UtcTime>,
    /// The first instant that is outside again; not before `from`.
    pub to: Option<UtcTime>,
}

/// Reads the fields of one request, and collects what is wrong with them.
#[derive(Debug, Default)]
pub struct FieldReader {
    errors: Vec<FieldError>,
}

impl FieldReader {
    /// Reads a field that must be given. `None` means that an error was noted.
    pub fn required<R, T, E: Display>(
        &mut self,
        field: &'static str,
        raw: Option<R>,
        parse: impl FnOnce(R) -> Result<T, E>,
    ) -> Option<T> {
        let Some(raw) = raw else {
            self.refuse(field, "is required");
            return None;
        };
        parse(raw).map_err(|error| self.refuse(field, error)).ok()
    }

    /// Reads a field that may be missing. `None` means that an error was noted.
    pub fn optional<R, T, E: Display>(
        &mut self,
        field: &'static str,
        raw: Option<R>,
        parse: impl FnOnce(R) -> Result<T, E>,
    ) -> Option<Option<T>> {
        match raw {
            None => Some(None),
            Some(raw) => self.required(field, Some(raw), parse).map(Some),
        }
    }

    /// Reads `tenantId`, which must be given.
    pub fn tenant(&mut self, raw: Option<String>) -> Option<TenantId> {
        self.required("tenantId", raw, |raw| TenantId::parse(&raw))
    }

    /// Reads the bounds `from` and `to`, each of which may be missing.
    pub fn range(&mut self, from: Option<String>, to: Option<String>) -> Option<TimeRange> {
        let from = self.optional("from", from, |raw| bound(&raw));
        let to = self.optional("to", to, |raw| bound(&raw));
        let range = TimeRange {
            from: from?,
            to: to?,
        };
        if range.from.zip(range.to).is_some_and(|(from, to)| from > to) {
            self.refuse("to", "must not be before from");
            return None;
        }
        Some(range)
    }

    fn refuse(&mut self, field: &'static str, message: impl Display) {
        self.errors.push(FieldError::new(field, message));
    }

    /// What `make` makes of the fields that were read, or 422 with all that is wrong. `make` returns
    /// `None` where one of the fields is `None`.
    pub fn finish<T>(self, make: impl FnOnce() -> Option<T>) -> Result<T, ApiError> {
        make().ok_or_else(|| ApiError::invalid(self.errors))
    }
}

/// A whole number from `min` to `max`, written in decimal digits.
pub fn integer(raw: &str, min: i64, max: i64) -> Result<i64, String> {
    // `parse` also accepts a plus sign.
    in_range(raw.parse().ok().filter(|_| !raw.starts_with('+')), min, max)
}

/// A JSON whole number from `min` to `max`.
pub fn json_integer(raw: &Value, min: i64, max: i64) -> Result<i64, String> {
    in_range(raw.as_i64(), min, max)
}

fn in_range(number: Option<i64>, min: i64, max: i64) -> Result<i64, String> {
    number
        .filter(|number| (min..=max).contains(number))
        .ok_or_else(|| format!("must be a whole number from {min} to {max}"))
}

/// A JSON string.
pub fn json_text(raw: &Value) -> Result<&str, &'static str> {
    raw.as_str().ok_or("must be a string")
}

/// An instant in RFC 3339, with its offset. As in `AlignWork`, the seconds, and the minutes of the
/// offset or their colon, may be missing, and a space may stand for the `T`.
pub fn instant(raw: &str) -> Result<UtcTime, String> {
    let parsed: Option<Timestamp> = INSTANT.is_match(raw).then(|| raw.parse().ok()).flatten();
    let year = |instant: &Timestamp| TimeZone::UTC.to_datetime(*instant).year();
    parsed
        .filter(|instant| (FIRST_YEAR..=LAST_YEAR).contains(&year(instant)))
        .map(UtcTime::from)
        .ok_or_else(|| {
            format!(
                "must be an RFC 3339 date and time with offset, from {FIRST_YEAR} to {LAST_YEAR}, \
             e.g. 2025-10-31T14:30:00Z or 2025-10-31T11:30:00-03:00 (in a query, + is written %2B)"
            )
        })
}

/// An [`instant`] that bounds a range. As in `AlignWork` it may lack its offset, or all of its time: then
/// it is in UTC, or UTC's midnight.
fn bound(raw: &str) -> Result<UtcTime, String> {
    instant(raw).or_else(|refusal| {
        instant(&format!("{raw}Z"))
            .or_else(|_| instant(&format!("{raw}T00:00Z")))
            .map_err(|_| refusal)
    })
}

/// A JSON string that holds an [`instant`].
pub fn json_instant(raw: &Value) -> Result<UtcTime, String> {
    instant(json_text(raw)?)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn instants_need_an_offset_and_a_possible_date() {
        for raw in [
            "2025-10-31T14:30:00",
            "2025-10-31",
            "2025-02-29T00:00:00Z",
            "2025-13-01T00:00:00Z",
            "2025-10-31T25:00:00Z",
            "2025-10-31T00:00:00 03:00",
            "2025-10-31T00:00:00-03:00[America/Recife]",
            "1969-12-31T23:59:59Z",
            "2200-01-01T00:00:00Z",
            "+012025-10-31T00:00:00Z",
            "2025-10-31T23:59:60Z",
            "2025-10-31T14:30:00+24:00",
            "2025-10-31T14:30:00+03:60",
            "2025-10-31T14:30:00+03:00:30",
            "2025-10-31T14:30:00+24",
            "2025-10-31T14:30:00,5Z",
            "2025-10-31T14:30:00.Z",
            "2025-10-31T14:30:00.0000000001Z",
            "2025-10-31T14Z",
            "2025-10-31T14:3Z",
            "2025-10-31T14:30:Z",
            "2025-10-31T14:30.5Z",
            "2025-10-31T14:30:00-3",
            "2025-10-31T14:30:00-030",
            "2025-10-31T14:30:00-2400",
            "2025-10-31T14:30:00-0360",
            "2025-10-31_14:30:00Z",
            "2025-10-31  14:30:00Z",
            "20251031T143000Z",
            "2025-W44-5T14:30:00Z",
            "tomorrow",
            "1761921000",
            "",
        ] {
            assert!(instant(raw).is_err(), "{raw}");
        }
    }

    #[test]
    fn instants_with_the_same_offset_or_another_are_the_same() {
        let utc = instant("2025-10-31T14:30:00Z").unwrap();
        assert_eq!(instant("2025-10-31T11:30:00-03:00").unwrap(), utc);
        assert_eq!(instant("2025-10-31T14:30:00.0000009+00:00").unwrap(), utc);
    }

    #[test]
    fn instants_may_be_written_as_alignwork_takes_them() {
        let utc = instant("2025-10-31T14:30:00Z").unwrap();
        for raw in [
            "2025-10-31T14:30Z",
            "2025-10-31 14:30:00Z",
            "2025-10-31t14:30z",
            "2025-10-31T11:30:00-0300",
            "2025-10-31 11:30-0300",
            "2025-10-31 11:30:00.000-03:00",
            "2025-10-31T20:00+0530",
            "2025-10-31 14:30:00+00",
        ] {
            assert_eq!(instant(raw), Ok(utc), "{raw}");
        }
    }

    #[test]
    fn bounds_without_an_offset_are_in_utc() {
        for (raw, whole) in [
            ("2026-11-01", "2026-11-01T00:00:00Z"),
            ("2026-11-01T12:30", "2026-11-01T12:30:00Z"),
            ("2026-11-01 12:30:15.5", "2026-11-01T12:30:15.5Z"),
            ("2026-11-01T12:30:00-03:00", "2026-11-01T15:30:00Z"),
        ] {
            assert_eq!(bound(raw), instant(whole), "{raw}");
        }
        for raw in [
            "2026-11",
            "2026-02-29",
            "2026-11-01T12",
            "2026-11-01T12:30:00 03:00",
            "",
            "Z",
        ] {
            assert_eq!(bound(raw), instant(raw), "{raw}");
            assert!(bound(raw).is_err(), "{raw}");
        }
    }

    #[test]
    fn integers_are_whole_and_within_their_range() {
        for raw in [
            "0",
            "101",
            "-1",
            "+1",
            "1.0",
            "",
            " 1",
            "1e1",
            "99999999999999999999",
        ] {
            assert!(integer(raw, 1, 100).is_err(), "{raw}");
        }
        assert_eq!(integer("100", 1, 100), Ok(100));
    }

    /// An instant's parts, a few of them outside what there is.
    fn parts() -> impl Strategy<Value = String> {
        let date = (1960..2210_i32, 0..14_u8, 0..33_u8);
        let time = (0..26_u8, 0..62_u8, 0..62_u8, "(\\.[0-9]{0,10})?");
        let offset = "[Zz]|[+-][0-2][0-9]:[0-6][0-9]|[+-][0-9]{1,4}|";
        (date, time, offset).prop_map(|((year, month, day), (h, m, s, fraction), offset)| {
            format!("{year}-{month:02}-{day:02}T{h:02}:{m:02}:{s:02}{fraction}{offset}")
        })
    }

    proptest! {
        #[test]
        fn any_text_is_an_instant_of_the_range_or_refused(raw in prop_oneof![parts(), any::<String>()]) {
            if let Ok(read) = instant(&raw) {
                prop_assert!((0..7_258_118_400).contains(&read.timestamp().as_second()));
                prop_assert!(raw.len() >= "2025-10-31T14:30Z".len());
            }
        }

        #[test]
        fn an_instant_that_was_written_is_read(
            seconds in 0..7_258_118_400_i64, micros in 0..1_000_000_i32
        ) {
            let written = UtcTime::from(Timestamp::new(seconds, micros * 1_000).unwrap());
            prop_assert_eq!(instant(&written.timestamp().to_string()), Ok(written));
        }

        #[test]
        fn any_text_is_a_number_of_the_range_or_refused(raw in "[-+ 0-9.e]{0,22}|\\PC*") {
            if let Ok(number) = integer(&raw, 1, 100) {
                prop_assert!((1..=100).contains(&number));
                prop_assert_eq!(raw.trim_start_matches('0'), number.to_string());
            }
        }
    }
}
