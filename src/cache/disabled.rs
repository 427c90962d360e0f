//! The backend `none`: keeps nothing. The switch for operators who suspect the cache.

use async_trait::async_trait;

use super::{
    key::StatsKey,
    pages::{KeyPage, ListKeys},
    stats_cache::{BypassReason, CacheError, Entry, Fence, Lookup, Permit, Released, StatsCache},
};
use crate::tenant::TenantId;

/// Answers every lookup with [`Lookup::Bypass`]: requests still share computations that start after
/// they arrived, and nothing else.
#[derive(Debug, Clone, Copy, Default)]
pub struct DisabledCache;

#[async_trait]
impl StatsCache for DisabledCache {
    async fn look_up(&self, _key: &StatsKey) -> Result<Lookup, CacheError> {
        Ok(Lookup::Bypass(BypassReason::SwitchedOff))
    }

    async fn store(
        &self,
        _key: &StatsKey,
        _permit: &Permit,
        _entry: Entry,
    ) -> Result<(), CacheError> {
        Ok(())
    }

    async fn fence(&self, _tenant: &TenantId) -> Result<Fence, CacheError> {
        Ok(Fence::new((), None))
    }

    async fn release(&self, _fence: Fence) -> Result<Released, CacheError> {
        Ok(Released::Everywhere)
    }

    async fn purge(&self) -> Result<(), CacheError> {
        Ok(())
    }
}

#[async_trait]
impl ListKeys for DisabledCache {
    async fn keys(&self, _after: Option<&str>, _limit: usize) -> Result<KeyPage, CacheError> {
        Ok(KeyPage::default())
    }
}

#[cfg(test)]
mod tests {
    use super::{super::conformance, *};

    conformance::safety!(async { conformance::Handles::one(DisabledCache) });
}
