//! The backend `none`: keeps nothing. The switch for ops who suspect the cache.

use async_trait::async_trait;

use super::{CacheError, Entry, Fence, Generation, KeyPage, Lookup, StatsCache, StatsKey};
use crate::tenant::TenantId;

/// Answers every lookup with [`Lookup::Fenced`]: requests still share computations that start
/// after they arrived, and nothing else.
#[derive(Debug, Clone, Copy, Default)]
pub struct DisabledCache;

#[async_trait]
impl StatsCache for DisabledCache {
    async fn lookup(&self, _key: &StatsKey) -> Result<Lookup, CacheError> {
        Ok(Lookup::Fenced)
    }

    async fn store(
        &self,
        _key: &StatsKey,
        _seen: Generation,
        _entry: Entry,
    ) -> Result<(), CacheError> {
        Ok(())
    }

    async fn fence(&self, tenant: &TenantId) -> Result<Fence, CacheError> {
        Ok(Fence {
            tenant: tenant.clone(),
            mark: None,
            late: false,
            until: None,
            also: None,
        })
    }

    async fn release(&self, _fence: Fence) -> Result<(), CacheError> {
        Ok(())
    }

    async fn forget_all(&self) -> Result<(), CacheError> {
        Ok(())
    }

    async fn keys(&self, _after: Option<&str>, _limit: usize) -> Result<KeyPage, CacheError> {
        Ok(KeyPage {
            total: 0,
            keys: Vec::new(),
            more: false,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::{super::conformance, *};

    conformance::safety!(async { conformance::Handles::one(DisabledCache) });
}
