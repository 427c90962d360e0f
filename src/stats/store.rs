//! The counting statement: one per answer, so that all its buckets come from one snapshot. And whether
//! what the database counts is right.
//!
//! The database counts the appointments of each UTC day and of each quarter of an hour, by triggers: see
//! the migration `create_appointment_counts`. So an answer costs the same however many appointments a
//! tenant has: whole days are summed, and the quarters of those days that a bound divides. Bounds
//! within a quarter do occur in `/summary`, and in old laws; then the appointments are counted.

use std::fmt;

use diesel::{
    AggregateExpressionMethods, AppearsOnTable, CombineDsl, Expression, ExpressionMethods, IntoSql,
    QueryDsl, QueryResult, Queryable, RunQueryDsl, Selectable, SelectableHelper,
    backend::Backend,
    dsl::{count, not},
    expression::{ValidGrouping, is_aggregate},
    query_builder::{AstPass, QueryFragment, QueryId},
    serialize::ToSql,
    sql_query,
    sql_types::{Bool, HasSqlType},
};
use jiff::Timestamp;

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
        time::UtcInstant,
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
    is_change: bool,
}

/// Whether the day of a count is one of these. Diesel's own `eq_any` has SQLite prepare the statement anew
/// for each read, which takes longer than to run it.
#[derive(Clone)]
struct DayIn(Vec<UtcTime>);

impl Expression for DayIn {
    type SqlType = Bool;
}

impl AppearsOnTable<appointment_counts::table> for DayIn {}

impl ValidGrouping<()> for DayIn {
    type IsAggregate = is_aggregate::Never;
}

impl QueryId for DayIn {
    type QueryId = ();
    // The statement depends on how many days there are.
    const HAS_STATIC_QUERY_ID: bool = false;
}

impl<DB: Backend> QueryFragment<DB> for DayIn
where
    DB: HasSqlType<UtcInstant>,
    UtcTime: ToSql<UtcInstant, DB>,
{
    fn walk_ast<'b>(&'b self, mut out: AstPass<'_, 'b, DB>) -> QueryResult<()> {
        let Self(days) = self;
        if days.is_empty() {
            out.push_sql("FALSE");
            return Ok(());
        }
        for (at, day) in days.iter().enumerate() {
            out.push_sql(if at == 0 { "day IN (" } else { ", " });
            out.push_bind_param::<UtcInstant, _>(day)?;
        }
        out.push_sql(")");
        Ok(())
    }
}

/// The days and quarters that `$windows`, which lie in `$span`, are made of.
macro_rules! periods_query {
    ($tenant:expr, $span:expr, $windows:expr) => {{
        let divided: Vec<UtcTime> = bounds($windows)
            .filter(|bound| divides(*bound, DAY_MINUTES))
            .map(|bound| UtcTime::from(bound).start_of_period(DAY_MINUTES))
            .collect();
        let counts_of_periods = |minutes: i32| {
            appointment_counts::table
                .filter(appointment_counts::tenant_id.eq($tenant.as_str()))
                .filter(appointment_counts::minutes.eq(minutes))
                .select((
                    appointment_counts::starts_at,
                    appointment_counts::confirmed,
                    appointment_counts::pending,
                    false.into_sql::<Bool>(),
                ))
        };
        let days = counts_of_periods(DAY_MINUTES)
            .filter(appointment_counts::day.ge(UtcTime::from($span.start)))
            .filter(appointment_counts::day.lt(UtcTime::from($span.end)))
            .filter(not(DayIn(divided.clone())));
        let quarters = counts_of_periods(QUARTER_MINUTES).filter(DayIn(divided));
        // A start that others have set may be later than the last that we can read.
        let changes = appointment_count_changes::table
            .filter(appointment_count_changes::tenant_id.eq($tenant.as_str()))
            .filter(appointment_count_changes::starts_at.lt(UtcTime::from(Timestamp::MAX)))
            .select((
                appointment_count_changes::starts_at,
                appointment_count_changes::confirmed,
                appointment_count_changes::pending,
                true.into_sql::<Bool>(),
            ));
        days.union_all(quarters).union_all(changes)
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
    let rows: Vec<PeriodRow> = on_db!(conn, |c| periods_query!(tenant, span, windows).load(c)?);
    if rows.iter().filter(|row| row.is_change).count() > MANY_CHANGES {
        merge_changes(conn, Some(tenant));
    }
    Ok(rows
        .into_iter()
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
