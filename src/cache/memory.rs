//! The backend `memory`: entries in this process, bounded in number. One past its lifetime is not found any
//! more. It is removed once it is the one that was not read for longest, or when the keys are listed.
//!
//! Generations and fences live in a fixed table of slots, so that a flood of tenants cannot grow
//! it. A write to one of two tenants that share a slot also fences and invalidates the other.

use std::{
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
    time::Instant,
};

use ahash::RandomState;
use async_trait::async_trait;
use bytes::Bytes;
use cached::ShardedLruCache;

use super::{
    key::StatsKey,
    pages::{KeyPage, KeyPageBuilder, ListKeys},
    stats_cache::{
        BypassReason, CacheError, Entry, Fence, Generation, Lifetime, Lookup, Permit, Released,
        StatsCache,
    },
};
use crate::tenant::TenantId;

/// How many generations there are, whatever the number of tenants. They take half a megabyte.
const SLOTS: usize = 1 << 16;

/// Entries per lock, before more locks are used.
const ENTRIES_PER_SHARD: usize = 64;

/// Enough locks that the workers of any one machine rarely meet at one.
const MAX_SHARDS: usize = 64;

/// A sharded LRU map, in which a lookup finds an entry until its lifetime has passed.
#[derive(Debug, Clone)]
pub struct MemoryCache {
    inner: Arc<Inner>,
}

#[derive(Debug)]
struct Inner {
    entries: ShardedLruCache<StatsKey, Stored>,
    slots: Box<[Slot]>,
    /// Seeded at random, so that no client can choose a tenant that shares another's slot.
    hasher: RandomState,
    life: Lifetime,
}

#[derive(Debug, Clone)]
struct Stored {
    generation: Generation,
    body: Bytes,
    born: Instant,
}

impl MemoryCache {
    /// Holds at most `max_entries`, which lookups find for `life`.
    pub fn new(life: Lifetime, max_entries: usize) -> Self {
        let shards = (max_entries / ENTRIES_PER_SHARD).clamp(1, MAX_SHARDS);
        let shards = 1 << shards.ilog2();
        let entries = ShardedLruCache::builder()
            .shards(shards)
            // This is rounded down, so that the bound holds for the sum.
            .per_shard_max_size(max_entries / shards)
            .build()
            .expect("`max_entries` is at least 1, and so is the size of a shard");
        let slots = (0..SLOTS).map(|_| Slot::default()).collect();
        Self {
            inner: Arc::new(Inner {
                entries,
                slots,
                hasher: RandomState::new(),
                life,
            }),
        }
    }
}

impl Inner {
    fn slot(&self, tenant: &TenantId) -> &Slot {
        let hash = self.hasher.hash_one(tenant.as_str());
        let index = usize::try_from(hash % SLOTS as u64).expect("below SLOTS, which is a usize");
        &self.slots[index]
    }

    fn keys(&self, after: Option<&str>, limit: usize) -> KeyPage {
        let mut page = KeyPageBuilder::new(after, limit);
        // Those that no lookup can find any more are removed at the same time.
        self.entries.retain(|key, stored| {
            let age = stored.born.elapsed();
            let slot = self.slot(key.tenant()).read();
            let current = slot.generation == stored.generation;
            if current && slot.fences == 0 && age < self.life.fresh {
                page.add(key.as_str());
            }
            current && age < self.life.whole()
        });
        page.finish()
    }

    fn purge(&self) {
        for slot in &self.slots {
            slot.invalidate();
        }
        self.entries.clear();
    }
}

impl MemoryCache {
    /// How many entries are kept, those included that no lookup will find any more.
    pub fn entries(&self) -> usize {
        self.inner.entries.len()
    }
}

#[async_trait]
impl StatsCache for MemoryCache {
    async fn look_up(&self, key: &StatsKey) -> Result<Lookup, CacheError> {
        // The slot is read before the entry: an entry of this generation held when it was read.
        let slot = self.inner.slot(key.tenant()).read();
        if slot.fences > 0 {
            return Ok(Lookup::Bypass(BypassReason::Write));
        }
        let permit = Permit::new(slot.generation);
        let stored = self.inner.entries.get(key);
        let current = stored.filter(|stored| stored.generation == slot.generation);
        Ok(match current {
            Some(Stored { body, born, .. }) => {
                let age = born.elapsed();
                self.inner.life.lookup(permit, Entry { body, age })
            }
            None => Lookup::Miss(permit),
        })
    }

    async fn store(&self, key: &StatsKey, permit: &Permit, entry: Entry) -> Result<(), CacheError> {
        let generation = permit.generation;
        let is_current = self.inner.slot(key.tenant()).read().generation == generation;
        let born = Instant::now().checked_sub(entry.age);
        if let (true, Some(born)) = (is_current, born) {
            let stored = Stored {
                generation,
                body: entry.body,
                born,
            };
            self.inner.entries.set(key.clone(), stored);
        }
        Ok(())
    }

    async fn fence(&self, tenant: &TenantId) -> Result<Fence, CacheError> {
        self.inner.slot(tenant).raise();
        Ok(Fence::new(tenant.clone(), None))
    }

    async fn release(&self, fence: Fence) -> Result<Released, CacheError> {
        let tenant: TenantId = fence.into_ticket()?;
        self.inner.slot(&tenant).release();
        Ok(Released::Everywhere)
    }

    async fn purge(&self) -> Result<(), CacheError> {
        let inner = Arc::clone(&self.inner);
        off_the_workers(move || inner.purge()).await
    }
}

#[async_trait]
impl ListKeys for MemoryCache {
    async fn keys(&self, after: Option<&str>, limit: usize) -> Result<KeyPage, CacheError> {
        let inner = Arc::clone(&self.inner);
        let after = after.map(str::to_owned);
        off_the_workers(move || inner.keys(after.as_deref(), limit)).await
    }
}

/// Runs `work`, which visits every slot or entry and so takes too long for a thread that serves
/// requests.
async fn off_the_workers<T: Send + 'static>(
    work: impl FnOnce() -> T + Send + 'static,
) -> Result<T, CacheError> {
    tokio::task::spawn_blocking(work)
        .await
        .map_err(|error| CacheError::Unavailable(error.to_string()))
}

/// A generation and the number of raised fences, in one word, so that a lookup sees both at one moment.
#[derive(Debug, Default)]
struct Slot(AtomicU64);

#[derive(Debug, Clone, Copy)]
struct SlotState {
    generation: Generation,
    fences: u64,
}

/// The low bits count fences: a million writes at once, far more than connections. The rest is the
/// generation: it returns after 2^44 writes to one slot.
const FENCE_BITS: u32 = 20;
const FENCE_MASK: u64 = (1 << FENCE_BITS) - 1;
const NEXT_GENERATION: u64 = 1 << FENCE_BITS;

impl Slot {
    fn read(&self) -> SlotState {
        let word = self.0.load(Ordering::SeqCst);
        SlotState {
            generation: Generation(word >> FENCE_BITS),
            fences: word & FENCE_MASK,
        }
    }

    fn raise(&self) {
        self.0.fetch_add(1, Ordering::SeqCst);
    }

    /// Sets a new generation and takes one fence down, at one moment. The generation wraps around.
    fn release(&self) {
        self.0.fetch_add(NEXT_GENERATION - 1, Ordering::SeqCst);
    }

    /// Sets a new generation, and leaves the fences standing.
    fn invalidate(&self) {
        self.0.fetch_add(NEXT_GENERATION, Ordering::SeqCst);
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::{super::conformance, *};

    conformance::safety!(async {
        conformance::Handles::one(MemoryCache::new(conformance::LIFE, 1000))
    });
    conformance::caching!(async {
        conformance::Handles::one(MemoryCache::new(conformance::LIFE, 1000))
    });
    conformance::listing!(async {
        conformance::Handles::one(MemoryCache::new(conformance::LIFE, 1000))
    });

    async fn fill(cache: &MemoryCache, tenants: usize) {
        for n in 0..tenants {
            let tenant = TenantId::parse(&format!("tenant-{n}")).unwrap();
            let key = StatsKey::new("mega_stats", &tenant, &[]);
            let Lookup::Miss(permit) = cache.look_up(&key).await.unwrap() else {
                panic!("not a miss")
            };
            let entry = Entry {
                body: Bytes::from_static(b"{}"),
                age: Duration::ZERO,
            };
            cache.store(&key, &permit, entry).await.unwrap();
        }
    }

    #[tokio::test]
    async fn a_flood_of_tenants_stays_within_max_entries() {
        for max_entries in [1, 7, 100, 1000] {
            let cache = MemoryCache::new(conformance::LIFE, max_entries);
            fill(&cache, 3000).await;
            let held = cache.keys(None, usize::MAX).await.unwrap().total;
            assert!(held <= max_entries, "{held} of {max_entries}");
            assert!(held * 2 >= max_entries, "{held} of {max_entries}");
            assert_eq!(cache.entries(), held);
        }
    }

    #[tokio::test]
    async fn release_lowers_one_fence_and_changes_the_generation_at_one_moment() {
        let slot = Slot::default();
        slot.raise();
        slot.raise();
        let before = slot.read();
        slot.release();
        assert_eq!(slot.read().fences, 1);
        assert_ne!(slot.read().generation, before.generation);
        slot.release();
        assert_eq!(slot.read().fences, 0);
    }
}
