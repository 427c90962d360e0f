//! `GET /cache-metrics`.

use harness::TestServer;
use reqwest::StatusCode;
use serde_json::{Value, json};

use super::server;

async fn metrics(server: &TestServer, query: &str) -> Value {
    let reply = server.get(&format!("/cache-metrics{query}")).await;
    assert_eq!(reply.status, StatusCode::OK, "{reply:?}");
    reply.json()
}

/// Fills the cache with an entry each for the tenants `a` to `e`; returns their keys.
async fn five_keys(server: &TestServer) -> Vec<String> {
    for tenant in ["d", "a", "e", "c", "b"] {
        server.mega_stats(tenant).await;
    }
    ["a", "b", "c", "d", "e"]
        .map(|t| format!("mega_stats:{t}:America/Recife:2025-10-31"))
        .into()
}

#[tokio::test]
async fn a_service_that_has_answered_nothing_shows_zeros() {
    let server = server();
    assert_eq!(
        server.get("/cache-metrics").await.body,
        r#"{"cache_stats":{"hits":0,"misses":0,"total_requests":0,"hit_rate":0.0,"avg_hit_time_ms":0.0,"avg_miss_time_ms":0.0},"last_minute":{"hits":0,"misses":0,"total_requests":0,"hit_rate":0.0,"avg_hit_time_ms":0.0,"avg_miss_time_ms":0.0},"cache_size":0,"cache_keys":[],"next_after":null}"#
    );
}

#[tokio::test]
async fn hits_misses_and_the_hit_rate_in_percent_are_counted() {
    let server = server();
    for _ in 0..4 {
        server.mega_stats("t").await;
    }
    for _ in 0..3 {
        server.get("/summary?tenantId=t").await;
    }
    server
        .get("/summary?tenantId=t&to=2025-10-31T15:00:00Z")
        .await;
    let metrics = metrics(&server, "").await;
    for figures in [&metrics["cache_stats"], &metrics["last_minute"]] {
        assert_eq!(
            [
                &figures["hits"],
                &figures["misses"],
                &figures["total_requests"]
            ],
            [5, 3, 8]
        );
        assert_eq!(figures["hit_rate"], 62.5);
        for average in ["avg_hit_time_ms", "avg_miss_time_ms"] {
            assert!(
                figures[average].as_f64().unwrap() > 0.0,
                "{average}: {figures}"
            );
        }
    }
}

#[tokio::test]
async fn what_is_refused_or_needs_no_cache_is_not_counted() {
    let server = server();
    server.mega_stats("").await;
    server.get("/summary?tenantId=t&tz=Nowhere").await;
    let id = server.book("t", "2025-11-03T12:00:00Z", "pending").await;
    server.get(&format!("/{id}")).await;
    server.get("?tenantId=t").await;
    metrics(&server, "").await;
    let metrics = metrics(&server, "").await;
    assert_eq!(metrics["cache_stats"]["total_requests"], 0);
    assert_eq!(metrics["cache_size"], 0);
}

#[tokio::test]
async fn keys_are_shown_as_the_seed_writes_them() {
    let server = server();
    server.mega_stats("default-tenant").await;
    server.get("/mega-stats?tenantId=a:b{c}&tz=UTC").await;
    assert_eq!(
        metrics(&server, "").await["cache_keys"],
        json!([
            "mega_stats:a%3Ab%7Bc%7D:UTC:2025-10-31",
            "mega_stats:default-tenant:America/Recife:2025-10-31"
        ])
    );
}

#[tokio::test]
async fn keys_come_sorted_page_by_page_and_the_size_is_of_all() {
    let server = server();
    let keys = five_keys(&server).await;
    let whole = metrics(&server, "").await;
    assert_eq!(
        (&whole["cache_keys"], &whole["cache_size"]),
        (&json!(keys), &json!(5))
    );
    assert_eq!(whole["next_after"], Value::Null);
    for limit in 1..=6 {
        let (mut found, mut after) = (Vec::new(), String::new());
        loop {
            let page = metrics(&server, &format!("?limit={limit}{after}")).await;
            assert_eq!(page["cache_size"], 5);
            let page_keys = page["cache_keys"].as_array().unwrap();
            assert!(page_keys.len() <= limit);
            found.extend(page_keys.iter().map(|key| key.as_str().unwrap().to_owned()));
            let Some(next) = page["next_after"].as_str() else {
                break;
            };
            assert_eq!(found.last().unwrap(), next);
            after = format!("&after={next}");
        }
        assert_eq!(found, keys, "limit {limit}");
    }
}

#[tokio::test]
async fn keys_after_the_last_one_are_none() {
    let server = server();
    five_keys(&server).await;
    let page = metrics(&server, "?after=zzz").await;
    assert_eq!(
        [&page["cache_keys"], &page["next_after"]],
        [&json!([]), &Value::Null]
    );
    assert_eq!(page["cache_size"], 5);
}

#[tokio::test]
async fn a_page_of_keys_may_hold_1_to_1000() {
    let server = server();
    for limit in ["1", "1000"] {
        metrics(&server, &format!("?limit={limit}")).await;
    }
    for limit in ["0", "1001", "-1", "1.5", "many", "", "99999999999999999999"] {
        let reply = server.get(&format!("/cache-metrics?limit={limit}")).await;
        assert_eq!(reply.status, StatusCode::UNPROCESSABLE_ENTITY, "{limit}");
        assert_eq!(
            reply.json()["errors"],
            json!([{ "field": "limit", "message": "must be a whole number from 1 to 1000" }])
        );
    }
}

#[tokio::test]
async fn the_keys_of_a_tenant_go_when_it_is_written_to_and_others_stay() {
    let server = server();
    let keys = five_keys(&server).await;
    server.book("c", "2025-10-31T12:00:00Z", "pending").await;
    let metrics = metrics(&server, "").await;
    assert_eq!(metrics["cache_size"], 4);
    assert_eq!(
        metrics["cache_keys"],
        json!([keys[0], keys[1], keys[3], keys[4]])
    );
}
