//! What every backend must do: the trait, and what goes in and comes out of it.

use std::{
    any::Any,
    fmt,
    sync::Arc,
    time::{Duration, Instant},
};

use async_trait::async_trait;
use bytes::Bytes;
use thiserror::Error;

use super::key::StatsKey;
use crate::{settings::CacheSettings, tenant::TenantId};

/// Keeps entries until their lifetime has passed or their tenant has been written to.
///
/// Once `release` has returned, no lookup that starts later hits a value stored under a generation
/// handed out before the fence.
///
/// ```
/// use std::time::Duration;
/// use megastats::{
///     cache::{Entry, Lifetime, Lookup, MemoryCache, StatsCache, StatsKey},
///     tenant::TenantId,
/// };
///
/// # #[tokio::main(flavor = "current_thread")]
/// # async fn main() -> Result<(), Box<dyn std::error::Error>> {
/// let life = Lifetime { fresh: Duration::from_secs(30), stale: Duration::ZERO };
/// let cache = MemoryCache::new(life, 10_000);
/// let clinic = TenantId::parse("clinic")?;
/// let key = StatsKey::new("mega_stats", &clinic, &[&"America/Recife", &"2025-10-31"]);
///
/// // A miss hands out a permit, by which the result is stored.
/// let Lookup::Miss(permit) = cache.look_up(&key).await? else { panic!("nothing is stored yet") };
/// let entry = Entry { body: "{}".into(), age: Duration::ZERO };
/// cache.store(&key, &permit, entry.clone()).await?;
/// assert!(matches!(cache.look_up(&key).await?, Lookup::Hit(..)));
///
/// // From the fence of a write to its release lookups bypass the cache, and then they miss.
/// let fence = cache.fence(&clinic).await?;
/// assert!(matches!(cache.look_up(&key).await?, Lookup::Bypass(_)));
/// cache.release(fence).await?;
/// assert!(matches!(cache.look_up(&key).await?, Lookup::Miss(_)));
///
/// // What was computed before the write may be stored late, but is never hit.
/// cache.store(&key, &permit, entry).await?;
/// assert!(matches!(cache.look_up(&key).await?, Lookup::Miss(_)));
/// # Ok(())
/// # }
/// ```
#[async_trait]
pub trait StatsCache: Send + Sync + 'static {
    /// Looks up what is kept under `key`. Unless it says bypass, a lookup hands out a permit to store
    /// what is computed from now on.
    async fn look_up(&self, key: &StatsKey) -> Result<Lookup, CacheError>;

    /// Keeps `entry` under `key` until its [`Lifetime`] has passed. A lookup finds it only while the
    /// generation of `permit`, which a lookup of `key` has handed out before `entry` was computed, is
    /// still the tenant's.
    async fn store(&self, key: &StatsKey, permit: &Permit, entry: Entry) -> Result<(), CacheError>;

    /// Raises a fence on `tenant`, before a write to the tenant commits: until it is released, every
    /// lookup of the tenant says [`Lookup::Bypass`]. After an error the write must not take place,
    /// since nobody can promise that its invalidation arrives.
    async fn fence(&self, tenant: &TenantId) -> Result<Fence, CacheError>;

    /// Gives the fence's tenant a new generation and ends the fence: after the write, however it
    /// ended, and before anybody hears that it took place. After an error the fence may stay raised
    /// until it ends by itself.
    async fn release(&self, fence: Fence) -> Result<Released, CacheError>;

    /// Removes all entries of all tenants: once this has returned, no lookup that starts later, on
    /// any instance, finds what was stored under a generation handed out before. After an error it
    /// may. To remove those of one tenant, raise a fence on it and release the fence.
    async fn purge(&self) -> Result<(), CacheError>;
}

/// What a lookup found.
#[derive(Debug, Clone)]
pub enum Lookup {
    /// An entry that may be used. The permit is for whoever computes it anew before it expires.
    Hit(Permit, Entry),
    /// An entry that is past its time to live, although its tenant has not been written to since:
    /// it may be used if nothing newer can be computed.
    Expired(Permit, Entry),
    /// Nothing.
    Miss(Permit),
    /// The cache has no part in this answer: what is computed must be neither stored nor shared
    /// with requests that arrive after the computation began.
    Bypass(BypassReason),
}

/// Why a lookup said [`Lookup::Bypass`].
#[derive(Debug, Clone, Copy, PartialEq, Eq, Error)]
pub enum BypassReason {
    /// A write has raised a fence.
    #[error("a write to the tenant is under way")]
    Write,
    /// The service keeps nothing.
    #[error("the cache is switched off")]
    SwitchedOff,
    /// The backend does not answer, and is not asked.
    #[error("the backend cannot be reached")]
    Unreachable,
    /// The backend answers, but it may have missed a write while it did not.
    #[error("the backend is not trusted yet")]
    NotTrusted,
    /// The backend lacks the fence or the new generation of one of this instance's writes.
    #[error("an invalidation of the tenant is pending")]
    PendingInvalidation,
    /// The backend gave an error.
    #[error("the lookup failed")]
    Failed,
}

/// The right to store what is computed after the lookup that handed it out.
#[derive(Clone)]
pub struct Permit {
    /// The generation of the tenant that the lookup saw.
    pub generation: Generation,
    /// Nothing where one instance has the backend to itself.
    leases: Option<Arc<dyn Leases>>,
}

impl Permit {
    /// A permit to store under `generation`, from a backend that only one instance uses.
    pub fn new(generation: Generation) -> Self {
        Self {
            generation,
            leases: None,
        }
    }

    /// A permit to store under `generation`, from a backend whose instances agree by `leases` on
    /// which of them computes.
    pub fn with_leases(generation: Generation, leases: Arc<dyn Leases>) -> Self {
        Self {
            generation,
            leases: Some(leases),
        }
    }

    /// Claims the lease on `key`: the right to be the one instance that computes it in this
    /// generation. Whoever is told `false` looks up again in a moment, and computes in the end even
    /// without the lease.
    pub async fn claim_lease(&self, key: &StatsKey) -> Result<bool, CacheError> {
        match &self.leases {
            Some(leases) => leases.claim(key, self.generation).await,
            None => Ok(true),
        }
    }

    /// Gives the lease on `key` back, since the computation has ended and its result was not kept.
    /// An entry that is stored ends the lease's use by itself: others find the entry.
    pub async fn give_lease_back(&self, key: &StatsKey) -> Result<(), CacheError> {
        match &self.leases {
            Some(leases) => leases.give_back(key, self.generation).await,
            None => Ok(()),
        }
    }
}

impl fmt::Debug for Permit {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("Permit").field(&self.generation).finish()
    }
}

/// How the instances that share a backend agree on which of them computes: a backend gives this to
/// its permits. A lease ends by itself, so that an instance that dies holds up nobody for long.
#[async_trait]
pub trait Leases: Send + Sync {
    /// Takes the lease on `key` in `generation`, unless another instance has it; tells whether this
    /// instance has it now.
    async fn claim(&self, key: &StatsKey, generation: Generation) -> Result<bool, CacheError>;

    /// Ends the lease on `key` in `generation`, if this instance has it.
    async fn give_back(&self, key: &StatsKey, generation: Generation) -> Result<(), CacheError>;
}

/// A mark on the state of a tenant's data: it changes with every write and never returns. It can
/// only be compared for equality.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct Generation(pub(super) u64);

impl Generation {
    /// The generation that a backend knows by `mark`.
    pub fn new(mark: u64) -> Self {
        Self(mark)
    }
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
    /// How long lookups hit it.
    pub fresh: Duration,
    /// How long after that it is kept, for when nothing newer can be computed; may be zero.
    pub stale: Duration,
}

impl Lifetime {
    /// The lifetime that the settings ask for.
    pub fn of(settings: &CacheSettings) -> Self {
        Self {
            fresh: settings.ttl,
            stale: settings.stale_if_error,
        }
    }

    /// The age at which an entry is gone.
    pub(super) fn whole(self) -> Duration {
        self.fresh + self.stale
    }

    /// What a lookup says that found `entry`, which is of the generation of `permit`.
    pub(super) fn lookup(self, permit: Permit, entry: Entry) -> Lookup {
        if entry.age < self.fresh {
            Lookup::Hit(permit, entry)
        } else if entry.age < self.whole() {
            Lookup::Expired(permit, entry)
        } else {
            Lookup::Miss(permit)
        }
    }
}

/// A raised fence: the right and the duty to call [`StatsCache::release`].
#[derive(Debug)]
#[must_use = "a fence that is not released keeps its tenant out of the cache"]
pub struct Fence {
    ticket: Box<dyn Any + Send + Sync>,
    /// The moment at which it may end by itself: its write must have committed by then. `None` if it
    /// never does.
    pub until: Option<Instant>,
    /// Whether the backend has confirmed that it is raised, so that every instance sees it. Otherwise this
    /// instance alone knows of it, and others that still reach the backend must hear of it in another way
    /// before the write commits.
    pub is_delivered: bool,
}

impl Fence {
    /// A fence that its backend has confirmed. `ticket` is whatever the backend needs to release it.
    pub fn new(ticket: impl Any + Send + Sync, until: Option<Instant>) -> Self {
        Self {
            ticket: Box::new(ticket),
            until,
            is_delivered: true,
        }
    }

    /// The ticket that its backend made it with. An error if it is another backend's.
    pub fn into_ticket<T: Any>(self) -> Result<T, CacheError> {
        match self.ticket.downcast() {
            Ok(ticket) => Ok(*ticket),
            Err(_) => Err(CacheError::ForeignFence),
        }
    }
}

/// Removes the entries of `tenant`, as a write does that changes nothing.
pub(super) async fn purge_tenant(
    cache: &dyn StatsCache,
    tenant: &TenantId,
) -> Result<(), CacheError> {
    let fence = cache.fence(tenant).await?;
    cache.release(fence).await?;
    Ok(())
}

/// What [`StatsCache::release`] has done.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Released {
    /// The new generation is set for every instance.
    Everywhere,
    /// The backend did not take it from this instance, which answers the tenant from the database until it
    /// has delivered the new generation.
    Pending,
}

/// The cache could not do what was asked.
#[derive(Debug, Error)]
pub enum CacheError {
    /// The backend could not be reached, or its own work failed.
    #[error("cache backend: {0}")]
    Unavailable(String),
    /// A fence was to be released by a backend that has not raised it.
    #[error("the fence was raised by another cache")]
    ForeignFence,
}
