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
    pub(super) async fn join(
        &self,
        key: &StatsKey,
        generation: Generation,
        compute: impl Future<Output = T> + Send + 'static,
    ) -> Result<(T, Role), Lost> {
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
        outcome(waiting).await.map(|value| (value, role))
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
            // Who waits for the next turn keeps the lane.
            Landing::Fenced(key) => {
                if state
                    .fenced
                    .get(key)
                    .is_some_and(|lane| lane.next.is_none())
                {
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
mod tests {
    use std::{
        future::{pending, ready},
        sync::atomic::{AtomicUsize, Ordering},
    };

    use futures_util::future::join_all;
    use tokio::{
        runtime::Handle,
        sync::{Notify, oneshot},
    };

    use super::*;
    use crate::tenant::TenantId;

    const BEFORE: Generation = Generation(1);
    const AFTER: Generation = Generation(2);

    fn flights() -> Arc<Flights<u32>> {
        Arc::new(Flights::new(Tasks::new(Handle::current())))
    }

    fn key() -> StatsKey {
        StatsKey::new("mega_stats", &TenantId::parse("clinic").unwrap(), &[])
    }

    /// Lets every task that can run do so.
    async fn settle() {
        for _ in 0..50 {
            tokio::task::yield_now().await;
        }
    }

    #[tokio::test]
    async fn a_hundred_requests_share_one_computation() {
        let (flights, key) = (flights(), key());
        let (computed, gate) = (Arc::new(AtomicUsize::new(0)), Arc::new(Notify::new()));
        let requests = join_all((0..100).map(|_| {
            let (computed, gate) = (Arc::clone(&computed), Arc::clone(&gate));
            flights.join(&key, BEFORE, async move {
                computed.fetch_add(1, Ordering::SeqCst);
                gate.notified().await;
                7
            })
        }));
        let (answers, ()) = tokio::join!(requests, async {
            settle().await;
            gate.notify_one();
        });
        assert_eq!(computed.load(Ordering::SeqCst), 1);
        let led = answers
            .iter()
            .filter(|answer| **answer == Ok((7, Role::Led)))
            .count();
        let joined = answers
            .iter()
            .filter(|answer| **answer == Ok((7, Role::Joined)))
            .count();
        assert_eq!((led, joined), (1, 99));
    }

    #[tokio::test]
    async fn a_request_after_a_write_does_not_join_a_computation_from_before_it() {
        let (flights, key) = (flights(), key());
        let old = tokio::spawn({
            let (flights, key) = (Arc::clone(&flights), key.clone());
            async move { flights.join(&key, BEFORE, pending()).await }
        });
        settle().await;
        assert_eq!(
            flights.join(&key, AFTER, ready(2)).await,
            Ok((2, Role::Led))
        );
        old.abort();
    }

    #[tokio::test]
    async fn a_cancelled_leader_fails_nobody_and_its_computation_goes_on() {
        let (flights, key) = (flights(), key());
        let (open, gate) = oneshot::channel::<()>();
        let leader = tokio::spawn({
            let (flights, key) = (Arc::clone(&flights), key.clone());
            async move {
                let compute = async move {
                    let _ = gate.await;
                    7
                };
                flights.join(&key, BEFORE, compute).await
            }
        });
        settle().await;
        let follower = tokio::spawn({
            let (flights, key) = (Arc::clone(&flights), key.clone());
            async move { flights.join(&key, BEFORE, ready(8)).await }
        });
        settle().await;
        leader.abort();
        open.send(()).unwrap();
        assert_eq!(follower.await.unwrap(), Ok((7, Role::Joined)));
    }

    #[tokio::test]
    async fn a_panicking_computation_reaches_every_waiter_and_the_next_request_computes_anew() {
        let (flights, key) = (flights(), key());
        let gate = Arc::new(Notify::new());
        let requests = join_all((0..3).map(|_| {
            let gate = Arc::clone(&gate);
            flights.join(&key, BEFORE, async move {
                gate.notified().await;
                panic!("on purpose")
            })
        }));
        let (answers, ()) = tokio::join!(requests, async {
            settle().await;
            gate.notify_one();
        });
        assert_eq!(answers, [Err(Lost); 3]);
        settle().await;
        assert_eq!(
            flights.join(&key, BEFORE, ready(7)).await,
            Ok((7, Role::Led))
        );
    }

    #[tokio::test]
    async fn under_a_fence_nobody_joins_what_has_started_and_the_next_gathers_everybody_else() {
        let (flights, key) = (flights(), key());
        let started = Arc::new(AtomicUsize::new(0));
        let gates: Vec<_> = (0..6).map(|_| Arc::new(Notify::new())).collect();
        let mut requests = Vec::new();
        for (n, gate) in (0..).zip(&gates) {
            let (flights, key) = (Arc::clone(&flights), key.clone());
            let (started, gate) = (Arc::clone(&started), Arc::clone(gate));
            requests.push(tokio::spawn(async move {
                let compute = async move {
                    started.fetch_add(1, Ordering::SeqCst);
                    gate.notified().await;
                    n
                };
                flights.join_next(&key, compute).await
            }));
            settle().await;
        }
        assert_eq!(started.load(Ordering::SeqCst), 1, "one runs");
        gates[0].notify_one();
        settle().await;
        assert_eq!(
            started.load(Ordering::SeqCst),
            2,
            "then the next, for all the others"
        );
        gates[1].notify_one();
        let answers: Vec<_> = join_all(requests)
            .await
            .into_iter()
            .map(|answer| answer.unwrap())
            .collect();
        let mut expected = vec![Ok((0, Role::Led)), Ok((1, Role::Led))];
        expected.resize(6, Ok((1, Role::Joined)));
        assert_eq!(answers, expected);
        settle().await;
        assert!(
            lock(&flights.state).fenced.is_empty(),
            "nothing is left behind"
        );
    }

    #[tokio::test]
    async fn under_a_fence_a_panic_passes_the_turn_on() {
        let (flights, key) = (flights(), key());
        let gate = Arc::new(Notify::new());
        let first = tokio::spawn({
            let (flights, key, gate) = (Arc::clone(&flights), key.clone(), Arc::clone(&gate));
            async move {
                let compute = async move {
                    gate.notified().await;
                    panic!("on purpose")
                };
                flights.join_next(&key, compute).await
            }
        });
        settle().await;
        let second = tokio::spawn({
            let (flights, key) = (Arc::clone(&flights), key.clone());
            async move { flights.join_next(&key, ready(7)).await }
        });
        settle().await;
        gate.notify_one();
        assert_eq!(first.await.unwrap(), Err(Lost));
        assert_eq!(second.await.unwrap(), Ok((7, Role::Led)));
        settle().await;
        assert!(
            lock(&flights.state).fenced.is_empty(),
            "nothing is left behind"
        );
    }
}
