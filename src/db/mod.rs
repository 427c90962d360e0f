//! The database: connections, pool, migrations, schema and column types.
//! The statements are in the `store` file of what they are about.

mod connection;
mod dialect;
mod error;
mod lock;
mod migrations;
mod pool;
mod postgres;
mod queue;
mod readiness;
pub mod schema;
mod sqlite;
mod status;
#[cfg(test)]
pub(crate) mod testing;
pub mod time;

use std::{sync::Arc, time::Instant};

pub use connection::AnyConn;
pub(crate) use connection::on_db;
pub(crate) use dialect::Dialect;
pub use diesel::QueryResult;
pub use error::{ConnectError, DbError, MigrationError, OpenError, TlsError};
pub use lock::{Lock, LockError};
pub use pool::{ConnectionPermit, PoolState};
pub use postgres::{Blocking, PgConn};
pub use queue::BusyCounts;
pub use readiness::NotReady;
pub use status::{InvalidStatus, Status};
pub use time::UtcTime;

use crate::settings::DatabaseSettings;
use pool::Pool;
use readiness::Readiness;

/// The configured database, migrated and pooled. Cheap to clone.
#[derive(Debug, Clone)]
pub struct Db {
    pool: Arc<Pool>,
    readiness: Arc<Readiness>,
}

impl Db {
    /// Opens the database and migrates it. A missing SQLite file is made. Blocks. The current tokio runtime
    /// serves the connections to PostgreSQL.
    pub fn open(settings: &DatabaseSettings) -> Result<Self, OpenError> {
        Ok(Self {
            pool: Arc::new(Pool::open(settings)?),
            readiness: Arc::new(Readiness::new(settings)?),
        })
    }

    /// Whether the database answers within a second and has the schema of this build. Callers at the same
    /// time share one result, which is at most a second old. No connection of the pool is used.
    pub async fn ready(&self) -> Result<(), NotReady> {
        self.readiness.ask().await
    }

    /// Runs `work`, which only reads, on a connection of the pool, off the async threads. It may
    /// run twice: see [`DbError::ConnectionLost`].
    pub async fn read<T, F>(&self, work: F) -> Result<T, DbError>
    where
        T: Send + 'static,
        F: FnMut(&mut AnyConn) -> diesel::QueryResult<T> + Send + 'static,
    {
        let pool = Arc::clone(&self.pool);
        let permit = self.pool.read_permit().await?;
        tokio::task::spawn_blocking(move || {
            // It is given back when the work is done, and not already when the caller is dropped.
            let _permit = permit;
            pool.run_again(work)
        })
        .await?
    }

    /// How the pool is used at the moment.
    #[must_use]
    pub fn pool_state(&self) -> PoolState {
        self.pool.state()
    }

    /// Waits for the right to use a connection, and on SQLite for the right to write, which one caller
    /// has at a time.
    pub async fn write_permit(&self) -> Result<ConnectionPermit, DbError> {
        self.pool.write_permit().await
    }

    /// As [`Db::write_permit`], for a caller that has had one and gave it back, so that others could use
    /// the connection meanwhile: it comes before everybody who waits for the first time.
    pub async fn next_write_permit(&self) -> Result<ConnectionPermit, DbError> {
        self.pool.next_write_permit().await
    }

    /// Runs `work`, which writes, as [`Db::read`] does, but never twice. Once begun it runs to its end,
    /// even if the caller is dropped. With `until` it is not begun if it might end after that time.
    pub async fn write<T, F>(
        &self,
        permit: ConnectionPermit,
        until: Option<Instant>,
        work: F,
    ) -> Result<T, DbError>
    where
        T: Send + 'static,
        F: FnOnce(&mut AnyConn) -> diesel::QueryResult<T> + Send + 'static,
    {
        let pool = Arc::clone(&self.pool);
        tokio::task::spawn_blocking(move || {
            let _permit = permit;
            pool.run_until(until, work)
        })
        .await?
    }
}
