//! When the source is away: who is answered from an entry past its time to live, and who is not.

use super::*;

/// Reads that find an expired entry `old`.
async fn expired() -> Arc<Cached> {
    let cached = memory();
    let Lookup::Miss(permit) = cached.cache.look_up(&key()).await.unwrap() else {
        panic!("not a miss")
    };
    let entry = Entry {
        body: Bytes::from_static(b"old"),
        age: LIFE.fresh + Duration::from_secs(5),
    };
    cached.cache.store(&key(), &permit, entry).await.unwrap();
    cached
}

#[tokio::test]
async fn a_computation_that_succeeds_leaves_nothing_stale() {
    let cached = expired().await;
    assert_eq!(read(&cached, "new").await, answer(Outcome::Miss, "new"));
    assert_eq!(read(&cached, "newer").await, answer(Outcome::Hit, "new"));
}

#[tokio::test]
async fn an_outage_is_answered_with_the_expired_entry_and_its_age() {
    let cached = expired().await;
    let stale = cached.reader.read(&key(), || fails(away())).await.unwrap();
    assert_eq!((stale.outcome, stale.body), answer(Outcome::Stale, "old"));
    assert!(stale.age > LIFE.fresh && stale.age < LIFE.whole());
}

#[tokio::test]
async fn another_failure_than_an_outage_is_told() {
    let cached = expired().await;
    let result = cached.reader.read(&key(), || fails(our_fault())).await;
    assert!(matches!(result, Err(ReadError::Database(error)) if !error.is_outage()));
    let panics = || async { panic!("on purpose") }.boxed();
    let result = cached.reader.read(&key(), panics).await;
    assert!(matches!(result, Err(ReadError::NoResult(_))));
}

#[tokio::test]
async fn an_outage_without_an_entry_is_told() {
    let cached = memory();
    for _ in 0..2 {
        let result = cached.reader.read(&key(), || fails(away())).await;
        assert!(matches!(result, Err(ReadError::Database(_))));
    }
}

#[tokio::test]
async fn everybody_who_shared_the_computation_gets_the_expired_entry() {
    let cached = expired().await;
    for found in share_a_failure(&cached).await {
        let found = found.unwrap();
        assert_eq!((found.outcome, found.body), answer(Outcome::Stale, "old"));
    }
}

#[tokio::test]
async fn a_write_during_the_computation_that_fails_leaves_nothing_to_offer() {
    let cached = expired().await;
    let (open, gate) = oneshot::channel::<()>();
    let (tell, began) = oneshot::channel();
    let reading = tokio::spawn({
        let cached = Arc::clone(&cached);
        async move {
            let compute = async move {
                tell.send(()).unwrap();
                let _ = gate.await;
                Err(away())
            };
            cached.reader.read(&key(), || compute.boxed()).await
        }
    });
    began.await.unwrap();
    write(&cached).await;
    open.send(()).unwrap();
    let result = reading.await.unwrap();
    assert!(matches!(result, Err(ReadError::Database(_))), "{result:?}");
}

#[tokio::test]
async fn after_a_write_or_during_it_nothing_from_before_is_offered_even_if_it_failed() {
    let cached = expired().await;
    let reader = Arc::clone(&cached);
    let transaction = during(async move {
        let result = reader.reader.read(&key(), || fails(away())).await;
        assert!(matches!(result, Err(ReadError::Database(_))), "{result:?}");
    });
    // Whether it took place is unknown.
    let fails_unknown = |conn: &mut AnyConn| {
        transaction(conn)?;
        Err::<(), _>(diesel::result::Error::RollbackTransaction)
    };
    let unknown = cached.writer.write(&tenant(), fails_unknown).await;
    assert!(matches!(
        unknown,
        Err(WriteError::Database(DbError::Statement(_)))
    ));
    let result = cached.reader.read(&key(), || fails(away())).await;
    assert!(matches!(result, Err(ReadError::Database(_))), "{result:?}");
}

#[tokio::test]
async fn while_the_source_is_away_nobody_waits_and_its_return_is_noticed() {
    let cached = expired().await;
    cached.reader.read(&key(), || fails(away())).await.unwrap();
    // One tries in the background, and its answer is there for the next.
    let (open, gate) = oneshot::channel::<()>();
    let tries = async move {
        let _ = gate.await;
        Ok(Bytes::from_static(b"new"))
    };
    let stale = cached.reader.read(&key(), || tries.boxed()).await.unwrap();
    assert_eq!((stale.outcome, stale.body), answer(Outcome::Stale, "old"));
    assert_eq!(
        read(&cached, "not run").await,
        answer(Outcome::Stale, "old")
    );
    open.send(()).unwrap();
    while read(&cached, "not run").await.0 == Outcome::Stale {
        tokio::task::yield_now().await;
    }
    assert_eq!(read(&cached, "not run").await, answer(Outcome::Hit, "new"));
}

#[tokio::test]
async fn an_outage_says_nothing_once_any_computation_has_succeeded() {
    let cached = expired().await;
    cached.reader.read(&key(), || fails(away())).await.unwrap();
    let other = StatsKey::new("mega_stats", &TenantId::parse("other").unwrap(), &[]);
    cached
        .reader
        .read(&other, || computes("other"))
        .await
        .unwrap();
    assert_eq!(read(&cached, "new").await, answer(Outcome::Miss, "new"));
}

#[tokio::test]
async fn what_was_purged_is_not_offered() {
    for whom in [Some(tenant()), None] {
        let cached = expired().await;
        cached.writer.purge(whom.as_ref()).await.unwrap();
        let result = cached.reader.read(&key(), || fails(away())).await;
        assert!(matches!(result, Err(ReadError::Database(_))), "{result:?}");
    }
}
