//! A cache that fails or is slow: what becomes of reads, writes and purges.

use std::sync::Mutex;

use async_trait::async_trait;

use super::*;
use crate::cache::Permit;

/// A backend that misbehaves as told.
struct Odd {
    inner: MemoryCache,
    /// Every call fails.
    fails: bool,
    /// The next lookup is answered, but only told once the sender speaks.
    late: Mutex<Option<oneshot::Receiver<()>>>,
    was_late: Arc<AtomicBool>,
}

impl Odd {
    fn new(fails: bool, late: Option<oneshot::Receiver<()>>) -> Self {
        let inner = MemoryCache::new(LIFE, 100);
        Self {
            inner,
            fails,
            late: Mutex::new(late),
            was_late: Arc::default(),
        }
    }

    fn check(&self) -> Result<(), CacheError> {
        if self.fails {
            Err(CacheError::Unavailable("on purpose".into()))
        } else {
            Ok(())
        }
    }
}

#[async_trait]
impl StatsCache for Odd {
    async fn look_up(&self, key: &StatsKey) -> Result<Lookup, CacheError> {
        self.check()?;
        let found = self.inner.look_up(key).await;
        let late = self.late.lock().unwrap().take();
        if let Some(late) = late {
            self.was_late.store(true, Ordering::SeqCst);
            let _ = late.await;
        }
        found
    }

    async fn store(&self, key: &StatsKey, permit: &Permit, entry: Entry) -> Result<(), CacheError> {
        self.check()?;
        self.inner.store(key, permit, entry).await
    }

    async fn fence(&self, tenant: &TenantId) -> Result<Fence, CacheError> {
        self.check()?;
        self.inner.fence(tenant).await
    }

    async fn release(&self, fence: Fence) -> Result<Released, CacheError> {
        self.inner.release(fence).await
    }

    async fn forget(&self) -> Result<(), CacheError> {
        self.check()?;
        self.inner.forget().await
    }
}

#[tokio::test]
async fn a_request_that_comes_late_to_a_computation_does_not_repeat_it() {
    let (tell, late) = oneshot::channel();
    let odd = Odd::new(false, Some(late));
    let was_late = Arc::clone(&odd.was_late);
    let cached = through(odd);
    let late = tokio::spawn({
        let cached = Arc::clone(&cached);
        async move { read(&cached, "repeated").await }
    });
    while !was_late.load(Ordering::SeqCst) {
        tokio::task::yield_now().await;
    }
    assert_eq!(read(&cached, "once").await, answer(Outcome::Miss, "once"));
    tell.send(()).unwrap();
    assert_eq!(late.await.unwrap(), answer(Outcome::Hit, "once"));
}

#[tokio::test]
async fn a_cache_that_fails_costs_time_but_no_answer() {
    let cached = through(Odd::new(true, None));
    assert_eq!(read(&cached, "0").await, answer(Outcome::Bypass, "0"));
    assert_eq!(read(&cached, "1").await, answer(Outcome::Bypass, "1"));
    assert_eq!(cached.counters().failures.lookup.get(), 2);
}

#[tokio::test]
async fn what_cannot_be_fenced_is_not_written() {
    let cached = through(Odd::new(true, None));
    let written = Arc::new(AtomicBool::new(false));
    let commit = {
        let written = Arc::clone(&written);
        async move {
            written.store(true, Ordering::SeqCst);
            Ok(())
        }
    };
    let refused = cached.change(&tenant(), free(), |(), _| commit).await;
    assert!(matches!(refused, Err(ChangeError::Fence(_))));
    assert!(!written.load(Ordering::SeqCst));
    let counters = cached.counters();
    assert_eq!(counters.failures.fence.get(), 1);
    assert_eq!(counters.writes.refused.get(), 1);
    assert_eq!(counters.fences.get(), 0);
}

#[tokio::test]
async fn a_purge_that_fails_is_told() {
    let cached = through(Odd::new(true, None));
    for whom in [Some(&tenant()), None] {
        assert!(cached.forget(whom).await.is_err());
    }
}
