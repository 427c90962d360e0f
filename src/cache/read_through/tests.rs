//! The races between reading and changing, each held open at its worst moment.

use std::sync::{
    Mutex,
    atomic::{AtomicBool, AtomicUsize, Ordering},
};

use async_trait::async_trait;
use futures_util::future::{join_all, ready};
use tokio::{runtime::Handle, sync::Notify, sync::oneshot};

use super::*;
use crate::cache::{DisabledCache, Fence, Lifetime, MemoryCache};

const LIFE: Lifetime = Lifetime {
    fresh: Duration::from_secs(30),
    stale: Duration::from_secs(300),
};

/// The computation's error that stands for an outage.
const AWAY: &str = "away";

impl Failure for String {
    fn is_outage(&self) -> bool {
        self == AWAY
    }
}

type Cached = Arc<ReadThrough<String>>;

fn through(cache: impl StatsCache) -> Cached {
    Arc::new(ReadThrough::new(
        Arc::new(cache),
        Tasks::new(Handle::current()),
    ))
}

fn memory() -> Cached {
    through(MemoryCache::new(LIFE, 100))
}

fn tenant() -> TenantId {
    TenantId::parse("clinic").unwrap()
}

fn key() -> StatsKey {
    StatsKey::new("mega_stats", &tenant(), &[])
}

fn computes(body: &'static str) -> impl Future<Output = Result<Bytes, String>> + Send + 'static {
    ready(Ok(Bytes::from_static(body.as_bytes())))
}

/// The turn of a writer that need not wait for it.
fn free() -> impl Future<Output = Result<(), String>> + Send + 'static {
    ready(Ok(()))
}

/// What a read of `cached` answers when a computation would make `body`.
async fn read(cached: &Cached, body: &'static str) -> (Outcome, Bytes) {
    let answer = cached.read(&key(), || computes(body)).await.unwrap();
    (answer.outcome, answer.body)
}

fn answer(outcome: Outcome, body: &'static str) -> (Outcome, Bytes) {
    (outcome, Bytes::from_static(body.as_bytes()))
}

async fn write(cached: &Cached) {
    cached
        .change(&tenant(), free(), |()| ready(Ok(())))
        .await
        .unwrap();
}

/// A read whose computation has begun and waits for the returned gate.
async fn begun(
    cached: &Cached,
    body: &'static str,
) -> (
    oneshot::Sender<()>,
    tokio::task::JoinHandle<(Outcome, Bytes)>,
) {
    let (open, gate) = oneshot::channel();
    let (tell, began) = oneshot::channel();
    let cached = Arc::clone(cached);
    let reading = tokio::spawn(async move {
        let compute = async move {
            tell.send(()).unwrap();
            let _ = gate.await;
            Ok(Bytes::from_static(body.as_bytes()))
        };
        let answer = cached.read(&key(), || compute).await.unwrap();
        (answer.outcome, answer.body)
    });
    began.await.unwrap();
    (open, reading)
}

#[tokio::test]
async fn the_second_read_is_a_hit() {
    let cached = memory();
    assert_eq!(read(&cached, "0").await, answer(Outcome::Miss, "0"));
    assert_eq!(read(&cached, "1").await, answer(Outcome::Hit, "0"));
}

#[tokio::test]
async fn a_slow_readers_store_after_a_write_is_not_hit() {
    let cached = memory();
    let (open, reading) = begun(&cached, "before").await;
    write(&cached).await;
    open.send(()).unwrap();
    assert_eq!(reading.await.unwrap(), answer(Outcome::Miss, "before"));
    assert_eq!(read(&cached, "after").await, answer(Outcome::Miss, "after"));
}

#[tokio::test]
async fn a_read_after_a_write_does_not_join_a_computation_from_before_it() {
    let cached = memory();
    let (open, reading) = begun(&cached, "before").await;
    write(&cached).await;
    assert_eq!(read(&cached, "after").await, answer(Outcome::Miss, "after"));
    open.send(()).unwrap();
    reading.await.unwrap();
}

#[tokio::test]
async fn of_two_computations_the_older_may_store_last_and_the_newer_still_answers() {
    let cached = memory();
    let (open_older, older) = begun(&cached, "older").await;
    write(&cached).await;
    let (open_newer, newer) = begun(&cached, "newer").await;
    open_newer.send(()).unwrap();
    newer.await.unwrap();
    open_older.send(()).unwrap();
    older.await.unwrap();
    assert_eq!(read(&cached, "newest").await, answer(Outcome::Hit, "newer"));
}

#[tokio::test]
async fn the_fence_stands_from_before_the_commit_until_after_it() {
    let cached = memory();
    read(&cached, "before").await;
    let reader = Arc::clone(&cached);
    let commit = async move {
        assert_eq!(
            read(&reader, "committing").await,
            answer(Outcome::Bypass, "committing")
        );
        Ok(())
    };
    cached.change(&tenant(), free(), |()| commit).await.unwrap();
    assert_eq!(read(&cached, "after").await, answer(Outcome::Miss, "after"));
}

#[tokio::test]
async fn a_writer_that_waits_for_its_turn_keeps_nobody_from_the_cache() {
    let cached = memory();
    read(&cached, "before").await;
    let (come, turn) = oneshot::channel::<()>();
    let waiting = tokio::spawn({
        let cached = Arc::clone(&cached);
        let turn = async move { turn.await.map_err(|_| "never".to_owned()) };
        async move { cached.change(&tenant(), turn, |()| ready(Ok(()))).await }
    });
    tokio::task::yield_now().await;
    assert_eq!(
        read(&cached, "waiting").await,
        answer(Outcome::Hit, "before")
    );
    come.send(()).unwrap();
    waiting.await.unwrap().unwrap();
    assert_eq!(read(&cached, "after").await, answer(Outcome::Miss, "after"));
}

#[tokio::test]
async fn a_writer_that_is_done_does_not_open_the_cache_for_one_that_is_not() {
    let cached = memory();
    let (open, gate) = oneshot::channel::<()>();
    let (tell, began) = oneshot::channel();
    let slow = tokio::spawn({
        let cached = Arc::clone(&cached);
        async move {
            let commit = async move {
                tell.send(()).unwrap();
                let _ = gate.await;
                Ok(())
            };
            cached.change(&tenant(), free(), |()| commit).await
        }
    });
    began.await.unwrap();
    write(&cached).await;
    assert_eq!(
        read(&cached, "one of two").await,
        answer(Outcome::Bypass, "one of two")
    );
    open.send(()).unwrap();
    slow.await.unwrap().unwrap();
    assert_eq!(read(&cached, "both").await, answer(Outcome::Miss, "both"));
}

#[tokio::test]
async fn a_client_that_leaves_during_its_write_leaves_no_fence_and_no_stale_entry() {
    let cached = memory();
    read(&cached, "before").await;
    let (open, gate) = oneshot::channel::<()>();
    let (tell, began) = oneshot::channel();
    let (commit, committed) = oneshot::channel();
    let client = tokio::spawn({
        let cached = Arc::clone(&cached);
        async move {
            let commit = async move {
                tell.send(()).unwrap();
                let _ = gate.await;
                commit.send(()).unwrap();
                Ok(())
            };
            cached.change(&tenant(), free(), |()| commit).await
        }
    });
    began.await.unwrap();
    client.abort();
    assert!(client.await.unwrap_err().is_cancelled());
    open.send(()).unwrap();
    committed
        .await
        .expect("the write goes on without its client");
    while read(&cached, "after").await.0 == Outcome::Bypass {
        tokio::task::yield_now().await;
    }
    assert_eq!(read(&cached, "later").await, answer(Outcome::Hit, "after"));
}

#[tokio::test]
async fn a_write_that_fails_or_panics_opens_the_cache_under_a_new_generation() {
    let cached = memory();
    read(&cached, "before").await;
    let failed = cached
        .change(&tenant(), free(), |()| {
            ready(Err::<(), _>("unknown".to_owned()))
        })
        .await;
    assert!(matches!(failed, Err(ChangeError::Commit(_))));
    assert_eq!(
        read(&cached, "failed").await,
        answer(Outcome::Miss, "failed")
    );
    let panics = async { panic!("on purpose") };
    let panicked: Result<(), _> = cached.change(&tenant(), free(), |()| panics).await;
    assert!(matches!(panicked, Err(ChangeError::Lost)));
    assert_eq!(
        read(&cached, "panicked").await,
        answer(Outcome::Miss, "panicked")
    );
}

#[tokio::test]
async fn a_failed_computation_reaches_every_waiter_and_is_not_cached() {
    let cached = memory();
    let (computed, gate) = (Arc::new(AtomicUsize::new(0)), Arc::new(Notify::new()));
    let fails = || {
        let (computed, gate) = (Arc::clone(&computed), Arc::clone(&gate));
        async move {
            computed.fetch_add(1, Ordering::SeqCst);
            gate.notified().await;
            Err::<Bytes, _>("no database".to_owned())
        }
    };
    let key = key();
    let reads = join_all((0..10).map(|_| cached.read(&key, &fails)));
    let (answers, ()) = tokio::join!(reads, async {
        while computed.load(Ordering::SeqCst) == 0 {
            tokio::task::yield_now().await;
        }
        gate.notify_one();
    });
    assert_eq!(computed.load(Ordering::SeqCst), 1);
    for answer in answers {
        assert!(matches!(answer, Err(ReadError::Compute(error)) if *error == "no database"));
    }
    assert_eq!(read(&cached, "again").await, answer(Outcome::Miss, "again"));
}

#[tokio::test]
async fn a_computation_that_panics_is_an_error_and_is_not_cached() {
    let cached = memory();
    let panics = async { panic!("on purpose") };
    assert!(matches!(
        cached.read(&key(), || panics).await,
        Err(ReadError::Lost(_))
    ));
    assert_eq!(read(&cached, "again").await, answer(Outcome::Miss, "again"));
}

#[tokio::test]
async fn without_a_cache_every_read_is_computed_and_every_write_takes_place() {
    let cached = through(DisabledCache);
    assert_eq!(read(&cached, "0").await, answer(Outcome::Bypass, "0"));
    write(&cached).await;
    assert_eq!(read(&cached, "1").await, answer(Outcome::Bypass, "1"));
}

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
    async fn lookup(&self, key: &StatsKey) -> Result<Lookup, CacheError> {
        self.check()?;
        let found = self.inner.lookup(key).await;
        let late = self.late.lock().unwrap().take();
        if let Some(late) = late {
            self.was_late.store(true, Ordering::SeqCst);
            let _ = late.await;
        }
        found
    }

    async fn store(
        &self,
        key: &StatsKey,
        seen: Generation,
        entry: Entry,
    ) -> Result<(), CacheError> {
        self.check()?;
        self.inner.store(key, seen, entry).await
    }

    async fn fence(&self, tenant: &TenantId) -> Result<Fence, CacheError> {
        self.check()?;
        self.inner.fence(tenant).await
    }

    async fn release(&self, fence: Fence) -> Result<(), CacheError> {
        self.inner.release(fence).await
    }

    async fn forget_all(&self) -> Result<(), CacheError> {
        self.check()?;
        self.inner.forget_all().await
    }

    async fn keys(&self, after: Option<&str>, limit: usize) -> Result<KeyPage, CacheError> {
        self.inner.keys(after, limit).await
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
    let refused = cached.change(&tenant(), free(), |()| commit).await;
    assert!(matches!(refused, Err(ChangeError::Fence(_))));
    assert!(!written.load(Ordering::SeqCst));
}
