//! The cache: bytes under a key for a tenant, and the promise that no lookup hits what an
//! acknowledged write has outdated.
//!
//! Lives here: the trait, its backends, single flight, and reading and changing through them.
//! Not here: what the bytes mean, or where they come from.
//!
//! # How a cached answer stays fresh
//! Every tenant has a *generation*, a mark that only `==` means anything to. A lookup that misses
//! returns the generation it saw, the later store carries it, and an entry hits only while its
//! generation is still the tenant's current one. A write raises a *fence* before it commits and
//! releases it afterwards, which replaces the generation; while any fence stands, lookups say
//! [`Lookup::Fenced`]. What was computed before a write may thus be stored late, but is never hit.

mod also;
#[cfg(test)]
mod conformance;
mod disabled;
mod flights;
mod key;
mod memory;
mod read_through;
mod redis;
mod warming;

use std::{
    collections::BinaryHeap,
    sync::Arc,
    time::{Duration, Instant},
};

use async_trait::async_trait;
use bytes::Bytes;
use thiserror::Error;

pub use also::AlsoTelling;
pub use disabled::DisabledCache;
pub use flights::Lost;
pub use key::StatsKey;
pub use memory::MemoryCache;
pub use read_through::{Answer, ChangeError, Failure, Outcome, ReadError, ReadThrough, Refreshed};

pub use redis::{ClientSetUpError, RedisCache};
pub use warming::Warming;

use crate::{
    clock::Clock,
    settings::{CacheBackend, CacheSettings},
    tasks::Tasks,
    tenant::TenantId,
};

/// Keeps entries until their lifetime has passed or their tenant has changed.
///
/// Once `release` has returned, no lookup that starts later hits a value stored under a generation
/// handed out before the fence. `conformance` holds every backend to this, one test per property.
#[async_trait]
pub trait StatsCache: Send + Sync + 'static {
    /// What is kept under `key`, if it may be used.
    async fn lookup(&self, key: &StatsKey) -> Result<Lookup, CacheError>;

    /// Keeps `entry` under `key`, for as long as `seen` is the tenant's generation and its
    /// [`Lifetime`], which runs from the start of the entry's computation, has not passed.
    async fn store(&self, key: &StatsKey, seen: Generation, entry: Entry)
    -> Result<(), CacheError>;

    /// Raises a fence on `tenant`: before a write to it commits. An error means that the write
    /// must not take place, since its invalidation cannot be promised.
    async fn fence(&self, tenant: &TenantId) -> Result<Fence, CacheError>;

    /// Gives the fence's tenant a new generation and takes the fence down: after the write, however
    /// it ended, and before anybody is told that it took place.
    async fn release(&self, fence: Fence) -> Result<(), CacheError>;

    /// Forgets everything: once this has returned, no lookup that starts later, on any instance,
    /// finds what was stored under a generation handed out before. An error means that it may.
    async fn forget_all(&self) -> Result<(), CacheError>;

    /// Asks to be the one instance that computes `key` in generation `seen`. Who is refused looks
    /// again in a moment, and computes in the end, whoever holds the lease.
    async fn lease(&self, _key: &StatsKey, _seen: Generation) -> Result<Lease, CacheError> {
        Ok(Lease::Granted)
    }

    /// Gives back what [`StatsCache::lease`] has granted: the computation has ended, and nothing of
    /// it was kept.
    async fn end_lease(&self, _key: &StatsKey, _seen: Generation) -> Result<(), CacheError> {
        Ok(())
    }

    /// The keys that would be hit now and sort after `after`, at most `limit` of them, in order.
    async fn keys(&self, after: Option<&str>, limit: usize) -> Result<KeyPage, CacheError>;

    /// How many entries are kept in this process, those included that will not be hit any more;
    /// `None` where none are.
    fn entries(&self) -> Option<usize> {
        None
    }

    /// How the link to Redis fares; `None` where there is none.
    fn link(&self) -> Option<LinkState> {
        None
    }
}

/// How the link to Redis fares, as this instance sees it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct LinkState {
    /// Whether reads do without Redis, since it does not answer.
    pub is_open: bool,
    /// How often Redis has stopped answering.
    pub opened: u64,
    /// How often Redis has begun to answer, the first time included.
    pub closed: u64,
    /// Tenants whose new generation Redis has yet to be told of.
    pub undelivered: usize,
    /// Tenants that are written to without a fence in Redis.
    pub unfenced: usize,
    /// Whether there were more of them than can be remembered, so that Redis is used for nobody.
    pub is_overrun: bool,
}

/// What a lookup found.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Lookup {
    /// An entry that holds; what is computed from now on may be stored under its generation, too.
    Hit(Generation, Entry),
    /// An entry that is past its time to live, although its tenant has not changed since: for when
    /// nothing newer can be had. What is computed from now on may be stored under this generation.
    Expired(Generation, Entry),
    /// Nothing; what is computed from now on may be stored under this generation.
    Miss(Generation),
    /// The tenant is being written to, or nothing is kept at all: what is computed must be neither
    /// stored nor shared with requests that arrive after the computation began.
    Fenced,
}

/// A cached answer.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Entry {
    /// The answer, ready to be sent.
    pub body: Bytes,
    /// The time since its computation began.
    pub age: Duration,
}

/// How long an entry serves, from the start of its computation.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Lifetime {
    /// How long it is hit.
    pub fresh: Duration,
    /// How long after that it is kept, for when nothing newer can be had; may be zero.
    pub stale: Duration,
}

impl Lifetime {
    /// As the settings say.
    #[must_use]
    pub fn of(settings: &CacheSettings) -> Self {
        Self {
            fresh: settings.ttl(),
            stale: settings.stale_if_error(),
        }
    }

    /// When nothing is left of an entry.
    fn whole(self) -> Duration {
        self.fresh + self.stale
    }

    /// What is found of an entry of the current generation.
    fn found(self, seen: Generation, entry: Entry) -> Lookup {
        if entry.age < self.fresh {
            Lookup::Hit(seen, entry)
        } else if entry.age < self.whole() {
            Lookup::Expired(seen, entry)
        } else {
            Lookup::Miss(seen)
        }
    }
}

/// A mark on the state of a tenant's data; it changes with every write and never returns.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct Generation(u64);

/// The right and the duty to call [`StatsCache::release`].
#[derive(Debug)]
#[must_use = "a fence that is not released keeps its tenant out of the cache"]
pub struct Fence {
    tenant: TenantId,
    /// By which a shared backend tells it from other writers' fences.
    mark: Option<String>,
    /// Whether a shared backend may yet be asked to raise it: by words that were long on their way.
    late: bool,
    /// When it may end by itself; nothing if it does not.
    until: Option<Instant>,
    /// The same write's fence in the backend that is told as well.
    also: Option<Box<Fence>>,
}

impl Fence {
    /// When it may end by itself: a write must have committed by then. Nothing if it does not.
    #[must_use]
    pub fn until(&self) -> Option<Instant> {
        let also = self.also.as_ref().and_then(|also| also.until());
        self.until.into_iter().chain(also).min()
    }
}

/// The answer of [`StatsCache::lease`].
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Lease {
    /// Nobody else computes: do.
    Granted,
    /// Another instance computes.
    Taken,
}

/// One page of [`StatsCache::keys`].
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct KeyPage {
    /// How many keys would be hit now, on all pages.
    pub total: usize,
    /// The keys of this page.
    pub keys: Vec<String>,
    /// Whether more keys follow.
    pub more: bool,
}

/// Gathers a [`KeyPage`] from keys in any order, without keeping more of them than the page.
struct PageOfKeys<'a> {
    after: Option<&'a str>,
    limit: usize,
    total: usize,
    /// The lowest keys seen, and one more that tells whether there are more.
    lowest: BinaryHeap<String>,
}

impl<'a> PageOfKeys<'a> {
    fn new(after: Option<&'a str>, limit: usize) -> Self {
        Self {
            after,
            limit,
            total: 0,
            lowest: BinaryHeap::new(),
        }
    }

    fn add(&mut self, key: &str) {
        self.total += 1;
        let is_full = self.lowest.len() > self.limit;
        let is_beyond = is_full && self.lowest.peek().is_some_and(|last| key >= last.as_str());
        if is_beyond || self.after.is_some_and(|after| key <= after) {
            return;
        }
        self.lowest.push(key.to_owned());
        if is_full {
            self.lowest.pop();
        }
    }

    fn finish(self) -> KeyPage {
        let mut keys = self.lowest.into_sorted_vec();
        let more = keys.len() > self.limit;
        keys.truncate(self.limit);
        KeyPage {
            total: self.total,
            keys,
            more,
        }
    }
}

/// The cache could not do what was asked.
#[derive(Debug, Error)]
pub enum CacheError {
    /// The backend could not be reached, or its own work failed.
    #[error("cache backend: {0}")]
    Unavailable(String),
}

/// Makes what the settings ask for: reads use the backend selected, writes invalidate every one
/// that is configured.
pub fn from_settings(
    settings: &CacheSettings,
    clock: Arc<dyn Clock>,
    tasks: &Tasks,
) -> Result<Arc<dyn StatsCache>, ClientSetUpError> {
    let life = Lifetime::of(settings);
    let selected: Arc<dyn StatsCache> = match settings.backend {
        CacheBackend::Memory => Arc::new(MemoryCache::new(life, settings.max_entries)),
        CacheBackend::None => Arc::new(DisabledCache),
        CacheBackend::Redis => {
            return Ok(Arc::new(RedisCache::new(
                &settings.redis,
                life,
                clock,
                tasks,
            )?));
        }
    };
    if !settings.redis.is_set() {
        return Ok(selected);
    }
    let told = RedisCache::new(&settings.redis, life, clock, tasks)?;
    Ok(Arc::new(AlsoTelling::new(selected, Arc::new(told))))
}
