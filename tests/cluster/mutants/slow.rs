//! A cache whose steps take their time, so that everybody overtakes everybody, and which now and
//! then keeps nothing: any cache may do that. Its permits have no leases, so that all instances compute
//! for themselves.

use std::{ops::RangeInclusive, sync::Arc, time::Duration};

use async_trait::async_trait;
use megastats::{
    cache::{CacheError, Entry, Fence, Lookup, Permit, Released, StatsCache, StatsKey},
    tenant::TenantId,
};
use rand::RngExt;

/// Of so many stores one is left out.
const LEFT_OUT: u32 = 2;

/// Waits before and after what `inner` does.
pub struct Slow {
    pub inner: Arc<dyn StatsCache>,
    pub slower: Slower,
}

/// What takes longer, and so is overtaken by the other.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Slower {
    Writes,
    Computations,
}

impl Slow {
    pub fn around(inner: Arc<dyn StatsCache>) -> Self {
        Self {
            inner,
            slower: Slower::Writes,
        }
    }
}

async fn wait(milliseconds: RangeInclusive<u64>) {
    let milliseconds = rand::rng().random_range(milliseconds);
    tokio::time::sleep(Duration::from_millis(milliseconds)).await;
}

#[async_trait]
impl StatsCache for Slow {
    async fn look_up(&self, key: &StatsKey) -> Result<Lookup, CacheError> {
        let alone = |permit: Permit| Permit::new(permit.generation);
        Ok(match self.inner.look_up(key).await? {
            Lookup::Hit(permit, entry) => Lookup::Hit(alone(permit), entry),
            Lookup::Expired(permit, entry) => Lookup::Expired(alone(permit), entry),
            Lookup::Miss(permit) => Lookup::Miss(alone(permit)),
            Lookup::Bypass(reason) => Lookup::Bypass(reason),
        })
    }

    async fn store(&self, key: &StatsKey, permit: &Permit, entry: Entry) -> Result<(), CacheError> {
        wait(match self.slower {
            Slower::Writes => 0..=40,
            Slower::Computations => 0..=150,
        })
        .await;
        if rand::rng().random_ratio(1, LEFT_OUT) {
            return Ok(());
        }
        self.inner.store(key, permit, entry).await
    }

    async fn fence(&self, tenant: &TenantId) -> Result<Fence, CacheError> {
        let fence = self.inner.fence(tenant).await;
        if self.slower == Slower::Writes {
            wait(0..=60).await;
        }
        fence
    }

    async fn release(&self, fence: Fence) -> Result<Released, CacheError> {
        if self.slower == Slower::Writes {
            wait(0..=200).await;
        }
        self.inner.release(fence).await
    }

    async fn purge(&self) -> Result<(), CacheError> {
        self.inner.purge().await
    }
}
