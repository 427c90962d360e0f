//! A `PostgreSQL` server: connecting to it, and finding out whether a connection still works. TLS is in
//! `tls`.
//!
//! diesel-async's wrapper makes tokio-postgres a blocking Diesel connection. Its socket is served
//! by a task of the runtime that was current when the [`PgServer`] was made: the *driver*. The
//! connection works for as long as its driver runs.

mod tls;

use std::{
    error::Error,
    fmt,
    future::Future,
    sync::Arc,
    time::{Duration, Instant},
};

use diesel::{
    QueryResult, QueryableByName, RunQueryDsl,
    connection::{Connection, InstrumentationEvent, SimpleConnection},
    sql_query,
    sql_types::Bool,
};
use diesel_async::{
    AsyncPgConnection,
    async_connection_wrapper::{AsyncConnectionWrapper, BlockOn},
};
use futures_util::{Stream, StreamExt as _, stream};
use parking_lot::Mutex;
use tokio::{
    runtime::Handle,
    sync::mpsc,
    task::{AbortHandle, JoinHandle},
};
use tokio_postgres::{AsyncMessage, Client, Config, Notification, SimpleQueryMessage};
use tokio_postgres_rustls::MakeRustlsConnect;
use tokio_util::task::AbortOnDropHandle;

use super::error::ConnectError;
use crate::settings::{DatabaseSettings, PostgresUrl};

/// A session of a PostgreSQL server, as Diesel sees it. It blocks its thread, so it is for threads
/// made for that, or at least for a runtime with several.
pub type PgConn = AsyncConnectionWrapper<AsyncPgConnection, Blocking>;

/// After this long a connection is replaced, so that those of a server that was moved or split are
/// shared out anew.
const MAX_AGE: Duration = Duration::from_secs(30 * 60);

/// How much longer than its own statement time-out a server may be silent.
const SILENCE_MARGIN: Duration = Duration::from_secs(1);

/// How long the end of a connection may take to be noticed after the error that announced it.
const END_NOTICED_WITHIN: Duration = Duration::from_millis(100);

/// A server and how to reach it.
pub(super) struct PgServer {
    config: Config,
    tls: MakeRustlsConnect,
    connect_timeout: Duration,
    statement_timeout: Duration,
    runtime: Handle,
}

impl fmt::Debug for PgServer {
    /// Without credentials.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("PgServer").finish_non_exhaustive()
    }
}

impl PgServer {
    /// Reads how to reach the server; the current runtime will serve its connections.
    pub(super) fn new(
        url: &PostgresUrl,
        settings: &DatabaseSettings,
    ) -> Result<Self, ConnectError> {
        let mut config = url.config.clone();
        config.ssl_mode(tls::mode(url.ssl_mode));
        // libpq gives this much time to each host, one after the other.
        let per_host = config.get_connect_timeout().copied();
        let per_host = per_host.unwrap_or(settings.connect_timeout);
        config.connect_timeout(per_host);
        let hosts = config.get_hosts().len().max(config.get_hostaddrs().len());
        let hosts = u32::try_from(hosts).unwrap_or(u32::MAX);
        Ok(Self {
            config,
            tls: tls::connector(url)?,
            connect_timeout: per_host.saturating_mul(hosts),
            statement_timeout: settings.statement_timeout,
            runtime: Handle::try_current().map_err(|_none| ConnectError::NoRuntime)?,
        })
    }

    /// Makes the server's runtime the current one.
    pub(super) fn enter(&self) -> tokio::runtime::EnterGuard<'_> {
        self.runtime.enter()
    }

    /// A new connection and its driver. What the connection is notified of goes to `notifications`.
    pub(super) fn connect(
        &self,
        notifications: Option<mpsc::Sender<Notification>>,
    ) -> Result<(PgConn, PgDriver), ConnectError> {
        let _context = self.enter();
        let (conn, task) = self.in_time(async {
            let (client, driver) = self.open_session(notifications).await?;
            Ok((AsyncPgConnection::try_from(client).await?, driver.detach()))
        })?;

        let mut conn = PgConn::from(conn);
        let last_statement = Arc::new(Mutex::new(Instant::now()));
        let statements = Arc::clone(&last_statement);
        conn.set_instrumentation(move |event: InstrumentationEvent<'_>| {
            if let InstrumentationEvent::StartQuery { .. } = event {
                *statements.lock() = Instant::now();
            }
        });
        // The second one ends a transaction in which this program has stopped, so that it keeps its
        // locks no longer than a slow statement would.
        let timeout = self.statement_timeout.as_millis();
        conn.batch_execute(&format!(
            "SET statement_timeout = {timeout};
             SET idle_in_transaction_session_timeout = {timeout};"
        ))?;
        let driver = PgDriver {
            task,
            runtime: self.runtime.clone(),
            born: Instant::now(),
            last_statement,
            statement_timeout: self.statement_timeout,
        };
        Ok((conn, driver))
    }

    /// Refuses a pooler that shares sessions between transactions: two connections share one, or one
    /// connection changes its session. Blocks.
    pub(super) fn check_pooler(&self) -> Result<(), ConnectError> {
        let (one, _driver_of_one) = self.in_time(self.open_session(None))?;
        let (other, _driver_of_other) = self.in_time(self.open_session(None))?;
        let [before, of_other, after] = self.in_time(async {
            Ok([
                session(&one).await?,
                session(&other).await?,
                session(&one).await?,
            ])
        })?;
        if before == of_other || before != after {
            return Err(ConnectError::TransactionPooler);
        }
        Ok(())
    }

    /// What `connecting` comes to, if it ends within the configured time. Blocks.
    fn in_time<T>(
        &self,
        connecting: impl Future<Output = Result<T, ConnectError>>,
    ) -> Result<T, ConnectError> {
        Blocking(self.runtime.clone())
            .block_on(async { tokio::time::timeout(self.connect_timeout, connecting).await })
            .map_err(|_elapsed| ConnectError::Timeout(self.connect_timeout))?
    }

    async fn open_session(
        &self,
        notifications: Option<mpsc::Sender<Notification>>,
    ) -> Result<(Client, AbortOnDropHandle<()>), ConnectError> {
        let (client, mut connection) = self
            .config
            .connect(self.tls.clone())
            .await
            .map_err(|error| ConnectError::Server(with_causes(&error)))?;
        let encoding = connection.parameter("server_encoding");
        if let Some(encoding) = encoding.filter(|&encoding| encoding != "UTF8") {
            return Err(ConnectError::Encoding(encoding.to_owned()));
        }
        let driver = AbortOnDropHandle::new(tokio::spawn(async move {
            let messages = stream::poll_fn(move |context| connection.poll_message(context));
            if let Err(error) = pass_on(messages, notifications).await {
                log::warn!("database connection lost: {}", with_causes(&error));
            }
        }));
        Ok((client, driver))
    }
}

/// Which session answers `client`, and of which server, since a URL may name several. Nothing is prepared,
/// which some poolers do not allow.
async fn session(client: &Client) -> Result<Option<String>, ConnectError> {
    let answer = client
        .simple_query("SELECT concat(pg_backend_pid(), ' ', pg_postmaster_start_time())")
        .await
        .map_err(|error| ConnectError::Server(with_causes(&error)))?;
    Ok(answer.iter().find_map(|message| match message {
        SimpleQueryMessage::Row(row) => row.get(0).map(str::to_owned),
        _ => None,
    }))
}

/// Hands the notifications among `messages` over, until the connection has ended.
async fn pass_on(
    mut messages: impl Stream<Item = Result<AsyncMessage, tokio_postgres::Error>> + Unpin,
    notifications: Option<mpsc::Sender<Notification>>,
) -> Result<(), tokio_postgres::Error> {
    while let Some(message) = messages.next().await {
        if let (AsyncMessage::Notification(notification), Some(notifications)) =
            (message?, &notifications)
        {
            // Nobody may be listening any more.
            let _ = notifications.send(notification).await;
        }
    }
    Ok(())
}

/// The driver of a connection.
#[derive(Debug)]
pub(super) struct PgDriver {
    task: JoinHandle<()>,
    runtime: Handle,
    born: Instant,
    last_statement: Arc<Mutex<Instant>>,
    statement_timeout: Duration,
}

impl PgDriver {
    /// Whether the connection is up and young enough to be used again.
    pub(super) fn is_usable(&self) -> bool {
        !self.task.is_finished() && self.born.elapsed() < MAX_AGE
    }

    /// Closes the connection.
    pub(super) fn abort_handle(&self) -> AbortHandle {
        self.task.abort_handle()
    }

    /// How long the server works on one statement.
    pub(super) fn statement_timeout(&self) -> Duration {
        self.statement_timeout
    }

    /// Whether the connection is down, or goes down at once: a server that ends a session first says
    /// so, in a language that ops chose, and then closes it. Blocks for a moment if it stays up.
    pub(super) fn is_lost(&mut self) -> bool {
        if !self.task.is_finished() {
            let Self { task, runtime, .. } = self;
            let _context = runtime.enter();
            let end = tokio::time::timeout(END_NOTICED_WITHIN, task);
            // Either way `is_finished` says what there is to know.
            let _ = Blocking(runtime.clone()).block_on(end);
        }
        self.task.is_finished()
    }

    /// Until the watch is dropped, the connection is closed as soon as the server has been silent for
    /// longer than its statement time-out allows: nothing else notices a server that hangs. It is also
    /// closed before `until`, early enough that no statement that is begun could end after `until`.
    pub(super) fn watch(&self, until: Option<Instant>) -> Watch {
        let limit = self.statement_timeout + SILENCE_MARGIN;
        let driver = self.task.abort_handle();
        let last_statement = Arc::clone(&self.last_statement);
        *last_statement.lock() = Instant::now();
        let timer = self.runtime.spawn(async move {
            let too_late = until.map(|until| until.checked_sub(limit).unwrap_or(until));
            loop {
                let time = too_late.map(|at| at.saturating_duration_since(Instant::now()));
                if time.is_some_and(|time| time.is_zero()) {
                    log::warn!("database connection given up: the write takes too long");
                    driver.abort();
                    return;
                }
                let silent = last_statement.lock().elapsed();
                let Some(left) = limit.checked_sub(silent).filter(|left| !left.is_zero()) else {
                    log::warn!("database connection given up: no answer for {silent:?}");
                    driver.abort();
                    return;
                };
                tokio::time::sleep(time.map_or(left, |time| time.min(left))).await;
            }
        });
        Watch(AbortOnDropHandle::new(timer))
    }
}

/// See [`PgDriver::watch`].
pub(super) struct Watch(
    #[expect(dead_code, reason = "dropping it ends the watch")] AbortOnDropHandle<()>,
);

/// Waits for futures, on any thread of a runtime that has several.
#[derive(Debug)]
pub struct Blocking(Handle);

impl BlockOn for Blocking {
    fn block_on<F: Future>(&self, future: F) -> F::Output {
        tokio::task::block_in_place(|| self.0.block_on(future))
    }

    fn get_runtime() -> Self {
        Self(Handle::current())
    }
}

/// Makes `conn` read-only for good; returns whether there is a table of appointments.
pub(super) fn set_read_only(conn: &mut PgConn) -> QueryResult<bool> {
    #[derive(QueryableByName)]
    struct TableExists {
        #[diesel(sql_type = Bool)]
        exists: bool,
    }
    conn.batch_execute("SET default_transaction_read_only = on")?;
    let TableExists { exists } =
        sql_query("SELECT to_regclass('appointments') IS NOT NULL AS exists").get_result(conn)?;
    Ok(exists)
}

/// tokio-postgres says what an error is about in the error's causes.
fn with_causes(error: &dyn Error) -> String {
    std::iter::successors(error.source(), |&cause| cause.source())
        .fold(error.to_string(), |text, cause| format!("{text}: {cause}"))
}
