//! Caches that break one rule each, made from one that keeps them all.

use std::{
    collections::HashMap,
    sync::{Arc, Mutex, OnceLock},
    time::Duration,
};

use async_trait::async_trait;
use megastats::{
    cache::{CacheError, Entry, Fence, Generation, Lookup, Permit, Released, StatsCache, StatsKey},
    tenant::TenantId,
};

use super::slow::Slower;

/// How a cache is broken.
#[derive(Debug, Clone)]
pub enum Rule {
    /// Nothing stands between a write's beginning and its new generation.
    NoFence,
    /// A write's fence goes down, and its generation changes, before it commits.
    FenceBeforeCommit,
    /// None, but whoever writes to this tenant dies between its fence and its commit.
    Dies(Arc<OnceLock<String>>),
    /// What was computed is stored under the generation that is there by then.
    LateGeneration,
    /// What was stored is hit whatever its generation.
    NoGeneration(Kept),
    /// A write deletes what is kept, and what is stored later is hit.
    Delete(Kept),
    /// A request joins a computation that began before the tenant changed.
    OldFlight(Arc<Mutex<HashMap<StatsKey, Permit>>>),
    /// A fence goes down by itself, in the Redis at this URL, before its write ends.
    ShortFence(String),
    /// Redis, at this URL, is trusted as soon as it can be reached again.
    NoDistrust(String),
    /// A fence that Redis was not told of is taken for one that it was.
    NoRow,
}

impl Rule {
    /// What must be overtaken for it to show.
    pub fn shows_with(&self) -> Slower {
        match self {
            Self::LateGeneration | Self::NoGeneration(_) | Self::Delete(_) | Self::OldFlight(_) => {
                Slower::Computations
            }
            Self::NoFence
            | Self::FenceBeforeCommit
            | Self::ShortFence(_)
            | Self::Dies(_)
            | Self::NoDistrust(_)
            | Self::NoRow => Slower::Writes,
        }
    }
}

/// What all instances keep beside their cache, without generations.
#[derive(Debug, Clone, Default)]
pub struct Kept(Arc<Mutex<HashMap<StatsKey, Entry>>>);

/// Does what `inner` does, but for the rule that it breaks.
pub struct Broken {
    pub inner: Arc<dyn StatsCache>,
    pub rule: Rule,
}

/// How long Redis may take to be reached.
const REACHED: Duration = Duration::from_secs(1);

impl Kept {
    fn get(&self, key: &StatsKey) -> Option<Entry> {
        self.0.lock().unwrap().get(key).cloned()
    }

    fn put(&self, key: &StatsKey, entry: Entry) {
        self.0.lock().unwrap().insert(key.clone(), entry);
    }

    fn delete(&self) {
        self.0.lock().unwrap().clear();
    }
}

/// A fence that only [`Broken`] knows of.
fn no_fence(tenant: &TenantId) -> Fence {
    Fence::new(tenant.clone(), None)
}

/// A permit for a hit that knows of no generation: only who computes anew what is hit looks at it.
fn any_permit() -> Permit {
    Permit::new(Generation::new(0))
}

async fn connection(url: &str) -> Option<redis::aio::MultiplexedConnection> {
    let client = redis::Client::open(url).ok()?;
    client.get_multiplexed_async_connection().await.ok()
}

/// As src/cache/redis has it.
fn key_name(tenant: &TenantId, name: &str) -> String {
    format!("megastats:{{{}}}:{name}", tenant.as_str())
}

/// The entry that Redis holds for the generation that it holds, with no regard to when it was set.
async fn read_at_once(url: &str, key: &StatsKey) -> Option<Entry> {
    let ask = async {
        let mut connection = connection(url).await?;
        let names = ["generation", "fence", key.as_str()];
        let names = names.map(|name| key_name(key.tenant(), name));
        let found: [Option<Vec<u8>>; 3] = redis::Cmd::mget(&names[..])
            .query_async(&mut connection)
            .await
            .ok()?;
        let [Some(generation), None, Some(entry)] = found else {
            return None;
        };
        // As src/cache/redis/envelope.rs writes it: mark, generation, time and sum, body.
        let (head, body) = entry.split_at(23);
        let mark = u64::from_be_bytes(head[3..11].try_into().unwrap());
        let is_current = generation.starts_with(format!("{mark:016x}").as_bytes());
        is_current.then(|| Entry {
            body: body.to_vec().into(),
            age: Duration::ZERO,
        })
    };
    tokio::time::timeout(REACHED, ask).await.ok()?
}

#[async_trait]
impl StatsCache for Broken {
    async fn look_up(&self, key: &StatsKey) -> Result<Lookup, CacheError> {
        if let Rule::NoDistrust(url) = &self.rule
            && let Some(entry) = read_at_once(url, key).await
        {
            return Ok(Lookup::Hit(any_permit(), entry));
        }
        let found = self.inner.look_up(key).await?;
        let (Lookup::Miss(permit) | Lookup::Expired(permit, _)) = &found else {
            return Ok(found);
        };
        Ok(match &self.rule {
            Rule::NoGeneration(kept) | Rule::Delete(kept) => {
                let kept = kept.get(key);
                kept.map_or(found.clone(), |entry| Lookup::Hit(permit.clone(), entry))
            }
            Rule::OldFlight(first) => {
                let mut first = first.lock().unwrap();
                let first = first.entry(key.clone()).or_insert_with(|| permit.clone());
                Lookup::Miss(first.clone())
            }
            _ => found,
        })
    }

    async fn store(&self, key: &StatsKey, permit: &Permit, entry: Entry) -> Result<(), CacheError> {
        match &self.rule {
            Rule::NoGeneration(kept) | Rule::Delete(kept) => {
                kept.put(key, entry);
                Ok(())
            }
            Rule::OldFlight(_) => Ok(()),
            Rule::LateGeneration => match self.inner.look_up(key).await? {
                Lookup::Miss(late) | Lookup::Expired(late, _) => {
                    self.inner.store(key, &late, entry).await
                }
                Lookup::Hit(..) | Lookup::Bypass(_) => Ok(()),
            },
            _ => self.inner.store(key, permit, entry).await,
        }
    }

    async fn fence(&self, tenant: &TenantId) -> Result<Fence, CacheError> {
        match &self.rule {
            Rule::NoFence => Ok(no_fence(tenant)),
            Rule::FenceBeforeCommit => {
                let fence = self.inner.fence(tenant).await?;
                self.inner.release(fence).await?;
                Ok(no_fence(tenant))
            }
            Rule::Dies(of) if of.get().is_some_and(|of| of == tenant.as_str()) => {
                let _never_released = self.inner.fence(tenant).await?;
                std::future::pending().await
            }
            Rule::ShortFence(url) => {
                let fence = self.inner.fence(tenant).await?;
                let name = key_name(tenant, "fence");
                let mut redis = connection(url).await.unwrap();
                redis::Cmd::del(name).exec_async(&mut redis).await.unwrap();
                Ok(fence)
            }
            Rule::NoRow => {
                let fence = self.inner.fence(tenant).await?;
                let until = fence.until;
                Ok(Fence::new(fence, until))
            }
            _ => self.inner.fence(tenant).await,
        }
    }

    async fn release(&self, fence: Fence) -> Result<Released, CacheError> {
        match &self.rule {
            Rule::NoFence => {
                let tenant: TenantId = fence.into_ticket()?;
                let late = self.inner.fence(&tenant).await?;
                return self.inner.release(late).await;
            }
            Rule::FenceBeforeCommit => return Ok(Released::Everywhere),
            Rule::Delete(kept) => kept.delete(),
            Rule::NoRow => return self.inner.release(fence.into_ticket()?).await,
            _ => {}
        }
        self.inner.release(fence).await
    }

    async fn purge(&self) -> Result<(), CacheError> {
        self.inner.purge().await
    }
}
