//! Reading and changing through the cache. Lives here: the order of lookup, computation and store,
//! and of fence, commit and release. Not here: what is computed or committed.

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

use super::{
    CacheError, Entry, Generation, KeyPage, Lease, Lookup, StatsCache, StatsKey,
    flights::{Flights, Lost, Role},
};
use crate::{tasks::Tasks, tenant::TenantId};

/// Between two looks at whether another instance has stored what it computes.
const LEASE_POLL: Duration = Duration::from_millis(10);

/// When nobody is waited for any longer, however long leases are.
const MAX_LEASE_WAIT: Duration = Duration::from_secs(5);

/// A cache, and the single flight in front of it. `E` is how a computation fails.
#[derive(Debug)]
pub struct ReadThrough<E> {
    cache: Arc<dyn StatsCache>,
    flights: Flights<Result<Found, Arc<E>>>,
    /// Whether the last computation failed for want of its source.
    away: Arc<AtomicBool>,
    tasks: Tasks,
}

/// How a computation fails.
pub trait Failure: Send + Sync + 'static {
    /// Whether its source could not answer now, but may again: then what was computed last is better
    /// than nothing, while its tenant has not changed.
    fn is_outage(&self) -> bool;
}

impl std::fmt::Debug for dyn StatsCache {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("dyn StatsCache")
    }
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

#[derive(Debug, Clone)]
struct Found {
    entry: Entry,
    computed: bool,
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
    /// Reads and changes through `cache`; computations and changes run as `tasks`.
    pub fn new(cache: Arc<dyn StatsCache>, tasks: Tasks) -> Self {
        Self {
            cache,
            flights: Flights::new(tasks.clone()),
            away: Arc::default(),
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
        let (seen, expired) = match look_up(&*self.cache, key).await {
            Lookup::Hit(_, entry) => return Ok(Answer::new(entry, Outcome::Hit, false)),
            Lookup::Expired(seen, entry) => (seen, Some(entry)),
            Lookup::Miss(seen) => (seen, None),
            Lookup::Fenced => return self.compute(key, compute()).await,
        };
        let compute = timed(compute(), Arc::clone(&self.away));
        let fill = fill(Arc::clone(&self.cache), key.clone(), compute);
        let flight = self.flights.join(key, seen, fill);
        let is_expired = expired.is_some();
        if let Some(entry) = expired
            && self.away.load(Ordering::Relaxed)
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
                let answer = match look_up(&*self.cache, key).await {
                    Lookup::Hit(_, entry) => Answer::new(entry, Outcome::Hit, false),
                    Lookup::Expired(_, entry) => Answer::new(entry, Outcome::Stale, false),
                    Lookup::Miss(_) | Lookup::Fenced => return Err(ReadError::Compute(error)),
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
        let compute = timed(compute, Arc::clone(&self.away));
        let (found, role) = self.flights.join_next(key, compute).await?;
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
        let seen = match look_up(&*self.cache, key).await {
            Lookup::Hit(_, Entry { age, .. }) if age < young => {
                return Ok(Refreshed::Young { age });
            }
            Lookup::Hit(seen, _) | Lookup::Expired(seen, _) | Lookup::Miss(seen) => seen,
            Lookup::Fenced => return Ok(Refreshed::Later),
        };
        if !matches!(self.cache.lease(key, seen).await, Ok(Lease::Granted)) {
            return Ok(Refreshed::Later);
        }
        let compute = timed(compute, Arc::clone(&self.away));
        let renew = renew(Arc::clone(&self.cache), key.clone(), seen, compute);
        let (found, _) = self.flights.join(key, seen, renew).await?;
        found.map_err(ReadError::Compute)?;
        Ok(Refreshed::Computed)
    }

    /// Whether something is computed now.
    #[must_use]
    pub fn is_busy(&self) -> bool {
        self.flights.is_busy()
    }

    /// Waits for `turn`, then runs the future of `commit`, which changes what is computed for
    /// `tenant`, so that no read that starts after this returns is answered from before. Goes on to
    /// its end even if the caller is dropped.
    ///
    /// The tenant is fenced once its turn has come, and not while it waits.
    pub async fn change<T, G, F>(
        &self,
        tenant: &TenantId,
        turn: impl Future<Output = Result<G, E>> + Send + 'static,
        commit: impl FnOnce(G) -> F + Send + 'static,
    ) -> Result<T, ChangeError<E>>
    where
        T: Send + 'static,
        G: Send + 'static,
        F: Future<Output = Result<T, E>> + Send + 'static,
    {
        let (cache, tenant, tasks) = (Arc::clone(&self.cache), tenant.clone(), self.tasks.clone());
        let change = self.tasks.spawn(async move {
            let turn = turn.await.map_err(ChangeError::Commit)?;
            let fence = cache.fence(&tenant).await.map_err(ChangeError::Fence)?;
            // A task of its own: a panic must not leave the fence standing.
            let committed = tasks.spawn(async { commit(turn).await }).await;
            if let Err(error) = cache.release(fence).await {
                log::error!("cache: a fence was not released: {error}");
            }
            committed
                .map_err(|_panicked| ChangeError::Lost)?
                .map_err(ChangeError::Commit)
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
                Some(tenant) => cache.release(cache.fence(&tenant).await?).await,
                None => cache.forget_all().await,
            }
        });
        forget
            .await
            .map_err(|panicked| CacheError::Unavailable(panicked.to_string()))?
    }

    /// A page of the keys that would be hit: see [`StatsCache::keys`].
    pub async fn keys(&self, after: Option<&str>, limit: usize) -> Result<KeyPage, CacheError> {
        self.cache.keys(after, limit).await
    }
}

/// A cache that fails is only slower: the answer is computed, and not stored.
async fn look_up(cache: &dyn StatsCache, key: &StatsKey) -> Lookup {
    cache.lookup(key).await.unwrap_or_else(|error| {
        log::warn!("cache: lookup failed: {error}");
        Lookup::Fenced
    })
}

/// Computes and stores, unless another computation has stored since the caller's lookup: a slow
/// request must not compute again what was just computed.
async fn fill<E>(
    cache: Arc<dyn StatsCache>,
    key: StatsKey,
    compute: impl Future<Output = Result<Found, Arc<E>>>,
) -> Result<Found, Arc<E>> {
    match turn(&*cache, &key).await {
        Turn::Filled(entry) => Ok(Found {
            entry,
            computed: false,
        }),
        Turn::Compute(Some(seen)) => renew(cache, key, seen, compute).await,
        Turn::Compute(None) => compute.await,
    }
}

/// Computes, and stores under the generation `seen` before.
async fn renew<E>(
    cache: Arc<dyn StatsCache>,
    key: StatsKey,
    seen: Generation,
    compute: impl Future<Output = Result<Found, Arc<E>>>,
) -> Result<Found, Arc<E>> {
    let found = compute.await?;
    if let Err(error) = cache.store(&key, seen, found.entry.clone()).await {
        log::warn!("cache: store failed: {error}");
    }
    Ok(found)
}

/// What a computation finds when its turn comes.
enum Turn {
    /// Another has stored an entry meanwhile.
    Filled(Entry),
    /// Nothing: what is computed may be stored under the generation, if there is one.
    Compute(Option<Generation>),
}

/// Waits while another instance computes the same, but not for ever: it may have died.
async fn turn(cache: &dyn StatsCache, key: &StatsKey) -> Turn {
    let began = Instant::now();
    loop {
        let seen = match look_up(cache, key).await {
            Lookup::Hit(_, entry) => return Turn::Filled(entry),
            Lookup::Expired(generation, _) | Lookup::Miss(generation) => generation,
            Lookup::Fenced => return Turn::Compute(None),
        };
        match cache.lease(key, seen).await {
            Ok(Lease::Taken) if began.elapsed() < MAX_LEASE_WAIT => {
                tokio::time::sleep(LEASE_POLL).await;
            }
            Ok(_) | Err(_) => return Turn::Compute(Some(seen)),
        }
    }
}

/// Computes, and notes how long it took and whether the source was `away`.
async fn timed<E: Failure>(
    compute: impl Future<Output = Result<Bytes, E>>,
    away: Arc<AtomicBool>,
) -> Result<Found, Arc<E>> {
    let began = Instant::now();
    let computed = compute.await;
    away.store(
        computed.as_ref().is_err_and(Failure::is_outage),
        Ordering::Relaxed,
    );
    Ok(Found {
        entry: Entry {
            body: computed.map_err(Arc::new)?,
            age: began.elapsed(),
        },
        computed: true,
    })
}

#[cfg(test)]
mod tests;
