//! Reading and changing through the cache. Lives here: the order of lookup, computation and store,
//! and of fence, commit and release; one computation is in `fill`. Not here: what is computed or
//! committed.

mod fill;

use std::{
    future::Future,
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    time::{Duration, Instant},
};

use bytes::Bytes;
use thiserror::Error;

use self::fill::{Found, Ledger, fill, look_up, renew, timed};
use super::{
    CacheError, Entry, Lookup, Released, StatsCache, StatsKey,
    flights::{Flights, Lost, Role},
};
use crate::{metrics::CacheCounters, tasks::Tasks, tenant::TenantId};

/// A cache, and the single flight in front of it. `E` is how a computation fails.
#[derive(Debug)]
pub struct ReadThrough<E> {
    cache: Arc<dyn StatsCache>,
    flights: Flights<Result<Found, Arc<E>>>,
    ledger: Arc<Ledger>,
    tasks: Tasks,
}

/// How a computation fails.
pub trait Failure: Send + Sync + 'static {
    /// Whether its source could not answer now, but may again: then what was computed last is better
    /// than nothing, while its tenant has not changed.
    fn is_outage(&self) -> bool;
}

/// An answer, and where it came from.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Answer {
    /// What was cached or computed.
    pub body: Bytes,
    /// Where it came from.
    pub outcome: Outcome,
    /// Whether it was computed for another request as well.
    pub collapsed: bool,
    /// The time since its computation began.
    pub age: Duration,
}

/// Where an answer came from.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Outcome {
    /// The cache, or a computation that another request had begun.
    Hit,
    /// A computation that this request began.
    Miss,
    /// The cache, which held an entry past its time to live, since none could be computed.
    Stale,
    /// A computation that the cache had no part in.
    Bypass,
}

/// What became of [`ReadThrough::refresh`].
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Refreshed {
    /// It was computed and stored.
    Computed,
    /// The entry was young enough: somebody else, perhaps another instance, has computed it.
    Young {
        /// The time since its computation began.
        age: Duration,
    },
    /// Nothing was done: another instance computes it, or the tenant is being written to.
    Later,
}

/// No answer could be had.
#[derive(Debug, Error)]
pub enum ReadError<E> {
    /// The computation failed; everybody who waited for it gets the same.
    #[error("{0}")]
    Compute(Arc<E>),
    /// The computation gave no result.
    #[error(transparent)]
    Lost(#[from] Lost),
}

/// A change did not take place, or may have: the cache is right in any case.
#[derive(Debug, Error)]
pub enum ChangeError<E> {
    /// The cache cannot promise to forget, so nothing was changed.
    #[error("nothing was changed: {0}")]
    Fence(CacheError),
    /// The change failed.
    #[error("{0}")]
    Commit(E),
    /// The change gave no result.
    #[error("the change stopped without a result")]
    Lost,
}

impl Answer {
    fn new(entry: Entry, outcome: Outcome, collapsed: bool) -> Self {
        let Entry { body, age } = entry;
        Self {
            body,
            outcome,
            collapsed,
            age,
        }
    }
}

impl<E: Failure> ReadThrough<E> {
    /// Reads and changes through `cache`, and counts; computations and changes run as `tasks`.
    pub fn new(cache: Arc<dyn StatsCache>, counters: Arc<CacheCounters>, tasks: Tasks) -> Self {
        Self {
            cache,
            flights: Flights::new(tasks.clone()),
            ledger: Arc::new(Ledger {
                counters,
                away: AtomicBool::new(false),
            }),
            tasks,
        }
    }

    /// The entry under `key`, or else what the future of `compute` makes; stored if it may be. If
    /// the source is away, an entry past its time to live whose tenant has not changed.
    pub async fn read<F>(
        &self,
        key: &StatsKey,
        compute: impl FnOnce() -> F,
    ) -> Result<Answer, ReadError<E>>
    where
        F: Future<Output = Result<Bytes, E>> + Send + 'static,
    {
        let answer = self.answer(key, compute).await?;
        self.ledger.answered(&answer);
        Ok(answer)
    }

    async fn answer<F>(
        &self,
        key: &StatsKey,
        compute: impl FnOnce() -> F,
    ) -> Result<Answer, ReadError<E>>
    where
        F: Future<Output = Result<Bytes, E>> + Send + 'static,
    {
        let (permit, expired) = match look_up(&*self.cache, self.counters(), key).await {
            Lookup::Hit(_, entry) => return Ok(Answer::new(entry, Outcome::Hit, false)),
            Lookup::Expired(permit, entry) => (permit, Some(entry)),
            Lookup::Miss(permit) => (permit, None),
            Lookup::Bypass(_) => return self.bypass(key, compute()).await,
        };
        let (cache, ledger) = (Arc::clone(&self.cache), Arc::clone(&self.ledger));
        let fill = fill(cache, ledger, key.clone(), compute());
        let flight = self.flights.join(key, permit.generation(), fill);
        let is_expired = expired.is_some();
        if let Some(entry) = expired
            && self.ledger.away.load(Ordering::Relaxed)
        {
            // Nobody waits to hear that it is away still; the flight finds out when it is not.
            return Ok(Answer::new(entry, Outcome::Stale, false));
        }
        let (found, role) = flight.await?;
        match found {
            Ok(Found { entry, computed }) => {
                let led = role == Role::Led && computed;
                let outcome = if led { Outcome::Miss } else { Outcome::Hit };
                Ok(Answer::new(entry, outcome, role == Role::Joined))
            }
            Err(error) if is_expired && error.is_outage() => {
                // Again: the tenant may have changed while the computation failed.
                let answer = match look_up(&*self.cache, self.counters(), key).await {
                    Lookup::Hit(_, entry) => Answer::new(entry, Outcome::Hit, false),
                    Lookup::Expired(_, entry) => Answer::new(entry, Outcome::Stale, false),
                    Lookup::Miss(_) | Lookup::Bypass(_) => return Err(ReadError::Compute(error)),
                };
                Ok(answer)
            }
            Err(error) => Err(ReadError::Compute(error)),
        }
    }

    /// What `compute` makes, without the cache; shared with whoever asks for the same `key` before
    /// the computation begins.
    pub async fn compute(
        &self,
        key: &StatsKey,
        compute: impl Future<Output = Result<Bytes, E>> + Send + 'static,
    ) -> Result<Answer, ReadError<E>> {
        let answer = self.bypass(key, compute).await?;
        self.ledger.answered(&answer);
        Ok(answer)
    }

    async fn bypass(
        &self,
        key: &StatsKey,
        compute: impl Future<Output = Result<Bytes, E>> + Send + 'static,
    ) -> Result<Answer, ReadError<E>> {
        let ledger = Arc::clone(&self.ledger);
        let flight = async move {
            ledger.counters.flights.inc();
            timed(&ledger, compute).await
        };
        let (found, role) = self.flights.join_next(key, flight).await?;
        let entry = found.map_err(ReadError::Compute)?.entry;
        Ok(Answer::new(entry, Outcome::Bypass, role == Role::Joined))
    }

    /// Computes and stores what is under `key` anew, unless the entry there is younger than
    /// `young`, another instance does so, or the tenant is fenced. A request that misses meanwhile
    /// shares the computation, as long as it has seen the same generation.
    pub async fn refresh(
        &self,
        key: &StatsKey,
        young: Duration,
        compute: impl Future<Output = Result<Bytes, E>> + Send + 'static,
    ) -> Result<Refreshed, ReadError<E>> {
        let permit = match look_up(&*self.cache, self.counters(), key).await {
            Lookup::Hit(_, Entry { age, .. }) if age < young => {
                return Ok(Refreshed::Young { age });
            }
            Lookup::Hit(permit, _) | Lookup::Expired(permit, _) | Lookup::Miss(permit) => permit,
            Lookup::Bypass(_) => return Ok(Refreshed::Later),
        };
        let (cache, ledger, of) = (
            Arc::clone(&self.cache),
            Arc::clone(&self.ledger),
            key.clone(),
        );
        let generation = permit.generation();
        // Within the flight: a lease that is taken for one that does not fly holds everybody up.
        let renew = async move {
            match permit.claim_lease(&of).await {
                Ok(true) => renew(cache, ledger, of, permit, compute).await,
                _ => fill(cache, ledger, of, compute).await,
            }
        };
        let (found, _) = self.flights.join(key, generation, renew).await?;
        let found = found.map_err(ReadError::Compute)?;
        Ok(if found.computed {
            Refreshed::Computed
        } else {
            Refreshed::Later
        })
    }

    /// Whether something is computed now.
    #[must_use]
    pub fn is_busy(&self) -> bool {
        self.flights.is_busy()
    }

    fn counters(&self) -> &CacheCounters {
        &self.ledger.counters
    }

    /// Waits for `turn`, then runs the future of `commit`, which changes what is computed for
    /// `tenant`, so that no read that starts after this returns is answered from before. Goes on to
    /// its end even if the caller is dropped.
    ///
    /// The tenant is fenced once its turn has come, and not while it waits. `commit` is told until
    /// when the fence stands for certain, and must not commit after that.
    pub async fn change<T, G, F>(
        &self,
        tenant: &TenantId,
        turn: impl Future<Output = Result<G, E>> + Send + 'static,
        commit: impl FnOnce(G, Option<Instant>) -> F + Send + 'static,
    ) -> Result<T, ChangeError<E>>
    where
        T: Send + 'static,
        G: Send + 'static,
        F: Future<Output = Result<T, E>> + Send + 'static,
    {
        let (cache, tenant, tasks) = (Arc::clone(&self.cache), tenant.clone(), self.tasks.clone());
        let counters = Arc::clone(&self.ledger.counters);
        let ended = Arc::clone(&counters);
        let change = async move {
            let turn = turn.await.map_err(ChangeError::Commit)?;
            let fence = cache.fence(&tenant).await.map_err(ChangeError::Fence)?;
            counters.fences.inc();
            // A task of its own: a panic must not leave the fence standing.
            let until = fence.until();
            let committed = tasks.spawn(async move { commit(turn, until).await }).await;
            match cache.release(fence).await {
                Ok(released) => {
                    counters.generations.inc();
                    if released == Released::Pending {
                        log::debug!("cache: the backend has not been told of a write yet");
                    }
                }
                Err(error) => {
                    counters.failures.release.inc();
                    log::error!("cache: a fence was not released: {error}");
                }
            }
            committed
                .map_err(|_panicked| ChangeError::Lost)?
                .map_err(ChangeError::Commit)
        };
        let change = self.tasks.spawn(async move {
            let changed = change.await;
            match changed {
                Ok(_) => ended.writes.committed.inc(),
                Err(ChangeError::Commit(_) | ChangeError::Lost) => ended.writes.failed.inc(),
                Err(ChangeError::Fence(_)) => {
                    ended.failures.fence.inc();
                    ended.writes.refused.inc();
                }
            }
            changed
        });
        change.await.map_err(|_panicked| ChangeError::Lost)?
    }

    /// Forgets what is kept for `tenant`, or for everybody, so that no read that starts after this
    /// returns is answered from it. Goes on to its end even if the caller is dropped.
    pub async fn forget(&self, tenant: Option<&TenantId>) -> Result<(), CacheError> {
        let (cache, tenant) = (Arc::clone(&self.cache), tenant.cloned());
        let forget = self.tasks.spawn(async move {
            match tenant {
                // As a write does that changes nothing.
                Some(tenant) => {
                    let fence = cache.fence(&tenant).await?;
                    cache.release(fence).await.map(|_| ())
                }
                None => cache.forget().await,
            }
        });
        forget
            .await
            .map_err(|panicked| CacheError::Unavailable(panicked.to_string()))?
    }
}

#[cfg(test)]
mod tests;
