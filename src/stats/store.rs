//! The counting statement: one per answer, so that all its buckets come from one snapshot. And whether
//! what the database counts is right.
//!
//! The database counts the appointments of each UTC day and of each quarter of an hour, by triggers: see
//! the migration `create_appointment_counts`. So an answer costs the same however many appointments a
//! tenant has: whole days are summed, and the quarters of those days that a bound divides. Bounds
//! within a quarter do occur in `/summary`, and in old laws; then the appointments are counted.

use std::{fmt, ops::RangeInclusive};

use diesel::{
    AggregateExpressionMethods, CombineDsl, ExpressionMethods, IntoSql, NullableExpressionMethods,
    QueryDsl, QueryResult, Queryable, RunQueryDsl, Selectable, SelectableHelper,
    backend::Backend,
    dsl::count,
    query_builder::{AstPass, Query, QueryFragment, QueryId},
    sql_query,
    sql_types::{Integer, Nullable},
};
use jiff::{SignedDuration, Timestamp};

use super::{
    model::{Counts, MegaStats, Summary},
    windows::{TwoDays, Window, Windows},
};
use crate::{
    db::{
        AnyConn, Dialect, Status, UtcTime, on_db,
        schema::{
            DAY_MINUTES, QUARTER_MINUTES, appointment_count_changes, appointment_count_differences,
            appointment_counts, appointments,
        },
    },
    tenant::TenantId,
};

/// A read that meets more changes than this merges them.
const MANY_CHANGES: usize = 500;

/// Counts the four windows of `/mega-stats`.
pub fn mega_stats(
    conn: &mut AnyConn,
    tenant: &TenantId,
    windows: &Windows,
) -> QueryResult<MegaStats> {
    let Windows {
        today,
        week,
        month,
        next_month,
    } = *windows;
    let all = [today, week, month, next_month];
    let counted = counted(conn, tenant, windows.span(), &all)?;
    let [today, week, month, next_month] = all.map(|window| total(&counted, window));
    Ok(MegaStats {
        today,
        week,
        month,
        next_month,
    })
}

/// Counts the two windows of `/summary`.
pub fn summary(conn: &mut AnyConn, tenant: &TenantId, days: &TwoDays) -> QueryResult<Summary> {
    let TwoDays { today, tomorrow } = *days;
    let counted = counted(conn, tenant, days.span(), &[today, tomorrow])?;
    Ok(Summary {
        today: total(&counted, today).into(),
        tomorrow: total(&counted, tomorrow).into(),
    })
}

/// Counts each of `days`, which follow one another.
pub fn days(conn: &mut AnyConn, tenant: &TenantId, days: &[Window]) -> QueryResult<Vec<Counts>> {
    let (Some(first), Some(last)) = (days.first(), days.last()) else {
        return Ok(Vec::new());
    };
    let span = Window {
        start: first.start,
        end: last.end,
    };
    let counted = counted(conn, tenant, span, days)?;
    Ok(days.iter().map(|&day| total(&counted, day)).collect())
}

/// How many appointments start in a period that no bound divides, or at an instant.
#[derive(Queryable)]
struct Starting {
    at: UtcTime,
    confirmed: i64,
    pending: i64,
}

/// The same as it is in the database.
#[derive(Queryable)]
struct PeriodRow {
    at: UtcTime,
    confirmed: i32,
    pending: i32,
    /// How long the period is; nothing for a change that is not merged yet.
    minutes: Option<i32>,
}

/// The rows of several queries of one type. Diesel's own has to know how many there are.
struct UnionAll<Q>(Vec<Q>);

impl<Q: Query> Query for UnionAll<Q> {
    type SqlType = Q::SqlType;
}

impl<Q> QueryId for UnionAll<Q> {
    type QueryId = ();
    // The statement depends on how many queries there are.
    const HAS_STATIC_QUERY_ID: bool = false;
}

impl<DB: Backend, Q: QueryFragment<DB>> QueryFragment<DB> for UnionAll<Q> {
    fn walk_ast<'b>(&'b self, mut out: AstPass<'_, 'b, DB>) -> QueryResult<()> {
        let Self(queries) = self;
        for (index, query) in queries.iter().enumerate() {
            if index > 0 {
                out.push_sql(" UNION ALL ");
            }
            query.walk_ast(out.reborrow())?;
        }
        Ok(())
    }
}

/// The days in `$span`, and the quarters of the days in `$divided`, and what is to be added to them. Each range
/// of days is a search of its own: given a list of days, PostgreSQL may read every quarter that the tenant has.
macro_rules! periods_query {
    ($tenant:expr, $span:expr, $divided:expr) => {{
        let counts_of_periods = |minutes: i32, days: &RangeInclusive<UtcTime>| {
            appointment_counts::table
                .filter(appointment_counts::tenant_id.eq($tenant.as_str()))
                .filter(appointment_counts::minutes.eq(minutes))
                .filter(appointment_counts::day.between(*days.start(), *days.end()))
                .select((
                    appointment_counts::starts_at,
                    appointment_counts::confirmed,
                    appointment_counts::pending,
                    appointment_counts::minutes.nullable(),
                ))
        };
        let span = $span.start.into()..=$span.end.into();
        let mut counts = vec![counts_of_periods(DAY_MINUTES, &span)];
        for days in $divided {
            counts.push(counts_of_periods(QUARTER_MINUTES, days));
        }
        // A start that others have set may be later than the last that we can read.
        let changes = appointment_count_changes::table
            .filter(appointment_count_changes::tenant_id.eq($tenant.as_str()))
            .filter(appointment_count_changes::starts_at.lt(UtcTime::from(Timestamp::MAX)))
            .select((
                appointment_count_changes::starts_at,
                appointment_count_changes::confirmed,
                appointment_count_changes::pending,
                None::<i32>.into_sql::<Nullable<Integer>>(),
            ));
        changes.union_all(UnionAll(counts))
    }};
}

/// The appointments in `$span`, counted by the instant at which they start, from the index alone.
macro_rules! instants_query {
    ($tenant:expr, $span:expr) => {{
        let of_status =
            |status| count(appointments::id).aggregate_filter(appointments::status.eq(status));
        appointments::table
            .filter(appointments::tenant_id.eq($tenant.as_str()))
            .filter(appointments::starts_at.ge(UtcTime::from($span.start)))
            .filter(appointments::starts_at.lt(UtcTime::from($span.end)))
            .group_by(appointments::starts_at)
            .select((
                appointments::starts_at,
                of_status(Status::Confirmed),
                of_status(Status::Pending),
            ))
    }};
}

/// What the appointments of `tenant` within `windows`, which lie in `span`, are counted by.
fn counted(
    conn: &mut AnyConn,
    tenant: &TenantId,
    span: Window,
    windows: &[Window],
) -> QueryResult<Vec<Starting>> {
    if bounds(windows).any(|bound| divides(bound, QUARTER_MINUTES)) {
        return on_db!(conn, |c| instants_query!(tenant, span).load(c));
    }
    let divided = divided_days(windows);
    let rows: Vec<PeriodRow> = on_db!(conn, |c| periods_query!(tenant, span, &divided).load(c)?);
    if rows.iter().filter(|row| row.minutes.is_none()).count() > MANY_CHANGES {
        merge_changes(conn, Some(tenant));
    }
    // The quarters of these days are counted in their place.
    let is_divided = |row: &PeriodRow| {
        row.minutes == Some(DAY_MINUTES) && divided.iter().any(|days| days.contains(&row.at))
    };
    Ok(rows
        .into_iter()
        .filter(|row| !is_divided(row))
        .map(|row| Starting {
            at: row.at,
            confirmed: row.confirmed.into(),
            pending: row.pending.into(),
        })
        .collect())
}

/// How many of what is `counted` start within `window`.
fn total(counted: &[Starting], window: Window) -> Counts {
    let mut counts = Counts::default();
    for starting in counted {
        if window.contains(starting.at.timestamp()) {
            counts.confirmed += starting.confirmed;
            counts.pending += starting.pending;
        }
    }
    counts
}

/// The UTC days that a bound of `windows` divides. Days that follow each other are one range, from the start
/// of the first to the start of the last.
fn divided_days(windows: &[Window]) -> Vec<RangeInclusive<UtcTime>> {
    let mut days: Vec<UtcTime> = bounds(windows)
        .filter(|bound| divides(*bound, DAY_MINUTES))
        .map(|bound| UtcTime::from(bound).start_of_period(DAY_MINUTES))
        .collect();
    days.sort_by_key(|day| day.timestamp());
    let follows = |day: &UtcTime, next: &UtcTime| {
        next.timestamp().duration_since(day.timestamp()) <= SignedDuration::from_hours(24)
    };
    days.chunk_by(follows)
        .filter_map(|days| Some(*days.first()?..=*days.last()?))
        .collect()
}

/// Whether `bound` is within a period of `minutes`, and not between two.
fn divides(bound: Timestamp, minutes: i32) -> bool {
    let bound = UtcTime::from(bound);
    bound.start_of_period(minutes) != bound
}

fn bounds(windows: &[Window]) -> impl Iterator<Item = Timestamp> {
    windows.iter().flat_map(|window| [window.start, window.end])
}

/// Merges changes of one tenant, or of all, into the counts. That makes later answers cheaper, and none depends
/// on it.
pub(super) fn merge_changes(conn: &mut AnyConn, tenant: Option<&TenantId>) {
    let tenant = tenant.map(TenantId::as_str);
    if let Err(error) = on_db!(conn, |c| c.merge_count_changes(tenant)) {
        log::warn!("stats: could not merge changes into the counts: {error}");
    }
}

/// A period whose appointments are not counted right.
#[derive(Debug, Clone, PartialEq, Eq, Queryable, Selectable)]
#[diesel(table_name = appointment_count_differences)]
pub struct Difference {
    /// Whose appointments they are.
    pub tenant_id: String,
    /// How long the period is.
    pub minutes: i32,
    /// When it begins.
    pub starts_at: UtcTime,
    /// How many confirmed ones are to be added to the count; negative if it is too large.
    pub confirmed: i32,
    /// The same of pending ones.
    pub pending: i32,
    /// The same of cancelled ones.
    pub cancelled: i32,
}

impl fmt::Display for Difference {
    /// One line.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self {
            tenant_id,
            minutes,
            starts_at,
            confirmed,
            pending,
            cancelled,
        } = self;
        let starts_at = starts_at.timestamp();
        let period = match *minutes {
            DAY_MINUTES => "day",
            _ => "quarter of an hour",
        };
        write!(
            f,
            "tenant {tenant_id}, the {period} from {starts_at}: to be added are {confirmed} \
             confirmed, {pending} pending, {cancelled} cancelled"
        )
    }
}

/// The first differences between the counts and the appointments, at most `limit`, by tenant and time.
pub fn differences(conn: &mut AnyConn, limit: usize) -> QueryResult<Vec<Difference>> {
    use appointment_count_differences::{minutes, starts_at, table, tenant_id};
    let limit = i64::try_from(limit).unwrap_or(i64::MAX);
    on_db!(conn, |c| table
        .select(Difference::as_select())
        .order((tenant_id, starts_at, minutes))
        .limit(limit)
        .load(c))
}

/// The statement with which a database counts its appointments for the first time. It adds what is
/// missing, and is the same for both databases.
const RECOUNT: &str =
    include_str!("../../migrations/sqlite/2026-11-27-000001_count_appointments/up.sql");

/// Makes the counts equal to the appointments; returns how many were wrong.
pub fn recount(conn: &mut AnyConn) -> QueryResult<usize> {
    on_db!(conn, |c| c
        .write_transaction(|c| sql_query(RECOUNT).execute(c)))
}

#[cfg(test)]
mod tests;
