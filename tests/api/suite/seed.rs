//! The acceptance tests of the document that the service started from, under the names they have
//! there: TESTE 1 to 5 and the load test.

use std::{sync::Arc, time::Duration};

use futures_util::future::join_all;
use harness::{
    Builder, FakeClock, Gate, NOW, Raw, Reply, Step, TODAY, TestServer, eventually, within,
};
use megastats::settings::CacheBackend;
use reqwest::StatusCode;
use serde_json::{Value, json};

/// A service whose day does not end during the test.
fn service() -> Builder {
    TestServer::builder().clock(Arc::new(FakeClock::at(NOW)))
}

/// One that tells how far requests have come. Its entries outlive the test.
fn gated() -> (TestServer, Gate) {
    let (service, gate) = Gate::before(service().settings(|settings| {
        settings.cache.ttl = Duration::from_secs(3600);
        settings.server.shutdown_timeout = Duration::from_secs(2);
    }));
    (service.start(), gate)
}

fn appointment(tenant: &str) -> Value {
    json!({ "tenantId": tenant, "patientId": 1, "startsAt": TODAY, "durationMin": 30 })
}

#[tokio::test]
async fn teste_1_nine_of_ten_requests_hit() {
    let server = service().start();
    server.book("default-tenant", TODAY, "pending").await;
    let mut outcomes = Vec::new();
    for _ in 0..10 {
        let reply = server.mega_stats("default-tenant").await;
        assert_eq!(reply.today().1, 1);
        outcomes.push(reply.header("x-cache").to_owned());
    }
    assert_eq!(outcomes[0], "MISS");
    assert!(
        outcomes[1..].iter().all(|outcome| outcome == "HIT"),
        "{outcomes:?}"
    );
    let stats = &server.get("/cache-metrics").await.json()["cache_stats"];
    assert_eq!((&stats["hits"], &stats["misses"]), (&json!(9), &json!(1)));
    assert_eq!(stats["hit_rate"], 90.0);
}

#[tokio::test]
async fn teste_2_tenants_neither_see_nor_invalidate_each_other() {
    let server = service().start();
    server.book("tenant-1", TODAY, "pending").await;
    assert_eq!(server.mega_stats("tenant-1").await.today(), ("MISS", 1));
    assert_eq!(server.mega_stats("tenant-2").await.today(), ("MISS", 0));
    assert_eq!(server.mega_stats("tenant-1").await.today(), ("HIT", 1));

    server.book("tenant-2", TODAY, "pending").await;
    assert_eq!(server.mega_stats("tenant-1").await.today(), ("HIT", 1));
    assert_eq!(server.mega_stats("tenant-2").await.today(), ("MISS", 1));
}

#[tokio::test]
async fn teste_3_zones_are_cached_apart_and_each_has_its_own_today() {
    let server = service().start();
    server.book("default-tenant", TODAY, "pending").await;
    // It is tomorrow's appointment in Tokyo.
    for (zone, today) in [
        ("America/Recife", 1),
        ("America/Sao_Paulo", 1),
        ("Asia/Tokyo", 0),
    ] {
        let path = format!("/mega-stats?tenantId=default-tenant&tz={zone}");
        assert_eq!(server.get(&path).await.today(), ("MISS", today), "{zone}");
        assert_eq!(server.get(&path).await.today(), ("HIT", today), "{zone}");
    }
    assert_eq!(
        server.mega_stats("default-tenant").await.today(),
        ("HIT", 1),
        "the default zone"
    );
}

#[tokio::test]
async fn teste_4_an_entry_expires_however_often_it_is_hit() {
    let server = TestServer::builder()
        .clock(Arc::new(FakeClock::running_from(NOW)))
        .settings(|settings| settings.cache.ttl = Duration::from_secs(1))
        .start();
    for outcome in ["MISS", "HIT", "MISS", "HIT"] {
        // Asked far more often than once a second: a hit that extended the entry would keep it.
        eventually(outcome, async || {
            server.mega_stats("default-tenant").await.today() == (outcome, 0)
        })
        .await;
    }
}

#[tokio::test]
async fn teste_5_a_hit_does_no_work_in_the_database() {
    let server = service()
        .settings(|settings| {
            settings.database.pool_size = 1;
            settings.database.pool_wait = Duration::from_millis(250);
            settings.database.busy_timeout = Duration::from_secs(60);
            settings.database.statement_timeout = Duration::from_secs(60);
            settings.cache.ttl = Duration::from_secs(3600);
        })
        .start();
    assert_eq!(server.mega_stats("cached").await.today(), ("MISS", 0));

    // A write that waits for the test's lock sits on the only connection.
    let lock = server.lock_database();
    let mut writer = Raw::connect(server.url());
    writer.post(&appointment("writer"));
    eventually("the only connection is taken", async || {
        server.get("/1").await.status == StatusCode::SERVICE_UNAVAILABLE
    })
    .await;
    for _ in 0..3 {
        let uncached = server.mega_stats("uncached").await;
        assert_eq!(uncached.status, StatusCode::SERVICE_UNAVAILABLE);
        assert_eq!(uncached.header("retry-after"), "1");
        assert_eq!(server.mega_stats("cached").await.today(), ("HIT", 0));
    }

    drop(lock);
    assert_eq!(writer.reply().status, StatusCode::CREATED);
    assert_eq!(server.mega_stats("uncached").await.today(), ("MISS", 0));
    assert_eq!(server.mega_stats("writer").await.today(), ("MISS", 1));
}

#[tokio::test]
async fn teste_5_without_a_cache_every_answer_is_computed_and_right() {
    let server = service()
        .settings(|settings| settings.cache.backend = CacheBackend::None)
        .start();
    for count in 0..3 {
        for _ in 0..3 {
            assert_eq!(
                server.mega_stats("default-tenant").await.today(),
                ("BYPASS", count)
            );
        }
        server.book("default-tenant", TODAY, "confirmed").await;
    }
    let replies = join_all((0..100).map(|_| server.mega_stats("default-tenant"))).await;
    assert!(replies.iter().all(|reply| reply.today() == ("BYPASS", 3)));
    let metrics = server.get("/cache-metrics").await.json();
    assert_eq!(metrics["cache_stats"]["hits"], 0);
    assert_eq!(metrics["cache_stats"]["misses"], 109);
    assert_eq!(metrics["cache_size"], 0);
}

/// Sends 100 requests for `tenant`, which is not cached, on as many connections; the computation
/// ends only when all of them have arrived and none has been answered.
async fn hundred_at_once(server: &TestServer, gate: &Gate, tenant: &str) -> Vec<Reply> {
    gate.hold_nth(Step::Store, 1);
    let lookups = gate.arrivals(Step::LookUp);
    let mut clients: Vec<_> = (0..100).map(|_| Raw::connect(server.url())).collect();
    for client in &mut clients {
        client.mega_stats(tenant);
    }
    // One for each request, and one for the computation.
    gate.reached(Step::LookUp, lookups + 101).await;
    assert!(!clients.iter().any(Raw::is_answered));
    gate.open(Step::Store);
    clients.iter_mut().map(Raw::reply).collect()
}

fn assert_one_miss(replies: &[Reply], today: i64) {
    let (hits, others): (Vec<_>, Vec<_>) = replies
        .iter()
        .map(Reply::today)
        .partition(|answer| *answer == ("HIT", today));
    assert_eq!((hits.len(), others), (99, vec![("MISS", today)]));
}

#[tokio::test]
async fn teste_de_carga_100_requests_at_once_are_one_miss_and_99_hits() {
    let (server, gate) = gated();
    let replies = hundred_at_once(&server, &gate, "default-tenant").await;
    assert_one_miss(&replies, 0);
    assert_eq!(gate.arrivals(Step::Store), 1, "one computation");
}

#[tokio::test]
async fn teste_de_carga_100_requests_after_a_write_are_one_miss_and_99_hits() {
    let (server, gate) = gated();
    for today in 0..3 {
        assert_eq!(
            server.mega_stats("default-tenant").await.today(),
            ("MISS", today)
        );
        server.book("default-tenant", TODAY, "pending").await;
        let replies = hundred_at_once(&server, &gate, "default-tenant").await;
        assert_one_miss(&replies, today + 1);
        server.book("elsewhere", TODAY, "pending").await;
        assert_eq!(
            server.mega_stats("default-tenant").await.today(),
            ("HIT", today + 1)
        );
        // For the next round to begin with a miss.
        let id = server.book("default-tenant", TODAY, "pending").await;
        server.patch(id, &json!({ "status": "cancelled" })).await;
    }
    assert_eq!(gate.arrivals(Step::Store), 6, "two computations a round");
}

#[tokio::test]
async fn teste_de_carga_20_tenants_with_100_requests_each_are_20_misses() {
    const TENANTS: usize = 20;
    let (server, gate) = gated();
    let server = &server;
    // A hundred clients, five of whom begin with the same tenant.
    let clients = (0..100).map(|client| async move {
        let mut replies = Vec::new();
        for turn in 0..TENANTS {
            let tenant = (client + turn) % TENANTS;
            replies.push((tenant, server.mega_stats(&format!("tenant-{tenant}")).await));
        }
        replies
    });
    let replies = within("2000 answers", join_all(clients)).await;
    let mut of_tenant: Vec<_> = (0..TENANTS).map(|_| Vec::new()).collect();
    for (tenant, reply) in replies.into_iter().flatten() {
        of_tenant[tenant].push(reply);
    }
    for replies in of_tenant {
        assert_one_miss(&replies, 0);
    }
    assert_eq!(
        gate.arrivals(Step::Store),
        TENANTS,
        "one computation a tenant"
    );
}
