//! What the triggers count, against a count of the rows, whoever changes these and however.

use std::{cell::RefCell, thread};

use diesel::connection::SimpleConnection;
use proptest::{
    prelude::*,
    test_runner::{Config, TestRunner},
};

use super::*;

/// A statement of anybody's, which both databases know. Times are some minutes of three days.
fn statement() -> impl Strategy<Value = String> {
    let id = || 1u8..20;
    let tenant = || proptest::sample::select(TENANTS.to_vec());
    let status = || proptest::sample::select(Status::ALL.to_vec()).prop_map(Status::as_str);
    let time = || {
        (1u8..4, 0u8..3, 0u8..60).prop_map(|(day, hour, minute)| {
            format!("2025-10-{day:02} {hour:02}:{minute:02}:59.999999")
        })
    };
    let row = move || {
        (id(), tenant(), time(), status()).prop_map(|(id, tenant, time, status)| {
            format!("({id}, '{tenant}', 'ana', '{time}', 30, '{status}', '{time}', '{time}')")
        })
    };
    let insert = move || {
        proptest::collection::vec(row(), 1..5).prop_map(|rows| {
            format!(
                "INSERT INTO appointments (id, tenant_id, patient_id, starts_at, duration_min, \
                 status, created_at, updated_at) VALUES {}",
                rows.join(", ")
            )
        })
    };
    prop_oneof![
        4 => insert(),
        2 => insert().prop_map(|insert| insert + " ON CONFLICT DO NOTHING"),
        2 => (row(), status()).prop_map(|(row, status)| format!(
            "INSERT INTO appointments (id, tenant_id, patient_id, starts_at, duration_min, status, \
             created_at, updated_at) VALUES {row} ON CONFLICT (id) DO UPDATE \
             SET status = '{status}', starts_at = excluded.starts_at"
        )),
        2 => (id(), status()).prop_map(|(id, status)| format!(
            "UPDATE appointments SET status = '{status}', duration_min = 45 WHERE id = {id}"
        )),
        2 => (id(), time()).prop_map(|(id, time)| format!(
            "UPDATE appointments SET starts_at = '{time}' WHERE id BETWEEN {id} AND {id} + 4"
        )),
        1 => (id(), tenant()).prop_map(|(id, tenant)| format!(
            "UPDATE appointments SET tenant_id = '{tenant}' WHERE id > {id}"
        )),
        1 => id().prop_map(|id| format!("UPDATE appointments SET id = id + 20 WHERE id = {id}")),
        2 => id().prop_map(|id| format!("DELETE FROM appointments WHERE id = {id}")),
        1 => id().prop_map(|id| format!("DELETE FROM appointments WHERE id > {id}")),
        1 => insert().prop_map(|insert| format!("BEGIN; {insert}; ROLLBACK")),
    ]
}

/// What only SQLite knows.
fn sqlite_statement() -> impl Strategy<Value = String> {
    let resolution = proptest::sample::select(vec!["IGNORE", "REPLACE", "FAIL", "ABORT"]);
    (statement(), resolution).prop_map(|(statement, resolution)| {
        statement
            .replace("INSERT INTO", &format!("INSERT OR {resolution} INTO"))
            .replace(
                "UPDATE appointments",
                &format!("UPDATE OR {resolution} appointments"),
            )
    })
}

#[derive(QueryableByName)]
struct Number {
    #[diesel(sql_type = diesel::sql_types::BigInt)]
    number: i64,
}

fn number(conn: &mut AnyConn, sql: &str) -> i64 {
    on_db!(conn, |c| sql_query(sql)
        .get_result::<Number>(c)
        .unwrap()
        .number)
}

fn run(conn: &mut AnyConn, statement: &str) {
    // A statement may fail at an id that is taken: then it has changed nothing.
    if on_db!(conn, |c| c.batch_execute(statement)).is_err() {
        let _ = on_db!(conn, |c| c.batch_execute("ROLLBACK"));
    }
}

/// Asserts that days and quarters each add up to the rows, and are equal to them.
fn assert_right(conn: &mut AnyConn, after: &str) {
    assert_eq!(differences(conn, 9), Ok(Vec::new()), "{after}");
    let counted = "SELECT CAST(coalesce(sum(confirmed + pending + cancelled), 0) AS BIGINT) \
                   AS number FROM";
    let rows = number(conn, "SELECT count(*) AS number FROM appointments");
    let changes = number(conn, &format!("{counted} appointment_count_changes"));
    for minutes in [DAY_MINUTES, QUARTER_MINUTES] {
        let periods = format!("{counted} appointment_counts WHERE minutes = {minutes}");
        assert_eq!(number(conn, &periods) + changes, rows, "{after}");
    }
}

fn counts_are_equal_to_the_rows(database: TestDb, statement: impl Strategy<Value = String>) {
    let database = RefCell::new(database);
    let config = Config::with_cases(64);
    let statements = proptest::collection::vec(statement, 1..30);
    let held = TestRunner::new(config).run(&statements, |statements| {
        database.borrow_mut().run(|conn| {
            for (at, statement) in statements.iter().enumerate() {
                run(conn, statement);
                if at % 5 == 0 {
                    on_db!(conn, |c| c.merge_count_changes(None)).unwrap();
                }
                assert_right(conn, statement);
            }
        });
        Ok(())
    });
    held.unwrap();
}

#[test]
fn counts_are_equal_to_the_rows_on_sqlite() {
    counts_are_equal_to_the_rows(
        TestDb::sqlite(),
        prop_oneof![statement(), sqlite_statement()],
    );
}

#[test]
fn counts_are_equal_to_the_rows_when_sqlite_runs_triggers_of_replaced_rows() {
    let mut database = TestDb::sqlite();
    database.run(|conn| run(conn, "PRAGMA recursive_triggers = ON"));
    counts_are_equal_to_the_rows(database, prop_oneof![statement(), sqlite_statement()]);
}

#[test]
fn counts_are_equal_to_the_rows_on_postgresql() {
    let truncate = Just("TRUNCATE appointments".to_owned());
    counts_are_equal_to_the_rows(
        TestDb::postgres(),
        prop_oneof![9 => statement(), 1 => truncate],
    );
}

/// Writers of one tenant and day, some of whom undo what they did, and readers that merge.
#[test]
fn counts_are_equal_to_the_rows_at_every_moment_on_postgresql() {
    const INSERT: &str = "INSERT INTO appointments (tenant_id, patient_id, starts_at, \
                          duration_min, status, created_at, updated_at) SELECT 'clinic', n, \
                          TIMESTAMPTZ '2025-10-31 12:00Z' + n * INTERVAL '10 minutes', 30, \
                          'pending', now(), now() FROM generate_series(1, 5) AS n";
    let mut database = TestDb::postgres();
    let others: Vec<_> = (0..6).map(|_| database.another()).collect();
    database.run(|conn| {
        let runtime = tokio::runtime::Handle::current();
        thread::scope(|scope| {
            let workers: Vec<_> = others
                .into_iter()
                .enumerate()
                .map(|(worker, mut conn)| {
                    let runtime = runtime.clone();
                    scope.spawn(move || {
                        let _context = runtime.enter();
                        for round in 0..40 {
                            if worker < 2 {
                                on_db!(&mut conn, |c| c.merge_count_changes(None)).unwrap();
                                continue;
                            }
                            run(&mut conn, INSERT);
                            run(&mut conn, &format!("BEGIN; {INSERT}; ROLLBACK"));
                            let change = format!(
                                "UPDATE appointments SET status = 'confirmed' \
                                 WHERE id % 4 = {worker} - 2 AND id % 7 = {round} % 7"
                            );
                            run(&mut conn, &change);
                        }
                    })
                })
                .collect();
            while workers.iter().any(|worker| !worker.is_finished()) {
                assert_eq!(differences(conn, 9), Ok(Vec::new()));
            }
        });
        assert_right(conn, "all");
        let rows = number(conn, "SELECT count(*) AS number FROM appointments");
        assert_eq!(rows, 4 * 40 * 5);
    });
}

#[test]
fn a_writer_that_has_not_committed_holds_up_no_other_of_its_tenant() {
    const INSERT: &str = "INSERT INTO appointments (tenant_id, patient_id, starts_at, \
                          duration_min, status, created_at, updated_at) VALUES ('clinic', 'ana', \
                          '2025-10-31 12:00Z', 30, 'pending', now(), now())";
    let mut database = TestDb::postgres();
    let mut slow = database.another();
    database.run(|conn| {
        on_db!(&mut slow, |c| c.batch_execute(&format!("BEGIN; {INSERT}"))).unwrap();
        on_db!(conn, |c| c.batch_execute("SET lock_timeout = 1")).unwrap();
        on_db!(conn, |c| c.batch_execute(INSERT)).unwrap();
        on_db!(conn, |c| c.merge_count_changes(None)).unwrap();
        on_db!(conn, |c| c.batch_execute(INSERT)).unwrap();
        on_db!(&mut slow, |c| c.batch_execute("COMMIT")).unwrap();
        assert_right(conn, "both");
    });
}

#[test]
fn a_reader_of_many_changes_merges_them() {
    const QUARTERS: i64 = 3_000;
    let tenant = tenant(TENANTS[0]);
    let at = windows(Timestamp::UNIX_EPOCH, &TimeZone::UTC);
    TestDb::postgres().run(|conn| {
        let changes = "SELECT count(*) AS number FROM appointment_count_changes";
        let insert = format!(
            "INSERT INTO appointments (tenant_id, patient_id, starts_at, duration_min, status, \
             created_at, updated_at) SELECT 'clinic', n, to_timestamp(n * 900), 30, 'pending', \
             now(), now() FROM generate_series(1, {QUARTERS}) AS n"
        );
        on_db!(conn, |c| c.batch_execute(&insert)).unwrap();
        assert_eq!(number(conn, changes), QUARTERS);
        let before = mega_stats(conn, &tenant, &at).unwrap();
        assert_eq!(before.month.pending, 31 * 96 - 1);
        assert_eq!(number(conn, changes), 0);
        assert_eq!(mega_stats(conn, &tenant, &at), Ok(before));
    });
}

/// A table of its own that has the name of the changes is not taken for them.
#[test]
fn whoever_may_write_appointments_of_postgresql_needs_no_other_right() {
    TestDb::postgres().run(|conn| {
        let by_a_clerk = "BEGIN; CREATE ROLE count_clerk; \
             GRANT SELECT, INSERT, UPDATE, DELETE, TRUNCATE ON appointments TO count_clerk; \
             SET LOCAL ROLE count_clerk; \
             CREATE TEMP TABLE appointment_count_changes (tenant_id TEXT, starts_at TIMESTAMPTZ, \
                 confirmed INTEGER, pending INTEGER, cancelled INTEGER); \
             INSERT INTO appointments (tenant_id, patient_id, starts_at, duration_min, status, \
                 created_at, updated_at) SELECT 'clinic', n, now(), 30, 'pending', now(), now() \
                 FROM generate_series(1, 3) AS n; \
             UPDATE appointments SET status = 'confirmed' WHERE patient_id = '1'; \
             DELETE FROM appointments WHERE patient_id = '2'";
        on_db!(conn, |c| c.batch_execute(by_a_clerk)).unwrap();
        on_db!(conn, |c| c.batch_execute("RESET ROLE")).unwrap();
        assert_eq!(differences(conn, 9), Ok(Vec::new()));
        on_db!(conn, |c| c.batch_execute(
            "SET LOCAL ROLE count_clerk; TRUNCATE appointments; RESET ROLE"
        ))
        .unwrap();
        assert_eq!(differences(conn, 9), Ok(Vec::new()));
        let by_a_forger = "SET LOCAL ROLE count_clerk; CREATE TRIGGER forged AFTER TRUNCATE \
                           ON appointment_count_changes EXECUTE FUNCTION count_no_appointments()";
        let refusal = on_db!(conn, |c| c.batch_execute(by_a_forger)).unwrap_err();
        assert!(
            refusal.to_string().contains("permission denied"),
            "{refusal}"
        );
        on_db!(conn, |c| c.batch_execute("ROLLBACK")).unwrap();
    });
}

#[test]
fn an_update_of_many_rows_of_postgresql_leaves_a_change_for_each_quarter() {
    let tenant = tenant("clinic");
    let at = windows_of_recife();
    TestDb::postgres().run(|conn| {
        let rows = [(0, at.today.start, Status::Pending); 50];
        fill(conn, &rows);
        on_db!(conn, |c| c.merge_count_changes(None)).unwrap();
        run(conn, "UPDATE appointments SET status = 'confirmed'");
        run(conn, "UPDATE appointments SET duration_min = 45");
        let changes = "SELECT count(*) AS number FROM appointment_count_changes";
        assert_eq!(number(conn, changes), 1);
        let counted = mega_stats(conn, &tenant, &at).unwrap();
        assert_eq!((counted.today.confirmed, counted.today.pending), (50, 0));
    });
}

#[test]
fn a_start_that_is_too_late_to_be_read_harms_no_answer_on_postgresql() {
    let tenant = tenant("clinic");
    let at = windows_of_recife();
    TestDb::postgres().run(|conn| {
        fill(conn, &[(0, at.today.start, Status::Pending); 2]);
        run(
            conn,
            "UPDATE appointments SET starts_at = '20251-10-31' WHERE id = 1",
        );
        for merged in [false, true] {
            let counted = mega_stats(conn, &tenant, &at).unwrap();
            assert_eq!(counted.today.pending, 1, "merged: {merged}");
            on_db!(conn, |c| c.merge_count_changes(None)).unwrap();
        }
    });
}

#[test]
fn a_recount_makes_wrong_counts_right() {
    for mut database in TestDb::both() {
        database.run(|conn| {
            fill(conn, &[(0, Timestamp::UNIX_EPOCH, Status::Pending)]);
            on_db!(conn, |c| c.merge_count_changes(None)).unwrap();
            assert_eq!(recount(conn), Ok(0));
            let wrong = "UPDATE appointment_counts SET pending = 3 WHERE minutes = 15; \
                         DELETE FROM appointment_counts WHERE minutes = 1440";
            on_db!(conn, |c| c.batch_execute(wrong)).unwrap();
            let found: Vec<_> = differences(conn, 9)
                .unwrap()
                .iter()
                .map(ToString::to_string)
                .collect();
            assert_eq!(
                found,
                [
                    "tenant clinic, the quarter of an hour from 1970-01-01T00:00:00Z: to be added \
                     are 0 confirmed, -2 pending, 0 cancelled",
                    "tenant clinic, the day from 1970-01-01T00:00:00Z: to be added are 0 \
                     confirmed, 1 pending, 0 cancelled",
                ]
            );
            assert_eq!(recount(conn), Ok(2));
            assert_right(conn, "the recount");
        });
    }
}

/// A start that could not be read is refused, and one that is there already prevents no migration and can be
/// corrected.
#[test]
fn an_instant_of_another_form_is_not_counted_by_sqlite() {
    const INSERT: &str = "INSERT INTO appointments (tenant_id, patient_id, starts_at, \
                          duration_min, status, created_at, updated_at) VALUES ('clinic', 'ana', \
                          '2025-10-31T12:00:00.000000', 30, 'pending', '', '')";
    TestDb::sqlite().run(|conn| {
        let refusal = on_db!(conn, |c| c.batch_execute(INSERT)).unwrap_err();
        assert!(
            refusal.to_string().contains("datetime(starts_at)"),
            "{refusal}"
        );
        run(conn, "DROP TRIGGER appointments_inserted");
        on_db!(conn, |c| c.batch_execute(INSERT)).unwrap();
        on_db!(conn, |c| c.batch_execute(INSERT)).unwrap();
        assert_eq!(recount(conn), Ok(0));
        let corrected =
            "UPDATE appointments SET starts_at = '2025-10-31 12:00:00.000000' WHERE id = 1";
        on_db!(conn, |c| c.batch_execute(corrected)).unwrap();
        on_db!(conn, |c| c
            .batch_execute("DELETE FROM appointments WHERE id = 2"))
        .unwrap();
        assert_right(conn, "the correction");
    });
}

/// Both databases count with one statement.
#[test]
fn the_recount_is_that_of_both_migrations() {
    let postgres =
        include_str!("../../../../migrations/postgres/2026-11-27-000001_count_appointments/up.sql");
    assert_eq!(RECOUNT, postgres);
}
