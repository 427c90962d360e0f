//! The pool of connections: who may use one, and which of them can be used again. `connection` makes
//! them, and callers wait for them in a `queue`.

use std::{
    sync::Arc,
    time::{Duration, Instant},
};

use diesel::{QueryResult, connection::SimpleConnection};
use parking_lot::Mutex;
use r2d2::{ManageConnection, NopErrorHandler, PooledConnection};

use super::{
    busy::{BusyCounters, BusyCounts, BusyReason},
    connection::{AnyConn, DbConnection, Manager},
    error::{ConnectError, DbError, OpenError},
    migrations,
    postgres::PgDriver,
    queue::{Queue, Turn},
};
use crate::{settings::DatabaseSettings, tenant::TenantId};

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
    queue: Arc<Queue>,
    /// On SQLite, where one writer writes at a time, writers wait here. The writer has a connection of
    /// its own, so that readers cannot keep other tenants from writing.
    writers: Option<Arc<Queue>>,
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
    /// Callers that wait for their turn to use a connection or, on SQLite, to write.
    pub waiting: u64,
    /// Tenants that wait for a turn; one of them may be what concerns no tenant.
    pub waiting_tenants: u64,
    /// Callers that were sent away since the start.
    pub refused: BusyCounts,
}

/// Why the last attempt to connect failed, if it did. r2d2 reports that to only one of the callers that
/// wait.
type LastConnectError = Arc<Mutex<Option<String>>>;

/// Makes the connections for r2d2, and checks them.
#[derive(Debug)]
struct ConnectionFactory {
    manager: Arc<Manager>,
    announce: Announce,
    last_error: LastConnectError,
}

/// Whether a PostgreSQL database announces what this process writes to every instance that
/// [listens](super::Db::listen). A trigger of the table of appointments does that.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Announce {
    /// Every change of an appointment is announced.
    Changes,
    /// Nothing is announced: the process tells Redis itself.
    Nothing,
}

impl ConnectionFactory {
    fn open(&self) -> Result<DbConnection, ConnectError> {
        let mut made = self.manager.open()?;
        if let (AnyConn::Pg(conn), Announce::Nothing) = (&mut made.conn, self.announce) {
            conn.batch_execute("SET megastats.announce = off")?;
        }
        Ok(made)
    }
}

impl ManageConnection for ConnectionFactory {
    type Connection = DbConnection;
    type Error = ConnectError;

    fn connect(&self) -> Result<DbConnection, ConnectError> {
        let made = self.open();
        let last_error = made.as_ref().err().map(ToString::to_string);
        *self.last_error.lock() = last_error;
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
    pub(super) fn open(
        settings: &DatabaseSettings,
        manager: Arc<Manager>,
        announce: Announce,
    ) -> Result<Self, OpenError> {
        manager.check_pooler()?;
        let migrated = migrations::migrate(&manager)?;
        if migrated > 0 {
            log::info!("database: ran {migrated} migration(s)");
        }
        let max_waiting = settings.pool_queue;
        let queue = Queue::new(settings.pool_size as usize, max_waiting);
        // Whoever asks for one connection gets one for everything.
        let has_writers = manager.has_one_writer() && settings.pool_size > 1;
        let writers = has_writers.then(|| Queue::new(1, max_waiting));
        let last_error = LastConnectError::default();
        let connector = ConnectionFactory {
            manager,
            announce,
            last_error: Arc::clone(&last_error),
        };
        let idle = r2d2::Pool::builder()
            .max_size(settings.pool_size + u32::from(writers.is_some()))
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
            queue,
            writers,
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

    /// Waits for a turn to read on behalf of `tenant`.
    pub(super) async fn read_turn(&self, tenant: Option<&TenantId>) -> Result<Turn, DbError> {
        self.in_time(self.queue.enter(tenant)).await
    }

    /// Waits for a turn to write on behalf of `tenant`.
    pub(super) async fn write_turn(&self, tenant: Option<&TenantId>) -> Result<Turn, DbError> {
        self.in_time(self.write_queue().enter(tenant)).await
    }

    /// Waits for the next turn to write, for a caller that has had one.
    pub(super) async fn next_write_turn(&self, tenant: Option<&TenantId>) -> Result<Turn, DbError> {
        self.in_time(self.write_queue().enter_again(tenant)).await
    }

    fn write_queue(&self) -> &Arc<Queue> {
        self.writers.as_ref().unwrap_or(&self.queue)
    }

    async fn in_time(
        &self,
        turn: impl Future<Output = Result<Turn, BusyReason>>,
    ) -> Result<Turn, DbError> {
        tokio::time::timeout(self.wait, turn)
            .await
            .unwrap_or(Err(BusyReason::TimedOut))
            .map_err(|reason| self.busy.count(reason))
    }

    pub(super) fn state(&self) -> PoolState {
        let total = |count: fn(&Queue) -> usize| {
            let writers = self.writers.as_deref().map_or(0, count);
            (count(&self.queue) + writers) as u64
        };
        PoolState {
            size: self.idle.max_size().into(),
            in_use: total(Queue::turns),
            idle: self.idle.state().idle_connections.into(),
            waiting: total(Queue::waiting),
            waiting_tenants: total(Queue::waiting_tenants),
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
            let last_error = self.last_error.lock().clone();
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
