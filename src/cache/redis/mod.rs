//! The backend `redis`: entries, generations and fences that all instances share.
//!
//! Lives here: what is kept, and when it is a hit.
//!
//! | file | what lives there |
//! |---|---|
//! | `link` | asking Redis, and what follows when it does not answer |
//! | `health` | when an answer may be believed |
//! | `era` | which generations may be believed |
//! | `owed` | what Redis has yet to be told |
//! | `said` | what is logged of that |
//! | `commands` | keys, commands and marks |
//! | `scripts` | what Redis does at one moment |
//! | `envelope` | an entry's bytes |
//! | `client` | connections |
//!
//! A tenant has these keys, which share a hash tag and so lie on one node of a cluster (`…` is the
//! prefix and `{tenant}:`):
//!
//! | key | value |
//! |---|---|
//! | `…generation` | a random mark and its era; missing is a miss, and another is set |
//! | `…fence` | the fences that stand, each with its own end: `id:milliseconds,…` |
//! | `…mega_stats:…` | an entry: `envelope` |
//! | `…lease:…` | who computes that entry now |
//! | `…barred:…` | that fence was released, and must not be raised by words that come late |
//!
//! A fence is raised together with a new generation, and released with another: a writer that dies
//! after its commit leaves a fence that ends by itself, and no entry from before it. Three keys are
//! there once per prefix: `era`, `purge`, and `keys`, the list of entries.

mod client;
mod commands;
mod envelope;
mod era;
mod health;
mod link;
mod owed;
mod said;
mod scripts;

use std::{
    sync::Arc,
    time::{Duration, Instant},
};

use async_trait::async_trait;

use self::{
    client::ClientError,
    commands::{milliseconds, new_mark, parse_generation, parse_listed},
    envelope::Envelope,
    link::{Link, Told},
};
use super::{
    key::StatsKey,
    pages::{KeyPage, KeyPageBuilder, ListKeys},
    stats_cache::{
        BypassReason, CacheError, Entry, Fence, Generation, Leases, Lifetime, Lookup, Permit,
        Released, StatsCache,
    },
};
use crate::{clock::Clock, settings::RedisSettings, tasks::Tasks, tenant::TenantId};

pub use client::ClientSetUpError;
pub use link::LinkState;

/// Keeps entries in Redis.
#[derive(Clone)]
pub struct RedisCache {
    link: Arc<Link>,
    clock: Arc<dyn Clock>,
    life: Lifetime,
    settings: RedisSettings,
    leases: Arc<RedisLeases>,
}

/// The leases of this instance.
struct RedisLeases {
    link: Arc<Link>,
    /// What this instance's leases are known by.
    holder: String,
    lease: Duration,
    response_timeout: Duration,
}

/// What a write needs to release its fence.
struct RedisFence {
    tenant: TenantId,
    id: String,
    /// Whether a command that raises it may reach Redis after the one that releases it.
    may_be_raised_late: bool,
}

/// Listed keys that are looked up in one round trip.
const BATCH: usize = 200;

/// The answer to a lookup: generation, fence and entry.
type Found = [Option<Vec<u8>>; 3];

impl RedisCache {
    /// Keeps entries for `life`, counted by `clock`; what it does in the background is one of
    /// `tasks` until it is dropped.
    pub fn new(
        settings: &RedisSettings,
        life: Lifetime,
        clock: Arc<dyn Clock>,
        tasks: &Tasks,
    ) -> Result<Self, ClientSetUpError> {
        let link = Link::new(settings, life, tasks)?;
        let leases = RedisLeases {
            link: Arc::clone(&link),
            holder: new_mark(),
            // Not so long that what is computed under it expires first.
            lease: settings.lease().min(life.fresh),
            response_timeout: settings.response_timeout(),
        };
        Ok(Self {
            link,
            clock,
            life,
            settings: settings.clone(),
            leases: Arc::new(leases),
        })
    }

    /// How the link to Redis fares.
    #[must_use]
    pub fn link_state(&self) -> LinkState {
        self.link.state()
    }

    async fn get(&self, key: &StatsKey) -> Result<Lookup, ClientError> {
        let (link, tenant) = (&self.link, key.tenant());
        let Some(epoch) = link.believed(tenant) else {
            return Ok(Lookup::Bypass(self.disbelief(tenant)));
        };
        let timeout = self.settings.response_timeout();
        let look_up = link.commands.look_up([key]);
        let [kept, fence, entry]: Found = link.ask(&look_up, timeout).await?;
        // Again, since the answer may have lain about while this instance was stalled.
        if link.believed(tenant) != Some(epoch) {
            return Ok(Lookup::Bypass(self.disbelief(tenant)));
        }
        if fence.is_some() {
            return Ok(Lookup::Bypass(BypassReason::Write));
        }
        let kept = kept.unwrap_or_default();
        let Some(generation) = link.accepted(&kept, Instant::now()) else {
            let renew = link.commands.renew(tenant, &kept, link.eras.current());
            let kept: Option<Vec<u8>> = link.ask(&renew, timeout).await?;
            let generation = kept.as_deref().and_then(parse_generation);
            return Ok(match generation {
                Some((generation, _)) => Lookup::Miss(self.permit(generation)),
                None => Lookup::Bypass(BypassReason::Write),
            });
        };
        Ok(self.lookup(generation, entry))
    }

    /// Why Redis is not believed about `tenant`.
    fn disbelief(&self, tenant: &TenantId) -> BypassReason {
        let (is_open, ..) = self.link.health.breaker();
        if is_open {
            BypassReason::Unreachable
        } else if self.link.owed.holds(tenant, Instant::now()) {
            BypassReason::PendingInvalidation
        } else {
            BypassReason::NotTrusted
        }
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

    fn is_hit(&self, [kept, fence, entry]: &Found) -> bool {
        let generation = kept
            .as_deref()
            .and_then(|kept| self.link.accepted(kept, Instant::now()));
        fence.is_none()
            && generation.is_some_and(|generation| {
                matches!(self.lookup(generation, entry.clone()), Lookup::Hit(..))
            })
    }

    async fn put(&self, key: &StatsKey, permit: &Permit, entry: Entry) -> Result<(), ClientError> {
        let (link, generation) = (&self.link, permit.generation());
        let left = self.life.whole().saturating_sub(entry.age);
        let fresh = self.life.fresh.saturating_sub(entry.age);
        if left.is_zero() || link.believed(key.tenant()).is_none() {
            // Others need not wait for it; unless this succeeds, they do until the lease ends.
            let _ = self.leases.end(key, generation).await;
            return Ok(());
        }
        let (now_ms, timeout) = (self.now_ms(), self.settings.response_timeout());
        let computed_ms = now_ms.saturating_sub(milliseconds(entry.age));
        let envelope = Envelope {
            generation,
            computed_ms,
            body: entry.body,
        };
        let store = link.commands.store(key, &envelope, left);
        if !link.ask::<bool>(&store, timeout).await? {
            return Ok(());
        }
        let until_ms = now_ms.saturating_add(milliseconds(fresh));
        link.ask::<()>(&link.commands.list(key, now_ms, until_ms), timeout)
            .await
    }

    async fn list(&self, after: Option<&str>, limit: usize) -> Result<KeyPage, ClientError> {
        let (link, wait) = (&self.link, self.settings.invalidation_wait());
        let listed: Vec<String> = link.ask(&link.commands.listed(self.now_ms()), wait).await?;
        let listed: Vec<_> = listed.iter().filter_map(|one| parse_listed(one)).collect();
        let mut page = KeyPageBuilder::new(after, limit);
        for keys in listed.chunks(BATCH) {
            let asked: Vec<_> = keys
                .iter()
                .filter_map(|key| Some((key, link.believed(key.tenant())?)))
                .collect();
            if asked.is_empty() {
                continue;
            }
            let look_up = link.commands.look_up(asked.iter().map(|(key, _)| *key));
            let found: Vec<Option<Vec<u8>>> = link.ask(&look_up, wait).await?;
            for ((key, epoch), found) in asked.into_iter().zip(found.as_chunks().0) {
                if link.believed(key.tenant()) == Some(epoch) && self.is_hit(found) {
                    page.add(key.as_str());
                }
            }
        }
        Ok(page.finish())
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
        Ok(self.get(key).await?)
    }

    async fn store(&self, key: &StatsKey, permit: &Permit, entry: Entry) -> Result<(), CacheError> {
        Ok(self.put(key, permit, entry).await?)
    }

    async fn fence(&self, tenant: &TenantId) -> Result<Fence, CacheError> {
        let (link, id, life) = (&self.link, new_mark(), self.settings.fence_life());
        let command = link.commands.fence(tenant, &id, life, link.eras.current());
        let until = Instant::now() + life;
        link.owed.begins(tenant, &id);
        let told = match link.raise(&command).await {
            Ok(told) => told,
            Err(error) => {
                // A command that raises it may still be on its way.
                link.owed.ends(&id);
                let number = link.owed.add(tenant, &id, Instant::now());
                link.owed.leave(tenant, number);
                return Err(error);
            }
        };
        if told == Told::NotYet {
            // From now on, so that no read of this instance is answered from before the commit.
            link.owed.lacks(tenant, &id, Instant::now());
        }
        let ticket = RedisFence {
            tenant: tenant.clone(),
            id,
            may_be_raised_late: told != Told::AtOnce,
        };
        Ok(Fence::new(ticket, Some(until)))
    }

    async fn release(&self, fence: Fence) -> Result<Released, CacheError> {
        let RedisFence {
            tenant,
            id,
            may_be_raised_late,
        } = fence.into_ticket()?;
        let link = &self.link;
        // Noted first: what is not delivered now is delivered when Redis is back.
        let number = link.owed.add(&tenant, &id, Instant::now());
        let was_raised_again = link.owed.ends(&id);
        let bar = if may_be_raised_late || was_raised_again {
            self.settings.fence_life()
        } else {
            Duration::ZERO
        };
        let era = link.eras.current();
        let command = link.commands.release(&tenant, &id, bar, era);
        let told = link.insist(&command).await;
        if matches!(told, Ok(Told::AtOnce | Told::InTheEnd)) {
            link.owed.paid(&tenant, &id, number);
        } else {
            link.owed.leave(&tenant, number);
        }
        Ok(match told? {
            Told::AtOnce | Told::InTheEnd => Released::Everywhere,
            Told::NotYet => Released::Pending,
        })
    }

    async fn forget(&self) -> Result<(), CacheError> {
        Ok(self.link.purge().await?)
    }
}

#[async_trait]
impl ListKeys for RedisCache {
    async fn keys(&self, after: Option<&str>, limit: usize) -> Result<KeyPage, CacheError> {
        Ok(self.list(after, limit).await?)
    }
}

#[async_trait]
impl Leases for RedisLeases {
    async fn claim(&self, key: &StatsKey, generation: Generation) -> Result<bool, CacheError> {
        let commands = &self.link.commands;
        let command = commands.lease(key, generation, &self.holder, self.lease);
        let taken: Option<String> = self.link.ask(&command, self.response_timeout).await?;
        Ok(taken.is_some())
    }

    async fn give_back(&self, key: &StatsKey, generation: Generation) -> Result<(), CacheError> {
        Ok(self.end(key, generation).await?)
    }
}

impl RedisLeases {
    async fn end(&self, key: &StatsKey, generation: Generation) -> Result<(), ClientError> {
        let command = self.link.commands.end_lease(key, generation, &self.holder);
        let _ended: i64 = self.link.ask(&command, self.response_timeout).await?;
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
