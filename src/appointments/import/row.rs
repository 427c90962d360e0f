//! Reading a row of the source: which columns there must be, and what each may hold.
//!
//! `AlignWork` had three schemas. They differ in the type of `patient_id`, in having `consultorio_id`, and
//! in what may be NULL. Every value is checked as it is stored, whatever its schema declared, so the
//! schemas are all read in the same way.

use std::{fmt::Display, sync::LazyLock};

use regex_lite::Regex;
use serde::{Serialize, Serializer};
use serde_json::Value;

use super::{cell, statuses::Statuses};
use crate::{
    appointments::model::{Appointment, InvalidPatient, MAX_ID, MAX_IMPORTED_ID, PatientId},
    db::UtcTime,
    input::{instant, json_integer},
    tenant::{InvalidTenant, TenantId},
};

/// The longest appointment that is imported, in minutes. `AlignWork` allowed longer and shorter ones than
/// clients may make here, and counted them.
const MAX_DURATION_MIN: i64 = 24 * 60;

/// The form of a time as `SQLAlchemy` writes it, or `SQLite`'s `CURRENT_TIMESTAMP`, which has no fraction.
/// A general parser accepts more, such as an offset, and drops what it cannot represent.
static TIME: LazyLock<Regex> = LazyLock::new(|| {
    Regex::new(r"^([0-9]{4}-[0-9]{2}-[0-9]{2}) ([0-9]{2}:[0-9]{2}:[0-9]{2}(\.[0-9]{1,6})?)$")
        .expect("this is a regular expression")
});

/// The columns without which a source is not `AlignWork`'s.
pub(super) const REQUIRED: [&str; 8] = [
    "id",
    "tenant_id",
    "patient_id",
    "starts_at",
    "duration_min",
    "status",
    "created_at",
    "updated_at",
];

/// A row of the source: the name and the value of each column, in their order.
#[derive(Debug, Clone)]
pub(super) struct SourceRow(pub(super) Vec<(String, Value)>);

impl SourceRow {
    /// The value of that column; NULL if there is no such column.
    pub(super) fn get(&self, column: &str) -> &Value {
        let mut columns = self.0.iter();
        let found = columns.find(|(name, _)| is_column(name, column));
        found.map_or(&Value::Null, |(_, value)| value)
    }
}

impl Serialize for SourceRow {
    fn serialize<S: Serializer>(&self, to: S) -> Result<S::Ok, S::Error> {
        to.collect_map(self.0.iter().map(|(name, value)| (name, value)))
    }
}

/// Whether `name` names that column: `SQLite` ignores the case.
pub(super) fn is_column(name: &str, column: &str) -> bool {
    name.eq_ignore_ascii_case(column)
}

/// The appointment in `row`; `Err` says all that is wrong.
///
/// If `updated_at` is NULL, `created_at` is used. If that is NULL, `updated_at` is used, or else
/// `starts_at`.
pub(super) fn read(row: &SourceRow, statuses: &Statuses) -> Result<Appointment, String> {
    let mut row = RowReader {
        row,
        reasons: Vec::new(),
    };
    let id = row.read("id", |cell| json_integer(cell, 1, MAX_IMPORTED_ID));
    let tenant = row.read("tenant_id", tenant);
    let patient = row.read("patient_id", patient);
    let consultorio_id = row.read("consultorio_id", |cell| {
        unless_null(cell, |cell| json_integer(cell, 1, MAX_ID))
    });
    let starts_at = row.read("starts_at", utc);
    let duration_min = row.read("duration_min", |cell| {
        let minutes = json_integer(cell, 1, MAX_DURATION_MIN)?;
        i32::try_from(minutes).map_err(|error| error.to_string())
    });
    let status = row.read("status", |cell| {
        statuses
            .read(cell)
            .map_err(|invalid| format!("{invalid} (or be given with --status FROM=TO)"))
    });
    let created_at = row.read("created_at", |cell| unless_null(cell, utc));
    let updated_at = row.read("updated_at", |cell| unless_null(cell, utc));

    let appointment = || {
        let starts_at = starts_at?;
        let updated_at = updated_at?;
        let created_at = created_at?.or(updated_at).unwrap_or(starts_at);
        Some(Appointment {
            id: id?,
            tenant_id: tenant?.as_str().to_owned(),
            patient_id: patient?.as_str().to_owned(),
            consultorio_id: consultorio_id?,
            starts_at,
            duration_min: duration_min?,
            status: status?,
            created_at,
            updated_at: updated_at.unwrap_or(created_at),
        })
    };
    appointment().ok_or_else(|| row.reasons.join("; "))
}

/// Reads the columns of one row, and collects what is wrong with them.
struct RowReader<'a> {
    row: &'a SourceRow,
    reasons: Vec<String>,
}

impl RowReader<'_> {
    /// Reads a column; `None` means that a reason was noted.
    fn read<T, E: Display>(
        &mut self,
        column: &str,
        parse: impl FnOnce(&Value) -> Result<T, E>,
    ) -> Option<T> {
        let cell = self.row.get(column);
        let read = parse(cell);
        read.map_err(|error| {
            let reason = format!("{column} {error}, is {}", cell::shown(cell));
            self.reasons.push(reason);
        })
        .ok()
    }
}

fn unless_null<T, E>(
    cell: &Value,
    parse: impl FnOnce(&Value) -> Result<T, E>,
) -> Result<Option<T>, E> {
    if cell.is_null() {
        Ok(None)
    } else {
        parse(cell).map(Some)
    }
}

fn tenant(cell: &Value) -> Result<TenantId, InvalidTenant> {
    TenantId::parse(cell.as_str().ok_or(InvalidTenant)?)
}

fn patient(cell: &Value) -> Result<PatientId, InvalidPatient> {
    match cell {
        Value::String(text) => PatientId::parse(text),
        Value::Number(number) if number.is_i64() => PatientId::parse(&number.to_string()),
        _ => Err(InvalidPatient),
    }
}

fn utc(cell: &Value) -> Result<UtcTime, &'static str> {
    const REFUSED: &str = "must be UTC as text YYYY-MM-DD HH:MM:SS with up to 6 digits of \
                           fraction and without offset, from 1970 to 2199";
    let parts = TIME.captures(cell.as_str().unwrap_or_default());
    let parts = parts.ok_or(REFUSED)?;
    instant(&format!("{}T{}Z", &parts[1], &parts[2])).map_err(|_outside| REFUSED)
}

#[cfg(test)]
mod tests;
