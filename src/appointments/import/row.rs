//! Reading a row of the source: which columns there must be, and what each may hold.
//!
//! `AlignWork` had three schemas. They differ in the type of `patient_id`, in having `consultorio_id`, and
//! in what may be NULL. Every value is checked as it is stored, whatever its schema declared, so the
//! schemas are all read in the same way.

use std::fmt::Display;

use super::{cell::Cell, statuses::Statuses};
use crate::{
    appointments::model::{Appointment, InvalidPatient, MAX_ID, MAX_IMPORTED_ID, PatientId},
    db::UtcTime,
    input::{has_form, instant, json_integer},
    tenant::{InvalidTenant, TenantId},
};

/// The longest appointment that is imported, in minutes. `AlignWork` allowed longer and shorter ones than
/// clients may make here, and counted them.
const MAX_DURATION_MIN: i64 = 24 * 60;

/// The columns without which a source is not `AlignWork`'s.
const REQUIRED: [&str; 8] = [
    "id",
    "tenant_id",
    "patient_id",
    "starts_at",
    "duration_min",
    "status",
    "created_at",
    "updated_at",
];

/// The names of a source's columns, in its order.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Columns(Vec<String>);

impl Columns {
    /// Checks that no required column is missing; `Err` is the first that is.
    pub(super) fn new(names: Vec<String>) -> Result<Self, &'static str> {
        let columns = Self(names);
        match REQUIRED
            .into_iter()
            .find(|name| columns.position(name).is_none())
        {
            Some(missing) => Err(missing),
            None => Ok(columns),
        }
    }

    /// All of them, in the source's order.
    pub(super) fn names(&self) -> &[String] {
        &self.0
    }

    /// The value of column `name` among `cells`, which are as many as the columns; NULL if the source has
    /// no such column.
    pub(super) fn cell<'a>(&self, cells: &'a [Cell], name: &str) -> &'a Cell {
        self.position(name).map_or(&Cell::Null, |at| &cells[at])
    }

    /// `SQLite` ignores the case of a column's name.
    fn position(&self, name: &str) -> Option<usize> {
        self.0
            .iter()
            .position(|column| column.eq_ignore_ascii_case(name))
    }
}

/// The appointment in `cells`, which are as many as the columns; `Err` says all that is wrong.
///
/// If `updated_at` is NULL, `created_at` is used. If that is NULL, `updated_at` is used, or else
/// `starts_at`.
pub(super) fn read(
    columns: &Columns,
    cells: &[Cell],
    statuses: &Statuses,
) -> Result<Appointment, String> {
    let mut row = RowReader {
        columns,
        cells,
        reasons: Vec::new(),
    };
    let id = row.read("id", |cell| whole(cell, MAX_IMPORTED_ID));
    let tenant = row.read("tenant_id", tenant);
    let patient = row.read("patient_id", patient);
    let consultorio_id = row.read("consultorio_id", |cell| {
        unless_null(cell, |cell| whole(cell, MAX_ID))
    });
    let starts_at = row.read("starts_at", utc);
    let duration_min = row.read("duration_min", |cell| {
        let minutes = whole(cell, MAX_DURATION_MIN)?;
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
        let created_at = created_at?;
        let created_at = created_at.or(updated_at).unwrap_or(starts_at);
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

/// Reads the cells of one row, and collects what is wrong with them.
struct RowReader<'a> {
    columns: &'a Columns,
    cells: &'a [Cell],
    reasons: Vec<String>,
}

impl RowReader<'_> {
    /// Reads the cell of a column; `None` means that a reason was noted.
    fn read<T, E: Display>(
        &mut self,
        column: &str,
        parse: impl FnOnce(&Cell) -> Result<T, E>,
    ) -> Option<T> {
        let cell = self.columns.cell(self.cells, column);
        parse(cell)
            .map_err(|error| self.reasons.push(format!("{column} {error}, is {cell}")))
            .ok()
    }
}

fn unless_null<T, E>(
    cell: &Cell,
    parse: impl FnOnce(&Cell) -> Result<T, E>,
) -> Result<Option<T>, E> {
    if *cell == Cell::Null {
        Ok(None)
    } else {
        parse(cell).map(Some)
    }
}

/// A whole number from 1 to `max`.
fn whole(cell: &Cell, max: i64) -> Result<i64, String> {
    json_integer(&cell.to_json(), 1, max)
}

fn tenant(cell: &Cell) -> Result<TenantId, InvalidTenant> {
    match cell {
        Cell::Text(text) => TenantId::parse(text),
        _ => Err(InvalidTenant),
    }
}

fn patient(cell: &Cell) -> Result<PatientId, InvalidPatient> {
    match cell {
        Cell::Text(text) => PatientId::parse(text),
        Cell::Integer(number) => PatientId::parse(&number.to_string()),
        _ => Err(InvalidPatient),
    }
}

/// A time as `SQLAlchemy` writes it, or `SQLite`'s `CURRENT_TIMESTAMP`, which has no fraction.
fn utc(cell: &Cell) -> Result<UtcTime, &'static str> {
    const ALLOWED: &str = "must be UTC as text YYYY-MM-DD HH:MM:SS with up to 6 digits of \
                           fraction and without offset, from 1970 to 2199";
    match cell {
        // A general parser accepts more, such as an offset, and drops what it cannot represent.
        Cell::Text(text) if is_naive(text) => {
            instant(&format!("{}T{}Z", &text[..10], &text[11..])).map_err(|_outside| ALLOWED)
        }
        _ => Err(ALLOWED),
    }
}

/// Whether `text` has the form `YYYY-MM-DD HH:MM:SS`, perhaps with 1 to 6 digits of fraction.
fn is_naive(text: &str) -> bool {
    let Some((time, fraction)) = text
        .as_bytes()
        .split_at_checked("YYYY-MM-DD HH:MM:SS".len())
    else {
        return false;
    };
    let is_fraction = match fraction {
        [] => true,
        [b'.', digits @ ..] => {
            (1..=6).contains(&digits.len()) && digits.iter().all(u8::is_ascii_digit)
        }
        _ => false,
    };
    has_form(time, b"0000-00-00 00:00:50") && is_fraction
}

#[cfg(test)]
mod tests;
