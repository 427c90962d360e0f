//! Instants in the database: the SQL type, its Rust type, and how each database writes it.

use diesel::{
    deserialize::{self, FromSql, FromSqlRow},
    expression::AsExpression,
    pg::{Pg, PgValue},
    serialize::{self, IsNull, Output, ToSql},
    sql_types::{BigInt, SqlType, Text},
    sqlite::Sqlite,
};
use jiff::{Timestamp, Unit, civil::DateTime, tz::TimeZone};
use serde::Serialize;

/// The SQL type of a UTC instant: text on SQLite, `timestamptz` on PostgreSQL.
///
/// Diesel's own `Timestamp` writes a fraction of variable length on SQLite, and texts of different
/// length do not compare as instants do.
#[derive(Debug, Clone, Copy, Default, SqlType, diesel::query_builder::QueryId)]
#[diesel(sqlite_type(name = "Text"))]
#[diesel(postgres_type(oid = 1184, array_oid = 1185))]
pub struct UtcInstant;

/// The beginning of the year 2000, from where PostgreSQL counts, in Unix microseconds.
const PG_EPOCH_MICROS: i64 = 946_684_800_000_000;

/// The beginning of PostgreSQL's calendar, 24 November of the year -4713, as it counts.
const PG_FIRST_MICROS: i64 = -211_813_488_000_000_000;

/// A UTC instant as the database keeps it: whole microseconds.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, AsExpression, FromSqlRow, Serialize)]
#[diesel(sql_type = UtcInstant)]
#[serde(transparent)]
pub struct UtcTime(Timestamp);

impl UtcTime {
    /// Parses the text of [`UtcTime::to_sql_text`] and no other, such as one with an offset.
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

    /// PostgreSQL's form: microseconds since the year 2000. `None` before its first instant.
    fn to_pg_micros(self) -> Option<i64> {
        let micros = self.0.as_microsecond().checked_sub(PG_EPOCH_MICROS)?;
        (micros >= PG_FIRST_MICROS).then_some(micros)
    }

    /// Reads [`UtcTime::to_pg_micros`]. `None` for what is no instant of the years -9999 to 9999,
    /// such as an infinity.
    fn from_pg_micros(micros: i64) -> Option<Self> {
        let unix = micros.checked_add(PG_EPOCH_MICROS)?;
        let nanos = i32::try_from(unix.rem_euclid(1_000_000)).ok()? * 1_000;
        Timestamp::new(unix.div_euclid(1_000_000), nanos)
            .ok()
            .map(Self)
    }

    /// When the period that this instant is in begins. Periods of `minutes` follow each other from the
    /// beginning of 1970, by UTC, in both directions.
    pub(crate) fn start_of_period(self, minutes: i32) -> Self {
        let length = i64::from(minutes) * 60_000_000;
        let micros = self.0.as_microsecond();
        let start = Timestamp::from_microsecond(micros - micros.rem_euclid(length));
        Self(start.unwrap_or(Timestamp::MIN))
    }

    /// The instant itself.
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

impl ToSql<UtcInstant, Pg> for UtcTime {
    fn to_sql<'b>(&'b self, out: &mut Output<'b, '_, Pg>) -> serialize::Result {
        let micros = self
            .to_pg_micros()
            .ok_or_else(|| format!("PostgreSQL has no instant {}", self.0))?;
        ToSql::<BigInt, Pg>::to_sql(&micros, &mut out.reborrow())
    }
}

impl FromSql<UtcInstant, Pg> for UtcTime {
    fn from_sql(value: PgValue<'_>) -> deserialize::Result<Self> {
        let micros = <i64 as FromSql<BigInt, Pg>>::from_sql(value)?;
        Self::from_pg_micros(micros)
            .ok_or_else(|| format!("not a UTC instant: {micros} microseconds").into())
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

    fn at(raw: &str) -> UtcTime {
        raw.parse::<Timestamp>().unwrap().into()
    }

    #[test]
    fn postgresql_counts_microseconds_from_the_year_2000() {
        for (raw, micros) in [
            ("2000-01-01T00:00:00Z", 0),
            ("1999-12-31T23:59:59.999999Z", -1),
            ("2025-10-31T05:00:00.000001Z", 815_202_000_000_001),
        ] {
            assert_eq!(at(raw).to_pg_micros(), Some(micros));
            assert_eq!(UtcTime::from_pg_micros(micros), Some(at(raw)));
        }
        let last = UtcTime::from(Timestamp::MAX);
        assert_eq!(
            UtcTime::from_pg_micros(last.to_pg_micros().unwrap()),
            Some(last)
        );
    }

    #[test]
    fn what_is_no_instant_on_the_other_side_is_an_error() {
        // The infinities, and the last instant of PostgreSQL's calendar.
        for micros in [i64::MAX, i64::MIN, 9_223_371_331_199_999_999] {
            assert_eq!(UtcTime::from_pg_micros(micros), None, "{micros}");
        }
        assert_eq!(at("-004713-11-23T23:59:59Z").to_pg_micros(), None);
        assert!(at("-004713-11-24T00:00:00Z").to_pg_micros().is_some());
    }
}
