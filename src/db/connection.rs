//! One connection, whatever the database: making it, running statements on it, and finding out why one
//! of them failed. Keeping connections for later is for `pool`.

use std::time::{Duration, Instant};

use diesel::{
    Connection, QueryResult, SqliteConnection,
    connection::{SimpleConnection, TransactionManager},
    result::{DatabaseErrorKind, Error},
};

use tokio::sync::mpsc;
use tokio_postgres::Notification;

use super::{
    error::{ConnectError, DbError, OpenError, kind_and_message},
    file::FileError,
    lock::LockMode,
    postgres::{self, PgConn, PgDriver, PgServer},
    sqlite::{self, SqliteFile},
};
use crate::settings::{DatabaseSettings, DatabaseUrl};

/// A connection to the configured database. `store` files use it through `on_db!`.
pub enum AnyConn {
    /// A SQLite file.
    Sqlite(SqliteConnection),
    /// A session of a PostgreSQL server.
    Pg(Box<PgConn>),
}

/// Runs `$body` with the connection inside an [`AnyConn`], compiled once for each database.
macro_rules! on_db {
    ($conn:expr, |$c:ident| $body:expr) => {
        match $conn {
            $crate::db::AnyConn::Sqlite($c) => $body,
            $crate::db::AnyConn::Pg($c) => {
                let $c: &mut $crate::db::PgConn = $c;
                $body
            }
        }
    };
}
pub(crate) use on_db;

/// Makes connections to the configured database.
#[derive(Debug)]
pub(super) enum Manager {
    Sqlite(SqliteFile),
    Postgres(Box<PgServer>),
}

impl Manager {
    /// Takes the database from the settings. Opens a SQLite file, which is made if it is missing, and locks
    /// it if `lock` says how; reads whom TLS trusts.
    pub(super) fn new(
        settings: &DatabaseSettings,
        lock: Option<LockMode>,
    ) -> Result<Self, OpenError> {
        Ok(match &settings.url {
            DatabaseUrl::Sqlite(path) => {
                Self::Sqlite(SqliteFile::open(path, settings.busy_timeout, lock)?)
            }
            DatabaseUrl::Postgres(url) => Self::Postgres(Box::new(PgServer::new(url, settings)?)),
        })
    }

    /// A new connection. Blocks.
    pub(super) fn open(&self) -> Result<DbConnection, ConnectError> {
        self.open_and_listen(None)
    }

    /// As [`Manager::open`]; on PostgreSQL what the connection is notified of goes to `notifications`.
    pub(super) fn open_and_listen(
        &self,
        notifications: Option<mpsc::Sender<Notification>>,
    ) -> Result<DbConnection, ConnectError> {
        let (conn, driver) = match self {
            Self::Sqlite(file) => (AnyConn::Sqlite(file.connect()?), None),
            Self::Postgres(server) => {
                let (conn, driver) = server.connect(notifications)?;
                (AnyConn::Pg(Box::new(conn)), Some(driver))
            }
        };
        Ok(DbConnection {
            conn,
            driver,
            is_lost: false,
        })
    }

    /// Refuses a pooler of transactions in front of PostgreSQL. Blocks.
    pub(super) fn check_pooler(&self) -> Result<(), ConnectError> {
        match self {
            Self::Sqlite(_) => Ok(()),
            Self::Postgres(server) => server.check_pooler(),
        }
    }

    /// Whether a SQLite file is still there, or another is in its place.
    pub(super) fn check_file(&self) -> Result<(), FileError> {
        match self {
            Self::Sqlite(file) => file.check(),
            Self::Postgres(_) => Ok(()),
        }
    }

    /// Whether only one writer writes at a time.
    pub(super) fn has_one_writer(&self) -> bool {
        matches!(self, Self::Sqlite(_))
    }
}

/// A connection, and whether it still works.
pub(super) struct DbConnection {
    pub(super) conn: AnyConn,
    /// That of a PostgreSQL connection.
    pub(super) driver: Option<PgDriver>,
    /// Whether a statement has failed because the connection was lost.
    pub(super) is_lost: bool,
}

impl DbConnection {
    /// Whether it can serve again: it is up, and was not left inside a transaction.
    pub(super) fn is_usable(&mut self) -> bool {
        !self.is_lost
            && self.driver.as_ref().is_none_or(PgDriver::is_usable)
            && !on_db!(&mut self.conn, |c| is_inside_transaction(c))
    }

    /// Runs `work`. On PostgreSQL nothing is begun that could end after `until`. A connection that
    /// `work` finds to be lost is not used again.
    pub(super) fn run<T>(
        &mut self,
        until: Option<Instant>,
        work: impl FnOnce(&mut AnyConn) -> QueryResult<T>,
    ) -> Result<T, DbError> {
        let began = Instant::now();
        let watch = self.driver.as_ref().map(|driver| driver.watch(until));
        let result = work(&mut self.conn);
        drop(watch);
        let result = result.map_err(|error| explain(error, self.driver.as_mut(), began.elapsed()));
        self.is_lost = matches!(result, Err(DbError::ConnectionLost(_)));
        result
    }
}

/// Why work failed with `error` after `took` on a connection that `driver` serves.
fn explain(error: Error, driver: Option<&mut PgDriver>, took: Duration) -> DbError {
    let Some(driver) = driver else {
        return error.into();
    };
    let is_lost = match kind_and_message(&error) {
        // The server has become a standby: the connection is as useless as a lost one.
        Some((DatabaseErrorKind::ReadOnlyTransaction, _)) => true,
        // These errors also come from connections that still work.
        Some((
            DatabaseErrorKind::ClosedConnection
            | DatabaseErrorKind::UnableToSendCommand
            | DatabaseErrorKind::Unknown,
            _,
        )) => driver.is_lost(),
        Some(_) => false,
        // The transaction could neither be continued nor rolled back.
        None => matches!(error, Error::BrokenTransactionManager) && driver.is_lost(),
    };
    if is_lost {
        return DbError::ConnectionLost(error);
    }
    match DbError::from(error) {
        // A server that speaks another language tells a statement time-out only by the time it takes.
        DbError::Statement(error)
            if took >= driver.statement_timeout()
                && matches!(
                    kind_and_message(&error),
                    Some((DatabaseErrorKind::Unknown, _))
                ) =>
        {
            DbError::Aborted(error)
        }
        explained => explained,
    }
}

/// Whether `conn` was left inside a transaction, or does not know.
fn is_inside_transaction<C: Connection>(conn: &mut C) -> bool {
    C::TransactionManager::is_broken_transaction_manager(conn)
}

impl AnyConn {
    /// A connection that cannot write, to a database that is neither made nor migrated. `None` if it has no
    /// table of appointments yet. Blocks.
    pub(crate) fn read_only(settings: &DatabaseSettings) -> Result<Option<Self>, ConnectError> {
        match &settings.url {
            DatabaseUrl::Sqlite(path) => {
                let Some(mut conn) = sqlite::connect_as_is(path, settings.busy_timeout)? else {
                    return Ok(None);
                };
                conn.batch_execute("PRAGMA query_only = ON")?;
                Ok(Some(Self::Sqlite(conn)))
            }
            DatabaseUrl::Postgres(url) => {
                let (mut conn, _link) = PgServer::new(url, settings)?.connect(None)?;
                let has_appointments = postgres::set_read_only(&mut conn)?;
                Ok(has_appointments.then(|| Self::Pg(Box::new(conn))))
            }
        }
    }
}
