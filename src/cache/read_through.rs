//! Reading and changing through the cache. Lives here: the order of lookup, computation and store,
//! and of fence, commit and release. Not here: what is computed or committed.

use std::{
    future::Future,
    sync::Arc,
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
    tasks: Tasks,
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
    /// A computation that the cache had no part in.
    Bypass,
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

impl<E: Send + Sync + 'static> ReadThrough<E> {
    /// Reads and changes through `cache`; computations and changes run as `tasks`.
    pub fn new(cache: Arc<dyn StatsCache>, tasks: Tasks) -> Self {
        Self {
            cache,
            flights: Flights::new(tasks.clone()),
            tasks,
        }
    }

    /// The entry under `key`, or else what the future of `compute` makes; stored if it may be.
    pub async fn read<F>(
        &self,
        key: &StatsKey,
        compute: impl FnOnce() -> F,
    ) -> Result<Answer, ReadError<E>>
    where
        F: Future<Output = Result<Bytes, E>> + Send + 'static,
    {
        let lookup = look_up(&*self.cache, key).await;
        let (outcome, collapsed, found) = match lookup {
            Lookup::Hit(entry) => (Outcome::Hit, false, Ok(entry)),
            Lookup::Miss(generation) => {
                let fill = fill(Arc::clone(&self.cache), key.clone(), compute());
                let (found, role) = self.flights.join(key, generation, fill).await?;
                let led = role == Role::Led && found.as_ref().is_ok_and(|found| found.computed);
                let outcome = if led { Outcome::Miss } else { Outcome::Hit };
                (
                    outcome,
                    role == Role::Joined,
                    found.map(|found| found.entry),
                )
            }
            Lookup::Fenced => return self.compute(key, compute()).await,
        };
        let Entry { body, age } = found.map_err(ReadError::Compute)?;
        Ok(Answer {
            body,
            outcome,
            collapsed,
            age,
        })
    }

    /// What `compute` makes, without the cache; shared with whoever asks for the same `key` before
    /// the computation begins.
    pub async fn compute(
        &self,
        key: &StatsKey,
        compute: impl Future<Output = Result<Bytes, E>> + Send + 'static,
    ) -> Result<Answer, ReadError<E>> {
        let (found, role) = self.flights.join_next(key, timed(compute)).await?;
        let Entry { body, age } = found.map_err(ReadError::Compute)?.entry;
        let (outcome, collapsed) = (Outcome::Bypass, role == Role::Joined);
        Ok(Answer {
            body,
            outcome,
            collapsed,
            age,
        })
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
    compute: impl Future<Output = Result<Bytes, E>>,
) -> Result<Found, Arc<E>> {
    let seen = match turn(&*cache, &key).await {
        Turn::Filled(entry) => {
            return Ok(Found {
                entry,
                computed: false,
            });
        }
        Turn::Compute(seen) => seen,
    };
    let found = timed(compute).await?;
    if let Some(seen) = seen
        && let Err(error) = cache.store(&key, seen, found.entry.clone()).await
    {
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
            Lookup::Hit(entry) => return Turn::Filled(entry),
            Lookup::Miss(generation) => generation,
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

async fn timed<E>(compute: impl Future<Output = Result<Bytes, E>>) -> Result<Found, Arc<E>> {
    let began = Instant::now();
    let body = compute.await.map_err(Arc::new)?;
    Ok(Found {
        entry: Entry {
            body,
            age: began.elapsed(),
        },
        computed: true,
    })
}

#[cfg(test)]
mod tests;
