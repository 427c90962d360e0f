//! What holds for all routes alike.

use harness::{PREFIX, Reply, TestServer};
use reqwest::{Method, StatusCode};
use serde_json::json;

use super::server;

/// Every route that is read, as its path and its query.
const READ: [(&str, &str); 8] = [
    ("", "?tenantId=t"),
    (
        "",
        "?tenantId=t&page=1&page_size=1&from=2025-01-01T00:00:00Z&to=2026-01-01T00:00:00Z",
    ),
    ("/1", ""),
    ("/mega-stats", "?tenantId=t&tz=UTC"),
    ("/days", "?tenantId=t&tz=UTC"),
    ("/summary", "?tenantId=t&tz=UTC"),
    ("/summary", "?tenantId=t&to=2025-10-31T15:00:00Z"),
    ("/cache-metrics", ""),
];

/// A service with the appointment 1 of the tenant `t`.
async fn booked() -> TestServer {
    let server = server();
    assert_eq!(server.book("t", "2025-10-31T12:00:00Z", "pending").await, 1);
    server
}

fn assert_answered(reply: &Reply, status: StatusCode) {
    assert_eq!(reply.status, status, "{reply:?}");
    assert_eq!(
        reply.header("content-type"),
        "application/json",
        "{reply:?}"
    );
    assert_eq!(reply.header("cache-control"), "no-store", "{reply:?}");
}

#[tokio::test]
async fn every_route_answers_with_and_without_a_trailing_slash() {
    let server = booked().await;
    for (path, query) in READ {
        for slash in ["", "/"] {
            let reply = server.get(&format!("{path}{slash}{query}")).await;
            assert_answered(&reply, StatusCode::OK);
        }
    }
    let body = json!({ "tenantId": "t", "patientId": 1, "startsAt": "2025-11-03T12:00:00Z",
                       "durationMin": 30 });
    for slash in ["", "/"] {
        let url = format!("{}{PREFIX}{slash}", server.url());
        let created = server.request(server.client().post(url).json(&body)).await;
        assert_answered(&created, StatusCode::CREATED);
        let url = format!("{}{PREFIX}/1{slash}", server.url());
        let changes = json!({ "status": "confirmed" });
        let updated = server
            .request(server.client().patch(url).json(&changes))
            .await;
        assert_answered(&updated, StatusCode::OK);
    }
}

#[tokio::test]
async fn head_is_get_without_the_body() {
    let server = booked().await;
    let mistakes = [
        ("/77", ""),
        ("", ""),
        ("/mega-stats", "?tenantId="),
        ("/1/2", ""),
    ];
    for (path, query) in READ.into_iter().chain(mistakes) {
        for slash in ["", "/"] {
            let path = format!("{PREFIX}{path}{slash}{query}");
            let got = server.send(Method::GET, &path).await;
            let head = server.send(Method::HEAD, &path).await;
            assert_answered(&head, got.status);
            assert_eq!(head.body, "", "{path}");
            if !path.contains("cache-metrics") {
                let length = got.body.len().to_string();
                assert_eq!(head.header("content-length"), length, "{path}");
            }
        }
    }
}

#[tokio::test]
async fn head_takes_part_in_the_cache_as_get_does() {
    let server = booked().await;
    let path = format!("{PREFIX}/mega-stats?tenantId=t");
    for x_cache in ["MISS", "HIT"] {
        assert_eq!(
            server.send(Method::HEAD, &path).await.header("x-cache"),
            x_cache
        );
    }
    assert_eq!(server.mega_stats("t").await.header("x-cache"), "HIT");
}

#[tokio::test]
async fn every_mistake_is_answered_in_json_that_nobody_stores() {
    let server = server();
    for (method, path, status) in [
        (Method::GET, "", 422),
        (Method::POST, "", 415),
        (Method::GET, "/0", 422),
        (Method::GET, "/1", 404),
        (Method::PATCH, "/1", 415),
        (Method::GET, "/mega-stats", 422),
        (Method::GET, "/summary", 422),
        (Method::GET, "/cache-metrics?limit=0", 422),
        (Method::GET, "/cache-metrics?limit=1&limit=1", 400),
        (Method::PUT, "/summary", 405),
        (Method::GET, "/1/2", 404),
    ] {
        let reply = server.send(method, &format!("{PREFIX}{path}")).await;
        assert_answered(&reply, StatusCode::from_u16(status).unwrap());
        assert_eq!(reply.json()["status"], status, "{path}");
    }
}
