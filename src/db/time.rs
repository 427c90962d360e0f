//! Instants in the database. Lives here: the SQL type, its Rust type and how each database writes it.
//! Not here: zones and calendars (`stats::windows`).

use diesel::{
    deserialize::{self, FromSql, FromSqlRow},
    expression::AsExpression,
    serialize::{self, IsNull, Output, ToSql},
    sql_types::{SqlType, Text},
    sqlite::Sqlite,
};
use jiff::{Timestamp, Unit, civil::DateTime, tz::TimeZone};
use serde::Serialize;

/// The SQL type of a UTC instant: text on SQLite.
///
/// Diesel's own `Timestamp` writes a fraction of variable length there, and texts of different
/// length do not compare as instants do.
#[derive(Debug, Clone, Copy, Default, SqlType, diesel::query_builder::QueryId)]
#[diesel(sqlite_type(name = "Text"))]
pub struct UtcInstant;

/// A UTC instant as the database keeps it: whole microseconds.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, AsExpression, FromSqlRow, Serialize)]
#[diesel(sql_type = UtcInstant)]
#[serde(transparent)]
pub struct UtcTime(Timestamp);

impl UtcTime {
    /// Parses the text of [`UtcTime::to_sql_text`], and nothing else: no offset, no date alone.
    fn from_sql_text(text: &str) -> Option<Self> {
        let civil: DateTime = text.parse().ok()?;
        let time = Self(TimeZone::UTC.to_timestamp(civil).ok()?);
        (time.to_sql_text() == text).then_some(time)
    }

    /// `YYYY-MM-DD HH:MM:SS.ffffff` in UTC: `AlignWork`'s own form, and of one length for the years
    /// 0 to 9999, so that it compares as text.
    fn to_sql_text(self) -> String {
        TimeZone::UTC
            .to_datetime(self.0)
            .strftime("%Y-%m-%d %H:%M:%S%.6f")
            .to_string()
    }

    /// The instant itself.
    #[must_use]
    pub fn timestamp(self) -> Timestamp {
        self.0
    }
}

impl From<Timestamp> for UtcTime {
    /// Drops what is finer than a microsecond.
    fn from(timestamp: Timestamp) -> Self {
        let whole = jiff::TimestampRound::new()
            .smallest(Unit::Microsecond)
            .mode(jiff::RoundMode::Floor);
        Self(timestamp.round(whole).unwrap_or(timestamp))
    }
}

impl ToSql<UtcInstant, Sqlite> for UtcTime {
    fn to_sql<'b>(&'b self, out: &mut Output<'b, '_, Sqlite>) -> serialize::Result {
        out.set_value(self.to_sql_text());
        Ok(IsNull::No)
    }
}

impl FromSql<UtcInstant, Sqlite> for UtcTime {
    fn from_sql(
        value: <Sqlite as diesel::backend::Backend>::RawValue<'_>,
    ) -> deserialize::Result<Self> {
        let text = <String as FromSql<Text, Sqlite>>::from_sql(value)?;
        Self::from_sql_text(&text).ok_or_else(|| format!("not a UTC instant: {text:?}").into())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn text_has_one_length_whatever_the_fraction() {
        for raw in [
            "2025-10-31T05:00:00Z",
            "2025-10-31T05:00:00.1Z",
            "2025-10-31T05:00:00.123456789Z",
        ] {
            let time = UtcTime::from(raw.parse::<Timestamp>().unwrap());
            let text = time.to_sql_text();
            assert_eq!(text.len(), 26, "{text}");
            assert_eq!(UtcTime::from_sql_text(&text), Some(time));
        }
    }

    #[test]
    fn an_offset_in_the_database_is_an_error_not_dropped() {
        for text in [
            "2025-10-31 05:00:00.000000+03:00",
            "2025-10-31T05:00:00.000000",
            "2025-10-31 05:00:00",
            "2025-10-31",
            "2025-02-30 05:00:00.000000",
        ] {
            assert_eq!(UtcTime::from_sql_text(text), None, "{text}");
        }
    }
}
