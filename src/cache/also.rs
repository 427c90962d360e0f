//! Answering from one backend while telling another of every write, so that instances which read
//! from the other stay fresh: while backends are switched one instance after another.

use std::sync::Arc;

use async_trait::async_trait;

use super::{
    CacheError, Entry, Fence, Generation, KeyPage, Lease, LinkState, Lookup, StatsCache, StatsKey,
};
use crate::tenant::TenantId;

/// Reads and stores in `selected`; fences and releases in both.
pub struct AlsoTelling {
    selected: Arc<dyn StatsCache>,
    told: Arc<dyn StatsCache>,
}

impl AlsoTelling {
    /// `told` is never read.
    #[must_use]
    pub fn new(selected: Arc<dyn StatsCache>, told: Arc<dyn StatsCache>) -> Self {
        Self { selected, told }
    }
}

#[async_trait]
impl StatsCache for AlsoTelling {
    async fn lookup(&self, key: &StatsKey) -> Result<Lookup, CacheError> {
        self.selected.lookup(key).await
    }

    async fn store(
        &self,
        key: &StatsKey,
        seen: Generation,
        entry: Entry,
    ) -> Result<(), CacheError> {
        self.selected.store(key, seen, entry).await
    }

    async fn fence(&self, tenant: &TenantId) -> Result<Fence, CacheError> {
        // The one that may fail comes first: then nothing is left standing.
        let told = self.told.fence(tenant).await?;
        let selected = self.selected.fence(tenant).await?;
        Ok(Fence {
            also: Some(Box::new(told)),
            ..selected
        })
    }

    async fn release(&self, fence: Fence) -> Result<(), CacheError> {
        let Fence { also, .. } = fence;
        let selected = Fence {
            also: None,
            ..fence
        };
        let released = self.selected.release(selected).await;
        if let Some(told) = also {
            self.told.release(*told).await?;
        }
        released
    }

    async fn forget_all(&self) -> Result<(), CacheError> {
        // Both, also if the first fails.
        let (told, selected) = (
            self.told.forget_all().await,
            self.selected.forget_all().await,
        );
        told.and(selected)
    }

    async fn lease(&self, key: &StatsKey, seen: Generation) -> Result<Lease, CacheError> {
        self.selected.lease(key, seen).await
    }

    async fn end_lease(&self, key: &StatsKey, seen: Generation) -> Result<(), CacheError> {
        self.selected.end_lease(key, seen).await
    }

    async fn keys(&self, after: Option<&str>, limit: usize) -> Result<KeyPage, CacheError> {
        self.selected.keys(after, limit).await
    }

    fn entries(&self) -> Option<usize> {
        self.selected.entries()
    }

    fn link(&self) -> Option<LinkState> {
        self.told.link()
    }
}
