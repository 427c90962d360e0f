//! The counting statement: one per answer, so that all its buckets come from one snapshot.

use diesel::{
    AggregateExpressionMethods, BoolExpressionMethods, ExpressionMethods, QueryDsl, QueryResult,
    RunQueryDsl, dsl::count,
};

use super::{
    model::{Counts, MegaStats, Summary},
    windows::{TwoDays, Window, Windows},
};
use crate::{
    db::{AnyConn, Dialect, Status, UtcTime, on_db, schema::appointments},
    tenant::TenantId,
};

/// The bounds of a window, as the database keeps instants.
fn bounds(window: &Window) -> (UtcTime, UtcTime) {
    (window.start.into(), window.end.into())
}

/// How many appointments of `$status` start within `$window`.
macro_rules! counted {
    ($status:ident in $window:expr) => {{
        let (start, end) = bounds($window);
        count(appointments::id).aggregate_filter(
            appointments::status
                .eq(Status::$status)
                .and(appointments::starts_at.ge(start))
                .and(appointments::starts_at.lt(end)),
        )
    }};
}

/// Every appointment of `$tenant` that starts within `$span`, from the index alone.
macro_rules! of_tenant {
    ($tenant:expr, $span:expr) => {{
        let (start, end) = bounds($span);
        appointments::table
            .filter(appointments::tenant_id.eq($tenant.as_str()))
            .filter(appointments::starts_at.ge(start))
            .filter(appointments::starts_at.lt(end))
    }};
}

macro_rules! mega_stats_query {
    ($tenant:expr, $windows:expr) => {{
        let Windows { today, week, month, next_month } = $windows;
        of_tenant!($tenant, &$windows.span()).select((
            (counted!(Confirmed in today), counted!(Pending in today)),
            (counted!(Confirmed in week), counted!(Pending in week)),
            (counted!(Confirmed in month), counted!(Pending in month)),
            (counted!(Confirmed in next_month), counted!(Pending in next_month)),
        ))
    }};
}

macro_rules! summary_query {
    ($tenant:expr, $days:expr) => {{
        let TwoDays { today, tomorrow } = $days;
        of_tenant!($tenant, &$days.span()).select((
            (counted!(Confirmed in today), counted!(Pending in today)),
            (counted!(Confirmed in tomorrow), counted!(Pending in tomorrow)),
        ))
    }};
}

/// Counts the four windows of `/mega-stats`.
pub fn mega_stats(
    conn: &mut AnyConn,
    tenant: &TenantId,
    windows: &Windows,
) -> QueryResult<MegaStats> {
    on_db!(conn, |c| mega_stats_query!(tenant, windows).get_result(c))
}

/// Counts the two windows of `/summary`.
pub fn summary(conn: &mut AnyConn, tenant: &TenantId, days: &TwoDays) -> QueryResult<Summary> {
    on_db!(conn, |c| summary_query!(tenant, days).get_result(c))
}

/// Counts each of `days`, all of them at one moment.
pub fn days(conn: &mut AnyConn, tenant: &TenantId, days: &[Window]) -> QueryResult<Vec<Counts>> {
    on_db!(conn, |c| {
        c.snapshot(|c| {
            let counted = days.iter().map(|day| {
                let query = of_tenant!(tenant, day)
                    .select((counted!(Confirmed in day), counted!(Pending in day)));
                query.get_result(c)
            });
            counted.collect()
        })
    })
}

#[cfg(test)]
mod tests;
