//! Whether the database can be worked with, for whoever decides where requests go. Lives here: one
//! check at a time, on a connection of its own, shared by all who ask. Not here: what they are told.

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
    connection::{Connected, Manager},
    error::{ConnectError, DbError},
    migrations,
};
use crate::settings::DatabaseSettings;

/// How old an answer may be.
const LIFE: Duration = Duration::from_secs(1);

/// How long an answer is waited for. A check that takes longer goes on, for who asks later.
const PATIENCE: Duration = Duration::from_secs(1);

/// The database cannot be worked with.
#[derive(Debug, Clone, Error)]
pub enum NotReady {
    /// It cannot be reached, or fails.
    #[error("{0}")]
    Failed(Arc<str>),
    /// A migration was taken back.
    #[error("the schema is older than this build")]
    Schema,
    /// It has not answered yet.
    #[error("no answer within {PATIENCE:?}")]
    Silent,
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

type Answer = Result<(), NotReady>;

/// The last answer, and who gets the next.
pub(super) struct Readiness {
    checker: Arc<Mutex<Checker>>,
    last: Arc<watch::Sender<Option<(Instant, Answer)>>>,
}

impl fmt::Debug for Readiness {
    /// Diesel's connections have none.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Readiness").finish_non_exhaustive()
    }
}

impl Readiness {
    /// Nothing is connected to before somebody asks.
    pub(super) fn new(settings: &DatabaseSettings) -> Result<Self, ConnectError> {
        let (manager, kept) = (Manager::new(settings)?, None);
        Ok(Self {
            checker: Arc::new(Mutex::new(Checker { manager, kept })),
            last: Arc::default(),
        })
    }

    /// See [`super::Db::ready`].
    pub(super) async fn ask(&self) -> Answer {
        if let Some(answer) = fresh(self.last.borrow().as_ref()) {
            return answer;
        }
        let mut last = self.last.subscribe();
        // Whoever cannot have the checker waits for what it is about to say.
        if let Ok(mut checker) = Arc::clone(&self.checker).try_lock_owned() {
            let tell = Arc::clone(&self.last);
            tokio::task::spawn_blocking(move || {
                // Another check may have ended just before.
                if fresh(tell.borrow().as_ref()).is_none() {
                    let answer = checker.check();
                    tell.send_replace(Some((Instant::now(), answer)));
                }
            });
        }
        let answered = last.wait_for(|last| fresh(last.as_ref()).is_some());
        match timeout(PATIENCE, answered).await {
            Ok(Ok(last)) => last
                .as_ref()
                .map_or(Err(NotReady::Silent), |(_, answer)| answer.clone()),
            _ => Err(NotReady::Silent),
        }
    }
}

fn fresh(last: Option<&(Instant, Answer)>) -> Option<Answer> {
    let (told, answer) = last?;
    (told.elapsed() < LIFE).then(|| answer.clone())
}

/// Keeps a connection that no request gets, so that a busy pool is not taken for a dead database.
struct Checker {
    manager: Manager,
    kept: Option<Connected>,
}

impl Checker {
    /// Blocks.
    fn check(&mut self) -> Answer {
        if let Some(mut kept) = self.kept.take()
            && kept.is_usable()
        {
            match kept.run(None, migrations::are_done) {
                // It may have died long ago.
                Err(DbError::Lost(_)) => {}
                done => return self.keep(kept, done),
            }
        }
        let mut connected = self.manager.open()?;
        let done = connected.run(None, migrations::are_done);
        self.keep(connected, done)
    }

    fn keep(&mut self, connected: Connected, done: Result<bool, DbError>) -> Answer {
        self.kept = Some(connected);
        if done? { Ok(()) } else { Err(NotReady::Schema) }
    }
}
