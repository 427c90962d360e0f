//! The races between reading and writing, each held open at its worst moment. The database is a real
//! one, on SQLite; what reads compute is made up.

use std::{
    future::{Future, ready},
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicUsize, Ordering},
    },
    time::Duration,
};

use bytes::Bytes;
use futures_util::{FutureExt, future::join_all};
use tokio::{runtime::Handle, sync::Notify, sync::oneshot};

use super::*;
use crate::{
    db::{Announce, AnyConn, Db, DbError, QueryResult},
    metrics::{CacheCounters, Metrics},
    settings::{CacheBackend, DatabaseUrl, Settings},
    tasks::Tasks,
    tenant::TenantId,
};

mod failing;
mod refresh;
mod stale;

const LIFE: Lifetime = Lifetime {
    fresh: Duration::from_secs(30),
    stale: Duration::from_secs(300),
};

/// A cache, and reading and writing through it.
struct Cached {
    cache: Arc<dyn StatsCache>,
    reader: Reader,
    writer: Writer,
    counters: Arc<CacheCounters>,
    db: Db,
    _folder: tempfile::TempDir,
}

fn through(cache: impl StatsCache) -> Arc<Cached> {
    through_shared(Arc::new(cache))
}

/// Reads and writes through `cache`, over a database of their own.
fn through_shared(cache: Arc<dyn StatsCache>) -> Arc<Cached> {
    let folder = tempfile::tempdir().unwrap();
    let mut settings = Settings::default().database;
    settings.url = DatabaseUrl::Sqlite(folder.path().join("test.db"));
    let db = Db::open(&settings, None, Announce::Nothing).unwrap();
    let counters = Metrics::new(CacheBackend::Memory).cache;
    let tasks = Tasks::new(Handle::current());
    Arc::new(Cached {
        reader: Reader::new(Arc::clone(&cache), Arc::clone(&counters), tasks.clone()),
        writer: Writer::new(
            db.clone(),
            Arc::clone(&cache),
            None,
            Arc::clone(&counters),
            tasks,
        ),
        cache,
        counters,
        db,
        _folder: folder,
    })
}

fn memory() -> Arc<Cached> {
    through(MemoryCache::new(LIFE, 100))
}

fn tenant() -> TenantId {
    TenantId::parse("clinic").unwrap()
}

fn key() -> StatsKey {
    StatsKey::new("mega_stats", &tenant(), &[])
}

fn computes(body: &'static str) -> Computation {
    ready(Ok(Bytes::from_static(body.as_bytes()))).boxed()
}

/// The database is away.
fn away() -> DbError {
    DbError::Unavailable("on purpose".to_owned())
}

/// The database answers that the statement is wrong.
fn our_fault() -> DbError {
    diesel::result::Error::NotFound.into()
}

fn fails(error: DbError) -> Computation {
    ready(Err(error)).boxed()
}

/// A transaction that lasts as long as `work`.
fn during(
    work: impl Future<Output = ()> + Send + 'static,
) -> impl FnOnce(&mut AnyConn) -> QueryResult<()> + Send + 'static {
    let runtime = Handle::current();
    move |_| {
        runtime.block_on(work);
        Ok(())
    }
}

/// What a read of `cached` answers when a computation would make `body`.
async fn read(cached: &Cached, body: &'static str) -> (Outcome, Bytes) {
    let answer = cached.reader.read(&key(), || computes(body)).await.unwrap();
    (answer.outcome, answer.body)
}

fn answer(outcome: Outcome, body: &'static str) -> (Outcome, Bytes) {
    (outcome, Bytes::from_static(body.as_bytes()))
}

async fn write(cached: &Cached) {
    cached.writer.write(&tenant(), |_| Ok(())).await.unwrap();
}

/// A computation that tells when it has begun, and then waits until it is opened.
struct GatedComputation {
    compute: Computation,
    began: oneshot::Receiver<()>,
    open: oneshot::Sender<()>,
}

fn gated(body: &'static str) -> GatedComputation {
    let (open, gate) = oneshot::channel();
    let (tell, began) = oneshot::channel();
    let compute = async move {
        tell.send(()).unwrap();
        let _ = gate.await;
        Ok(Bytes::from_static(body.as_bytes()))
    };
    GatedComputation {
        compute: compute.boxed(),
        began,
        open,
    }
}

/// What ten requests get that share one computation, which fails since the database is away.
async fn share_a_failure(cached: &Cached) -> Vec<Result<Answer, ReadError>> {
    let (computed, gate) = (Arc::new(AtomicUsize::new(0)), Arc::new(Notify::new()));
    let fails = || {
        let (computed, gate) = (Arc::clone(&computed), Arc::clone(&gate));
        async move {
            computed.fetch_add(1, Ordering::SeqCst);
            gate.notified().await;
            Err(away())
        }
        .boxed()
    };
    let key = key();
    let reads = join_all((0..10).map(|_| cached.reader.read(&key, &fails)));
    let (answers, ()) = tokio::join!(reads, async {
        while computed.load(Ordering::SeqCst) == 0 {
            tokio::task::yield_now().await;
        }
        gate.notify_one();
    });
    assert_eq!(computed.load(Ordering::SeqCst), 1);
    answers
}

/// A read whose computation has begun and waits for the returned gate.
async fn begun(
    cached: &Arc<Cached>,
    body: &'static str,
) -> (
    oneshot::Sender<()>,
    tokio::task::JoinHandle<(Outcome, Bytes)>,
) {
    let GatedComputation {
        compute,
        began,
        open,
    } = gated(body);
    let cached = Arc::clone(cached);
    let reading = tokio::spawn(async move {
        let key = key();
        let read = cached.reader.read(&key, || compute);
        let answer = read.await.unwrap();
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
    let transaction = during(async move {
        assert_eq!(
            read(&reader, "committing").await,
            answer(Outcome::Bypass, "committing")
        );
    });
    cached.writer.write(&tenant(), transaction).await.unwrap();
    assert_eq!(read(&cached, "after").await, answer(Outcome::Miss, "after"));
}

#[tokio::test]
async fn a_writer_that_waits_for_its_turn_keeps_nobody_from_the_cache() {
    let cached = memory();
    read(&cached, "before").await;
    let turn = cached.db.write_turn(None).await.unwrap();
    let waiting = tokio::spawn({
        let cached = Arc::clone(&cached);
        async move { write(&cached).await }
    });
    while cached.db.pool_state().waiting == 0 {
        tokio::task::yield_now().await;
    }
    assert_eq!(
        read(&cached, "waiting").await,
        answer(Outcome::Hit, "before")
    );
    drop(turn);
    waiting.await.unwrap();
    assert_eq!(read(&cached, "after").await, answer(Outcome::Miss, "after"));
}

/// A write of `cached` whose transaction has begun and waits for the returned gate.
async fn writing(
    cached: &Arc<Cached>,
) -> (
    oneshot::Sender<()>,
    tokio::task::JoinHandle<Result<(), WriteError>>,
) {
    let (open, gate) = oneshot::channel::<()>();
    let (tell, began) = oneshot::channel();
    let cached = Arc::clone(cached);
    let writing = tokio::spawn(async move {
        let transaction = during(async move {
            tell.send(()).unwrap();
            let _ = gate.await;
        });
        cached.writer.write(&tenant(), transaction).await
    });
    began.await.unwrap();
    (open, writing)
}

#[tokio::test]
async fn a_writer_that_is_done_does_not_open_the_cache_for_one_that_is_not() {
    let cached = memory();
    // SQLite has one writer, so the other writes to a database of its own.
    let other = through_shared(Arc::clone(&cached.cache));
    let (open, slow) = writing(&other).await;
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
    let (open, client) = writing(&cached).await;
    client.abort();
    assert!(client.await.unwrap_err().is_cancelled());
    assert_eq!(
        read(&cached, "committing").await,
        answer(Outcome::Bypass, "committing")
    );
    open.send(()).expect("the write goes on without its client");
    while read(&cached, "after").await.0 == Outcome::Bypass {
        tokio::task::yield_now().await;
    }
    assert_eq!(cached.counters.writes.committed.get(), 1);
    assert_eq!(read(&cached, "later").await, answer(Outcome::Hit, "after"));
}

#[tokio::test]
async fn a_write_that_fails_or_panics_opens_the_cache_under_a_new_generation() {
    let cached = memory();
    read(&cached, "before").await;
    let fails = |_: &mut AnyConn| Err::<(), _>(diesel::result::Error::NotFound);
    let failed = cached.writer.write(&tenant(), fails).await;
    assert!(matches!(
        failed,
        Err(WriteError::Database(DbError::Statement(_)))
    ));
    assert_eq!(
        read(&cached, "failed").await,
        answer(Outcome::Miss, "failed")
    );
    let panics = |_: &mut AnyConn| -> QueryResult<()> { panic!("on purpose") };
    let panicked = cached.writer.write(&tenant(), panics).await;
    assert!(matches!(
        panicked,
        Err(WriteError::Database(DbError::Panicked(_)))
    ));
    assert_eq!(
        read(&cached, "panicked").await,
        answer(Outcome::Miss, "panicked")
    );
    assert_eq!(cached.counters.writes.failed.get(), 2);
}

#[tokio::test]
async fn a_failed_computation_reaches_every_waiter_and_is_not_cached() {
    let cached = memory();
    for answer in share_a_failure(&cached).await {
        assert!(matches!(answer, Err(ReadError::Database(error)) if error.is_outage()));
    }
    assert_eq!(read(&cached, "again").await, answer(Outcome::Miss, "again"));
}

#[tokio::test]
async fn a_computation_that_panics_is_an_error_and_is_not_cached() {
    let cached = memory();
    let panics = || async { panic!("on purpose") }.boxed();
    assert!(matches!(
        cached.reader.read(&key(), panics).await,
        Err(ReadError::NoResult(_))
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
