//! Why the database could not be opened, or gave no answer. Lives here: the errors, and what a
//! statement's error says by itself. What its connection adds is in `connection`.

use std::{io, path::PathBuf, time::Duration};

use diesel::{
    ConnectionError,
    result::{DatabaseErrorKind, Error as DieselError},
};
use thiserror::Error;

use super::lock::LockError;

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
    /// Another process is in the way.
    #[error(transparent)]
    Lock(#[from] LockError),
}

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
    SetUp(#[from] DieselError),
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
    /// Every connection, or the right to write, was taken: for all of the configured wait, or with
    /// as many waiting as may. Nothing was done. The pool counts and logs these.
    #[error("no connection or write lock became free in time")]
    Busy,
    /// The time in which a write must have been done was too short for it. Nothing was done.
    #[error("too late to write: its fence might have ended before it")]
    Late,
    /// The database gave the work up, and undid it: it took too long, or stood in another's way.
    #[error("the database gave up: {0}")]
    GivenUp(DieselError),
    /// No connection could be made, for the reason given.
    #[error("cannot connect: {0}")]
    Unavailable(String),
    /// The connection ended before the answer came. A write may have happened or not.
    #[error("the connection was lost: {0}")]
    Lost(DieselError),
    /// The database refused the statement.
    #[error(transparent)]
    Statement(DieselError),
    /// The statement's thread panicked: its transaction was rolled back.
    #[error("the statement's thread stopped: {0}")]
    Stopped(#[from] tokio::task::JoinError),
}

impl DbError {
    /// Whether the database could not answer, but the same may be answered in a while: it is not
    /// the statement's fault, nor the service's.
    #[must_use]
    pub fn is_outage(&self) -> bool {
        match self {
            Self::Busy | Self::Late | Self::GivenUp(_) | Self::Unavailable(_) | Self::Lost(_) => {
                true
            }
            Self::Statement(_) | Self::Stopped(_) => false,
        }
    }
}

impl From<DieselError> for DbError {
    /// What the error says by itself; see `connection` for what its connection adds.
    fn from(error: DieselError) -> Self {
        match kind_and_message(&error) {
            _ if is_locked(&error) => Self::Busy,
            Some((DatabaseErrorKind::SerializationFailure, _)) => Self::GivenUp(error),
            Some((DatabaseErrorKind::Unknown, text)) if GIVEN_UP.contains(&text) => {
                Self::GivenUp(error)
            }
            _ => Self::Statement(error),
        }
    }
}

/// What PostgreSQL says when it ends a statement for a reason that passes. Diesel hides its codes,
/// and a server may be set to say these in another language, so nothing that must be noticed is
/// noticed by them: see `connection`.
const GIVEN_UP: [&str; 4] = [
    "canceling statement due to statement timeout",
    "canceling statement due to lock timeout",
    "canceling statement due to user request",
    "deadlock detected",
];

/// The database's own words, where it said any.
pub(super) fn kind_and_message(error: &DieselError) -> Option<(&DatabaseErrorKind, &str)> {
    match error {
        DieselError::DatabaseError(kind, info) => Some((kind, info.message())),
        DieselError::RollbackErrorOnCommit { rollback_error, .. } => {
            kind_and_message(rollback_error)
        }
        _ => None,
    }
}

/// Whether the statement was refused since another connection holds a lock it needs. Diesel has no
/// kind for `SQLITE_BUSY`.
pub(super) fn is_locked(error: &DieselError) -> bool {
    matches!(
        error,
        DieselError::DatabaseError(DatabaseErrorKind::Unknown, info)
            if info.message() == "database is locked"
    )
}
