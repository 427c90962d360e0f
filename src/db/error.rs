//! Why the database could not be opened or gave no answer, and what a statement's error says by itself.

use std::{path::PathBuf, time::Duration};

use diesel::{
    ConnectionError,
    result::{DatabaseErrorKind, Error as DieselError},
};
use thiserror::Error;

use super::{file::FileError, lock::LockError};

/// The database could not be opened.
#[derive(Debug, Error)]
pub enum OpenError {
    /// No connection could be made.
    #[error(transparent)]
    Connect(#[from] ConnectError),
    /// The schema could not be brought up to date.
    #[error(transparent)]
    Migrate(#[from] MigrationError),
    /// The pool got no connection, for the reason given.
    #[error("{0}")]
    Pool(String),
    /// The SQLite file cannot be used.
    #[error(transparent)]
    File(#[from] FileError),
    /// Another process is in the way.
    #[error(transparent)]
    Lock(#[from] LockError),
}

/// A connection could not be made.
#[derive(Debug, Error)]
pub enum ConnectError {
    /// The SQLite file cannot be used.
    #[error(transparent)]
    File(#[from] FileError),
    /// The SQLite file belongs to another program.
    #[error(
        "this is the database of another program, and is left as it is: name a file that is not there \
         yet, and bring appointments of AlignWork into it with \"megastats import FILE\""
    )]
    Foreign,
    /// The database refused the connection.
    #[error(transparent)]
    Refused(#[from] ConnectionError),
    /// The database refused the first statements of a connection.
    #[error(transparent)]
    SetUp(#[from] DieselError),
    /// The PostgreSQL server could not be reached, or refused the connection.
    #[error("{0}")]
    Server(String),
    /// The PostgreSQL server did not answer within the configured time.
    #[error("no answer within {0:?}")]
    Timeout(Duration),
    /// The PostgreSQL database cannot keep every name.
    #[error(
        "its encoding is {0}, and must be UTF8: CREATE DATABASE … ENCODING 'UTF8' TEMPLATE template0"
    )]
    Encoding(String),
    /// A pooler takes a session away after each transaction, and with it time-outs, locks and LISTEN.
    #[error(
        "a pooler there shares sessions between transactions: have it keep them (pgbouncer: pool_mode = \
         session), or connect straight to PostgreSQL"
    )]
    TransactionPooler,
    /// TLS cannot be used as configured.
    #[error(transparent)]
    Tls(#[from] TlsError),
    /// A connection of the pool was lost.
    #[error("the connection has ended")]
    Ended,
    /// There is no tokio runtime to serve connections to PostgreSQL.
    #[error("PostgreSQL needs a running tokio runtime")]
    NoRuntime,
}

/// TLS cannot be used as configured.
#[derive(Debug, Error)]
pub enum TlsError {
    /// The file of `sslrootcert` holds no certificate that can be used.
    #[error("cannot take certificates from {}: {reason}", file.display())]
    RootsFile {
        /// The file.
        file: PathBuf,
        /// Why not.
        reason: String,
    },
    /// The machine trusts no authority.
    #[error(
        "the machine has no certificates of authorities it trusts{0}: install them, or name a PEM \
         file with sslrootcert"
    )]
    NoRoots(String),
    /// The built-in cryptography lacks what TLS needs.
    #[error("TLS: {0}")]
    Provider(#[from] rustls::Error),
}

/// The schema could not be brought up to date.
#[derive(Debug, Error)]
#[error("cannot migrate the database: {0}")]
pub struct MigrationError(pub(super) Box<dyn std::error::Error + Send + Sync>);

impl From<DieselError> for MigrationError {
    fn from(error: DieselError) -> Self {
        Self(error.into())
    }
}

/// A statement gave no answer.
#[derive(Debug, Error)]
pub enum DbError {
    /// No connection, or not the right to write, became free within the configured time, or too many
    /// callers waited for it already. Nothing was done. The pool counts and logs these.
    #[error("no connection or write lock became free in time")]
    Busy,
    /// The write might not have ended before the given time. Nothing was done.
    #[error("too late to write: the fence could expire before the write has ended")]
    TooLate,
    /// The database cancelled the statement and rolled it back: it took too long, or was part of a
    /// deadlock.
    #[error("the database cancelled the statement: {0}")]
    Aborted(DieselError),
    /// No connection could be made, for the reason given.
    #[error("cannot connect: {0}")]
    Unavailable(String),
    /// The SQLite file was removed or replaced. A write may or may not have been done, and if it was, it
    /// is in a file that cannot be found.
    #[error(transparent)]
    File(#[from] FileError),
    /// The connection was lost before the answer came. A write may or may not have been done.
    #[error("the connection was lost: {0}")]
    ConnectionLost(DieselError),
    /// The database refused the statement.
    #[error(transparent)]
    Statement(DieselError),
    /// The statement's thread panicked: its transaction was rolled back.
    #[error("the statement's thread panicked: {0}")]
    Panicked(#[from] tokio::task::JoinError),
}

impl DbError {
    /// Whether the same statement may succeed a while later: neither it nor the service is at fault.
    pub fn is_outage(&self) -> bool {
        match self {
            Self::Busy
            | Self::TooLate
            | Self::Aborted(_)
            | Self::Unavailable(_)
            | Self::File(_)
            | Self::ConnectionLost(_) => true,
            Self::Statement(_) | Self::Panicked(_) => false,
        }
    }
}

impl From<ConnectError> for DbError {
    fn from(error: ConnectError) -> Self {
        Self::Unavailable(error.to_string())
    }
}

impl From<DieselError> for DbError {
    /// What the error says by itself. `connection` also looks at the connection.
    fn from(error: DieselError) -> Self {
        match kind_and_message(&error) {
            _ if is_locked(&error) => Self::Busy,
            Some((DatabaseErrorKind::SerializationFailure, _)) => Self::Aborted(error),
            Some((DatabaseErrorKind::Unknown, text)) if CANCELLED.contains(&text) => {
                Self::Aborted(error)
            }
            _ => Self::Statement(error),
        }
    }
}

/// PostgreSQL's messages when it ends a statement for a reason that passes. Diesel hides the error codes,
/// and a server may send these in another language, so nothing that must be noticed depends on them:
/// see `connection`.
const CANCELLED: [&str; 4] = [
    "canceling statement due to statement timeout",
    "canceling statement due to lock timeout",
    "canceling statement due to user request",
    "deadlock detected",
];

/// The kind and message that the database sent, if it sent one.
pub(super) fn kind_and_message(error: &DieselError) -> Option<(&DatabaseErrorKind, &str)> {
    match error {
        DieselError::DatabaseError(kind, info) => Some((kind, info.message())),
        DieselError::RollbackErrorOnCommit { rollback_error, .. } => {
            kind_and_message(rollback_error)
        }
        _ => None,
    }
}

/// Whether SQLite refused the statement because another connection holds a lock it needs. Diesel has no
/// kind of error for `SQLITE_BUSY`.
pub(super) fn is_locked(error: &DieselError) -> bool {
    matches!(
        error,
        DieselError::DatabaseError(DatabaseErrorKind::Unknown, info)
            if info.message() == "database is locked"
    )
}
