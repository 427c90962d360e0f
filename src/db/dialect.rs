//! What SQLite and PostgreSQL do differently, for the closures of `on_db!`.

use diesel::{
    Connection, QueryResult, RunQueryDsl, SqliteConnection,
    connection::{SimpleConnection, TransactionManager},
    sql_query,
    sql_types::{BigInt, Nullable, Text},
};
use diesel_async::{AnsiTransactionManager, AsyncPgConnection, async_connection_wrapper::BlockOn};

use super::postgres::{Blocking, PgConn};

/// Transactions by their purpose, identifiers that an import brings, counts, and locking.
pub(crate) trait Dialect: Connection {
    /// Runs `work`, which only reads, in a transaction whose statements all see the same moment.
    fn snapshot<T>(&mut self, work: impl FnOnce(&mut Self) -> QueryResult<T>) -> QueryResult<T>;

    /// Runs `work`, which writes, in a transaction. On `SQLite` it waits for the write lock before `work`
    /// begins. On PostgreSQL others may write at the same time.
    fn write_transaction<T>(
        &mut self,
        work: impl FnOnce(&mut Self) -> QueryResult<T>,
    ) -> QueryResult<T>;

    /// Is called in a write transaction before it inserts appointments with ids of their own, of which
    /// `last` is the largest. Until the transaction ends nobody else inserts, and after it new
    /// appointments get larger ids.
    fn reserve_ids(&mut self, last: i64) -> QueryResult<()>;

    /// Adds [`appointment_count_changes`](super::schema::appointment_count_changes) of one tenant, or of all,
    /// to the counts: 10,000 at most. What is counted does not change.
    fn merge_count_changes(&mut self, tenant: Option<&str>) -> QueryResult<()>;

    /// The end of a SELECT that skips rows which another transaction has locked.
    fn skip_locked(&self) -> &'static str;
}

impl Dialect for SqliteConnection {
    fn snapshot<T>(&mut self, work: impl FnOnce(&mut Self) -> QueryResult<T>) -> QueryResult<T> {
        self.transaction(work)
    }

    fn write_transaction<T>(
        &mut self,
        work: impl FnOnce(&mut Self) -> QueryResult<T>,
    ) -> QueryResult<T> {
        self.immediate_transaction(work)
    }

    /// There is one writer, and a new id is larger than all existing ones.
    fn reserve_ids(&mut self, _last: i64) -> QueryResult<()> {
        Ok(())
    }

    /// There are none.
    fn merge_count_changes(&mut self, _tenant: Option<&str>) -> QueryResult<()> {
        Ok(())
    }

    /// No other transaction writes at the same time.
    fn skip_locked(&self) -> &'static str {
        ""
    }
}

impl Dialect for PgConn {
    fn snapshot<T>(&mut self, work: impl FnOnce(&mut Self) -> QueryResult<T>) -> QueryResult<T> {
        // READ COMMITTED, the default, takes a new snapshot for every statement.
        Blocking::get_runtime().block_on(AnsiTransactionManager::begin_transaction_sql(
            &mut **self as &mut AsyncPgConnection,
            "BEGIN ISOLATION LEVEL REPEATABLE READ READ ONLY",
        ))?;
        finish(self, work)
    }

    fn write_transaction<T>(
        &mut self,
        work: impl FnOnce(&mut Self) -> QueryResult<T>,
    ) -> QueryResult<T> {
        self.transaction(work)
    }

    fn reserve_ids(&mut self, last: i64) -> QueryResult<()> {
        // An insert locks the table before it takes its id. So while this lock is held no insert is
        // between the two, and only this statement changes the sequence.
        self.batch_execute("LOCK TABLE appointments IN SHARE ROW EXCLUSIVE MODE")?;
        sql_query(
            "SELECT setval(ids, $1) \
             FROM CAST(pg_get_serial_sequence('appointments', 'id') AS regclass) AS ids \
             WHERE $1 > coalesce(pg_sequence_last_value(ids), 0)",
        )
        .bind::<BigInt, _>(last)
        .execute(self)?;
        Ok(())
    }

    fn merge_count_changes(&mut self, tenant: Option<&str>) -> QueryResult<()> {
        // Of several that do this at once each merges other changes, and all change counts in one order:
        // so none of them waits for another that waits for it.
        sql_query(
            "WITH merged AS (\
                 DELETE FROM appointment_count_changes WHERE ctid = ANY (ARRAY(\
                     SELECT ctid FROM appointment_count_changes \
                     WHERE $1 IS NULL OR tenant_id = $1 LIMIT 10000 FOR UPDATE SKIP LOCKED)) \
                 RETURNING *) \
             INSERT INTO appointment_counts AS counts \
             SELECT tenant_id, minutes, start_of_period(starts_at, 1440) AS day, \
                    start_of_period(starts_at, minutes) AS starts_at, \
                    sum(confirmed), sum(pending), sum(cancelled) \
             FROM merged, (VALUES (15), (1440)) AS period (minutes) \
             GROUP BY 1, 2, 3, 4 ORDER BY 1, 2, 3, 4 \
             ON CONFLICT (tenant_id, minutes, day, starts_at) DO UPDATE \
             SET confirmed = counts.confirmed + excluded.confirmed, \
                 pending = counts.pending + excluded.pending, \
                 cancelled = counts.cancelled + excluded.cancelled",
        )
        .bind::<Nullable<Text>, _>(tenant)
        .execute(self)?;
        Ok(())
    }

    fn skip_locked(&self) -> &'static str {
        "FOR UPDATE SKIP LOCKED"
    }
}

/// Runs `work` in the transaction that `conn` has begun, and ends it.
fn finish<C: Connection, T>(
    conn: &mut C,
    work: impl FnOnce(&mut C) -> QueryResult<T>,
) -> QueryResult<T> {
    match work(conn) {
        Ok(value) => C::TransactionManager::commit_transaction(conn).map(|()| value),
        Err(error) => match C::TransactionManager::rollback_transaction(conn) {
            Ok(()) | Err(diesel::result::Error::BrokenTransactionManager) => Err(error),
            Err(rollback_error) => Err(rollback_error),
        },
    }
}

#[cfg(test)]
mod tests {
    use diesel::QueryDsl;

    use crate::db::{AnyConn, on_db, schema::appointments, testing::TestDb};

    use super::*;

    const INSERT: &str = "INSERT INTO appointments (tenant_id, patient_id, starts_at, \
                          duration_min, status, created_at, updated_at) VALUES ('clinic', 'ana', \
                          '2025-10-31 12:00:00.000000', 30, 'pending', \
                          '2025-10-31 12:00:00.000000', '2025-10-31 12:00:00.000000')";

    #[test]
    fn a_snapshot_does_not_move() {
        for mut database in TestDb::both() {
            let mut other = database.another();
            let counts = database.run(|conn| {
                on_db!(conn, |c| c.snapshot(|c| {
                    let before: i64 = appointments::table.count().get_result(c)?;
                    on_db!(&mut other, |o| o.batch_execute(INSERT)).unwrap();
                    let after: i64 = appointments::table.count().get_result(c)?;
                    Ok((before, after))
                }))
            });
            assert_eq!(counts, Ok((0, 0)));
            let count =
                database.run(|conn| on_db!(conn, |c| appointments::table.count().get_result(c)));
            assert_eq!(count, Ok(1));
        }
    }

    #[test]
    fn a_transaction_that_fails_leaves_nothing_and_ends() {
        for mut database in TestDb::both() {
            database.run(|conn| {
                for _ in 0..2 {
                    let failed = on_db!(conn, |c| c.write_transaction(|c| {
                        c.batch_execute(INSERT)?;
                        QueryResult::<()>::Err(diesel::NotFound)
                    }));
                    assert_eq!(failed, Err(diesel::NotFound));
                    let failed = on_db!(conn, |c| c
                        .snapshot(|_| QueryResult::<()>::Err(diesel::NotFound)));
                    assert_eq!(failed, Err(diesel::NotFound));
                }
                let count = on_db!(conn, |c| appointments::table.count().get_result(c));
                assert_eq!(count, Ok(0));
            });
        }
    }

    #[test]
    fn nothing_can_be_written_in_a_snapshot_of_postgresql() {
        TestDb::postgres().run(|conn| {
            let AnyConn::Pg(conn) = conn else {
                panic!("not PostgreSQL")
            };
            let refusal = conn.snapshot(|c| c.batch_execute(INSERT)).unwrap_err();
            assert!(refusal.to_string().contains("read-only"), "{refusal}");
        });
    }
}
