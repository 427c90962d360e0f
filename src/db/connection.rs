//! One connection, whatever the database, and how one is made. Not here: what is particular to
//! `SQLite` or `PostgreSQL`, keeping connections (`pool`), and statements.

use std::{io, path::PathBuf, time::Duration};

use diesel::{Connection, ConnectionError, SqliteConnection, connection::TransactionManager};
use thiserror::Error;

use super::{
    error::OpenError,
    migrations,
    postgres::{self, Link, PgConn, Server, TlsError},
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

/// A connection could not be made.
#[derive(Debug, Error)]
pub enum ConnectError {
    /// The folder of the SQLite file could not be made.
    #[error("cannot make the folder {}: {source}", folder.display())]
    Folder {
        /// The folder.
        folder: PathBuf,
        /// Why not.
        source: io::Error,
    },
    /// The path cannot be handed to SQLite.
    #[error("{} is not valid UTF-8", .0.display())]
    Path(PathBuf),
    /// The database refused the connection.
    #[error(transparent)]
    Refused(#[from] ConnectionError),
    /// The database refused a connection's first settings.
    #[error(transparent)]
    SetUp(#[from] diesel::result::Error),
    /// The PostgreSQL server could not be reached, or refused the connection.
    #[error("{0}")]
    Server(String),
    /// The PostgreSQL server did not answer within the configured time.
    #[error("no answer within {0:?}")]
    Timeout(Duration),
    /// TLS cannot be used as configured.
    #[error(transparent)]
    Tls(#[from] TlsError),
    /// An idle connection has ended.
    #[error("the connection has ended")]
    Ended,
    /// PostgreSQL was asked for outside of an asynchronous runtime.
    #[error("PostgreSQL needs a running tokio runtime")]
    NoRuntime,
}

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

    /// Brings the schema up to date; returns how many migrations ran. Blocks.
    pub(super) fn migrate(&self) -> Result<usize, OpenError> {
        // A connection of its own: on PostgreSQL it has other time-outs and, should anything go
        // wrong, a lock, both of which end with it.
        let mut connected = self.open()?;
        Ok(migrations::run(&mut connected.conn)?)
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
