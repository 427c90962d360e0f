//! The connections that wait to be used. Lives here: who may use one, and which of them can be used
//! again. Not here: making them (`connection`), and waiting for one (`queue`).

use std::{
    future::Future,
    sync::{Arc, Mutex, PoisonError},
    time::{Duration, Instant},
};

use diesel::QueryResult;
use r2d2::{ManageConnection, NopErrorHandler, PooledConnection};
use tokio::sync::OwnedSemaphorePermit;

use super::{
    connection::{AnyConn, Connected, Manager},
    error::{ConnectError, DbError, OpenError},
    migrations,
    postgres::Link,
    queue::{Queue, Reason, Refusals, Refused},
};
use crate::settings::DatabaseSettings;

/// Between two attempts to connect, at most, so that a database that is back is used again at once.
const MAX_PAUSE: Duration = Duration::from_millis(500);

/// How long the first connection may take.
const START_WAIT: Duration = Duration::from_secs(30);

/// Connections, at most as many as configured.
#[derive(Debug)]
pub(super) struct Pool {
    idle: r2d2::Pool<Connector>,
    refusal: Refusal,
    /// Callers queue here, not on threads of the blocking pool.
    connections: Queue,
    /// Where there is one writer at a time, writers queue here, and do not sit on connections that
    /// readers could use.
    writer: Option<Queue>,
    wait: Duration,
    longest_transaction: Duration,
    refusals: Refusals,
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
    /// Requests that were sent away since the start.
    pub refused: Refused,
}

/// The right to use a connection, and perhaps to write.
#[derive(Debug)]
pub(super) struct Permit(
    #[expect(dead_code, reason = "dropping it gives it back")]
    (OwnedSemaphorePermit, Option<OwnedSemaphorePermit>),
);

/// Why the last attempt to connect failed, if it did. r2d2 tells that to one of those who wait, and
/// to nobody else.
type Refusal = Arc<Mutex<Option<String>>>;

/// Makes the connections.
#[derive(Debug)]
struct Connector {
    manager: Manager,
    refusal: Refusal,
}

impl ManageConnection for Connector {
    type Connection = Connected;
    type Error = ConnectError;

    fn connect(&self) -> Result<Connected, ConnectError> {
        let made = self.manager.open();
        let refusal = made.as_ref().err().map(ToString::to_string);
        *self.refusal.lock().unwrap_or_else(PoisonError::into_inner) = refusal;
        made
    }

    fn is_valid(&self, connected: &mut Connected) -> Result<(), ConnectError> {
        if connected.is_usable() {
            Ok(())
        } else {
            Err(ConnectError::Ended)
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
        let migrated = migrations::migrate(&manager)?;
        if migrated > 0 {
            log::info!("database: ran {migrated} migration(s)");
        }
        let (size, length) = (settings.pool_size as usize, settings.pool_queue);
        let writer = manager.has_one_writer().then(|| Queue::new(1, length));
        let refusal = Refusal::default();
        let connector = Connector {
            manager,
            refusal: Arc::clone(&refusal),
        };
        let idle = r2d2::Pool::builder()
            .max_size(settings.pool_size)
            // Nothing is connected in the background, where it could outlast the runtime.
            .min_idle(Some(0))
            // Its half is the longest pause. Requests wait as long as they want: see `get`.
            .connection_timeout(2 * MAX_PAUSE)
            // Requests say themselves that they got no connection, and why.
            .error_handler(Box::new(NopErrorHandler))
            .build_unchecked(connector);
        let pool = Self {
            idle,
            refusal,
            connections: Queue::new(size, length),
            writer,
            wait: settings.pool_wait(),
            longest_transaction: settings.longest_transaction(),
            refusals: Refusals::default(),
        };
        drop(pool.get(START_WAIT).map_err(OpenError::Pool)?);
        Ok(pool)
    }

    /// Waits for the right to read.
    pub(super) async fn reader(&self) -> Result<Permit, DbError> {
        let permit = async { Some(Permit((self.connections.enter().await?, None))) };
        self.in_time(permit).await
    }

    /// Waits for the right to write.
    pub(super) async fn writer(&self) -> Result<Permit, DbError> {
        let permit = async {
            let Some(writer) = &self.writer else {
                return Some(Permit((self.connections.enter().await?, None)));
            };
            let writer = writer.enter().await?;
            // There is one of these, and it has waited already: readers must not keep it out.
            Some(Permit((self.connections.wait().await, Some(writer))))
        };
        self.in_time(permit).await
    }

    async fn in_time(
        &self,
        permit: impl Future<Output = Option<Permit>>,
    ) -> Result<Permit, DbError> {
        let permit = tokio::time::timeout(self.wait, permit).await;
        permit
            .map_err(|_elapsed| self.refusals.refuse(Reason::Late))?
            .ok_or_else(|| self.refusals.refuse(Reason::Full))
    }

    pub(super) fn state(&self) -> PoolState {
        let (size, now) = (self.idle.max_size(), self.idle.state());
        let writers = self.writer.as_ref().map_or(0, Queue::waiting);
        PoolState {
            size: size.into(),
            in_use: self.connections.in_use() as u64,
            idle: now.idle_connections.into(),
            waiting: (self.connections.waiting() + writers) as u64,
            refused: self.refusals.so_far(),
        }
    }

    /// Runs `work`, unless its transaction might end after `until`. Blocks.
    pub(super) fn run_until<T>(
        &self,
        until: Option<Instant>,
        work: impl FnOnce(&mut AnyConn) -> QueryResult<T>,
    ) -> Result<T, DbError> {
        let mut connected = self.connection()?;
        // Last of all: this process may have been stopped for any time.
        if until.is_some_and(|until| Instant::now() + self.longest_transaction > until) {
            return Err(DbError::Late);
        }
        self.run_on(&mut connected, until, work)
    }

    /// Runs `work`, which changes nothing. Blocks. If the connection turns out to be dead, which idle
    /// ones can be without anybody's knowing, it is run once more on another.
    pub(super) fn run_again<T>(
        &self,
        mut work: impl FnMut(&mut AnyConn) -> QueryResult<T>,
    ) -> Result<T, DbError> {
        let began = Instant::now();
        let mut connected = self.connection()?;
        let patience = connected.link.as_ref().map(Link::statement_timeout);
        match self.run_on(&mut connected, None, &mut work) {
            // Not after a wait, which is likely to be in vain again.
            Err(DbError::Lost(_))
                if patience.is_some_and(|patience| began.elapsed() < patience) =>
            {
                drop(connected);
                let mut another = self.connection()?;
                self.run_on(&mut another, None, work)
            }
            done => done,
        }
    }

    /// A connection for a request.
    fn connection(&self) -> Result<PooledConnection<Connector>, DbError> {
        self.get(self.wait).map_err(DbError::Unavailable)
    }

    /// A connection, or why there was none in time.
    fn get(&self, wait: Duration) -> Result<PooledConnection<Connector>, String> {
        self.idle.get_timeout(wait).map_err(|_elapsed| {
            let refusal = self.refusal.lock().unwrap_or_else(PoisonError::into_inner);
            let refusal = refusal.clone();
            refusal.unwrap_or_else(|| format!("no answer within {wait:?}"))
        })
    }

    fn run_on<T>(
        &self,
        connected: &mut Connected,
        until: Option<Instant>,
        work: impl FnOnce(&mut AnyConn) -> QueryResult<T>,
    ) -> Result<T, DbError> {
        connected.run(until, work).map_err(|error| match error {
            DbError::Busy => self.refusals.refuse(Reason::Locked),
            error => error,
        })
    }
}
