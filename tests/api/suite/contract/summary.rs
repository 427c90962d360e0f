//! `GET /summary`.

use harness::TestServer;
use reqwest::StatusCode;

use super::server;

/// In Recife the two days are 31 October and 1 November, which begin at 03:00 UTC.
const TODAY: &str = "2025-10-31T03:00:00Z";
const TOMORROW: &str = "2025-11-01T03:00:00Z";
const AFTER: &str = "2025-11-02T03:00:00Z";

/// A service with three appointments: today at 12:00 and 18:00, tomorrow at 12:00, in UTC.
async fn booked() -> TestServer {
    let server = server();
    server.book("t", "2025-10-31T12:00:00Z", "confirmed").await;
    server.book("t", "2025-10-31T18:00:00Z", "pending").await;
    server.book("t", "2025-11-01T12:00:00Z", "pending").await;
    server
}

/// Asks with `bounds`; returns `X-Cache` and the totals of today and tomorrow.
async fn summary(server: &TestServer, bounds: &str) -> (String, i64, i64) {
    let reply = server.get(&format!("/summary?tenantId=t{bounds}")).await;
    assert_eq!(reply.status, StatusCode::OK, "{reply:?}");
    let total = |day: &str| reply.json()[day]["total"].as_i64().unwrap();
    (
        reply.header("x-cache").to_owned(),
        total("today"),
        total("tomorrow"),
    )
}

fn bounds(from: &str, to: &str) -> String {
    format!("&from={from}&to={to}")
}

#[tokio::test]
async fn a_tenant_without_appointments_has_zeros_in_the_documented_order() {
    let server = server();
    let reply = server.get("/summary?tenantId=t").await;
    assert_eq!(reply.status, StatusCode::OK);
    assert_eq!(
        reply.body,
        r#"{"today":{"total":0,"confirmed":0,"pending":0},"tomorrow":{"total":0,"confirmed":0,"pending":0}}"#
    );
}

#[tokio::test]
async fn today_and_tomorrow_count_by_status_and_cancelled_counts_nowhere() {
    let server = booked().await;
    server.book("t", "2025-10-30T12:00:00Z", "confirmed").await;
    server.book("t", "2025-11-02T12:00:00Z", "confirmed").await;
    server.book("t", "2025-10-31T12:00:00Z", "cancelled").await;
    server.book("t", "2025-11-01T12:00:00Z", "cancelled").await;
    server
        .book("another", "2025-11-01T12:00:00Z", "confirmed")
        .await;
    assert_eq!(
        server.get("/summary?tenantId=t").await.body,
        r#"{"today":{"total":2,"confirmed":1,"pending":1},"tomorrow":{"total":1,"confirmed":0,"pending":1}}"#
    );
}

#[tokio::test]
async fn a_whole_summary_is_cached_under_a_key_of_its_own() {
    let server = booked().await;
    server.mega_stats("t").await;
    assert_eq!(summary(&server, "").await, ("MISS".into(), 2, 1));
    assert_eq!(summary(&server, "").await, ("HIT".into(), 2, 1));
    let metrics = server.get("/cache-metrics").await.json();
    assert_eq!(
        metrics["cache_keys"],
        serde_json::json!([
            "mega_stats:t:America/Recife:2025-10-31",
            "summary:t:America/Recife:2025-10-31"
        ])
    );
}

#[tokio::test]
async fn a_summary_cut_short_bypasses_the_cache_and_counts_what_is_left() {
    let server = booked().await;
    for (cut, today, tomorrow) in [
        ("&from=2025-10-31T15:00:00Z".to_owned(), 1, 1),
        ("&from=2025-10-31T12:00:00-03:00".to_owned(), 1, 1),
        ("&to=2025-10-31T15:00:00Z".to_owned(), 1, 0),
        ("&to=2025-10-31T17:00:00%2B02:00".to_owned(), 1, 0),
        (bounds("2025-10-31T12:00:00Z", "2025-10-31T18:00:00Z"), 1, 0),
        (
            bounds("2025-10-31T12:00:00.000001Z", "2025-10-31T18:00:00.000001Z"),
            1,
            0,
        ),
        (bounds("2025-10-31T12:00:00Z", "2025-10-31T12:00:00Z"), 0, 0),
        (bounds(TODAY, TOMORROW), 2, 0),
        (bounds(TOMORROW, AFTER), 0, 1),
        (bounds("2025-10-31T18:00:00Z", "2025-11-01T12:00:00Z"), 1, 0),
        (bounds("2025-10-01T00:00:00Z", "2025-10-30T00:00:00Z"), 0, 0),
        (bounds("2025-11-05T00:00:00Z", "2025-11-06T00:00:00Z"), 0, 0),
        ("&from=2025-11-05T00:00:00Z".to_owned(), 0, 0),
        ("&to=2025-10-01T00:00:00Z".to_owned(), 0, 0),
        (format!("&from={AFTER}"), 0, 0),
        (format!("&to={TODAY}"), 0, 0),
    ] {
        for _ in 0..2 {
            assert_eq!(
                summary(&server, &cut).await,
                ("BYPASS".into(), today, tomorrow),
                "{cut}"
            );
        }
    }
    let metrics = server.get("/cache-metrics").await.json();
    assert_eq!(metrics["cache_size"], 0);
}

#[tokio::test]
async fn bounds_that_cut_nothing_off_are_answered_from_the_cache() {
    let server = booked().await;
    assert_eq!(summary(&server, "").await, ("MISS".into(), 2, 1));
    for whole in [
        bounds(TODAY, AFTER),
        bounds("2025-10-31T00:00:00-03:00", "2025-11-02T00:00:00-03:00"),
        bounds("2025-10-01T00:00:00Z", "2025-12-01T00:00:00Z"),
        bounds("1970-01-01T00:00:00Z", "2199-12-31T23:59:59Z"),
        format!("&from={TODAY}"),
        format!("&to={AFTER}"),
    ] {
        assert_eq!(
            summary(&server, &whole).await,
            ("HIT".into(), 2, 1),
            "{whole}"
        );
    }
}

#[tokio::test]
async fn the_two_days_are_those_of_the_zone() {
    let server = booked().await;
    // In Tokyo it is 21:00; tomorrow begins at 15:00 UTC.
    assert_eq!(
        summary(&server, "&tz=Asia/Tokyo").await,
        ("MISS".into(), 1, 2)
    );
}

#[tokio::test]
async fn a_cut_summary_counts_a_write_at_once() {
    let server = booked().await;
    let cut = "&from=2025-10-31T15:00:00Z";
    assert_eq!(summary(&server, cut).await, ("BYPASS".into(), 1, 1));
    server.book("t", "2025-10-31T20:00:00Z", "pending").await;
    assert_eq!(summary(&server, cut).await, ("BYPASS".into(), 2, 1));
}
