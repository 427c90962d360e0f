//! The statements that make an appointment once and store the answer. Both are in one transaction, so
//! that neither exists without the other.

use diesel::{
    ExpressionMethods, OptionalExtension, QueryDsl, QueryResult, RunQueryDsl, SelectableHelper,
    result::{DatabaseErrorKind, Error},
    sql_query,
};
use jiff::Timestamp;

use super::{IdempotencyKey, KEY_LIFE, fingerprint};
use crate::{
    appointments::{
        model::{Appointment, NewAppointment},
        store,
    },
    db::{
        AnyConn, Dialect, UtcTime, on_db,
        schema::{appointments, idempotency_keys},
        time::UtcInstant,
    },
};

/// How many expired keys each create removes: more than one, so that their number falls, and few, so
/// that no request waits for it.
const REMOVED_PER_CREATE: usize = 8;

/// How a create that carries a key ended.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum CreateOutcome {
    /// The appointment was made now.
    Created(StoredAnswer),
    /// It was made by an earlier request with the same key.
    Replayed(StoredAnswer),
    /// The key was used for another appointment.
    KeyReused,
    /// It was not made: it would start before the earliest start that is allowed.
    StartsTooEarly,
}

/// The answer to a create, as it is stored with the key.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct StoredAnswer {
    /// The appointment that was made.
    pub id: i64,
    /// The body: the appointment as it was then, in JSON.
    pub body: String,
}

/// Makes an appointment at `now`, unless `key` was used before by its tenant or the appointment would
/// start before `earliest_start`. One that was made is answered again whatever the time is meanwhile.
pub fn create(
    conn: &mut AnyConn,
    new: &NewAppointment,
    key: &IdempotencyKey,
    earliest_start: UtcTime,
    now: UtcTime,
) -> QueryResult<CreateOutcome> {
    let fingerprint = fingerprint(new);
    let oldest = now
        .timestamp()
        .checked_sub(KEY_LIFE)
        .unwrap_or(Timestamp::MIN);
    let oldest = UtcTime::from(oldest);
    let attempt = |conn: &mut AnyConn| {
        on_db!(conn, |c| c.write_transaction(|c| {
            let own = idempotency_keys::table.find((new.tenant.as_str(), key.as_str()));
            let found = own
                .select((
                    idempotency_keys::fingerprint,
                    idempotency_keys::appointment_id,
                    idempotency_keys::answer,
                    idempotency_keys::created_at,
                ))
                .first::<(Vec<u8>, i64, String, UtcTime)>(c)
                .optional()?;
            match found {
                Some((_, _, _, at)) if at <= oldest => {
                    diesel::delete(own).execute(c)?;
                }
                Some((asked, id, body, _)) if asked == fingerprint => {
                    return Ok(CreateOutcome::Replayed(StoredAnswer { id, body }));
                }
                Some(_) => return Ok(CreateOutcome::KeyReused),
                None => {}
            }
            if new.starts_at < earliest_start {
                return Ok(CreateOutcome::StartsTooEarly);
            }
            let made = diesel::insert_into(appointments::table)
                .values(store::row(new, now))
                .returning(Appointment::as_returning())
                .get_result(c)?;
            let body = serde_json::to_string(&made)
                .map_err(|error| Error::SerializationError(error.into()))?;
            diesel::insert_into(idempotency_keys::table)
                .values((
                    idempotency_keys::tenant_id.eq(new.tenant.as_str()),
                    idempotency_keys::key.eq(key.as_str()),
                    idempotency_keys::fingerprint.eq(&fingerprint[..]),
                    idempotency_keys::appointment_id.eq(made.id),
                    idempotency_keys::answer.eq(&body),
                    idempotency_keys::created_at.eq(now),
                ))
                .execute(c)?;
            let skip_locked = c.skip_locked();
            sql_query(format!(
                "DELETE FROM idempotency_keys WHERE (tenant_id, key) IN \
                 (SELECT tenant_id, key FROM idempotency_keys WHERE created_at <= $1 \
                  ORDER BY created_at LIMIT {REMOVED_PER_CREATE} {skip_locked})"
            ))
            .bind::<UtcInstant, _>(oldest)
            .execute(c)?;
            Ok(CreateOutcome::Created(StoredAnswer { id: made.id, body }))
        }))
    };
    match attempt(conn) {
        // Meanwhile another session has used the key and committed, so its answer can be read now.
        Err(Error::DatabaseError(DatabaseErrorKind::UniqueViolation, _)) => attempt(conn),
        done => done,
    }
}

#[cfg(test)]
mod tests;
