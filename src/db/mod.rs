//! The database: connections, pool, migrations, schema and column types.
//!
//! Not here: statements, which live in the `store` file of what they are about.

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
pub use pool::PoolState;
pub use postgres::{Blocking, PgConn};
pub use queue::Refused;
pub use readiness::NotReady;
pub use status::{InvalidStatus, Status};
pub use time::UtcTime;

use crate::settings::DatabaseSettings;
use pool::{Permit, Pool};
use readiness::Readiness;

/// The configured database, migrated and pooled. Cheap to clone.
#[derive(Debug, Clone)]
pub struct Db {
    pool: Arc<Pool>,
    readiness: Arc<Readiness>,
}

/// The right to write once, and to a connection to do it on.
#[derive(Debug)]
pub struct Turn(#[expect(dead_code, reason = "held until the write is done")] Permit);

impl Db {
    /// Opens the database, makes it if it is a file that is missing, and migrates it. Blocks. Its
    /// connections to PostgreSQL are served by the runtime that is current here.
    pub fn open(settings: &DatabaseSettings) -> Result<Self, OpenError> {
        Ok(Self {
            pool: Arc::new(Pool::open(settings)?),
            readiness: Arc::new(Readiness::new(settings)?),
        })
    }

    /// Whether the database answers and has the schema of this build, within a second. Whoever asks
    /// at the same time gets the same answer, which is at most a second old, and no request's
    /// connection is used.
    pub async fn ready(&self) -> Result<(), NotReady> {
        self.readiness.ask().await
    }

    /// Runs `work`, which only reads, on a connection of the pool, off the async threads. It may
    /// run twice: see [`DbError::Lost`].
    pub async fn read<T, F>(&self, work: F) -> Result<T, DbError>
    where
        T: Send + 'static,
        F: FnMut(&mut AnyConn) -> diesel::QueryResult<T> + Send + 'static,
    {
        let (pool, permit) = (Arc::clone(&self.pool), self.pool.reader().await?);
        tokio::task::spawn_blocking(move || {
            // Given back only when the work is done, not when its caller loses interest.
            let _permit = permit;
            pool.run_again(work)
        })
        .await?
    }

    /// What the pool's connections do just now.
    #[must_use]
    pub fn pool_state(&self) -> PoolState {
        self.pool.state()
    }

    /// Waits for the right to write, which on SQLite one writer has at a time, and for a connection.
    pub async fn turn(&self) -> Result<Turn, DbError> {
        self.pool.writer().await.map(Turn)
    }

    /// Runs `work`, which writes, as [`Db::read`] does, but never twice. Once begun it runs to its
    /// end, even if the caller is dropped. It is not begun if it might end after `until`.
    pub async fn write<T, F>(
        &self,
        turn: Turn,
        until: Option<Instant>,
        work: F,
    ) -> Result<T, DbError>
    where
        T: Send + 'static,
        F: FnOnce(&mut AnyConn) -> diesel::QueryResult<T> + Send + 'static,
    {
        let pool = Arc::clone(&self.pool);
        tokio::task::spawn_blocking(move || {
            let _turn = turn;
            pool.run_until(until, work)
        })
        .await?
    }
}
