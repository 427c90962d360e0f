//! The counting statements: how they are answered, and that they count as a naive model does.

use diesel::{
    Connection, QueryableByName, SqliteConnection, connection::SimpleConnection, sql_query,
    sql_types::Text, sqlite::Sqlite,
};
use jiff::{SignedDuration, Timestamp, tz::TimeZone};
use proptest::prelude::*;

use super::*;
use crate::stats::{
    model::Day,
    windows::{local_date, two_days, windows},
};

const SCHEMA: &str =
    include_str!("../../../migrations/sqlite/2026-11-23-000000_create_appointments/up.sql");

fn database() -> SqliteConnection {
    let mut conn = SqliteConnection::establish(":memory:").unwrap();
    conn.batch_execute(SCHEMA).unwrap();
    conn
}

fn tenant(name: &str) -> TenantId {
    TenantId::parse(name).unwrap()
}

#[derive(QueryableByName)]
struct Plan {
    #[diesel(sql_type = Text)]
    detail: String,
}

/// How SQLite would answer `query`, one line per step.
macro_rules! plan {
    ($query:expr) => {{
        let shown = diesel::debug_query::<Sqlite, _>(&$query).to_string();
        let (sql, _bound) = shown.split_once(" -- binds").unwrap();
        let steps: Vec<Plan> = sql_query(format!("EXPLAIN QUERY PLAN {sql}"))
            .load(&mut database())
            .unwrap();
        steps
            .into_iter()
            .map(|step| step.detail)
            .collect::<Vec<_>>()
    }};
}

#[test]
fn the_statements_are_answered_from_the_index_alone() {
    let (now, zone) = (Timestamp::UNIX_EPOCH, TimeZone::UTC);
    let tenant = tenant("clinic");
    let expected = [
        "SEARCH appointments USING COVERING INDEX appointments_by_tenant_and_start \
         (tenant_id=? AND starts_at>? AND starts_at<?)",
    ];
    assert_eq!(
        plan!(mega_stats_query!(&tenant, &windows(now, &zone))),
        expected
    );
    assert_eq!(
        plan!(summary_query!(&tenant, &two_days(now, &zone))),
        expected
    );
}

/// An appointment of the model: whose, when, and where it stands.
type Booked = (usize, Timestamp, Status);

const TENANTS: [&str; 2] = ["clinic", "other"];

fn insert(conn: &mut SqliteConnection, booked: &[Booked]) {
    let rows: Vec<_> = booked
        .iter()
        .map(|(owner, starts_at, status)| {
            (
                appointments::tenant_id.eq(TENANTS[*owner]),
                appointments::patient_id.eq("1"),
                appointments::starts_at.eq(UtcTime::from(*starts_at)),
                appointments::duration_min.eq(30),
                appointments::status.eq(*status),
                appointments::created_at.eq(UtcTime::from(*starts_at)),
                appointments::updated_at.eq(UtcTime::from(*starts_at)),
            )
        })
        .collect();
    diesel::insert_into(appointments::table)
        .values(&rows)
        .execute(conn)
        .unwrap();
}

/// Counts by looking at every appointment.
fn naive(booked: &[Booked], window: Window) -> Counts {
    let count = |wanted| {
        let counted = booked.iter().filter(|(owner, starts_at, status)| {
            *owner == 0
                && *status == wanted
                && window.start <= *starts_at
                && *starts_at < window.end
        });
        i64::try_from(counted.count()).unwrap()
    };
    Counts {
        confirmed: count(Status::Confirmed),
        pending: count(Status::Pending),
    }
}

fn zones() -> impl Strategy<Value = TimeZone> {
    let named: Vec<_> = chrono_tz::TZ_VARIANTS
        .iter()
        .map(|zone| zone.name())
        .collect();
    proptest::sample::select(named).prop_map(|name| TimeZone::get(name).unwrap())
}

/// Instants around `now`, half of them on or beside the bounds of its windows.
fn starts(now: Timestamp, zone: &TimeZone) -> impl Strategy<Value = Timestamp> + use<> {
    let Windows {
        today,
        week,
        month,
        next_month,
    } = windows(now, zone);
    let bounds = [today, week, month, next_month]
        .map(|w| [w.start, w.end])
        .concat();
    let beside = (proptest::sample::select(bounds), -1i64..=1)
        .prop_map(|(bound, off)| bound + SignedDuration::from_micros(off));
    let anywhere =
        (-40i64 * 86_400..80 * 86_400).prop_map(move |off| now + SignedDuration::from_secs(off));
    prop_oneof![beside, anywhere]
}

fn cases() -> impl Strategy<Value = (TimeZone, Timestamp, Vec<Booked>)> {
    let now = (0i64..4_000_000_000).prop_map(|second| Timestamp::from_second(second).unwrap());
    (zones(), now).prop_flat_map(|(zone, now)| {
        let status = prop_oneof![
            Just(Status::Pending),
            Just(Status::Confirmed),
            Just(Status::Cancelled)
        ];
        let booked = (0..TENANTS.len(), starts(now, &zone), status);
        (
            Just(zone),
            Just(now),
            proptest::collection::vec(booked, 1..60),
        )
    })
}

proptest! {
    #[test]
    fn the_statements_count_as_a_naive_model_does((zone, now, booked) in cases()) {
        let mut conn = database();
        insert(&mut conn, &booked);
        let mut conn = AnyConn::Sqlite(conn);
        let tenant = tenant(TENANTS[0]);

        let at = windows(now, &zone);
        let counted = mega_stats(&mut conn, &tenant, &at).unwrap();
        prop_assert_eq!(counted, MegaStats {
            today: naive(&booked, at.today),
            week: naive(&booked, at.week),
            month: naive(&booked, at.month),
            next_month: naive(&booked, at.next_month),
        });

        let days = two_days(now, &zone);
        let summed = summary(&mut conn, &tenant, &days).unwrap();
        prop_assert_eq!(summed, Summary {
            today: naive(&booked, days.today).into(),
            tomorrow: naive(&booked, days.tomorrow).into(),
        });
        prop_assert_eq!(summed.today, Day::from(counted.today), "{}", local_date(now, &zone));
    }
}
