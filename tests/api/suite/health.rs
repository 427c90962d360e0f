//! What those who start, stop and send requests to the service ask of it.

use std::path::Path;

use harness::{Folder, Process, Raw, Reply, TestServer, eventually};
use reqwest::{Method, StatusCode};
use serde_json::json;

const PROBES: [(&str, &str); 3] = [
    ("/healthz", "alive"),
    ("/readyz", "ready"),
    ("/health", "healthy"),
];

fn assert_not_ready(reply: &Reply, why: &str) {
    assert_eq!(reply.status, StatusCode::SERVICE_UNAVAILABLE, "{reply:?}");
    assert_eq!(reply.header("cache-control"), "no-store");
    let detail = reply.json()["detail"].as_str().unwrap().to_owned();
    assert!(
        detail.contains("Not ready") && detail.contains(why),
        "{detail}"
    );
}

#[tokio::test]
async fn a_service_that_is_well_says_so() {
    let server = TestServer::start();
    for (path, status) in PROBES {
        let reply = server.send(Method::GET, path).await;
        assert_eq!(reply.status, StatusCode::OK, "{reply:?}");
        assert_eq!(reply.json(), json!({ "status": status }));
        assert_eq!(reply.header("cache-control"), "no-store");
        assert_eq!(reply.header("content-type"), "application/json");
        let slash = server.send(Method::GET, &format!("{path}/")).await;
        assert_eq!((slash.status, &slash.body), (reply.status, &reply.body));
        let head = server.send(Method::HEAD, path).await;
        assert_eq!((head.status, head.body.as_str()), (StatusCode::OK, ""));
        let wrong = server.send(Method::POST, path).await;
        assert_eq!(wrong.status, StatusCode::METHOD_NOT_ALLOWED);
    }
}

#[tokio::test]
async fn a_schema_that_was_taken_back_is_not_ready_and_the_service_is_alive() {
    let server = TestServer::start();
    let mut database = server.database();
    database.execute("CREATE TABLE kept AS SELECT * FROM __diesel_schema_migrations");
    database.execute("DELETE FROM __diesel_schema_migrations");
    eventually("it is noticed", async || {
        server.send(Method::GET, "/readyz").await.status != StatusCode::OK
    })
    .await;
    assert_not_ready(&server.send(Method::GET, "/readyz").await, "database");
    for path in ["/healthz", "/health"] {
        assert_eq!(server.send(Method::GET, path).await.status, StatusCode::OK);
    }
    database.execute("INSERT INTO __diesel_schema_migrations SELECT * FROM kept");
    eventually("it is ready again", async || {
        server.send(Method::GET, "/readyz").await.status == StatusCode::OK
    })
    .await;
}

#[tokio::test]
async fn writers_that_take_every_connection_are_no_reason_for_not_ready() {
    let server = TestServer::builder()
        .settings(|settings| settings.database.pool_size = 1)
        .start();
    let lock = server.lock_database();
    let mut writer = Raw::connect(server.url());
    writer.post(&json!({
        "tenantId": "t", "patientId": 1, "startsAt": "2025-10-31T15:00:00Z", "durationMin": 30,
    }));
    let mut reader = Raw::connect(server.url());
    reader.mega_stats("t");
    for _ in 0..20 {
        let reply = server.send(Method::GET, "/readyz").await;
        assert_eq!(reply.status, StatusCode::OK, "{reply:?}");
    }
    assert!(!writer.is_answered());
    drop(lock);
    assert_eq!(writer.reply().status, StatusCode::CREATED);
    assert_eq!(reader.reply().status, StatusCode::OK);
}

/// A process that is told to stop and has `delay` seconds to do so.
async fn leaving(folder: &Path, delay: &str) -> Process {
    let process = Process::start(folder, &[("MEGASTATS__SERVER__DRAIN_DELAY_SECONDS", delay)]);
    process.signal("TERM");
    let url = format!("{}/readyz", process.url());
    eventually("it is not ready", async || {
        reqwest::get(&url).await.unwrap().status() != StatusCode::OK
    })
    .await;
    process
}

#[tokio::test]
async fn who_is_told_to_stop_is_not_ready_and_serves_during_the_delay() {
    let folder = Folder::new();
    let mut process = leaving(folder.path(), "300").await;
    let mut client = Raw::connect(process.url());
    client.get("/readyz");
    assert_not_ready(&client.reply(), "stopping");
    // So that the next one can go elsewhere.
    client.closed();
    for _ in 0..20 {
        let mut client = Raw::connect(process.url());
        client.mega_stats("clinic");
        assert_eq!(client.reply().status, StatusCode::OK);
        client.closed();
    }
    assert!(process.is_running());
}

#[tokio::test]
async fn the_delay_ends_by_itself() {
    let folder = Folder::new();
    let delay = [("MEGASTATS__SERVER__DRAIN_DELAY_SECONDS", "1")];
    let process = Process::start(folder.path(), &delay);
    process.signal("TERM");
    let (status, log) = process.wait();
    assert_eq!(status.code(), Some(0), "{log}");
    assert!(log.contains("SIGTERM") && log.contains("stopped"), "{log}");
}

#[tokio::test]
async fn a_second_signal_ends_the_delay() {
    for signal in ["TERM", "INT"] {
        let folder = Folder::new();
        let process = leaving(folder.path(), "300").await;
        process.signal(signal);
        process.stops_listening();
        let (status, log) = process.wait();
        assert_eq!(status.code(), Some(0), "{log}");
    }
}
