//! A database that cannot answer: what is answered from entries past their time to live, for how
//! long, and never after a write.

use std::sync::Arc;

use reqwest::StatusCode;

use super::freshness::appointment;
use crate::harness::{Builder, FakeClock, Lock, NOW, Raw, Reply, TODAY, TestServer, eventually};

/// A service whose only connection can be taken.
fn service(stale_seconds: u64) -> Builder {
    TestServer::builder()
        .clock(Arc::new(FakeClock::going_from(NOW)))
        .settings(|settings| {
            settings.database.pool_size = 1;
            settings.database.pool_wait_ms = 100;
            settings.database.busy_timeout_ms = 60_000;
            settings.database.statement_timeout_ms = 60_000;
            settings.cache.ttl_seconds = 1;
            settings.cache.stale_if_error_seconds = stale_seconds;
        })
}

/// While it lasts, a writer that waits for the test's lock sits on the only connection.
struct Outage {
    lock: Lock,
    writer: Raw,
}

impl Outage {
    async fn begin(server: &TestServer) -> Self {
        let lock = server.lock_database();
        let mut writer = Raw::connect(server.url());
        writer.post(&appointment("writer"));
        eventually("the only connection is taken", async || {
            server.get("/1").await.status == StatusCode::SERVICE_UNAVAILABLE
        })
        .await;
        Self { lock, writer }
    }

    fn end(mut self) {
        drop(self.lock);
        assert_eq!(self.writer.reply().status, StatusCode::CREATED);
    }
}

/// The first answer about `tenant` that is not a hit.
async fn past_its_time(server: &TestServer, tenant: &str) -> Reply {
    let mut last = None;
    eventually("the entry expires", async || {
        let reply = server.mega_stats(tenant).await;
        let is_hit = reply.header("x-cache") == "HIT";
        last = Some(reply);
        !is_hit
    })
    .await;
    last.unwrap()
}

fn assert_is_503(reply: &Reply) {
    assert_eq!(reply.status, StatusCode::SERVICE_UNAVAILABLE, "{reply:?}");
    assert_eq!(reply.header("retry-after"), "1");
    assert_eq!(reply.header("age"), "");
}

#[tokio::test]
async fn what_has_expired_is_answered_marked_and_with_its_age_until_the_database_is_back() {
    let server = service(300).start();
    server.book("clinic", TODAY, "pending").await;
    assert_eq!(server.mega_stats("clinic").await.today(), ("MISS", 1));
    let summary = "/summary?tenantId=clinic";
    assert_eq!(server.get(summary).await.today(), ("MISS", 1));
    let outage = Outage::begin(&server).await;

    let stale = past_its_time(&server, "clinic").await;
    assert_eq!(stale.today(), ("STALE", 1));
    let age: u64 = stale.header("age").parse().unwrap();
    assert!((1..300).contains(&age), "{age}");
    let status = stale.header("cache-status");
    let past = status
        .strip_prefix("megastats; hit; ttl=-")
        .and_then(|rest| rest.strip_suffix("; detail=database-unavailable"));
    assert_eq!(past.unwrap().parse(), Ok(age - 1), "{status}");
    assert_eq!(stale.header("cache-control"), "no-store");
    assert_eq!(server.get(summary).await.today(), ("STALE", 1));
    assert_is_503(&server.mega_stats("never-read").await);
    let zone = "/mega-stats?tenantId=clinic&tz=America/Bahia";
    assert_is_503(&server.get(zone).await);

    outage.end();
    // Whoever asks first may still be told what was known.
    eventually("the database is used again", async || {
        server.mega_stats("clinic").await.today() != ("STALE", 1)
    })
    .await;
    assert_eq!(server.mega_stats("clinic").await.today(), ("HIT", 1));
    assert_eq!(server.mega_stats("writer").await.today(), ("MISS", 1));
}

#[tokio::test]
async fn past_the_window_the_answer_is_503() {
    let server = service(1).start();
    server.mega_stats("clinic").await;
    let outage = Outage::begin(&server).await;
    let mut seen = Vec::new();
    eventually("the window passes", async || {
        let reply = server.mega_stats("clinic").await;
        seen.push(reply.header("x-cache").to_owned());
        reply.status == StatusCode::SERVICE_UNAVAILABLE
    })
    .await;
    assert_is_503(&server.mega_stats("clinic").await);
    seen.dedup();
    assert!(["", "STALE"].contains(&&*seen[seen.len().saturating_sub(2)]));
    outage.end();
    assert_eq!(server.mega_stats("clinic").await.today(), ("MISS", 0));
}

#[tokio::test]
async fn a_window_of_zero_switches_it_off() {
    let server = service(0).start();
    server.mega_stats("clinic").await;
    let _outage = Outage::begin(&server).await;
    assert_is_503(&past_its_time(&server, "clinic").await);
}

#[tokio::test]
async fn after_a_write_the_answer_is_503() {
    let server = service(300).start();
    let id = server.book("booked", TODAY, "pending").await;
    for tenant in ["untouched", "booked"] {
        server.mega_stats(tenant).await;
    }
    let patched = server
        .patch(id, &serde_json::json!({ "status": "cancelled" }))
        .await;
    assert_eq!(patched.status, StatusCode::OK);
    let outage = Outage::begin(&server).await;
    let untouched = past_its_time(&server, "untouched").await;
    assert_eq!(untouched.today(), ("STALE", 0));
    for _ in 0..3 {
        assert_is_503(&server.mega_stats("booked").await);
        // It waits for its commit, which may take place any moment.
        assert_is_503(&server.mega_stats("writer").await);
    }
    outage.end();
    assert_eq!(server.mega_stats("booked").await.today(), ("MISS", 0));
}

#[tokio::test]
async fn yesterday_is_not_todays_answer() {
    let clock = Arc::new(FakeClock::going_from(NOW));
    let server = service(300).clock(clock.clone()).start();
    server.mega_stats("clinic").await;
    let _outage = Outage::begin(&server).await;
    let stale = past_its_time(&server, "clinic").await;
    assert_eq!(stale.today(), ("STALE", 0));
    clock.set("2025-11-01T03:00:00Z");
    assert_is_503(&server.mega_stats("clinic").await);
}

#[tokio::test]
async fn another_failure_than_an_outage_is_told() {
    let server = service(300).start();
    server.mega_stats("clinic").await;
    let mut database = server.database();
    database.hide_appointments();
    let failed = past_its_time(&server, "clinic").await;
    assert_eq!(failed.status, StatusCode::INTERNAL_SERVER_ERROR);
}
