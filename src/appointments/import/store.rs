//! The statements of the import: reading an `AlignWork` file without changing it, and writing its
//! appointments to the configured database.

use std::{
    collections::{HashMap, hash_map::Entry},
    iter::zip,
    path::Path,
    time::Duration,
};

use diesel::{
    ConnectionError, ExpressionMethods, QueryDsl, QueryResult, QueryableByName, RunQueryDsl,
    SelectableHelper, SqliteConnection,
    connection::SimpleConnection,
    deserialize::{self, FromSql},
    dsl::sql,
    row::{Field, NamedRow, Row},
    sql_query,
    sql_types::{BigInt, Text},
    sqlite::{Sqlite, SqliteType, SqliteValue},
};
use serde_json::Value;
use thiserror::Error;

use super::{
    cell,
    row::{REQUIRED, SourceRow, is_column},
};
use crate::{
    appointments::model::Appointment,
    db::{AnyConn, Dialect, FileError, establish, locate, on_db, schema::appointments},
    text::one_line,
};

/// An `AlignWork` database as it was when it was opened.
pub(super) struct Source {
    conn: SqliteConnection,
    columns: Vec<String>,
    total: u64,
    /// The number of the last row that was read.
    at: i64,
}

/// A source that cannot be read.
#[derive(Debug, Error)]
pub(super) enum SourceError {
    /// There is no such file, or it may not be read.
    #[error(transparent)]
    File(#[from] FileError),
    /// It is where the appointments would go.
    #[error("it is the configured database (database.url) itself")]
    Itself,
    /// `SQLite` could not open it.
    #[error("{}", one_line(&.0.to_string()))]
    Open(#[from] ConnectionError),
    /// `SQLite` could not read it.
    #[error("{}{hint}", one_line(&.0.to_string()), hint = hint(.0))]
    Read(#[from] diesel::result::Error),
    /// There is no table of appointments.
    #[error("it has no table named appointments: is it AlignWork's database?")]
    NoTable,
    /// The table of appointments lacks a column.
    #[error("its table appointments has no column {0}: is it AlignWork's database?")]
    NoColumn(&'static str),
}

/// Explains errors of `SQLite` that do not say why it would write.
fn hint(error: &diesel::result::Error) -> &'static str {
    match error.to_string().as_str() {
        "attempt to write a readonly database" | "unable to open database file" => {
            " (it is in WAL mode in a folder that cannot be written, or was left half-written: \
             open a copy of it and of its -wal or -journal file once with sqlite3, and import that)"
        }
        _ => "",
    }
}

impl Source {
    /// Opens the file read-only and takes a snapshot of its appointments, in the order of their
    /// ids. Waits up to `busy_timeout` for somebody who is just writing to it.
    pub(super) fn open(path: &Path, busy_timeout: Duration) -> Result<Self, SourceError> {
        let path = locate(path)?;
        let mut conn = establish(&path, "mode=ro", busy_timeout)?;
        let columns: Vec<String> = sql::<Text>(
            "SELECT name FROM pragma_table_xinfo('appointments', 'main') WHERE hidden <> 1",
        )
        .load(&mut conn)?;
        if columns.is_empty() {
            return Err(SourceError::NoTable);
        }
        let is_missing = |required: &&str| !columns.iter().any(|name| is_column(name, required));
        if let Some(missing) = REQUIRED.into_iter().find(is_missing) {
            return Err(SourceError::NoColumn(missing));
        }
        conn.batch_execute(&snapshot(&columns))?;
        let total: i64 =
            sql::<BigInt>("SELECT count(*) FROM temp.snapshot").get_result(&mut conn)?;
        Ok(Self {
            conn,
            columns,
            total: total.unsigned_abs(),
            at: 0,
        })
    }

    /// How many rows there are.
    pub(super) fn total(&self) -> u64 {
        self.total
    }

    /// The next rows, at most `count`; none at the end.
    pub(super) fn next(&mut self, count: usize) -> Result<Vec<SourceRow>, SourceError> {
        let rows: Vec<NumberedRow> =
            sql_query("SELECT rowid, * FROM temp.snapshot WHERE rowid > ? ORDER BY rowid LIMIT ?")
                .bind::<BigInt, _>(self.at)
                .bind::<BigInt, _>(i64::try_from(count).unwrap_or(i64::MAX))
                .load(&mut self.conn)?;
        self.at = rows.last().map_or(self.at, |row| row.at);
        let named = |row: NumberedRow| SourceRow(zip(self.columns.clone(), row.cells).collect());
        Ok(rows.into_iter().map(named).collect())
    }
}

/// Copies the appointments to `SQLite`'s temporary space, a file without a name that goes with the
/// connection.
///
/// A read transaction that lasts as long as the import would prevent `AlignWork` from committing. The copy
/// numbers its rows itself, so that the source needs no key, and renames the columns, so that none can
/// hide that number.
fn snapshot(columns: &[String]) -> String {
    let selected: Vec<String> = columns
        .iter()
        .enumerate()
        .map(|(at, name)| format!("a.\"{}\" AS c{at}", name.replace('"', "\"\"")))
        .collect();
    format!(
        "CREATE TEMP TABLE snapshot AS SELECT {} FROM main.appointments AS a ORDER BY a.id",
        selected.join(", ")
    )
}

struct NumberedRow {
    at: i64,
    cells: Vec<Value>,
}

impl QueryableByName<Sqlite> for NumberedRow {
    fn build<'a>(row: &impl NamedRow<'a, Sqlite>) -> deserialize::Result<Self> {
        let at = Row::get(row, 0).ok_or("there is no row number")?;
        let at = <i64 as FromSql<BigInt, Sqlite>>::from_nullable_sql(at.value())?;
        let cells = (1..row.field_count())
            .filter_map(|at| Row::get(row, at).map(|field| as_stored(field.value())))
            .collect();
        Ok(Self { at, cells })
    }
}

/// Reads the value as it is stored: Diesel's own types would convert other types, and replace bytes that are
/// not UTF-8.
fn as_stored(value: Option<SqliteValue<'_, '_, '_>>) -> Value {
    let Some(mut value) = value else {
        return Value::Null;
    };
    match value.value_type() {
        None => Value::Null,
        Some(SqliteType::SmallInt | SqliteType::Integer | SqliteType::Long) => {
            value.read_long().into()
        }
        Some(SqliteType::Float | SqliteType::Double) => cell::real(value.read_double()),
        Some(SqliteType::Binary) => cell::blob(value.read_blob()),
        Some(SqliteType::Text) => {
            let text = value.read_text().to_owned();
            if text.contains(char::REPLACEMENT_CHARACTER) && value.read_blob() != text.as_bytes() {
                return cell::malformed(value.read_blob());
            }
            text.into()
        }
    }
}

/// The stored appointments with one of `$ids`.
macro_rules! stored_query {
    ($ids:expr) => {
        appointments::table
            .filter(appointments::id.eq_any($ids))
            .select(Appointment::as_select())
    };
}

/// What the database has for a row that can be imported.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Verdict {
    /// Its id was free: it is stored.
    New,
    /// The same appointment is stored already.
    Same,
    /// Another appointment is stored under its id, and stays.
    Other(Box<Appointment>),
}

impl Verdict {
    /// For a row whose id is that of `stored`.
    fn compare(appointment: &Appointment, stored: &Appointment) -> Self {
        if appointment == stored {
            Self::Same
        } else {
            Self::Other(Box::new(stored.clone()))
        }
    }
}

/// Inserts the appointments of `batch` whose ids are free; returns a verdict for each, in order.
pub(super) fn take(conn: &mut AnyConn, batch: &[Appointment]) -> QueryResult<Vec<Verdict>> {
    let Some(last) = batch.iter().map(|appointment| appointment.id).max() else {
        return Ok(Vec::new());
    };
    let ids: Vec<i64> = batch.iter().map(|appointment| appointment.id).collect();
    on_db!(conn, |c| c.write_transaction(|c| {
        c.reserve_ids(last)?;
        let mut stored = by_id(stored_query!(&ids).load(c)?);
        let verdicts = verdicts(&mut stored, batch);
        let new: Vec<&Appointment> = zip(batch, &verdicts)
            .filter(|(_, verdict)| **verdict == Verdict::New)
            .map(|(appointment, _)| appointment)
            .collect();
        diesel::insert_into(appointments::table)
            .values(new)
            .execute(c)?;
        c.merge_count_changes(None)?;
        Ok(verdicts)
    }))
}

/// What [`take`] would return if all batches before had been taken.
///
/// A source without a primary key may have an id twice. Its rows come in the order of their ids, so it is
/// enough to carry what would be stored under the last id from batch to batch: `carried`.
pub(super) fn compare(
    conn: Option<&mut AnyConn>,
    batch: &[Appointment],
    carried: &mut Option<Appointment>,
) -> QueryResult<Vec<Verdict>> {
    let ids: Vec<i64> = batch.iter().map(|appointment| appointment.id).collect();
    let mut stored = by_id(match conn {
        Some(conn) => on_db!(conn, |c| stored_query!(&ids).load(c)?),
        None => Vec::new(),
    });
    if let Some(last) = carried.clone() {
        stored.entry(last.id).or_insert(last);
    }
    let verdicts = verdicts(&mut stored, batch);
    if let Some(last) = ids.last() {
        *carried = stored.remove(last);
    }
    Ok(verdicts)
}

/// A verdict for each appointment of `batch`, in order. Those that are new join `stored`.
fn verdicts(stored: &mut HashMap<i64, Appointment>, batch: &[Appointment]) -> Vec<Verdict> {
    batch
        .iter()
        .map(|appointment| match stored.entry(appointment.id) {
            Entry::Occupied(stored) => Verdict::compare(appointment, stored.get()),
            Entry::Vacant(free) => {
                free.insert(appointment.clone());
                Verdict::New
            }
        })
        .collect()
}

fn by_id(stored: Vec<Appointment>) -> HashMap<i64, Appointment> {
    stored
        .into_iter()
        .map(|appointment| (appointment.id, appointment))
        .collect()
}
