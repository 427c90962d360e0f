//! The statements that make an appointment once, and remember how it was answered: in the same
//! transaction, so that there is never one without the other.

use diesel::{
    ExpressionMethods, OptionalExtension, QueryDsl, QueryResult, RunQueryDsl, SelectableHelper,
    result::{DatabaseErrorKind, Error},
    sql_query,
};
use jiff::Timestamp;

use super::{Fingerprint, IdempotencyKey, KEPT};
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

/// How many old keys each new one removes: more than one, so that they become fewer, and few, so
/// that nobody waits for it.
const REMOVED: usize = 8;

/// How a create that carries a key ended.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Once {
    /// It took place now.
    Made(Answer),
    /// It had taken place.
    Again(Answer),
    /// The key was for another request.
    Taken,
}

/// What is answered to a create.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Answer {
    /// The appointment that was made.
    pub id: i64,
    /// The body: the appointment as it was then, in JSON.
    pub body: String,
}

/// Makes an appointment at `now`, unless `key` was used before by its tenant.
pub fn create(
    conn: &mut AnyConn,
    new: &NewAppointment,
    key: &IdempotencyKey,
    now: UtcTime,
) -> QueryResult<Once> {
    match attempt(conn, new, key, now) {
        // Another session has used the key meanwhile, and has committed: its answer is there now.
        Err(Error::DatabaseError(DatabaseErrorKind::UniqueViolation, _)) => {
            attempt(conn, new, key, now)
        }
        done => done,
    }
}

fn attempt(
    conn: &mut AnyConn,
    new: &NewAppointment,
    key: &IdempotencyKey,
    now: UtcTime,
) -> QueryResult<Once> {
    let Fingerprint(fingerprint) = Fingerprint::of(new);
    let oldest = now.timestamp().checked_sub(KEPT).unwrap_or(Timestamp::MIN);
    let oldest = UtcTime::from(oldest);
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
                return Ok(Once::Again(Answer { id, body }));
            }
            Some(_) => return Ok(Once::Taken),
            None => {}
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
              ORDER BY created_at LIMIT {REMOVED} {skip_locked})"
        ))
        .bind::<UtcInstant, _>(oldest)
        .execute(c)?;
        Ok(Once::Made(Answer { id: made.id, body }))
    }))
}

#[cfg(test)]
mod tests;
