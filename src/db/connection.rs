//! One connection, whatever the database: making it, running statements on it, and finding out why one
//! of them failed. Keeping connections for later is for `pool`.

use std::time::{Duration, Instant};

use diesel::{
    Connection, QueryResult, SqliteConnection,
    connection::TransactionManager,
    result::{DatabaseErrorKind, Error},
};

use super::{
    error::{ConnectError, DbError, kind_and_message},
    postgres::{self, Link, PgConn, Server},
    sqlite,
};
use crate::settings::{DatabaseSettings, DatabaseUrl};

/// A connection to whichever database is configured. `store` files take it apart with `on_db!`.
#[expect(
    missing_debug_implementations,
    reason = "Diesel's connections have none"
)]
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
    Sqlite {
        path: String,
        busy_timeout: Duration,
    },
    Postgres(Box<Server>),
}

impl Manager {
    /// Takes the database from the settings; makes the folder of a SQLite file, and reads whom TLS
    /// trusts.
    pub(super) fn new(settings: &DatabaseSettings) -> Result<Self, ConnectError> {
        let path = match &settings.url {
            DatabaseUrl::Sqlite(path) => path,
            DatabaseUrl::Postgres(url) => {
                return Ok(Self::Postgres(Box::new(Server::new(url, settings)?)));
            }
        };
        let path = sqlite::prepare(path)?;
        Ok(Self::Sqlite {
            path,
            busy_timeout: settings.busy_timeout(),
        })
    }

    /// A new connection. Blocks.
    pub(super) fn open(&self) -> Result<Connected, ConnectError> {
        match self {
            Self::Sqlite { path, busy_timeout } => {
                let conn = AnyConn::Sqlite(sqlite::connect(path, *busy_timeout)?);
                Ok(Connected {
                    conn,
                    link: None,
                    is_lost: false,
                })
            }
            Self::Postgres(server) => {
                let (conn, link) = server.connect()?;
                Ok(Connected {
                    conn: AnyConn::Pg(Box::new(conn)),
                    link: Some(link),
                    is_lost: false,
                })
            }
        }
    }

    /// Whether writers come one at a time.
    pub(super) fn has_one_writer(&self) -> bool {
        matches!(self, Self::Sqlite { .. })
    }
}

/// A connection, and what there is to know of what carries it.
pub(super) struct Connected {
    pub(super) conn: AnyConn,
    /// Of a PostgreSQL server.
    pub(super) link: Option<Link>,
    /// Whether a statement found it of no more use.
    pub(super) is_lost: bool,
}

impl Connected {
    /// Whether it can serve again: it is up, and was not left inside a transaction.
    pub(super) fn is_usable(&mut self) -> bool {
        !self.is_lost
            && self.link.as_ref().is_none_or(Link::is_usable)
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
        let watch = self.link.as_ref().map(|link| link.watch(until));
        let result = work(&mut self.conn);
        drop(watch);
        let result = result.map_err(|error| explain(error, self.link.as_mut(), began.elapsed()));
        self.is_lost = matches!(result, Err(DbError::Lost(_)));
        result
    }
}

/// What became of work that failed with `error` after `took` on a connection carried by `link`.
fn explain(error: Error, link: Option<&mut Link>, took: Duration) -> DbError {
    let Some(link) = link else {
        return error.into();
    };
    let is_lost = match kind_and_message(&error) {
        // The server was demoted below us: the connection is of no more use than a lost one.
        Some((DatabaseErrorKind::ReadOnlyTransaction, _)) => true,
        // Also of connections that are well.
        Some((
            DatabaseErrorKind::ClosedConnection
            | DatabaseErrorKind::UnableToSendCommand
            | DatabaseErrorKind::Unknown,
            _,
        )) => link.is_lost(),
        Some(_) => false,
        // A transaction that could neither go on nor back.
        None => matches!(error, Error::BrokenTransactionManager) && link.is_lost(),
    };
    if is_lost {
        return DbError::Lost(error);
    }
    match DbError::from(error) {
        // It has no other sign in every language than the time it takes.
        DbError::Statement(error)
            if took >= link.statement_timeout()
                && matches!(
                    kind_and_message(&error),
                    Some((DatabaseErrorKind::Unknown, _))
                ) =>
        {
            DbError::GivenUp(error)
        }
        explained => explained,
    }
}

/// Whether `conn` was left inside a transaction, or does not know.
fn is_inside_transaction<C: Connection>(conn: &mut C) -> bool {
    C::TransactionManager::is_broken_transaction_manager(conn)
}

impl AnyConn {
    /// A connection of its own to a PostgreSQL database that is left as it is: it is not migrated,
    /// and its transactions cannot write. `None` where it has no appointments yet. Blocks.
    pub(crate) fn look_at_postgres(
        settings: &DatabaseSettings,
    ) -> Result<Option<Self>, ConnectError> {
        let DatabaseUrl::Postgres(url) = &settings.url else {
            return Ok(None);
        };
        let (mut conn, _link) = Server::new(url, settings)?.connect()?;
        let has_appointments = postgres::look_only(&mut conn)?;
        Ok(has_appointments.then(|| Self::Pg(Box::new(conn))))
    }
}
