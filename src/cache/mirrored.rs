//! Answers from one backend and tells another of every write, so that instances which read from the
//! other stay fresh: operators switch backends one instance after another.

use std::sync::Arc;

use async_trait::async_trait;

use super::{
    key::StatsKey,
    stats_cache::{CacheError, Entry, Fence, Lookup, Permit, Released, StatsCache},
};
use crate::tenant::TenantId;

/// Reads and stores in `selected`; fences, releases and purges in both.
pub struct Mirrored {
    selected: Arc<dyn StatsCache>,
    mirror: Arc<dyn StatsCache>,
}

impl Mirrored {
    /// `mirror` is told of every write, and never read.
    pub fn new(selected: Arc<dyn StatsCache>, mirror: Arc<dyn StatsCache>) -> Self {
        Self { selected, mirror }
    }
}

/// The fences of one write in both.
struct BothFences {
    selected: Fence,
    mirror: Fence,
}

#[async_trait]
impl StatsCache for Mirrored {
    async fn look_up(&self, key: &StatsKey) -> Result<Lookup, CacheError> {
        self.selected.look_up(key).await
    }

    async fn store(&self, key: &StatsKey, permit: &Permit, entry: Entry) -> Result<(), CacheError> {
        self.selected.store(key, permit, entry).await
    }

    async fn fence(&self, tenant: &TenantId) -> Result<Fence, CacheError> {
        // The mirror comes first, since it may fail: then no fence is left standing in the other.
        let mirror = self.mirror.fence(tenant).await?;
        let selected = self.selected.fence(tenant).await?;
        let until = [mirror.until, selected.until].into_iter().flatten().min();
        let is_delivered = mirror.is_delivered && selected.is_delivered;
        let mut both = Fence::new(BothFences { selected, mirror }, until);
        both.is_delivered = is_delivered;
        Ok(both)
    }

    async fn release(&self, fence: Fence) -> Result<Released, CacheError> {
        let BothFences { selected, mirror } = fence.into_ticket()?;
        // Both are released, even if the first fails.
        let selected = self.selected.release(selected).await;
        let mirror = self.mirror.release(mirror).await?;
        Ok(match selected? {
            Released::Everywhere => mirror,
            Released::Pending => Released::Pending,
        })
    }

    async fn purge(&self) -> Result<(), CacheError> {
        // Both are purged, even if the first fails.
        let mirror = self.mirror.purge().await;
        let selected = self.selected.purge().await;
        mirror.and(selected)
    }
}
