//! A Redis that answers, but has no room or takes no writes.

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

/// A way in which Redis answers, but takes no invalidation from anybody.
struct Refusal {
    /// What it says.
    says: &'static str,
    begins: &'static str,
    ends: &'static str,
}

#[tokio::test(flavor = "multi_thread")]
async fn writes_go_on_past_a_redis_that_takes_no_invalidations_and_nothing_older_is_hit() {
    let server = Server::start_with(&["--save", "3600 1000000"]);
    // Without a folder nothing can be saved.
    std::fs::remove_dir_all(server.folder()).unwrap();
    let (a, b) = open_two(&server).await;
    for Refusal { says, begins, ends } in [
        Refusal {
            says: "READONLY",
            begins: "REPLICAOF 127.0.0.1 1",
            ends: "REPLICAOF NO ONE",
        },
        Refusal {
            says: "NOREPLICAS",
            begins: "CONFIG SET min-replicas-to-write 1",
            ends: "CONFIG SET min-replicas-to-write 0",
        },
        Refusal {
            says: "MISCONF",
            begins: "BGSAVE",
            ends: "CONFIG SET stop-writes-on-bgsave-error no",
        },
        Refusal {
            says: "NOPERM",
            begins: "ACL SETUSER default -eval",
            ends: "ACL SETUSER default +eval",
        },
        Refusal {
            says: "can't run this command",
            begins: "ACL SETUSER default -set",
            ends: "ACL SETUSER default +set",
        },
    ] {
        let run = |command: &str| {
            let words: Vec<_> = command.split_whitespace().collect();
            server.run::<redis::Value>(&words);
        };
        fill(&a, "before").await;
        run(begins);
        let refused = async || {
            let state = b.link_state();
            state
                .problem
                .is_some_and(|problem| problem.to_string().contains(says))
        };
        until(refused).await;
        let writes = async {
            // Far more than could wait.
            for _ in 0..500 {
                let fence = a.fence(&tenant()).await.expect(says);
                let released = a.release(fence).await.expect(says);
                assert_eq!(released, Released::Pending);
                let found = b.look_up(&key()).await;
                assert!(matches!(found, Ok(Lookup::Bypass(_))), "{found:?}");
            }
        };
        tokio::time::timeout(WRITE_BOUND, writes).await.expect(says);
        run(ends);
        is_not_hit_until_trusted(&b).await;
        until(async || !a.link.pending.must_bypass(&tenant(), Instant::now())).await;
        write(&a).await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn entries_that_do_not_stay_are_noticed() {
    let server = Server::start();
    let mut life = conformance::LIFE;
    life.fresh = Duration::from_secs(1);
    let tasks = Tasks::new(Handle::current());
    let clock = Arc::new(SystemClock);
    let cache = RedisCache::new(&server.settings(), life, clock, &tasks).unwrap();
    trusts(&cache).await;
    for policy in ["allkeys-lru", "noeviction"] {
        server.run::<()>(&["CONFIG", "SET", "maxmemory-policy", policy]);
        for (limit, loses_entries) in [("1mb", true), ("0", false)] {
            server.run::<()>(&["CONFIG", "SET", "maxmemory", limit]);
            until(async || cache.link_state().loses_entries == loses_entries).await;
        }
    }
}
