//! The statements that read and write appointments.
//!
//! What writes and returns a row runs in a transaction: on its own it would commit when its cursor
//! is closed, where Diesel looks at no error, and a full disk would go unnoticed.

use diesel::{
    ExpressionMethods, OptionalExtension, QueryDsl, QueryResult, RunQueryDsl, SelectableHelper,
};

use super::model::{Appointment, Changes, ListFilter, NewAppointment, NewRow, Page};
use crate::{
    auth::Scope,
    db::{AnyConn, Dialect, UtcTime, on_db, schema::appointments},
    tenant::TenantId,
};

/// The appointment with that id, if there is one in `scope`.
pub fn get(conn: &mut AnyConn, scope: &Scope, id: i64) -> QueryResult<Option<Appointment>> {
    on_db!(conn, |c| {
        let mut query = appointments::table
            .find(id)
            .select(Appointment::as_select())
            .into_boxed();
        if let Scope::Tenants(tenants) = scope {
            let names = tenants.iter().map(TenantId::as_str);
            query = query.filter(appointments::tenant_id.eq_any(names));
        }
        query.first(c).optional()
    })
}

/// One page of a tenant's appointments and how many there are, from one snapshot.
pub fn list(conn: &mut AnyConn, filter: &ListFilter) -> QueryResult<Page> {
    macro_rules! filtered {
        () => {{
            let mut query = appointments::table
                .filter(appointments::tenant_id.eq(filter.tenant.as_str()))
                .into_boxed();
            if let Some(from) = filter.range.from {
                query = query.filter(appointments::starts_at.ge(from));
            }
            if let Some(to) = filter.range.to {
                query = query.filter(appointments::starts_at.lt(to));
            }
            query
        }};
    }
    let ListFilter {
        page, page_size, ..
    } = *filter;
    let (total, data) = on_db!(conn, |c| {
        c.snapshot(|c| {
            let total: i64 = filtered!().count().get_result(c)?;
            let data = filtered!()
                .order((appointments::starts_at, appointments::id))
                .limit(page_size)
                .offset((page - 1).saturating_mul(page_size))
                .select(Appointment::as_select())
                .load(c)?;
            Ok((total, data))
        })
    })?;
    let total_pages = (total + page_size - 1) / page_size;
    Ok(Page {
        data,
        total,
        page,
        page_size,
        total_pages,
    })
}

/// Makes an appointment at `now`.
pub fn create(conn: &mut AnyConn, new: &NewAppointment, now: UtcTime) -> QueryResult<Appointment> {
    on_db!(conn, |c| {
        c.write_transaction(|c| {
            diesel::insert_into(appointments::table)
                .values(row(new, now))
                .returning(Appointment::as_returning())
                .get_result(c)
        })
    })
}

/// Makes appointments at `now`, all of them or none.
pub fn create_all(
    conn: &mut AnyConn,
    new: &[NewAppointment],
    now: UtcTime,
) -> QueryResult<Vec<Appointment>> {
    on_db!(conn, |c| {
        c.write_transaction(|c| {
            let made = new.iter().map(|new| {
                diesel::insert_into(appointments::table)
                    .values(row(new, now))
                    .returning(Appointment::as_returning())
                    .get_result(c)
            });
            made.collect()
        })
    })
}

/// The row of an appointment that is made at `now`.
pub(super) fn row(new: &NewAppointment, now: UtcTime) -> NewRow<'_> {
    NewRow {
        tenant_id: new.tenant.as_str(),
        patient_id: new.patient.as_str(),
        consultorio_id: new.consultorio_id,
        starts_at: new.starts_at,
        duration_min: new.duration_min,
        status: new.status,
        created_at: now,
        updated_at: now,
    }
}

/// Changes the appointment of `tenant` with that id at `now`, if there is one.
pub fn update(
    conn: &mut AnyConn,
    tenant: &TenantId,
    id: i64,
    changes: Changes,
    now: UtcTime,
) -> QueryResult<Option<Appointment>> {
    on_db!(conn, |c| {
        c.write_transaction(|c| {
            diesel::update(appointments::table.find(id))
                .filter(appointments::tenant_id.eq(tenant.as_str()))
                .set((changes, appointments::updated_at.eq(now)))
                .returning(Appointment::as_returning())
                .get_result(c)
                .optional()
        })
    })
}

#[cfg(test)]
mod tests;
