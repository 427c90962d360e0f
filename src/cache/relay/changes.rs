//! Which tenants other people's SQL has changed, and purging what is cached for them.

use std::{collections::HashSet, future, mem, sync::Arc, time::Duration};

use futures_util::{StreamExt as _, stream};
use tokio::task::JoinSet;

use crate::{
    cache::stats_cache::{StatsCache, purge_tenant},
    tenant::TenantId,
};

/// Tenants that are remembered one by one. When there are more, everything is purged.
const MAX_TENANTS: usize = 1000;

/// Tenants that are purged at a time.
const AT_ONCE: usize = 16;

/// The pause before what could not be purged is tried again.
const RETRY_PAUSE: Duration = Duration::from_secs(1);

/// What has changed and was not purged yet.
#[derive(Debug, Default)]
struct Changed {
    everything: bool,
    tenants: HashSet<TenantId>,
}

/// Purges what has changed, one lot after the other: what changes again meanwhile is of the next lot.
pub(super) struct ChangeFollower {
    cache: Arc<dyn StatsCache>,
    waiting: Changed,
    /// At most one; it gives back what it could not do.
    running: JoinSet<Changed>,
}

impl Changed {
    fn is_empty(&self) -> bool {
        !self.everything && self.tenants.is_empty()
    }

    async fn purge(self, cache: Arc<dyn StatsCache>) -> Self {
        let mut left = Self::default();
        if self.everything {
            let purged = cache.purge().await;
            left.everything = purged.is_err();
        } else {
            let cache = &*cache;
            let purge = |tenant: TenantId| async move {
                let failed = purge_tenant(cache, &tenant).await.is_err();
                failed.then_some(tenant)
            };
            let tenants = stream::iter(self.tenants).map(purge);
            let failed = tenants.buffer_unordered(AT_ONCE);
            left.tenants = failed.filter_map(|tenant| async { tenant }).collect().await;
        }
        if !left.is_empty() {
            tokio::time::sleep(RETRY_PAUSE).await;
        }
        left
    }
}

impl ChangeFollower {
    pub(super) fn new(cache: Arc<dyn StatsCache>) -> Self {
        Self {
            cache,
            waiting: Changed::default(),
            running: JoinSet::new(),
        }
    }

    /// Notes that `tenant` has changed.
    pub(super) fn add(&mut self, tenant: TenantId) {
        if self.waiting.tenants.len() >= MAX_TENANTS {
            self.add_everything();
        } else {
            self.waiting.tenants.insert(tenant);
        }
    }

    /// Notes that any tenant may have changed.
    pub(super) fn add_everything(&mut self) {
        self.waiting.everything = true;
        self.waiting.tenants.clear();
    }

    /// Begins to purge what has changed, unless an earlier lot is still being purged.
    pub(super) fn start(&mut self) {
        if self.running.is_empty() && !self.waiting.is_empty() {
            let changed = mem::take(&mut self.waiting);
            self.running.spawn(changed.purge(Arc::clone(&self.cache)));
        }
    }

    /// Waits until a lot was purged, for ever if there is none.
    pub(super) async fn done(&mut self) {
        match self.running.join_next().await {
            Some(Ok(left)) => {
                self.waiting.everything |= left.everything;
                self.waiting.tenants.extend(left.tenants);
            }
            Some(Err(_panicked)) => self.add_everything(),
            None => future::pending().await,
        }
    }
}
