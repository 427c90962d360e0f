//! Writing to the database so that no answer that is given afterwards is older: every transaction
//! runs while a fence is raised.

use std::sync::Arc;

use thiserror::Error;

use super::{
    relay::Relay,
    stats_cache::{CacheError, Fence, Released, StatsCache, purge_tenant},
};
use crate::{
    db::{AnyConn, Db, DbError, QueryResult},
    metrics::CacheCounters,
    tasks::Tasks,
    tenant::TenantId,
};

/// Writes to one database, and tells one cache. Cheap to clone.
#[derive(Clone)]
pub struct Writer {
    db: Db,
    cache: Arc<dyn StatsCache>,
    relay: Option<Relay>,
    counters: Arc<CacheCounters>,
    tasks: Tasks,
}

/// A write did not take place, or nobody knows whether it did. Either way no answer is outdated.
#[derive(Debug, Error)]
pub enum WriteError {
    /// The cache cannot promise to invalidate its entries, so nothing was written.
    #[error("nothing was written: {0}")]
    Fence(CacheError),
    /// The database failed.
    #[error(transparent)]
    Database(#[from] DbError),
    /// The write stopped without a result.
    #[error("the write stopped without a result")]
    NoResult,
}

impl Writer {
    /// Writes to `db` and tells `cache`, by `relay` where that fails; writes run as `tasks`.
    pub fn new(
        db: Db,
        cache: Arc<dyn StatsCache>,
        relay: Option<Relay>,
        counters: Arc<CacheCounters>,
        tasks: Tasks,
    ) -> Self {
        Self {
            db,
            cache,
            relay,
            counters,
            tasks,
        }
    }

    /// Runs `transaction`, which writes to `tenant`'s data. No read that starts after this has
    /// returned is answered from before it. The write goes on to its end even if the caller is
    /// dropped.
    pub async fn write<T, F>(&self, tenant: &TenantId, transaction: F) -> Result<T, WriteError>
    where
        T: Send + 'static,
        F: FnOnce(&mut AnyConn) -> QueryResult<T> + Send + 'static,
    {
        let writer = self.clone();
        let tenant = tenant.clone();
        let write = self.tasks.spawn(async move {
            let written = writer.write_fenced(&tenant, transaction).await;
            writer.count(&written);
            written
        });
        write.await.map_err(|_stopped| WriteError::NoResult)?
    }

    async fn write_fenced<T, F>(&self, tenant: &TenantId, transaction: F) -> Result<T, WriteError>
    where
        T: Send + 'static,
        F: FnOnce(&mut AnyConn) -> QueryResult<T> + Send + 'static,
    {
        // 0. Wait for the tenant's turn. Meanwhile the tenant is still answered from the cache.
        drop(self.db.write_turn(Some(tenant)).await?);
        // 1. Fence. From here on nobody is answered from the cache. Others use the connection while this
        // writer waits for the cache.
        let fence = self.cache.fence(tenant).await.map_err(WriteError::Fence)?;
        self.counters.fences.inc();
        // 2. If the backend has not confirmed the fence, have another instance raise one. Then commit, before
        // the fence can end by itself. A panic comes back as an error.
        let committed = self.commit(tenant, &fence, transaction).await;
        // 3. Release, even if the transaction failed: it may have committed all the same.
        self.release(fence).await;
        Ok(committed?)
    }

    async fn commit<T, F>(
        &self,
        tenant: &TenantId,
        fence: &Fence,
        transaction: F,
    ) -> Result<T, DbError>
    where
        T: Send + 'static,
        F: FnOnce(&mut AnyConn) -> QueryResult<T> + Send + 'static,
    {
        let handed_over = match &self.relay {
            Some(relay) if fence.is_delivered => {
                relay.note_delivered();
                None
            }
            Some(relay) => Some(relay.hand_over(tenant, fence.until).await?),
            None => None,
        };
        let write = move |conn: &mut AnyConn| {
            let written = transaction(conn);
            if let Some(handed_over) = handed_over {
                handed_over.finish(conn);
            }
            written
        };
        let turn = self.db.next_write_turn(Some(tenant)).await?;
        self.db.write(turn, fence.until, write).await
    }

    async fn release(&self, fence: Fence) {
        match self.cache.release(fence).await {
            Ok(released) => {
                self.counters.generations.inc();
                if released == Released::Pending {
                    log::debug!("cache: the invalidation after a write is pending");
                }
            }
            Err(error) => {
                self.counters.failures.release.inc();
                log::error!("cache: a fence was not released: {error}");
            }
        }
    }

    fn count<T>(&self, written: &Result<T, WriteError>) {
        let counters = &self.counters;
        match written {
            Ok(_) => counters.writes.committed.inc(),
            Err(WriteError::Database(_) | WriteError::NoResult) => counters.writes.failed.inc(),
            Err(WriteError::Fence(_)) => {
                counters.failures.fence.inc();
                counters.writes.refused.inc();
            }
        }
    }

    /// Purges what is kept for `tenant`, or for every tenant: no read that starts after this has
    /// returned is answered from it. Goes on to its end even if the caller is dropped.
    pub async fn purge(&self, tenant: Option<&TenantId>) -> Result<(), CacheError> {
        let cache = Arc::clone(&self.cache);
        let tenant = tenant.cloned();
        let purge = self.tasks.spawn(async move {
            let Some(tenant) = tenant else {
                return cache.purge().await;
            };
            purge_tenant(&*cache, &tenant).await
        });
        purge
            .await
            .map_err(|stopped| CacheError::Unavailable(stopped.to_string()))?
    }
}
