//! How many round trips to Redis each step takes.

use futures_util::future::join_all;

use super::*;

/// Reads that are hit.
const HITS: usize = 100;

/// What Redis was sent while `work` went on. Again, with what comes `before` it, if `cache` did not
/// trust Redis all that time: it does without what it does not trust.
async fn sent_by(
    server: &Server,
    cache: &RedisCache,
    before: impl AsyncFn(),
    work: impl AsyncFn(),
) -> Vec<String> {
    loop {
        before().await;
        let epoch = trusted(cache);
        server.record();
        work().await;
        let sent = server.recorded(tenant().as_str());
        if epoch.is_some() && trusted(cache) == epoch {
            return sent;
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_hit_is_one_round_trip() {
    let server = Server::start();
    let cache = open(&server.settings());
    let fill = async || fill(&cache, "kept").await;
    let cached = reader(Arc::new(cache.clone()));
    let hits = async || {
        for _ in 0..HITS {
            let compute = || async { Ok("computed".into()) }.boxed();
            cached.read(&key(), compute).await.unwrap();
        }
    };
    let sent = sent_by(&server, &cache, fill, hits).await;
    assert_eq!(sent, ["MGET"; HITS]);
}

/// On one thread, so that no lookup can be answered before all have come.
#[tokio::test]
async fn lookups_that_come_while_one_waits_share_the_next_round_trip() {
    let server = Server::start();
    let cache = open(&server.settings());
    let fill = async || fill(&cache, "kept").await;
    let lookups = async || {
        let key = key();
        for found in join_all((0..HITS).map(|_| cache.look_up(&key))).await {
            assert!(
                matches!(found, Ok(Lookup::Hit(..) | Lookup::Bypass(_))),
                "{found:?}"
            );
        }
    };
    let sent = sent_by(&server, &cache, fill, lookups).await;
    assert_eq!(sent, ["MGET"; 2]);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_miss_is_two_looks_a_lease_and_a_store() {
    let server = Server::start();
    let cache = open(&server.settings());
    let cached = reader(Arc::new(cache.clone()));
    let before = async || {
        trusts(&cache).await;
        write(&cache).await;
        trusts(&cache).await;
    };
    let miss = async || {
        let compute = || async { Ok("computed".into()) }.boxed();
        cached.read(&key(), compute).await.unwrap();
    };
    let sent = sent_by(&server, &cache, before, miss).await;
    assert_eq!(sent, ["MGET", "MGET", "SET", "EVAL"]);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_fence_is_raised_in_one_round_trip_and_released_in_one() {
    let server = Server::start();
    let cache = open(&server.settings());
    let trust = async || trusts(&cache).await;
    let raise = async || drop(cache.fence(&tenant()).await.unwrap());
    let both = async || write(&cache).await;
    assert_eq!(sent_by(&server, &cache, trust, raise).await, ["EVAL"]);
    assert_eq!(
        sent_by(&server, &cache, trust, both).await,
        ["EVAL", "EVAL"]
    );
}
