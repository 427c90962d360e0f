//! Why the database could not be opened, or gave no answer. Lives here: telling what is the
//! statement's fault from what will pass. Not here: what a client is told (`crate::error`).

use std::time::Duration;

use diesel::result::{DatabaseErrorKind, Error as DieselError};
use thiserror::Error;

use super::{
    connection::ConnectError, lock::LockError, migrations::MigrationError, postgres::Link, sqlite,
};

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
    /// What the error says by itself; see `explain` for what its connection adds.
    fn from(error: DieselError) -> Self {
        match kind_and_message(&error) {
            _ if sqlite::is_locked(&error) => Self::Busy,
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
/// noticed by them: see [`explain`].
const GIVEN_UP: [&str; 4] = [
    "canceling statement due to statement timeout",
    "canceling statement due to lock timeout",
    "canceling statement due to user request",
    "deadlock detected",
];

/// What became of work that failed with `error` after `took` on a connection carried by `link`.
pub(super) fn explain(error: DieselError, link: Option<&mut Link>, took: Duration) -> DbError {
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
        None => matches!(error, DieselError::BrokenTransactionManager) && link.is_lost(),
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

fn kind_and_message(error: &DieselError) -> Option<(&DatabaseErrorKind, &str)> {
    match error {
        DieselError::DatabaseError(kind, info) => Some((kind, info.message())),
        DieselError::RollbackErrorOnCommit { rollback_error, .. } => {
            kind_and_message(rollback_error)
        }
        _ => None,
    }
}
