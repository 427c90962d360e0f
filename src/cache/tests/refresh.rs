//! Computing anew what would still be hit: the races with reads and writes.

use super::*;

const YOUNG: Duration = Duration::from_secs(25);

async fn refresh(cached: &Cached, young: Duration, body: &'static str) -> Refreshed {
    let key = key();
    let refreshed = cached.reader.refresh(&key, young, computes(body));
    refreshed.await.unwrap()
}

/// A refresh whose computation has begun and waits for the returned gate.
async fn refreshing(
    cached: &Arc<Cached>,
    body: &'static str,
) -> (oneshot::Sender<()>, tokio::task::JoinHandle<Refreshed>) {
    let GatedComputation {
        compute,
        began,
        open,
    } = gated(body);
    let cached = Arc::clone(cached);
    let refreshing = tokio::spawn(async move {
        let key = key();
        let refreshed = cached.reader.refresh(&key, Duration::ZERO, compute);
        refreshed.await.unwrap()
    });
    began.await.unwrap();
    (open, refreshing)
}

#[tokio::test]
async fn what_is_young_is_left_and_what_is_old_or_gone_is_computed() {
    let cached = memory();
    assert_eq!(refresh(&cached, YOUNG, "0").await, Refreshed::Computed);
    assert!(matches!(
        refresh(&cached, YOUNG, "1").await,
        Refreshed::Young { age } if age < YOUNG
    ));
    assert_eq!(read(&cached, "2").await, answer(Outcome::Hit, "0"));
    let old = Duration::ZERO;
    assert_eq!(refresh(&cached, old, "3").await, Refreshed::Computed);
    assert_eq!(read(&cached, "4").await, answer(Outcome::Hit, "3"));
}

#[tokio::test]
async fn while_it_computes_what_is_there_is_hit() {
    let cached = memory();
    read(&cached, "old").await;
    let (open, refreshing) = refreshing(&cached, "new").await;
    assert!(cached.reader.is_busy());
    assert_eq!(read(&cached, "not run").await, answer(Outcome::Hit, "old"));
    open.send(()).unwrap();
    assert_eq!(refreshing.await.unwrap(), Refreshed::Computed);
    assert_eq!(read(&cached, "not run").await, answer(Outcome::Hit, "new"));
    while cached.reader.is_busy() {
        tokio::task::yield_now().await;
    }
}

#[tokio::test]
async fn a_request_that_misses_meanwhile_shares_it() {
    let cached = memory();
    let (open, refreshing) = refreshing(&cached, "shared").await;
    let reading = tokio::spawn({
        let cached = Arc::clone(&cached);
        async move { read(&cached, "not run").await }
    });
    tokio::task::yield_now().await;
    open.send(()).unwrap();
    assert_eq!(reading.await.unwrap(), answer(Outcome::Hit, "shared"));
    refreshing.await.unwrap();
}

#[tokio::test]
async fn a_request_after_a_write_does_not_share_it_and_what_it_stores_is_not_hit() {
    let cached = memory();
    read(&cached, "old").await;
    let (open, refreshing) = refreshing(&cached, "before").await;
    write(&cached).await;
    assert_eq!(read(&cached, "after").await, answer(Outcome::Miss, "after"));
    open.send(()).unwrap();
    refreshing.await.unwrap();
    assert_eq!(read(&cached, "later").await, answer(Outcome::Hit, "after"));
}

#[tokio::test]
async fn under_a_fence_nothing_is_computed_or_stored() {
    let cached = memory();
    let refresher = Arc::clone(&cached);
    let transaction = during(async move {
        assert_eq!(
            refresh(&refresher, Duration::ZERO, "during").await,
            Refreshed::Later
        );
    });
    cached.writer.write(&tenant(), transaction).await.unwrap();
    assert_eq!(read(&cached, "after").await, answer(Outcome::Miss, "after"));
}

#[tokio::test]
async fn a_failure_leaves_what_is_there() {
    let cached = memory();
    read(&cached, "old").await;
    let key = key();
    let failed = cached
        .reader
        .refresh(&key, Duration::ZERO, fails(our_fault()));
    assert!(matches!(failed.await, Err(ReadError::Database(_))));
    assert_eq!(read(&cached, "new").await, answer(Outcome::Hit, "old"));
}
