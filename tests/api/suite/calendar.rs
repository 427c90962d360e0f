//! The calendar, as clients see it: which day it is, and to which bucket an appointment belongs.

use std::{sync::Arc, time::Duration};

use harness::{Builder, FakeClock, TestServer};
use megastats::settings::Tzdb;

const ALL: [&str; 4] = ["today", "week", "month", "nextMonth"];

/// A service whose entries outlive every test, and its clock.
fn service_at(now: &str) -> (Builder, Arc<FakeClock>) {
    let clock = Arc::new(FakeClock::at(now));
    let service = TestServer::builder().clock(clock.clone());
    (
        service.settings(|settings| settings.cache.ttl = Duration::from_secs(3600)),
        clock,
    )
}

fn server_at(now: &str) -> (TestServer, Arc<FakeClock>) {
    let (service, clock) = service_at(now);
    (service.start(), clock)
}

/// Asks for the mega-stats of tenant `t` in `zone`; returns `X-Cache`, and how many wait in each
/// bucket.
async fn pending(server: &TestServer, zone: &str) -> (String, [i64; 4]) {
    let reply = server
        .get(&format!("/mega-stats?tenantId=t&tz={zone}"))
        .await;
    let stats = reply.json();
    let counts = ALL.map(|bucket| stats[bucket]["pending"].as_i64().unwrap());
    (reply.header("x-cache").to_owned(), counts)
}

/// Asks for the summary of tenant `t` in `zone`: the totals of today and tomorrow.
async fn two_days(server: &TestServer, zone: &str) -> [i64; 2] {
    let summary = server
        .get(&format!("/summary?tenantId=t&tz={zone}"))
        .await
        .json();
    ["today", "tomorrow"].map(|day| summary[day]["total"].as_i64().unwrap())
}

/// The dates in the keys that the cache holds.
async fn cached_dates(server: &TestServer) -> Vec<String> {
    let metrics = server.get("/cache-metrics").await.json();
    let keys = metrics["cache_keys"].as_array().unwrap().iter();
    keys.map(|key| key.as_str().unwrap().rsplit(':').next().unwrap().to_owned())
        .collect()
}

/// Asserts that at `now`, in `zone`, `today` is from `start` to `end`: an appointment at the start
/// belongs to it and one at the end to tomorrow, as those just before do to yesterday and today.
async fn assert_today(zone: &str, now: &str, start: &str, end: &str) {
    let microsecond_before = |instant: &str| {
        let instant: jiff::Timestamp = instant.parse().unwrap();
        (instant - jiff::SignedDuration::from_micros(1)).to_string()
    };
    let (server, _) = server_at(now);
    for (starts_at, expected) in [
        (microsecond_before(start), [0, 0]),
        (start.to_owned(), [1, 0]),
        (microsecond_before(end), [1, 0]),
        (end.to_owned(), [0, 1]),
    ] {
        let id = server.book("t", &starts_at, "pending").await;
        assert_eq!(
            two_days(&server, zone).await,
            expected,
            "{zone}: {starts_at}"
        );
        assert_eq!(
            pending(&server, zone).await.1[0],
            expected[0],
            "{zone}: {starts_at}"
        );
        server
            .patch(id, &serde_json::json!({ "status": "cancelled" }))
            .await;
    }
}

#[tokio::test]
async fn midnight_in_the_tenants_zone_is_a_new_day_with_a_new_key() {
    let zone = "America/Recife";
    let (server, clock) = server_at("2025-11-01T02:59:59Z");
    server.book("t", "2025-11-01T02:00:00Z", "pending").await; // 23:00, before midnight
    server.book("t", "2025-11-01T12:00:00Z", "pending").await;
    server.book("t", "2025-11-01T13:00:00Z", "pending").await;
    let friday = [1, 3, 1, 2];
    assert_eq!(pending(&server, zone).await, ("MISS".into(), friday));
    assert_eq!(pending(&server, zone).await, ("HIT".into(), friday));
    assert_eq!(two_days(&server, zone).await, [1, 2]);

    clock.set("2025-11-01T03:00:00Z");
    let saturday = [2, 3, 2, 0];
    assert_eq!(pending(&server, zone).await, ("MISS".into(), saturday));
    assert_eq!(two_days(&server, zone).await, [2, 0]);
    assert_eq!(
        cached_dates(&server).await,
        ["2025-10-31", "2025-11-01", "2025-10-31", "2025-11-01"]
    );

    clock.set("2025-11-01T03:00:01Z");
    assert_eq!(pending(&server, zone).await, ("HIT".into(), saturday));
}

#[tokio::test]
async fn midnight_elsewhere_changes_nothing() {
    let (server, clock) = server_at("2025-10-31T23:59:59Z");
    assert_eq!(pending(&server, "America/Recife").await.0, "MISS");
    assert_eq!(pending(&server, "UTC").await.0, "MISS");
    clock.set("2025-11-01T00:00:01Z");
    assert_eq!(pending(&server, "America/Recife").await.0, "HIT");
    assert_eq!(pending(&server, "UTC").await.0, "MISS");
}

#[tokio::test]
async fn a_bucket_holds_its_first_instant_and_not_its_end() {
    // Wednesday 15 October 2025, in a zone three hours west of UTC.
    let (server, _) = server_at("2025-10-15T15:00:00Z");
    for (starts_at, expected) in [
        ("2025-10-01T02:59:59.999999Z", [0, 0, 0, 0]),
        ("2025-10-01T03:00:00Z", [0, 0, 1, 0]),
        ("2025-10-12T02:59:59.999999Z", [0, 0, 1, 0]),
        ("2025-10-12T03:00:00Z", [0, 1, 1, 0]),
        ("2025-10-15T02:59:59.999999Z", [0, 1, 1, 0]),
        ("2025-10-15T03:00:00Z", [1, 1, 1, 0]),
        ("2025-10-16T02:59:59.999999Z", [1, 1, 1, 0]),
        ("2025-10-16T03:00:00Z", [0, 1, 1, 0]),
        ("2025-10-19T02:59:59.999999Z", [0, 1, 1, 0]),
        ("2025-10-19T03:00:00Z", [0, 0, 1, 0]),
        ("2025-11-01T02:59:59.999999Z", [0, 0, 1, 0]),
        ("2025-11-01T03:00:00Z", [0, 0, 0, 1]),
        ("2025-12-01T02:59:59.999999Z", [0, 0, 0, 1]),
        ("2025-12-01T03:00:00Z", [0, 0, 0, 0]),
    ] {
        let id = server.book("t", starts_at, "pending").await;
        assert_eq!(
            pending(&server, "America/Recife").await.1,
            expected,
            "{starts_at}"
        );
        server
            .patch(id, &serde_json::json!({ "status": "cancelled" }))
            .await;
    }
}

#[tokio::test]
async fn sunday_begins_a_week() {
    let zone = "America/Recife";
    let (server, clock) = server_at("2025-10-19T02:59:59Z"); // Saturday
    server.book("t", "2025-10-15T15:00:00Z", "pending").await;
    assert_eq!(pending(&server, zone).await, ("MISS".into(), [0, 1, 1, 0]));
    clock.set("2025-10-19T03:00:00Z");
    assert_eq!(pending(&server, zone).await, ("MISS".into(), [0, 0, 1, 0]));
}

#[tokio::test]
async fn a_year_ends_as_a_month_does() {
    let zone = "America/Recife";
    let (server, clock) = server_at("2026-01-01T02:59:59Z"); // Wednesday
    server.book("t", "2025-12-31T15:00:00Z", "pending").await;
    server.book("t", "2026-01-31T15:00:00Z", "pending").await;
    server.book("t", "2026-02-28T15:00:00Z", "pending").await;
    server.book("t", "2026-03-01T03:00:00Z", "pending").await;
    assert_eq!(pending(&server, zone).await, ("MISS".into(), [1, 1, 1, 1]));
    clock.set("2026-01-01T03:00:00Z");
    assert_eq!(pending(&server, zone).await, ("MISS".into(), [0, 1, 1, 1]));
}

#[tokio::test]
async fn february_has_a_29th_in_leap_years() {
    let (server, _) = server_at("2028-01-31T15:00:00Z");
    server.book("t", "2028-02-29T15:00:00Z", "pending").await;
    server.book("t", "2028-03-01T15:00:00Z", "pending").await;
    assert_eq!(pending(&server, "America/Recife").await.1, [0, 0, 0, 1]);
}

#[tokio::test]
async fn a_day_whose_midnight_is_skipped_begins_at_the_jump() {
    let (start, end) = ("2026-04-23T22:00:00Z", "2026-04-24T21:00:00Z");
    for now in [start, "2026-04-24T12:00:00Z", "2026-04-24T20:59:59Z"] {
        assert_today("Africa/Cairo", now, start, end).await;
    }
}

#[tokio::test]
async fn a_day_whose_midnight_is_repeated_begins_at_the_earlier_one() {
    let (start, end) = ("2027-11-07T04:00:00Z", "2027-11-08T05:00:00Z");
    for now in [start, "2027-11-07T05:00:00Z", "2027-11-08T04:59:59Z"] {
        assert_today("America/Havana", now, start, end).await;
    }
}

#[tokio::test]
async fn the_hour_before_midnight_may_come_twice() {
    let (start, end) = ("2026-10-28T21:00:00Z", "2026-10-29T22:00:00Z");
    assert_today("Africa/Cairo", "2026-10-29T21:30:00Z", start, end).await;
}

#[tokio::test]
async fn a_skipped_midnight_is_a_new_key_at_the_jump() {
    let zone = "Africa/Cairo";
    let (server, clock) = server_at("2026-04-23T21:59:59Z");
    assert_eq!(pending(&server, zone).await.0, "MISS");
    clock.set("2026-04-23T22:00:00Z");
    assert_eq!(pending(&server, zone).await.0, "MISS");
    assert_eq!(cached_dates(&server).await, ["2026-04-23", "2026-04-24"]);
}

#[tokio::test]
async fn vancouver_no_longer_sets_its_clocks_back() {
    let (start, end) = ("2026-12-15T07:00:00Z", "2026-12-16T07:00:00Z");
    assert_today("America/Vancouver", "2026-12-15T20:00:00Z", start, end).await;
}

#[tokio::test]
async fn casablanca_is_back_on_utc() {
    let (start, end) = ("2026-12-15T00:00:00Z", "2026-12-16T00:00:00Z");
    assert_today("Africa/Casablanca", "2026-12-15T12:00:00Z", start, end).await;
}

#[tokio::test]
async fn days_are_right_on_both_sides_of_the_date_line() {
    for (zone, start, end) in [
        (
            "Pacific/Kiritimati",
            "2025-10-31T10:00:00Z",
            "2025-11-01T10:00:00Z",
        ),
        (
            "Pacific/Pago_Pago",
            "2025-10-31T11:00:00Z",
            "2025-11-01T11:00:00Z",
        ),
        (
            "Asia/Kathmandu",
            "2025-10-30T18:15:00Z",
            "2025-10-31T18:15:00Z",
        ),
    ] {
        assert_today(zone, "2025-10-31T12:00:00Z", start, end).await;
    }
}

#[tokio::test]
async fn the_machines_rules_are_used_where_ops_say_so() {
    let (service, _) = service_at("2025-10-31T12:00:00Z");
    let server = service
        .settings(|settings| settings.stats.tzdb = Tzdb::System)
        .start();
    server.book("t", "2025-10-31T12:00:00Z", "pending").await;
    assert_eq!(pending(&server, "America/Recife").await.1, [1, 1, 1, 0]);
}
