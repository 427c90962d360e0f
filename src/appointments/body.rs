//! The bodies that the routes take: their fields, how OpenAPI describes them, and reading them.

use serde::Deserialize;
use serde_json::Value;
use utoipa::ToSchema;

use super::{
    model::{
        Changes, InvalidPatient, MAX_DURATION_MIN, MAX_ID, MIN_DURATION_MIN, NewAppointment,
        PatientId,
    },
    openapi::{Id, Patient},
};
use crate::{
    db::Status,
    error::ApiError,
    input::{
        FieldReader, integer, json_instant, json_integer, json_text,
        openapi::{Instant, Tenant},
    },
    tenant::TenantId,
};

/// An appointment to be made. A field that is null counts as missing. Unknown fields are ignored.
#[derive(Debug, Deserialize, ToSchema)]
#[schema(
    as = NewAppointment,
    // The example names no clinic that exists, since the page of /docs sends it as it stands.
    example = json!({
        "tenantId": "example-clinic",
        "patientId": "7",
        "startsAt": "2025-10-31T14:30:00Z",
        "durationMin": 30
    })
)]
#[serde(rename_all = "camelCase")]
pub(super) struct CreateBody {
    /// The clinic.
    #[schema(value_type = Tenant)]
    tenant_id: Option<Value>,
    /// The patient's identifier in the client's system. A number is kept as its digits.
    #[schema(value_type = Patient)]
    patient_id: Option<Value>,
    /// When it starts; not in the past if the service has `appointments.allow_past_starts = false`.
    #[schema(value_type = Instant)]
    starts_at: Option<Value>,
    /// How long it lasts, in minutes.
    #[schema(value_type = i64, minimum = 15, maximum = 480, example = 30)]
    duration_min: Option<Value>,
    /// Its status; `pending` if this is missing.
    #[schema(value_type = Option<Status>)]
    status: Option<Value>,
    /// The consulting room's identifier in the client's system.
    #[schema(value_type = Option<Id>)]
    consultorio_id: Option<Value>,
}

impl CreateBody {
    /// The appointment, or 422 with all that is wrong.
    pub(super) fn read(self) -> Result<NewAppointment, ApiError> {
        let mut fields = FieldReader::default();
        let tenant = fields.required("tenantId", self.tenant_id, |raw| {
            TenantId::parse(json_text(&raw)?).map_err(|error| error.to_string())
        });
        let patient = fields.required("patientId", self.patient_id, |raw| patient(&raw));
        let starts_at = fields.required("startsAt", self.starts_at, |raw| json_instant(&raw));
        let duration_min = fields.required("durationMin", self.duration_min, |raw| duration(&raw));
        let status = fields.optional("status", self.status, |raw| status(&raw));
        let consultorio_id = fields.optional("consultorioId", self.consultorio_id, |raw| {
            whole_number(&raw, 1, MAX_ID)
        });
        fields.finish(|| {
            Some(NewAppointment {
                tenant: tenant?,
                patient: patient?,
                consultorio_id: consultorio_id?,
                starts_at: starts_at?,
                duration_min: duration_min?,
                status: status?.unwrap_or(Status::Pending),
            })
        })
    }
}

/// The changes to an appointment. A field that is null counts as missing. Unknown fields are ignored.
#[derive(Debug, Deserialize, ToSchema)]
#[schema(
    as = AppointmentChanges,
    min_properties = 1,
    example = json!({ "status": "confirmed" })
)]
#[serde(rename_all = "camelCase")]
pub(super) struct UpdateBody {
    /// The new status.
    #[schema(value_type = Option<Status>)]
    status: Option<Value>,
    /// When it will start; not in the past if the service has `appointments.allow_past_starts = false`.
    #[schema(value_type = Option<Instant>)]
    starts_at: Option<Value>,
    /// How long it will last, in minutes.
    #[schema(value_type = Option<i64>, minimum = 15, maximum = 480)]
    duration_min: Option<Value>,
}

impl UpdateBody {
    /// The changes, at least one, or 422 with all that is wrong.
    pub(super) fn read(self) -> Result<Changes, ApiError> {
        let mut fields = FieldReader::default();
        let status = fields.optional("status", self.status, |raw| status(&raw));
        let starts_at = fields.optional("startsAt", self.starts_at, |raw| json_instant(&raw));
        let duration_min = fields.optional("durationMin", self.duration_min, |raw| duration(&raw));
        let changes = fields.finish(|| {
            Some(Changes {
                status: status?,
                starts_at: starts_at?,
                duration_min: duration_min?,
            })
        })?;
        if changes.is_empty() {
            return Err(ApiError::invalid_field(
                "body",
                "must have at least one of status, startsAt, durationMin",
            ));
        }
        Ok(changes)
    }
}

fn patient(raw: &Value) -> Result<PatientId, InvalidPatient> {
    match raw {
        Value::String(text) => PatientId::parse(text),
        Value::Number(number) if number.as_u64().is_some_and(|number| number > 0) => {
            PatientId::parse(&number.to_string())
        }
        // 7.0 is read as 7. A number so large that it may stand for several whole ones is refused.
        Value::Number(_) => {
            let number = whole_number(raw, 1, MAX_ID).map_err(|_| InvalidPatient)?;
            PatientId::parse(&number.to_string())
        }
        _ => Err(InvalidPatient),
    }
}

/// A whole number from `min` to `max`, which may also be written as `60.0` or `"60"`, as `AlignWork`
/// takes it.
fn whole_number(raw: &Value, min: i64, max: i64) -> Result<i64, String> {
    match raw {
        Value::String(digits) => integer(digits, min, max),
        Value::Number(number) if number.is_f64() => {
            let digits = number.as_f64().unwrap_or(f64::NAN).to_string();
            integer(&digits, min, max)
        }
        other => json_integer(other, min, max),
    }
}

fn duration(raw: &Value) -> Result<i32, String> {
    let minutes = whole_number(raw, MIN_DURATION_MIN.into(), MAX_DURATION_MIN.into())?;
    i32::try_from(minutes).map_err(|error| error.to_string())
}

fn status(raw: &Value) -> Result<Status, String> {
    json_text(raw)?
        .parse()
        .map_err(|error: crate::db::InvalidStatus| error.to_string())
}
