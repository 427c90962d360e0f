//! Single flight: requests for the same thing at the same time share one computation.
//!
//! Lives here: who may join whom. Not here: what is computed, and where it is stored.
//!
//! A computation is a task of its own: no client that goes away can cancel it, and its failure
//! reaches everybody who waits.

use std::{
    collections::HashMap,
    future::Future,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
};

use thiserror::Error;
use tokio::sync::watch;

use super::{Generation, StatsKey};
use crate::tasks::Tasks;

/// The computations under way.
#[derive(Debug)]
pub(super) struct Flights<T> {
    state: Arc<Mutex<State<T>>>,
    tasks: Tasks,
}

#[derive(Debug)]
struct State<T> {
    /// Computations for a key and a generation.
    cacheable: HashMap<(StatsKey, Generation), Waiting<T>>,
    /// Computations while the key's tenant is fenced.
    fenced: HashMap<StatsKey, Lane<T>>,
}

/// One computation runs; whoever comes meanwhile gathers for the next.
#[derive(Debug)]
struct Lane<T> {
    running: Waiting<T>,
    next: Option<Waiting<T>>,
}

type Waiting<T> = watch::Receiver<Option<T>>;

/// Whether a request's own computation was the one that ran.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Role {
    /// It was.
    Led,
    /// It shared another's.
    Joined,
}

/// The computation ended without a result: it panicked, or the service stopped.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Error)]
#[error("the computation stopped without a result")]
pub struct Lost;

impl<T: Clone + Send + Sync + 'static> Flights<T> {
    pub(super) fn new(tasks: Tasks) -> Self {
        let state = State {
            cacheable: HashMap::new(),
            fenced: HashMap::new(),
        };
        Self {
            state: Arc::new(Mutex::new(state)),
            tasks,
        }
    }

    /// Joins the running computation of `key` in `generation`, or starts `compute`.
    ///
    /// Joining one that began earlier is right: had the tenant changed since, its generation would
    /// be another.
    /// The computation goes on whether or not its outcome, the future returned, is waited for.
    pub(super) fn join(
        &self,
        key: &StatsKey,
        generation: Generation,
        compute: impl Future<Output = T> + Send + 'static,
    ) -> impl Future<Output = Result<(T, Role), Lost>> + Send {
        let (waiting, role) = {
            let mut state = lock(&self.state);
            let at = (key.clone(), generation);
            if let Some(running) = state.cacheable.get(&at) {
                (running.clone(), Role::Joined)
            } else {
                let (sender, waiting) = watch::channel(None);
                state.cacheable.insert(at.clone(), waiting.clone());
                let landing = Landing::Cacheable(at);
                self.start(
                    async {},
                    Flight {
                        state: Arc::clone(&self.state),
                        landing,
                        sender,
                    },
                    compute,
                );
                (waiting, Role::Led)
            }
        };
        async move { outcome(waiting).await.map(|value| (value, role)) }
    }

    /// Whether anything is computed now.
    pub(super) fn is_busy(&self) -> bool {
        let state = lock(&self.state);
        !state.cacheable.is_empty() || !state.fenced.is_empty()
    }

    /// Joins a computation of `key` that has not started yet, or starts `compute` as soon as the
    /// one that runs has ended: whatever the answer, it was computed after this request arrived.
    pub(super) async fn join_next(
        &self,
        key: &StatsKey,
        compute: impl Future<Output = T> + Send + 'static,
    ) -> Result<(T, Role), Lost> {
        let (waiting, role) = {
            let mut state = lock(&self.state);
            let running = match state.fenced.get(key) {
                Some(Lane {
                    next: Some(next), ..
                }) => Err(next.clone()),
                Some(lane) => Ok(Some(lane.running.clone())),
                None => Ok(None),
            };
            match running {
                Err(next) => (next, Role::Joined),
                Ok(running) => {
                    let (sender, waiting) = watch::channel(None);
                    let flight = Flight {
                        state: Arc::clone(&self.state),
                        landing: Landing::Fenced(key.clone()),
                        sender,
                    };
                    if let Some(running) = running {
                        let turn = take_turn(Arc::clone(&self.state), key.clone(), running);
                        state.fenced.entry(key.clone()).and_modify(|lane| {
                            lane.next = Some(waiting.clone());
                        });
                        self.start(turn, flight, compute);
                    } else {
                        let lane = Lane {
                            running: waiting.clone(),
                            next: None,
                        };
                        state.fenced.insert(key.clone(), lane);
                        self.start(async {}, flight, compute);
                    }
                    (waiting, Role::Led)
                }
            }
        };
        outcome(waiting).await.map(|value| (value, role))
    }

    fn start(
        &self,
        turn: impl Future<Output = ()> + Send + 'static,
        flight: Flight<T>,
        compute: impl Future<Output = T> + Send + 'static,
    ) {
        self.tasks.spawn(async move {
            turn.await;
            let value = compute.await;
            flight.sender.send_replace(Some(value));
        });
    }
}

/// Waits until the lane's running computation is over, however it ended, and takes its place.
async fn take_turn<T: Clone>(state: Arc<Mutex<State<T>>>, key: StatsKey, running: Waiting<T>) {
    let _over = outcome(running).await;
    if let Some(lane) = lock(&state).fenced.get_mut(&key)
        && let Some(next) = lane.next.take()
    {
        lane.running = next;
    }
}

async fn outcome<T: Clone>(mut waiting: Waiting<T>) -> Result<T, Lost> {
    let seen = waiting
        .wait_for(Option::is_some)
        .await
        .map_err(|_closed| Lost)?;
    seen.clone().ok_or(Lost)
}

/// A computation under way. Dropped when it has ended, also by a panic: only then may the next
/// request for the same start another.
struct Flight<T> {
    state: Arc<Mutex<State<T>>>,
    landing: Landing,
    sender: watch::Sender<Option<T>>,
}

enum Landing {
    Cacheable((StatsKey, Generation)),
    Fenced(StatsKey),
}

impl<T> Drop for Flight<T> {
    fn drop(&mut self) {
        let mut state = lock(&self.state);
        match &self.landing {
            Landing::Cacheable(at) => {
                state.cacheable.remove(at);
            }
            // Who waits for the next turn keeps the lane, and may have taken it already.
            Landing::Fenced(key) => {
                let own = self.sender.subscribe();
                let is_over =
                    |lane: &Lane<T>| lane.next.is_none() && lane.running.same_channel(&own);
                if state.fenced.get(key).is_some_and(is_over) {
                    state.fenced.remove(key);
                }
            }
        }
    }
}

/// No code that holds the lock panics half-way through a change.
fn lock<T>(state: &Mutex<State<T>>) -> MutexGuard<'_, State<T>> {
    state.lock().unwrap_or_else(PoisonError::into_inner)
}

#[cfg(test)]
mod tests;
