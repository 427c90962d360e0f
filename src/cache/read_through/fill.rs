//! One computation. Lives here: waiting for its turn, computing, storing and counting. Not here:
//! who shares it (`flights`), and what is answered (`read_through`).

use std::{
    future::Future,
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    time::{Duration, Instant},
};

use bytes::Bytes;

use super::{Answer, Failure, Outcome};
use crate::{
    cache::{BypassReason, Entry, Lookup, Permit, StatsCache, StatsKey},
    metrics::CacheCounters,
};

/// Between two looks at whether another instance has stored what it computes.
const LEASE_POLL: Duration = Duration::from_millis(10);

/// When nobody is waited for any longer, however long leases are.
const MAX_LEASE_WAIT: Duration = Duration::from_secs(5);

/// How answers were come by.
#[derive(Debug)]
pub(super) struct Ledger {
    pub(super) counters: Arc<CacheCounters>,
    /// Whether the last computation failed for want of its source.
    pub(super) away: AtomicBool,
}

impl Ledger {
    pub(super) fn answered(&self, answer: &Answer) {
        let counters = &self.counters;
        let outcome = match answer.outcome {
            Outcome::Hit => &counters.hits,
            Outcome::Miss => &counters.misses,
            Outcome::Stale => &counters.stale,
            Outcome::Bypass => &counters.bypasses,
        };
        outcome.inc();
        if answer.collapsed {
            counters.collapsed.inc();
        }
    }
}

#[derive(Debug, Clone)]
pub(super) struct Found {
    pub(super) entry: Entry,
    pub(super) computed: bool,
}

/// A cache that fails is only slower: the answer is computed, and not stored.
pub(super) async fn look_up(
    cache: &dyn StatsCache,
    counters: &CacheCounters,
    key: &StatsKey,
) -> Lookup {
    cache.look_up(key).await.unwrap_or_else(|error| {
        counters.failures.lookup.inc();
        log::warn!("cache: lookup failed: {error}");
        Lookup::Bypass(BypassReason::Failed)
    })
}

/// Computes and stores, unless another computation has stored since the caller's lookup: a slow
/// request must not compute again what was just computed.
pub(super) async fn fill<E: Failure>(
    cache: Arc<dyn StatsCache>,
    ledger: Arc<Ledger>,
    key: StatsKey,
    compute: impl Future<Output = Result<Bytes, E>>,
) -> Result<Found, Arc<E>> {
    ledger.counters.flights.inc();
    match turn(&*cache, &ledger.counters, &key).await {
        Turn::Filled(entry) => Ok(Found {
            entry,
            computed: false,
        }),
        Turn::Compute(Some(permit)) => renew(cache, ledger, key, permit, compute).await,
        Turn::Compute(None) => timed(&ledger, compute).await,
    }
}

/// Computes, and stores by the `permit` of a lookup before.
pub(super) async fn renew<E: Failure>(
    cache: Arc<dyn StatsCache>,
    ledger: Arc<Ledger>,
    key: StatsKey,
    permit: Permit,
    compute: impl Future<Output = Result<Bytes, E>>,
) -> Result<Found, Arc<E>> {
    let began = Instant::now();
    let found = timed(&ledger, compute).await;
    if let Ok(Found { entry, .. }) = &found {
        let (body, age) = (entry.body.clone(), began.elapsed());
        match cache.store(&key, &permit, Entry { body, age }).await {
            // Whoever looked just before finds the lease taken, and looks again.
            Ok(()) => return found,
            Err(error) => {
                ledger.counters.failures.store.inc();
                log::warn!("cache: store failed: {error}");
            }
        }
    }
    // There is nothing to wait for. If this fails, others wait until the lease ends.
    if let Err(error) = permit.give_lease_back(&key).await {
        log::debug!("cache: a lease was not given back: {error}");
    }
    found
}

/// What a computation finds when its turn comes.
enum Turn {
    /// Another has stored an entry meanwhile.
    Filled(Entry),
    /// Nothing: what is computed may be stored under the generation, if there is one.
    Compute(Option<Permit>),
}

/// Waits while another instance computes the same, but not for ever: it may have died.
async fn turn(cache: &dyn StatsCache, counters: &CacheCounters, key: &StatsKey) -> Turn {
    let began = Instant::now();
    loop {
        let permit = match look_up(cache, counters, key).await {
            Lookup::Hit(_, entry) => return Turn::Filled(entry),
            Lookup::Expired(permit, _) | Lookup::Miss(permit) => permit,
            Lookup::Bypass(_) => return Turn::Compute(None),
        };
        match permit.claim_lease(key).await {
            Ok(false) if began.elapsed() < MAX_LEASE_WAIT => {
                tokio::time::sleep(LEASE_POLL).await;
            }
            Ok(_) => return Turn::Compute(Some(permit)),
            Err(_) => {
                counters.failures.lease.inc();
                return Turn::Compute(Some(permit));
            }
        }
    }
}

/// Computes, and notes how long it took and whether the source was away.
pub(super) async fn timed<E: Failure>(
    ledger: &Ledger,
    compute: impl Future<Output = Result<Bytes, E>>,
) -> Result<Found, Arc<E>> {
    let began = Instant::now();
    let computed = compute.await;
    let age = began.elapsed();
    let is_away = computed.as_ref().is_err_and(Failure::is_outage);
    ledger.away.store(is_away, Ordering::Relaxed);
    let counters = &ledger.counters;
    let durations = match &computed {
        Ok(_) => &counters.computed,
        Err(_) => &counters.not_computed,
    };
    durations.observe(age.as_secs_f64());
    let body = computed.map_err(Arc::new)?;
    Ok(Found {
        entry: Entry { body, age },
        computed: true,
    })
}
