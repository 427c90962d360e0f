//! The types of appointments: as they are stored, sent, made, changed and listed.

use diesel::prelude::{AsChangeset, Insertable, Queryable, Selectable};
use serde::Serialize;
use thiserror::Error;
use utoipa::ToSchema;

use crate::{
    db::{Status, UtcTime, schema::appointments},
    identifier,
    input::TimeRange,
    tenant::TenantId,
};

/// How long an appointment made here may last, in minutes. Imported ones may be outside.
pub const MIN_DURATION_MIN: i32 = 15;
/// See [`MIN_DURATION_MIN`].
pub const MAX_DURATION_MIN: i32 = 480;

/// The longest patient identifier, in characters.
pub const MAX_PATIENT_CHARS: usize = 64;

/// The largest identifier: the largest whole number that every JSON client reads exactly.
pub const MAX_ID: i64 = (1 << 53) - 1;

/// The largest identifier that is imported: it leaves as many again for new appointments.
pub const MAX_IMPORTED_ID: i64 = MAX_ID / 2;

/// An appointment as it is stored and sent.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Queryable, Selectable, Insertable, ToSchema)]
#[diesel(table_name = appointments)]
pub struct Appointment {
    /// Given by the database, or kept from an import.
    #[schema(minimum = 1, example = 1)]
    pub id: i64,
    /// Whose it is.
    #[schema(example = "default-tenant")]
    pub tenant_id: String,
    /// The patient's identifier in the client's system.
    #[schema(example = "7")]
    pub patient_id: String,
    /// The consulting room's identifier in the client's system.
    #[schema(required = true, minimum = 1, example = 2)]
    pub consultorio_id: Option<i64>,
    /// When it starts.
    #[schema(value_type = String, format = DateTime, example = "2025-10-31T17:00:00Z")]
    pub starts_at: UtcTime,
    /// How long it lasts, in minutes. Imported ones may be shorter or longer than what can be made.
    #[schema(minimum = 1, example = 30)]
    pub duration_min: i32,
    /// Its status.
    pub status: Status,
    /// When it was made.
    #[schema(value_type = String, format = DateTime, example = "2025-10-31T12:00:00Z")]
    pub created_at: UtcTime,
    /// When it last changed.
    #[schema(value_type = String, format = DateTime, example = "2025-10-31T12:00:00Z")]
    pub updated_at: UtcTime,
}

/// An appointment to be made.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct NewAppointment {
    /// Whose it will be.
    pub tenant: TenantId,
    /// See [`Appointment::patient_id`].
    pub patient: PatientId,
    /// See [`Appointment::consultorio_id`].
    pub consultorio_id: Option<i64>,
    /// When it starts.
    pub starts_at: UtcTime,
    /// How long it lasts, in minutes.
    pub duration_min: i32,
    /// Its status.
    pub status: Status,
}

/// The columns of an appointment to be made; the database gives the id.
#[derive(Debug, Clone, Copy, Insertable)]
#[diesel(table_name = appointments)]
pub(super) struct NewRow<'a> {
    pub(super) tenant_id: &'a str,
    pub(super) patient_id: &'a str,
    pub(super) consultorio_id: Option<i64>,
    pub(super) starts_at: UtcTime,
    pub(super) duration_min: i32,
    pub(super) status: Status,
    pub(super) created_at: UtcTime,
    pub(super) updated_at: UtcTime,
}

/// What changes in an appointment; `None` leaves a column as it is.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, AsChangeset)]
#[diesel(table_name = appointments)]
pub struct Changes {
    /// The new status.
    pub status: Option<Status>,
    /// When it will start.
    pub starts_at: Option<UtcTime>,
    /// How long it will last, in minutes.
    pub duration_min: Option<i32>,
}

impl Changes {
    /// Whether nothing would change.
    pub fn is_empty(&self) -> bool {
        *self == Self::default()
    }
}

/// A patient's identifier in the client's system: see [`identifier::RULE`]. It has at most
/// [`MAX_PATIENT_CHARS`] characters.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PatientId(String);

impl PatientId {
    /// Checks and wraps `raw`, without the white space at its ends.
    pub fn parse(raw: &str) -> Result<Self, InvalidPatient> {
        let id = identifier::parse(raw, MAX_PATIENT_CHARS).ok_or(InvalidPatient)?;
        Ok(Self(id.to_owned()))
    }

    /// The identifier.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

/// Not a patient's identifier: the message says what is allowed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Error)]
#[error(
    "must be a positive whole number, or a string of 1 to {MAX_PATIENT_CHARS} {}",
    identifier::RULE
)]
pub struct InvalidPatient;

/// Which appointments of a tenant to list.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ListFilter {
    /// Whose.
    pub tenant: TenantId,
    /// When they start.
    pub range: TimeRange,
    /// The page, from 1.
    pub page: i64,
    /// Appointments on a page.
    pub page_size: i64,
}

/// One page of a list.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, ToSchema)]
#[schema(as = AppointmentPage)]
pub struct Page {
    /// The appointments, by start and then by id.
    pub data: Vec<Appointment>,
    /// How many there are on all pages.
    #[schema(minimum = 0, example = 1)]
    pub total: i64,
    /// This page, from 1.
    #[schema(minimum = 1, example = 1)]
    pub page: i64,
    /// Appointments on a full page.
    #[schema(minimum = 1, maximum = 100, example = 50)]
    pub page_size: i64,
    /// How many pages there are; 0 when there is nothing to list.
    #[schema(minimum = 0, example = 1)]
    pub total_pages: i64,
}
