//! One connection, whatever the database, and how the pool makes it. Not here: statements.

use std::{
    io,
    path::PathBuf,
    thread,
    time::{Duration, Instant},
};

use diesel::{
    Connection, ConnectionError, QueryResult, SqliteConnection,
    connection::{SimpleConnection, TransactionManager},
    result::DatabaseErrorKind,
};
use thiserror::Error;

use crate::settings::{DatabaseSettings, DatabaseUrl};

/// A connection to whichever database is configured. `store` files take it apart with `on_db!`.
#[expect(
    missing_debug_implementations,
    reason = "Diesel's connections have none"
)]
pub enum AnyConn {
    /// A SQLite file.
    Sqlite(SqliteConnection),
}

/// Runs `$body` with the connection inside an [`AnyConn`], compiled once for each database.
macro_rules! on_db {
    ($conn:expr, |$c:ident| $body:expr) => {
        match $conn {
            $crate::db::AnyConn::Sqlite($c) => $body,
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
}

/// How long to leave another connection alone that is in the way of the switch to WAL.
const BETWEEN_SWITCHES: Duration = Duration::from_millis(5);

/// Makes the pool's connections.
#[derive(Debug, Clone)]
pub(super) struct Manager {
    path: String,
    busy_timeout: Duration,
}

impl Manager {
    /// Takes the database from the settings; makes the folder of a SQLite file.
    pub(super) fn new(settings: &DatabaseSettings) -> Result<Self, ConnectError> {
        let DatabaseUrl::Sqlite(path) = &settings.url;
        let path = std::path::absolute(path).map_err(|source| ConnectError::Folder {
            folder: path.clone(),
            source,
        })?;
        if let Some(folder) = path.parent() {
            std::fs::create_dir_all(folder).map_err(|source| ConnectError::Folder {
                folder: folder.to_owned(),
                source,
            })?;
        }
        let path = path
            .into_os_string()
            .into_string()
            .map_err(|raw| ConnectError::Path(raw.into()))?;
        Ok(Self {
            path,
            busy_timeout: settings.busy_timeout(),
        })
    }

    /// A new file is switched by a read that goes on to write, and a reader that meets a writer
    /// there is refused at once, whatever the time-out: two of them would wait for each other.
    fn switch_to_wal(&self, conn: &mut SqliteConnection) -> QueryResult<()> {
        let began = Instant::now();
        loop {
            match conn.batch_execute("PRAGMA journal_mode = WAL;") {
                Err(error) if is_locked(&error) && began.elapsed() < self.busy_timeout => {
                    thread::sleep(BETWEEN_SWITCHES);
                }
                done => return done,
            }
        }
    }
}

impl r2d2::ManageConnection for Manager {
    type Connection = AnyConn;
    type Error = ConnectError;

    fn connect(&self) -> Result<AnyConn, ConnectError> {
        let mut conn = SqliteConnection::establish(&self.path)?;
        // The time-out comes before the switch to WAL, which itself waits for a lock when several
        // connections open at once. FULL: an acknowledged write survives a power cut, too.
        conn.batch_execute(&format!(
            "PRAGMA busy_timeout = {};",
            self.busy_timeout.as_millis()
        ))?;
        self.switch_to_wal(&mut conn)?;
        conn.batch_execute("PRAGMA synchronous = FULL;")?;
        Ok(AnyConn::Sqlite(conn))
    }

    fn is_valid(&self, _conn: &mut AnyConn) -> Result<(), ConnectError> {
        Ok(())
    }

    fn has_broken(&self, conn: &mut AnyConn) -> bool {
        on_db!(conn, |c| is_broken(c))
    }
}

/// Whether the statement was refused since another connection holds a lock it needs. Diesel has no
/// kind for `SQLITE_BUSY`.
pub(super) fn is_locked(error: &diesel::result::Error) -> bool {
    matches!(
        error,
        diesel::result::Error::DatabaseError(DatabaseErrorKind::Unknown, info)
            if info.message() == "database is locked"
    )
}

/// Whether `conn` was left inside a transaction that can neither go on nor back.
fn is_broken<C: Connection>(conn: &mut C) -> bool {
    C::TransactionManager::is_broken_transaction_manager(conn)
}
