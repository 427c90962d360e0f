//! A Redis that answers, but has no room or takes no writes.

use harness::redis::free_port;

use super::{
    failures::{WRITE_BOUND, is_not_hit_until_trusted},
    *,
};

#[tokio::test(flavor = "multi_thread")]
async fn eviction_costs_entries_and_nothing_else() {
    let server = Server::start();
    let (a, b) = open_two(&server).await;
    let used: String = server.run(&["INFO", "memory"]);
    let used: u64 = used
        .lines()
        .find_map(|line| line.strip_prefix("used_memory:"))
        .and_then(|number| number.trim().parse().ok())
        .unwrap();
    let limit = (used + 400_000).to_string();
    server.run::<()>(&["CONFIG", "SET", "maxmemory-policy", "allkeys-lru"]);
    server.run::<()>(&["CONFIG", "SET", "maxmemory", &limit]);
    let body = bytes::Bytes::from(vec![b'x'; 4096]);
    let mut acknowledged = Vec::new();
    for n in 0..400 {
        let tenant = TenantId::parse(&format!("clinic-{}", n % 40)).unwrap();
        let key = StatsKey::new("mega_stats", &tenant, &[&n]);
        if let Lookup::Miss(seen) = found(&a, &key).await {
            let entry = Entry {
                body: body.clone(),
                age: Duration::ZERO,
            };
            // Redis may be full of what cannot be evicted for a moment.
            let _ = a.store(&key, &seen, entry).await;
        }
        if n % 10 == 0 {
            let fence = a.fence(&tenant).await.unwrap();
            a.release(fence).await.unwrap();
            acknowledged.push(key);
        }
    }
    for key in &acknowledged {
        let found = found(&b, key).await;
        assert!(
            !matches!(found, Lookup::Hit(..) | Lookup::Expired(..)),
            "{found:?}"
        );
    }
    let evicted: String = server.run(&["INFO", "stats"]);
    assert!(!evicted.contains("evicted_keys:0\r"), "nothing was evicted");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_full_redis_takes_invalidations_and_no_entries() {
    let server = Server::start();
    let (a, b) = open_two(&server).await;
    fill(&a, "before").await;
    server.run::<()>(&["CONFIG", "SET", "maxmemory", "1"]);
    assert!(is_hit(&b, "before").await, "what is there is still read");
    let fence = a.fence(&tenant()).await.unwrap();
    assert!(is_bypass(&found(&b, &key()).await));
    a.release(fence).await.unwrap();
    let now = seen(&b, &key()).await;
    assert!(b.store(&key(), &now, entry("x")).await.is_err());
    server.run::<i64>(&["DEL", "megastats:{clinic}:generation"]);
    seen(&b, &key()).await;
    server.run::<()>(&["CONFIG", "SET", "maxmemory", "0"]);
    fill(&b, "after").await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_redis_that_answers_but_takes_no_invalidation_refuses_the_write() {
    let server = Server::start();
    let (a, b) = open_two(&server).await;
    fill(&a, "before").await;
    // As after a failover to a replica that is still read from.
    let elsewhere = free_port().to_string();
    server.run::<()>(&["CONFIG", "SET", "replica-serve-stale-data", "yes"]);
    server.run::<()>(&["REPLICAOF", "127.0.0.1", &elsewhere]);
    // Others may have found the new master: they would not hear of it.
    let refused = tokio::time::timeout(WRITE_BOUND, a.fence(&tenant())).await;
    assert!(refused.expect("in time").is_err());
    // Those that follow hold up nobody who waits behind them: see `Link::raise`.
    let followers = async {
        for _ in 0..60 {
            assert!(a.fence(&tenant()).await.is_err());
        }
    };
    tokio::time::timeout(WRITE_BOUND, followers)
        .await
        .expect("in time");
    until(async || matches!(b.look_up(&key()).await, Ok(Lookup::Bypass(_)))).await;
    server.run::<()>(&["REPLICAOF", "NO", "ONE"]);
    write(&a).await;
    is_not_hit_until_trusted(&b).await;
    fill(&a, "after").await;
}
