//! A cache that fails or is slow: what becomes of reads, writes and purges.

use std::{sync::Mutex, time::Instant};

use async_trait::async_trait;

use super::*;

/// How a backend misbehaves.
enum Fault {
    /// Every call but a release fails.
    Fails,
    /// The first lookup is held up after it has found what it found, until the sender speaks.
    LateLookup {
        gate: Mutex<Option<oneshot::Receiver<()>>>,
        is_held: Arc<AtomicBool>,
    },
    /// A fence ends by itself as soon as it is raised.
    ShortFence,
}

/// A cache in memory that misbehaves.
struct Faulty {
    inner: MemoryCache,
    fault: Fault,
}

impl Faulty {
    fn new(fault: Fault) -> Self {
        let inner = MemoryCache::new(LIFE, 100);
        Self { inner, fault }
    }

    fn check(&self) -> Result<(), CacheError> {
        match self.fault {
            Fault::Fails => Err(CacheError::Unavailable("on purpose".into())),
            Fault::LateLookup { .. } | Fault::ShortFence => Ok(()),
        }
    }
}

#[async_trait]
impl StatsCache for Faulty {
    async fn look_up(&self, key: &StatsKey) -> Result<Lookup, CacheError> {
        self.check()?;
        let found = self.inner.look_up(key).await;
        if let Fault::LateLookup { gate, is_held } = &self.fault {
            let gate = gate.lock().unwrap().take();
            if let Some(gate) = gate {
                is_held.store(true, Ordering::SeqCst);
                let _ = gate.await;
            }
        }
        found
    }

    async fn store(&self, key: &StatsKey, permit: &Permit, entry: Entry) -> Result<(), CacheError> {
        self.check()?;
        self.inner.store(key, permit, entry).await
    }

    async fn fence(&self, tenant: &TenantId) -> Result<Fence, CacheError> {
        self.check()?;
        let fence = self.inner.fence(tenant).await?;
        Ok(match self.fault {
            Fault::ShortFence => Fence::new(fence.into_ticket::<TenantId>()?, Some(Instant::now())),
            Fault::Fails | Fault::LateLookup { .. } => fence,
        })
    }

    async fn release(&self, fence: Fence) -> Result<Released, CacheError> {
        self.inner.release(fence).await
    }

    async fn purge(&self) -> Result<(), CacheError> {
        self.check()?;
        self.inner.purge().await
    }
}

#[tokio::test]
async fn a_request_that_comes_late_to_a_computation_does_not_repeat_it() {
    let (open, gate) = oneshot::channel();
    let is_held = Arc::new(AtomicBool::new(false));
    let cached = through(Faulty::new(Fault::LateLookup {
        gate: Mutex::new(Some(gate)),
        is_held: Arc::clone(&is_held),
    }));
    let late = tokio::spawn({
        let cached = Arc::clone(&cached);
        async move { read(&cached, "repeated").await }
    });
    while !is_held.load(Ordering::SeqCst) {
        tokio::task::yield_now().await;
    }
    assert_eq!(read(&cached, "once").await, answer(Outcome::Miss, "once"));
    open.send(()).unwrap();
    assert_eq!(late.await.unwrap(), answer(Outcome::Hit, "once"));
}

#[tokio::test]
async fn a_cache_that_fails_costs_time_but_no_answer() {
    let cached = through(Faulty::new(Fault::Fails));
    assert_eq!(read(&cached, "0").await, answer(Outcome::Bypass, "0"));
    assert_eq!(read(&cached, "1").await, answer(Outcome::Bypass, "1"));
    assert_eq!(cached.counters.failures.lookup.get(), 2);
}

#[tokio::test]
async fn what_cannot_be_fenced_is_not_written() {
    let cached = through(Faulty::new(Fault::Fails));
    let refused = cached.writer.write(&tenant(), not_run).await;
    assert!(matches!(refused, Err(WriteError::Fence(_))));
    assert_eq!(cached.counters.failures.fence.get(), 1);
    assert_eq!(cached.counters.writes.refused.get(), 1);
    assert_eq!(cached.counters.fences.get(), 0);
}

#[tokio::test]
async fn what_might_commit_after_its_fence_has_ended_is_not_written() {
    let cached = through(Faulty::new(Fault::ShortFence));
    let late = cached.writer.write(&tenant(), not_run).await;
    assert!(matches!(late, Err(WriteError::Database(DbError::TooLate))));
    assert_eq!(read(&cached, "after").await, answer(Outcome::Miss, "after"));
}

fn not_run(_: &mut AnyConn) -> QueryResult<()> {
    unreachable!("the fence is no protection")
}

#[tokio::test]
async fn a_purge_that_fails_is_told() {
    let cached = through(Faulty::new(Fault::Fails));
    for whom in [Some(&tenant()), None] {
        assert!(cached.writer.purge(whom).await.is_err());
    }
}
