//! Filling the cache: one computation, from waiting for its lease to storing its result.

use std::{
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    time::{Duration, Instant},
};

use bytes::Bytes;
use futures_util::future::BoxFuture;

use super::{
    key::StatsKey,
    stats_cache::{BypassReason, Entry, Lookup, Permit, StatsCache},
};
use crate::{db::DbError, metrics::CacheCounters};

/// The time between two looks at whether another instance has stored what it computes.
const LEASE_POLL: Duration = Duration::from_millis(10);

/// The longest wait for another instance's computation, however long leases are.
const MAX_LEASE_WAIT: Duration = Duration::from_secs(5);

/// Computes an answer from the database.
pub type Computation = BoxFuture<'static, Result<Bytes, DbError>>;

/// What a flight ends with. Every request that shares the flight gets the same.
pub(super) type FillResult = Result<Filled, Arc<DbError>>;

/// The entry that a flight ended with.
#[derive(Debug, Clone)]
pub(super) struct Filled {
    pub(super) entry: Entry,
    /// Whether the flight has computed it, and not found it in the cache.
    pub(super) is_computed: bool,
}

/// Fills one cache.
pub(super) struct Filler {
    cache: Arc<dyn StatsCache>,
    pub(super) counters: Arc<CacheCounters>,
    /// Whether the last computation failed because the database could not answer.
    database_is_away: AtomicBool,
}

impl Filler {
    pub(super) fn new(cache: Arc<dyn StatsCache>, counters: Arc<CacheCounters>) -> Self {
        Self {
            cache,
            counters,
            database_is_away: AtomicBool::new(false),
        }
    }

    /// Whether the last computation failed because the database could not answer.
    pub(super) fn database_is_away(&self) -> bool {
        self.database_is_away.load(Ordering::Relaxed)
    }

    /// Looks `key` up. A backend that fails makes answers slower, never wrong: it is bypassed.
    pub(super) async fn look_up(&self, key: &StatsKey) -> Lookup {
        self.cache.look_up(key).await.unwrap_or_else(|error| {
            self.counters.failures.lookup.inc();
            log::warn!("cache: lookup failed: {error}");
            Lookup::Bypass(BypassReason::Failed)
        })
    }

    /// Computes and stores, unless another computation has stored since the request's own lookup: a
    /// request that was slow to get here must not compute again what was just computed.
    pub(super) async fn fill(&self, key: &StatsKey, compute: Computation) -> FillResult {
        self.counters.flights.inc();
        let began = Instant::now();
        loop {
            let permit = match self.look_up(key).await {
                Lookup::Hit(_, entry) => {
                    return Ok(Filled {
                        entry,
                        is_computed: false,
                    });
                }
                Lookup::Expired(permit, _) | Lookup::Miss(permit) => permit,
                Lookup::Bypass(_) => return self.compute(compute).await,
            };
            match permit.claim_lease(key).await {
                // Another instance computes. It may have died, so nobody waits for ever.
                Ok(false) if began.elapsed() < MAX_LEASE_WAIT => {
                    tokio::time::sleep(LEASE_POLL).await;
                    continue;
                }
                Ok(_) => {}
                Err(error) => {
                    self.counters.failures.lease.inc();
                    log::debug!("cache: a lease could not be claimed: {error}");
                }
            }
            return self.compute_and_store(key, &permit, compute).await;
        }
    }

    /// Computes and stores although a lookup hits, if this instance gets the lease.
    pub(super) async fn refill(
        &self,
        key: &StatsKey,
        permit: &Permit,
        compute: Computation,
    ) -> FillResult {
        match permit.claim_lease(key).await {
            Ok(true) => self.compute_and_store(key, permit, compute).await,
            // Another instance computes. Requests may have joined this flight, and get its entry.
            Ok(false) | Err(_) => self.fill(key, compute).await,
        }
    }

    /// Computes, and neither looks up nor stores.
    pub(super) async fn bypass(&self, compute: Computation) -> FillResult {
        self.counters.flights.inc();
        self.compute(compute).await
    }

    async fn compute_and_store(
        &self,
        key: &StatsKey,
        permit: &Permit,
        compute: Computation,
    ) -> FillResult {
        let began = Instant::now();
        let filled = self.compute(compute).await;
        if let Ok(Filled { entry, .. }) = &filled {
            let entry = Entry {
                body: entry.body.clone(),
                age: began.elapsed(),
            };
            match self.cache.store(key, permit, entry).await {
                // The lease has ended with it, so whoever waits for it looks up again.
                Ok(()) => return filled,
                Err(error) => {
                    self.counters.failures.store.inc();
                    log::warn!("cache: store failed: {error}");
                }
            }
        }
        // Nothing was stored that others could wait for. If this fails, they wait until the lease ends.
        if let Err(error) = permit.give_lease_back(key).await {
            log::debug!("cache: a lease was not given back: {error}");
        }
        filled
    }

    /// Computes, and notes how long it took and whether the database could answer.
    async fn compute(&self, compute: Computation) -> FillResult {
        let began = Instant::now();
        let computed = compute.await;
        let age = began.elapsed();
        let is_away = computed.as_ref().is_err_and(DbError::is_outage);
        self.database_is_away.store(is_away, Ordering::Relaxed);
        let durations = match &computed {
            Ok(_) => &self.counters.computed,
            Err(_) => &self.counters.not_computed,
        };
        durations.observe(age.as_secs_f64());
        let body = computed.map_err(Arc::new)?;
        Ok(Filled {
            entry: Entry { body, age },
            is_computed: true,
        })
    }
}
