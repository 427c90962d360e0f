//! What there is only so much of: connections, and time to end in.

use harness::{Database, Exposition, Folder, Process, Raw, TestServer, eventually};
use reqwest::StatusCode;

use super::{ROUTE, appointment};

/// A service that has a second to end in, and whose database takes longer.
const HASTY: [(&str, &str); 3] = [
    ("MEGASTATS__SERVER__SHUTDOWN_TIMEOUT_SECONDS", "1"),
    ("MEGASTATS__DATABASE__BUSY_TIMEOUT_MS", "60000"),
    ("MEGASTATS__DATABASE__STATEMENT_TIMEOUT_MS", "60000"),
];

#[tokio::test]
async fn connections_above_the_limit_wait_until_others_leave() {
    let server = TestServer::builder()
        .settings(|settings| {
            settings.server.workers = 1;
            settings.server.max_connections = 2;
        })
        .start();
    let mut first: Vec<_> = (0..2)
        .map(|_| {
            let mut client = Raw::connect(server.url());
            client.mega_stats("clinic");
            assert_eq!(client.reply().status, StatusCode::OK);
            client
        })
        .collect();
    let mut third = Raw::connect(server.url());
    third.mega_stats("clinic");
    // Those inside are served as before, and the one outside is not.
    for client in &mut first {
        client.mega_stats("clinic");
        assert_eq!(client.reply().status, StatusCode::OK);
    }
    assert!(!third.is_answered());
    first.pop();
    assert_eq!(third.reply().status, StatusCode::OK);
}

#[tokio::test]
async fn probes_and_administrators_are_answered_while_all_connections_are_taken() {
    let server = TestServer::builder()
        .settings(|settings| {
            settings.server.workers = 1;
            settings.server.max_connections = 2;
            settings.auth.admin_listen = Some("127.0.0.1:0".parse().unwrap());
        })
        .start();
    let mut inside: Vec<_> = (0..2).map(|_| Raw::connect(server.url())).collect();
    for client in &mut inside {
        client.mega_stats("clinic");
        assert_eq!(client.reply().status, StatusCode::OK);
    }
    let mut outside = Raw::connect(server.url());
    outside.get("/healthz");
    let mut administrators: Vec<_> = (0..20).map(|_| Raw::connect(server.admin_url())).collect();
    for administrator in &mut administrators {
        for path in ["/healthz", "/readyz", "/health", "/metrics"] {
            administrator.get(path);
            assert_eq!(administrator.reply().status, StatusCode::OK, "{path}");
        }
    }
    assert!(!outside.is_answered());
    // And the other way round.
    inside.pop();
    assert_eq!(outside.reply().status, StatusCode::OK);
}

#[tokio::test]
async fn requests_sent_before_the_signal_are_answered_on_kept_connections_too() {
    let folder = Folder::new();
    let process = Process::start(folder.path(), &[]);
    let mut clients: Vec<_> = (0..40).map(|_| Raw::connect(process.url())).collect();
    for client in &mut clients {
        client.mega_stats("clinic");
        assert_eq!(client.reply().status, StatusCode::OK);
    }
    for (n, client) in clients.iter_mut().enumerate() {
        client.post(&appointment(&format!("patient-{n}")));
    }
    process.signal("TERM");
    for client in &mut clients {
        let reply = client.reply();
        assert_eq!(reply.status, StatusCode::CREATED, "{reply:?}");
        client.closed();
    }
    assert_eq!(process.wait().0.code(), Some(0));
    assert_eq!(Database::of(folder.path()).appointments("clinic"), 40);
}

#[tokio::test]
async fn work_that_takes_longer_than_the_limit_is_left_and_said_so() {
    let folder = Folder::new();
    let process = Process::start(folder.path(), &HASTY);
    let lock = Database::lock(folder.path());
    let mut writer = Raw::connect(process.url());
    writer.post(&appointment("ana"));
    process.signal("TERM");
    process.stops_listening();
    // While the write still waits.
    let (status, log) = process.wait();
    assert_eq!(status.code(), Some(1), "{log}");
    assert!(log.contains("unfinished after 1s"), "{log}");
    drop(lock);
}

#[tokio::test]
async fn a_read_that_takes_longer_than_the_limit_is_left_and_said_so() {
    let folder = Folder::new();
    let process = Process::start(folder.path(), &HASTY);
    let held = Database::hold_reads(folder.path());
    let mut reader = Raw::connect(process.url());
    reader.get(&format!("{ROUTE}?tenantId=clinic"));
    eventually(
        "the read is under way, beside the one for this",
        async || {
            let metrics = Exposition::of(process.url()).await;
            metrics.value("megastats_http_requests_in_flight") >= 2.0
        },
    )
    .await;
    process.signal("TERM");
    let (status, log) = process.wait();
    assert_eq!(status.code(), Some(1), "{log}");
    assert!(log.contains("unfinished after 1s"), "{log}");
    drop(held);
}

#[tokio::test]
async fn a_connection_that_is_left_without_a_request_is_no_work_that_is_left() {
    let folder = Folder::new();
    let process = Process::start(folder.path(), &HASTY);
    // It is answered without its body, and given a second to take that.
    let mut client = Raw::connect(process.url());
    client.write("POST /nowhere HTTP/1.1\r\nHost: localhost\r\nContent-Length: 100\r\n\r\n");
    assert_eq!(client.reply().status, StatusCode::NOT_FOUND);
    process.signal("TERM");
    let (status, log) = process.wait();
    assert_eq!(status.code(), Some(0), "{log}");
}
