//! The connections that wait to be used. Lives here: who may use one, and which of them can be used
//! again. Not here: making them (`connection`).

use std::{
    future::Future,
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
    time::{Duration, Instant},
};

use diesel::QueryResult;
use r2d2::{ManageConnection, PooledConnection};
use tokio::sync::{AcquireError, OwnedSemaphorePermit, Semaphore};

use super::{
    AnyConn, DbError, OpenError,
    connection::{Connected, Manager},
    error::explain,
    postgres::Link,
};
use crate::settings::DatabaseSettings;

/// Connections, at most as many as configured.
#[derive(Debug)]
pub(super) struct Pool {
    idle: r2d2::Pool<Manager>,
    /// One permit per connection: callers queue here, not on threads of the blocking pool.
    connections: Arc<Semaphore>,
    /// Where there is one writer at a time, writers queue here in order, and do not sit on
    /// connections that readers could use.
    writer: Option<Arc<Semaphore>>,
    wait: Duration,
    waiting: AtomicU64,
    given_up: AtomicU64,
}

/// What the pool's connections do.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct PoolState {
    /// As many as there may be.
    pub size: u64,
    /// Connections that are used.
    pub in_use: u64,
    /// Connections that wait to be used.
    pub idle: u64,
    /// Callers that wait for one, or for their turn to write.
    pub waiting: u64,
    /// Callers that have waited in vain.
    pub given_up: u64,
}

/// The right to use a connection, and perhaps to write.
#[derive(Debug)]
pub(super) struct Permit(
    #[expect(dead_code, reason = "dropping it gives it back")]
    (OwnedSemaphorePermit, Option<OwnedSemaphorePermit>),
);

impl ManageConnection for Manager {
    type Connection = Connected;
    type Error = super::ConnectError;

    fn connect(&self) -> Result<Connected, Self::Error> {
        self.open()
    }

    fn is_valid(&self, connected: &mut Connected) -> Result<(), Self::Error> {
        if connected.is_usable() {
            Ok(())
        } else {
            Err(super::ConnectError::Ended)
        }
    }

    fn has_broken(&self, connected: &mut Connected) -> bool {
        !connected.is_usable()
    }
}

impl Pool {
    /// Migrates the database and makes one connection. Blocks.
    pub(super) fn open(settings: &DatabaseSettings) -> Result<Self, OpenError> {
        let manager = Manager::new(settings)?;
        let migrated = manager.migrate()?;
        if migrated > 0 {
            log::info!("database: ran {migrated} migration(s)");
        }
        let writer = manager
            .has_one_writer()
            .then(|| Arc::new(Semaphore::new(1)));
        // A request's wait is not this start's: see `get`.
        let idle = r2d2::Pool::builder()
            .max_size(settings.pool_size)
            .min_idle(Some(1))
            .build(manager)?;
        Ok(Self {
            idle,
            connections: Arc::new(Semaphore::new(settings.pool_size as usize)),
            writer,
            wait: settings.pool_wait(),
            waiting: AtomicU64::new(0),
            given_up: AtomicU64::new(0),
        })
    }

    /// Waits for the right to read.
    pub(super) async fn reader(&self) -> Result<Permit, DbError> {
        let connection = Arc::clone(&self.connections).acquire_owned();
        Ok(Permit((self.in_time(connection).await?, None)))
    }

    /// Waits for the right to write.
    pub(super) async fn writer(&self) -> Result<Permit, DbError> {
        let permits = async {
            let writer = match &self.writer {
                Some(writer) => Some(Arc::clone(writer).acquire_owned().await?),
                None => None,
            };
            let connection = Arc::clone(&self.connections).acquire_owned().await?;
            Ok((connection, writer))
        };
        Ok(Permit(self.in_time(permits).await?))
    }

    async fn in_time<T>(
        &self,
        permits: impl Future<Output = Result<T, AcquireError>>,
    ) -> Result<T, DbError> {
        let waits = Waits::begin(&self.waiting);
        let permits = tokio::time::timeout(self.wait, permits).await;
        drop(waits);
        permits
            .map_err(|_elapsed| {
                self.given_up.fetch_add(1, Ordering::Relaxed);
                DbError::Busy
            })?
            .map_err(|_closed| DbError::Busy)
    }

    pub(super) fn state(&self) -> PoolState {
        let (size, now) = (self.idle.max_size(), self.idle.state());
        PoolState {
            size: size.into(),
            in_use: now.connections.saturating_sub(now.idle_connections).into(),
            idle: now.idle_connections.into(),
            waiting: self.waiting.load(Ordering::Relaxed),
            given_up: self.given_up.load(Ordering::Relaxed),
        }
    }

    /// Runs `work`. Blocks.
    pub(super) fn run<T>(
        &self,
        work: impl FnOnce(&mut AnyConn) -> QueryResult<T>,
    ) -> Result<T, DbError> {
        let mut connected = self.get()?;
        run_on(&mut connected, work)
    }

    /// Runs `work`, which changes nothing, as [`Pool::run`] does. If the connection turns out to be
    /// dead, which idle ones can be without anybody's knowing, it is run once more on another.
    pub(super) fn run_again<T>(
        &self,
        mut work: impl FnMut(&mut AnyConn) -> QueryResult<T>,
    ) -> Result<T, DbError> {
        let began = Instant::now();
        let mut connected = self.get()?;
        let patience = connected.link.as_ref().map(Link::statement_timeout);
        match run_on(&mut connected, &mut work) {
            // Not after a wait, which is likely to be in vain again.
            Err(DbError::Lost(_))
                if patience.is_some_and(|patience| began.elapsed() < patience) =>
            {
                drop(connected);
                let mut another = self.get()?;
                run_on(&mut another, work)
            }
            done => done,
        }
    }

    fn get(&self) -> Result<PooledConnection<Manager>, DbError> {
        Ok(self.idle.get_timeout(self.wait)?)
    }
}

/// Somebody who waits, until it is dropped: also with a caller that has lost interest.
struct Waits<'a>(&'a AtomicU64);

impl<'a> Waits<'a> {
    fn begin(waiting: &'a AtomicU64) -> Self {
        waiting.fetch_add(1, Ordering::Relaxed);
        Self(waiting)
    }
}

impl Drop for Waits<'_> {
    fn drop(&mut self) {
        self.0.fetch_sub(1, Ordering::Relaxed);
    }
}

/// A connection that is lost is not used again.
pub(super) fn run_on<T>(
    connected: &mut Connected,
    work: impl FnOnce(&mut AnyConn) -> QueryResult<T>,
) -> Result<T, DbError> {
    let began = Instant::now();
    let watch = connected.link.as_ref().map(Link::watch);
    let result = work(&mut connected.conn);
    drop(watch);
    let result = result.map_err(|error| explain(error, connected.link.as_mut(), began.elapsed()));
    connected.is_lost = matches!(result, Err(DbError::Lost(_)));
    result
}
