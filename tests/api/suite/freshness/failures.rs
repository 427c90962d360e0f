//! A database that fails in the middle.

use std::time::Duration;

use futures_util::future::join_all;
use harness::{Reply, Step, TODAY};
use megastats::settings::CacheBackend;
use reqwest::StatusCode;
use serde_json::json;
use tokio::join;

use super::{appointment, ask, gated, service, settle};

/// A 5xx says nothing of the inside, in the JSON of every other error.
fn assert_tells_nothing(reply: &Reply) {
    assert_eq!(reply.header("content-type"), "application/json");
    assert_eq!(reply.header("cache-control"), "no-store");
    let error = reply.json();
    assert_eq!(error["status"], reply.status.as_u16());
    assert!(error["detail"].is_string());
    for inside in ["appointments", "table", "relation", "lock", "sqlite", "sql"] {
        assert!(!reply.body.to_lowercase().contains(inside), "{reply:?}");
    }
}

#[tokio::test]
async fn a_failed_computation_reaches_everybody_who_waits_and_is_not_kept() {
    const OTHERS: usize = 5;
    let (server, gate) = gated();
    server.book("clinic", TODAY, "pending").await;
    let mut database = server.database();
    // The computation's own lookup is the last step before the database.
    gate.hold_nth(Step::LookUp, 2);
    let mut readers = vec![ask(&server, "clinic")];
    gate.reached(Step::LookUp, 2).await;
    readers.extend((0..OTHERS).map(|_| ask(&server, "clinic")));
    gate.reached(Step::LookUp, 2 + OTHERS).await;
    settle(&server).await;
    database.hide_appointments();
    gate.open(Step::LookUp);
    for reader in &mut readers {
        let reply = reader.reply();
        assert_eq!(reply.status, StatusCode::INTERNAL_SERVER_ERROR);
        assert_tells_nothing(&reply);
    }
    assert_eq!(
        gate.arrivals(Step::LookUp),
        2 + OTHERS,
        "one computation failed for all"
    );
    assert_eq!(
        server.mega_stats("clinic").await.status,
        StatusCode::INTERNAL_SERVER_ERROR
    );

    database.show_appointments();
    assert_eq!(server.mega_stats("clinic").await.today(), ("MISS", 1));
    assert_eq!(server.mega_stats("clinic").await.today(), ("HIT", 1));
}

#[tokio::test]
async fn without_a_cache_a_failure_is_over_as_soon_as_the_database_is_back() {
    let server = service()
        .settings(|settings| settings.cache.backend = CacheBackend::None)
        .start();
    let mut database = server.database();
    database.hide_appointments();
    for reply in join_all((0..10).map(|_| server.mega_stats("clinic"))).await {
        assert_eq!(reply.status, StatusCode::INTERNAL_SERVER_ERROR);
        assert_tells_nothing(&reply);
    }
    database.show_appointments();
    assert_eq!(server.mega_stats("clinic").await.today(), ("BYPASS", 0));
}

#[tokio::test]
async fn writes_that_find_the_database_locked_are_refused_and_leave_the_cache_open() {
    let server = service()
        .settings(|settings| {
            settings.database.busy_timeout = Duration::from_secs(1);
            settings.database.statement_timeout = Duration::from_secs(1);
            settings.database.pool_wait = Duration::from_secs(1);
        })
        .start();
    let id = server.book("clinic", TODAY, "pending").await;
    assert_eq!(server.mega_stats("clinic").await.today(), ("MISS", 1));
    let lock = server.lock_database();
    // One waits for the database, the others for it or for their turn to write.
    let (new, change) = (appointment("clinic"), json!({ "status": "cancelled" }));
    let (refused, more, patched) = join!(
        server.post(&new),
        server.post(&new),
        server.patch(id, &change)
    );
    for reply in [refused, more, patched] {
        assert_eq!(reply.status, StatusCode::SERVICE_UNAVAILABLE);
        assert_eq!(reply.header("retry-after"), "1");
        assert_tells_nothing(&reply);
    }
    // Reads go on beside the lock.
    assert_eq!(server.mega_stats("clinic").await.today(), ("MISS", 1));
    assert_eq!(server.mega_stats("clinic").await.today(), ("HIT", 1));
    drop(lock);
    server.book("clinic", TODAY, "pending").await;
    assert_eq!(server.mega_stats("clinic").await.today(), ("MISS", 2));
}

#[tokio::test]
async fn a_write_that_fails_leaves_the_cache_open() {
    let server = service().start();
    let mut database = server.database();
    database.hide_appointments();
    let reply = server.post(&appointment("clinic")).await;
    assert_eq!(reply.status, StatusCode::INTERNAL_SERVER_ERROR);
    assert_tells_nothing(&reply);
    database.show_appointments();
    assert_eq!(server.mega_stats("clinic").await.today(), ("MISS", 0));
    assert_eq!(server.mega_stats("clinic").await.today(), ("HIT", 0));
}
