//! The database: connections, pool, migrations, schema and column types.
//!
//! Not here: statements, which live in the `store` file of what they are about.

mod connection;
mod lock;
mod migrations;
pub mod schema;
mod status;
pub mod time;

use std::{future::Future, sync::Arc, time::Duration};

use r2d2::ManageConnection;
use thiserror::Error;
use tokio::sync::{AcquireError, OwnedSemaphorePermit, Semaphore};

pub(crate) use connection::on_db;
pub use connection::{AnyConn, ConnectError};
pub use diesel::QueryResult;
pub use lock::{Lock, LockError};
pub use migrations::MigrationError;
pub use status::{InvalidStatus, Status};
pub use time::UtcTime;

use crate::settings::DatabaseSettings;
use connection::Manager;

/// The configured database, migrated and pooled. Cheap to clone.
#[derive(Debug, Clone)]
pub struct Db {
    pool: r2d2::Pool<Manager>,
    /// One permit per connection: callers queue here, not on threads of the blocking pool.
    connections: Arc<Semaphore>,
    /// SQLite has one writer at a time: writers queue here in order, and do not sit on connections
    /// that readers could use.
    writer: Arc<Semaphore>,
    wait: Duration,
}

/// The right to write once, and a connection to do it on.
#[derive(Debug)]
pub struct Turn(
    #[expect(dead_code, reason = "held until the write is done")] OwnedSemaphorePermit,
    #[expect(dead_code, reason = "held until the write is done")] OwnedSemaphorePermit,
);

/// The database could not be opened.
#[derive(Debug, Error)]
pub enum OpenError {
    /// No connection could be made.
    #[error(transparent)]
    Connect(#[from] ConnectError),
    /// The schema could not be brought up to date.
    #[error(transparent)]
    Migrate(#[from] MigrationError),
    /// The pool could not be filled.
    #[error(transparent)]
    Pool(#[from] r2d2::Error),
    /// Another process is in the way.
    #[error(transparent)]
    Lock(#[from] LockError),
}

/// A statement gave no answer.
#[derive(Debug, Error)]
pub enum DbError {
    /// Every connection, or the right to write, was taken for all of the configured wait.
    #[error("no connection or write lock became free in time")]
    Busy,
    /// The pool could make no connection.
    #[error("cannot connect: {0}")]
    Unavailable(#[from] r2d2::Error),
    /// The database refused the statement.
    #[error(transparent)]
    Statement(diesel::result::Error),
    /// The statement's thread panicked: its transaction was rolled back.
    #[error("the statement's thread stopped: {0}")]
    Stopped(#[from] tokio::task::JoinError),
}

impl From<diesel::result::Error> for DbError {
    fn from(error: diesel::result::Error) -> Self {
        if connection::is_locked(&error) {
            Self::Busy
        } else {
            Self::Statement(error)
        }
    }
}

impl Db {
    /// Opens the database, makes it if it is missing, and migrates it. Blocks.
    pub fn open(settings: &DatabaseSettings) -> Result<Self, OpenError> {
        let manager = Manager::new(settings)?;
        let migrated = migrations::run(&mut manager.connect()?)?;
        if migrated > 0 {
            log::info!("database: ran {migrated} migration(s)");
        }
        // A request's wait is not this start's: see `run`.
        let pool = r2d2::Pool::builder()
            .max_size(settings.pool_size)
            .min_idle(Some(1))
            .test_on_check_out(false)
            .build(manager)?;
        Ok(Self {
            pool,
            connections: Arc::new(Semaphore::new(settings.pool_size as usize)),
            writer: Arc::new(Semaphore::new(1)),
            wait: settings.pool_wait(),
        })
    }

    /// Runs `work`, which only reads, on a connection of the pool, off the async threads.
    pub async fn read<T, F>(&self, work: F) -> Result<T, DbError>
    where
        T: Send + 'static,
        F: FnOnce(&mut AnyConn) -> diesel::QueryResult<T> + Send + 'static,
    {
        let connection = Arc::clone(&self.connections).acquire_owned();
        let connection = self.in_time(connection).await?;
        self.run(work, connection).await
    }

    /// Waits for the right to write and for a connection.
    pub async fn turn(&self) -> Result<Turn, DbError> {
        self.in_time(async {
            let writer = Arc::clone(&self.writer).acquire_owned().await?;
            let connection = Arc::clone(&self.connections).acquire_owned().await?;
            Ok(Turn(writer, connection))
        })
        .await
    }

    /// Runs `work`, which writes, as [`Db::read`] does. Once begun it runs to its end, even if the
    /// caller is dropped.
    pub async fn write<T, F>(&self, turn: Turn, work: F) -> Result<T, DbError>
    where
        T: Send + 'static,
        F: FnOnce(&mut AnyConn) -> diesel::QueryResult<T> + Send + 'static,
    {
        self.run(work, turn).await
    }

    async fn in_time<T>(
        &self,
        permits: impl Future<Output = Result<T, AcquireError>>,
    ) -> Result<T, DbError> {
        let permits = tokio::time::timeout(self.wait, permits).await;
        permits
            .map_err(|_elapsed| DbError::Busy)?
            .map_err(|_closed| DbError::Busy)
    }

    /// `permits` are given back only when the work is done, not when its caller loses interest.
    async fn run<T, F>(&self, work: F, permits: impl Send + 'static) -> Result<T, DbError>
    where
        T: Send + 'static,
        F: FnOnce(&mut AnyConn) -> diesel::QueryResult<T> + Send + 'static,
    {
        let (pool, wait) = (self.pool.clone(), self.wait);
        tokio::task::spawn_blocking(move || {
            let _permits = permits;
            let mut conn = pool.get_timeout(wait)?;
            Ok(work(&mut conn)?)
        })
        .await?
    }
}
