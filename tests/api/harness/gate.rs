//! A cache whose steps a test can hold up, to stand between two of them.

use std::sync::Arc;

use async_trait::async_trait;
use megastats::{
    cache::{CacheError, Entry, Fence, Generation, KeyPage, Lookup, StatsCache, StatsKey},
    tenant::TenantId,
};
use tokio::sync::watch;

/// A step of the cache's work that can be held up just before it is done.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Step {
    Lookup,
    Store,
    Fence,
    Release,
}

/// Does what `inner` does, but stops before the held steps.
#[derive(Clone)]
pub struct Gate {
    inner: Arc<dyn StatsCache>,
    held: Arc<watch::Sender<Vec<Step>>>,
    reached: Arc<watch::Sender<Vec<Step>>>,
}

impl Gate {
    pub fn around(inner: Arc<dyn StatsCache>) -> Self {
        let (held, reached) = (watch::Sender::new(Vec::new()), watch::Sender::new(Vec::new()));
        Self { inner, held: Arc::new(held), reached: Arc::new(reached) }
    }

    /// From now on nobody passes `step`.
    pub fn hold(&self, step: Step) {
        self.held.send_modify(|held| held.push(step));
    }

    /// Everybody who waits before `step` goes on, and whoever comes later passes.
    pub fn open(&self, step: Step) {
        self.held.send_modify(|held| held.retain(|other| *other != step));
    }

    /// Waits until `step` has been reached `times` times since the start, held up or not.
    pub async fn reached(&self, step: Step, times: usize) {
        let count = |steps: &Vec<Step>| steps.iter().filter(|other| **other == step).count();
        self.reached.subscribe().wait_for(|steps| count(steps) >= times).await.unwrap();
    }

    async fn pass(&self, step: Step) {
        self.reached.send_modify(|steps| steps.push(step));
        self.held.subscribe().wait_for(|held| !held.contains(&step)).await.unwrap();
    }
}

#[async_trait]
impl StatsCache for Gate {
    async fn lookup(&self, key: &StatsKey) -> Result<Lookup, CacheError> {
        self.pass(Step::Lookup).await;
        self.inner.lookup(key).await
    }

    async fn store(
        &self,
        key: &StatsKey,
        seen: Generation,
        entry: Entry,
    ) -> Result<(), CacheError> {
        self.pass(Step::Store).await;
        self.inner.store(key, seen, entry).await
    }

    async fn fence(&self, tenant: &TenantId) -> Result<Fence, CacheError> {
        self.pass(Step::Fence).await;
        self.inner.fence(tenant).await
    }

    async fn release(&self, fence: Fence) -> Result<(), CacheError> {
        self.pass(Step::Release).await;
        self.inner.release(fence).await
    }

    async fn keys(&self, after: Option<&str>, limit: usize) -> Result<KeyPage, CacheError> {
        self.inner.keys(after, limit).await
    }
}
