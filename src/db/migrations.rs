//! Brings the database's schema up to this build's.

use diesel::SqliteConnection;
use diesel_migrations::{EmbeddedMigrations, MigrationHarness, embed_migrations};
use thiserror::Error;

use super::connection::{AnyConn, on_db};

const SQLITE: EmbeddedMigrations = embed_migrations!("migrations/sqlite");

/// The schema could not be brought up to date.
#[derive(Debug, Error)]
#[error("cannot migrate the database: {0}")]
pub struct MigrationError(Box<dyn std::error::Error + Send + Sync>);

impl From<diesel::result::Error> for MigrationError {
    fn from(error: diesel::result::Error) -> Self {
        Self(error.into())
    }
}

/// Runs what has not run yet; returns how many migrations that were.
///
/// Several processes may start on the same file at once: the first one in does the work.
pub(super) fn run(conn: &mut AnyConn) -> Result<usize, MigrationError> {
    on_db!(conn, |c| run_on_sqlite(c))
}

fn run_on_sqlite(conn: &mut SqliteConnection) -> Result<usize, MigrationError> {
    conn.immediate_transaction(|conn| {
        conn.run_pending_migrations(SQLITE)
            .map(|ran| ran.len())
            .map_err(MigrationError)
    })
}

#[cfg(test)]
mod tests {
    use diesel::Connection;

    use super::*;

    #[test]
    fn every_migration_goes_up_down_and_up_again() {
        let mut conn = SqliteConnection::establish(":memory:").unwrap();
        let count = run_on_sqlite(&mut conn).unwrap();
        assert!(count > 0);
        assert_eq!(conn.revert_all_migrations(SQLITE).unwrap().len(), count);
        assert_eq!(run_on_sqlite(&mut conn).unwrap(), count);
        assert_eq!(
            run_on_sqlite(&mut conn).unwrap(),
            0,
            "a second run has nothing to do"
        );
    }
}
