//! The pool of connections: who may use one, and which of them can be used again. `connection` makes
//! them, and callers wait for them in a `queue`.

use std::{
    future::Future,
    sync::{Arc, Mutex, PoisonError},
    time::{Duration, Instant},
};

use diesel::QueryResult;
use r2d2::{ManageConnection, NopErrorHandler, PooledConnection};

use super::{
    connection::{AnyConn, DbConnection, Manager},
    error::{ConnectError, DbError, OpenError},
    migrations,
    postgres::PgDriver,
    queue::{BusyCounters, BusyCounts, BusyReason, Permit, Queue},
};
use crate::settings::DatabaseSettings;

/// The longest pause between two attempts to connect, so that a database that has come back is used soon.
const MAX_CONNECT_PAUSE: Duration = Duration::from_millis(500);

/// How long the first connection may take.
const FIRST_CONNECTION_TIMEOUT: Duration = Duration::from_secs(30);

/// Connections, at most as many as configured.
#[derive(Debug)]
pub(super) struct Pool {
    idle: r2d2::Pool<ConnectionFactory>,
    last_error: LastConnectError,
    /// Callers wait here, and do not occupy threads of the blocking pool meanwhile.
    connections: Queue,
    /// On SQLite, where one writer writes at a time, writers wait here, and do not hold connections
    /// meanwhile that readers could use.
    writer: Option<Queue>,
    wait: Duration,
    longest_transaction: Duration,
    busy: BusyCounters,
}

/// How the pool is used at the moment.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct PoolState {
    /// How many connections there may be.
    pub size: u64,
    /// Connections in use.
    pub in_use: u64,
    /// Open connections that are not in use.
    pub idle: u64,
    /// Callers that wait for a connection or for the right to write.
    pub waiting: u64,
    /// Callers that were sent away since the start.
    pub refused: BusyCounts,
}

/// The right to use a connection. On SQLite that of a writer is also the right to write, which one
/// caller has at a time. Dropping it gives both back.
#[derive(Debug)]
pub struct ConnectionPermit {
    _connection: Permit,
    _writer: Option<Permit>,
}

/// Why the last attempt to connect failed, if it did. r2d2 reports that to only one of the callers that
/// wait.
type LastConnectError = Arc<Mutex<Option<String>>>;

/// Makes the connections for r2d2, and checks them.
#[derive(Debug)]
struct ConnectionFactory {
    manager: Manager,
    last_error: LastConnectError,
}

impl ManageConnection for ConnectionFactory {
    type Connection = DbConnection;
    type Error = ConnectError;

    fn connect(&self) -> Result<DbConnection, ConnectError> {
        let made = self.manager.open();
        let last_error = made.as_ref().err().map(ToString::to_string);
        *self
            .last_error
            .lock()
            .unwrap_or_else(PoisonError::into_inner) = last_error;
        made
    }

    fn is_valid(&self, connected: &mut DbConnection) -> Result<(), ConnectError> {
        if connected.is_usable() {
            Ok(())
        } else {
            Err(ConnectError::Ended)
        }
    }

    fn has_broken(&self, connected: &mut DbConnection) -> bool {
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
        let size = settings.pool_size as usize;
        let length = settings.pool_queue;
        let writer = manager.has_one_writer().then(|| Queue::new(1, length));
        let last_error = LastConnectError::default();
        let connector = ConnectionFactory {
            manager,
            last_error: Arc::clone(&last_error),
        };
        let idle = r2d2::Pool::builder()
            .max_size(settings.pool_size)
            // Without idle connections to keep up r2d2 connects nothing in the background, where it could
            // outlive the runtime.
            .min_idle(Some(0))
            // r2d2 pauses at most half of this time between attempts to connect. How long a request waits
            // is given to `get`.
            .connection_timeout(2 * MAX_CONNECT_PAUSE)
            // The request that gets no connection reports why.
            .error_handler(Box::new(NopErrorHandler))
            .build_unchecked(connector);
        let pool = Self {
            idle,
            last_error,
            connections: Queue::new(size, length),
            writer,
            wait: settings.pool_wait,
            longest_transaction: settings.longest_transaction(),
            busy: BusyCounters::default(),
        };
        drop(
            pool.get(FIRST_CONNECTION_TIMEOUT)
                .map_err(OpenError::Pool)?,
        );
        Ok(pool)
    }

    /// Waits for the right to read.
    pub(super) async fn read_permit(&self) -> Result<ConnectionPermit, DbError> {
        let permit = async {
            Some(ConnectionPermit {
                _connection: self.connections.enter().await?,
                _writer: None,
            })
        };
        self.in_time(permit).await
    }

    /// Waits for the right to write.
    pub(super) async fn write_permit(&self) -> Result<ConnectionPermit, DbError> {
        let permit = async {
            let Some(writer) = &self.writer else {
                return Some(ConnectionPermit {
                    _connection: self.connections.enter().await?,
                    _writer: None,
                });
            };
            let writer = writer.enter().await?;
            // Here comes one caller at a time, which has waited already. So it is not sent away even if
            // readers fill the queue.
            Some(ConnectionPermit {
                _connection: self.connections.wait().await,
                _writer: Some(writer),
            })
        };
        self.in_time(permit).await
    }

    /// Waits for the right to write, before everybody who waits for the first time.
    pub(super) async fn next_write_permit(&self) -> Result<ConnectionPermit, DbError> {
        let permit = async {
            let writer = match &self.writer {
                Some(writer) => Some(writer.return_first().await),
                None => None,
            };
            Some(ConnectionPermit {
                _connection: self.connections.return_first().await,
                _writer: writer,
            })
        };
        self.in_time(permit).await
    }

    async fn in_time(
        &self,
        permit: impl Future<Output = Option<ConnectionPermit>>,
    ) -> Result<ConnectionPermit, DbError> {
        let permit = tokio::time::timeout(self.wait, permit).await;
        permit
            .map_err(|_elapsed| self.busy.count(BusyReason::TimedOut))?
            .ok_or_else(|| self.busy.count(BusyReason::QueueFull))
    }

    pub(super) fn state(&self) -> PoolState {
        let now = self.idle.state();
        let writers = self.writer.as_ref().map_or(0, Queue::waiting);
        PoolState {
            size: self.idle.max_size().into(),
            in_use: self.connections.in_use() as u64,
            idle: now.idle_connections.into(),
            waiting: (self.connections.waiting() + writers) as u64,
            refused: self.busy.counts(),
        }
    }

    /// Runs `work`, unless its transaction might end after `until`. Blocks.
    pub(super) fn run_until<T>(
        &self,
        until: Option<Instant>,
        work: impl FnOnce(&mut AnyConn) -> QueryResult<T>,
    ) -> Result<T, DbError> {
        let mut connected = self.connection()?;
        // This is checked last, since the process may have been suspended for any time before.
        if until.is_some_and(|until| Instant::now() + self.longest_transaction > until) {
            return Err(DbError::TooLate);
        }
        self.run_on(&mut connected, until, work)
    }

    /// Runs `work`, which only reads. Blocks. An idle connection may have been lost unnoticed: if this one
    /// was, `work` is run once more on another.
    pub(super) fn run_again<T>(
        &self,
        mut work: impl FnMut(&mut AnyConn) -> QueryResult<T>,
    ) -> Result<T, DbError> {
        let began = Instant::now();
        let mut connected = self.connection()?;
        let limit = connected.driver.as_ref().map(PgDriver::statement_timeout);
        match self.run_on(&mut connected, None, &mut work) {
            // After a long wait a second attempt is likely to fail in the same way.
            Err(DbError::ConnectionLost(_))
                if limit.is_some_and(|limit| began.elapsed() < limit) =>
            {
                drop(connected);
                let mut another = self.connection()?;
                self.run_on(&mut another, None, work)
            }
            done => done,
        }
    }

    /// A connection, which a request waits for as long as is configured.
    fn connection(&self) -> Result<PooledConnection<ConnectionFactory>, DbError> {
        self.get(self.wait).map_err(DbError::Unavailable)
    }

    /// A connection, or why there was none in time.
    fn get(&self, wait: Duration) -> Result<PooledConnection<ConnectionFactory>, String> {
        self.idle.get_timeout(wait).map_err(|_elapsed| {
            let last_error = self
                .last_error
                .lock()
                .unwrap_or_else(PoisonError::into_inner);
            let last_error = last_error.clone();
            last_error.unwrap_or_else(|| format!("no answer within {wait:?}"))
        })
    }

    fn run_on<T>(
        &self,
        connected: &mut DbConnection,
        until: Option<Instant>,
        work: impl FnOnce(&mut AnyConn) -> QueryResult<T>,
    ) -> Result<T, DbError> {
        connected.run(until, work).map_err(|error| match error {
            DbError::Busy => self.busy.count(BusyReason::FileLocked),
            error => error,
        })
    }
}
