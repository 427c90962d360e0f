//! The backend `redis`: entries, generations and fences that all instances share.
//!
//! | file | what lives there |
//! |---|---|
//! | `link` | sending commands, trusting their answers, delivering fences and invalidations |
//! | `background` | sending heartbeats, following the era, delivering what is pending, noticing eviction |
//! | `heartbeat` | when this instance may trust what Redis answers |
//! | `breaker` | whether reads may ask Redis, and why not |
//! | `era` | which generations this instance may trust |
//! | `pending` | which fences and invalidations Redis lacks |
//! | `commands` | the commands, and the names of the keys |
//! | `scripts` | what Redis does in one step |
//! | `envelope` | the bytes of an entry |
//! | `client` | the connection |
//!
//! # The keys in Redis
//! The keys of a tenant share a hash tag, so they lie on one node of a cluster. `…` stands for the
//! prefix and `{tenant}:`.
//!
//! | key | value |
//! |---|---|
//! | `…generation` | the generation: a random mark, and the era in which it was made |
//! | `…fence` | the fences that are raised, each with its own end: `id:milliseconds,…` |
//! | `…mega_stats:…` | an entry: `envelope` |
//! | `…lease:…` | which instance computes that entry now |
//! | `…barred:…` | a fence that was released and must not be raised any more |
//!
//! Two more keys exist once for each prefix, `era` and `purge`, and one for each instance, `test:…`.
//!
//! docs/ARCHITECTURE.md, "Many instances", has a table of who makes which mark.
//!
//! A fence is raised together with a new generation, and released together with another one. So a writer
//! that dies after its commit leaves a fence that ends by itself, and no entry from before the commit.

mod background;
mod breaker;
mod client;
mod commands;
mod envelope;
mod era;
mod heartbeat;
mod link;
mod pending;
mod scripts;

use std::{
    sync::Arc,
    time::{Duration, Instant},
};

use async_trait::async_trait;

use self::{
    client::ClientError,
    commands::{milliseconds, new_mark, parse_generation},
    envelope::Envelope,
    heartbeat::{HEARTBEAT_TIMEOUT, TRUST_LIMIT},
    link::{Delivery, RedisLink},
    pending::WriteFence,
};
use super::{
    flights::Flights,
    key::StatsKey,
    pages::{KeyPage, KeyPageBuilder, ListKeys},
    stats_cache::{
        BypassReason, CacheError, Entry, Fence, Generation, Leases, Lifetime, Lookup, Permit,
        Released, StatsCache,
    },
};
use crate::{clock::Clock, settings::RedisSettings, tasks::Tasks, tenant::TenantId};

pub use breaker::LinkProblem;
pub use client::ClientSetUpError;
pub use link::LinkState;

/// Keeps entries in Redis.
#[derive(Clone)]
pub struct RedisCache {
    link: Arc<RedisLink>,
    clock: Arc<dyn Clock>,
    life: Lifetime,
    leases: Arc<RedisLeases>,
    /// The lookups that wait for Redis.
    lookups: Arc<Flights<Result<Lookup, ClientError>>>,
}

/// The leases of this instance.
struct RedisLeases {
    link: Arc<RedisLink>,
    /// What this instance's leases are known by.
    holder: String,
    lease: Duration,
}

/// What a write needs to release its fence.
struct RedisFence {
    fence: WriteFence,
    /// Whether a command that raises it may reach Redis after the one that releases it.
    may_be_raised_late: bool,
}

/// What Redis stores under one name, if anything.
type StoredValue = Option<Vec<u8>>;

/// Keys that are looked up in one round trip for a list of keys.
const LOOKUP_BATCH: usize = 200;

impl RedisCache {
    /// Keeps entries for `life`, counted by `clock`; what it does in the background is one of
    /// `tasks` until it is dropped.
    pub fn new(
        settings: &RedisSettings,
        life: Lifetime,
        clock: Arc<dyn Clock>,
        tasks: &Tasks,
    ) -> Result<Self, ClientSetUpError> {
        let link = Arc::new(RedisLink::new(settings, life)?);
        background::start(&link, life, tasks);
        let leases = RedisLeases {
            link: Arc::clone(&link),
            holder: new_mark(),
            // A lease must end before what is computed under it expires.
            lease: settings.lease.min(life.fresh),
        };
        Ok(Self {
            link,
            clock,
            life,
            leases: Arc::new(leases),
            lookups: Arc::new(Flights::new(Tasks::on_callers_runtime())),
        })
    }

    /// Whether Redis has served this instance lately. Otherwise the silence has lasted so long that the
    /// instance will notice it, and trust nothing that is stored until then.
    pub(super) fn is_reached(&self) -> bool {
        self.link.heartbeat.silence(Instant::now()) < TRUST_LIMIT + HEARTBEAT_TIMEOUT
    }

    /// How the link to Redis fares.
    pub fn link_state(&self) -> LinkState {
        self.link.state()
    }

    async fn get(&self, key: &StatsKey) -> Result<Lookup, ClientError> {
        let link = &self.link;
        let tenant = key.tenant();
        let Some(epoch) = link.trusted_epoch(tenant) else {
            return Ok(Lookup::Bypass(link.distrust(tenant)));
        };
        let look_up = link.commands.look_up([key]);
        let [generation, fence, entry]: [StoredValue; 3] =
            link.send(&look_up, link.response_timeout).await?;
        // This is asked again, since this instance may have been stopped while the answer waited for it.
        if link.trusted_epoch(tenant) != Some(epoch) {
            return Ok(Lookup::Bypass(link.distrust(tenant)));
        }
        if fence.is_some() {
            return Ok(Lookup::Bypass(BypassReason::Write));
        }
        let stored = generation.unwrap_or_default();
        let Some(generation) = link.trusted_generation(&stored) else {
            let era = link.eras.current();
            let replace = link.commands.replace_generation(tenant, &stored, era);
            let current: Option<Vec<u8>> = link.send(&replace, link.response_timeout).await?;
            let generation = current.as_deref().and_then(parse_generation);
            return Ok(match generation {
                Some((generation, _)) => Lookup::Miss(self.permit(generation)),
                None => Lookup::Bypass(BypassReason::Write),
            });
        };
        Ok(self.lookup(generation, entry))
    }

    fn permit(&self, generation: Generation) -> Permit {
        let leases = Arc::clone(&self.leases);
        Permit::with_leases(generation, leases)
    }

    /// What a lookup says that found an entry of `bytes` while `generation` is its tenant's.
    fn lookup(&self, generation: Generation, bytes: Option<Vec<u8>>) -> Lookup {
        let permit = self.permit(generation);
        let envelope = bytes
            .and_then(|bytes| Envelope::from_bytes(bytes.into()))
            .filter(|envelope| envelope.generation == generation);
        let Some(envelope) = envelope else {
            return Lookup::Miss(permit);
        };
        let entry = Entry {
            age: self.age(envelope.computed_ms),
            body: envelope.body,
        };
        self.life.lookup(permit, entry)
    }

    fn is_hit(&self, generation: StoredValue, entry: StoredValue) -> bool {
        let generation = generation.and_then(|bytes| self.link.trusted_generation(&bytes));
        let lookup = generation.map(|generation| self.lookup(generation, entry));
        matches!(lookup, Some(Lookup::Hit(..)))
    }

    fn now_ms(&self) -> u64 {
        u64::try_from(self.clock.now().as_millisecond()).unwrap_or_default()
    }

    /// Another instance's clock may be ahead of ours.
    fn age(&self, computed_ms: u64) -> Duration {
        Duration::from_millis(self.now_ms().saturating_sub(computed_ms))
    }
}

#[async_trait]
impl StatsCache for RedisCache {
    async fn look_up(&self, key: &StatsKey) -> Result<Lookup, CacheError> {
        let get = {
            let cache = self.clone();
            let key = key.clone();
            async move { cache.get(&key).await }
        };
        // One lookup of a key waits for Redis at a time, and serves all who have come before it began.
        let flight = self.lookups.join_next(key, get).await;
        let flight = flight.map_err(|error| CacheError::Unavailable(error.to_string()))?;
        Ok(flight.value?)
    }

    async fn store(&self, key: &StatsKey, permit: &Permit, entry: Entry) -> Result<(), CacheError> {
        let link = &self.link;
        let generation = permit.generation;
        let left = self.life.whole().saturating_sub(entry.age);
        if left.is_zero() || link.trusted_epoch(key.tenant()).is_none() {
            // Nothing is stored, so nobody should wait for it. If this fails, others wait until the lease
            // ends by itself.
            let _ = self.leases.give_back(key, generation).await;
            return Ok(());
        }
        let computed_ms = self.now_ms().saturating_sub(milliseconds(entry.age));
        let envelope = Envelope {
            generation,
            computed_ms,
            body: entry.body,
        };
        let holder = &self.leases.holder;
        let store = link.commands.store(key, &envelope, left, holder);
        link.send::<i64>(&store, link.response_timeout).await?;
        Ok(())
    }

    async fn fence(&self, tenant: &TenantId) -> Result<Fence, CacheError> {
        let link = &self.link;
        let fence = WriteFence {
            tenant: tenant.clone(),
            id: new_mark(),
        };
        let life = link.fence_life;
        let command = link.commands.fence(&fence, life, link.eras.current());
        let until = Instant::now() + life;
        link.pending.start(&fence);
        let delivery = match link.deliver(&command).await {
            Ok(delivery) => delivery,
            Err(error) => {
                // The command may still reach Redis and raise a fence that no write releases.
                link.pending.not_delivered(&fence, Instant::now());
                return Err(error);
            }
        };
        let is_delivered = delivery != Delivery::Undelivered;
        if !is_delivered {
            // From now on this instance reads the tenant from the database.
            link.pending.not_raised(&fence);
        }
        let ticket = RedisFence {
            fence,
            may_be_raised_late: delivery != Delivery::FirstAttempt,
        };
        let mut raised = Fence::new(ticket, Some(until));
        raised.is_delivered = is_delivered;
        Ok(raised)
    }

    async fn release(&self, fence: Fence) -> Result<Released, CacheError> {
        let RedisFence {
            fence,
            may_be_raised_late,
        } = fence.into_ticket()?;
        let link = &self.link;
        // This is noted before the release is sent: if that fails, it is delivered when Redis is back.
        let was_raised_again = link.pending.end(&fence, Instant::now());
        let bar = if may_be_raised_late || was_raised_again {
            link.fence_life
        } else {
            Duration::ZERO
        };
        let command = link.commands.release(&fence, bar, link.eras.current());
        let delivery = link.deliver(&command).await;
        if let Ok(Delivery::FirstAttempt | Delivery::LaterAttempt) = delivery {
            link.pending.delivered(&fence);
            return Ok(Released::Everywhere);
        }
        link.pending.not_delivered(&fence, Instant::now());
        delivery.map(|_undelivered| Released::Pending)
    }

    async fn purge(&self) -> Result<(), CacheError> {
        Ok(self.link.purge().await?)
    }
}

#[async_trait]
impl ListKeys for RedisCache {
    async fn keys(&self, after: Option<&str>, limit: usize) -> Result<KeyPage, CacheError> {
        let link = &self.link;
        let timeout = link.invalidation_wait;
        let scan = link.commands.scan_entries();
        // A cluster answers once for each master: a cursor, and names of keys.
        let answers: Vec<(String, Vec<Vec<u8>>)> =
            link.client.send_to_masters(&scan, timeout).await?;
        let names = answers.iter().flat_map(|(_cursor, names)| names);
        let entries: Vec<_> = names
            .filter_map(|name| link.commands.parse_entry_key(name))
            .filter_map(|key| Some((link.trusted_epoch(key.tenant())?, key)))
            .collect();
        let mut page = KeyPageBuilder::new(after, limit);
        for batch in entries.chunks(LOOKUP_BATCH) {
            let look_up = link.commands.look_up(batch.iter().map(|(_, key)| key));
            let stored: Vec<(_, StoredValue, _)> = link.send(&look_up, timeout).await?;
            for ((epoch, key), (generation, fence, entry)) in batch.iter().zip(stored) {
                let is_trusted = link.trusted_epoch(key.tenant()) == Some(*epoch);
                if is_trusted && fence.is_none() && self.is_hit(generation, entry) {
                    page.add(key.as_str());
                }
            }
        }
        Ok(page.finish())
    }
}

#[async_trait]
impl Leases for RedisLeases {
    async fn claim(&self, key: &StatsKey, generation: Generation) -> Result<bool, CacheError> {
        let commands = &self.link.commands;
        let command = commands.lease(key, generation, &self.holder, self.lease);
        let taken: Option<String> = self.link.send(&command, self.link.response_timeout).await?;
        Ok(taken.is_some())
    }

    async fn give_back(&self, key: &StatsKey, generation: Generation) -> Result<(), CacheError> {
        let command = self.link.commands.end_lease(key, generation, &self.holder);
        let _ended: i64 = self.link.send(&command, self.link.response_timeout).await?;
        Ok(())
    }
}

impl From<ClientError> for CacheError {
    fn from(error: ClientError) -> Self {
        Self::Unavailable(error.to_string())
    }
}

#[cfg(test)]
mod tests;
