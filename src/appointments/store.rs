//! The statements that read and write appointments.
//!
//! What writes and returns a row runs in a transaction: on its own it would commit when its cursor
//! is closed, where Diesel looks at no error, and a full disk would go unnoticed.

use std::collections::BTreeMap;

use diesel::{
    CombineDsl, ExpressionMethods, OptionalExtension, QueryDsl, QueryResult, RunQueryDsl,
    SelectableHelper, dsl::sum,
};
use jiff::Timestamp;

use super::model::{Appointment, Changes, ListFilter, NewAppointment, NewRow, Page};
use crate::{
    auth::Scope,
    db::{
        AnyConn, Dialect, UtcTime, on_db,
        schema::{
            DAY_MINUTES, QUARTER_MINUTES, appointment_count_changes, appointment_counts,
            appointments,
        },
    },
    input::TimeRange,
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

/// How many appointments a row of counts, or of changes to them, stands for.
macro_rules! number {
    ($counts:ident) => {
        $counts::confirmed + $counts::pending + $counts::cancelled
    };
}

/// The counts of `$tenant`'s days or quarters. A start that others have set may be later than the last that we
/// can read: it is left out, here and below.
macro_rules! counts_of {
    ($tenant:expr, $minutes:expr) => {
        appointment_counts::table
            .filter(appointment_counts::tenant_id.eq($tenant))
            .filter(appointment_counts::minutes.eq($minutes))
            .filter(appointment_counts::day.lt(UtcTime::from(Timestamp::MAX)))
    };
}

macro_rules! changes_of {
    ($tenant:expr) => {
        appointment_count_changes::table
            .filter(appointment_count_changes::tenant_id.eq($tenant))
            .filter(appointment_count_changes::starts_at.lt(UtcTime::from(Timestamp::MAX)))
    };
}

/// How many of `$tenant`'s appointments start before `$instant`.
macro_rules! count_before {
    ($conn:expr, $tenant:expr, $instant:expr) => {{
        let instant: UtcTime = $instant;
        let day = instant.start_of_period(DAY_MINUTES);
        let quarter = instant.start_of_period(QUARTER_MINUTES);
        let days = counts_of!($tenant, DAY_MINUTES)
            .filter(appointment_counts::day.lt(day))
            .select(sum(number!(appointment_counts)));
        let quarters = counts_of!($tenant, QUARTER_MINUTES)
            .filter(appointment_counts::day.eq(day))
            .filter(appointment_counts::starts_at.lt(quarter))
            .select(sum(number!(appointment_counts)));
        let changes = changes_of!($tenant)
            .filter(appointment_count_changes::starts_at.lt(quarter))
            .select(sum(number!(appointment_count_changes)));
        let periods: Vec<Option<i64>> = days.union_all(quarters).union_all(changes).load($conn)?;
        let rest: i64 = appointments::table
            .filter(appointments::tenant_id.eq($tenant))
            .filter(appointments::starts_at.ge(quarter))
            .filter(appointments::starts_at.lt(instant))
            .count()
            .get_result($conn)?;
        periods.into_iter().flatten().sum::<i64>() + rest
    }};
}

/// The beginnings of `$tenant`'s days or quarters, and how many appointments start in each.
macro_rules! periods {
    ($counts:ident, $of:expr, $conn:expr) => {
        $of.select(($counts::starts_at, number!($counts)))
            .load::<Period>($conn)?
    };
}

/// When a day or a quarter begins, and how many appointments start in it. There may be several of one.
type Period = (UtcTime, i32);

/// The period among `periods` in which the appointment starts that has `rank` others before it; and how many
/// start before that period, of which `before` start before all periods. `None` if there is none.
fn period_of(
    rank: i64,
    mut before: i64,
    periods: impl IntoIterator<Item = Period>,
) -> Option<(UtcTime, i64)> {
    let mut numbers = BTreeMap::<Timestamp, i64>::new();
    for (start, number) in periods {
        *numbers.entry(start.timestamp()).or_default() += i64::from(number);
    }
    for (start, number) in numbers {
        if rank < before + number {
            return Some((start.into(), before));
        }
        before += number;
    }
    None
}

/// One page of a tenant's appointments and how many there are, from one snapshot. Appointments before the page
/// are not read, but skipped by their counts: a far page costs as much as the first.
pub fn list(conn: &mut AnyConn, filter: &ListFilter) -> QueryResult<Page> {
    let ListFilter {
        page, page_size, ..
    } = *filter;
    let tenant = filter.tenant.as_str();
    let TimeRange { mut from, to } = filter.range;
    let mut skip = (page - 1).saturating_mul(page_size);
    let (total, data) = on_db!(conn, |c| {
        c.snapshot(|c| {
            let before_from = match from {
                Some(from) => count_before!(c, tenant, from),
                None => 0,
            };
            let before_to = count_before!(c, tenant, to.unwrap_or(Timestamp::MAX.into()));
            let total = (before_to - before_from).max(0);
            if skip >= total {
                return Ok((total, Vec::new()));
            }
            if skip > 0 {
                let rank = before_from + skip;
                let changes = periods!(appointment_count_changes, changes_of!(tenant), c);
                let days = periods!(appointment_counts, counts_of!(tenant, DAY_MINUTES), c);
                let day_of =
                    |(start, number): &Period| (start.start_of_period(DAY_MINUTES), *number);
                let days = days.into_iter().chain(changes.iter().map(day_of));
                // No period is found where the counts are wrong: then the rows before the page are read.
                if let Some((day, before_day)) = period_of(rank, 0, days) {
                    let quarters =
                        counts_of!(tenant, QUARTER_MINUTES).filter(appointment_counts::day.eq(day));
                    let quarters = periods!(appointment_counts, quarters, c);
                    let changes = changes.into_iter().filter(|change| day_of(change).0 == day);
                    let quarters = quarters.into_iter().chain(changes);
                    if let Some((quarter, before_quarter)) = period_of(rank, before_day, quarters) {
                        from = Some(quarter);
                        skip = rank - before_quarter;
                    }
                }
            }
            let mut rows = appointments::table
                .filter(appointments::tenant_id.eq(tenant))
                .into_boxed();
            if let Some(from) = from {
                rows = rows.filter(appointments::starts_at.ge(from));
            }
            if let Some(to) = to {
                rows = rows.filter(appointments::starts_at.lt(to));
            }
            let data = rows
                .order((appointments::starts_at, appointments::id))
                .limit(page_size)
                .offset(skip)
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
