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
    CacheError, Entry, Fence, Generation, KeyPage, Lease, Lifetime, LinkState, Lookup, PageOfKeys,
    StatsCache, StatsKey,
};
use crate::{clock::Clock, settings::RedisSettings, tasks::Tasks, tenant::TenantId};

pub use client::ClientSetUpError;

/// Keeps entries in Redis.
#[derive(Clone)]
pub struct RedisCache {
    link: Arc<Link>,
    clock: Arc<dyn Clock>,
    life: Lifetime,
    settings: RedisSettings,
    /// What this instance's leases are known by.
    holder: String,
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
        let settings = settings.clone();
        Ok(Self {
            link,
            clock,
            life,
            settings,
            holder: new_mark(),
        })
    }

    async fn look_up(&self, key: &StatsKey) -> Result<Lookup, ClientError> {
        let (link, tenant) = (&self.link, key.tenant());
        let Some(epoch) = link.believed(tenant) else {
            return Ok(Lookup::Fenced);
        };
        let timeout = self.settings.response_timeout();
        let look_up = link.commands.look_up([key]);
        let [kept, fence, entry]: Found = link.ask(&look_up, timeout).await?;
        // Again, since the answer may have lain about while this instance was stalled.
        if fence.is_some() || link.believed(tenant) != Some(epoch) {
            return Ok(Lookup::Fenced);
        }
        let kept = kept.unwrap_or_default();
        let Some(generation) = link.accepted(&kept, Instant::now()) else {
            let renew = link.commands.renew(tenant, &kept, link.eras.current());
            let kept: Option<Vec<u8>> = link.ask(&renew, timeout).await?;
            let generation = kept.as_deref().and_then(parse_generation);
            return Ok(
                generation.map_or(Lookup::Fenced, |(generation, _)| Lookup::Miss(generation))
            );
        };
        Ok(self.found(generation, entry))
    }

    /// What an entry of `bytes` is while `generation` is its tenant's.
    fn found(&self, generation: Generation, bytes: Option<Vec<u8>>) -> Lookup {
        let current = bytes
            .and_then(|bytes| Envelope::from_bytes(bytes.into()))
            .filter(|envelope| envelope.generation == generation);
        current.map_or(Lookup::Miss(generation), |envelope| {
            let entry = Entry {
                age: self.age(envelope.computed_ms),
                body: envelope.body,
            };
            self.life.found(generation, entry)
        })
    }

    fn is_hit(&self, [kept, fence, entry]: &Found) -> bool {
        let generation = kept
            .as_deref()
            .and_then(|kept| self.link.accepted(kept, Instant::now()));
        fence.is_none()
            && generation.is_some_and(|generation| {
                matches!(self.found(generation, entry.clone()), Lookup::Hit(..))
            })
    }

    async fn put(&self, key: &StatsKey, seen: Generation, entry: Entry) -> Result<(), ClientError> {
        let link = &self.link;
        let left = self.life.whole().saturating_sub(entry.age);
        let fresh = self.life.fresh.saturating_sub(entry.age);
        if left.is_zero() || link.believed(key.tenant()).is_none() {
            // Others need not wait for it; unless this succeeds, they do until the lease ends.
            let _ = self.give_back(key, seen).await;
            return Ok(());
        }
        let (now_ms, timeout) = (self.now_ms(), self.settings.response_timeout());
        let computed_ms = now_ms.saturating_sub(milliseconds(entry.age));
        let envelope = Envelope {
            generation: seen,
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

    async fn give_back(&self, key: &StatsKey, seen: Generation) -> Result<(), ClientError> {
        let (link, timeout) = (&self.link, self.settings.response_timeout());
        let command = link.commands.end_lease(key, seen, &self.holder);
        link.ask::<i64>(&command, timeout).await.map(|_| ())
    }

    async fn list(&self, after: Option<&str>, limit: usize) -> Result<KeyPage, ClientError> {
        let (link, wait) = (&self.link, self.settings.invalidation_wait());
        let listed: Vec<String> = link.ask(&link.commands.listed(self.now_ms()), wait).await?;
        let listed: Vec<_> = listed.iter().filter_map(|one| parse_listed(one)).collect();
        let mut page = PageOfKeys::new(after, limit);
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
    async fn lookup(&self, key: &StatsKey) -> Result<Lookup, CacheError> {
        Ok(self.look_up(key).await?)
    }

    async fn store(
        &self,
        key: &StatsKey,
        seen: Generation,
        entry: Entry,
    ) -> Result<(), CacheError> {
        Ok(self.put(key, seen, entry).await?)
    }

    async fn fence(&self, tenant: &TenantId) -> Result<Fence, CacheError> {
        let (link, mark, life) = (&self.link, new_mark(), self.settings.fence_life());
        let command = link
            .commands
            .fence(tenant, &mark, life, link.eras.current());
        let raised = Instant::now();
        link.owed.begins(tenant, &mark);
        let told = match link.raise(&command).await {
            Ok(told) => told,
            Err(error) => {
                // Words that raise it may be on their way.
                link.owed.ends(&mark);
                let number = link.owed.add(tenant, &mark, Instant::now());
                link.owed.leave(tenant, number);
                return Err(error);
            }
        };
        if told == Told::NotYet {
            // From now on, so that no read of this instance is answered from before the commit.
            link.owed.lacks(tenant, &mark, Instant::now());
        }
        Ok(Fence {
            tenant: tenant.clone(),
            mark: Some(mark),
            late: told != Told::AtOnce,
            until: Some(raised + life),
            also: None,
        })
    }

    async fn release(&self, fence: Fence) -> Result<(), CacheError> {
        let Fence {
            tenant, mark, late, ..
        } = fence;
        let (link, mark) = (&self.link, mark.unwrap_or_else(new_mark));
        // Noted first: what is not delivered now is delivered when Redis is back.
        let number = link.owed.add(&tenant, &mark, Instant::now());
        let again = link.owed.ends(&mark);
        let bar = if late || again {
            self.settings.fence_life()
        } else {
            Duration::ZERO
        };
        let era = link.eras.current();
        let command = link.commands.release(&tenant, &mark, bar, era);
        let told = link.insist(&command).await;
        if matches!(told, Ok(Told::AtOnce | Told::InTheEnd)) {
            link.owed.paid(&tenant, &mark, number);
        } else {
            link.owed.leave(&tenant, number);
        }
        told.map(|_| ())
    }

    async fn forget_all(&self) -> Result<(), CacheError> {
        Ok(self.link.purge().await?)
    }

    async fn lease(&self, key: &StatsKey, seen: Generation) -> Result<Lease, CacheError> {
        // Not so long that what is computed under it expires first.
        let lease = self.settings.lease().min(self.life.fresh);
        let command = self.link.commands.lease(key, seen, &self.holder, lease);
        let taken: Option<String> = self
            .link
            .ask(&command, self.settings.response_timeout())
            .await?;
        Ok(if taken.is_some() {
            Lease::Granted
        } else {
            Lease::Taken
        })
    }

    async fn end_lease(&self, key: &StatsKey, seen: Generation) -> Result<(), CacheError> {
        Ok(self.give_back(key, seen).await?)
    }

    async fn keys(&self, after: Option<&str>, limit: usize) -> Result<KeyPage, CacheError> {
        Ok(self.list(after, limit).await?)
    }

    fn link(&self) -> Option<LinkState> {
        Some(self.link.state())
    }
}

impl From<ClientError> for CacheError {
    fn from(error: ClientError) -> Self {
        Self::Unavailable(error.to_string())
    }
}

#[cfg(test)]
mod tests;
