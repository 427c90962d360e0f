//! Whether the database can be used, for `/readyz`. One check runs at a time, on a connection of its own,
//! and all who ask meanwhile share its result.

use std::{
    fmt,
    sync::Arc,
    time::{Duration, Instant},
};

use thiserror::Error;
use tokio::{sync::Mutex, time::timeout};

use super::{
    connection::{DbConnection, Manager},
    error::DbError,
    migrations,
};

/// How old a result may be that is given again.
const MAX_RESULT_AGE: Duration = Duration::from_secs(1);

/// How long a caller waits for a result. A check that takes longer goes on for callers that come later.
const CHECK_TIMEOUT: Duration = Duration::from_secs(1);

/// The database cannot be used, for the reason given.
#[derive(Debug, Clone, Error)]
#[error("{0}")]
pub struct NotReady(Arc<str>);

impl From<DbError> for NotReady {
    fn from(error: DbError) -> Self {
        Self(error.to_string().into())
    }
}

/// Checks whether the database can be used. Whoever holds the lock checks.
pub(super) struct Readiness(Arc<Mutex<Checker>>);

impl fmt::Debug for Readiness {
    /// Diesel's connections have none.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Readiness").finish_non_exhaustive()
    }
}

impl Readiness {
    /// Connects only when somebody asks.
    pub(super) fn new(manager: Arc<Manager>) -> Self {
        Self(Arc::new(Mutex::new(Checker {
            manager,
            connection: None,
            last: None,
        })))
    }

    /// See [`super::Db::ready`].
    pub(super) async fn ask(&self) -> Result<(), NotReady> {
        let answer = async {
            let mut checker = Arc::clone(&self.0).lock_owned().await;
            if let Some(result) = checker.fresh_result() {
                return result;
            }
            tokio::task::spawn_blocking(move || checker.check())
                .await
                .map_err(DbError::from)?
        };
        timeout(CHECK_TIMEOUT, answer)
            .await
            .unwrap_or_else(|_elapsed| {
                let no_answer = format!("no answer within {CHECK_TIMEOUT:?}");
                Err(NotReady(no_answer.into()))
            })
    }
}

/// Has a connection that is not in the pool, so that a busy pool is not taken for a dead database.
struct Checker {
    manager: Arc<Manager>,
    connection: Option<DbConnection>,
    last: Option<Checked>,
}

/// A result, and when it became known.
struct Checked {
    at: Instant,
    result: Result<(), NotReady>,
}

impl Checker {
    /// The last result, if it may be given again.
    fn fresh_result(&self) -> Option<Result<(), NotReady>> {
        let last = self.last.as_ref()?;
        (last.at.elapsed() < MAX_RESULT_AGE).then(|| last.result.clone())
    }

    /// Blocks.
    fn check(&mut self) -> Result<(), NotReady> {
        let result = match self.has_current_schema() {
            Ok(true) => Ok(()),
            // A migration was reverted.
            Ok(false) => Err(NotReady("the schema is older than this build".into())),
            Err(error) => Err(error.into()),
        };
        self.last = Some(Checked {
            at: Instant::now(),
            result: result.clone(),
        });
        result
    }

    fn has_current_schema(&mut self) -> Result<bool, DbError> {
        self.manager.check_file()?;
        if let Some(mut kept) = self.connection.take()
            && kept.is_usable()
        {
            match kept.run(None, migrations::are_done) {
                // The connection may have been lost long ago: try a new one.
                Err(DbError::ConnectionLost(_)) => {}
                done => {
                    self.connection = Some(kept);
                    return done;
                }
            }
        }
        let connection = self.connection.insert(self.manager.open()?);
        connection.run(None, migrations::are_done)
    }
}
