//! The database: connections, pool, migrations, schema and column types.
//! The statements are in the `store` file of what they are about.

mod backup;
mod busy;
mod connection;
mod dialect;
mod error;
mod file;
mod listening;
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

pub use backup::{BackupError, CopyError, backup};
pub use busy::BusyCounts;
pub use connection::AnyConn;
pub(crate) use connection::on_db;
pub(crate) use dialect::Dialect;
pub use diesel::QueryResult;
pub use error::{ConnectError, DbError, MigrationError, OpenError, TlsError};
pub use file::FileError;
pub(crate) use file::{is_same_file, locate};
pub use listening::ListeningSession;
pub use lock::{LockError, LockMode};
pub use pool::{Announce, PoolState};
pub use postgres::{Blocking, PgConn};
pub use queue::Turn;
pub use readiness::NotReady;
pub(crate) use sqlite::establish;
pub use status::{InvalidStatus, Status};
pub use time::UtcTime;
/// What a [`ListeningSession`] hears.
pub use tokio_postgres::Notification;

use crate::{settings::DatabaseSettings, tenant::TenantId};
use connection::Manager;
use pool::Pool;
use readiness::Readiness;

/// The configured database, migrated and pooled. Cheap to clone.
#[derive(Debug, Clone)]
pub struct Db {
    pool: Arc<Pool>,
    readiness: Arc<Readiness>,
    manager: Arc<Manager>,
}

impl Db {
    /// Opens the database and migrates it. A missing SQLite file is made, and `lock` says how it is locked
    /// while it is open, if at all; `announce` is for what this process writes. Blocks. The current tokio
    /// runtime serves the connections to PostgreSQL.
    pub fn open(
        settings: &DatabaseSettings,
        lock: Option<LockMode>,
        announce: Announce,
    ) -> Result<Self, OpenError> {
        let manager = Arc::new(Manager::new(settings, lock)?);
        Ok(Self {
            pool: Arc::new(Pool::open(settings, Arc::clone(&manager), announce)?),
            readiness: Arc::new(Readiness::new(Arc::clone(&manager))),
            manager,
        })
    }

    /// Whether the database answers within a second and has the schema of this build. Callers at the same
    /// time share one result, which is at most a second old. No connection of the pool is used.
    pub async fn ready(&self) -> Result<(), NotReady> {
        self.readiness.ask().await
    }

    /// Runs `work`, which only reads, on a connection of the pool and off the async threads, when `tenant`
    /// has its turn; `None` stands for work that concerns no single tenant. It may run twice: see
    /// [`DbError::ConnectionLost`].
    pub async fn read<T, F>(&self, tenant: Option<&TenantId>, work: F) -> Result<T, DbError>
    where
        T: Send + 'static,
        F: FnMut(&mut AnyConn) -> diesel::QueryResult<T> + Send + 'static,
    {
        let pool = Arc::clone(&self.pool);
        let turn = self.pool.read_turn(tenant).await?;
        tokio::task::spawn_blocking(move || {
            // It ends when the work is done, and not already when the caller is dropped.
            let _turn = turn;
            pool.run_again(work)
        })
        .await?
    }

    /// Whether processes can listen to each other: on PostgreSQL, and not on SQLite.
    pub fn has_announcements(&self) -> bool {
        matches!(*self.manager, Manager::Postgres(_))
    }

    /// A session beside the pool that hears what is announced on `channels` from now on.
    pub async fn listen(&self, channels: &'static [&str]) -> Result<ListeningSession, DbError> {
        let manager = Arc::clone(&self.manager);
        ListeningSession::open(manager, channels).await
    }

    /// How the pool is used at the moment.
    pub fn pool_state(&self) -> PoolState {
        self.pool.state()
    }

    /// Waits for a turn to write to the data of `tenant`; `None`: of no single tenant. On SQLite one caller
    /// has a turn to write at a time.
    pub async fn write_turn(&self, tenant: Option<&TenantId>) -> Result<Turn, DbError> {
        self.pool.write_turn(tenant).await
    }

    /// As [`Db::write_turn`], for a caller that has had a turn and gave it back, so that others could use
    /// the connection meanwhile: it comes before whoever waits for the tenant's turn for the first time.
    pub async fn next_write_turn(&self, tenant: Option<&TenantId>) -> Result<Turn, DbError> {
        self.pool.next_write_turn(tenant).await
    }

    /// Runs `work`, which writes, as [`Db::read`] does, but never twice, in a `turn` to write.
    /// Once begun it runs to its end, even if the caller is dropped. With `until` it is not begun if it
    /// might end after that time.
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
        let manager = Arc::clone(&self.manager);
        tokio::task::spawn_blocking(move || {
            let _turn = turn;
            manager.check_file()?;
            let result = pool.run_until(until, work);
            // Whoever took the file away meanwhile may have taken it without this write.
            manager.check_file()?;
            result
        })
        .await?
    }
}
