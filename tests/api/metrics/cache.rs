//! Answers by where they came from, computations, writes, and the pool they wait for.

use std::time::Duration;

use harness::{Exposition, Gate, Lock, Raw, Step, TODAY, TestServer, eventually};
use megastats::settings::{CacheBackend, RedisUrl};
use reqwest::StatusCode;
use serde_json::json;

use super::{assert_moved, scrape, service};

/// Counters of the cache and of writes have moved by so much, and no others.
fn assert_cache_moved(before: &Exposition, after: &Exposition, expected: &[(&str, f64)]) {
    let (writes, cache): (Vec<_>, Vec<_>) = expected
        .iter()
        .partition(|(series, _)| series.starts_with("megastats_writes"));
    assert_moved(before, after, "megastats_writes", &writes);
    assert_moved(before, after, "megastats_cache", &cache);
}

const HITS: &str = "megastats_cache_requests_total{backend=\"memory\",outcome=\"hit\"}";
const MISSES: &str = "megastats_cache_requests_total{backend=\"memory\",outcome=\"miss\"}";
const BYPASSES: &str = "megastats_cache_requests_total{backend=\"memory\",outcome=\"bypass\"}";
const COLLAPSED: &str = "megastats_cache_collapsed_requests_total";
const FLIGHTS: &str = "megastats_cache_flights_total";
const COMPUTED: &str = "megastats_cache_computation_duration_seconds_count{result=\"ok\"}";
const FAILED: &str = "megastats_cache_computation_duration_seconds_count{result=\"error\"}";
const FENCES: &str = "megastats_cache_fences_total";
const GENERATIONS: &str = "megastats_cache_generations_total";
const COMMITTED: &str = "megastats_writes_total{result=\"committed\"}";
const NOT_COMMITTED: &str = "megastats_writes_total{result=\"failed\"}";
const WAITING: &str = "megastats_db_pool_waiting";
const REFUSED: &str = "megastats_db_pool_refusals_total{reason=\"late\"}";
const IN_USE: &str = "megastats_db_pool_connections{state=\"in_use\"}";

#[tokio::test]
async fn a_service_that_has_answered_nothing_shows_zeros() {
    let metrics = scrape(&service().start()).await;
    for series in [
        HITS, MISSES, BYPASSES, COLLAPSED, FLIGHTS, COMPUTED, FENCES, COMMITTED,
    ] {
        assert_eq!(metrics.samples[series].to_string(), "0", "{series}");
    }
}

#[tokio::test]
async fn answers_are_counted_by_where_they_came_from() {
    let server = service().start();
    let before = scrape(&server).await;
    for x_cache in ["MISS", "HIT", "HIT"] {
        assert_eq!(server.mega_stats("a").await.header("x-cache"), x_cache);
    }
    server
        .get("/summary?tenantId=a&to=2025-10-31T15:00:00Z")
        .await;
    server.get("/summary?tenantId=a&to=nonsense").await;
    let after = scrape(&server).await;
    let expected = [
        (HITS, 2.0),
        (MISSES, 1.0),
        (BYPASSES, 1.0),
        (FLIGHTS, 2.0),
        (COMPUTED, 2.0),
    ];
    assert_cache_moved(&before, &after, &expected);
}

#[tokio::test]
async fn without_a_cache_every_answer_is_a_bypass() {
    let server = service()
        .settings(|settings| settings.cache.backend = CacheBackend::None)
        .start();
    let before = scrape(&server).await;
    server.mega_stats("a").await;
    server.mega_stats("a").await;
    let bypasses = BYPASSES.replace("memory", "none");
    let expected = [(bypasses.as_str(), 2.0), (FLIGHTS, 2.0), (COMPUTED, 2.0)];
    assert_cache_moved(&before, &scrape(&server).await, &expected);
}

#[tokio::test]
async fn requests_that_share_a_computation_are_one_flight() {
    const OTHERS: usize = 4;
    let (builder, gate) = Gate::before(service());
    let server = builder.start();
    let before = scrape(&server).await;
    // The computation's own lookup is the last step before the database.
    gate.hold_nth(Step::LookUp, 2);
    let ask = || {
        let mut reader = Raw::connect(server.url());
        reader.mega_stats("a");
        reader
    };
    let mut readers = vec![ask()];
    gate.reached(Step::LookUp, 2).await;
    readers.extend((0..OTHERS).map(|_| ask()));
    gate.reached(Step::LookedUp, 1 + OTHERS).await;
    let during = scrape(&server).await;
    assert_eq!(during.value("megastats_tasks_running").to_string(), "1");
    gate.open(Step::LookUp);
    for reader in &mut readers {
        assert_eq!(reader.reply().status, StatusCode::OK);
    }
    let expected = [
        (HITS, 4.0),
        (MISSES, 1.0),
        (COLLAPSED, 4.0),
        (FLIGHTS, 1.0),
        (COMPUTED, 1.0),
    ];
    assert_cache_moved(&before, &scrape(&server).await, &expected);
}

#[tokio::test]
async fn writes_are_counted_by_how_they_ended_and_each_fences_and_renews_its_tenant() {
    let server = service().start();
    let before = scrape(&server).await;
    let id = server.book("a", TODAY, "pending").await;
    server.patch(id, &json!({ "status": "confirmed" })).await;
    server.patch(id, &json!({ "status": "nonsense" })).await;
    let mut database = server.database();
    database.hide_appointments();
    let refused = server.post(&appointment()).await;
    assert_eq!(refused.status, StatusCode::INTERNAL_SERVER_ERROR);
    server.mega_stats("a").await;
    let after = scrape(&server).await;
    let expected = [
        (COMMITTED, 2.0),
        (NOT_COMMITTED, 1.0),
        (FENCES, 3.0),
        (GENERATIONS, 3.0),
        (FLIGHTS, 1.0),
        (FAILED, 1.0),
    ];
    assert_cache_moved(&before, &after, &expected);
}

fn appointment() -> serde_json::Value {
    json!({ "tenantId": "a", "patientId": 1, "startsAt": TODAY, "durationMin": 30 })
}

/// Sends a write and reads no answer yet.
fn write(server: &TestServer) -> Raw {
    let mut writer = Raw::connect(server.url());
    writer.post(&appointment());
    writer
}

/// A service, and a lock that its first write waits for, with the only turn to write.
async fn held_up(pool_wait_ms: u64) -> (TestServer, Lock, Raw) {
    let server = service()
        .settings(|settings| {
            settings.database.pool_size = 3;
            settings.database.busy_timeout = Duration::from_secs(20);
            settings.database.pool_wait = Duration::from_millis(pool_wait_ms);
        })
        .start();
    let metrics = scrape(&server).await;
    let max = metrics.value("megastats_db_pool_max_connections");
    assert_eq!(max.to_string(), "4", "one is the writer's");
    assert_eq!(pool(&metrics), ["0", "0", "0"]);
    let lock = server.lock_database();
    let writer = write(&server);
    eventually("it has a connection", async || {
        pool(&scrape(&server).await) == ["1", "0", "0"]
    })
    .await;
    (server, lock, writer)
}

/// Connections in use, requests that wait for one, and those that have given up.
fn pool(metrics: &Exposition) -> [String; 3] {
    [IN_USE, WAITING, REFUSED].map(|series| metrics.value(series).to_string())
}

#[tokio::test]
async fn who_waits_for_the_database_is_shown_until_the_wait_is_over() {
    let (server, lock, mut first) = held_up(20_000).await;
    let mut second = write(&server);
    eventually("another waits for its turn", async || {
        pool(&scrape(&server).await) == ["1", "1", "0"]
    })
    .await;
    drop(lock);
    for writer in [&mut first, &mut second] {
        assert_eq!(writer.reply().status, StatusCode::CREATED);
    }
    eventually("the connection is given back", async || {
        pool(&scrape(&server).await) == ["0", "0", "0"]
    })
    .await;
}

#[tokio::test]
async fn who_waits_for_the_database_in_vain_is_counted() {
    let (server, _lock, _first) = held_up(100).await;
    let refused = write(&server).reply();
    assert_eq!(refused.status, StatusCode::SERVICE_UNAVAILABLE);
    assert_eq!(pool(&scrape(&server).await), ["1", "0", "1"]);
}

#[tokio::test]
async fn a_redis_that_is_not_there_shows_as_an_open_breaker_and_as_what_it_must_be_told() {
    let server = service()
        .settings(|settings| {
            settings.cache.backend = CacheBackend::Redis;
            settings.cache.redis.url = RedisUrl::parse("redis://127.0.0.1:1").unwrap();
        })
        .start_at_once();
    server.book("a", TODAY, "pending").await;
    server.book("b", TODAY, "pending").await;
    server.mega_stats("a").await;
    let metrics = scrape(&server).await;
    for (series, value) in [
        ("megastats_redis_breaker_open", "1"),
        ("megastats_redis_problem{reason=\"unreachable\"}", "1"),
        ("megastats_redis_problem{reason=\"refused\"}", "0"),
        ("megastats_redis_breaker_changes_total{to=\"open\"}", "1"),
        ("megastats_redis_undelivered_generations", "2"),
        ("megastats_redis_unraised_fences", "0"),
        ("megastats_redis_undelivered_overrun", "0"),
        ("megastats_redis_breaker_changes_total{to=\"closed\"}", "0"),
        (
            "megastats_cache_requests_total{backend=\"redis\",outcome=\"bypass\"}",
            "1",
        ),
    ] {
        assert_eq!(metrics.samples[series].to_string(), value, "{series}");
    }
}

#[tokio::test]
async fn the_entries_in_memory_are_shown_up_to_their_bound() {
    const MAX: usize = 3;
    let server = service()
        .settings(|settings| settings.cache.max_entries = MAX)
        .start();
    for (n, tenant) in ["a", "b", "b", "c", "d", "e"].into_iter().enumerate() {
        server.mega_stats(tenant).await;
        let shown = scrape(&server).await.samples["megastats_cache_entries"];
        let expected = if n < 2 { n + 1 } else { n.min(MAX) };
        assert_eq!(shown.to_string(), expected.to_string(), "after {tenant}");
    }
}
