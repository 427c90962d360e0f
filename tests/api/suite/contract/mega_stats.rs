//! `GET /mega-stats`.

use harness::Reply;
use reqwest::StatusCode;

use super::server;

const EMPTY: &str = r#"{"today":{"confirmed":0,"pending":0},"week":{"confirmed":0,"pending":0},"month":{"confirmed":0,"pending":0},"nextMonth":{"confirmed":0,"pending":0}}"#;

fn x_cache(reply: &Reply) -> &str {
    assert_eq!(reply.status, StatusCode::OK, "{reply:?}");
    reply.header("x-cache")
}

#[tokio::test]
async fn a_tenant_without_appointments_has_zeros_in_the_documented_order() {
    let server = server();
    let reply = server.mega_stats("default-tenant").await;
    assert_eq!(reply.status, StatusCode::OK);
    assert_eq!(reply.body, EMPTY);
}

#[tokio::test]
async fn each_bucket_counts_by_status_and_cancelled_counts_nowhere() {
    let server = server();
    for (starts_at, status) in [
        ("2025-10-31T12:00:00Z", "confirmed"),
        ("2025-10-31T18:00:00Z", "pending"),
        ("2025-10-31T19:00:00Z", "pending"),
        ("2025-10-27T12:00:00Z", "confirmed"),
        ("2025-11-01T12:00:00Z", "confirmed"), // Saturday: this week, next month
        ("2025-10-02T12:00:00Z", "pending"),
        ("2025-11-15T12:00:00Z", "pending"),
        ("2025-09-30T12:00:00Z", "confirmed"),
        ("2025-12-01T12:00:00Z", "confirmed"),
    ] {
        server.book("t", starts_at, status).await;
        server.book("t", starts_at, "cancelled").await;
        server.book("another", starts_at, status).await;
        server.book("another", starts_at, status).await;
    }
    assert_eq!(
        server.mega_stats("t").await.body,
        r#"{"today":{"confirmed":1,"pending":2},"week":{"confirmed":3,"pending":2},"month":{"confirmed":2,"pending":3},"nextMonth":{"confirmed":1,"pending":1}}"#
    );
}

#[tokio::test]
async fn the_zone_is_recifes_unless_tz_names_another() {
    let server = server();
    server.book("t", "2025-11-01T02:00:00Z", "pending").await;
    for (tz, pending_today) in [
        ("", 1),
        ("&tz=America/Recife", 1),
        ("&tz=America%2FRecife", 1),
        ("&tz=UTC", 0),
        ("&tz=Asia/Tokyo", 0),
    ] {
        let reply = server.get(&format!("/mega-stats?tenantId=t{tz}")).await;
        assert_eq!(reply.json()["today"]["pending"], pending_today, "{tz}");
    }
}

#[tokio::test]
async fn the_second_answer_comes_from_the_cache_and_is_the_same() {
    let server = server();
    server.book("t", "2025-10-31T12:00:00Z", "pending").await;
    let (first, second) = (server.mega_stats("t").await, server.mega_stats("t").await);
    assert_eq!((x_cache(&first), x_cache(&second)), ("MISS", "HIT"));
    assert_eq!(first.body, second.body);
}

#[tokio::test]
async fn cache_status_is_that_of_rfc_9211() {
    let server = server();
    let miss = server.mega_stats("t").await;
    assert_eq!(miss.header("cache-status"), "megastats; fwd=miss");
    let hit = server.mega_stats("t").await;
    let ttl = hit
        .header("cache-status")
        .strip_prefix("megastats; hit; ttl=");
    let ttl: u64 = ttl.unwrap_or_else(|| panic!("{hit:?}")).parse().unwrap();
    assert!(ttl <= 30, "{ttl}");
    let bypass = server
        .get("/summary?tenantId=t&to=2025-10-31T15:00:00Z")
        .await;
    assert_eq!(bypass.header("cache-status"), "megastats; fwd=bypass");
    for reply in [miss, hit, bypass] {
        assert_eq!(reply.header("cache-control"), "no-store");
    }
}

#[tokio::test]
async fn each_tenant_and_zone_has_an_answer_of_its_own() {
    let server = server();
    server.book("t", "2025-10-31T12:00:00Z", "pending").await;
    // Names that a key, a pattern or a database might take for one another.
    for tenant in [
        "t",
        "T",
        "t t",
        "t%25",
        "t%",
        "t:America/Recife",
        "{t}",
        "t*",
        "ţ",
        "t?",
        "'t'",
    ] {
        let reply = server.mega_stats(tenant).await;
        assert_eq!(x_cache(&reply), "MISS", "{tenant}");
        assert_eq!(
            reply.json()["today"]["pending"],
            u8::from(tenant == "t"),
            "{tenant}"
        );
    }
    let in_utc = server.get("/mega-stats?tenantId=t&tz=UTC").await;
    assert_eq!(x_cache(&in_utc), "MISS");
    assert_eq!(x_cache(&server.mega_stats("t").await), "HIT");
}

#[tokio::test]
async fn a_link_to_a_zone_is_another_key_but_gives_the_same_counts() {
    let server = server();
    server.book("t", "2025-10-31T12:00:00Z", "pending").await;
    let zone = server
        .get("/mega-stats?tenantId=t&tz=America/New_York")
        .await;
    let link = server.get("/mega-stats?tenantId=t&tz=US/Eastern").await;
    assert_eq!((x_cache(&zone), x_cache(&link)), ("MISS", "MISS"));
    assert_eq!(zone.body, link.body);
}

#[tokio::test]
async fn a_write_is_counted_by_the_very_next_mega_stats_summary_and_list() {
    let server = server();
    let today = "2025-10-31T18:00:00Z";
    let counted = async |expected: [usize; 2]| {
        let mega_stats = server.mega_stats("t").await;
        let summary = server.get("/summary?tenantId=t").await;
        let list = server.get("?tenantId=t").await.json();
        assert_eq!((x_cache(&mega_stats), x_cache(&summary)), ("MISS", "MISS"));
        for bucket in [&mega_stats.json()["today"], &mega_stats.json()["month"]] {
            assert_eq!([&bucket["confirmed"], &bucket["pending"]], expected);
        }
        let day = &summary.json()["today"];
        assert_eq!([&day["confirmed"], &day["pending"]], expected);
        let statuses = list["data"]
            .as_array()
            .unwrap()
            .iter()
            .map(|each| &each["status"]);
        let listed = |status: &str| statuses.clone().filter(|other| *other == status).count();
        assert_eq!([listed("confirmed"), listed("pending")], expected);
    };
    counted([0, 0]).await;
    let first = server.book("t", today, "pending").await;
    counted([0, 1]).await;
    server.book("t", today, "confirmed").await;
    counted([1, 1]).await;
    server
        .patch(first, &serde_json::json!({ "status": "confirmed" }))
        .await;
    counted([2, 0]).await;
    server
        .patch(first, &serde_json::json!({ "status": "cancelled" }))
        .await;
    counted([1, 0]).await;
}

#[tokio::test]
async fn an_appointment_that_is_moved_leaves_its_old_bucket_for_the_new_one() {
    let server = server();
    let id = server.book("t", "2025-10-31T18:00:00Z", "pending").await;
    let pending = async || {
        let stats = server.mega_stats("t").await.json();
        ["today", "week", "month", "nextMonth"].map(|name| stats[name]["pending"].as_i64().unwrap())
    };
    assert_eq!(pending().await, [1, 1, 1, 0]);
    server
        .patch(
            id,
            &serde_json::json!({ "startsAt": "2025-11-15T18:00:00Z" }),
        )
        .await;
    assert_eq!(pending().await, [0, 0, 0, 1]);
}
