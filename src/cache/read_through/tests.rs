//! The races between reading and changing, each held open at its worst moment.

use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};

use futures_util::future::{join_all, ready};
use tokio::{runtime::Handle, sync::Notify, sync::oneshot};

use super::*;
use crate::{
    cache::{DisabledCache, Fence, Lifetime, MemoryCache},
    metrics::Metrics,
    settings::CacheBackend,
};

mod odd;
mod refresh;
mod stale;

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
        Metrics::new(CacheBackend::Memory).cache,
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
        .change(&tenant(), free(), |(), _| ready(Ok(())))
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
    cached
        .change(&tenant(), free(), |(), _| commit)
        .await
        .unwrap();
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
        async move { cached.change(&tenant(), turn, |(), _| ready(Ok(()))).await }
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
            cached.change(&tenant(), free(), |(), _| commit).await
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
            cached.change(&tenant(), free(), |(), _| commit).await
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
        .change(&tenant(), free(), |(), _| {
            ready(Err::<(), _>("unknown".to_owned()))
        })
        .await;
    assert!(matches!(failed, Err(ChangeError::Commit(_))));
    assert_eq!(
        read(&cached, "failed").await,
        answer(Outcome::Miss, "failed")
    );
    let panics = async { panic!("on purpose") };
    let panicked: Result<(), _> = cached.change(&tenant(), free(), |(), _| panics).await;
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
