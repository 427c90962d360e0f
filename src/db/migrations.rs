//! Brings the database's schema up to this build's. If several instances start on one database at once,
//! the first of them migrates it and the others wait.

use diesel::{
    QueryResult, QueryableByName, RunQueryDsl, SqliteConnection,
    backend::Backend,
    connection::SimpleConnection,
    migration::MigrationSource,
    pg::Pg,
    sql_query,
    sql_types::{BigInt, Bool, Nullable, Text},
    sqlite::Sqlite,
};
use diesel_migrations::{EmbeddedMigrations, MigrationHarness, embed_migrations};

use super::{
    connection::{AnyConn, Manager},
    error::{MigrationError, OpenError},
    postgres::PgConn,
};

const SQLITE: EmbeddedMigrations = embed_migrations!("migrations/sqlite");
const POSTGRES: EmbeddedMigrations = embed_migrations!("migrations/postgres");

/// The key of PostgreSQL's advisory lock, which one instance holds while it migrates the database.
const LOCK: i64 = i64::from_be_bytes(*b"megastat");

/// Brings the schema up to date; returns how many migrations ran. Blocks.
pub(super) fn migrate(manager: &Manager) -> Result<usize, OpenError> {
    // A connection of its own, since on PostgreSQL migrating changes its time-outs, and takes a lock that
    // must not outlive a failure.
    let mut connected = manager.open()?;
    Ok(run(&mut connected.conn)?)
}

/// Runs the migrations that have not run yet; returns how many. On PostgreSQL `conn` is then to be closed,
/// because its time-outs are off.
fn run(conn: &mut AnyConn) -> Result<usize, MigrationError> {
    match conn {
        AnyConn::Sqlite(conn) => run_on_sqlite(conn),
        AnyConn::Pg(conn) => run_on_postgres(conn),
    }
}

fn run_on_sqlite(conn: &mut SqliteConnection) -> Result<usize, MigrationError> {
    conn.immediate_transaction(|conn| run_pending(conn, SQLITE))
}

fn run_on_postgres(conn: &mut PgConn) -> Result<usize, MigrationError> {
    // Building an index may take minutes, and so may waiting for another instance that builds it.
    conn.batch_execute(
        "SET statement_timeout = 0; SET lock_timeout = 0; \
         SET idle_in_transaction_session_timeout = 0",
    )?;
    lock(conn)?;
    let ran = run_pending(conn, POSTGRES);
    // If this fails, the lock ends with the session. A failure of the migrations is reported first.
    let unlocked = sql_query("SELECT pg_advisory_unlock($1)")
        .bind::<BigInt, _>(LOCK)
        .execute(conn);
    let ran = ran?;
    unlocked?;
    Ok(ran)
}

/// Runs those of `migrations` that have not run yet; returns how many. The log says so beforehand, unless the
/// database is new: it may take minutes where there are many appointments.
fn run_pending<DB: Backend>(
    conn: &mut impl MigrationHarness<DB>,
    migrations: EmbeddedMigrations,
) -> Result<usize, MigrationError> {
    let pending = conn
        .pending_migrations(migrations)
        .map_err(MigrationError)?;
    let applied = conn.applied_migrations().map_err(MigrationError)?;
    if !pending.is_empty() && !applied.is_empty() {
        let pending = pending.len();
        log::info!("database: running {pending} migration(s), which takes a while if it is large");
    }
    let ran = conn.run_migrations(&pending).map_err(MigrationError)?;
    Ok(ran.len())
}

/// Whether all migrations of this build have run; a later build's may have, too.
pub(super) fn are_done(conn: &mut AnyConn) -> QueryResult<bool> {
    #[derive(QueryableByName)]
    struct Newest {
        #[diesel(sql_type = Nullable<Text>)]
        version: Option<String>,
    }
    let newest = sql_query("SELECT max(version) AS version FROM __diesel_schema_migrations");
    let (Newest { version }, own) = match conn {
        AnyConn::Sqlite(conn) => (newest.get_result(conn)?, versions::<Sqlite>(&SQLITE)),
        AnyConn::Pg(conn) => (newest.get_result(&mut **conn)?, versions::<Pg>(&POSTGRES)),
    };
    Ok(version >= own.into_iter().max())
}

fn versions<DB: Backend>(migrations: &impl MigrationSource<DB>) -> Vec<String> {
    let migrations = migrations.migrations();
    let migrations = migrations.expect("the embedded migrations can be read");
    let names = migrations
        .iter()
        .map(|migration| migration.name().version());
    names.map(|version| version.to_string()).collect()
}

/// Takes the lock for the session and not for a transaction, since each migration is its own transaction.
fn lock(conn: &mut PgConn) -> Result<(), MigrationError> {
    #[derive(QueryableByName)]
    struct Locked {
        #[diesel(sql_type = Bool)]
        locked: bool,
    }
    let Locked { locked } = sql_query("SELECT pg_try_advisory_lock($1) AS locked")
        .bind::<BigInt, _>(LOCK)
        .get_result(conn)?;
    if !locked {
        log::info!("database: waiting for another instance to migrate it");
        sql_query("SELECT pg_advisory_lock($1)")
            .bind::<BigInt, _>(LOCK)
            .execute(conn)?;
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use crate::db::testing::TestDb;

    use super::*;

    /// Takes back every migration; returns how many there were.
    fn revert(conn: &mut AnyConn) -> usize {
        match conn {
            AnyConn::Sqlite(conn) => conn.revert_all_migrations(SQLITE).unwrap().len(),
            AnyConn::Pg(conn) => conn.revert_all_migrations(POSTGRES).unwrap().len(),
        }
    }

    #[test]
    fn every_migration_goes_up_down_and_up_again() {
        for mut database in TestDb::both() {
            database.run(|conn| {
                let count = revert(conn);
                assert!(count > 0);
                assert_eq!(run(conn).unwrap(), count);
                assert_eq!(run(conn).unwrap(), 0, "a second run has nothing to do");
                assert_eq!(revert(conn), count);
                assert_eq!(run(conn).unwrap(), count);
            });
        }
    }

    #[test]
    fn a_file_of_ours_is_known_by_the_first_of_them() {
        let first = versions::<Sqlite>(&SQLITE).into_iter().min();
        assert_eq!(first.as_deref(), Some(crate::db::sqlite::FIRST_MIGRATION));
    }

    #[test]
    fn the_databases_have_the_same_migrations() {
        let folder = |name| {
            let path = format!("{}/migrations/{name}", env!("CARGO_MANIFEST_DIR"));
            let mut names: Vec<_> = std::fs::read_dir(path)
                .unwrap()
                .map(|entry| entry.unwrap().file_name())
                .collect();
            names.sort();
            names
        };
        assert_eq!(folder("sqlite"), folder("postgres"));
    }

    #[test]
    fn a_migration_that_fails_leaves_no_lock_behind() {
        let mut database = TestDb::postgres();
        database.run(|conn| {
            revert(conn);
            let AnyConn::Pg(conn) = conn else {
                panic!("not PostgreSQL")
            };
            conn.batch_execute("CREATE TABLE appointments (name TEXT)")
                .unwrap();
            let refusal = run_on_postgres(conn).unwrap_err().to_string();
            assert!(refusal.contains("appointments"), "{refusal}");
            let locks = "SELECT count(*) AS n FROM pg_locks \
                         WHERE locktype = 'advisory' AND pid = pg_backend_pid()";
            assert_eq!(number(conn, locks), 0);
        });
    }

    fn number(conn: &mut PgConn, sql: &str) -> i64 {
        #[derive(QueryableByName)]
        struct Number {
            #[diesel(sql_type = BigInt)]
            n: i64,
        }
        sql_query(sql).get_result::<Number>(conn).unwrap().n
    }
}
