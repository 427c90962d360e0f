//! The counting statements: how they are answered, and that they count as a naive model does.

mod counts;

use std::cell::RefCell;

use diesel::{
    QueryableByName,
    connection::SimpleConnection,
    pg::Pg,
    query_builder::{AstPass, Query, QueryFragment, QueryId},
    sql_query,
    sql_types::Text,
    sqlite::Sqlite,
};
use jiff::{SignedDuration, Timestamp, tz::TimeZone};
use proptest::prelude::*;

use super::*;
use crate::{
    db::{PgConn, testing::TestDb},
    stats::{
        model::Day,
        windows::{local_date, two_days, windows},
    },
};

fn tenant(name: &str) -> TenantId {
    TenantId::parse(name).unwrap()
}

#[derive(QueryableByName)]
struct Plan {
    #[diesel(sql_type = Text)]
    detail: String,
}

/// How SQLite would answer `query`, one line per step.
macro_rules! sqlite_plan {
    ($conn:expr, $query:expr) => {{
        let shown = diesel::debug_query::<Sqlite, _>(&$query).to_string();
        let (sql, _bound) = shown.split_once(" -- binds").unwrap();
        let steps: Vec<Plan> = sql_query(format!("EXPLAIN QUERY PLAN {sql}"))
            .load($conn)
            .unwrap();
        steps
            .into_iter()
            .map(|step| step.detail)
            .collect::<Vec<_>>()
    }};
}

/// Of a zone whose midnights divide days.
fn windows_of_recife() -> Windows {
    windows(
        Timestamp::UNIX_EPOCH,
        &TimeZone::get("America/Recife").unwrap(),
    )
}

#[test]
fn sqlite_searches_the_counts_by_their_key_or_the_appointments_by_their_index() {
    let tenant = tenant("clinic");
    let at = windows_of_recife();
    TestDb::sqlite().run(|conn| {
        let AnyConn::Sqlite(conn) = conn else {
            panic!("not SQLite")
        };
        let plan = sqlite_plan!(
            conn,
            periods_query!(&tenant, at.span(), &divided_days(&[at.month]))
        );
        let searches: Vec<_> = plan
            .iter()
            .filter(|step| step.contains("appointment_counts"))
            .collect();
        assert_eq!(
            searches,
            ["SEARCH appointment_counts USING PRIMARY KEY \
                 (tenant_id=? AND minutes=? AND day>? AND day<?)"; 3],
            "{plan:#?}"
        );
        assert_eq!(
            sqlite_plan!(conn, instants_query!(&tenant, at.span())),
            [
                "SEARCH appointments USING COVERING INDEX appointments_by_tenant_and_start \
                 (tenant_id=? AND starts_at>? AND starts_at<?)"
            ]
        );
    });
}

/// How PostgreSQL answers a query with its values: one line per step, and what it read.
#[derive(QueryId)]
struct Explain<Q>(Q);

impl<Q: QueryFragment<Pg>> QueryFragment<Pg> for Explain<Q> {
    fn walk_ast<'b>(&'b self, mut out: AstPass<'_, 'b, Pg>) -> QueryResult<()> {
        out.push_sql("EXPLAIN (ANALYZE, COSTS OFF, TIMING OFF, SUMMARY OFF) ");
        self.0.walk_ast(out)
    }
}

impl<Q: Query> Query for Explain<Q> {
    type SqlType = Text;
}

impl<Q> RunQueryDsl<PgConn> for Explain<Q> {}

#[test]
fn postgresql_searches_the_counts_by_their_key_or_the_appointments_by_their_index() {
    let tenant = tenant("tenant-7");
    let at = windows_of_recife();
    TestDb::postgres().run(|conn| {
        // Enough rows for an index to be worth it.
        on_db!(&mut *conn, |c| c.batch_execute(
            "SET statement_timeout = 0; \
             INSERT INTO appointments (tenant_id, patient_id, starts_at, duration_min, status, \
             created_at, updated_at) \
             SELECT 'tenant-' || n % 20, n, to_timestamp(n * 60), 30, \
             (ARRAY['pending', 'confirmed', 'cancelled'])[1 + n % 3], now(), now() \
             FROM generate_series(1, 40000) AS n",
        ))
        .unwrap();
        // These are 40,000 changes.
        for _ in 0..4 {
            on_db!(&mut *conn, |c| c.merge_count_changes(None)).unwrap();
        }
        let AnyConn::Pg(conn) = conn else {
            panic!("not PostgreSQL")
        };
        // No statistics tell PostgreSQL yet how many counts a tenant has, and yet it reads none in vain.
        let divided = divided_days(&[at.month]);
        let plan: Vec<String> = Explain(periods_query!(&tenant, at.span(), &divided))
            .load(conn)
            .unwrap();
        let conditions = plan.iter().filter(|line| {
            [
                "Index Cond: ((tenant_id = ",
                "(minutes = ",
                "(day >= ",
                "(day <= ",
            ]
            .iter()
            .all(|part| line.contains(part))
        });
        assert_eq!(conditions.count(), 3, "{plan:#?}");
        assert!(
            !plan
                .iter()
                .any(|line| line.contains("Scan on appointments")),
            "{plan:#?}"
        );

        conn.batch_execute("VACUUM ANALYZE appointments").unwrap();
        let plan: Vec<String> = Explain(instants_query!(&tenant, at.span()))
            .load(conn)
            .unwrap();
        let plan = plan.join("\n");
        for part in [
            "Index Only Scan using appointments_by_tenant_and_start on appointments",
            "tenant_id = ",
            "starts_at >= ",
            "starts_at < ",
            "Heap Fetches: 0",
        ] {
            assert!(plan.contains(part), "{plan}");
        }
    });
}

/// An appointment of the model: whose, when, and where it stands.
type Booked = (usize, Timestamp, Status);

const TENANTS: [&str; 2] = ["clinic", "other"];

/// Makes `booked` all there is.
fn fill(conn: &mut AnyConn, booked: &[Booked]) {
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
    on_db!(conn, |c| {
        diesel::delete(appointments::table).execute(c).unwrap();
        diesel::insert_into(appointments::table)
            .values(&rows)
            .execute(c)
            .unwrap();
    });
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

/// A zone, a moment, all appointments, and how many seconds of today `/summary` leaves out.
fn cases() -> impl Strategy<Value = (TimeZone, Timestamp, Vec<Booked>, i64)> {
    let now = (0i64..250_000_000_000).prop_map(|second| Timestamp::from_second(second).unwrap());
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
            0i64..86_400,
        )
    })
}

fn statements_count_as_a_naive_model_does(database: TestDb) {
    let database = RefCell::new(database);
    proptest!(|((zone, now, booked, left_out) in cases())| {
        let at = windows(now, &zone);
        let days = two_days(now, &zone);
        let start = days.today.start + SignedDuration::from_secs(left_out);
        let later = TwoDays { today: days.today.intersect(Window { start, ..days.today }), ..days };
        let (counted, summed, summed_later) = database.borrow_mut().run(|conn| {
            fill(conn, &booked);
            let tenant = tenant(TENANTS[0]);
            let counted = mega_stats(conn, &tenant, &at).unwrap();
            let [summed, summed_later] =
                [days, later].map(|days| summary(conn, &tenant, &days).unwrap());
            (counted, summed, summed_later)
        });
        prop_assert_eq!(counted, MegaStats {
            today: naive(&booked, at.today),
            week: naive(&booked, at.week),
            month: naive(&booked, at.month),
            next_month: naive(&booked, at.next_month),
        });
        prop_assert_eq!(summed, Summary {
            today: naive(&booked, days.today).into(),
            tomorrow: naive(&booked, days.tomorrow).into(),
        });
        prop_assert_eq!(summed_later.today, naive(&booked, later.today).into());
        prop_assert_eq!(summed_later.tomorrow, summed.tomorrow);
        prop_assert_eq!(summed.today, Day::from(counted.today), "{}", local_date(now, &zone));
    });
}

#[test]
fn the_statements_count_as_a_naive_model_does_on_sqlite() {
    statements_count_as_a_naive_model_does(TestDb::sqlite());
}

#[test]
fn the_statements_count_as_a_naive_model_does_on_postgresql() {
    statements_count_as_a_naive_model_does(TestDb::postgres());
}
