//! Whether the database can be used, for `/readyz`. One check runs at a time, on a connection of its own,
//! and all who ask meanwhile share its result.

use std::{
    fmt,
    sync::Arc,
    time::{Duration, Instant},
};

use thiserror::Error;
use tokio::{
    sync::{Mutex, watch},
    time::timeout,
};

use super::{
    connection::{DbConnection, Manager},
    error::{ConnectError, DbError},
    migrations,
};

/// How old a result may be that is given again.
const MAX_RESULT_AGE: Duration = Duration::from_secs(1);

/// How long a caller waits for a result. A check that takes longer goes on for callers that come later.
const CHECK_TIMEOUT: Duration = Duration::from_secs(1);

/// The database cannot be used.
#[derive(Debug, Clone, Error)]
pub enum NotReady {
    /// It cannot be reached, or a statement failed.
    #[error("{0}")]
    Failed(Arc<str>),
    /// Its schema is older than this build's: a migration was reverted.
    #[error("the schema is older than this build")]
    OldSchema,
    /// It has not answered yet.
    #[error("no answer within {CHECK_TIMEOUT:?}")]
    TimedOut,
}

impl From<ConnectError> for NotReady {
    fn from(error: ConnectError) -> Self {
        Self::Failed(format!("cannot connect: {error}").into())
    }
}

impl From<DbError> for NotReady {
    fn from(error: DbError) -> Self {
        Self::Failed(error.to_string().into())
    }
}

type CheckResult = Result<(), NotReady>;

/// A result, and when it became known.
struct Checked {
    at: Instant,
    result: CheckResult,
}

impl Checked {
    fn is_fresh(&self) -> bool {
        self.at.elapsed() < MAX_RESULT_AGE
    }
}

/// The last result, and what checks again.
pub(super) struct Readiness {
    checker: Arc<Mutex<Checker>>,
    last: Arc<watch::Sender<Option<Checked>>>,
}

impl fmt::Debug for Readiness {
    /// Diesel's connections have none.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Readiness").finish_non_exhaustive()
    }
}

impl Readiness {
    /// Connects only when somebody asks.
    pub(super) fn new(manager: Arc<Manager>) -> Self {
        let checker = Checker {
            manager,
            connection: None,
        };
        Self {
            checker: Arc::new(Mutex::new(checker)),
            last: Arc::default(),
        }
    }

    /// See [`super::Db::ready`].
    pub(super) async fn ask(&self) -> CheckResult {
        if let Some(last) = self.last.borrow().as_ref().filter(|last| last.is_fresh()) {
            return last.result.clone();
        }
        let mut last = self.last.subscribe();
        // If another task holds the checker, its result is about to come.
        if let Ok(mut checker) = Arc::clone(&self.checker).try_lock_owned() {
            let last = Arc::clone(&self.last);
            tokio::task::spawn_blocking(move || {
                // Another check may have ended just before this one got the checker.
                if !last.borrow().as_ref().is_some_and(Checked::is_fresh) {
                    let result = checker.check();
                    let at = Instant::now();
                    last.send_replace(Some(Checked { at, result }));
                }
            });
        }
        let answered = last.wait_for(|last| last.as_ref().is_some_and(Checked::is_fresh));
        match timeout(CHECK_TIMEOUT, answered).await {
            Ok(Ok(last)) => last
                .as_ref()
                .map_or(Err(NotReady::TimedOut), |last| last.result.clone()),
            _ => Err(NotReady::TimedOut),
        }
    }
}

/// Has a connection that is not in the pool, so that a busy pool is not taken for a dead database.
struct Checker {
    manager: Arc<Manager>,
    connection: Option<DbConnection>,
}

impl Checker {
    /// Blocks.
    fn check(&mut self) -> CheckResult {
        self.manager.check_file().map_err(DbError::from)?;
        if let Some(mut kept) = self.connection.take()
            && kept.is_usable()
        {
            match kept.run(None, migrations::are_done) {
                // The connection may have been lost long ago: try a new one.
                Err(DbError::ConnectionLost(_)) => {}
                done => return self.keep(kept, done),
            }
        }
        let mut connected = self.manager.open()?;
        let done = connected.run(None, migrations::are_done);
        self.keep(connected, done)
    }

    fn keep(&mut self, connected: DbConnection, done: Result<bool, DbError>) -> CheckResult {
        self.connection = Some(connected);
        if done? {
            Ok(())
        } else {
            Err(NotReady::OldSchema)
        }
    }
}
