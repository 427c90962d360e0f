//! A database that cannot answer: what is answered from entries past their time to live, for how
//! long, and never after a write.

use std::{sync::Arc, time::Duration};

use harness::{Builder, FakeClock, Lock, NOW, Raw, Reply, TODAY, TestServer, eventually};
use reqwest::StatusCode;

use super::freshness::appointment;

/// A service whose only connection can be taken.
fn service(stale_seconds: u64) -> Builder {
    TestServer::builder()
        .clock(Arc::new(FakeClock::running_from(NOW)))
        .settings(|settings| {
            settings.database.pool_size = 1;
            settings.database.pool_wait = Duration::from_millis(100);
            settings.database.busy_timeout = Duration::from_secs(60);
            settings.database.statement_timeout = Duration::from_secs(60);
            settings.cache.ttl = Duration::from_secs(1);
            settings.cache.stale_if_error = Duration::from_secs(stale_seconds);
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
            if writer.is_answered() {
                // On a busy machine a request may take the connection before it, or none be ready.
                assert_is_503(&writer.reply());
                writer.post(&appointment("writer"));
            }
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

const CLINIC: &str = "/mega-stats?tenantId=clinic";

/// The first answer at `path` whose `X-Cache` is `like` that.
async fn first(server: &TestServer, path: &str, like: impl Fn(&str) -> bool) -> Reply {
    let mut last = None;
    eventually("such an answer", async || {
        let reply = server.get(path).await;
        let is_like = like(reply.header("x-cache"));
        last = Some(reply);
        is_like
    })
    .await;
    last.unwrap()
}

/// Waits until there is an entry: a Redis that is not trusted just now gets none.
async fn is_kept(server: &TestServer, path: &str) {
    first(server, path, |cache| cache == "HIT").await;
}

/// The first answer that is not a hit.
async fn past_its_time(server: &TestServer, path: &str) -> Reply {
    first(server, path, |cache| cache != "HIT").await
}

/// The first answer from an expired entry. While Redis is not trusted it is 503.
async fn stale(server: &TestServer, path: &str) -> Reply {
    first(server, path, |cache| cache == "STALE").await
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
    let summary = "/summary?tenantId=clinic";
    for path in [CLINIC, summary] {
        is_kept(&server, path).await;
    }
    let outage = Outage::begin(&server).await;

    let reply = stale(&server, CLINIC).await;
    assert_eq!(reply.today(), ("STALE", 1));
    let age: u64 = reply.header("age").parse().unwrap();
    assert!((1..300).contains(&age), "{age}");
    let status = reply.header("cache-status");
    let past = status
        .strip_prefix("megastats; hit; ttl=-")
        .and_then(|rest| rest.strip_suffix("; detail=database-unavailable"));
    assert_eq!(past.unwrap().parse(), Ok(age - 1), "{status}");
    assert_eq!(reply.header("cache-control"), "no-store");
    assert_eq!(stale(&server, summary).await.today(), ("STALE", 1));
    assert_is_503(&server.mega_stats("never-read").await);
    let zone = "/mega-stats?tenantId=clinic&tz=America/Bahia";
    assert_is_503(&server.get(zone).await);

    outage.end();
    // Whoever asks first may still be told what was known.
    is_kept(&server, CLINIC).await;
    assert_eq!(server.mega_stats("writer").await.today().1, 1);
}

#[tokio::test]
async fn past_the_window_the_answer_is_503() {
    let server = service(5).start();
    is_kept(&server, CLINIC).await;
    let outage = Outage::begin(&server).await;
    stale(&server, CLINIC).await;
    assert_is_503(&first(&server, CLINIC, |cache| cache != "STALE").await);
    outage.end();
    is_kept(&server, CLINIC).await;
}

#[tokio::test]
async fn a_window_of_zero_switches_it_off() {
    let server = service(0).start();
    is_kept(&server, CLINIC).await;
    let _outage = Outage::begin(&server).await;
    assert_is_503(&past_its_time(&server, CLINIC).await);
}

#[tokio::test]
async fn after_a_write_the_answer_is_503() {
    let server = service(300).start();
    let id = server.book("booked", TODAY, "pending").await;
    let untouched = "/mega-stats?tenantId=untouched";
    for path in [untouched, "/mega-stats?tenantId=booked"] {
        is_kept(&server, path).await;
    }
    let patched = server
        .patch(id, &serde_json::json!({ "status": "cancelled" }))
        .await;
    assert_eq!(patched.status, StatusCode::OK);
    let outage = Outage::begin(&server).await;
    assert_eq!(stale(&server, untouched).await.today(), ("STALE", 0));
    for _ in 0..3 {
        assert_is_503(&server.mega_stats("booked").await);
        // It waits for its commit, which may take place any moment.
        assert_is_503(&server.mega_stats("writer").await);
    }
    outage.end();
    assert_eq!(server.mega_stats("booked").await.today().1, 0);
}

#[tokio::test]
async fn yesterday_is_not_todays_answer() {
    let clock = Arc::new(FakeClock::running_from(NOW));
    let server = service(300).clock(clock.clone()).start();
    is_kept(&server, CLINIC).await;
    let _outage = Outage::begin(&server).await;
    assert_eq!(stale(&server, CLINIC).await.today(), ("STALE", 0));
    clock.set("2025-11-01T03:00:00Z");
    assert_is_503(&server.mega_stats("clinic").await);
}

#[tokio::test]
async fn another_failure_than_an_outage_is_told() {
    let server = service(300).start();
    is_kept(&server, CLINIC).await;
    let mut database = server.database();
    database.hide_appointments();
    let failed = past_its_time(&server, CLINIC).await;
    assert_eq!(failed.status, StatusCode::INTERNAL_SERVER_ERROR);
}
